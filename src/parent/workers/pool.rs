//! The pool: which worker has which slot, which are ready, how many are to be started or retired, and which
//! settings each was forked with.
//!
//! It decides and keeps the counts; it never forks, kills, or sends a message.

use super::duty::Duty;
use super::edition::Edition;
use super::pace::Pace;
use crate::parent::context::{Id, Turnover};
use crate::scoreboard::{Slot, Ticket};
use crate::sys::process::Pid;
use crate::sys::time::Moment;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// An extra worker leaves after this long without a client.
const IDLE_EXTRA: Duration = Duration::from_secs(10);

/// The pool grows when the first client in the queue has waited this long, and so many workers are busy with one client
/// for longer than this that fewer than `workers` are left: their handlers wait for something. If workers get through
/// their requests in less, a queue only means that the server is busy, and more processes would slow it down.
const GROWTH_WAIT: Duration = Duration::from_millis(50);

/// A living worker.
pub(super) struct Worker {
    pub(super) pid: Pid,
    /// Tells its channel's events from those of workers that had the slot before. 24 bits.
    pub(super) generation: u32,
    /// `None` until it has connected, and again after it hung up.
    pub(super) channel: Option<OwnedFd>,
    pub(super) duty: Duty,
    /// When it was forked.
    pub(super) born: Moment,
    /// Since when it has its present duty.
    pub(super) since: Moment,
    /// The parent has killed it; why stands in the log.
    pub(super) is_killed: bool,
    /// When the watchdog last saw it wait for a disk.
    pub(super) at_disk: Moment,
    /// The settings that it was forked with: how many reloads came before.
    pub(super) edition: u32,
    /// It was told to leave, or will be told as soon as it is free.
    pub(super) is_dismissed: bool,
    /// It has answered something.
    pub(super) has_served: bool,
    /// The ticket of its last order.
    pub(super) ticket: Ticket,
    /// The client that was taken back from it, whose descriptor it may still have. Until it closes that copy, the
    /// parent's own close does not end the connection. It closes it before its next verdict, so there is one such
    /// client at most.
    pub(super) copy: Option<Id>,
}

/// What decides how many workers are started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// Workers that there always are (`workers`).
    pub(super) wanted: usize,
    /// Workers that there may be (`max-workers`).
    pub(super) most: usize,
    /// Workers that there are, without those that are leaving.
    pub(super) living: usize,
    /// Of these, not ready for the first time yet.
    pub(super) starting: usize,
    /// How many may be starting at a time while the pool grows.
    pub(super) at_once: usize,
    /// Of the living, those that have had one client for longer than `GROWTH_WAIT`.
    pub(super) held: usize,
    /// Clients that wait for a worker.
    pub(super) queued: usize,
    /// How long the first of them has waited.
    pub(super) waited: Duration,
}

/// How many workers are to be started now, if the pace allows. Growth doubles the pool: it reaches `max-workers` in a
/// few steps, and a short burst does not fork all of them at once.
pub(super) fn workers_to_start(need: Need) -> usize {
    let missing = need.wanted.saturating_sub(need.living);
    if missing > 0 {
        return missing;
    }
    let are_quick = need.living.saturating_sub(need.held) >= need.wanted;
    if need.queued == 0 || need.waited < GROWTH_WAIT || are_quick {
        return 0;
    }
    let unserved = need.queued.saturating_sub(need.starting);
    let step = need.living.saturating_sub(need.starting).max(1);
    unserved
        .min(step)
        .min(need.at_once.saturating_sub(need.starting))
        .min(need.most.saturating_sub(need.living))
}

/// When it is to be decided (again) whether the pool grows, if the first client in the queue waits since `woken`.
pub(super) fn growth_due(woken: Moment, now: Moment) -> Moment {
    let due = woken.after(GROWTH_WAIT);
    if due > now {
        due
    } else {
        now.after(GROWTH_WAIT)
    }
}

