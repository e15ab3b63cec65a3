//! What has arrived of a head. The head stays in the socket (MSG_PEEK) until it is complete. Only
//! after a wake-up without a new byte does the worker read it, into a spool: a FIN, an urgent byte
//! or a Unix-domain client would keep such a socket readable for ever.
//!
//! Never waits, never parses.

use super::client::Client;
use super::spool::{Spool, SpoolKeeper, Use};
use crate::sys::{self, Errno, Error, fd, fd::AsFd, socket};
use std::os::fd::OwnedFd;

/// The bytes of a head, as far as they are here.
pub(super) struct Input {
    bytes: Box<[u8]>,
    /// Bytes at the start that are no longer in the socket.
    taken: usize,
    /// All bytes: taken and peeked.
    len: usize,
}

/// What a look at the socket found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    /// Bytes that were not there at the last look.
    News,
    /// Nothing new, though the client was handed over again.
    NoNews,
    /// The client has closed.
    End,
}

impl Input {
    /// Room for the largest head.
    pub(super) fn new(max_head: usize) -> Self {
        Self {
            bytes: vec![0; max_head.max(16 * 1024)].into_boxed_slice(),
            taken: 0,
            len: 0,
        }
    }

    /// Everything that is here; may hold more than the head.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Bytes that were read from the socket, not only peeked at.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Looks at what has arrived for a new head. `spool` holds what was read of it before.
    pub(super) fn look(
        &mut self,
        client: &Client,
        spool: Option<&OwnedFd>,
    ) -> sys::Result<Arrived> {
        self.taken = match spool {
            Some(spool) => fd::pread(spool.as_fd(), &mut self.bytes, 0)?,
            None => 0,
        };
        self.len = self.taken;
        let room = self.bytes.get_mut(self.taken..).unwrap_or_default();
        let new = match socket::peek(client.socket(), room) {
            Ok(0) if !room.is_empty() => return Ok(Arrived::End),
            Ok(n) => n,
            Err(e) if e.is_would_block() => 0,
            Err(e) if e.errno == Errno::CONNRESET => return Ok(Arrived::End),
            Err(e) => return Err(e),
        };
        self.len += new;
        let seen = self.seen_before(client, spool.is_some())?;
        Ok(if new > seen {
            Arrived::News
        } else {
            Arrived::NoNews
        })
    }

    /// Bytes that the last worker has seen in the socket: it has set the low-water mark to one more
    /// than that.
    fn seen_before(&self, client: &Client, has_spool: bool) -> sys::Result<usize> {
        if !client.serve.is_head_resumed || client.is_unix() || has_spool {
            return Ok(0);
        }
        Ok(socket::receive_low_water(client.socket())?.saturating_sub(1))
    }

    /// Lets the kernel wake the parent only when more than what is here has arrived. False where
    /// that cannot be relied on.
    pub(super) fn wait_for_more(&self, client: &Client) -> bool {
        self.taken == 0
            && !client.is_unix()
            && socket::set_receive_low_water(client.socket(), self.len + 1).is_ok()
    }

    /// Reads what was peeked at, and so passes an urgent mark behind it. Bytes that came since stay
    /// in the socket: they may complete the head, and would be looked at only when the client sends
    /// still more. `End`: the client has closed in the middle of its head.
    pub(super) fn take_all(&mut self, client: &Client) -> sys::Result<Arrived> {
        while self.taken < self.len {
            let peeked = self.bytes.get_mut(self.taken..self.len);
            match socket::receive(client.socket(), peeked.unwrap_or_default()) {
                Ok(0) => return Ok(Arrived::End),
                Ok(n) => self.taken += n,
                Err(e) if e.is_would_block() => break,
                Err(e) if e.errno == Errno::CONNRESET => return Ok(Arrived::End),
                Err(e) => return Err(e),
            }
        }
        self.len = self.taken;
        match socket::peek(client.socket(), &mut [0]) {
            Ok(0) => Ok(Arrived::End),
            Err(e) if e.errno == Errno::CONNRESET => Ok(Arrived::End),
            Err(e) if !e.is_would_block() => Err(e),
            _ => Ok(Arrived::NoNews),
        }
    }

    /// Puts the bytes that were read into a spool, for the next worker.
    pub(super) fn to_spool(&self, keeper: SpoolKeeper<'_>) -> sys::Result<OwnedFd> {
        let mut spool = Spool::new(keeper, Use::Bulk, self.taken as u64)?;
        spool.append(self.bytes.get(..self.taken).unwrap_or_default())?;
        Ok(spool.into_fd())
    }

    /// Takes the head, `n` bytes, off the socket, as far as it is still there.
    pub(super) fn consume(&self, client: &Client, n: usize) -> sys::Result<()> {
        discard(client, n.saturating_sub(self.taken))
    }

    /// Loads a head that an earlier worker has put away.
    pub(super) fn load(&mut self, head: &[u8]) -> bool {
        let Some(place) = self.bytes.get_mut(..head.len()) else {
            return false;
        };
        place.copy_from_slice(head);
        self.taken = head.len();
        self.len = head.len();
        true
    }
}

/// Takes `n` bytes that are known to be there off the socket: in the kernel where it can, else by
/// reading (Unix sockets).
pub(super) fn discard(client: &Client, n: usize) -> sys::Result<()> {
    let mut left = n;
    while left > 0 {
        let gone = if client.is_unix() {
            let mut scratch = [0; 4096];
            let part = scratch.get_mut(..left.min(4096)).unwrap_or_default();
            socket::receive(client.socket(), part)?
        } else {
            socket::discard(client.socket(), left)?
        };
        if gone == 0 {
            return Err(Error::new(&"recv", Errno::PIPE));
        }
        left = left.saturating_sub(gone);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Serve, Stage};
    use crate::scoreboard::Ticket;
    use crate::sys::time;

    #[test]
    fn what_comes_after_the_look_stays_in_the_socket() {
        let (near, far) = socket::pair().unwrap();
        let now = time::now();
        let client = Client::new(
            near,
            Serve {
                connection: 1,
                stage: Stage::Head,
                is_head_resumed: false,
                is_last: false,
                listener: 0,
                requests: 0,
                head_begun: now,
                progress: now,
                ticket: Ticket::new(0),
                woken: now,
                peer: None,
            },
        );
        let mut input = Input::new(1024);
        socket::send(far.as_fd(), b"GET / HT").unwrap();
        assert_eq!(input.look(&client, None).unwrap(), Arrived::News);
        socket::send(far.as_fd(), b"TP/1.1\r\n\r\nGET").unwrap();
        assert_eq!(input.take_all(&client).unwrap(), Arrived::NoNews);
        assert_eq!(input.bytes(), b"GET / HT");
        let mut rest = [0; 64];
        let n = socket::receive(client.socket(), &mut rest).unwrap();
        assert_eq!(&rest[..n], b"TP/1.1\r\n\r\nGET");

        socket::send(far.as_fd(), b"GET").unwrap();
        assert_eq!(input.look(&client, None).unwrap(), Arrived::News);
        drop(far);
        assert_eq!(input.take_all(&client).unwrap(), Arrived::End);
    }
}
