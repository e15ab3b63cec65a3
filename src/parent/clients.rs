//! Clients in and out: accept, making room, turning away, closing. Parent only.
//!
//! Refuses to read from them; what a client still sends after its answer is dropped in the kernel.

use super::Parent;
use super::account::Account;
use super::canned::{self, Canned};
use super::life::{IDLE_GRACE, State as Life};
use super::listeners::Listener;
use super::lot::{Connection, End, Id, State};
use super::token::Token;
use crate::channel::Stage;
use crate::sys::fd::AsFd;
use crate::sys::readiness::Interest;
use crate::sys::teardown::{self, Direction};
use crate::sys::{self, Errno, poll, socket};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What is discarded of one client after its answer. Time bounds it too (`linger`), and discarding
/// costs no memory: enough for the upload of a client that reads its 413 only when it is done.
const LINGER_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes to discard at a time.
const DISCARD: usize = 1 << 20;

/// What a failed accept means.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// Nobody waits.
    Nobody,
    /// This one has gone; the next may be there.
    Gone,
    /// No descriptor or memory.
    Shortage,
}

fn refusal(error: sys::Error) -> Refusal {
    match error.errno {
        _ if error.is_would_block() => Refusal::Nobody,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => Refusal::Shortage,
        // accept(2): errors that are pending on the new connection are passed on.
        _ => Refusal::Gone,
    }
}

impl Parent {
    /// Accepts at most `most` clients of a listener.
    pub(super) fn accept_from(&mut self, index: u8, most: usize) {
        for _ in 0..most {
            if self.house.paused_until().is_some() {
                return;
            }
            if self.lot.len() >= self.house.most && self.find_waiting().is_none() {
                return self.pause_listeners("every connection is being served");
            }
            if !self.has_memory() && !self.finds_room(index, &"out of memory") {
                return;
            }
            let Some(listener) = self.listener(index) else {
                return;
            };
            match socket::accept(listener.fd()) {
                Ok((client, peer)) => self.welcome(client, peer, index),
                Err(e) => match refusal(e) {
                    Refusal::Nobody => return,
                    Refusal::Gone => {}
                    Refusal::Shortage if self.finds_room(index, &e) => {}
                    Refusal::Shortage => return,
                },
            }
        }
    }

    fn listener(&self, index: u8) -> Option<&Listener> {
        self.listeners.iter().find(|l| l.index == index)
    }

    /// Whether the books have room for one more client.
    fn has_memory(&mut self) -> bool {
        self.lot.has_place() && self.wheel.has_place() && self.house.has_place()
    }

    /// There is no descriptor or memory for who comes next: true if somebody has gone for it.
    fn finds_room(&mut self, index: u8, why: &dyn std::fmt::Display) -> bool {
        // Linux looks for a descriptor before it looks for a client.
        if !self.is_called(index) {
            return false;
        }
        let is_made = self.make_room();
        if !is_made {
            self.pause_listeners(&why.to_string());
        }
        is_made
    }

    /// Whether a client waits at a listener.
    fn is_called(&self, index: u8) -> bool {
        self.listener(index).is_some_and(|l| {
            poll::wait_one(l.fd(), poll::READABLE, Duration::ZERO).unwrap_or(false)
        })
    }

    /// The listeners and the Unix socket leave the readiness set until the pause is over: a level
    /// that cannot be served would wake the parent for ever.
    pub(super) fn pause_listeners(&mut self, why: &str) {
        if self.house.full.is_new(self.now) {
            self.log()
                .warn(format_args!("no room for new clients: {why}"));
        }
        for listener in &self.listeners {
            let _ = self.readiness.forget(listener.fd());
        }
        let _ = self.readiness.forget(self.meeting.listener.as_fd());
        self.house.pause(self.now);
    }

    /// Puts them back.
    pub(super) fn end_pause(&mut self) {
        self.house.refill_reserve();
        if !self.is_upgrading() {
            self.watch_meeting();
        }
        if self.state == Life::Serving {
            self.watch_listeners();
        }
    }

    /// Puts the Unix socket into the readiness set.
    pub(super) fn watch_meeting(&mut self) {
        let meeting = self.meeting.listener.as_fd();
        let token = Token::Meeting.number();
        if let Err(e) = self.readiness.watch(meeting, token) {
            let log = &self.estate.log;
            log.error(format_args!("unable to watch the Unix socket: {e}"));
        }
    }

