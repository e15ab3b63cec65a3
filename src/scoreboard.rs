//! The scoreboard: one slot per worker in shared memory, so that the parent knows how far a worker had come when it
//! dies, and workers know how busy a handler is. Atomics only, no pointers.
//!
//! A worker writes the words of its slot; the parent clears them when that worker has died. Few words have more than
//! one writer: the one in `share`, which worker and parent swap, and what all workers note in common (the folder
//! under the root's name, heavy handlers).

mod heavy;
mod share;
mod spooled;

pub(crate) use share::REST;
pub use share::Ticket;
pub(crate) use spooled::{Budget, Origin, Spooled};

use crate::limits::MAX_WORKERS;
use crate::sys::time::Moment;
use crate::sys::{Result, memory};
use spooled::ORIGINS;
use std::sync::atomic::{AtomicU64, Ordering};

/// A worker's place in the scoreboard, below `max-workers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub usize);

/// How far a worker has come with its client; decides what the parent does when it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No client: the worker has said its last verdict.
    Idle,
    /// Between two requests of its client: nothing is left to be sent or read.
    Kept,
    /// The worker has taken nothing from the socket yet: another worker can serve the client.
    Looking,
    /// The worker has taken a part of the request, and no handler has run: the client gets 503.
    Reading,
    /// The handler was launched and nothing was sent: the client gets 502.
    Launched,
    /// A byte of the response may have been sent: the connection is cut.
    Answering,
    /// The client was sent all that it gets: the connection is to be closed.
    Closing,
}

const PHASES: [Phase; 7] = [
    Phase::Idle,
    Phase::Kept,
    Phase::Looking,
    Phase::Reading,
    Phase::Launched,
    Phase::Answering,
    Phase::Closing,
];

/// Whether a worker puts a response away into a spool, or waits for its turn to, see [`Scoreboard::spooling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spooling {
    /// It has nothing to put away.
    No,
    /// It waits for its turn to write.
    Waiting,
    /// It writes.
    Writing,
}

/// Words of a slot: four cache lines, so that no two workers write to the same line.
const WORDS: usize = 32;

const PHASE: usize = 0;
const HANDLER_PID: usize = 1;
const HEARTBEAT: usize = 2;
const DEADLINE: usize = 3;
const ORDER: usize = 4;
const HANDLER: usize = 5;
const SPOOLED: usize = 6;
const REQUESTS: usize = 7;
const CLIENT_WAITS: usize = 8;
const LONGEST_HOLD_US: usize = 9;
/// The handler that the worker may run, 0 for none.
const CLAIM: usize = 10;
/// The same word of the parent's slot: how many of the others are in use.
const SIZE: usize = 10;
const IN_MEMORY: usize = 11;
const SPOOLING: usize = 12;
const SHARED: usize = 13;
/// The same word of the parent's slot.
const IS_NEEDED: usize = 13;
const BEGAN: usize = 14;
/// The same word of the parent's slot: which folder the workers have found under the root's name.
const ROOT: usize = 14;
const ANSWERED: usize = 15;
const OF_RESPONSES: usize = 16;
const ORIGIN: usize = 17;
const REDIRECTED: usize = 18;
/// The first words of the handler's name, for the status.
const NAME: usize = 24;

/// What a worker says of the request that its verdict is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The handler that it ran, or was refused for being at `max-concurrent`; 0 for none.
    pub handler: u64,
    /// Requests that were answered on the connection before.
    pub answered: u32,
    /// When it began.
    pub began: Moment,
    /// When it ended.
    pub ended: Moment,
    /// The handler runs on although its response is complete. The worker says that it is ready when the handler has
    /// ended.
    pub is_handler_running: bool,
    /// Other handlers have answered in place of this one (local redirects), and their places under `max-concurrent` may be
    /// free now.
    pub was_redirected: bool,
}

/// One worker's slot. Written by that worker; the parent clears it when the worker has died.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    words: &'a [AtomicU64; WORDS],
}

