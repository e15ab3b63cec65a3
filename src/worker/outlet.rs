//! Towards the client: what it takes now goes out, the rest waits in a spool, from which sendfile
//! goes on, in this worker or in a later one (the file's own offset says where).

use super::client::{Client, Outcome};
use super::spool::{Spool, SpoolKeeper, Use};
use super::turn::Turn;
use crate::channel::Verdict;
use crate::scoreboard::Phase;
use crate::sys::fd::AsFd;
use crate::sys::time::{self, Moment};
use crate::sys::{self, Errno, Error, poll, socket, teardown};
use std::io::IoSlice;
use std::os::fd::OwnedFd;

/// Bytes that a worker sends from a spool in one dispatch: a client that takes them fast must not
/// keep the worker to itself while others wait.
const SHARE: u64 = 8 * 1024 * 1024;

/// The way to one client.
pub(super) struct Outlet<'a> {
    client: &'a Client,
    keeper: SpoolKeeper<'a>,
    spool: Option<Spool<'a>>,
    /// What a full disk has kept out of the spool. It belongs behind the spool's bytes.
    rest: Vec<u8>,
    turn: Turn<'a>,
    max_spool: u64,
    /// Bytes given to the client or its spool.
    pub(super) written: u64,
    /// When the first of them left.
    pub(super) first_byte: Option<Moment>,
    /// Bytes that the client has taken since the worker last waited for it.
    since_wait: u64,
}

/// Why nothing more can be written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Blocked {
    /// The client is gone.
    Gone,
    /// There is no room for what it has not taken.
    Unable(sys::Error),
}

impl From<sys::Error> for Blocked {
    fn from(e: sys::Error) -> Self {
        match e.errno {
            Errno::PIPE | Errno::CONNRESET | Errno::TIMEDOUT | Errno::NOTCONN => Self::Gone,
            _ => Self::Unable(e),
        }
    }
}

impl<'a> Outlet<'a> {
    pub(super) fn new(client: &'a Client, keeper: SpoolKeeper<'a>, max_spool: u64) -> Self {
        Self {
            client,
            keeper,
            spool: None,
            rest: Vec::new(),
            turn: Turn::new(keeper),
            max_spool,
            written: 0,
            first_byte: None,
            since_wait: 0,
        }
    }

    /// The client has not taken everything yet.
    pub(super) fn is_backed_up(&self) -> bool {
        self.spool.is_some() || self.has_rest()
    }

    /// Something is left that neither the client nor a spool has taken: a full disk.
    pub(super) fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Whether this spool, all spools together or the disk is full. Then the handler has to wait for the
    /// client. To cut the response instead would let four large downloads at the same time end each other.
    pub(super) fn is_full(&self) -> bool {
        let spool = self.spool.as_ref();
        self.has_rest()
            || spool.is_some_and(|spool| spool.len() >= self.max_spool || spool.is_full())
    }

    /// Whether what the handler has printed may be put away now, if it has to be.
    pub(super) fn take_turn(&mut self) -> bool {
        !self.is_backed_up() || self.turn.take()
    }

    /// Whose turn it is to put away.
    pub(super) fn turn(&mut self) -> &mut Turn<'a> {
        &mut self.turn
    }

    /// Writes the pieces in order, in one call if the client takes them.
    pub(super) fn write(&mut self, pieces: &[IoSlice<'_>]) -> Result<(), Blocked> {
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.written == 0 {
            // The phase is set before the first byte is sent: if this worker dies after it, the
            // parent must not answer too.
            let now = time::now();
            self.keeper.entry.enter(Phase::Answering, now);
            self.first_byte = Some(now);
        }
        self.written += total as u64;
        let mut skip = 0;
        if !self.is_backed_up() {
            skip = taken(socket::send_gathered(self.client.socket(), pieces))?;
            self.since_wait += skip as u64;
        }
        for piece in pieces {
            let part = piece.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(piece.len());
            if !part.is_empty() {
                self.send_or_put_away(part)?;
            }
        }
        Ok(())
    }

    /// Sends what the client has not taken at once, and spools what it does not take within a short
    /// wait: a spool costs more than the wait.
    fn send_or_put_away(&mut self, mut part: &[u8]) -> Result<(), Blocked> {
        while !self.is_backed_up() && !part.is_empty() {
            let moved = std::mem::take(&mut self.since_wait);
            if !self.client.wait_briefly(poll::WRITABLE, moved) {
                break;
            }
            let n = taken(socket::send(self.client.socket(), part))?;
            self.since_wait += n as u64;
            part = part.get(n..).unwrap_or_default();
        }
        if part.is_empty() {
            return Ok(());
        }
        self.spool_part(part)
    }

    fn spool_part(&mut self, part: &[u8]) -> Result<(), Blocked> {
        let mut put = 0;
        if !self.has_rest() {
            let spool = match &mut self.spool {
                Some(spool) => spool,
                None => {
                    let spool = Spool::new(self.keeper, Use::Response, 0);
                    self.spool.insert(spool.map_err(Blocked::Unable)?)
                }
            };
            put = spool.append_some(part).map_err(Blocked::Unable)?;
            self.turn.use_up(put);
        }
        self.rest
            .extend_from_slice(part.get(put..).unwrap_or_default());
        Ok(())
    }

    /// Sends from the spool as much as the client takes now. True if any byte went.
    pub(super) fn drain(&mut self) -> Result<bool, Blocked> {
        let mut has_moved = false;
        if let Some(spool) = &mut self.spool {
            match send_on(self.client, spool.fd(), u64::MAX)? {
                Sent::All => {
                    if let Some(spool) = self.spool.take() {
                        spool.discard();
                    }
                }
                Sent::Some(0) => return Ok(false),
                Sent::Some(_) => {}
            }
            has_moved = true;
        }
        let mut rest = std::mem::take(&mut self.rest);
        if self.spool.is_none() && !rest.is_empty() {
            // Goes to the client without a spool: where memory has no room for a spool, the full
            // disk may never have any.
            let n = taken(socket::send(self.client.socket(), &rest))?;
            rest.drain(..n);
        }
        // There may be room again.
        if !rest.is_empty() {
            self.spool_part(&rest)?;
        }
        Ok(has_moved)
    }

    /// The spool, if the client has not taken everything.
    pub(super) fn take_spool(&mut self) -> Option<OwnedFd> {
        self.spool.take().map(Spool::into_fd)
    }
}