    /// Puts the listeners into the readiness set.
    pub(super) fn watch_listeners(&mut self) {
        self.watch_listeners_from(0);
    }

    /// Puts those from this place on into the readiness set.
    pub(super) fn watch_listeners_from(&mut self, place: usize) {
        for listener in self.listeners.iter().skip(place) {
            let token = Token::Listener(listener.index).number();
            if let Err(e) = self.readiness.watch(listener.fd(), token) {
                let log = &self.estate.log;
                log.error(format_args!("unable to watch {}: {e}", listener.shown()));
            }
        }
    }

    /// A new client: parked as head, the time for it running.
    fn welcome(&mut self, client: OwnedFd, peer: Option<SocketAddr>, listener: u8) {
        if !self.house.enter(peer) {
            if self.house.crowd.is_new(self.now) {
                self.log().warn(format_args!(
                    "{} has max-connections-per-address open",
                    Peer(peer)
                ));
            }
            canned::answer(client.as_fd(), Canned::Busy(1));
            return;
        }
        self.accepted += 1;
        let now = self.now;
        let id = self.lot.add(Connection {
            client,
            spool: None,
            account: Account::of(peer, &self.estate.settings.trusted_proxies),
            number: self.accepted,
            accepted: now,
            head_begun: now,
            progress: now,
            woken: now,
            mark: 0,
            handler: 0,
            admitted: 0,
            requests: 0,
            stage: Stage::Head,
            peer,
            listener,
            visits: 0,
            copies: 0,
            is_set_aside: false,
            has_lost_worker: false,
            was_held: false,
            worker: None,
        });
        let limits = &self.estate.settings.limits;
        self.wheel.set(id.index, now.after(limits.head_timeout));
        let token = Token::Client(id).number();
        let parked = match self.lot.get(id) {
            Some(c) => self.readiness.park(c.client.as_fd(), token, Interest::Read),
            None => Ok(()),
        };
        if let Err(e) = parked {
            self.log()
                .error(format_args!("unable to park a client: {e}"));
            self.close(id);
        }
        if self.lot.len() > self.house.most {
            self.make_room();
        }
    }

    /// Who goes first when the house is full: the longest idle, the longest without a byte of its
    /// head, the longest lingering, then body or response with the least progress. Each list is in
    /// order of parking, so its front is the one.
    fn longest_waiting(&self) -> Option<(Id, State)> {
        for state in [State::Idle, State::Head, State::Linger] {
            if let Some(id) = self.lot.at(state, End::Front) {
                return Some((id, state));
            }
        }
        [State::Body, State::Stalled, State::Drain]
            .into_iter()
            .filter_map(|state| {
                let id = self.lot.at(state, End::Front)?;
                Some((self.lot.get(id)?.progress, id, state))
            })
            .min_by_key(|(progress, ..)| *progress)
            .map(|(_, id, state)| (id, state))
    }

    /// The same; those with resting workers are the last of the idle.
    fn find_waiting(&mut self) -> Option<(Id, State)> {
        let found = self.longest_waiting();
        if !matches!(found, Some((_, State::Idle))) && self.rouse_longest() {
            return self.longest_waiting();
        }
        found
    }

    /// Closes one client to make room; false if none can go.
    pub(super) fn make_room(&mut self) -> bool {
        let Some((id, state)) = self.find_waiting() else {
            return false;
        };
        if self.house.full.is_new(self.now) {
            self.log().warn(format_args!(
                "the house is full ({} connections): closing the longest {}",
                self.lot.len(),
                state.name()
            ));
        }
        match state {
            State::Body | State::Stalled | State::Drain => self.reset(id),
            _ => self.close(id),
        }
        true
    }

    /// Answers in a worker's place, then waits for the client to read it.
    pub(super) fn refuse(&mut self, id: Id, canned: Canned) {
        let Some(connection) = self.lot.get(id) else {
            return;
        };
        let (client, peer) = (connection.client.as_fd(), connection.peer);
        let Some(status) = canned::answer(client, canned) else {
            return self.close(id);
        };
        let number = connection.number;
        let _ = teardown::shutdown(client, Direction::Write);
        self.log()
            .info(format_args!("{} {status} connection={number}", Peer(peer)));
        self.pass_on(id);
        self.linger(id);
    }

