//! The predecessor: the line to it, and what a new server gets from there at its start.
//!
//! The new server does not serve before the old one has said so: until then the old one serves.

use super::records::{RECORD_BYTES, Record, decode};
use crate::instance::{self, PidFile, UnixSocket};
use crate::parent::error::Error;
use crate::parent::life::START_TIMEOUT;
use crate::parent::listeners::{Listener, Wish};
use crate::settings::Settings;
use crate::sys::fd::AsFd;
use crate::sys::passing::receive_record;
use crate::sys::poll;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

/// The old server.
pub(in crate::parent) struct Predecessor {
    pub(super) socket: OwnedFd,
    /// The lines to the predecessors of the predecessor, the latest first. This server listens to one of them when all
    /// later ones have gone.
    pub(super) before: Vec<OwnedFd>,
    /// This server was not started by it, but by a successor of it that has gone.
    pub(super) is_second_hand: bool,
    /// It was told that this server is ready.
    pub(super) has_heard: bool,
    /// It has left everything to this server.
    pub(super) has_yielded: bool,
}

/// What one server has and no other, unless it is passed on.
pub(in crate::parent) struct Claims {
    pub(in crate::parent) pid_file: Option<PidFile>,
    pub(in crate::parent) control: UnixSocket,
    pub(in crate::parent) listeners: Vec<Listener>,
    /// Where they are bound, by number. Numbers of listeners that are gone have an address that no client can come to.
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

    /// The lines to it and to its predecessors.
    pub(in crate::parent) fn lines(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let all = std::iter::once(&self.socket).chain(&self.before);
        all.map(AsFd::as_fd)
    }

    /// Waits for the next record, with the descriptors that came along.
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

    /// At the start: takes what the predecessor passes on.
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
            // The predecessor found no place for a pid file.
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
