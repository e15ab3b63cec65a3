//! The owner itself: what workers say, and how they are told to leave.

use super::duty::Duty;
use super::orphans::Orphans;
use super::pool::{Pool, Worker};
use crate::channel::{self, Incoming, Order, Verdict};
use crate::parent::context::{Burst, Context, Id, Ordered};
use crate::parent::privilege::OomScore;
use crate::scoreboard::{Report, Slot, Ticket};
use crate::sys::fd::AsFd;
use crate::sys::process;
use crate::sys::time::Moment;
use crate::sys::{Errno, Error, signal};
use std::fmt::{Display, Write};
use std::os::fd::OwnedFd;

/// The error of an order to a worker that has no channel.
const GONE: Error = Error {
    call: &"sendmsg",
    errno: Errno::NOTCONN,
};

/// All workers.
pub(in crate::parent) struct Workers {
    pub(super) pool: Pool,
    pub(super) rest: Rest,
    pub(super) orphans: Orphans,
    pub(super) oom_score: OomScore,
    /// When the watchdog looks next; `None` while no worker needs it.
    pub(super) watch_at: Option<Moment>,
    /// When this process last went on after it was held up.
    pub(super) resumed: Moment,
    /// When the log was last opened again; workers forked before it have to be told.
    pub(super) log_reopened: Moment,
    /// When a failed fork was last logged.
    pub(super) forks: Burst,
}

/// What the parent knows of resting workers beside the scoreboard.
#[derive(Default)]
pub(super) struct Rest {
    /// When a client last had to wait for a worker.
    pub(super) last_waited: Moment,
    /// Workers whose client was taken back in this turn, and which still have its descriptor.
    pub(super) roused: Vec<Slot>,
}

/// A worker has said its verdict on its client.
pub(in crate::parent) struct Finished {
    pub(in crate::parent) slot: Slot,
    pub(in crate::parent) client: Id,
    /// The client that was taken back from this worker before: the worker has closed its copy of that by now.
    pub(in crate::parent) closed_copy: Option<Id>,
    pub(in crate::parent) verdict: Verdict,
    pub(in crate::parent) report: Report,
    pub(in crate::parent) spool: Option<OwnedFd>,
}

/// What a worker has said.
pub(in crate::parent) enum Heard {
    /// Nothing that matters outside of this owner.
    Nothing,
    /// Its verdict on its client.
    Finished(Finished),
    /// The handler that ran on after its response has ended.
    Ended(Report),
    /// A verdict whose spool found no free descriptor: the worker's client, if it has one, can only be cut. What
    /// the worker did for it.
    Lost(Option<(Id, Report)>),
}

impl Workers {
    /// No worker yet, with room for so many.
    pub(in crate::parent) fn new(most: usize, oom_score: OomScore) -> Self {
        Self {
            pool: Pool::new(most),
            rest: Rest::default(),
            orphans: Orphans::new(),
            oom_score,
            watch_at: None,
            resumed: Moment::default(),
            log_reopened: Moment::default(),
            forks: Burst::default(),
        }
    }

    /// The ticket of the next order.
    pub(in crate::parent) fn next_ticket(&mut self) -> Ticket {
        self.pool.next_ticket()
    }

    /// The pool, to be read: which workers there are, and what each does.
    pub(in crate::parent) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Sends a ready worker its order.
    pub(in crate::parent) fn send(
        &mut self,
        ctx: &Context,
        slot: Slot,
        client: Id,
        order: &Ordered<'_>,
    ) -> Result<(), Error> {
        let worker = self.pool.get_mut(slot).ok_or(GONE)?;
        let channel = worker.channel.as_ref().ok_or(GONE)?;
        let serve = Order::Serve(order.serve);
        channel::send_order(channel.as_fd(), &serve, Some(order.client), order.spool)?;
        worker.ticket = order.serve.ticket;
        self.pool.assign(slot, Duty::Busy(client), ctx.now);
        self.watch_soon(ctx);
        Ok(())
    }

    /// A worker's channel is ready: what it says, if it is still this worker.
    pub(in crate::parent) fn receive(
        &mut self,
        ctx: &Context,
        slot: Slot,
        generation: u32,
    ) -> Heard {
        let worker = self.pool.get(slot);
        if let Some(worker) = worker.filter(|w| w.generation == generation)
            && let Some(channel) = &worker.channel
        {
            let said = channel::receive_verdict(channel.as_fd());
            return self.hear(ctx, slot, said);
        }
        Heard::Nothing
    }

