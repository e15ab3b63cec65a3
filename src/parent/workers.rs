//! Workers' births and deaths. Parent only; `be_worker` is the child's first act.
//!
//! A death only marks: what is missing is started once per turn, in `reconcile`, and paced.

use super::canned::Canned;
use super::lot::{End, Id, State};
use super::pool::{Duty, Need, Surplus, Worker, growth_due, workers_to_start};
use super::token::Token;
use super::verdict::{Salvage, salvage};
use super::{Estate, Parent, life, start};
use crate::birth::Birth;
use crate::channel::{self, Order, Said, Verdict};
use crate::scoreboard::{Phase, Slot};
use crate::sys::fd::{self, AsFd};
use crate::sys::process::{self, Ended, Pid, Reaped};
use crate::sys::time::Moment;
use crate::sys::{Errno, proc, signal};
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

impl Parent {
    /// Compares the workers that are wanted with those that live, and starts or retires some.
    pub(super) fn reconcile(&mut self) {
        if self.state.is_leaving() || self.is_upgrading() {
            return;
        }
        let missing = workers_to_start(self.need());
        for _ in 0..self.pool.pace.allows(missing, self.now) {
            if !self.start_worker() {
                break;
            }
        }
        self.replace_outdated();
        if let Surplus::Leaves(slot) = self.surplus() {
            self.retire(slot);
        }
    }

    /// Since when the first in the queue waits.
    fn first_woken(&self) -> Option<Moment> {
        let first = self.lot.at(State::Queued, End::Front)?;
        self.lot.get(first).map(|connection| connection.woken)
    }

    fn need(&self) -> Need {
        let woken = self.first_woken();
        // Only a queue makes it worth counting.
        let held = woken.map_or(0, |_| self.pool.held(self.now));
        Need {
            wanted: self.estate.settings.workers,
            most: self.pool.most(),
            living: self.pool.living(),
            starting: self.pool.starting(),
            at_once: 2 * self.estate.cpus.get(),
            held,
            queued: self.lot.count(State::Queued),
            waited: woken.map_or(Duration::ZERO, |woken| self.now.since(woken)),
        }
    }

    fn surplus(&self) -> Surplus {
        self.pool.surplus(self.estate.settings.workers, self.now)
    }

    /// When the pool has to change without an event. What is due already waits for one: a worker's
    /// first word, or the end of one that still has its slot.
    pub(super) fn pool_deadline(&self) -> Option<Moment> {
        if self.state.is_leaving() || self.is_upgrading() {
            return None;
        }
        let need = self.need();
        let is_missing = workers_to_start(need) > 0 || self.pool.is_mixed();
        let paced = is_missing.then(|| self.pool.pace.not_before());
        let growth = self
            .first_woken()
            .filter(|_| need.living < need.most)
            .map(|woken| growth_due(woken, self.now));
        let leaving = match self.surplus() {
            Surplus::Due(at) => Some(at),
            Surplus::Leaves(_) | Surplus::None => None,
        };
        [paced, growth, leaving]
            .into_iter()
            .flatten()
            .filter(|at| *at > self.now)
            .min()
    }

    /// Forks a worker; false if that is not possible now.
    pub(super) fn start_worker(&mut self) -> bool {
        let Some(slot) = self.pool.vacant() else {
            return false;
        };
        self.estate.scoreboard.entry(slot).clear();
        // Until the child has its own dispositions, a signal would be noted in the parent's pipe.
        let mask = signal::block_all();
        self.oom_score.raise();
        let forked = process::fork();
        if let Ok(None) = forked {
            be_worker(&self.estate, slot);
        }
        self.oom_score.restore();
        if let Ok(mask) = mask {
            let _ = signal::restore(&mask);
        }
        match forked {
            Ok(pid) => {
                if let Some(pid) = pid {
                    self.pool.add(slot, pid, self.now);
                }
                self.pool.pace.note_start(self.now);
                self.watch_soon();
                true
            }
            Err(e) => {
                if self.house.forks.is_new(self.now) {
                    self.log()
                        .error(format_args!("unable to fork a worker: {e}"));
                }
                self.pool.pace.note_failure(self.now);
                false
            }
        }
    }

