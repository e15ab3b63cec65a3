//! Heavy handlers: those of whose responses much waits in spools, for clients that read slowly. When there is
//! no more room their workers have to wait with them, so all heavy handlers together leave some workers to
//! the others.

use super::{Entry, Scoreboard};
use crate::limits::Limits;
use std::sync::atomic::Ordering;

/// Words of the set, of 64 bits each. Handlers are many and bits few, so a handler may be taken for heavy
/// because another one is; then it leaves some workers to the others, and no more.
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
    /// Much of a response of this handler waits for its client, or it has no room to wait there.
    pub(crate) fn note_heavy(&self, handler: u64) {
        let (word, bit) = place_of(handler);
        if let Some(word) = self.heavy.get(word) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Parent: nobody's response waits any more.
    pub(crate) fn forget_heavy(&self) {
        for word in self.heavy {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Whether much of this handler's responses waits for clients.
    pub(crate) fn is_heavy(&self, handler: u64) -> bool {
        let (word, bit) = place_of(handler);
        let word = self.heavy.get(word);
        word.is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// How many more requests of heavy handlers may run. Less than 0, if more run than may.
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
        board.note_heavy(7);
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
