//! Other listeners while the server serves: each stays for an equal wish, new ones are bound before old ones go.

use super::owner::Listeners;
use super::socket::{Listener, Wish};
use crate::parent::context::Context;
use crate::parent::error::Error;
use crate::sys::teardown::{self, Direction};
use crate::sys::{Errno, socket};
use std::net::SocketAddr;

/// The listeners after a reload.
struct Change {
    /// Those of now that stay, by their place.
    stays: Vec<bool>,
    /// Those to be bound.
    new: Vec<Wish>,
}

/// Which listeners stay and which are new. A listener stays for an equal wish, and for a wish that names the port which
/// the kernel has given it.
#[cold]
fn compare(now: &[(Wish, Option<SocketAddr>)], wishes: Vec<Wish>) -> Change {
    let mut stays = vec![false; now.len()];
    let mut new = Vec::new();
    for wish in wishes {
        let is_it = |(had, address): &(Wish, Option<SocketAddr>)| {
            *had == wish
                || matches!((had, &wish), (Wish::Tcp(_), Wish::Tcp(a)) if *address == Some(*a))
        };
        let found = now
            .iter()
            .zip(&mut stays)
            .find(|(known, stays)| !**stays && is_it(known));
        match found {
            Some((_, stays)) => *stays = true,
            None => new.push(wish),
        }
    }
    Change { stays, new }
}

/// New listeners that are bound and not used yet.
pub(in crate::parent) struct Bound {
    /// The place of the first of them in the list: they stand behind the old ones.
    first_new: usize,
    /// The numbers of the old listeners that they replace.
    pub(in crate::parent) going: Vec<u8>,
    /// Where each listener is bound from then on, by its number.
    pub(in crate::parent) addresses: Vec<Option<SocketAddr>>,
}

/// The port that a wish names.
fn port_of(wish: &Wish) -> Option<u16> {
    match wish {
        Wish::Everywhere(port) => Some(*port),
        Wish::Tcp(address) => Some(address.port()),
        Wish::Unix(_) => None,
    }
}

impl Listeners {
    /// Binds new listeners, before old ones go.
    #[cold]
    pub(in crate::parent) fn bind_new(
        &mut self,
        addresses: &[Option<SocketAddr>],
        wishes: Vec<Wish>,
        is_known: &dyn Fn(u8) -> bool,
    ) -> Result<Bound, Error> {
        let mut bound = Bound {
            first_new: self.list.len(),
            going: Vec::new(),
            addresses: addresses.to_vec(),
        };
        let mut now = Vec::new();
        for listener in &self.list {
            let Some(wish) = listener.wish.clone() else {
                // The service manager has its own configuration for them.
                return Ok(bound);
            };
            now.push((wish, listener.address));
        }
        let change = compare(&now, wishes);
        let stay = self.list.iter().zip(&change.stays);
        bound.going = stay
            .filter(|(_, stays)| !**stays)
            .map(|(listener, _)| listener.index)
            .collect();
        match self.bind_all(change.new, &mut bound, is_known) {
            Ok(()) => Ok(bound),
            Err(why) => {
                self.unbind(&bound);
                Err(why)
            }
        }
    }

    /// Binds all new listeners. Those at a port that an old listener has come last: once a port was shared, the kernel
    /// lets other processes of this user share it for as long as anybody listens there.
    #[cold]
    fn bind_all(
        &mut self,
        wishes: Vec<Wish>,
        bound: &mut Bound,
        is_known: &dyn Fn(u8) -> bool,
    ) -> Result<(), Error> {
        let is_beside = |wish: &Wish| self.with_port(wish, &bound.going).next().is_some();
        let (beside, plain): (Vec<Wish>, Vec<Wish>) = wishes.into_iter().partition(is_beside);
        for wish in plain.into_iter().chain(beside) {
            let listener = self.bind_beside(wish, &bound.going)?;
            if !enroll(&mut self.list, listener, &mut bound.addresses, is_known) {
                return Err(Error::ManyListeners);
            }
        }
        Ok(())
    }

    /// The old listeners that will be closed and have the port of a wish.
    fn with_port(&self, wish: &Wish, going: &[u8]) -> impl Iterator<Item = &Listener> {
        let port = port_of(wish);
        let going = self.list.iter().filter(|l| going.contains(&l.index));
        going.filter(move |l| port.is_some() && l.address.map(|a| a.port()) == port)
    }

    /// Takes the new listeners back: the list is as it was before.
    #[cold]
    pub(in crate::parent) fn unbind(&mut self, bound: &Bound) {
        self.list.truncate(bound.first_new);
        for listener in &self.list {
            // Otherwise other processes of this user could take its clients.
            let _ = socket::share_port(listener.fd(), false);
        }
    }

    /// Waits for clients at the new listeners from now on; those that they replace are still there.
    #[cold]
    pub(in crate::parent) fn settle(&self, ctx: &Context, bound: &Bound) {
        for listener in self.list.iter().skip(bound.first_new) {
            let shown = listener.shown();
            ctx.log.info(format_args!("listening on {shown}"));
        }
        if self.paused_until.is_none() {
            self.watch_from(ctx, bound.first_new);
        }
    }

