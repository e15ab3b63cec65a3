//! Which busy workers may get an order ahead. Parent only.

use super::{Duty, Pool};
use crate::parent::lot::Id;
use crate::scoreboard::{Slot, Ticket};
use crate::sys::time::Moment;
use std::time::Duration;

/// Orders are sent ahead while requests take less than this. The way of an order
/// costs some 10 µs of CPU; what takes longer is better off with the first worker that is free.
const QUICK: Duration = Duration::from_millis(4);

/// Nobody waits behind a worker that has been busy for this long.
const STUCK: Duration = Duration::from_millis(16);

/// An order that was sent to a busy worker.
#[derive(Clone, Copy)]
pub(in crate::parent) struct Ahead {
    pub(in crate::parent) id: Id,
    pub(in crate::parent) ticket: Ticket,
}

impl Pool {
    /// A worker has begun something else meanwhile.
    pub(in crate::parent) fn note_began(&mut self, slot: Slot, began: Moment) {
        if let Some(worker) = self.get_mut(slot) {
            worker.since = worker.since.max(began);
        }
    }

    /// A busy worker has no order ahead.
    pub(in crate::parent) fn is_alone(&mut self, slot: Slot) {
        if let Some(worker) = self.get_mut(slot)
            && !std::mem::replace(&mut worker.is_alone, true)
        {
            self.alone.push(slot);
        }
    }

    /// A worker that has become busy a moment ago, and has had no order ahead since.
    pub(in crate::parent) fn next_alone(&mut self, now: Moment) -> Option<Slot> {
        while let Some(slot) = self.alone.pop() {
            let Some(worker) = self.get_mut(slot) else {
                continue;
            };
            worker.is_alone = false;
            let is_stuck = now.since(worker.since) > STUCK;
            let stays = !worker.is_dismissed && !worker.is_killed && worker.channel.is_some();
            if matches!(worker.duty, Duty::Busy(_)) && worker.ahead.is_none() && stays && !is_stuck
            {
                return Some(slot);
            }
        }
        None
    }

    /// Whether a worker has had its client for so long that nobody should wait behind it.
    pub(in crate::parent) fn is_stuck(&self, slot: Slot, now: Moment) -> bool {
        self.get(slot).is_none_or(|w| now.since(w.since) > STUCK)
    }

    /// Whether requests are so short that the way of an order is worth saving.
    pub(in crate::parent) fn is_quick(&self) -> bool {
        Duration::from_micros(self.service_micros) < QUICK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::Pid;
    use std::os::fd::OwnedFd;

    const ID: Id = Id {
        index: 0,
        generation: 0,
    };
    const BUSY: Duty = Duty::Busy(ID);

    fn at(ms: u64) -> Moment {
        Moment::from_micros(ms * 1000)
    }

    /// Workers that have been busy since 1 ms.
    fn busy(workers: usize) -> Pool {
        let mut pool = Pool::new(workers);
        for slot in (0..workers).map(Slot) {
            add(&mut pool, slot);
        }
        pool
    }

    fn add(pool: &mut Pool, slot: Slot) {
        pool.add(slot, Pid::new(100).unwrap(), at(0));
        pool.get_mut(slot).unwrap().channel = Some(channel());
        pool.assign(slot, Duty::Ready, at(0));
        pool.assign(slot, BUSY, at(1));
    }

    fn channel() -> OwnedFd {
        crate::sys::socket::pair().unwrap().0
    }

    /// Everybody who may get an order ahead now.
    fn all(pool: &mut Pool, now: Moment) -> Vec<usize> {
        let mut found = Vec::new();
        while let Some(slot) = pool.next_alone(now) {
            found.push(slot.0);
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn a_busy_worker_gets_one_order_ahead() {
        let mut pool = busy(2);
        assert_eq!(all(&mut pool, at(2)), [0, 1]);
        assert_eq!(all(&mut pool, at(2)), [], "they have had theirs");
        // It could not be sent; said twice, it is there once.
        pool.is_alone(Slot(1));
        pool.is_alone(Slot(1));
        assert_eq!(all(&mut pool, at(2)), [1]);
        // It goes on with that order, and may get the next one.
        pool.assign(Slot(0), BUSY, at(3));
        assert_eq!(all(&mut pool, at(3)), [0]);
        for slot in [Slot(0), Slot(1)] {
            pool.assign(slot, Duty::Ready, at(4));
        }
        pool.assign(Slot(1), BUSY, at(5));
        assert_eq!(all(&mut pool, at(5)), [1], "the other one is ready");
        pool.assign(Slot(0), BUSY, at(5));
        pool.assign(Slot(0), Duty::Ready, at(6));
        assert_eq!(all(&mut pool, at(6)), [], "it was busy");
    }

    #[test]
    fn no_order_goes_ahead_to_who_has_one_or_hears_nothing_or_is_about_to_leave() {
        type Change = fn(&mut Pool);
        let changes: [Change; 5] = [
            |pool| {
                let ticket = pool.next_ticket();
                pool.get_mut(Slot(0)).unwrap().ahead = Some(Ahead { id: ID, ticket });
            },
            |pool| pool.get_mut(Slot(0)).unwrap().channel = None,
            |pool| pool.get_mut(Slot(0)).unwrap().is_killed = true,
            |pool| pool.dismiss(Slot(0)),
            |pool| pool.assign(Slot(0), Duty::Retiring, at(1)),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut pool = busy(2);
            change(&mut pool);
            assert_eq!(all(&mut pool, at(2)), [1], "{n}");
        }
    }

    #[test]
    fn nobody_waits_behind_a_worker_that_is_stuck() {
        let mut pool = busy(2);
        pool.note_began(Slot(1), at(5));
        pool.note_began(Slot(1), at(3));
        for (now, first, second) in [(17, false, false), (20, true, false), (22, true, true)] {
            let stuck = [0, 1, 2].map(|n| pool.is_stuck(Slot(n), at(now)));
            assert_eq!(
                stuck,
                [first, second, true],
                "at {now}; nobody is in the last"
            );
        }
        assert_eq!(all(&mut pool, at(18)), [1]);
        // It has begun something else.
        pool.assign(Slot(0), BUSY, at(18));
        assert_eq!(all(&mut pool, at(18)), [0]);
    }

    #[test]
    fn who_comes_after_a_dead_worker_is_there_once() {
        let mut pool = busy(2);
        pool.remove(Slot(0));
        assert_eq!(pool.alone, [Slot(1)]);
        add(&mut pool, Slot(0));
        assert_eq!(pool.alone, [Slot(1), Slot(0)]);
        assert_eq!(all(&mut pool, at(2)), [0, 1]);
        // Who is not among them leaves the others alone.
        pool.assign(Slot(1), BUSY, at(2));
        pool.remove(Slot(0));
        assert_eq!(pool.alone, [Slot(1)]);
    }

    #[test]
    fn requests_are_quick_until_they_take_four_milliseconds() {
        let mut pool = Pool::new(1);
        assert!(pool.is_quick(), "nothing is known yet");
        for (ms, requests, expected) in [(3, 50, true), (20, 1, false), (3, 50, true)] {
            for _ in 0..requests {
                pool.note_service(Duration::from_millis(ms));
            }
            assert_eq!(pool.is_quick(), expected, "{requests} of {ms} ms");
        }
    }
}
