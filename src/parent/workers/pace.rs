//! The pace of starts: workers that die at once are not forked again at once, or without end. Pure.

use crate::sys::time::Moment;
use std::time::Duration;

/// Deaths in a row, without one request answered in between, before starts are paced one by one.
const LOOP_DEATHS: u32 = 8;
/// The first pause; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause: a crash loop costs one fork a second.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many workers have died in a row, and when the next may be started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    deaths: u32,
    not_before: Moment,
}

impl Pace {
    /// A worker could not be forked: to try again at once would fail again.
    pub(super) fn note_failure(&mut self, now: Moment) {
        self.note_death(now);
        self.not_before = self.not_before.max(now.after(FIRST_PAUSE));
    }

    /// A worker has died before it answered a request.
    pub(super) fn note_death(&mut self, now: Moment) {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.deaths.min(10));
        // The first one is replaced at once: one death is not a loop.
        if self.deaths > 0 {
            self.not_before = now.after(doubled.min(LONGEST_PAUSE));
        }
        self.deaths = self.deaths.saturating_add(1);
    }

    /// A worker has answered a request: workers can live, and starts are not paced.
    pub(super) fn note_success(&mut self) {
        *self = Self::default();
    }

    /// How many of `missing` may be started now.
    pub(super) fn allows(&self, missing: usize, now: Moment) -> usize {
        if now < self.not_before {
            0
        } else if self.deaths >= LOOP_DEATHS {
            missing.min(1)
        } else {
            missing
        }
    }

    /// When the next start is allowed.
    pub(super) fn not_before(&self) -> Moment {
        self.not_before
    }

    /// After a start in a crash loop: the next one has to wait.
    pub(super) fn note_start(&mut self, now: Moment) {
        if self.deaths >= LOOP_DEATHS {
            self.not_before = now.after(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_micros(ms * 1000)
    }

    #[test]
    fn a_crash_loop_is_slowed_to_one_start_a_second() {
        let mut pace = Pace::default();
        pace.note_failure(at(0));
        assert_eq!((pace.allows(4, at(9)), pace.allows(4, at(10))), (0, 4));
        let mut pace = Pace::default();
        pace.note_death(at(0));
        assert_eq!(pace.allows(4, at(0)), 4, "one death is no loop");
        let mut now = 0;
        for _ in 0..20 {
            pace.note_death(at(now));
            assert_eq!(pace.allows(4, at(now)), 0);
            now = pace.not_before().as_micros() / 1000;
            assert!(pace.allows(4, at(now)) > 0);
        }
        assert_eq!(pace.allows(4, at(now)), 1);
        pace.note_start(at(now));
        assert_eq!(pace.allows(4, at(now + 999)), 0);
        pace.note_success();
        assert_eq!(pace.allows(4, at(now)), 4);
    }
}