    /// A new worker has connected: this is its channel from now on.
    pub(super) fn adopt(&mut self, slot: Slot, channel: OwnedFd) {
        let Some(worker) = self.pool.get_mut(slot) else {
            return;
        };
        let token = Token::Channel(slot, worker.generation).number();
        if let Err(e) = self.readiness.watch(channel.as_fd(), token) {
            let log = &self.estate.log;
            log.error(format_args!("unable to watch a channel: {e}"));
            return self.kill(slot);
        }
        if worker.born < self.log_reopened {
            let _ = channel::send_order(channel.as_fd(), &Order::ReopenLog, None, None);
        }
        worker.channel = Some(channel);
    }

    /// Kills a worker. What becomes of its client is decided when it is reaped.
    pub(super) fn kill(&mut self, slot: Slot) {
        let Some(worker) = self.pool.get_mut(slot) else {
            return;
        };
        let (pid, duty) = (worker.pid, worker.duty);
        if !std::mem::replace(&mut worker.is_killed, true) {
            // It is our child and not reaped, so the number is still its own.
            let _ = process::kill(pid, signal::SIGKILL);
        }
        if !duty.is_occupied() {
            self.pool.assign(slot, Duty::Retiring, self.now);
        }
    }

    /// Takes in every child that has ended.
    pub(super) fn reap(&mut self) {
        loop {
            match process::reap(None) {
                Ok(Some(reaped)) => match self.pool.find(reaped.pid) {
                    Some(slot) => self.bury(slot, reaped),
                    None if self.is_heir(reaped.pid) => {
                        self.heir_has_ended(reaped.pid, reaped.ended);
                    }
                    None => self.orphans.forget(reaped.pid),
                },
                Ok(None) => break,
                Err(e) if e.errno == Errno::CHILD => break,
                Err(e) => {
                    self.log().error(format_args!("unable to reap: {e}"));
                    break;
                }
            }
        }
        self.sweep_on();
    }

    /// A worker is dead. Its slot says how far it had come.
    fn bury(&mut self, slot: Slot, reaped: Reaped) {
        if let Some(worker) = self.pool.get_mut(slot) {
            // Its number may be another process's by now: whoever distrusts its last words must not kill.
            worker.is_killed = true;
        }
        // It may have said its verdict just before it died, and one more.
        while let Some(channel) = self.pool.get(slot).and_then(|w| w.channel.as_ref()) {
            match channel::receive_verdict(channel.as_fd()) {
                Ok(Said::Nothing | Said::Gone) => break,
                said => self.hear(slot, said),
            }
        }
        if self.has_kept(slot) {
            // It was about to say so, rested, or was about to look for the next request.
            let report = self.estate.scoreboard.entry(slot).report();
            self.judge(slot, Verdict::Keep, &report, None);
        }
        self.drop_channel(slot);
        let entry = self.estate.scoreboard.entry(slot);
        let phase = entry.phase();
        let (handler, handler_pid) = (entry.handler(), Pid::new(entry.handler_pid()));
        let (begun, report) = (entry.order(), entry.report());
        self.estate.scoreboard.entry(slot).clear();
        let Some(mut worker) = self.pool.remove(slot) else {
            return;
        };
        self.forget_copy(worker.copy);
        let has_begun = begun == Some(worker.ticket);
        if let Duty::Busy(id) = worker.duty
            && has_begun
        {
            worker.has_served |= self.catch_up(id, &report);
        }
        // With a client whose order it had not read, if the two crossed.
        let is_between = matches!(phase, Phase::Idle | Phase::Kept);
        let left = reaped.ended == Ended::Exited(0) && is_between;
        self.note_end(&worker, reaped.ended, phase, left);
        if left {
            self.adopt_detached(Some(worker.pid));
        } else {
            self.end_orphans(handler_pid.filter(|_| !is_between));
        }
        if let Duty::Busy(id) = worker.duty {
            self.save_client(id, phase, has_begun);
        }
        if handler != 0 {
            self.release(handler);
            self.release_after_redirects(&report);
        }
    }

