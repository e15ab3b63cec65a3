//! The watchdog: kills workers that give no sign of life when they must, or take too long.
//!
//! Runs only while some worker has a client, starts or leaves: an idle server sleeps.

use super::duty::Duty;
use super::owner::Workers;
use super::pool::Worker;
use crate::parent::context::Context;
use crate::parent::life::START_TIMEOUT;
use crate::scoreboard::{Phase, REST, Slot};
use crate::sys::proc;
use crate::sys::time::Moment;
use std::time::Duration;

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// If the watchdog's own turn is this late, the parent or the whole machine was stopped.
const STALL: Duration = Duration::from_secs(1);

/// A worker that looks at a head or reads a body never waits for anybody, so it gives a sign of life at least once a
/// second. Another second is for a loaded machine.
const SILENCE: Duration = Duration::from_secs(2);

/// How much longer a worker may take that is seen to wait for a disk: a disk that spins up, a file system that is frozen
/// for a snapshot or writes back. If it were killed it would end no sooner, and its client would be lost. A worker of
/// which nobody can tell (no /proc, hidepid) gets the same time.
const DISK_TIME: Duration = Duration::from_secs(30);

/// What the watchdog sees of a worker.
#[derive(Clone, Copy)]
struct Seen {
    duty: Duty,
    since: Moment,
    has_channel: bool,
    phase: Phase,
    heartbeat: Moment,
    deadline: Moment,
    /// When it last waited for a disk, as far as anybody looked.
    at_disk: Moment,
    /// When this process last went on after it was held up: the worker may have been held up as long.
    resumed: Moment,
}

/// Why a worker has to go, if it has to. `grace` is what it may need to end its handler's tree.
fn overdue(seen: Seen, grace: Duration, now: Moment) -> Option<&'static str> {
    let is_past = |from: Moment, time: Duration| {
        let from = from.max(seen.resumed);
        // A worker that launches is in state D too: it waits for its child to become the handler (vfork).
        if seen.phase == Phase::Launched {
            return now > from.after(time);
        }
        let pardoned = seen.at_disk.min(from.after(DISK_TIME));
        now > from.max(pardoned).after(time)
    };
    let signs = seen.since.max(seen.heartbeat);
    match seen.duty {
        Duty::Starting => is_past(seen.since, START_TIMEOUT).then_some("it does not start"),
        Duty::Ready => None,
        Duty::Retiring => is_past(seen.since, grace + SILENCE).then_some("it does not leave"),
        Duty::Busy(_) | Duty::Finishing if !seen.has_channel => {
            is_past(signs, grace + SILENCE).then_some("it has hung up")
        }
        Duty::Busy(_) | Duty::Finishing => match seen.phase {
            // It may rest, for `REST` at most.
            Phase::Idle | Phase::Kept => {
                is_past(signs, REST + SILENCE).then_some("it shows no sign of life")
            }
            Phase::Looking | Phase::Reading => {
                is_past(signs, SILENCE).then_some("it shows no sign of life")
            }
            Phase::Launched | Phase::Answering | Phase::Closing => {
                // Without a deadline it runs no handler, and an answer of its own takes no time.
                let has_deadline = seen.deadline != Moment::default();
                if has_deadline {
                    is_past(seen.deadline, grace + SILENCE)
                        .then_some("its request is over its deadline")
                } else {
                    is_past(signs, SILENCE).then_some("it shows no sign of life")
                }
            }
        },
    }
}

impl Workers {
    /// Makes the watchdog run: there is a worker to watch.
    pub(super) fn watch_soon(&mut self, ctx: &Context) {
        if self.watch_at.is_none() {
            self.watch_at = Some(ctx.now.after(INTERVAL));
        }
    }

