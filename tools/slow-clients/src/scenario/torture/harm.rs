//! What is done to the server: signals to random workers and handlers, reloads, moved logs, upgrades.

use super::ask::Dice;
use crate::server::Server;
use crate::table::Table;
use crate::{process, sys};
use std::collections::HashMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two signals to workers and handlers.
const BEAT: Duration = Duration::from_millis(40);
const RELOAD_EVERY: Duration = Duration::from_secs(3);
const ROTATE_EVERY: Duration = Duration::from_secs(5);
/// At least twice in any run.
const UPGRADE_EVERY: Duration = Duration::from_secs(120);
/// A stopped process goes on before this: below what the watchdog allows.
const MOST_STOPPED_MS: u64 = 900;

/// What was done, in order of `Harm::counts`.
const DEEDS: [&str; 8] = [
    "workers killed",
    "handlers killed",
    "workers stopped and continued",
    "handlers stopped and continued",
    "workers stopped for 3 s",
    "reloads",
    "logs moved away",
    "upgrades",
];

/// The tormentor.
pub struct Harm<'s> {
    server: &'s Server,
    begun: Instant,
    time: Duration,
    dice: Dice,
    counts: [usize; DEEDS.len()],
    /// Who was killed, and when.
    pub killed: HashMap<i32, Vec<Instant>>,
    pub workers_killed: usize,
    stopped: Vec<(i32, Instant)>,
    upgrades_left: Vec<Duration>,
    upgrades_failed: usize,
    logs: usize,
}

impl<'s> Harm<'s> {
    pub fn new(server: &'s Server, time: Duration, without_upgrade: bool) -> Self {
        let upgrades_left = if without_upgrade {
            Vec::new()
        } else {
            let count = u32::try_from(time.as_secs() / UPGRADE_EVERY.as_secs()).unwrap_or(0);
            let count = count.max(2);
            let nth = |n| time * n / (count + 1);
            (1..=count).rev().map(nth).collect()
        };
        Self {
            server,
            begun: Instant::now(),
            time,
            dice: Dice::new(7),
            counts: [0; DEEDS.len()],
            killed: HashMap::new(),
            workers_killed: 0,
            stopped: Vec::new(),
            upgrades_left,
            upgrades_failed: 0,
            logs: 0,
        }
    }

    fn count(&mut self, deed: usize) {
        if let Some(count) = self.counts.get_mut(deed) {
            *count += 1;
        }
    }

    /// Until the time is over; then everybody goes on again.
    pub fn run(&mut self) {
        let (mut reload_at, mut rotate_at) = (RELOAD_EVERY, ROTATE_EVERY);
        while self.begun.elapsed() < self.time {
            sleep(BEAT);
            self.continue_some(Instant::now());
            self.harm_one();
            let elapsed = self.begun.elapsed();
            if elapsed >= reload_at {
                reload_at += RELOAD_EVERY;
                self.signal(sys::SIGHUP, 5);
            }
            if elapsed >= rotate_at {
                rotate_at += ROTATE_EVERY;
                self.rotate();
            }
            if self.upgrades_left.last().is_some_and(|at| elapsed >= *at) {
                self.upgrades_left.pop();
                self.upgrade();
            }
        }
        self.continue_some(self.begun + self.time + Duration::from_secs(60));
    }

    fn signal(&mut self, signal: i32, deed: usize) {
        if sys::kill(self.server.pid_now(), signal).is_ok() {
            self.count(deed);
        }
    }

    fn rotate(&mut self) {
        self.logs += 1;
        let log = self.server.folder().join("log");
        let moved = self.server.folder().join(format!("log.{}", self.logs));
        if fs::rename(log, moved).is_ok() {
            self.signal(sys::SIGUSR1, 6);
        }
    }

    /// Another server takes over. Who is stopped would hold it up, so all go on first.
    fn upgrade(&mut self) {
        self.continue_some(Instant::now() + Duration::from_secs(60));
        let before = self.server.pid_now();
        self.signal(sys::SIGUSR2, 7);
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            let is_new = self.server.pid_now() != before;
            if is_new && self.server.status().is_ok_and(|s| s.get("pid") > 0) {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        self.upgrades_failed += 1;
    }

    fn continue_some(&mut self, now: Instant) {
        let (due, rest) = self.stopped.iter().partition(|(_, at)| *at <= now);
        self.stopped = rest;
        for (pid, _) in due {
            let _ = sys::kill(pid, sys::SIGCONT);
        }
    }

    fn pick(&mut self, of: &[i32]) -> Option<i32> {
        let at = usize::try_from(self.dice.below(of.len() as u64)).ok()?;
        of.get(at).copied()
    }

    /// One of the server's processes gets a signal.
    fn harm_one(&mut self) {
        let workers = process::workers(self.server.pid_now());
        let Some(worker) = self.pick(&workers) else {
            return;
        };
        let handler = self.pick(&process::children(worker));
        let ms = 20 + self.dice.below(MOST_STOPPED_MS - 20);
        match (self.dice.below(100), handler) {
            (0..15, _) => self.kill(worker, 0),
            (15..40, Some(handler)) => self.kill(handler, 1),
            (40..55, _) => self.stop(worker, 2, ms),
            (55..75, Some(handler)) => self.stop(handler, 3, ms),
            (75..77, _) => self.stop(worker, 4, 3000),
            _ => {}
        }
    }

    fn kill(&mut self, pid: i32, deed: usize) {
        // Before: its client may know of it before we go on.
        let at = Instant::now();
        if sys::kill(pid, sys::SIGKILL).is_ok() {
            self.count(deed);
            self.workers_killed += usize::from(deed == 0);
            self.killed.entry(pid).or_default().push(at);
        }
    }

    fn stop(&mut self, pid: i32, deed: usize, ms: u64) {
        if sys::kill(pid, sys::SIGSTOP).is_ok() {
            self.count(deed);
            let at = Instant::now() + Duration::from_millis(ms);
            self.stopped.push((pid, at));
        }
    }

    /// Whether this process was killed in that time.
    pub fn has_killed(&self, pid: i32, from: Instant, to: Instant) -> bool {
        let times = self.killed.get(&pid);
        times.is_some_and(|times| times.iter().any(|at| *at >= from && *at <= to))
    }

    /// Rows on what was done.
    pub fn show(&self, table: &mut Table) {
        for (what, count) in DEEDS.iter().zip(self.counts) {
            table.show(what, count);
        }
        let failed = self.upgrades_failed;
        table.check("upgrades that failed", failed, "0", failed == 0);
    }
}
