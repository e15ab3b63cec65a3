//! What workers say: their verdicts, and the first word of a new one. Parent only.

use super::Parent;
use super::lot::{End, Id, State};
use super::pool::Duty;
use super::verdict::{Fate, fate};
use crate::channel::{self, Order, Said, Verdict};
use crate::route;
use crate::scoreboard::{Report, Slot};
use crate::sys::fd::AsFd;
use crate::sys::{Errno, Error};
use std::os::fd::OwnedFd;

impl Parent {
    /// A worker's channel is ready.
    pub(super) fn on_channel(&mut self, slot: Slot, generation: u32) {
        let worker = self.pool.get(slot);
        if let Some(worker) = worker.filter(|w| w.generation == generation)
            && let Some(channel) = &worker.channel
        {
            let said = channel::receive_verdict(channel.as_fd());
            self.hear(slot, said);
        }
    }

    /// Acts on what a worker said.
    pub(super) fn hear(&mut self, slot: Slot, said: Result<Said, Error>) {
        match said {
            Ok(Said::Verdict(verdict, report, spool)) => {
                self.judge(slot, verdict, &report, spool);
            }
            Ok(Said::Nothing) => {}
            Ok(Said::Gone) => self.hang_up(slot),
            // The verdict's spool found no room among our descriptors. The worker did its part.
            Err(e) if e.errno == Errno::MFILE => {
                self.log()
                    .error(format_args!("unable to take a spool: {e}"));
                self.lose_spool(slot);
                self.make_room();
            }
            Err(e) => self.distrust(slot, &e),
        }
    }

    /// A verdict has come without its spool: the client can only be cut.
    fn lose_spool(&mut self, slot: Slot) {
        if let Some(Duty::Busy(id)) = self.pool.get(slot).map(|w| w.duty) {
            if self.estate.scoreboard.entry(slot).handler_pid() != 0 {
                // It stays with its handler, and says so later.
                self.pool.assign(slot, Duty::Finishing, self.now);
            } else {
                self.is_free(slot);
            }
            self.reset(id);
        }
    }

    /// Acts on a verdict, or on one that need not be said.
    pub(super) fn judge(
        &mut self,
        slot: Slot,
        verdict: Verdict,
        report: &Report,
        spool: Option<OwnedFd>,
    ) {
        let Some(worker) = self.pool.get(slot) else {
            return;
        };
        match worker.duty {
            // The kernel has said so already.
            Duty::Starting if verdict == Verdict::Born => {}
            Duty::Starting if verdict == Verdict::Ready => {
                self.pool.assign(slot, Duty::Ready, self.now);
            }
            // Its last verdict could not be understood as a whole, see `lose_spool`.
            Duty::Ready if verdict == Verdict::Ready => {}
            Duty::Finishing if verdict == Verdict::Ready => {
                self.is_free(slot);
                self.release(report.handler);
                self.release_after_redirects(report);
            }
            Duty::Busy(id) => {
                self.pool.note_service(report.ended.since(report.began));
                let copy = self.pool.get_mut(slot).and_then(|w| w.copy.take());
                self.forget_copy(copy);
                self.catch_up(id, report);
                self.settle(slot, id, (verdict, report), spool);
            }
            // It was told to leave while it was idle, so it had nothing to say.
            _ => self.distrust(slot, &"a verdict without a client"),
        }
    }

    /// A worker has said its verdict: it is free, or stays with its handler.
    fn let_go(&mut self, slot: Slot, report: &Report) {
        if !report.is_handler_running {
            return self.is_free(slot);
        }
        self.pool.assign(slot, Duty::Finishing, self.now);
        self.watch_soon();
    }

    /// A worker has done what it was asked to, and its client goes where the verdict sends it.
    fn settle(
        &mut self,
        slot: Slot,
        id: Id,
        (verdict, report): (Verdict, &Report),
        spool: Option<OwnedFd>,
    ) {
        let Some(connection) = self.lot.get_mut(id) else {
            // The parent gave the client up (it is about to stop).
            return self.let_go(slot, report);
        };
        let handler = report.handler;
        let fate = fate(verdict, connection.stage);
        let is_unanswered = matches!(fate, Fate::Hold | Fate::Park(State::Head | State::Body, _));
        if fate == Fate::Distrust || (report.is_handler_running && is_unanswered) {
            return self.distrust(slot, &"a verdict that cannot follow");
        }
        if connection.admitted == handler {
            // It has had its place: that is passed on when the handler ends, below or later.
            connection.admitted = 0;
        }
        self.pass_on(id);
        self.let_go(slot, report);
        match fate {
            Fate::Park(state, stage) => {
                if let Some(connection) = self.lot.get_mut(id).filter(|_| state == State::Idle) {
                    // Since when it has been, also if its worker has kept it.
                    connection.head_begun = report.ended.min(self.now);
                }
                self.park(id, state, stage, spool);
            }
            Fate::Linger => self.linger(id),
            Fate::Hold => {
                // Before the handler is asked for room: one that runs it may be about to rest.
                self.need_workers();
                self.hold(id, handler, spool);
            }
            Fate::Close | Fate::Distrust => self.close(id),
        }
        // One that ran this handler may have ended while this worker refused: its end has let nobody
        // go on, and the next one may be far. Not if it refused by older settings: it would do so again and
        // again, for as long as there is no worker in its place.
        let has_room = || !self.pool.is_outdated(slot) && self.room(handler) > 0;
        if handler != 0 && !report.is_handler_running && (fate != Fate::Hold || has_room()) {
            self.release(handler);
            self.release_after_redirects(report);
        }
    }

