//! What worker and parent can both take: the client that a worker rests with. One word of the slot says whether the
//! worker rests. Whoever swaps that out, worker or parent, has the client. `model/` tries this in every interleaving.

use super::{Entry, IS_NEEDED, SHARED, Scoreboard};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// In the word: the worker rests.
const RESTING: u64 = 1;
/// In its place: the worker may not rest and has to say its next verdict, since it is to leave.
const LEAVING: u64 = 2;

/// The number of an order. No two orders have the same, later ones have greater ones, and none has 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

impl Ticket {
    /// The one after `number` others.
    pub fn new(number: u64) -> Self {
        Self(number.saturating_add(1))
    }

    /// On the wire.
    pub fn number(self) -> u64 {
        self.0
    }

    /// From the wire.
    pub fn from_number(number: u64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }
}

/// How long a worker rests with a client that says nothing, see [`Entry::rest`].
pub(crate) const REST: Duration = Duration::from_secs(1);

impl Entry<'_> {
    /// Worker: it is done, and begins to rest with its client; false if it may not, since it is to leave. If a parent
    /// says that it needs workers ([`Scoreboard::need_workers`]) while a worker begins to rest, at least one of them
    /// sees it, since all processes see these stores and loads in one order.
    pub fn rest(&self) -> bool {
        self.share(RESTING)
    }

    /// Whether it rests.
    pub fn is_resting(&self) -> bool {
        self.words[SHARED].load(Ordering::SeqCst) == RESTING
    }

    /// Ends the rest: true for the side that has the client now. Of worker and parent it is exactly one.
    pub fn end_rest(&self) -> bool {
        self.unshare(RESTING)
    }

    /// Parent: forbids the worker to rest; false if it rests now.
    pub fn must_speak(&self) -> bool {
        self.share(LEAVING) || self.words[SHARED].load(Ordering::SeqCst) == LEAVING
    }

    fn share(&self, what: u64) -> bool {
        let word = &self.words[SHARED];
        let shared = word.compare_exchange(0, what, Ordering::SeqCst, Ordering::SeqCst);
        shared.is_ok()
    }

    fn unshare(&self, what: u64) -> bool {
        let word = &self.words[SHARED];
        let taken = word.compare_exchange(what, 0, Ordering::SeqCst, Ordering::SeqCst);
        taken.is_ok()
    }
}

impl Scoreboard {
    /// Parent: says whether workers are needed. While they are, none may rest.
    pub fn need_workers(&self, is_needed: bool) {
        self.parent().words[IS_NEEDED].store(u64::from(is_needed), Ordering::SeqCst);
    }

    /// Whether workers are needed.
    pub fn needs_workers(&self) -> bool {
        self.parent().words[IS_NEEDED].load(Ordering::SeqCst) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::Slot;
    use crate::sys::time::Moment;

    #[test]
    fn a_rest_is_ended_by_one_of_two() {
        let board = Scoreboard::new(1).unwrap();
        let entry = board.entry(Slot(0));
        assert!(!entry.end_rest() && !board.needs_workers());
        for _ in 0..1_000 {
            entry.rest();
            let ended = std::thread::scope(|scope| {
                let threads = [(); 2].map(|()| scope.spawn(|| board.entry(Slot(0)).end_rest()));
                threads.map(|thread| usize::from(thread.join().unwrap()))
            });
            assert_eq!(
                (ended.iter().sum::<usize>(), entry.is_resting()),
                (1, false)
            );
        }
        assert_eq!(entry.order(), None);
        entry.begin(Ticket::new(7), 3, Moment::from_micros(5));
        assert_eq!((entry.order(), entry.answered()), (Some(Ticket::new(7)), 3));
        assert_eq!(
            (entry.began(), entry.heartbeat()),
            (entry.began(), Moment::from_micros(5))
        );
        entry.rest();
        entry.clear();
        assert!(!entry.is_resting() && entry.answered() == 0 && entry.order().is_none());
        board.need_workers(true);
        assert!(board.needs_workers());
    }

    #[test]
    fn nothing_is_put_in_the_place_of_what_can_be_taken() {
        let board = Scoreboard::new(1).unwrap();
        let entry = board.entry(Slot(0));
        assert!(entry.rest() && !entry.rest() && !entry.must_speak());
        assert!(entry.end_rest() && !entry.end_rest());
        assert!(entry.must_speak() && entry.must_speak());
        assert!(!entry.rest() && !entry.end_rest() && !entry.is_resting());
        entry.clear();
        assert!(entry.rest());
    }

    #[test]
    fn a_ticket_is_never_zero() {
        let [first, second] = [0, 1].map(Ticket::new);
        assert_eq!(Ticket::from_number(first.number()), Some(first));
        assert_eq!(Ticket::from_number(0), None);
        assert!(first < second);
    }
}