/// The pool.
pub(in crate::parent) struct Pool {
    /// `most` and one more: while a worker is replaced there are two. Never shrinks.
    slots: Vec<Option<Worker>>,
    most: usize,
    /// Ready workers, the newest last: it goes first, its caches are warm.
    ready: Vec<Slot>,
    /// Workers by duty: starting, ready, busy or finishing, retiring.
    tally: [usize; 4],
    /// Of the busy ones, those that will leave once they are free.
    dismissed: usize,
    next_generation: u32,
    /// Tickets ever given out.
    tickets: u64,
    edition: Edition,
    /// Recent time from the beginning of a request to its end, in microseconds (exponentially weighted).
    service_micros: u64,
    /// Paces starts.
    pub(super) pace: Pace,
}

impl Pool {
    /// An empty pool for at most so many workers.
    pub(super) fn new(most: usize) -> Self {
        Self {
            slots: std::iter::repeat_with(|| None).take(most + 1).collect(),
            most,
            ready: Vec::with_capacity(most + 1),
            tally: [0; 4],
            dismissed: 0,
            next_generation: 0,
            tickets: 0,
            edition: Edition::default(),
            service_micros: 0,
            pace: Pace::default(),
        }
    }

    /// How many workers there may be.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Sets how many workers there may be; returns the number of slots that are in use then.
    pub(super) fn set_most(&mut self, most: usize) -> usize {
        self.most = most;
        let len = self.slots.len().max(most + 1);
        self.slots.resize_with(len, || None);
        len
    }