    /// A request has ended that had places of other handlers than the one that it is known by.
    pub(super) fn release_after_redirects(&mut self, report: &Report) {
        if report.was_redirected {
            self.release_where_room();
        }
    }

    /// How many more requests of this handler may run now.
    fn room(&self, handler: u64) -> usize {
        let settings = &self.estate.settings;
        let own = settings
            .handlers
            .iter()
            .find(|known| route::hash_of(&known.name) == handler);
        let limit = own
            .and_then(|own| own.max_concurrent)
            .or(settings.limits.max_concurrent);
        limit.map_or(usize::MAX, |limit| {
            limit.saturating_sub(self.estate.scoreboard.concurrent(handler))
        })
    }

    /// Lets as many go on as their handlers have room for.
    #[cold]
    pub(super) fn release_where_room(&mut self) {
        for handler in self.lot.held_handlers() {
            for _ in 0..self.room(handler) {
                let Some(id) = self.lot.first_held(handler) else {
                    break;
                };
                self.admit(id, handler, End::Back);
            }
        }
    }

    /// A worker is done: it is ready, or leaves.
    pub(super) fn is_free(&mut self, slot: Slot) {
        self.pool.pace.note_success();
        let Some(worker) = self.pool.get_mut(slot) else {
            return;
        };
        worker.has_served = true;
        let (is_killed, is_dismissed) = (worker.is_killed, worker.is_dismissed);
        let duty = if is_killed {
            Duty::Retiring
        } else {
            Duty::Ready
        };
        self.pool.assign(slot, duty, self.now);
        if is_dismissed {
            self.retire(slot);
        }
    }

    /// A worker that says what it cannot say is killed; its client is judged by its slot.
    fn distrust(&mut self, slot: Slot, why: &dyn std::fmt::Display) {
        if let Some(worker) = self.pool.get(slot) {
            let pid = worker.pid;
            self.log()
                .error(format_args!("killing worker {pid}: {why}"));
        }
        self.drop_channel(slot);
        self.kill(slot);
    }

    /// A worker has closed its channel: it has died, or is about to leave as it was told. Its exit
    /// status comes by SIGCHLD; one that stays without a channel is of no use.
    fn hang_up(&mut self, slot: Slot) {
        self.drop_channel(slot);
        let duty = self.pool.get(slot).map(|w| w.duty);
        if duty.is_some_and(|duty| duty != Duty::Retiring) {
            self.watch_soon();
        }
    }

    /// Forgets a worker's channel.
    pub(super) fn drop_channel(&mut self, slot: Slot) {
        let Some(worker) = self.pool.get_mut(slot) else {
            return;
        };
        if let Some(channel) = worker.channel.take() {
            let _ = self.readiness.forget(channel.as_fd());
        }
        if worker.duty == Duty::Ready {
            self.pool.assign(slot, Duty::Retiring, self.now);
        }
    }

    /// Sends an order without a client to every worker that can hear it.
    pub(super) fn tell_all(&self, order: Order) {
        for (_, worker) in self.pool.workers() {
            if let Some(channel) = &worker.channel {
                // One that cannot take it is not well, and the watchdog's business.
                let _ = channel::send_order(channel.as_fd(), &order, None, None);
            }
        }
    }

    /// Tells an idle worker to leave.
    pub(super) fn retire(&mut self, slot: Slot) {
        if let Some(worker) = self.pool.get_mut(slot) {
            worker.is_dismissed = true;
            if let Some(channel) = &worker.channel {
                let _ = channel::send_order(channel.as_fd(), &Order::Retire, None, None);
            }
        }
        self.pool.assign(slot, Duty::Retiring, self.now);
        self.watch_soon();
    }

    /// Salvages a client whose worker died before it took anything from it. `was_seen`: it looked at
    /// the client, so that may be what it died of.
    pub(super) fn hand_over_again(&mut self, id: Id, was_seen: bool) {
        let Some(connection) = self.lot.get_mut(id) else {
            return;
        };
        connection.has_lost_worker |= was_seen;
        connection.worker = None;
        self.take_spool_back(id);
        self.queue(id, End::Front);
    }
}
