//! The request's body: decoded and counted, in memory while it is small, else in a spool. A worker
//! never sleeps on a client that is still sending: what has arrived goes into the spool, and the
//! spool with everything else that the next worker must know goes back to the parent.

use super::buffer::Buffer;
use super::client::Client;
use super::input;
use super::large_body::LargeBody;
use super::progress::{BodyProgress, Left, read_exactly};
use super::spool::{NoRoom, Spool, SpoolKeeper, Use};
use crate::http::{Chunked, Malformed};
use crate::scoreboard::Phase;
use crate::sys::{self, Errno, poll, socket, time};
use std::os::fd::OwnedFd;

/// Bytes moved at a time, and the most that is kept in memory: what a pipe holds by default.
pub(super) const PIECE: usize = 64 * 1024;
/// A parked upload wakes the parent only when this much more has arrived: one wake-up in place of dozens.
const LOW_WATER: u64 = 32 * 1024;
/// A client that sends at least so many bytes in a millisecond is lively. The limit is low because
/// a client whose bytes wait for a worker can send no more than fits into the socket.
const LIVELY: u64 = 4 * 1024;

/// What reading came to.
pub(super) enum BodyRead<'a> {
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
    /// There is no room for more of it now; the spool is what the next worker needs.
    Stalled(OwnedFd),
    /// No room for it.
    Unable(NoRoom),
}

/// Why the next piece is not there.
enum ReadStop {
    Wait,
    TooLarge,
    Malformed(Malformed),
    ClientGone,
    Stalled,
    Unable(NoRoom),
}

impl From<sys::Error> for ReadStop {
    fn from(e: sys::Error) -> Self {
        match e.errno {
            Errno::CONNRESET | Errno::PIPE => Self::ClientGone,
            _ if e.is_would_block() => Self::Wait,
            _ => Self::Unable(e.into()),
        }
    }
}

/// Reads bodies; its memory is reused from request to request.
pub(super) struct BodyReader {
    memory: Vec<u8>,
    large: Option<LargeBody>,
    scratch: Buffer,
    /// The data of one piece's chunks: stored together, since a chunk may be one byte.
    decoded: Vec<u8>,
}

/// One body being read.
pub(super) struct Reading<'r, 'a> {
    pub(super) client: &'r Client,
    pub(super) keeper: SpoolKeeper<'a>,
    pub(super) head: &'r [u8],
    pub(super) max_body: u64,
    /// Bytes that an earlier worker had read, if one has begun.
    pub(super) taken_up: Option<u64>,
}

impl Reading<'_, '_> {
    /// Whether the client sends fast, judged by the bytes that this worker has got and the time
    /// since the client was parked: what it has sent since then may have waited here for a worker.
    fn is_lively(&self, delivered: u64) -> bool {
        let serve = &self.client.serve;
        let time = self.client.received.since(serve.progress).as_millis();
        self.taken_up.is_none() || u128::from(delivered / LIVELY) >= time
    }

    /// Waits for more, as long as the client is lively; true if it has sent more.
    fn wait_briefly(&self, total: u64, moved: u64) -> bool {
        self.is_lively(self.delivered(total)) && self.client.wait_briefly(poll::READABLE, moved)
    }

    fn delivered(&self, total: u64) -> u64 {
        total - self.taken_up.unwrap_or(0)
    }

    /// What a spool that is made now is used for. A client that has just delivered more than a
    /// piece will not come back often.
    fn use_of_spool(&self, total: u64) -> Use {
        let delivered = self.delivered(total);
        if delivered > PIECE as u64 && self.is_lively(delivered) {
            Use::Bulk
        } else {
            Use::ParkedBody
        }
    }
}

impl BodyReader {
    pub(super) fn new() -> Self {
        Self {
            memory: Vec::with_capacity(PIECE),
            large: None,
            scratch: Buffer::new(PIECE),
            decoded: Vec::with_capacity(PIECE),
        }
    }

    /// The body of a request that was complete without a spool, if it is small.
    pub(super) fn memory(&self) -> &[u8] {
        &self.memory
    }

