//! Workers that rest with their last client (`worker/rest`): how the parent gets both back, and learns
//! what was done without a word. Parent only.

use super::Parent;
use super::life::State as Life;
use super::lot::Id;
use super::pool::Duty;
use crate::channel::{self, Order, Verdict};
use crate::scoreboard::{Report, Slot};
use crate::sys::fd::AsFd;
use crate::sys::time::Moment;
use std::time::Duration;

/// Workers may rest again when nobody has had to wait for this long: a rest that is ended at once is of
/// no use.
const BUSY: Duration = Duration::from_millis(10);

/// What the parent knows of resting workers beside the scoreboard.
#[derive(Default)]
pub(super) struct Rest {
    /// When somebody last had to wait for a worker.
    last_waited: Moment,
    /// Workers whose client was taken back in this turn, who still have its descriptor.
    roused: Vec<Slot>,
}

impl Parent {
    /// The end of a turn: workers may rest if nobody waits for one, and there are not more of them
    /// than are wanted (who rests is not seen to have nothing to do).
    pub(super) fn let_rest(&mut self) {
        if self.waiting() > 0 {
            self.rest.last_waited = self.now;
        }
        let is_needed = self.now.since(self.rest.last_waited) < BUSY
            || self.state != Life::Serving
            || self.is_upgrading()
            || self.pool.is_mixed()
            || self.pool.living() > self.estate.settings.workers;
        if is_needed {
            self.need_workers();
            // Somebody may have come into the queue since it was looked at.
            self.dispatch();
        } else if self.estate.scoreboard.needs_workers() {
            self.estate.scoreboard.need_workers(false);
        }
        while let Some(slot) = self.rest.roused.pop() {
            let worker = self.pool.get(slot).filter(|w| w.duty == Duty::Ready);
            if let Some(channel) = worker.and_then(|w| w.channel.as_ref()) {
                // One that cannot take it is not well: the next order will tell.
                let _ = channel::send_order(channel.as_fd(), &Order::Release, None, None);
            }
        }
    }

    /// Nobody may rest from now on; whoever does is ready at once.
    pub(super) fn need_workers(&mut self) {
        if self.estate.scoreboard.needs_workers() {
            return;
        }
        self.estate.scoreboard.need_workers(true);
        for slot in self.pool.slots() {
            if !self.rouse(slot) {
                let began = self.estate.scoreboard.entry(slot).began();
                self.pool.note_began(slot, began);
            }
        }
    }

    /// Finds a worker that rests; false if there is none, and then each says when it is free.
    pub(super) fn rouse_one(&mut self) -> bool {
        if self.estate.scoreboard.needs_workers() {
            return false;
        }
        while self.pool.ready() == 0 && self.rouse_longest() {}
        if self.pool.ready() == 0 {
            self.need_workers();
        }
        self.pool.ready() > 0
    }

    /// Takes a client back from the worker that has rested longest; false if none rests.
    pub(super) fn rouse_longest(&mut self) -> bool {
        while let Some(slot) = self.longest_resting() {
            if self.rouse(slot) {
                return true;
            }
        }
        false
    }

    /// Its client is the least likely one to speak now.
    fn longest_resting(&self) -> Option<Slot> {
        let board = &self.estate.scoreboard;
        let able = self.pool.workers().filter(|(_, w)| w.channel.is_some());
        able.map(|(slot, _)| slot)
            .filter(|slot| board.entry(*slot).is_resting())
            .min_by_key(|slot| board.entry(*slot).heartbeat())
    }

    /// Takes a resting worker's client back, as if it had said so; false if it does not rest (any more),
    /// or has died.
    pub(super) fn rouse(&mut self, slot: Slot) -> bool {
        let board = &self.estate.scoreboard;
        let Some(worker) = self.pool.get(slot).filter(|w| w.channel.is_some()) else {
            return false;
        };
        let duty = worker.duty;
        let entry = board.entry(slot);
        if !entry.is_resting() || !entry.end_rest() {
            return false;
        }
        let report = entry.report();
        self.judge(slot, Verdict::Keep, &report, None);
        if let Duty::Busy(id) = duty {
            self.note_copy(id, slot);
        }
        self.rest.roused.push(slot);
        true
    }

    /// A client was taken back from a worker that has a copy of its descriptor.
    fn note_copy(&mut self, id: Id, slot: Slot) {
        if let Some(connection) = self.lot.get_mut(id)
            && let Some(worker) = self.pool.get_mut(slot)
        {
            connection.copies += 1;
            worker.copy = Some(id);
        }
    }

    /// A worker has closed its copy, or is dead.
    pub(super) fn forget_copy(&mut self, copy: Option<Id>) {
        if let Some(connection) = copy.and_then(|id| self.lot.get_mut(id)) {
            connection.copies = connection.copies.saturating_sub(1);
        }
    }

    /// A busy worker is to leave: it may not rest once it is done. One that rests is ready to leave now.
    pub(super) fn must_speak(&mut self, slot: Slot) {
        while !self.estate.scoreboard.entry(slot).must_speak() {
            let can_hear = self.pool.get(slot).is_some_and(|w| w.channel.is_some());
            // One without a channel has died: it is reaped soon.
            if self.rouse(slot) || !can_hear {
                return;
            }
        }
    }

    /// What a worker has done for its client since the order: true if it has answered it, and begun a
    /// further request.
    pub(super) fn catch_up(&mut self, id: Id, report: &Report) -> bool {
        let Some(connection) = self.lot.get_mut(id) else {
            return false;
        };
        let has_answered = report.answered > connection.requests;
        if has_answered {
            connection.requests = report.answered;
            connection.woken = report.began;
            connection.head_begun = report.began;
            connection.visits = 0;
            connection.has_lost_worker = false;
            connection.was_held = false;
        }
        has_answered
    }

    /// Since when a worker has had what it does now.
    pub(super) fn busy_since(&self, slot: Slot, since: Moment) -> Moment {
        since.max(self.estate.scoreboard.entry(slot).began())
    }

    /// How many workers rest.
    pub(super) fn resting(&self) -> usize {
        let board = &self.estate.scoreboard;
        board.workers().filter(|entry| entry.is_resting()).count()
    }
}
