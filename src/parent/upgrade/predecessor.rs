//! The server before, seen from the new one: what it gets from there, at its start and once it is ready.
//!
//! Refuses to serve before the old server has said so: until then that one serves.

use super::records::{RECORD_BYTES, Record, decode};
use super::{Context, Upgrade};
use crate::instance::{self, PidFile, UnixSocket};
use crate::parent::connections::Transfer;
use crate::parent::error::Error;
use crate::parent::life::START_TIMEOUT;
use crate::parent::listeners::{Listener, Wish};
use crate::parent::token::Token;
use crate::settings::Settings;
use crate::sys::fd::AsFd;
use crate::sys::passing::{receive_record, send_record};
use crate::sys::teardown::{self, Direction};
use crate::sys::{Errno, poll};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

/// The old server.
pub(in crate::parent) struct Predecessor {
    socket: OwnedFd,
    /// The lines to those before it, the last one first: each is listened to once those behind it have
    /// gone.
    before: Vec<OwnedFd>,
    /// This one has not been started by it, but by one that followed it.
    is_second_hand: bool,
    /// It was told that this one is ready.
    has_heard: bool,
    /// It has left the rest to this one.
    has_yielded: bool,
}

/// A client that comes from another server, with its spool.
pub(in crate::parent) type Passed = (Transfer, OwnedFd, Option<OwnedFd>);

/// What the server before has said or done.
pub(in crate::parent) enum FromPredecessor {
    /// A client is this server's from now on.
    Client(Passed),
    /// A client has come for which there was no descriptor.
    Shortage(crate::sys::Error),
    /// It has gone before it gave way.
    Gone,
}

/// What one server has and no other, unless it is passed on.
pub(in crate::parent) struct Claims {
    pub(in crate::parent) pid_file: Option<PidFile>,
    pub(in crate::parent) control: UnixSocket,
    pub(in crate::parent) listeners: Vec<Listener>,
    /// Where they are bound, by number. An address that nobody can have stands for one that is gone.
    pub(in crate::parent) addresses: Vec<Option<SocketAddr>>,
    pub(in crate::parent) accepted: u64,
}

const NO_RECORD: Error = Error::Upgrade("the server before speaks another version");

impl Predecessor {
    pub(in crate::parent) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            before: Vec::new(),
            is_second_hand: false,
            has_heard: false,
            has_yielded: false,
        }
    }

    pub(in crate::parent) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The lines to it and to those before it.
    pub(in crate::parent) fn lines(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let all = std::iter::once(&self.socket).chain(&self.before);
        all.map(AsFd::as_fd)
    }

    /// The next record, with what came along.
    #[cold]
    fn receive(&self) -> Result<(Record, [Option<OwnedFd>; 2]), Error> {
        let call = |why| Error::Call("take over from the server before", why);
        if !poll::wait_one(self.socket.as_fd(), poll::READABLE, START_TIMEOUT).map_err(call)? {
            return Err(Error::Upgrade("the server before says nothing"));
        }
        let mut bytes = [0; RECORD_BYTES];
        let received = receive_record(self.socket.as_fd(), &mut bytes).map_err(call)?;
        let record = decode(bytes.get(..received.len).unwrap_or_default());
        Ok((record.ok_or(NO_RECORD)?, received.passed))
    }

    /// At the start: takes what it passes on.
    #[cold]
    pub(in crate::parent) fn claims(&self, settings: &Settings) -> Result<Claims, Error> {
        let (Record::Hello(count, accepted), [Some(first), second]) = self.receive()? else {
            return Err(NO_RECORD);
        };
        let (pid_file, control) = match second {
            Some(control) => (Some(first), control),
            None => (None, first),
        };
        let pid_file = match (&settings.pid_file, pid_file) {
            (Some(path), Some(file)) => Some(PidFile::adopt(path, file)?),
            (None, None) => None,
            // There was no place for it.
            (Some(path), None) if instance::unplaced(path).is_some() => None,
            _ => return Err(Error::Upgrade("pid-file has changed: that takes a restart")),
        };
        let mut claims = Claims {
            pid_file,
            control: UnixSocket::adopt(&settings.socket, control, "--socket")?,
            listeners: Vec::new(),
            addresses: Vec::new(),
            accepted,
        };
        for _ in 0..count {
            let (Record::Listener(index, wish), [Some(socket), None]) = self.receive()? else {
                return Err(NO_RECORD);
            };
            claims.add(index, wish, socket)?;
        }
        Ok(claims)
    }
}

