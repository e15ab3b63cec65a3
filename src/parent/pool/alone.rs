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