    pub(super) fn hear(
        &mut self,
        ctx: &Context,
        slot: Slot,
        said: Result<Incoming, Error>,
    ) -> Heard {
        match said {
            Ok(Incoming::Verdict(verdict, report, spool)) => {
                return self.judge(ctx, slot, (verdict, report, spool));
            }
            Ok(Incoming::Nothing) => {}
            Ok(Incoming::Gone) => self.hang_up(ctx, slot),
            // The parent has no descriptor left for the verdict's spool. The worker has done nothing wrong.
            Err(e) if e.errno == Errno::MFILE => {
                ctx.log.error(format_args!("unable to take a spool: {e}"));
                return Heard::Lost(self.lose_spool(ctx, slot));
            }
            Err(e) => self.distrust(ctx, slot, &e),
        }
        Heard::Nothing
    }

    /// A verdict has come without its spool, so it is not known which it was; returns the client that it was about,
    /// and what the worker's slot says of the request.
    fn lose_spool(&mut self, ctx: &Context, slot: Slot) -> Option<(Id, Report)> {
        let Some(Duty::Busy(id)) = self.pool.duty(slot) else {
            return None;
        };
        let entry = ctx.scoreboard.entry(slot);
        let report = Report {
            is_handler_running: entry.handler_pid() != 0,
            ..entry.report()
        };
        // A worker whose handler runs on says *ready* when that has ended.
        self.let_go(ctx, slot, &report);
        Some((id, report))
    }

    /// Takes a verdict that a worker has said, or would have said at the end of its rest.
    pub(super) fn judge(
        &mut self,
        ctx: &Context,
        slot: Slot,
        (verdict, report, spool): (Verdict, Report, Option<OwnedFd>),
    ) -> Heard {
        let Some(worker) = self.pool.get_mut(slot) else {
            return Heard::Nothing;
        };
        match worker.duty {
            // The kernel has said already which worker this is.
            Duty::Starting if verdict == Verdict::Born => {}
            Duty::Starting if verdict == Verdict::Ready => {
                self.pool.assign(slot, Duty::Ready, ctx.now);
            }
            // After a verdict without its spool it was taken for ready (`lose_spool`), and is so only now.
            Duty::Ready if verdict == Verdict::Ready => {}
            Duty::Finishing if verdict == Verdict::Ready => {
                self.set_free(ctx, slot);
                return Heard::Ended(report);
            }
            Duty::Busy(client) => {
                let closed_copy = worker.copy.take();
                self.pool.note_service(report.ended.since(report.began));
                return Heard::Finished(Finished {
                    slot,
                    client,
                    closed_copy,
                    verdict,
                    report,
                    spool,
                });
            }
            // It has no client that this could be about.
            _ => self.distrust(ctx, slot, &"a verdict without a client"),
        }
        Heard::Nothing
    }

    /// A worker has said its verdict: it is free, or stays with its handler.
    pub(in crate::parent) fn let_go(&mut self, ctx: &Context, slot: Slot, report: &Report) {
        if !report.is_handler_running {
            return self.set_free(ctx, slot);
        }
        self.pool.assign(slot, Duty::Finishing, ctx.now);
        self.watch_soon(ctx);
    }

    /// A worker is done: it is ready, or leaves.
    fn set_free(&mut self, ctx: &Context, slot: Slot) {
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
        self.pool.assign(slot, duty, ctx.now);
        if is_dismissed {
            self.retire(ctx, slot);
        }
    }

    /// Kills a worker that has said what makes no sense. What becomes of its client is decided by its slot, when it is
    /// reaped.
    pub(in crate::parent) fn distrust(&mut self, ctx: &Context, slot: Slot, why: &dyn Display) {
        if let Some(worker) = self.pool.get(slot) {
            let pid = worker.pid;
            ctx.log.error(format_args!("killing worker {pid}: {why}"));
        }
        self.drop_channel(ctx, slot);
        self.kill(ctx, slot);
    }

    /// An order could not be sent to a worker: it is of no use, and killed.
    pub(in crate::parent) fn give_up(&mut self, ctx: &Context, slot: Slot, why: Error) {
        ctx.log
            .warn(format_args!("unable to reach worker {}: {why}", slot.0));
        self.kill(ctx, slot);
    }

    /// A worker has closed its channel: it has died, or is about to leave as it was told. Its exit status comes by
    /// SIGCHLD. If it stays, the watchdog kills it.
    fn hang_up(&mut self, ctx: &Context, slot: Slot) {
        self.drop_channel(ctx, slot);
        if self
            .pool
            .duty(slot)
            .is_some_and(|duty| duty != Duty::Retiring)
        {
            self.watch_soon(ctx);
        }
    }