impl Claims {
    #[cold]
    fn add(&mut self, index: u8, wish: Option<Wish>, socket: OwnedFd) -> Result<(), Error> {
        let listener = Listener::adopt(index, wish, socket)?;
        let place = usize::from(index);
        if self.addresses.len() <= place {
            let gone = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            self.addresses.resize(place + 1, Some(gone));
        }
        if let Some(address) = self.addresses.get_mut(place) {
            *address = listener.address;
        }
        self.listeners.push(listener);
        Ok(())
    }
}

impl Upgrade {
    /// Whether the server before may still have clients for this one.
    pub(in crate::parent) fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Whether the server before, if there is one, has left everything to this one.
    pub(in crate::parent) fn has_charge(&self) -> bool {
        self.predecessor.as_ref().is_none_or(|p| p.has_yielded)
    }

    /// The server before has to hear that this one is ready: true, once.
    pub(in crate::parent) fn note_heard(&mut self) -> bool {
        let predecessor = self.predecessor.as_mut();
        predecessor.is_some_and(|p| !std::mem::replace(&mut p.has_heard, true))
    }

    /// The next thing that the old server has said; `None`: nothing more now.
    #[cold]
    pub(in crate::parent) fn hear_predecessor(&mut self, ctx: &Context) -> Option<FromPredecessor> {
        loop {
            let predecessor = self.predecessor.as_mut()?;
            let mut bytes = [0; RECORD_BYTES];
            let received = match receive_record(predecessor.socket.as_fd(), &mut bytes) {
                Ok(received) if received.len > 0 => received,
                Err(e) if e.is_would_block() => return None,
                Err(e) if e.errno == Errno::MFILE => return Some(FromPredecessor::Shortage(e)),
                _ => {
                    return self.next_predecessor(ctx).then_some(FromPredecessor::Gone);
                }
            };
            match (decode(&bytes), received.passed) {
                (Some(Record::Go), _) => predecessor.has_yielded = true,
                (Some(Record::Before), [Some(line), _]) => predecessor.before.push(line),
                (Some(Record::Client(transfer)), [Some(client), spool])
                    if spool.is_some() || !transfer.needs_spool() =>
                {
                    return Some(FromPredecessor::Client((transfer, client, spool)));
                }
                _ => {
                    ctx.log
                        .error(format_args!("the server before says nonsense"));
                    self.forget_predecessor(ctx);
                }
            }
        }
    }

    /// The old server has gone. Whoever it followed itself may still have clients; if this one was not in
    /// charge yet, that one has everything back or says that it is. True if nobody is left to say so.
    #[cold]
    fn next_predecessor(&mut self, ctx: &Context) -> bool {
        let Some(mut predecessor) = self.predecessor.take() else {
            return false;
        };
        let _ = ctx.readiness.forget(predecessor.socket.as_fd());
        if predecessor.before.is_empty() {
            return predecessor.is_second_hand && !predecessor.has_yielded;
        }
        predecessor.socket = predecessor.before.remove(0);
        predecessor.is_second_hand = true;
        let token = Token::Predecessor.number();
        if let Err(e) = ctx.readiness.watch(predecessor.fd(), token) {
            ctx.log
                .error(format_args!("unable to take clients on: {e}"));
            return false;
        }
        self.predecessor = Some(predecessor);
        if let Some(follower) = self.follower() {
            self.tell_follower(Some(follower));
        }
        false
    }

    /// Takes nothing more from the old server.
    fn forget_predecessor(&mut self, ctx: &Context) {
        if let Some(predecessor) = self.predecessor.take() {
            let _ = ctx.readiness.forget(predecessor.socket.as_fd());
        }
    }

    /// This server stops, so nobody would serve whom the old one still sends: it keeps them, and gets those
    /// back that this one has not taken yet. Should it have gone, they are this one's, which are returned.
    #[cold]
    pub(in crate::parent) fn give_back(&mut self, ctx: &Context) -> Vec<Passed> {
        let mut own = Vec::new();
        // A successor has the line too.
        let is_last = !self.has_handed_over();
        if let Some(predecessor) = self.predecessor.as_ref().filter(|_| is_last) {
            let _ = teardown::shutdown(predecessor.fd(), Direction::Read);
            let mut bytes = [0; RECORD_BYTES];
            while let Ok(received) = receive_record(predecessor.fd(), &mut bytes)
                && received.len > 0
            {
                let passed: Vec<BorrowedFd<'_>> =
                    received.passed.iter().flatten().map(AsFd::as_fd).collect();
                if send_record(predecessor.fd(), &bytes, &passed).is_err()
                    && let Some(Record::Client(transfer)) = decode(&bytes)
                    && let [Some(client), spool] = received.passed
                {
                    own.push((transfer, client, spool));
                }
            }
        }
        self.forget_predecessor(ctx);
        own
    }
}
