//! How many workers are missing, and the fork. `be_worker` is what the child does first.
//!
//! The death of a worker starts none: missing workers are started once per turn, in `reconcile`, and paced.

use super::duty::Duty;
use super::owner::Workers;
use super::pool::{Need, Replacement, Surplus, growth_due, workers_to_start};
use crate::birth::Birth;
use crate::channel::{self, Order};
use crate::parent::context::{Context, Demand};
use crate::parent::token::Token;
use crate::scoreboard::Slot;
use crate::sys::fd::{self, AsFd};
use crate::sys::time::Moment;
use crate::sys::{proc, process, signal};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

impl Workers {
    /// Compares the workers that are wanted with those that live, and starts or retires some.
    pub(in crate::parent) fn reconcile(&mut self, ctx: &Context, demand: Demand) {
        let missing = workers_to_start(self.need(ctx, demand));
        for _ in 0..self.pool.pace.allows(missing, ctx.now) {
            if !self.start(ctx) {
                break;
            }
        }
    }

    /// Lets an extra worker leave that has had nothing to do for long enough.
    pub(in crate::parent) fn retire_surplus(&mut self, ctx: &Context) {
        if let Surplus::Leaves(slot) = self.surplus(ctx) {
            self.retire(ctx, slot);
        }
    }

    fn need(&self, ctx: &Context, demand: Demand) -> Need {
        // Matters only while clients queue, and is counted only then.
        let held = demand.since.map_or(0, |_| self.pool.held(ctx.now));
        Need {
            wanted: ctx.settings.workers,
            most: self.pool.most(),
            living: self.pool.living(),
            starting: self.pool.starting(),
            at_once: 2 * ctx.cpus.get(),
            held,
            queued: demand.queued,
            waited: demand
                .since
                .map_or(Duration::ZERO, |since| ctx.now.since(since)),
        }
    }

    fn surplus(&self, ctx: &Context) -> Surplus {
        self.pool.surplus(ctx.settings.workers, ctx.now)
    }

    /// When the pool has to change without an event, while workers may be started. A change that is due already and was
    /// not made waits for an event: the first word of a worker, or the end of one that still has its slot.
    pub(in crate::parent) fn pool_deadline(&self, ctx: &Context, demand: Demand) -> Option<Moment> {
        let need = self.need(ctx, demand);
        let is_missing = workers_to_start(need) > 0 || self.pool.is_mixed();
        let paced = is_missing.then(|| self.pool.pace.not_before());
        let growth = demand
            .since
            .filter(|_| need.living < need.most)
            .map(|since| growth_due(since, ctx.now));
        let leaving = match self.surplus(ctx) {
            Surplus::Due(at) => Some(at),
            Surplus::Leaves(_) | Surplus::None => None,
        };
        [paced, growth, leaving]
            .into_iter()
            .flatten()
            .filter(|at| *at > ctx.now)
            .min()
    }

    /// When the watchdog looks next.
    pub(in crate::parent) fn watch_deadline(&self) -> Option<Moment> {
        self.watch_at
    }

    /// What the change to new settings needs next.
    pub(in crate::parent) fn next_replacement(&mut self, ctx: &Context) -> Replacement {
        self.pool.next_replacement(ctx.settings.workers)
    }

    /// Forks a worker of the new edition, if the pace allows.
    pub(in crate::parent) fn start_replacement(&mut self, ctx: &Context) {
        if self.pool.pace.allows(1, ctx.now) > 0 {
            self.start(ctx);
        }
    }

    /// Forks a worker; false if that is not possible now.
    fn start(&mut self, ctx: &Context) -> bool {
        let Some(slot) = self.pool.vacant() else {
            return false;
        };
        ctx.scoreboard.entry(slot).clear();
        // Until the child has its own signal handlers, its signals would go into the parent's self-pipe.
        let mask = signal::block_all();
        self.oom_score.raise();
        let forked = process::fork();
        if let Ok(None) = forked {
            be_worker(ctx, slot);
        }
        self.oom_score.restore();
        if let Ok(mask) = mask {
            let _ = signal::restore(&mask);
        }
        match forked {
            Ok(pid) => {
                if let Some(pid) = pid {
                    self.pool.add(slot, pid, ctx.now);
                }
                self.pool.pace.note_start(ctx.now);
                self.watch_soon(ctx);
                true
            }
            Err(e) => {
                if self.forks.note(ctx.now) {
                    ctx.log.error(format_args!("unable to fork a worker: {e}"));
                }
                self.pool.pace.note_failure(ctx.now);
                false
            }
        }
    }

    /// Whether this slot's worker has been forked and has not connected yet.
    pub(in crate::parent) fn is_expected(&self, slot: Slot) -> bool {
        let worker = self.pool.get(slot);
        worker.is_some_and(|w| w.duty == Duty::Starting && w.channel.is_none())
    }

    /// A new worker has connected: this is its channel from now on.
    pub(in crate::parent) fn adopt(&mut self, ctx: &Context, slot: Slot, channel: OwnedFd) {
        let Some(worker) = self.pool.get_mut(slot) else {
            return;
        };
        let token = Token::Channel(slot, worker.generation).number();
        if let Err(e) = ctx.readiness.watch(channel.as_fd(), token) {
            ctx.log
                .error(format_args!("unable to watch a channel: {e}"));
            return self.kill(ctx, slot);
        }
        if worker.born < self.log_reopened {
            let _ = channel::send_order(channel.as_fd(), &Order::ReopenLog, None, None);
        }
        worker.channel = Some(channel);
    }
}

/// Forked child: becomes a worker and never returns. Nothing that the parent owns may be dropped here: a drop would
/// remove the parent's files, and close descriptors whose numbers mean others by now. So the child leaves by
/// `exit_now` only.
fn be_worker(ctx: &Context, slot: Slot) -> ! {
    // First of all, and without a call on the inherited epoll set, which is the parent's too.
    let mut keep = ctx.log.descriptors();
    keep.push(ctx.root.as_raw_fd());
    keep.extend(proc::kept_proc());
    fd::close_all_but(&keep);
    process::set_name(c"caffeine-worker");
    let code = match signal::to_interrupts() {
        Ok(()) => (ctx.worker_main)(&Birth {
            slot,
            secret: ctx.secret,
            settings: &ctx.settings,
            scoreboard: &ctx.scoreboard,
            log: &ctx.log,
            root: ctx.root.as_fd(),
            listeners: &ctx.addresses,
            handler_descriptor_limit: ctx.handler_descriptor_limit,
            cpus: ctx.cpus,
        }),
        Err(_) => 1,
    };
    process::exit_now(code)
}
