//! Hands clients to workers and takes them back. Translates between two owners: what a worker has said, or left
//! undone when it died, into what becomes of its client; and what the clients need into what the workers do.

use super::connections::{Fate, State, Visit};
use super::error::Error;
use super::life::Life;
use super::server::Parent;
use super::workers::{Duty, Finished, Heard, Replacement, Workers};
use crate::scoreboard::Slot;
use crate::sys;
use crate::sys::process::Reaped;

impl Parent {
    /// Hands over as many clients as there are ready workers: the client that has waited longest goes to the worker
    /// that became ready last. Clients beyond `max-queue` are turned away, the last of them first.
    pub(super) fn dispatch(&mut self) {
        if self.upgrade.has_handed_over() {
            return;
        }
        while self.connections.count(State::Queued) > 0
            && (self.workers.pool().ready() > 0 || self.rouse_one())
            && let Some(slot) = self.workers.pool().newest_ready()
        {
            if let Err(e) = self.hand_over(slot) {
                // An order is sent as a whole or not at all, so the client keeps its place in the queue.
                self.workers.give_up(&self.ctx, slot, e);
            }
        }
        self.connections.shorten_queues(&self.ctx);
    }

    fn hand_over(&mut self, slot: Slot) -> sys::Result<()> {
        let Some(client) = self.connections.next_queued() else {
            return Ok(());
        };
        let ticket = self.workers.next_ticket();
        let Some(order) = self.connections.order(&self.ctx, client, ticket) else {
            return Ok(());
        };
        let sent = self.workers.send(&self.ctx, slot, client, &order);
        match sent {
            Ok(()) => self.connections.note_serving(client),
            Err(_) => self.connections.take_spool_back(&self.ctx, client),
        }
        sent
    }

