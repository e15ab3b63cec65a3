//! The walk itself.

use super::harness::{Server, Setup, eventually, os};
use super::scenarios::{self, Scenario, ask_status, expect_service};
use super::server_kinds::{self, ServerKind};
use super::table::{Call, Table, errnos};
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

/// What the server holds when nobody is there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holdings {
    parent_descriptors: usize,
    worker_descriptors: usize,
    processes: usize,
}

const WORKERS: usize = 2;
/// Uses of a call, from the first on, that fail in turn.
const MOST_USES: u64 = 6;

struct Walk {
    server: Server,
    table: Table,
    quiet: Holdings,
    /// The whole walk, or each fault once.
    is_whole: bool,
    /// Faults that have been tried in some scenario.
    tried: HashSet<(String, i32, u64)>,
    cases: usize,
    /// The call was not made that often this time.
    missed: usize,
    requests: usize,
    wrong: Vec<String>,
    slowest: (Duration, String),
}

/// In an errno's place: the process is killed just before the call (src/sys/fault/table.rs).
pub(crate) const KILL: i32 = 1000 + libc::SIGKILL;
/// The same, stopped.
pub(crate) const STOP: i32 = 1000 + libc::SIGSTOP;

/// One fault in one scenario.
struct Case<'c> {
    name: &'c str,
    scenario: Scenario,
    call: &'c Call,
    errno: i32,
    n: u64,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call { kind, name, .. } = self.call;
        let (scenario, n) = (self.name, self.n);
        write!(f, "{scenario}: {kind}'s {name}, use {n}: ")?;
        match self.errno {
            KILL => f.write_str("killed"),
            errno => std::io::Error::from_raw_os_error(errno).fmt(f),
        }
    }
}

fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A server to be started, with its table.
pub(crate) fn setup(kind: &ServerKind) -> (Setup, Table) {
    let mut setup = Setup::new();
    let table = Table::new(&setup.folder);
    setup.without("--bind").without("--port");
    setup.config(&scenarios::config(&setup.folder, ""));
    setup.args([
        "--workers=2",
        "--max-workers=2",
        "--max-body=1M",
        "--kill-grace=100ms",
        "--linger=200ms",
    ]);
    setup.env("CAFFEINE_FAULT_TABLE", &table.path.display().to_string());
    (kind.prepare)(&mut setup);
    (setup, table)
}

fn start(kind: &ServerKind) -> (Server, Table) {
    let (setup, table) = setup(kind);
    let server = setup.start();
    for (name, script) in scenarios::HANDLERS {
        server.handler(name, script);
    }
    server
        .folder
        .write("root/block", super::harness::noise(scenarios::BLOCK), 0o644);
    (server, table)
}

impl Walk {
    fn new(kind: &ServerKind) -> Self {
        let (server, table) = start(kind);
        let mut walk = Self {
            quiet: Holdings {
                parent_descriptors: 0,
                worker_descriptors: 0,
                processes: 0,
            },
            server,
            table,
            is_whole: std::env::var_os("FAULTS").is_some(),
            tried: HashSet::new(),
            cases: 0,
            missed: 0,
            requests: 0,
            wrong: Vec::new(),
            slowest: (Duration::ZERO, String::new()),
        };
        for (name, scenario) in kind.scenarios {
            for asked in scenario(&walk.server) {
                assert!(
                    asked.is_right(),
                    "{name}, nothing fails: {:?}",
                    short(&asked.seen)
                );
            }
        }
        expect_service(&walk.server, "the first round");
        let mut last = None;
        eventually(Duration::from_secs(5), "quiet", || {
            let now = walk.is_empty().then(|| walk.holdings());
            let is_same = now.is_some() && now == last;
            last = now;
            is_same
        });
        walk.quiet = last.unwrap();
        walk
    }

    fn holdings(&self) -> Holdings {
        let count = |pid: u32| os::descriptors(pid).len();
        let workers = self.server.worker_pids();
        Holdings {
            parent_descriptors: count(self.server.pid()),
            worker_descriptors: workers.iter().map(|pid| count(*pid)).max().unwrap_or(0),
            processes: self.server.folder.processes().len(),
        }
    }

    /// No connection anywhere, no spool, and every worker is ready.
    fn is_empty(&self) -> bool {
        let status = ask_status(&self.server).unwrap_or_default();
        let has = |word: &str| status.split_whitespace().any(|found| found == word);
        has("connections=0") && has("spooled=0") && has(&format!("ready={WORKERS}"))
    }

    /// Which calls a scenario makes.
    fn calls_of(&mut self, scenario: Scenario) -> Vec<Call> {
        eventually(Duration::from_secs(5), "quiet", || self.is_empty());
        self.table.clear();
        scenario(&self.server);
        // Its last calls come after its last answer.
        let mut last = Vec::new();
        eventually(Duration::from_secs(5), "the calls end", || {
            super::harness::watch_for(Duration::from_millis(20));
            let now = self.table.calls();
            let is_same = now == last;
            last = now;
            is_same
        });
        last
    }

    /// Whether this fault is to be tried in this scenario too.
    fn wants(&mut self, case: &Case<'_>) -> bool {
        let call = format!("{} {}", case.call.kind, case.call.name);
        self.tried.insert((call, case.errno, case.n)) && case.n <= 2 || self.is_whole
    }

