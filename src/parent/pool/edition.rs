//! Which workers were forked with which settings, and the next step from old ones to new ones.
//! Parent only.
//!
//! A new worker is ready before an old one has to leave, so that there are never fewer than before.
//! Decides and keeps books, as the pool does; refuses to fork and to tell anybody.

use super::{Duty, Pool, Worker};
use crate::scoreboard::Slot;

/// The settings that workers are forked with now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Edition {
    /// How many reloads came before.
    pub(super) number: u32,
    /// Workers of this edition that have become ready and have not replaced an older one yet.
    credit: usize,
    /// There may be workers of older editions that are to be replaced.
    is_mixed: bool,
}

impl Edition {
    /// A worker has become ready.
    pub(super) fn note_ready(&mut self, edition: u32) {
        self.credit += usize::from(self.is_mixed && edition == self.number);
    }
}

/// What the change to new settings needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::parent) enum Step {
    /// To wait for somebody, or nothing at all.
    Nothing,
    /// A new worker.
    Start,
    /// This one is to leave, as soon as it is free.
    Dismiss(Slot),
    /// Nothing any more: the last one of old has been told.
    Done,
}

impl Pool {
    /// Workers that are forked from now on have other settings.
    pub(in crate::parent) fn begin_edition(&mut self) {
        self.edition = Edition {
            number: self.edition.number.wrapping_add(1),
            credit: 0,
            is_mixed: true,
        };
    }

    /// Workers of older editions are being replaced.
    pub(in crate::parent) fn is_mixed(&self) -> bool {
        self.edition.is_mixed
    }

    /// Whether a worker is one of those that are being replaced.
    pub(in crate::parent) fn is_outdated(&self, slot: Slot) -> bool {
        let is_old = |worker: &Worker| worker.edition != self.edition.number;
        self.edition.is_mixed && self.get(slot).is_some_and(is_old)
    }

    /// The next step of the replacement. The idle go first: the busy may be done before their turn.
    pub(in crate::parent) fn next_step(&mut self, wanted: usize) -> Step {
        if !self.edition.is_mixed {
            return Step::Nothing;
        }
        let number = self.edition.number;
        let old = self.workers().filter(|(_, worker)| {
            worker.edition != number && !worker.is_dismissed && worker.duty != Duty::Retiring
        });
        let first = old.min_by_key(|(_, worker)| match worker.duty {
            Duty::Ready => 0,
            Duty::Busy(_) | Duty::Finishing => 1,
            Duty::Starting | Duty::Retiring => 2,
        });
        match first.map(|(slot, worker)| (slot, worker.duty)) {
            None => {
                self.edition.is_mixed = false;
                Step::Done
            }
            // It cannot hear yet.
            Some((_, Duty::Starting)) => Step::Nothing,
            Some((slot, _)) if self.may_lose_one(wanted) => {
                self.edition.credit = self.edition.credit.saturating_sub(1);
                Step::Dismiss(slot)
            }
            Some(_) if self.coming() > 0 => Step::Nothing,
            Some(_) => Step::Start,
        }
    }

    /// A new one is ready in its place, or there are more than there may be from now on.
    fn may_lose_one(&self, wanted: usize) -> bool {
        let living = self.living();
        (self.edition.credit > 0 && living > wanted) || living - self.coming() > self.most
    }

    /// Workers of the new edition that are on their way.
    fn coming(&self) -> usize {
        let number = self.edition.number;
        let new = self.workers().filter(|(_, w)| w.edition == number);
        new.filter(|(_, worker)| worker.duty == Duty::Starting)
            .count()
    }

    /// A busy worker leaves once it is free; until then it is none of those that are here to stay.
    pub(in crate::parent) fn dismiss(&mut self, slot: Slot) {
        if let Some(worker) = self.get_mut(slot)
            && worker.duty.is_occupied()
            && !worker.is_dismissed
        {
            worker.is_dismissed = true;
            self.dismissed += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parent::lot::Id;
    use crate::sys::process::Pid;
    use crate::sys::time::Moment;

    const BUSY: Duty = Duty::Busy(Id {
        index: 0,
        generation: 0,
    });

    fn add(pool: &mut Pool, duty: Duty) -> Slot {
        let slot = pool.vacant().unwrap();
        let pid = Pid::new(100 + i32::try_from(slot.0).unwrap()).unwrap();
        pool.add(slot, pid, Moment::default());
        pool.assign(slot, Duty::Ready, Moment::default());
        pool.assign(slot, duty, Moment::default());
        slot
    }

    #[test]
    fn each_worker_leaves_when_a_new_one_is_ready_and_the_busy_ones_last() {
        let mut pool = Pool::new(2);
        let (busy, idle) = (add(&mut pool, BUSY), add(&mut pool, Duty::Ready));
        assert_eq!(pool.next_step(2), Step::Nothing, "no reload");
        assert!(!pool.is_outdated(busy));
        pool.begin_edition();
        assert!(pool.is_outdated(busy));
        for (old, is_busy) in [(idle, false), (busy, true)] {
            assert_eq!(pool.next_step(2), Step::Start);
            let slot = pool.vacant().unwrap();
            pool.add(slot, Pid::new(7).unwrap(), Moment::default());
            assert_eq!(pool.next_step(2), Step::Nothing, "it is not ready");
            pool.assign(slot, Duty::Ready, Moment::default());
            assert!(!pool.is_outdated(slot));
            assert_eq!(pool.next_step(2), Step::Dismiss(old));
            if is_busy {
                assert_eq!(pool.living(), 3);
                pool.dismiss(old);
            } else {
                pool.remove(old);
            }
            assert_eq!(pool.living(), 2);
        }
        assert_eq!(pool.vacant(), None, "the busy one has its slot still");
        assert_eq!(
            (pool.next_step(2), pool.next_step(2)),
            (Step::Done, Step::Nothing)
        );
        pool.assign(busy, Duty::Retiring, Moment::default());
        assert_eq!((pool.living(), pool.total()), (2, 3));
        pool.remove(busy);
        assert_eq!((pool.living(), pool.total()), (2, 2));
    }

    #[test]
    fn a_dead_busy_worker_is_counted_once_and_a_second_reload_replaces_the_new_ones_too() {
        let mut pool = Pool::new(1);
        let (busy, surplus) = (add(&mut pool, BUSY), add(&mut pool, Duty::Ready));
        pool.begin_edition();
        assert_eq!(
            pool.next_step(1),
            Step::Dismiss(surplus),
            "two, where one may be"
        );
        pool.remove(surplus);
        assert_eq!(pool.next_step(1), Step::Start);
        let new = add(&mut pool, Duty::Ready);
        assert_eq!(pool.next_step(1), Step::Dismiss(busy));
        pool.dismiss(busy);
        pool.dismiss(busy);
        pool.begin_edition();
        assert_eq!(pool.next_step(1), Step::Start);
        assert_eq!(pool.vacant(), None, "not before somebody has left");
        pool.remove(busy);
        assert_eq!(pool.living(), 1);
        add(&mut pool, Duty::Ready);
        assert_eq!(pool.next_step(1), Step::Dismiss(new));
    }
}
