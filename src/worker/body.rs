//! The request's body: decoded and counted, in memory while it is small, else in a spool. A worker
//! never sleeps on a client that is still sending: what has arrived goes into the spool, and the
//! spool with everything else that the next worker must know goes back to the parent.
//!
//! Layout of a spool that is not complete: body, then head, then the trailer of fixed size. The
//! trailer stands behind, and is cut off before the launch: a program that reopens its stdin or
//! rewinds it must see the body and nothing else.

use super::Client;
use super::input;
use super::spool::{Spool, SpoolKeeper};
use crate::http::{BodyLength, CHUNKED_BYTES, Chunked, Malformed};
use crate::scoreboard::Phase;
use crate::sys::{self, Errno, Error, fd, fd::AsFd, file, signal, socket, time};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Bytes moved at a time, and the most that is kept in memory: what a pipe holds by default.
const PIECE: usize = 64 * 1024;
/// A client that has delivered this much at a stretch is worth a short wait.
const LOT: u64 = 128 * 1024;
/// That wait: shorter than the way back to the parent and here again is long.
const SHORT_WAIT: Duration = Duration::from_millis(1);
/// Parked uploads wake the parent when this much more has arrived: one wake-up in place of dozens.
const LOW_WATER: u64 = 32 * 1024;
/// First bytes of the trailer; the last digit counts the layouts.
const MAGIC: &[u8; 4] = b"CAF1";
const TRAILER_BYTES: usize = 4 + 8 + 8 + 1 + 8 + CHUNKED_BYTES + 1;

/// How far a body has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    left: Left,
    /// Decoded bytes so far.
    pub(super) total: u64,
    /// 100 (Continue) is due, and was not sent yet.
    wants_continue: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Bytes(u64),
    Chunks(Chunked),
}

impl Progress {
    /// At the start of a body.
    pub(super) fn new(body: BodyLength, expect_continue: bool) -> Self {
        let left = match body {
            BodyLength::None => Left::Bytes(0),
            BodyLength::Length(n) => Left::Bytes(n),
            BodyLength::Chunked => Left::Chunks(Chunked::new()),
        };
        Self {
            left,
            total: 0,
            wants_continue: expect_continue,
        }
    }

    fn is_done(&self) -> bool {
        match &self.left {
            Left::Bytes(n) => *n == 0,
            Left::Chunks(chunked) => chunked.is_done(),
        }
    }

    fn missing(&self) -> u64 {
        match &self.left {
            Left::Bytes(n) => *n,
            Left::Chunks(chunked) => chunked.missing(),
        }
    }

    fn to_trailer(self, head_len: usize) -> [u8; TRAILER_BYTES] {
        let (kind, left, chunks) = match self.left {
            Left::Bytes(n) => (0, n, [0; CHUNKED_BYTES]),
            Left::Chunks(chunked) => (1, 0, chunked.to_bytes()),
        };
        let mut trailer = [0; TRAILER_BYTES];
        let parts: [&[u8]; 7] = [
            MAGIC,
            &(head_len as u64).to_le_bytes(),
            &self.total.to_le_bytes(),
            &[kind],
            &left.to_le_bytes(),
            &chunks,
            &[u8::from(self.wants_continue)],
        ];
        for (place, byte) in trailer.iter_mut().zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        trailer
    }

    /// The progress and the length of the head that stands before the trailer.
    fn from_trailer(trailer: &[u8; TRAILER_BYTES]) -> Option<(Self, u64)> {
        let rest = trailer.strip_prefix(MAGIC)?;
        let (head_len, rest) = rest.split_first_chunk::<8>()?;
        let (total, rest) = rest.split_first_chunk::<8>()?;
        let (kind, rest) = rest.split_first()?;
        let (left, rest) = rest.split_first_chunk::<8>()?;
        let (chunks, rest) = rest.split_first_chunk::<CHUNKED_BYTES>()?;
        let left = match kind {
            0 => Left::Bytes(u64::from_le_bytes(*left)),
            1 => Left::Chunks(Chunked::from_bytes(chunks)?),
            _ => return None,
        };
        let total = u64::from_le_bytes(*total);
        let wants_continue = rest == [1];
        Some((
            Self {
                left,
                total,
                wants_continue,
            },
            u64::from_le_bytes(*head_len),
        ))
    }
}

/// What reading came to.
pub(super) enum Read<'a> {
    /// All of it is here: in a spool, or in the reader's memory.
    Complete(Option<Spool<'a>>),
    /// The client has to send more first; the spool is what the next worker needs.
    Parked(OwnedFd),
    /// Longer than allowed.
    TooLarge,
    /// The framing is broken: nothing after it may be read as a request.
    Malformed(Malformed),
    /// The client closed before the end.
    ClientGone,
    /// No room for it.
    Unable(sys::Error),
}

/// Why the next piece is not there.
enum Stop {
    Wait,
    TooLarge,
    Malformed(Malformed),
    ClientGone,
    Unable(sys::Error),
}