    /// Plays one scenario with one call that fails once.
    fn play(&mut self, case: &Case<'_>) {
        let begun = Instant::now();
        let runs = self.server.read("runs").len();
        self.table.arm(case.call, case.errno, case.n);
        let asked = (case.scenario)(&self.server);
        if !self.table.has_failed(case.call) {
            super::harness::watch_for(Duration::from_millis(3));
        }
        let has_failed = self.table.disarm(case.call);
        self.cases += usize::from(has_failed);
        self.missed += usize::from(!has_failed);
        self.requests += asked.len();
        for asked in asked.iter().filter(|asked| !asked.is_honest()) {
            self.wrong.push(format!("{case}: {}", short(&asked.seen)));
        }
        let ran = (self.server.read("runs").len() - runs) / 2;
        // The client that has gone is not in the list.
        if ran > asked.len().max(1) {
            let most = asked.len();
            self.wrong
                .push(format!("{case}: {ran} runs for {most} requests"));
        }
        expect_service(&self.server, &case.to_string());
        self.expect_nothing_left(case);
        let took = begun.elapsed();
        if took > self.slowest.0 {
            self.slowest = (took, case.to_string());
        }
        if std::env::var_os("FAULTS_SHOWN").is_some() {
            let seen: Vec<String> = asked.iter().map(|asked| short(&asked.seen)).collect();
            let missed = if has_failed { "" } else { " (missed)" };
            println!("{case}: {} ms {seen:?}{missed}", took.as_millis());
        }
    }

    fn expect_nothing_left(&mut self, case: &Case<'_>) {
        let start = Instant::now();
        loop {
            scenarios::follow(&self.server);
            let is_empty = self.is_empty();
            let now = self.holdings();
            let is_same = now.parent_descriptors <= self.quiet.parent_descriptors
                && now.worker_descriptors <= self.quiet.worker_descriptors
                && now.processes <= self.quiet.processes;
            if is_empty && is_same {
                return;
            }
            if start.elapsed() > Duration::from_secs(6) {
                let status = ask_status(&self.server);
                self.wrong.push(format!(
                    "{case}: left {now:?}, not {:?}; {status:?}",
                    self.quiet
                ));
                // What is left now shall not be blamed on those that follow.
                self.quiet = now;
                return;
            }
            super::harness::watch_for(Duration::from_millis(2));
        }
    }
}

/// A result without its body.
fn short(seen: &super::test_client::Seen) -> String {
    match seen {
        super::test_client::Seen::Whole(status, body) => {
            format!("{status} with {} bytes", body.len())
        }
        other => format!("{other:?}"),
    }
}

/// Walks through the scenarios with the faults that are chosen for each call.
fn walk(kind: &ServerKind, faults: impl Fn(&Call) -> Vec<i32>) {
    let mut walk = Walk::new(kind);
    let only = std::env::var("FAULTS_SCENE").ok();
    let before = rss_kib(walk.server.pid());
    let mut calls_seen = BTreeSet::new();
    let begun = Instant::now();
    for (name, scenario) in kind.scenarios {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        for call in walk.calls_of(*scenario) {
            calls_seen.insert(format!("{} {}", call.kind, call.name));
            for errno in faults(&call) {
                for n in 1..=call.uses.min(MOST_USES) {
                    let case = Case {
                        name,
                        scenario: *scenario,
                        call: &call,
                        errno,
                        n,
                    };
                    if walk.wants(&case) {
                        walk.play(&case);
                    }
                }
            }
        }
    }
    let after = rss_kib(walk.server.pid());
    println!(
        "{} cases over {} calls in {:.0} s: {} requests, {} survived; {} more were not reached",
        walk.cases,
        calls_seen.len(),
        begun.elapsed().as_secs_f64(),
        walk.requests,
        walk.cases.saturating_sub(walk.wrong.len()),
        walk.missed,
    );
    println!("parent's memory: {before} KiB before, {after} KiB after");
    println!("slowest: {:?} {}", walk.slowest.0, walk.slowest.1);
    assert!(walk.wrong.is_empty(), "{:#?}", walk.wrong);
    assert!(after < before + 1024, "{before} KiB became {after} KiB");
    walk.server.stop();
}

/// Every errno that a call can have.
fn with_errnos(call: &Call) -> Vec<i32> {
    errnos(&call.name).to_vec()
}

/// Death. Nothing outlives the parent's, but a new server may die before it is one.
fn with_death(call: &Call) -> Vec<i32> {
    match call.kind {
        "start" | "worker" | "handler" => vec![KILL],
        _ => Vec::new(),
    }
}

#[test]
fn every_call_may_fail_and_the_server_serves_on() {
    walk(&server_kinds::PLAIN, with_errnos);
}

#[test]
fn workers_and_handlers_may_die_at_any_call() {
    walk(&server_kinds::PLAIN, with_death);
}

#[test]
fn every_call_of_a_reload_or_an_upgrade_may_fail() {
    walk(&server_kinds::CHANGES, with_errnos);
}

#[test]
fn all_but_the_parent_may_die_at_any_call_of_a_reload_or_an_upgrade() {
    walk(&server_kinds::CHANGES, with_death);
}

#[test]
fn every_call_may_fail_in_a_server_that_was_root() {
    if os::is_root() {
        walk(&server_kinds::USER, with_errnos);
    }
}