impl Entry<'_> {
    /// How far the worker has come.
    pub fn phase(&self) -> Phase {
        let number = usize::try_from(self.words[PHASE].load(Ordering::Acquire)).unwrap_or(0);
        PHASES.get(number).copied().unwrap_or(Phase::Idle)
    }

    /// Worker: says how far it has come, and gives a sign of life.
    pub fn enter(&self, phase: Phase, now: Moment) {
        self.beat(now);
        self.set_phase(phase);
    }

    /// Worker: says how far it has come.
    pub fn set_phase(&self, phase: Phase) {
        let number = PHASES.iter().position(|p| *p == phase).unwrap_or(0);
        self.words[PHASE].store(number as u64, Ordering::Release);
    }

    /// Worker: gives a sign of life.
    pub fn beat(&self, now: Moment) {
        self.words[HEARTBEAT].store(now.as_micros(), Ordering::Relaxed);
    }

    /// When the worker last gave a sign of life.
    pub fn heartbeat(&self) -> Moment {
        Moment::from_micros(self.words[HEARTBEAT].load(Ordering::Relaxed))
    }

    /// Worker: by when its request must have been answered; 0 for none.
    pub fn set_deadline(&self, deadline: Moment) {
        self.words[DEADLINE].store(deadline.as_micros(), Ordering::Release);
    }

    /// By when its request must have been answered.
    pub fn deadline(&self) -> Moment {
        Moment::from_micros(self.words[DEADLINE].load(Ordering::Acquire))
    }

    /// Worker: which order it serves from now on, and how many requests were answered on that connection before.
    pub fn begin(&self, order: Ticket, answered: u32, now: Moment) {
        self.words[ANSWERED].store(u64::from(answered), Ordering::Relaxed);
        self.words[BEGAN].store(now.as_micros(), Ordering::Relaxed);
        self.enter(Phase::Looking, now);
        // Written last, and before the client is touched. So if a worker dies and its last order does not stand here,
        // nothing of that order was begun.
        self.words[ORDER].store(order.number(), Ordering::Release);
    }

    /// Which order it has begun last. Later ones are greater.
    pub fn order(&self) -> Option<Ticket> {
        Ticket::from_number(self.words[ORDER].load(Ordering::Acquire))
    }

    /// A report on its last request, while it is between two requests.
    pub fn report(&self) -> Report {
        Report {
            handler: self.handler(),
            answered: self.answered(),
            began: self.began(),
            ended: self.heartbeat(),
            is_handler_running: false,
            was_redirected: self.words[REDIRECTED].load(Ordering::Relaxed) != 0,
        }
    }

    /// When it began its present or last request.
    pub fn began(&self) -> Moment {
        Moment::from_micros(self.words[BEGAN].load(Ordering::Relaxed))
    }

    /// How many requests were answered on its connection before its present or last one.
    fn answered(&self) -> u32 {
        u32::try_from(self.words[ANSWERED].load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    /// Worker: which handler it runs (a hash of its name), 0 for none.
    pub fn set_handler(&self, handler: u64) {
        self.words[HANDLER].store(handler, Ordering::Relaxed);
    }

    /// Worker: whether other handlers answer in the place of this one.
    pub fn set_redirected(&self, is_so: bool) {
        self.words[REDIRECTED].store(u64::from(is_so), Ordering::Relaxed);
    }

    /// Which handler it runs, or was refused for being at `max-concurrent`.
    pub fn handler(&self) -> u64 {
        self.words[HANDLER].load(Ordering::Relaxed)
    }

    /// Worker: says that it is about to run this handler; 0 takes that back. If two workers say so at once, at least one
    /// sees the other's claim, since all processes see these stores and loads in one order.
    pub fn set_claim(&self, handler: u64) {
        self.words[CLAIM].store(handler, Ordering::SeqCst);
    }

    fn claim(&self) -> u64 {
        self.words[CLAIM].load(Ordering::SeqCst)
    }

    /// Worker: the process id of the handler, 0 for none.
    pub fn set_handler_pid(&self, pid: i32) {
        self.words[HANDLER_PID].store(u64::from(pid.unsigned_abs()), Ordering::Relaxed);
    }

    /// The process id of the handler, 0 for none.
    pub fn handler_pid(&self) -> i32 {
        i32::try_from(self.words[HANDLER_PID].load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Worker: the process id and, for the status, the name of the handler that it runs; a name that
    /// is too long is cut.
    pub fn set_running(&self, pid: i32, name: &[u8]) {
        self.set_handler_pid(pid);
        let words = self.words.iter().skip(NAME);
        let mut pieces = name.chunks(size_of::<u64>());
        for word in words {
            let mut bytes = [0; size_of::<u64>()];
            for (byte, of_name) in bytes.iter_mut().zip(pieces.next().unwrap_or_default()) {
                *byte = *of_name;
            }
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
    }

    /// The beginning of the name of the handler that it ran last.
    pub fn handler_name(&self) -> Vec<u8> {
        let mut name = Vec::new();
        for word in self.words.iter().skip(NAME) {
            name.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
        name
    }

    /// Worker: says that it writes to its spool, or wants to. If two workers say so at once, at least one sees the
    /// other.
    pub fn set_spooling(&self, spooling: Spooling) {
        self.words[SPOOLING].store(spooling as u64, Ordering::SeqCst);
    }

    /// Worker: one more request answered.
    pub fn count_request(&self) {
        self.words[REQUESTS].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests answered in this slot.
    pub fn requests(&self) -> u64 {
        self.words[REQUESTS].load(Ordering::Relaxed)
    }

    /// Worker: counts that it had to wait for a client, since the spool was full.
    pub fn count_client_wait(&self) {
        self.words[CLIENT_WAITS].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it had to wait for a client.
    pub fn client_waits(&self) -> u64 {
        self.words[CLIENT_WAITS].load(Ordering::Relaxed)
    }

    /// Worker: notes how long one visit of a client kept it in which no handler ran.
    pub fn note_hold(&self, micros: u64) {
        self.words[LONGEST_HOLD_US].fetch_max(micros, Ordering::Relaxed);
    }

    /// The longest that a visit without a handler has kept it, in microseconds.
    pub fn longest_hold_us(&self) -> u64 {
        self.words[LONGEST_HOLD_US].load(Ordering::Relaxed)
    }

    /// Parent: makes the slot ready for the next worker. Counts (requests, waits, the longest hold) stay.
    pub fn clear(&self) {
        let of_worker = [
            PHASE,
            HANDLER_PID,
            DEADLINE,
            ORDER,
            HANDLER,
            CLAIM,
            SPOOLED,
            IN_MEMORY,
            OF_RESPONSES,
            ORIGIN,
            SPOOLING,
            SHARED,
            BEGAN,
            ANSWERED,
        ];
        for word in of_worker {
            if let Some(word) = self.words.get(word) {
                word.store(0, Ordering::Release);
            }
        }
    }
}

/// All slots. The first one is the parent's own: what its parked spools hold, and how many workers' slots are in use.
/// There is room for every `max-workers` that a reload may bring: pages that nobody has touched take no memory.
pub struct Scoreboard {
    slots: &'static [[AtomicU64; WORDS]],
    /// What the parent's spools hold by origin: of requests, and of responses. Only the parent writes here; readers add
    /// what workers hold.
    by_origin: &'static [[AtomicU64; 2]],
    /// Which handlers are heavy.
    heavy: &'static [AtomicU64],
}

impl Scoreboard {
    /// Parent, before the first fork; so many slots are in use.
    pub fn new(workers: usize) -> Result<Self> {
        // One more than workers: while one is replaced there are two.
        let words = memory::shared_words((1 + MAX_WORKERS + 1) * WORDS)?;
        let by_origin = memory::shared_words(ORIGINS * 2)?;
        let board = Self {
            slots: words.as_chunks().0,
            by_origin: by_origin.as_chunks().0,
            heavy: memory::shared_words(heavy::WORDS)?,
        };
        board.set_size(workers);
        Ok(board)
    }

    /// Parent: says how many workers' slots are in use. Workers that live already see it too.
    pub fn set_size(&self, workers: usize) {
        self.parent().words[SIZE].store(workers as u64, Ordering::Release);
    }

    /// The slot of a worker; the parent's own if the number is out of range.
    #[expect(clippy::indexing_slicing, reason = "there are at least two slots")]
    pub fn entry(&self, slot: Slot) -> Entry<'_> {
        let found = self.slots.get(slot.0.saturating_add(1));
        Entry {
            words: found.unwrap_or(&self.slots[0]),
        }
    }

    /// The parent's own slot.
    pub fn parent(&self) -> Entry<'_> {
        self.entry(Slot(usize::MAX))
    }

    /// The workers' slots.
    pub fn workers(&self) -> impl Iterator<Item = Entry<'_>> {
        let size = self.parent().words[SIZE].load(Ordering::Acquire);
        let slots = self.slots.iter().skip(1);
        slots
            .take(usize::try_from(size).unwrap_or(0))
            .map(|words| Entry { words })
    }

    /// Worker: notes which folder it has found under the root's name. True if no worker has noted that one before.
    pub fn note_root(&self, found: u64) -> bool {
        self.parent().words[ROOT].swap(found, Ordering::Relaxed) != found
    }

    /// How many workers write to their spools, or wait for their turn, as `how` says.
    pub fn spooling(&self, how: Spooling) -> usize {
        let is_so = |e: &Entry<'_>| e.words[SPOOLING].load(Ordering::SeqCst) == how as u64;
        self.workers().filter(is_so).count()
    }

    /// Workers that run this handler now, or are about to.
    pub fn concurrent(&self, handler: u64) -> usize {
        self.workers().filter(|e| e.claim() == handler).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_is_read_as_it_was_written() {
        let board = Scoreboard::new(2).unwrap();
        for phase in PHASES {
            board.entry(Slot(1)).enter(phase, Moment::from_micros(5));
            assert_eq!(board.entry(Slot(1)).phase(), phase);
            assert_eq!(board.entry(Slot(0)).phase(), Phase::Idle);
        }
    }

    #[test]
    fn what_is_counted_outlives_the_worker_and_the_rest_does_not() {
        let board = Scoreboard::new(1).unwrap();
        let entry = board.entry(Slot(0));
        entry.count_request();
        entry.set_spooled(Spooled::new(10, true, true));
        board.parent().set_spooled(Spooled::new(5, false, false));
        let total = board.spooled_total();
        assert_eq!((total.bytes, total.in_memory), (15, 10));
        entry.clear();
        assert_eq!(entry.requests(), 1);
        assert_eq!(board.spooled_total(), Spooled::new(5, false, false));
    }

    #[test]
    fn a_board_that_has_grown_is_looked_at_as_a_whole() {
        let board = Scoreboard::new(1).unwrap();
        let last = board.entry(Slot(MAX_WORKERS));
        let seven = Spooled::new(7, false, false);
        last.set_spooled(seven);
        assert_eq!(board.spooled_total(), Spooled::default());
        board.set_size(MAX_WORKERS + 1);
        assert_eq!(
            (board.spooled_total(), board.workers().count()),
            (seven, 4097)
        );
        board.entry(Slot(MAX_WORKERS + 1)).set_spooled(seven);
        assert_eq!(board.parent().spooled(), seven, "out of range");
    }

    #[test]
    fn a_handler_name_is_kept_as_far_as_there_is_room() {
        let board = Scoreboard::new(2).unwrap();
        let entry = board.entry(Slot(0));
        let long = "/a-name".repeat(10);
        for (name, kept) in [("/longer-than-8", 14), (&long, 64), ("/a", 2), ("", 0)] {
            entry.set_running(1, name.as_bytes());
            assert_eq!(entry.handler_name(), name.as_bytes()[..kept].to_vec());
        }
        assert!(board.entry(Slot(1)).handler_name().is_empty());
    }

    #[test]
    fn claims_count_as_concurrent_until_they_are_taken_back() {
        let board = Scoreboard::new(3).unwrap();
        for slot in 0..3 {
            board.entry(Slot(slot)).set_handler(7);
        }
        board.entry(Slot(0)).set_claim(7);
        board.entry(Slot(2)).set_claim(7);
        assert_eq!((board.concurrent(7), board.concurrent(8)), (2, 0));
        board.entry(Slot(0)).set_claim(0);
        board.entry(Slot(2)).clear();
        assert_eq!(board.concurrent(7), 0);
    }
}
