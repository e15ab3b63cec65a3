//! Workers take turns at spooling responses. If many handlers print much for clients that take little, their
//! relays could keep every CPU busy, and a worker with only a few bytes to move for its client would stand in
//! the run queue behind all of them. So no more workers spool at a time than half the number of CPUs.

use super::spool::SpoolKeeper;
use crate::scoreboard::Spooling;
use std::time::Duration;

/// Bytes that are spooled in one turn.
const SHARE: usize = 1024 * 1024;
/// Longest time until a relay asks again, in milliseconds.
const LONGEST: u64 = 20;

/// One relay's turn.
pub(super) struct Turn<'a> {
    keeper: SpoolKeeper<'a>,
    /// Bytes that the relay may still spool in this turn. At 0 it has no turn.
    left: usize,
    /// The relay has used up its share while others waited: one of them comes first.
    gives_way: bool,
}

impl<'a> Turn<'a> {
    pub(super) fn new(keeper: SpoolKeeper<'a>) -> Self {
        Self {
            keeper,
            left: 0,
            gives_way: false,
        }
    }

    /// Goes on with a turn, or begins one; false if the relay has to wait. Of several that come at
    /// once too many may step back; they ask again.
    pub(super) fn take(&mut self) -> bool {
        if self.is_taken() {
            return true;
        }
        self.keeper.entry.set_spooling(Spooling::Writing);
        let writing = self.keeper.scoreboard.spooling(Spooling::Writing);
        let gives_way = std::mem::take(&mut self.gives_way);
        if gives_way || writing > self.keeper.max_writers.get() {
            self.keeper.entry.set_spooling(Spooling::Waiting);
            return false;
        }
        self.left = SHARE;
        true
    }

    /// It is this one's turn.
    pub(super) fn is_taken(&self) -> bool {
        self.left > 0
    }

    /// So many bytes were spooled.
    pub(super) fn use_up(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
        if self.left == 0 {
            self.end();
            self.gives_way = self.keeper.scoreboard.spooling(Spooling::Waiting) > 0;
        }
    }

    /// Ends the turn: there is nothing to spool now.
    pub(super) fn end(&mut self) {
        self.left = 0;
        self.keeper.entry.set_spooling(Spooling::No);
    }

    /// When to ask again: all who wait together ask about once a millisecond.
    pub(super) fn pause(&self) -> Duration {
        let waiting = self.keeper.scoreboard.spooling(Spooling::Waiting);
        let rounds = waiting / self.keeper.max_writers;
        Duration::from_millis((rounds as u64).clamp(1, LONGEST))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::{Budget, Scoreboard, Slot};
    use std::num::NonZero;

    fn turn(board: &Scoreboard, slot: usize) -> Turn<'_> {
        Turn::new(SpoolKeeper {
            scoreboard: board,
            entry: board.entry(Slot(slot)),
            folder: c"/tmp",
            budget: Budget::new(0, 0),
            max_memory: 0,
            max_writers: NonZero::new(2).unwrap(),
        })
    }

    #[test]
    fn no_more_write_at_a_time_than_may() {
        let board = Scoreboard::new(4).unwrap();
        let (mut a, mut b, mut c) = (turn(&board, 0), turn(&board, 1), turn(&board, 2));
        assert!(a.take() && b.take() && !c.take());
        assert_eq!(board.spooling(Spooling::Waiting), 1);
        a.use_up(SHARE - 1);
        assert!(
            a.take() && !c.take(),
            "a turn goes on until its share is used up"
        );
        a.use_up(1);
        assert!(!a.take(), "somebody else waits");
        assert!(c.take() && !a.take());
        b.end();
        assert!(a.take());
        drop(c);
        drop(a);
        assert_eq!(board.spooling(Spooling::Writing), 0);
        assert_eq!(board.spooling(Spooling::Waiting), 0);
    }

    #[test]
    fn the_more_wait_the_less_often_each_asks() {
        let board = Scoreboard::new(64).unwrap();
        for (waiting, ms) in [(0, 1), (2, 1), (8, 4), (60, 20)] {
            for slot in 0..waiting {
                board.entry(Slot(slot)).set_spooling(Spooling::Waiting);
            }
            assert_eq!(turn(&board, 63).pause(), Duration::from_millis(ms));
        }
    }
}