    /// Discards what the client still sends, until its FIN. Without it, unread bytes would turn the
    /// close into a reset that eats the answer. A Unix socket knows no reset.
    pub(super) fn linger(&mut self, id: Id) {
        self.set_spool(id, None);
        let Some(connection) = self.lot.get_mut(id) else {
            return;
        };
        if connection.peer.is_none() {
            return self.close(id);
        }
        connection.mark = LINGER_BYTES;
        connection.worker = None;
        // A worker may have asked for more bytes at once than will ever come.
        let _ = socket::set_receive_low_water(connection.client.as_fd(), 1);
        let limit = self.estate.settings.limits.linger;
        let limit = if self.is_stopping() {
            limit.min(IDLE_GRACE)
        } else {
            limit
        };
        self.wheel.set(id.index, self.now.after(limit));
        self.lot.enter(id, State::Linger, End::Back);
        self.rearm(id, Interest::Read);
    }

    /// Ends a connection whose client has had all that it gets. With unread bytes a close would be a reset,
    /// which may eat the end of the answer.
    pub(super) fn close_gently(&mut self, id: Id) {
        let is_sending = self.lot.get(id).is_some_and(|c| super::park::unread(c) > 0);
        if is_sending {
            self.pass_on(id);
            self.linger(id);
        } else {
            self.close(id);
        }
    }

    /// Parked as linger, and something has arrived.
    pub(super) fn discard(&mut self, id: Id) {
        let Some(connection) = self.lot.get_mut(id) else {
            return;
        };
        match socket::discard(connection.client.as_fd(), DISCARD) {
            Ok(n) if n > 0 && connection.mark > n as u64 => {
                connection.mark -= n as u64;
                self.rearm(id, Interest::Read);
            }
            Err(e) if e.is_would_block() => self.rearm(id, Interest::Read),
            _ => self.close(id),
        }
    }

    /// Cuts the connection so that the client can tell.
    pub(super) fn reset(&mut self, id: Id) {
        if let Some(connection) = self.lot.get(id) {
            let _ = teardown::reset_on_close(connection.client.as_fd(), true);
        }
        self.close(id);
    }

    /// Closes the connection.
    pub(super) fn close(&mut self, id: Id) {
        if let Some(connection) = self.lot.get(id).filter(|c| c.copies > 0) {
            let _ = teardown::end(connection.client.as_fd());
        }
        self.forget(id);
    }

    /// Closes the parent's descriptor of a connection: its end, if nobody else has one.
    pub(super) fn forget(&mut self, id: Id) {
        self.pass_on(id);
        self.set_spool(id, None);
        self.wheel.remove(id.index);
        let Some(connection) = self.lot.remove(id) else {
            return;
        };
        // Always before the close: a worker's copy would keep the registration alive.
        let _ = self.readiness.forget(connection.client.as_fd());
        self.house.leave(connection.peer);
    }

    /// Arms a parked client.
    pub(super) fn rearm(&mut self, id: Id, interest: Interest) {
        let Some(connection) = self.lot.get(id) else {
            return;
        };
        let token = Token::Client(id).number();
        let client = connection.client.as_fd();
        if let Err(e) = self.readiness.rearm(client, token, interest) {
            self.log()
                .error(format_args!("unable to park a client again: {e}"));
            self.close(id);
        }
    }
}

/// A client's address in the log.
pub(super) struct Peer(pub(super) Option<SocketAddr>);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.ip().fmt(f),
            None => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_accept_ends_the_batch_only_if_nobody_can_come_next() {
        for (errno, expected) in [
            (Errno::AGAIN, Refusal::Nobody),
            (Errno::CONNABORTED, Refusal::Gone),
            (Errno::PERM, Refusal::Gone),
            (Errno::MFILE, Refusal::Shortage),
            (Errno::NFILE, Refusal::Shortage),
            (Errno::NOMEM, Refusal::Shortage),
        ] {
            let call = &"accept4";
            assert_eq!(refusal(sys::Error { call, errno }), expected);
        }
    }
}