    /// Every slot, also vacant ones.
    pub(in crate::parent) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.slots.len()).map(Slot)
    }

    /// Every living worker.
    pub(super) fn workers(&self) -> impl Iterator<Item = (Slot, &Worker)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(i, worker)| worker.as_ref().map(|w| (Slot(i), w)))
    }

    /// All worker processes, also those that are leaving.
    pub(in crate::parent) fn total(&self) -> usize {
        self.tally.iter().sum()
    }

    /// Workers that have not been told to leave.
    pub(in crate::parent) fn living(&self) -> usize {
        let [starting, ready, busy, _] = self.tally;
        starting + ready + busy - self.dismissed
    }

    /// Workers that have had one client for longer than `GROWTH_WAIT`.
    pub(super) fn held(&self, now: Moment) -> usize {
        let is_held = |worker: &Worker| {
            worker.duty.is_occupied()
                && !worker.is_dismissed
                && now.since(worker.since) >= GROWTH_WAIT
        };
        self.workers().filter(|(_, worker)| is_held(worker)).count()
    }

    /// Whether some handler runs on after its response.
    pub(in crate::parent) fn is_finishing(&self) -> bool {
        self.workers()
            .any(|(_, worker)| worker.duty == Duty::Finishing)
    }

    /// Workers that have not said their first verdict.
    pub(in crate::parent) fn starting(&self) -> usize {
        let [starting, ..] = self.tally;
        starting
    }

    /// Workers that are ready now.
    pub(in crate::parent) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Workers that have a client, or a handler that runs on.
    pub(in crate::parent) fn busy(&self) -> usize {
        let [_, _, busy, _] = self.tally;
        busy
    }

    fn tally(&mut self, duty: Duty) -> &mut usize {
        let [starting, ready, busy, retiring] = &mut self.tally;
        match duty {
            Duty::Starting => starting,
            Duty::Ready => ready,
            Duty::Busy(_) | Duty::Finishing => busy,
            Duty::Retiring => retiring,
        }
    }

    /// A worker.
    pub(super) fn get(&self, slot: Slot) -> Option<&Worker> {
        self.slots.get(slot.0)?.as_ref()
    }

    /// A worker.
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Worker> {
        self.slots.get_mut(slot.0)?.as_mut()
    }

    /// The slot of the worker with this process id.
    pub(in crate::parent) fn find(&self, pid: Pid) -> Option<Slot> {
        let found = self.workers().find(|(_, w)| w.pid == pid);
        found.map(|(slot, _)| slot)
    }

    /// The lowest vacant slot.
    pub(super) fn vacant(&self) -> Option<Slot> {
        let mut slots = self.slots.iter().take(self.most + 1);
        slots.position(Option::is_none).map(Slot)
    }

    /// A worker was forked for this slot.
    pub(super) fn add(&mut self, slot: Slot, pid: Pid, now: Moment) {
        self.next_generation = (self.next_generation + 1) & 0x00ff_ffff;
        if let Some(place) = self.slots.get_mut(slot.0) {
            *place = Some(Worker {
                pid,
                generation: self.next_generation,
                channel: None,
                duty: Duty::Starting,
                born: now,
                since: now,
                is_killed: false,
                at_disk: Moment::default(),
                edition: self.edition.number,
                is_dismissed: false,
                has_served: false,
                ticket: Ticket::new(0),
                copy: None,
            });
            *self.tally(Duty::Starting) += 1;
        }
    }

    /// A worker has ended.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Worker> {
        let worker = self.slots.get_mut(slot.0)?.take()?;
        *self.tally(worker.duty) -= 1;
        if worker.is_dismissed && worker.duty.is_occupied() {
            self.dismissed -= 1;
        }
        if worker.duty == Duty::Ready {
            self.ready.retain(|s| *s != slot);
        }
        Some(worker)
    }

    /// Gives a worker a duty.
    pub(super) fn assign(&mut self, slot: Slot, duty: Duty, now: Moment) {
        let Some(worker) = self.get_mut(slot) else {
            return;
        };
        let before = std::mem::replace(&mut worker.duty, duty);
        worker.since = now;
        let (is_dismissed, edition) = (worker.is_dismissed, worker.edition);
        if is_dismissed && before.is_occupied() && !duty.is_occupied() {
            self.dismissed -= 1;
        }
        if before == Duty::Starting && duty == Duty::Ready {
            self.edition.note_ready(edition);
        }
        *self.tally(before) -= 1;
        *self.tally(duty) += 1;
        if before == Duty::Ready && duty != Duty::Ready {
            // Mostly it is the last one, since an order goes to the worker that became ready last.
            if self.ready.last() == Some(&slot) {
                self.ready.pop();
            } else {
                self.ready.retain(|s| *s != slot);
            }
        }
        if before != Duty::Ready && duty == Duty::Ready {
            self.ready.push(slot);
        }
    }

    /// The ticket of the next order.
    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket::new(self.tickets)
    }

    /// What a worker does.
    pub(in crate::parent) fn duty(&self, slot: Slot) -> Option<Duty> {
        self.get(slot).map(|worker| worker.duty)
    }

    /// The newest ready worker.
    pub(in crate::parent) fn newest_ready(&self) -> Option<Slot> {
        self.ready.last().copied()
    }

    /// If there are more workers than `wanted`: the one that has been idle for long enough to leave, or else when one
    /// will have been.
    pub(super) fn surplus(&self, wanted: usize, now: Moment) -> Surplus {
        let longest = self.ready.first().copied();
        let Some((slot, worker)) = longest.and_then(|s| self.get(s).map(|w| (s, w))) else {
            return Surplus::None;
        };
        let due = worker.since.after(IDLE_EXTRA);
        if self.living() <= wanted {
            Surplus::None
        } else if due <= now {
            Surplus::Leaves(slot)
        } else {
            Surplus::Due(due)
        }
    }

    /// A worker has begun a further request at rest.
    pub(super) fn note_began(&mut self, slot: Slot, began: Moment) {
        if let Some(worker) = self.get_mut(slot) {
            worker.since = worker.since.max(began);
        }
    }

    /// A request took this long.
    pub(super) fn note_service(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 8);
        self.service_micros = match self.service_micros {
            0 => micros,
            known => known - known / 8 + micros / 8,
        };
    }

    /// How fast requests are served.
    pub(in crate::parent) fn turnover(&self) -> Turnover {
        Turnover {
            service_micros: self.service_micros,
            workers: self.living(),
        }
    }
}