    /// Acts on what a worker has said.
    pub(super) fn act_on_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Nothing => {}
            Heard::Finished(done) => self.settle(done),
            Heard::Ended(report) => {
                self.connections.release_after(&self.ctx, &report);
            }
            Heard::Lost(lost) => {
                if let Some((client, report)) = lost {
                    self.connections.lose(&self.ctx, client, &report);
                }
                self.make_room();
            }
        }
    }

    /// A worker has served its client, or has gone as far as it could: does with the client what the verdict says.
    fn settle(&mut self, finished: Finished) {
        let (slot, client, report) = (finished.slot, finished.client, &finished.report);
        if let Some(copy) = finished.closed_copy {
            self.connections.forget_copy(copy);
        }
        self.connections.catch_up(client, report);
        let fate = self.connections.fate(client, finished.verdict, report);
        if fate == Some(Fate::Distrust) {
            let why = &"a verdict that cannot follow";
            return self.workers.distrust(&self.ctx, slot, why);
        }
        let is_outdated = self.workers.pool().is_outdated(slot);
        self.workers.let_go(&self.ctx, slot, report);
        let Some(fate) = fate else {
            // The parent gave the client up (it is about to stop).
            return;
        };
        if fate == Fate::Hold {
            // Before `resume` counts the handler's room: a worker that has just run this handler may be about to
            // rest, and a worker that rests tells nobody that its request has ended. Now it must.
            self.need_workers();
        }
        let visit = Visit {
            report: finished.report,
            spool: finished.spool,
            is_outdated,
        };
        self.connections.resume(&self.ctx, client, fate, visit);
    }

    /// Takes a resting worker's client back, and the worker is ready; false if it does not rest.
    fn rouse(&mut self, slot: Slot) -> bool {
        let done = self.workers.rouse(&self.ctx, slot);
        let is_roused = done.is_some();
        if let Some(done) = done {
            self.connections.note_copy(done.client);
            self.settle(done);
        }
        is_roused
    }

    /// Takes a client back from the worker that has rested longest; false if none rests.
    pub(super) fn rouse_longest(&mut self) -> bool {
        while let Some(slot) = self.workers.longest_resting(&self.ctx) {
            if self.rouse(slot) {
                return true;
            }
        }
        false
    }

    /// Makes a worker ready that rests; false if none does. Then nobody may rest any more, so each worker says when it
    /// is free.
    fn rouse_one(&mut self) -> bool {
        if self.ctx.scoreboard.needs_workers() {
            return false;
        }
        while self.workers.pool().ready() == 0 && self.rouse_longest() {}
        if self.workers.pool().ready() == 0 {
            self.need_workers();
        }
        self.workers.pool().ready() > 0
    }

    /// Forbids all workers to rest. Those that rest lose their clients to the parent and are ready.
    pub(super) fn need_workers(&mut self) {
        if self.ctx.scoreboard.needs_workers() {
            return;
        }
        self.ctx.scoreboard.need_workers(true);
        for slot in self.workers.pool().slots() {
            if !self.rouse(slot) {
                self.workers.note_began(&self.ctx, slot);
            }
        }
    }

    /// At the end of a turn: allows workers to rest if nobody needs them, or forbids it.
    pub(super) fn let_rest(&mut self) {
        let may_rest = self.workers.may_rest(&self.ctx, self.connections.waiting())
            && self.ctx.life == Life::Serving
            && !self.upgrade.is_under_way();
        if !may_rest {
            self.need_workers();
            // Clients may have come into the queue since this turn's dispatch, and workers may be ready since.
            self.dispatch();
        } else if self.ctx.scoreboard.needs_workers() {
            self.ctx.scoreboard.need_workers(false);
        }
        self.workers.release_roused();
    }

    /// Compares the workers that are wanted with those that live, and starts or retires some.
    pub(super) fn reconcile(&mut self) {
        if self.ctx.life.is_leaving() || self.upgrade.is_under_way() {
            return;
        }
        let demand = self.connections.demand();
        self.workers.reconcile(&self.ctx, demand);
        self.replace_outdated();
        self.workers.retire_surplus(&self.ctx);
    }

    /// The next steps of replacing workers that have older settings, once per turn.
    fn replace_outdated(&mut self) {
        while self.ctx.life == Life::Serving {
            match self.workers.next_replacement(&self.ctx) {
                Replacement::Dismiss(slot) => self.dismiss(slot),
                Replacement::Start => return self.workers.start_replacement(&self.ctx),
                Replacement::Done => {
                    self.ctx
                        .log
                        .info(format_args!("every worker has the new configuration"));
                    self.control.notify.ready(self.workers.pool().living());
                    // Some clients are held only because workers with older settings have refused them.
                    self.connections.release_where_room(&self.ctx);
                }
                Replacement::Nothing => return,
            }
        }
    }

    /// Tells an idle worker to leave. A busy one leaves once it is free, and may not rest before.
    pub(super) fn dismiss(&mut self, slot: Slot) {
        match self.workers.pool().duty(slot) {
            Some(Duty::Ready) => self.workers.retire(&self.ctx, slot),
            Some(Duty::Busy(_)) => {
                self.workers.dismiss(slot);
                while !self.workers.forbid_rest(&self.ctx, slot) && !self.rouse(slot) {}
            }
            Some(Duty::Finishing) => self.workers.dismiss(slot),
            Some(Duty::Starting | Duty::Retiring) | None => {}
        }
    }

    /// Lets the watchdog kill workers that give no sign of life when they must.
    pub(super) fn watch(&mut self) {
        if self.workers.watch(&self.ctx) {
            self.reap();
        }
    }

    /// Takes in every child that has ended.
    pub(super) fn reap(&mut self) {
        while let Some(reaped) = Workers::next_dead(&self.ctx) {
            let pid = reaped.pid;
            match self.workers.pool().find(pid) {
                Some(slot) => self.bury(slot, reaped),
                None if self.upgrade.successors().contains(&Some(pid)) => {
                    self.bury_successor(pid, reaped.ended);
                }
                None => self.workers.forget_orphan(pid),
            }
        }
        let successors = self.upgrade.successors();
        self.workers.sweep_on(&self.ctx, successors);
    }

    /// A worker is dead. What it has said before is heard first; how far it had come with its client stands in its
    /// slot.
    fn bury(&mut self, slot: Slot, reaped: Reaped) {
        while let Some(heard) = self.workers.last_words(&self.ctx, slot) {
            self.act_on_heard(heard);
        }
        if let Some(done) = self.workers.unsaid(&self.ctx, slot) {
            self.settle(done);
        }
        let Some(mut death) = self.workers.bury(&self.ctx, slot, reaped) else {
            return;
        };
        if let Some(copy) = death.copy() {
            self.connections.forget_copy(copy);
        }
        let (phase, has_begun) = death.progress();
        if let Some(client) = death.client()
            && has_begun
        {
            death.note_answered(self.connections.catch_up(client, &death.report));
        }
        if let Some(how) = self.workers.note_end(&self.ctx, &death) {
            self.failure.get_or_insert(Error::Workers(how));
        }
        let successors = self.upgrade.successors();
        if death.has_left {
            self.workers
                .adopt_detached(&self.ctx, successors, Some(death.pid()));
        } else {
            self.workers
                .end_orphans(&self.ctx, successors, death.handler_pid);
        }
        if let Some(client) = death.client() {
            self.connections
                .salvage(&self.ctx, client, phase, has_begun);
        }
        let report = &death.report;
        if report.handler != 0 {
            self.connections.release_after(&self.ctx, report);
        }
    }
}