    /// The same if it is large.
    pub(super) fn take_large(&mut self) -> Option<LargeBody> {
        self.large.take()
    }

    /// Takes up the body that an earlier worker has put into a spool. A small one goes on in memory, and
    /// needs no spool any more: most clients wait for nothing but the end of their head to have been read.
    pub(super) fn take_up<'a>(&mut self, spool: Spool<'a>) -> sys::Result<Option<Spool<'a>>> {
        let len = usize::try_from(spool.len()).unwrap_or(usize::MAX);
        if len > PIECE {
            return Ok(Some(spool));
        }
        self.memory.resize(len, 0);
        read_exactly(spool.fd(), &mut self.memory, 0)?;
        spool.discard();
        Ok(None)
    }

    /// Forgets the body of the request before.
    pub(super) fn reset(&mut self) {
        self.memory.clear();
        self.large = None;
    }

    /// Reads on until the body is complete or the client has to send more.
    pub(super) fn read<'a>(
        &mut self,
        job: &Reading<'_, 'a>,
        progress: &mut BodyProgress,
        mut spool: Option<Spool<'a>>,
    ) -> BodyRead<'a> {
        let mut moved = 0;
        while !progress.is_done() {
            let before = progress.total;
            let stop = match self.read_piece(job, progress, &mut spool) {
                Ok(()) => {
                    moved += progress.total - before;
                    // With a fast client and a slow disk this loop may run for long without a wait,
                    // and the parent must see that the worker lives.
                    job.keeper.entry.enter(Phase::Reading, time::now());
                    continue;
                }
                Err(stop) => stop,
            };
            match stop {
                ReadStop::Wait if job.wait_briefly(progress.total, moved) => moved = 0,
                ReadStop::Wait => return self.park(job, *progress, spool),
                ReadStop::Stalled => {
                    return match self.spool_with_head(job, *progress, spool) {
                        Ok(spool) => BodyRead::Stalled(spool.into_fd()),
                        Err(why) => BodyRead::Unable(why),
                    };
                }
                ReadStop::TooLarge => return BodyRead::TooLarge,
                ReadStop::Malformed(malformed) => return BodyRead::Malformed(malformed),
                ReadStop::ClientGone => return BodyRead::ClientGone,
                ReadStop::Unable(why) => return BodyRead::Unable(why),
            }
        }
        if job.taken_up.is_some() && !job.client.is_unix() {
            // Takes back the low-water mark that `park` has set: the next request may be shorter
            // than what was missing of this body.
            let _ = socket::set_receive_low_water(job.client.socket(), 1);
        }
        BodyRead::Complete(spool)
    }

    fn read_piece<'a>(
        &mut self,
        job: &Reading<'_, 'a>,
        progress: &mut BodyProgress,
        spool: &mut Option<Spool<'a>>,
    ) -> Result<(), ReadStop> {
        self.check_room(job, progress, spool.is_some())?;
        let BodyProgress { left, total, .. } = progress;
        match left {
            Left::Bytes(left) => {
                let before = *left;
                self.read_bytes(job, left, *total, spool)?;
                *total += before - *left;
                Ok(())
            }
            Left::Chunks(chunked) => self.read_chunks(job, chunked, total, spool),
        }
    }

    /// Whether there is room for the next piece. Asked before the piece is taken from the socket,
    /// where it can wait.
    fn check_room(
        &self,
        job: &Reading<'_, '_>,
        progress: &BodyProgress,
        has_spool: bool,
    ) -> Result<(), ReadStop> {
        let piece = match progress.left {
            Left::Bytes(left) => left.min(PIECE as u64),
            Left::Chunks(_) => PIECE as u64,
        };
        let more = piece + self.memory.len() as u64;
        let fits = self.large.is_some() || (!has_spool && more <= PIECE as u64);
        if fits || job.keeper.takes_body(more) {
            return Ok(());
        }
        match progress.total + piece > job.keeper.budget.total {
            true => Err(ReadStop::Unable(job.keeper.limit())),
            false => Err(ReadStop::Stalled),
        }
    }

    /// `total`: bytes before.
    fn read_bytes<'a>(
        &mut self,
        job: &Reading<'_, 'a>,
        left: &mut u64,
        total: u64,
        spool: &mut Option<Spool<'a>>,
    ) -> Result<(), ReadStop> {
        let client = job.client.socket();
        let n = match &mut self.large {
            Some(large) => large.receive(client)?,
            None => {
                let want = usize::try_from(*left).unwrap_or(PIECE).min(PIECE);
                socket::receive(client, self.scratch.get_mut(..want).unwrap_or_default())?
            }
        };
        if n == 0 {
            return Err(ReadStop::ClientGone);
        }
        let whole = total.saturating_add(*left);
        *left -= n as u64;
        if self.large.is_some() {
            return Ok(());
        }
        let piece = self.scratch.get(..n).unwrap_or_default();
        let used_for = job.use_of_spool(total + n as u64);
        if spool.is_none() && self.memory.len() + n > PIECE && used_for == Use::Bulk {
            self.large = LargeBody::new(job.keeper, whole, [&self.memory, piece]);
        }
        if self.large.is_some() {
            self.memory.clear();
            return Ok(());
        }
        let memory = &mut self.memory;
        store(memory, job.keeper, spool, piece, (used_for, whole))
    }

    fn read_chunks<'a>(
        &mut self,
        job: &Reading<'_, 'a>,
        chunked: &mut Chunked,
        total: &mut u64,
        spool: &mut Option<Spool<'a>>,
    ) -> Result<(), ReadStop> {
        let n = socket::peek(job.client.socket(), &mut self.scratch)?;
        if n == 0 {
            return Err(ReadStop::ClientGone);
        }
        let mut rest = self.scratch.get(..n).unwrap_or_default();
        self.decoded.clear();
        while !rest.is_empty() && !chunked.is_done() {
            let step = chunked.decode(rest).map_err(ReadStop::Malformed)?;
            self.decoded.extend_from_slice(step.data);
            let total = *total + self.decoded.len() as u64;
            // A chunk that cannot fit is refused by its size, before it is read.
            if total.saturating_add(chunked.announced()) > job.max_body {
                return Err(ReadStop::TooLarge);
            }
            rest = rest.get(step.consumed..).unwrap_or_default();
        }
        let taken = n - rest.len();
        *total += self.decoded.len() as u64;
        let whole = total.saturating_add(chunked.announced());
        let used_for = job.use_of_spool(*total);
        let (memory, decoded) = (&mut self.memory, &self.decoded);
        store(memory, job.keeper, spool, decoded, (used_for, whole))?;
        Ok(input::discard(job.client, taken)?)
    }

    /// Puts away what is here until the client has sent more.
    fn park<'a>(
        &mut self,
        job: &Reading<'_, 'a>,
        mut progress: BodyProgress,
        spool: Option<Spool<'a>>,
    ) -> BodyRead<'a> {
        if progress.wants_continue && progress.total == 0 {
            // If the client's socket has no room for these 25 bytes, the client sends its body
            // unasked, or not at all.
            let _ = socket::send(job.client.socket(), b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        progress.wants_continue = false;
        let low_water = progress.missing().clamp(1, LOW_WATER);
        // If the mark cannot be set, the parent only wakes up more often.
        let _ = socket::set_receive_low_water(
            job.client.socket(),
            usize::try_from(low_water).unwrap_or(1),
        );
        match self.spool_with_head(job, progress, spool) {
            Ok(spool) => BodyRead::Parked(spool.into_fd()),
            Err(why) => BodyRead::Unable(why),
        }
    }

    /// Puts body, head and progress where the next worker finds them.
    pub(super) fn spool_with_head<'a>(
        &mut self,
        job: &Reading<'_, 'a>,
        progress: BodyProgress,
        spool: Option<Spool<'a>>,
    ) -> Result<Spool<'a>, NoRoom> {
        job.keeper.check_waiting()?;
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
        let used_for = match self.large {
            Some(_) => Use::Bulk,
            None => Use::ParkedBody,
        };
        let mut spool = Spool::new(keeper, used_for, expected)?;
        match self.large.take() {
            Some(large) => {
                keeper.take_memory_back(large.size());
                spool.append(large.bytes())?;
            }
            None => spool.append(&self.memory)?,
        }
        self.memory.clear();
        Ok(spool)
    }
}