/// What `Pool::surplus` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surplus {
    /// Nothing to be done.
    None,
    /// This worker may leave.
    Leaves(Slot),
    /// One may leave at this moment.
    Due(Moment),
}

/// What the change to new settings needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::parent) enum Replacement {
    /// To wait for a worker, or nothing at all.
    Nothing,
    /// A new worker.
    Start,
    /// This worker is to leave, as soon as it is free.
    Dismiss(Slot),
    /// Nothing any more: the last old worker has been told to leave.
    Done,
}

/// The replacement of workers after a reload: a new worker is ready before an old one has to leave, so that there are
/// never fewer than before.
impl Pool {
    /// Workers that are forked from now on have other settings.
    pub(super) fn begin_edition(&mut self) {
        self.edition = Edition {
            number: self.edition.number.wrapping_add(1),
            credit: 0,
            is_mixed: true,
        };
    }

    /// Workers of older editions are being replaced.
    pub(super) fn is_mixed(&self) -> bool {
        self.edition.is_mixed
    }

    /// Whether a worker is one of those that are being replaced.
    pub(in crate::parent) fn is_outdated(&self, slot: Slot) -> bool {
        let is_old = |worker: &Worker| worker.edition != self.edition.number;
        self.edition.is_mixed && self.get(slot).is_some_and(is_old)
    }

