//! Workers that rest with their last client (`worker/rest`): how the parent gets both back, and learns
//! what was done without a word. Parent only.

use super::Parent;
use super::life::State as Life;
use super::lot::{Id, State};
use super::pool::Duty;
use crate::channel::{self, Order, Stage};
use crate::scoreboard::Slot;
use crate::sys::fd::AsFd;
use crate::sys::time::Moment;

/// Who may rest, and who was woken from it.
#[derive(Default)]
pub(super) struct Rest {
    /// No worker may rest: somebody waits for one, or some have to leave. Then none does.
    is_needed: bool,
    /// Workers whose client was taken back in this turn, who still have its descriptor.
    roused: Vec<Slot>,
}

impl Parent {
    /// The end of a turn: workers may rest if nobody waits for one and all are here to stay.
    pub(super) fn let_rest(&mut self) {
        let is_needed = self.waiting() > 0
            || self.state != Life::Serving
            || self.is_upgrading()
            || self.pool.is_changing();
        if is_needed {
            self.need_workers();
            // Somebody may have come into the queue since it was looked at.
            self.dispatch();
        } else if std::mem::take(&mut self.rest.is_needed) {
            self.estate.scoreboard.need_workers(false);
        }
        for slot in std::mem::take(&mut self.rest.roused) {
            let worker = self.pool.get(slot).filter(|w| w.duty == Duty::Ready);
            if let Some(channel) = worker.and_then(|w| w.channel.as_ref()) {
                // One that cannot take it is not well: the next order will tell.
                let _ = channel::send_order(channel.as_fd(), &Order::Release, None, None);
            }
        }
    }

    /// Nobody may rest from now on; whoever does is ready at once.
    fn need_workers(&mut self) {
        if std::mem::replace(&mut self.rest.is_needed, true) {
            return;
        }
        self.estate.scoreboard.need_workers(true);
        // One that ended a handler before it could see this has gone to rest without a word, or on to
        // its client's next request.
        for handler in self.lot.handlers_waited_for() {
            if self.has_room(handler) {
                self.release(handler);
            }
        }
        let busy = self.pool.workers();
        let busy = busy.filter(|(_, worker)| matches!(worker.duty, Duty::Busy(_)));
        let slots: Vec<Slot> = busy.map(|(slot, _)| slot).collect();
        for slot in slots {
            if !self.rouse(slot) {
                let began = self.estate.scoreboard.entry(slot).began();
                self.pool.note_began(slot, began);
            }
        }
    }

    /// Finds a worker that rests; false if there is none, and then each says when it is free.
    pub(super) fn rouse_one(&mut self) -> bool {
        if self.rest.is_needed {
            return false;
        }
        while self.pool.ready() == 0 && self.rouse_longest() {}
        if self.pool.ready() == 0 {
            self.need_workers();
        }
        self.pool.ready() > 0
    }

    /// Wakes the worker that has rested longest; false if none rests.
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
        let busy = self.pool.workers();
        let busy = busy.filter(|(_, worker)| matches!(worker.duty, Duty::Busy(_)));
        busy.map(|(slot, _)| slot)
            .filter(|slot| board.entry(*slot).is_resting())
            .min_by_key(|slot| board.entry(*slot).heartbeat())
    }

    /// Takes a resting worker's client back: the worker is ready, the client idle. False if it does
    /// not rest (any more).
    pub(super) fn rouse(&mut self, slot: Slot) -> bool {
        let Some(Duty::Busy(id)) = self.pool.get(slot).map(|w| w.duty) else {
            return false;
        };
        if !self.estate.scoreboard.entry(slot).end_rest() {
            return false;
        }
        self.is_free(slot);
        self.rest.roused.push(slot);
        self.catch_up(slot, id);
        self.park(id, State::Idle, Stage::Head, None);
        true
    }

    /// What a worker has done for its client since the order: it may have begun further requests.
    pub(super) fn catch_up(&mut self, slot: Slot, id: Id) {
        let entry = self.estate.scoreboard.entry(slot);
        let Some(connection) = self.lot.get_mut(id) else {
            return;
        };
        if entry.connection() == connection.number && entry.answered() > connection.requests {
            connection.requests = entry.answered();
            connection.woken = entry.began();
            connection.head_begun = entry.began();
            connection.visits = 0;
            connection.has_lost_worker = false;
            connection.was_held = false;
        }
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