/// Keeps a piece in memory while all fits, else in the spool. `expected`: bytes of the whole body,
/// as far as they are known.
fn store<'a>(
    memory: &mut Vec<u8>,
    keeper: SpoolKeeper<'a>,
    spool: &mut Option<Spool<'a>>,
    piece: &[u8],
    (used_for, expected): (Use, u64),
) -> Result<(), ReadStop> {
    if spool.is_none() && memory.len() + piece.len() > PIECE {
        let mut new = Spool::new(keeper, used_for, expected).map_err(unable)?;
        new.append(memory).map_err(unable)?;
        memory.clear();
        *spool = Some(new);
    }
    match spool {
        Some(spool) => spool.append(piece).map_err(unable),
        None => {
            memory.extend_from_slice(piece);
            Ok(())
        }
    }
}

fn unable(why: sys::Error) -> ReadStop {
    ReadStop::Unable(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Serve, Stage};
    use crate::scoreboard::{Budget, Scoreboard, Slot, Ticket};
    use crate::sys::{fd::AsFd, time::Moment};
    use std::num::NonZero;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    /// A client that was parked so long before this worker got it, and whose next bytes are here.
    fn client(parked: Duration) -> (Client, UnixStream) {
        let (own, other) = UnixStream::pair().unwrap();
        socket::send(other.as_fd(), b"more").unwrap();
        let mut client = Client::new(
            own.into(),
            Serve {
                connection: 1,
                stage: Stage::Body,
                is_head_resumed: false,
                is_last: false,
                listener: 0,
                requests: 0,
                head_begun: Moment::default(),
                progress: Moment::default(),
                ticket: Ticket::new(0),
                woken: Moment::default(),
                peer: None,
            },
        );
        client.serve.progress = client.received;
        client.received = client.received.after(parked);
        (client, other)
    }

    #[test]
    fn a_parked_upload_is_lively_if_it_came_at_4_kib_a_millisecond() {
        const KIB: u64 = 1024;
        let board = Scoreboard::new(1).unwrap();
        // Bytes of earlier workers, of this one, and how long the client was parked before it.
        for (taken_up, delivered, parked_us, is_lively) in [
            (None, 0, 3_600_000_000, true),
            (None, 80 * KIB, 3_600_000_000, true),
            (Some(0), 0, 999, true),
            (Some(0), 0, 1_000, false),
            (Some(0), 4 * KIB - 1, 1_000, false),
            (Some(0), 4 * KIB, 1_999, true),
            (Some(0), 4 * KIB, 2_000, false),
            (Some(0), 80 * KIB, 20_000, true),
            (Some(0), 80 * KIB, 21_000, false),
            (Some(9_000 * KIB), 80 * KIB, 21_000, false),
            (Some(9_000 * KIB), 84 * KIB, 21_000, true),
        ] {
            let (client, _other) = client(Duration::from_micros(parked_us));
            let job = Reading {
                client: &client,
                keeper: SpoolKeeper {
                    scoreboard: &board,
                    entry: board.entry(Slot(0)),
                    folder: c"/tmp",
                    budget: Budget::new(0, 0),
                    max_memory: 0,
                    max_writers: NonZero::<usize>::MIN,
                },
                head: b"",
                max_body: u64::MAX,
                taken_up,
            };
            let case = format!("{taken_up:?} {delivered} {parked_us}");
            let total = taken_up.unwrap_or(0) + delivered;
            assert_eq!(job.is_lively(delivered), is_lively, "{case}");
            // Only a lively one is waited for, and has its spool where much is written at once.
            assert_eq!(job.wait_briefly(total, 64 * KIB), is_lively, "{case}");
            let is_bulk = is_lively && delivered > PIECE as u64;
            assert_eq!(job.use_of_spool(total) == Use::Bulk, is_bulk, "{case}");
        }
    }
}