    /// The next step of the replacement. Idle workers leave first: busy ones may be free before their turn comes.
    pub(super) fn next_replacement(&mut self, wanted: usize) -> Replacement {
        if !self.edition.is_mixed {
            return Replacement::Nothing;
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
                Replacement::Done
            }
            // It has no channel yet, and cannot be told.
            Some((_, Duty::Starting)) => Replacement::Nothing,
            Some((slot, _)) if self.may_lose_one(wanted) => {
                self.edition.credit = self.edition.credit.saturating_sub(1);
                Replacement::Dismiss(slot)
            }
            Some(_) if self.coming() > 0 => Replacement::Nothing,
            Some(_) => Replacement::Start,
        }
    }

    /// Whether an old worker may leave: a new one is ready in its place, or there are more than `max-workers` now.
    fn may_lose_one(&self, wanted: usize) -> bool {
        let living = self.living();
        (self.edition.credit > 0 && living > wanted) || living - self.coming() > self.most
    }

    /// Workers of the new edition that are starting.
    fn coming(&self) -> usize {
        let number = self.edition.number;
        let new = self.workers().filter(|(_, w)| w.edition == number);
        new.filter(|(_, worker)| worker.duty == Duty::Starting)
            .count()
    }

    /// Marks a busy worker to leave once it is free; from now on it does not count as living.
    pub(super) fn dismiss(&mut self, slot: Slot) {
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

    fn at(ms: u64) -> Moment {
        Moment::from_micros(ms * 1000)
    }

    fn pool(workers: usize) -> Pool {
        let mut pool = Pool::new(8);
        for n in 0..workers {
            pool.add(
                Slot(n),
                Pid::new(100 + i32::try_from(n).unwrap()).unwrap(),
                at(0),
            );
            pool.assign(Slot(n), Duty::Ready, at(n as u64));
        }
        pool
    }

    #[test]
    fn missing_workers_are_started_and_a_lasting_queue_doubles_the_pool() {
        let need_of = |living, starting, queued, waited, held| Need {
            wanted: 4,
            most: 32,
            living,
            starting,
            at_once: 16,
            held,
            queued,
            waited: Duration::from_millis(waited),
        };
        let need = |living, starting, queued, waited| {
            need_of(living, starting, queued, waited, living - starting)
        };
        for (need, expected) in [
            (need_of(4, 0, 60, 60, 0), 0),
            (need_of(4, 0, 60, 60, 1), 4),
            (need_of(8, 0, 60, 60, 4), 0),
            (need(4, 0, 0, 0), 0),
            (need(1, 0, 0, 0), 3),
            (need(4, 0, 60, 10), 0),
            (need(4, 0, 60, 60), 4),
            (need(8, 4, 60, 70), 0),
            (need(8, 0, 60, 70), 8),
            (need(20, 0, 60, 70), 12),
            (
                Need {
                    at_once: 4,
                    ..need(8, 0, 60, 70)
                },
                4,
            ),
            (
                Need {
                    at_once: 4,
                    ..need(16, 3, 60, 70)
                },
                1,
            ),
            (
                Need {
                    at_once: 4,
                    ..need(16, 4, 60, 70)
                },
                0,
            ),
            (need(4, 0, 1, 60), 1),
            (need(5, 2, 1, 60), 0),
            (need(30, 0, 60, 60), 2),
            (need(32, 0, 60, 60), 0),
        ] {
            assert_eq!(workers_to_start(need), expected, "{need:?}");
        }
    }

    #[test]
    fn the_newest_ready_worker_goes_first_and_the_longest_idle_one_leaves() {
        let mut pool = pool(6);
        assert_eq!(pool.newest_ready(), Some(Slot(5)));
        pool.assign(Slot(5), Duty::Retiring, at(10));
        assert_eq!(pool.newest_ready(), Some(Slot(4)));
        assert_eq!(pool.surplus(4, at(9_999)), Surplus::Due(at(10_000)));
        assert_eq!(pool.surplus(4, at(10_000)), Surplus::Leaves(Slot(0)));
        assert_eq!(pool.surplus(5, at(10_000)), Surplus::None);
        pool.remove(Slot(4));
        assert_eq!((pool.ready(), pool.vacant()), (4, Some(Slot(4))));
        assert_eq!((pool.set_most(20), pool.most()), (21, 20));
        assert_eq!((pool.set_most(3), pool.vacant()), (21, None));
    }

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
        assert_eq!(pool.next_replacement(2), Replacement::Nothing, "no reload");
        assert!(!pool.is_outdated(busy));
        pool.begin_edition();
        assert!(pool.is_outdated(busy));
        for (old, is_busy) in [(idle, false), (busy, true)] {
            assert_eq!(pool.next_replacement(2), Replacement::Start);
            let slot = pool.vacant().unwrap();
            pool.add(slot, Pid::new(7).unwrap(), Moment::default());
            assert_eq!(
                pool.next_replacement(2),
                Replacement::Nothing,
                "it is not ready"
            );
            pool.assign(slot, Duty::Ready, Moment::default());
            assert!(!pool.is_outdated(slot));
            assert_eq!(pool.next_replacement(2), Replacement::Dismiss(old));
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
            (pool.next_replacement(2), pool.next_replacement(2)),
            (Replacement::Done, Replacement::Nothing)
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
            pool.next_replacement(1),
            Replacement::Dismiss(surplus),
            "two, where one may be"
        );
        pool.remove(surplus);
        assert_eq!(pool.next_replacement(1), Replacement::Start);
        let new = add(&mut pool, Duty::Ready);
        assert_eq!(pool.next_replacement(1), Replacement::Dismiss(busy));
        pool.dismiss(busy);
        pool.dismiss(busy);
        pool.begin_edition();
        assert_eq!(pool.next_replacement(1), Replacement::Start);
        assert_eq!(pool.vacant(), None, "not before somebody has left");
        pool.remove(busy);
        assert_eq!(pool.living(), 1);
        add(&mut pool, Duty::Ready);
        assert_eq!(pool.next_replacement(1), Replacement::Dismiss(new));
    }
}