    /// Kills workers that are overdue; true if there was one. It may have ended long before, if its SIGCHLD was lost: so
    /// the caller reaps.
    pub(in crate::parent) fn watch(&mut self, ctx: &Context) -> bool {
        let Some(due) = self.watch_at.filter(|at| *at <= ctx.now) else {
            return false;
        };
        if ctx.now > due.after(STALL) {
            // This process was stopped itself, or the whole machine was, and workers may have been too.
            self.resumed = ctx.now;
            self.watch_at = Some(ctx.now.after(INTERVAL));
            return false;
        }
        let grace = ctx.settings.limits.kill_grace;
        let late: Vec<(Slot, Seen, &'static str)> = self
            .pool
            .workers()
            .filter_map(|(slot, worker)| {
                let seen = self.seen(ctx, slot, worker);
                Some((slot, seen, overdue(seen, grace, ctx.now)?))
            })
            .collect();
        let mut is_any_killed = false;
        for (slot, seen, why) in late {
            if !self.pardons(ctx, slot, seen) {
                self.end_overdue(ctx, slot, why);
                is_any_killed = true;
            }
        }
        let watched = self.pool.total() - self.pool.ready();
        self.watch_at = (watched > 0).then(|| ctx.now.after(INTERVAL));
        is_any_killed
    }

    /// Spares a worker that waits for a disk, or may do so, and has not done so for too long: true if it did.
    fn pardons(&mut self, ctx: &Context, slot: Slot, seen: Seen) -> bool {
        let grace = ctx.settings.limits.kill_grace;
        let at_disk = ctx.now;
        let Some(worker) = self.pool.get_mut(slot) else {
            return false;
        };
        let may_wait = proc::state_of(worker.pid).is_none_or(|state| state == b'D');
        let is_pardoned = may_wait && overdue(Seen { at_disk, ..seen }, grace, at_disk).is_none();
        if is_pardoned {
            worker.at_disk = at_disk;
        }
        is_pardoned
    }

    fn end_overdue(&mut self, ctx: &Context, slot: Slot, why: &str) {
        if let Some(worker) = self.pool.get(slot).filter(|w| !w.is_killed) {
            let pid = worker.pid;
            ctx.log.warn(format_args!("killing worker {pid}: {why}"));
        }
        self.kill(ctx, slot);
    }

    fn seen(&self, ctx: &Context, slot: Slot, worker: &Worker) -> Seen {
        let entry = ctx.scoreboard.entry(slot);
        // Read first: a worker gives a sign of life before it takes its deadline away. So where the deadline is gone,
        // the sign of life that is read below is that one or a newer one.
        let deadline = entry.deadline();
        Seen {
            duty: worker.duty,
            since: worker.since,
            has_channel: worker.channel.is_some(),
            phase: entry.phase(),
            heartbeat: entry.heartbeat(),
            deadline,
            at_disk: worker.at_disk,
            resumed: self.resumed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parent::context::Id;

    const BUSY: Duty = Duty::Busy(Id {
        index: 0,
        generation: 0,
    });

    /// A worker that has had its client since `at(0)` and has given no sign of life since then.
    fn silent(phase: Phase, deadline: Moment) -> Seen {
        Seen {
            duty: BUSY,
            since: at(0),
            has_channel: true,
            phase,
            heartbeat: at(0),
            deadline,
            at_disk: Moment::default(),
            resumed: Moment::default(),
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(1_000_000 * (100 + seconds))
    }

    #[test]
    fn only_a_worker_that_owes_a_sign_of_life_is_killed() {
        // duty, phase, heartbeat, deadline, now: killed?
        for (duty, phase, heartbeat, deadline, now, expected) in [
            (Duty::Ready, Phase::Idle, 0, 0, 1_000, false),
            (Duty::Starting, Phase::Idle, 0, 0, 9, false),
            (Duty::Starting, Phase::Idle, 0, 0, 11, true),
            (Duty::Retiring, Phase::Idle, 0, 0, 3, false),
            (Duty::Retiring, Phase::Idle, 0, 0, 5, true),
            (BUSY, Phase::Looking, 0, 0, 3, true),
            (BUSY, Phase::Reading, 2, 0, 3, false),
            (BUSY, Phase::Idle, 0, 0, 3, false),
            (BUSY, Phase::Idle, 0, 0, 4, true),
            (BUSY, Phase::Kept, 0, 0, 3, false),
            (BUSY, Phase::Kept, 0, 0, 4, true),
            (BUSY, Phase::Launched, 0, 60, 60, false),
            (BUSY, Phase::Launched, 0, 60, 65, true),
            (BUSY, Phase::Answering, 0, 0, 2, false),
            (BUSY, Phase::Answering, 0, 0, 3, true),
            (BUSY, Phase::Answering, 0, 60, 60, false),
            (Duty::Finishing, Phase::Answering, 0, 60, 64, false),
            (Duty::Finishing, Phase::Answering, 0, 60, 65, true),
            (Duty::Finishing, Phase::Answering, 0, 0, 3, true),
        ] {
            let deadline = if deadline == 0 {
                Moment::default()
            } else {
                at(deadline)
            };
            let seen = Seen {
                duty,
                heartbeat: at(heartbeat),
                ..silent(phase, deadline)
            };
            let killed = overdue(seen, Duration::from_secs(2), at(now)).is_some();
            assert_eq!(killed, expected, "{duty:?} {phase:?} at {now}");
        }
    }

    #[test]
    fn a_worker_that_waits_for_a_disk_is_given_more_time_and_not_for_ever() {
        let none = Moment::default();
        // phase, deadline, last seen at a disk, now: killed?
        for (phase, deadline, at_disk, now, expected) in [
            (Phase::Reading, none, none, 3, true),
            (Phase::Reading, none, at(3), 3, false),
            (Phase::Reading, none, at(3), 5, false),
            // It has gone on, without a word.
            (Phase::Reading, none, at(3), 6, true),
            (Phase::Reading, none, at(29), 31, false),
            (Phase::Reading, none, at(33), 33, true),
            (Phase::Looking, none, at(3), 5, false),
            (Phase::Kept, none, at(5), 8, false),
            (Phase::Answering, none, at(4), 6, false),
            (Phase::Answering, at(60), at(66), 70, false),
            (Phase::Answering, at(60), at(66), 71, true),
            (Phase::Answering, at(60), at(99), 99, true),
            (Phase::Launched, at(60), at(66), 66, true),
        ] {
            let seen = Seen {
                at_disk,
                ..silent(phase, deadline)
            };
            let killed = overdue(seen, Duration::from_secs(2), at(now)).is_some();
            assert_eq!(killed, expected, "{phase:?} {at_disk:?} at {now}");
        }
    }

    #[test]
    fn after_a_stall_of_the_whole_server_each_worker_has_its_time_again() {
        for (phase, deadline, now, expected) in [
            (Phase::Reading, Moment::default(), 52, false),
            (Phase::Reading, Moment::default(), 53, true),
            (Phase::Launched, at(10), 54, false),
            (Phase::Launched, at(10), 55, true),
            (Phase::Launched, at(60), 64, false),
        ] {
            let seen = Seen {
                resumed: at(50),
                ..silent(phase, deadline)
            };
            let killed = overdue(seen, Duration::from_secs(2), at(now)).is_some();
            assert_eq!(killed, expected, "{phase:?} at {now}");
        }
    }
}
