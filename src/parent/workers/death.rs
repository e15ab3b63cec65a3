//! The end of a worker: what its exit status and its slot of the scoreboard say.

use super::duty::Duty;
use super::owner::{Finished, Heard, Workers};
use super::pool::Worker;
use crate::channel::{self, Incoming, Verdict};
use crate::parent::context::{Context, Id};
use crate::scoreboard::{Phase, Report, Slot};
use crate::sys::Errno;
use crate::sys::fd::AsFd;
use crate::sys::process::{self, Ended, Pid, Reaped};
use std::fmt;

/// What others have to know of a dead worker.
pub(in crate::parent) struct Death {
    worker: Worker,
    ended: Ended,
    phase: Phase,
    /// It had begun its last order: what its slot says is about that one.
    has_begun: bool,
    pub(in crate::parent) report: Report,
    /// The handler that it ran, if one may still be running.
    pub(in crate::parent) handler_pid: Option<Pid>,
    /// It has left in good order, by itself.
    pub(in crate::parent) has_left: bool,
}

impl Death {
    /// Its process id.
    pub(in crate::parent) fn pid(&self) -> Pid {
        self.worker.pid
    }

    /// The client that it had.
    pub(in crate::parent) fn client(&self) -> Option<Id> {
        match self.worker.duty {
            Duty::Busy(id) => Some(id),
            _ => None,
        }
    }

    /// The client that was taken back from it, and whose descriptor it still had.
    pub(in crate::parent) fn copy(&self) -> Option<Id> {
        self.worker.copy
    }

    /// How far it had come, and whether it had begun its client's order; if not, this is about the client before.
    pub(in crate::parent) fn progress(&self) -> (Phase, bool) {
        (self.phase, self.has_begun)
    }

    /// Notes that it had answered a request since its last verdict.
    pub(in crate::parent) fn note_answered(&mut self, has_answered: bool) {
        self.worker.has_served |= has_answered;
    }
}

impl Workers {
    /// The next child that has ended.
    pub(in crate::parent) fn next_dead(ctx: &Context) -> Option<Reaped> {
        match process::reap(None) {
            Ok(reaped) => reaped,
            Err(e) if e.errno == Errno::CHILD => None,
            Err(e) => {
                ctx.log.error(format_args!("unable to reap: {e}"));
                None
            }
        }
    }

    /// What a dead worker had said and was not heard yet, one message after the other; `None`: there is no more.
    pub(in crate::parent) fn last_words(&mut self, ctx: &Context, slot: Slot) -> Option<Heard> {
        let worker = self.pool.get_mut(slot)?;
        // Its process id may be another process's by now, which must not be killed for what the dead one said.
        worker.is_killed = true;
        let channel = worker.channel.as_ref()?;
        match channel::receive_verdict(channel.as_fd()) {
            Ok(Incoming::Nothing | Incoming::Gone) => None,
            said => Some(self.hear(ctx, slot, said)),
        }
    }

    /// The verdict *keep* in the name of a dead worker that was between two requests of its client: it rested, or was
    /// about to say it.
    pub(in crate::parent) fn unsaid(&mut self, ctx: &Context, slot: Slot) -> Option<Finished> {
        let entry = ctx.scoreboard.entry(slot);
        let worker = self.pool.get(slot)?;
        let has_kept = matches!(worker.duty, Duty::Busy(_))
            && entry.phase() == Phase::Kept
            && entry.order() == Some(worker.ticket);
        let report = entry.report();
        match has_kept.then(|| self.judge(ctx, slot, (Verdict::Keep, report, None)))? {
            Heard::Finished(done) => Some(done),
            _ => None,
        }
    }

    /// Takes a dead worker out of its slot, and reads there how far it had come.
    pub(in crate::parent) fn bury(
        &mut self,
        ctx: &Context,
        slot: Slot,
        reaped: Reaped,
    ) -> Option<Death> {
        self.drop_channel(ctx, slot);
        let entry = ctx.scoreboard.entry(slot);
        let (phase, begun, report) = (entry.phase(), entry.order(), entry.report());
        let handler_pid = Pid::new(entry.handler_pid());
        entry.clear();
        let worker = self.pool.remove(slot)?;
        // It may have a client all the same: if it died before it read that order.
        let is_between = matches!(phase, Phase::Idle | Phase::Kept);
        Some(Death {
            has_begun: begun == Some(worker.ticket),
            worker,
            ended: reaped.ended,
            phase,
            report,
            handler_pid: handler_pid.filter(|_| !is_between),
            has_left: reaped.ended == Ended::Exited(0) && is_between,
        })
    }

    /// Logs how a worker ended, and delays the next start if it has answered nothing. While the server starts, returns
    /// why that has failed.
    pub(in crate::parent) fn note_end(&mut self, ctx: &Context, death: &Death) -> Option<String> {
        let Death {
            worker,
            ended,
            phase,
            has_left,
            ..
        } = death;
        let (pid, how) = (worker.pid, How(*ended));
        let mut failure = None;
        if ctx.life.is_starting() && worker.duty == Duty::Starting {
            failure = Some(format!("worker {pid} {how} before it was ready"));
        } else if *has_left || ctx.life.is_leaving() {
            ctx.log.debug(format_args!("worker {pid} has left ({how})"));
        } else {
            let doing = doing(*phase, worker.duty);
            ctx.log
                .warn(format_args!("worker {pid} {how} while {doing}"));
        }
        if !worker.has_served && !worker.is_dismissed {
            self.pool.pace.note_death(ctx.now);
        }
        failure
    }
}

/// How a process ended, in words.
pub(in crate::parent) struct How(pub(in crate::parent) Ended);

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ended::Exited(status) => write!(f, "ended with status {status}"),
            Ended::Killed(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

fn doing(phase: Phase, duty: Duty) -> &'static str {
    match (phase, duty) {
        (_, Duty::Starting) => "starting",
        (_, Duty::Finishing) => "its handler ran on after its response",
        (Phase::Idle | Phase::Kept, _) => "idle",
        (Phase::Looking, _) => "looking at a head",
        (Phase::Reading, _) => "reading a request",
        (Phase::Launched, _) => "its handler ran",
        (Phase::Answering | Phase::Closing, _) => "answering",
    }
}
