//! Heavy handlers: handlers whose large responses wait in spools, for clients that read slowly. When the spools have no
//! more room these handlers have to wait, and their workers with them. So all heavy handlers together leave a
//! quarter of the workers to the others.

use super::{Entry, Scoreboard};
use crate::limits::Limits;
use std::sync::atomic::Ordering;

/// Words of the set, of 64 bits each. Handlers are many and bits few, so a handler may be taken for heavy because another
/// one is. Then it leaves some workers to the others, and nothing else changes.
pub(super) const WORDS: usize = 16;

fn place_of(handler: u64) -> (usize, u64) {
    let bit = handler % (WORDS as u64 * 64);
    (usize::try_from(bit / 64).unwrap_or(0), 1 << (bit % 64))
}

/// How many workers all heavy handlers together may have.
fn most(limits: &Limits) -> usize {
    let workers = limits.max_workers.unwrap_or(usize::MAX);
    (workers / 4 * 3 + workers % 4 * 3 / 4).max(1)
}

impl Scoreboard {
    /// A large part of a response of this handler waits for its client, or there is no room in which it could wait.
    pub(crate) fn note_heavy(&self, handler: u64) {
        let (word, bit) = place_of(handler);
        if let Some(word) = self.heavy.get(word) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Parent: no response waits in a spool any more, so no handler is heavy.
    pub(crate) fn forget_heavy(&self) {
        for word in self.heavy {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Whether any handler is heavy.
    pub(crate) fn has_heavy(&self) -> bool {
        let mut words = self.heavy.iter();
        words.any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Whether this handler is heavy.
    pub(crate) fn is_heavy(&self, handler: u64) -> bool {
        let (word, bit) = place_of(handler);
        let word = self.heavy.get(word);
        word.is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// How many more requests of heavy handlers may run; negative if more of them run than may.
    pub(crate) fn room_for_heavy(&self, limits: &Limits) -> isize {
        let is_heavy = |entry: &Entry<'_>| entry.claim() != 0 && self.is_heavy(entry.claim());
        let running = self.workers().filter(is_heavy).count();
        most(limits).cast_signed().saturating_sub_unsigned(running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::Slot;

    #[test]
    fn heavy_handlers_leave_a_quarter_of_the_workers_to_others() {
        let with = |workers| Limits {
            max_workers: Some(workers),
            ..Limits::default()
        };
        for (workers, expected) in [(1, 1), (2, 1), (4, 3), (7, 5), (16, 12), (4096, 3072)] {
            assert_eq!(most(&with(workers)), expected, "{workers}");
        }
        let board = Scoreboard::new(4).unwrap();
        let limits = with(4);
        for (slot, handler) in [(0, 7), (1, 7), (2, 8)] {
            board.entry(Slot(slot)).set_claim(handler);
        }
        assert_eq!(
            (board.is_heavy(7), board.room_for_heavy(&limits)),
            (false, 3)
        );
        assert!(!board.has_heavy());
        board.note_heavy(7);
        assert!(board.has_heavy());
        assert_eq!(
            (board.is_heavy(7), board.room_for_heavy(&limits)),
            (true, 1)
        );
        board.note_heavy(8);
        board.entry(Slot(3)).set_claim(8);
        assert_eq!(board.room_for_heavy(&limits), -1);
        board.entry(Slot(0)).set_claim(0);
        assert_eq!(board.room_for_heavy(&limits), 0);
        board.forget_heavy();
        assert_eq!(
            (board.is_heavy(8), board.room_for_heavy(&limits)),
            (false, 3)
        );
    }
}