    /// Whether a dead worker was between two requests of its client.
    fn has_kept(&self, slot: Slot) -> bool {
        let entry = self.estate.scoreboard.entry(slot);
        let worker = self.pool.get(slot);
        worker.is_some_and(|worker| {
            matches!(worker.duty, Duty::Busy(_))
                && entry.phase() == Phase::Kept
                && entry.order() == Some(worker.ticket)
        })
    }

    /// Says how a worker ended, and paces its successor if it never got as far as to serve.
    fn note_end(&mut self, worker: &Worker, ended: Ended, phase: Phase, left: bool) {
        let pid = worker.pid;
        if self.state.is_starting() && worker.duty == Duty::Starting {
            let how = format!("worker {pid} {} before it was ready", How(ended));
            self.failure.get_or_insert(start::Error::Workers(how));
        } else if left || self.state.is_leaving() {
            self.log()
                .debug(format_args!("worker {pid} has left ({})", How(ended)));
        } else {
            self.log().warn(format_args!(
                "worker {pid} {} while {}",
                How(ended),
                doing(phase, worker.duty)
            ));
        }
        if !worker.has_served && !worker.is_dismissed {
            self.pool.pace.note_death(self.now);
        }
    }

    /// What becomes of the client of a dead worker.
    fn save_client(&mut self, id: Id, phase: Phase, has_begun: bool) {
        let Some(connection) = self.lot.get(id) else {
            return;
        };
        let number = connection.number;
        match salvage(phase, has_begun, connection.has_lost_worker) {
            Salvage::HandOver => self.hand_over_again(id, true),
            Salvage::HandOverUnseen => self.hand_over_again(id, false),
            Salvage::Unread => self.refuse(id, Canned::Unread),
            Salvage::Lost => self.refuse(id, Canned::Lost),
            Salvage::Cut => self.reset(id),
            Salvage::Close => self.close_gently(id),
            Salvage::GiveUp => {
                self.log().error(format_args!(
                    "connection {number} has cost two workers: closing it"
                ));
                self.reset(id);
            }
        }
    }

    /// The life cycle's last resort.
    pub(super) fn kill_all(&mut self) {
        let slots: Vec<Slot> = self.pool.workers().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.kill(slot);
        }
    }

    /// A worker that cannot start ends the server while it starts.
    pub(super) fn has_failed_to_start(&self) -> bool {
        self.failure.is_some() && matches!(self.state, life::State::Starting(_))
    }
}

/// Forked child: becomes a worker and never returns. Nothing that the parent owns may be dropped
/// here (a drop would close descriptors that are others' by now, and remove files), so it leaves
/// by `exit_now` only.
fn be_worker(estate: &Estate, slot: Slot) -> ! {
    // First of all, and without a call on the inherited epoll set: what it holds is the parent's.
    let mut keep = estate.log.descriptors();
    keep.push(estate.root.as_raw_fd());
    keep.extend(proc::kept_proc());
    fd::close_all_but(&keep);
    process::set_name(c"caffeine-worker");
    let code = match signal::to_interrupts() {
        Ok(()) => (estate.worker_main)(&Birth {
            slot,
            secret: estate.secret,
            settings: &estate.settings,
            scoreboard: &estate.scoreboard,
            log: &estate.log,
            root: estate.root.as_fd(),
            listeners: &estate.addresses,
            handler_descriptor_limit: estate.handler_descriptor_limit,
            cpus: estate.cpus,
        }),
        Err(_) => 1,
    };
    process::exit_now(code)
}

/// How a process ended, in words.
pub(super) struct How(pub(super) Ended);

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