impl From<sys::Error> for Stop {
    fn from(e: sys::Error) -> Self {
        match e.errno {
            Errno::CONNRESET | Errno::PIPE => Self::ClientGone,
            _ if e.is_would_block() => Self::Wait,
            _ => Self::Unable(e),
        }
    }
}

/// Reads bodies; its memory is reused from request to request.
pub(super) struct BodyReader {
    memory: Vec<u8>,
    scratch: Box<[u8]>,
    /// The data of one piece's chunks: stored together, since a chunk may be one byte.
    decoded: Vec<u8>,
}

/// One body being read.
pub(super) struct Reading<'r, 'a> {
    pub(super) client: &'r Client,
    pub(super) keeper: SpoolKeeper<'a>,
    pub(super) head: &'r [u8],
    pub(super) max_body: u64,
}

impl BodyReader {
    pub(super) fn new() -> Self {
        let scratch = vec![0; PIECE].into_boxed_slice();
        Self {
            memory: Vec::with_capacity(PIECE),
            scratch,
            decoded: Vec::with_capacity(PIECE),
        }
    }

    /// The body of a request that was complete without a spool.
    pub(super) fn memory(&self) -> &[u8] {
        &self.memory
    }

    /// Forgets the body of the request before.
    pub(super) fn reset(&mut self) {
        self.memory.clear();
    }

    /// Reads on until the body is complete or the client has to send more.
    pub(super) fn read<'a>(
        &mut self,
        job: &Reading<'_, 'a>,
        progress: &mut Progress,
        mut spool: Option<Spool<'a>>,
    ) -> Read<'a> {
        let was_parked = spool.is_some();
        let mut since_wait = 0;
        while !progress.is_done() {
            let before = progress.total;
            let stop = match self.read_piece(job, progress, &mut spool) {
                Ok(()) => {
                    since_wait += progress.total - before;
                    // A fast client and a slow disk: this may go on for long without a wait.
                    job.keeper.entry.enter(Phase::Reading, time::now());
                    continue;
                }
                Err(stop) => stop,
            };
            match stop {
                Stop::Wait if since_wait >= LOT && is_more_coming(job.client) => {
                    since_wait = 0;
                }
                Stop::Wait => return self.park(job, *progress, spool),
                Stop::TooLarge => return Read::TooLarge,
                Stop::Malformed(malformed) => return Read::Malformed(malformed),
                Stop::ClientGone => return Read::ClientGone,
                Stop::Unable(e) => return Read::Unable(e),
            }
        }
        if was_parked && !job.client.is_unix() {
            // The mark of `park`: the next request may be shorter than what this body lacked.
            let _ = socket::set_receive_low_water(job.client.socket(), 1);
        }
        Read::Complete(spool)
    }

    fn read_piece<'a>(
        &mut self,
        job: &Reading<'_, 'a>,
        progress: &mut Progress,
        spool: &mut Option<Spool<'a>>,
    ) -> Result<(), Stop> {
        match &mut progress.left {
            Left::Bytes(left) => {
                let want = usize::try_from(*left).unwrap_or(PIECE).min(PIECE);
                let room = self.scratch.get_mut(..want).unwrap_or_default();
                let n = socket::receive(job.client.socket(), room)?;
                if n == 0 {
                    return Err(Stop::ClientGone);
                }
                *left -= n as u64;
                progress.total += n as u64;
                let piece = self.scratch.get(..n).unwrap_or_default();
                store(&mut self.memory, job.keeper, spool, piece)
            }
            Left::Chunks(chunked) => {
                let n = socket::peek(job.client.socket(), &mut self.scratch)?;
                if n == 0 {
                    return Err(Stop::ClientGone);
                }
                let mut rest = self.scratch.get(..n).unwrap_or_default();
                self.decoded.clear();
                while !rest.is_empty() && !chunked.is_done() {
                    let step = chunked.decode(rest).map_err(Stop::Malformed)?;
                    self.decoded.extend_from_slice(step.data);
                    let total = progress.total + self.decoded.len() as u64;
                    // A chunk that cannot fit is refused by its size, before it is read.
                    if total.saturating_add(chunked.announced()) > job.max_body {
                        return Err(Stop::TooLarge);
                    }
                    rest = rest.get(step.consumed..).unwrap_or_default();
                }
                let taken = n - rest.len();
                progress.total += self.decoded.len() as u64;
                store(&mut self.memory, job.keeper, spool, &self.decoded)?;
                Ok(input::discard(job.client, taken)?)
            }
        }
    }

    /// Puts away what is here until the client has sent more.
    fn park<'a>(
        &mut self,
        job: &Reading<'_, 'a>,
        mut progress: Progress,
        spool: Option<Spool<'a>>,
    ) -> Read<'a> {
        if progress.wants_continue && progress.total == 0 {
            // A client that does not take 25 bytes now will send its body unasked, or not at all.
            let _ = socket::send(job.client.socket(), b"HTTP/1.1 100 Continue\r\n\r\n", false);
        }
        progress.wants_continue = false;
        let low_water = progress.missing().clamp(1, LOW_WATER);
        // Without the mark there are only more wake-ups.
        let _ = socket::set_receive_low_water(
            job.client.socket(),
            usize::try_from(low_water).unwrap_or(1),
        );
        match self.put_away(job, progress, spool) {
            Ok(spool) => Read::Parked(spool.into_fd()),
            Err(e) => Read::Unable(e),
        }
    }

    /// Puts body, head and progress where the next worker finds them.
    pub(super) fn put_away<'a>(
        &mut self,
        job: &Reading<'_, 'a>,
        progress: Progress,
        spool: Option<Spool<'a>>,
    ) -> sys::Result<Spool<'a>> {
        let expected = progress.total.saturating_add(progress.missing());
        let mut spool = self.spool_up(job.keeper, spool, expected)?;
        spool.append(job.head)?;
        spool.append(&progress.to_trailer(job.head.len()))?;
        Ok(spool)
    }

    /// Moves the body that is in memory into a spool.
    pub(super) fn spool_up<'a>(
        &mut self,
        keeper: SpoolKeeper<'a>,
        spool: Option<Spool<'a>>,
        expected: u64,
    ) -> sys::Result<Spool<'a>> {
        if let Some(spool) = spool {
            return Ok(spool);
        }
        let mut spool = Spool::new(keeper, expected)?;
        spool.append(&self.memory)?;
        self.memory.clear();
        Ok(spool)
    }
}