/// What a send has come to: a client that takes nothing now is no error.
fn taken(sent: sys::Result<usize>) -> Result<usize, Blocked> {
    match sent {
        Err(e) if e.is_would_block() => Ok(0),
        other => Ok(other?),
    }
}

enum Sent {
    All,
    Some(u64),
}

/// Sends until the end of the spool, until the client takes no more, or up to the bound.
fn send_on(client: &Client, spool: &OwnedFd, bound: u64) -> Result<Sent, Blocked> {
    const PIECE: usize = 1024 * 1024;
    let mut sent = 0;
    while sent < bound {
        match socket::send_file(client.socket(), spool.as_fd(), PIECE) {
            Ok(0) => return Ok(Sent::All),
            Ok(n) => sent += n as u64,
            Err(e) if e.is_would_block() => return Ok(Sent::Some(sent)),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(Sent::Some(sent))
}

/// Goes on with a response whose handler is long gone.
pub(super) fn resume(client: &Client, spool: Option<OwnedFd>, keep: bool) -> sys::Result<Outcome> {
    let spool = spool.ok_or(Error::new(&"recvmsg", Errno::PROTO))?;
    match send_on(client, &spool, SHARE) {
        Ok(Sent::All) if keep => Ok(Outcome::of(Verdict::Keep)),
        // A reset now would throw away what the kernel has not sent yet.
        Ok(Sent::All)
            if is_cut(client) && teardown::await_sent(client.socket()).unwrap_or(false) =>
        {
            Ok(Outcome::with(Verdict::DrainClose, spool))
        }
        Ok(Sent::All) => Ok(close(client)),
        Ok(Sent::Some(_)) if keep => Ok(Outcome::with(Verdict::DrainKeep, spool)),
        Ok(Sent::Some(_)) => Ok(Outcome::with(Verdict::DrainClose, spool)),
        Err(Blocked::Gone) => Ok(Outcome::of(Verdict::Close)),
        Err(Blocked::Unable(e)) => Err(e),
    }
}

/// Ends a connection so that the client can tell that its response is not whole: by a reset, as soon as
/// what there is of the response has been sent. Without the final chunk or the declared length a FIN
/// would say so too, but many take any end without an error for a good one. (A Unix domain socket knows
/// no reset: there the FIN is the best that is left.)
pub(super) fn cut(client: &Client, keeper: SpoolKeeper<'_>, spool: Option<OwnedFd>) -> Outcome {
    let _ = teardown::reset_on_close(client.socket(), true);
    // An empty spool makes the parent wait all the same until the client's kernel has everything.
    let nothing = || Spool::new(keeper, Use::Bulk, 0).map(Spool::into_fd);
    let spool = spool.map_or_else(nothing, Ok);
    let outcome = spool.and_then(|spool| resume(client, Some(spool), false));
    outcome.unwrap_or(Outcome::of(Verdict::Close))
}

/// Whether it is about to end by [`cut`].
fn is_cut(client: &Client) -> bool {
    teardown::will_reset(client.socket())
}

/// Ends a connection after a response. To close it with unread bytes would send RST, and the client might
/// lose the end of a complete response: then the worker sends FIN first, and the parent discards what comes.
pub(super) fn close(client: &Client) -> Outcome {
    let has_unread = crate::sys::fd::bytes_readable(client.socket()).unwrap_or(0) > 0;
    if !has_unread || is_cut(client) {
        return Outcome::of(Verdict::Close);
    }
    let _ = teardown::shutdown(client.socket(), teardown::Direction::Write);
    Outcome::of(Verdict::Linger)
}