    /// Closes the parent's end of a worker's channel.
    pub(super) fn drop_channel(&mut self, ctx: &Context, slot: Slot) {
        let Some(worker) = self.pool.get_mut(slot) else {
            return;
        };
        if let Some(channel) = worker.channel.take() {
            let _ = ctx.readiness.forget(channel.as_fd());
        }
        if worker.duty == Duty::Ready {
            self.pool.assign(slot, Duty::Retiring, ctx.now);
        }
    }

    /// Tells every worker that can hear it to open the log again.
    pub(in crate::parent) fn reopen_log(&mut self, ctx: &Context) {
        self.log_reopened = ctx.now;
        for (_, worker) in self.pool.workers() {
            if let Some(channel) = &worker.channel {
                // A worker that does not even take this hangs, and the watchdog will kill it.
                let _ = channel::send_order(channel.as_fd(), &Order::ReopenLog, None, None);
            }
        }
    }

    /// Tells an idle worker to leave.
    pub(in crate::parent) fn retire(&mut self, ctx: &Context, slot: Slot) {
        if let Some(worker) = self.pool.get_mut(slot) {
            worker.is_dismissed = true;
            if let Some(channel) = &worker.channel {
                let _ = channel::send_order(channel.as_fd(), &Order::Retire, None, None);
            }
        }
        self.pool.assign(slot, Duty::Retiring, ctx.now);
        self.watch_soon(ctx);
    }

    /// A busy worker leaves once it is free.
    pub(in crate::parent) fn dismiss(&mut self, slot: Slot) {
        self.pool.dismiss(slot);
    }

    /// Kills a worker. What becomes of its client is decided when the worker is reaped.
    pub(in crate::parent) fn kill(&mut self, ctx: &Context, slot: Slot) {
        let Some(worker) = self.pool.get_mut(slot) else {
            return;
        };
        let (pid, duty) = (worker.pid, worker.duty);
        if !std::mem::replace(&mut worker.is_killed, true) {
            // It is our child and not reaped, so the number is still its own.
            let _ = process::kill(pid, signal::SIGKILL);
        }
        if !duty.is_occupied() {
            self.pool.assign(slot, Duty::Retiring, ctx.now);
        }
    }

    /// Kills every worker: the end of the server.
    pub(in crate::parent) fn kill_all(&mut self, ctx: &Context) {
        for slot in self.pool.slots() {
            self.kill(ctx, slot);
        }
    }

    /// The server is to end: every worker leaves, at once or when it has ended its handler.
    #[cold]
    pub(in crate::parent) fn end(&mut self, ctx: &Context) {
        for slot in self.pool.slots() {
            match self.pool.duty(slot) {
                Some(Duty::Ready) => self.retire(ctx, slot),
                // The end of its channel makes a worker end its handler's tree, then leave.
                Some(Duty::Busy(_) | Duty::Finishing) => {
                    self.drop_channel(ctx, slot);
                    self.pool.assign(slot, Duty::Retiring, ctx.now);
                }
                Some(Duty::Starting) => self.kill(ctx, slot),
                Some(Duty::Retiring) | None => {}
            }
        }
    }

    /// Settings have changed: other limits, and workers are to be replaced. Returns how many slots are in use.
    #[cold]
    pub(in crate::parent) fn change(&mut self, settings: &crate::settings::Settings) -> usize {
        self.oom_score.change(settings);
        let most = settings.limits.max_workers.unwrap_or(settings.workers);
        let slots = self.pool.set_most(most);
        self.pool.begin_edition();
        slots
    }

    /// One line on each worker, until the text has so many bytes.
    pub(in crate::parent) fn describe(&self, ctx: &Context, text: &mut String, most_bytes: usize) {
        let mut workers = self.pool.workers();
        for (slot, worker) in workers.by_ref() {
            if text.len() > most_bytes {
                let _ = write!(text, "\nmore workers: {}", workers.count() + 1);
                break;
            }
            describe(ctx, text, slot, worker);
        }
    }
}

/// Writing to a String cannot fail.
fn describe(ctx: &Context, text: &mut String, slot: Slot, worker: &Worker) {
    let entry = ctx.scoreboard.entry(slot);
    let duty = match worker.duty {
        Duty::Starting => "starting",
        Duty::Ready => "ready",
        Duty::Busy(_) if entry.is_resting() => "ready",
        Duty::Busy(_) => "busy",
        Duty::Finishing => "finishing",
        Duty::Retiring => "leaving",
    };
    let since = ctx.now.since(worker.since.max(entry.began())).as_secs();
    let _ = write!(text, "\nworker {}: {duty} for {since} s", worker.pid);
    let handler = entry.handler_pid();
    if handler != 0 {
        let name = crate::log::Escaped(&entry.handler_name()).to_string();
        let _ = write!(text, ", {name} (pid {handler})");
    }
}
