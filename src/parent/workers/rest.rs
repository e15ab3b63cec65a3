//! Workers that rest with their last client (`worker/rest`): how the parent gets both back.

use super::duty::Duty;
use super::owner::{Finished, Heard, Workers};
use crate::channel::{self, Order, Verdict};
use crate::parent::context::Context;
use crate::scoreboard::Slot;
use crate::sys::fd::AsFd;
use std::time::Duration;

/// Workers may rest again when no client has had to wait for this long: a rest that is ended at once only costs.
const BUSY: Duration = Duration::from_millis(10);

impl Workers {
    /// Whether workers may rest: no client waits for one, and there are not more of them than `workers` (an extra worker
    /// that rests would not be seen to have nothing to do, and would not leave).
    pub(in crate::parent) fn may_rest(&mut self, ctx: &Context, waiting: usize) -> bool {
        if waiting > 0 {
            self.rest.last_waited = ctx.now;
        }
        ctx.now.since(self.rest.last_waited) >= BUSY
            && !self.pool.is_mixed()
            && self.pool.living() <= ctx.settings.workers
    }

    /// Tells workers whose client was taken back, and that have got no other in this turn, to close their copy.
    pub(in crate::parent) fn release_roused(&mut self) {
        while let Some(slot) = self.rest.roused.pop() {
            let worker = self.pool.get(slot).filter(|w| w.duty == Duty::Ready);
            if let Some(channel) = worker.and_then(|w| w.channel.as_ref()) {
                // If it cannot be sent, neither can the next order, and then the worker is killed.
                let _ = channel::send_order(channel.as_fd(), &Order::Release, None, None);
            }
        }
    }

    /// The worker that has rested longest: its client is the least likely one to speak now.
    pub(in crate::parent) fn longest_resting(&self, ctx: &Context) -> Option<Slot> {
        let board = &ctx.scoreboard;
        let able = self.pool.workers().filter(|(_, w)| w.channel.is_some());
        able.map(|(slot, _)| slot)
            .filter(|slot| board.entry(*slot).is_resting())
            .min_by_key(|slot| board.entry(*slot).heartbeat())
    }

    /// Takes a resting worker's client back, as if it had said so; `None` if it does not rest (any more), or
    /// has died.
    pub(in crate::parent) fn rouse(&mut self, ctx: &Context, slot: Slot) -> Option<Finished> {
        self.pool.get(slot).filter(|w| w.channel.is_some())?;
        let entry = ctx.scoreboard.entry(slot);
        if !entry.is_resting() || !entry.end_rest() {
            return None;
        }
        let report = entry.report();
        let Heard::Finished(done) = self.judge(ctx, slot, (Verdict::Keep, report, None)) else {
            return None;
        };
        if let Some(worker) = self.pool.get_mut(slot) {
            worker.copy = Some(done.client);
        }
        self.rest.roused.push(slot);
        Some(done)
    }

    /// A worker that does not rest now may have begun a further request since its order.
    pub(in crate::parent) fn note_began(&mut self, ctx: &Context, slot: Slot) {
        let began = ctx.scoreboard.entry(slot).began();
        self.pool.note_began(slot, began);
    }

    /// Forbids a busy worker to rest once it is done, since it is to leave. False if it rests now: then its client has to
    /// be taken back. (A worker without a channel has died and will be reaped: true.)
    pub(in crate::parent) fn forbid_rest(&mut self, ctx: &Context, slot: Slot) -> bool {
        let can_hear = self.pool.get(slot).is_some_and(|w| w.channel.is_some());
        ctx.scoreboard.entry(slot).must_speak() || !can_hear
    }

    /// How many workers rest.
    pub(in crate::parent) fn resting(&self, ctx: &Context) -> usize {
        let entries = ctx.scoreboard.workers();
        entries.filter(|entry| entry.is_resting()).count()
    }
}