    /// Binds a new listener, beside an old one that will be closed if that has the port.
    #[cold]
    fn bind_beside(&self, wish: Wish, going: &[u8]) -> Result<Listener, Error> {
        match Listener::bind(wish.clone(), false) {
            Err(Error::Listen(_, why)) if why.errno == Errno::ADDRINUSE => {}
            other => return other,
        }
        for listener in self.with_port(&wish, going) {
            let _ = socket::share_port(listener.fd(), true);
        }
        Listener::bind(wish, true)
    }

    /// Closes a listener that is not wished for any more. All clients that are connected have to be accepted before, since
    /// the close resets the others.
    #[cold]
    pub(in crate::parent) fn remove(&mut self, ctx: &Context, index: u8) {
        let place = self.list.iter().position(|l| l.index == index);
        if let Some(place) = place {
            let listener = self.list.remove(place);
            // During a pause it is out of the readiness set already.
            let _ = ctx.readiness.forget(listener.fd());
            // A predecessor may still have a copy, and that has to stop listening too.
            let _ = teardown::shutdown(listener.fd(), Direction::Both);
            let shown = listener.shown();
            ctx.log.info(format_args!("no longer listening on {shown}"));
        }
    }
}

/// Adds a new listener under a number: that which its address had before, or else the next one, or else one that no
/// connection has any more (`is_known`). False if there is no number left.
#[cold]
pub(in crate::parent) fn enroll(
    listeners: &mut Vec<Listener>,
    mut listener: Listener,
    addresses: &mut Vec<Option<SocketAddr>>,
    is_known: &dyn Fn(u8) -> bool,
) -> bool {
    let is_free = |index: &u8| listeners.iter().all(|other| other.index != *index);
    let same = (0..=u8::MAX)
        .zip(addresses.iter())
        .find(|(index, address)| **address == listener.address && is_free(index));
    let fresh = || u8::try_from(addresses.len()).ok();
    let reused = || (0..=u8::MAX).find(|index| is_free(index) && !is_known(*index));
    let Some(index) = same.map(|(index, _)| index).or_else(fresh).or_else(reused) else {
        return false;
    };
    listener.index = index;
    match addresses.get_mut(usize::from(index)) {
        Some(address) => *address = listener.address,
        None => addresses.push(listener.address),
    }
    listeners.push(listener);
    true
}

#[cfg(test)]
mod tests {
    use super::super::socket::Socket;
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};
    use std::path::PathBuf;

    #[test]
    fn a_listener_stays_for_each_equal_wish() {
        let at = |text: &str| Wish::Tcp(text.parse().unwrap());
        let unix = |path: &str| Wish::Unix(PathBuf::from(path));
        let bound = |text: &str| Some(text.parse().unwrap());
        let now = [
            (at("127.0.0.1:0"), bound("127.0.0.1:4000")),
            (at("127.0.0.1:80"), bound("127.0.0.1:80")),
            (unix("/a"), None),
            (at("127.0.0.1:0"), bound("127.0.0.1:4001")),
        ];
        for (wishes, stays, new) in [
            (
                vec![at("127.0.0.1:0"), at("127.0.0.1:0")],
                [true, false, false, true],
                vec![],
            ),
            (
                vec![at("127.0.0.1:0"), at("127.0.0.1:0"), at("127.0.0.1:0")],
                [true, false, false, true],
                vec![at("127.0.0.1:0")],
            ),
            (
                vec![unix("/a"), unix("/b"), at("127.0.0.1:4001")],
                [false, false, true, true],
                vec![unix("/b")],
            ),
            (
                vec![Wish::Everywhere(80)],
                [false; 4],
                vec![Wish::Everywhere(80)],
            ),
        ] {
            let change = compare(&now, wishes.clone());
            assert_eq!(change.stays, stays, "{wishes:?}");
            assert_eq!(change.new, new, "{wishes:?}");
        }
    }

    #[test]
    fn a_number_is_an_addresss_for_as_long_as_a_connection_may_ask_for_it() {
        let listener = |port| Listener {
            socket: Socket::Tcp(socket::pair().unwrap().0),
            wish: Some(Wish::Everywhere(port)),
            index: 0,
            address: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        };
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        let nobody = |_| false;
        for port in [1, 2, 2] {
            assert!(enroll(
                &mut listeners,
                listener(port),
                &mut addresses,
                &nobody
            ));
        }
        let numbers = |listeners: &[Listener]| -> Vec<u8> {
            listeners.iter().map(|listener| listener.index).collect()
        };
        assert_eq!(numbers(&listeners), [0, 1, 2]);
        listeners.truncate(1);
        for port in (3..256).chain([2]) {
            assert!(enroll(
                &mut listeners,
                listener(port),
                &mut addresses,
                &nobody
            ));
            listeners.truncate(2);
            listeners.swap_remove(1);
        }
        assert_eq!((addresses.len(), listeners.len()), (256, 1));
        assert!(enroll(
            &mut listeners,
            listener(999),
            &mut addresses,
            &|n| n < 9
        ));
        assert_eq!(numbers(&listeners), [0, 9]);
        assert!(!enroll(
            &mut listeners,
            listener(998),
            &mut addresses,
            &|_| true
        ));
    }
}