/// Keeps a piece in memory while all fits, else in the spool.
fn store<'a>(
    memory: &mut Vec<u8>,
    keeper: SpoolKeeper<'a>,
    spool: &mut Option<Spool<'a>>,
    piece: &[u8],
) -> Result<(), Stop> {
    if spool.is_none() && memory.len() + piece.len() > PIECE {
        let mut new = Spool::new(keeper, u64::MAX).map_err(Stop::Unable)?;
        new.append(memory).map_err(Stop::Unable)?;
        memory.clear();
        *spool = Some(new);
    }
    match spool {
        Some(spool) => spool.append(piece).map_err(Stop::Unable),
        None => {
            memory.extend_from_slice(piece);
            Ok(())
        }
    }
}

fn is_more_coming(client: &Client) -> bool {
    signal::wait_one(client.socket(), signal::READABLE, SHORT_WAIT).unwrap_or(false)
}

/// What a spool of an unfinished body says.
pub(super) struct Resumed<'a> {
    pub(super) progress: Progress,
    pub(super) head: Vec<u8>,
    pub(super) spool: Spool<'a>,
}

/// Takes up a body where an earlier worker left it: reads head and trailer. What is written
/// next goes over them.
pub(super) fn resume<'a>(keeper: SpoolKeeper<'a>, fd: OwnedFd) -> sys::Result<Resumed<'a>> {
    let broken = Error {
        call: "pread",
        errno: Errno::PROTO,
    };
    let size = file::stat(fd.as_fd())?.size;
    let mut trailer = [0; TRAILER_BYTES];
    let trailer_at = size.checked_sub(TRAILER_BYTES as u64).ok_or(broken)?;
    read_exactly(&fd, &mut trailer, trailer_at)?;
    let (progress, head_len) = Progress::from_trailer(&trailer).ok_or(broken)?;
    if head_len > size || progress.total.checked_add(head_len) != Some(trailer_at) {
        return Err(broken);
    }
    let mut head = vec![0; usize::try_from(head_len).map_err(|_| broken)?];
    read_exactly(&fd, &mut head, progress.total)?;
    let mut spool = Spool::resume(keeper, fd, size);
    spool.rewind(progress.total);
    Ok(Resumed {
        progress,
        head,
        spool,
    })
}

fn read_exactly(fd: &OwnedFd, buffer: &mut [u8], at: u64) -> sys::Result<()> {
    let n = fd::pread(fd.as_fd(), buffer, at)?;
    if n == buffer.len() {
        Ok(())
    } else {
        Err(Error {
            call: "pread",
            errno: Errno::PROTO,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_survives_the_trailer() {
        let mut chunked = Chunked::new();
        chunked.decode(b"10\r\nabc").unwrap();
        for left in [Left::Bytes(0), Left::Bytes(u64::MAX), Left::Chunks(chunked)] {
            for wants_continue in [false, true] {
                let progress = Progress {
                    left,
                    total: 77,
                    wants_continue,
                };
                let trailer = progress.to_trailer(1234);
                assert_eq!(Progress::from_trailer(&trailer), Some((progress, 1234)));
            }
        }
    }

    #[test]
    fn a_damaged_trailer_is_refused() {
        let progress = Progress::new(BodyLength::Chunked, false);
        let good = progress.to_trailer(10);
        for place in [0, 3, 20] {
            let mut bad = good;
            bad[place] ^= 0xff;
            assert_eq!(Progress::from_trailer(&bad), None, "byte {place}");
        }
    }
}
