//! Servers of several kinds, and what is done with each: requests, handlers in a sandbox, a reload, an
//! upgrade.

use super::harness::{Server, Setup, os, watch_for};
use super::scenarios::{
    self, Asked, BOXED, SCENARIOS, Scenario, follow, get_of, hello, post_of, tcp,
};
use std::fs;
use std::os::unix::fs::chown;
use std::time::{Duration, Instant};

/// A kind of server.
pub(crate) struct ServerKind {
    pub(crate) prepare: fn(&mut Setup),
    pub(crate) scenarios: &'static [(&'static str, Scenario)],
}

/// Every way that a request can go.
pub(crate) const PLAIN: ServerKind = ServerKind {
    prepare: |_| {},
    scenarios: SCENARIOS,
};

/// What the administrator does.
pub(crate) const CHANGES: ServerKind = ServerKind {
    prepare: |_| {},
    scenarios: &[("reload", reload), ("upgrade", upgrade)],
};

/// A server that becomes somebody else.
pub(crate) const USER: ServerKind = ServerKind {
    prepare: be_somebody,
    scenarios: &[
        ("get", scenarios::get),
        ("large post", scenarios::large_post),
        ("slow post", scenarios::slow_post),
        ("slow reader", scenarios::slow_reader),
        ("leaver", scenarios::leaver),
        ("respawn", scenarios::respawn),
        ("reopened log", scenarios::reopened_log),
        ("reload", reload),
        ("upgrade", upgrade),
        // The last one: a worker keeps its ruleset, and that counts as quiet.
        ("sandboxed", sandboxed),
    ],
};

/// Nobody else is this user, in the black-box tests neither.
pub(crate) fn user() -> u32 {
    3_000_000_000 + std::process::id()
}

fn be_somebody(setup: &mut Setup) {
    let id = user();
    for name in ["", "root", "faults"] {
        chown(setup.folder.at(name), Some(id), Some(id)).unwrap();
    }
    setup.args([&format!("--user={id}:{id}")]);
}

/// A handler in a sandbox. It is another file each time, which takes a new ruleset.
pub(crate) fn sandboxed(server: &Server) -> Vec<Asked> {
    confined(server, "boxed", "shut")
}

/// One that may run without.
pub(crate) fn best_effort(server: &Server) -> Vec<Asked> {
    let mut asked = confined(server, "relaxed", "shut");
    for asked in &mut asked {
        asked.may_be("open");
    }
    asked
}

fn confined(server: &Server, name: &str, said: &str) -> Vec<Asked> {
    if os::landlock_version() < 4 {
        eprintln!("skipped: no Landlock here");
        return Vec::new();
    }
    fs::remove_file(server.folder.at(&format!("root/{name}"))).unwrap();
    server.handler(name, BOXED);
    let seen = tcp(server).ask(get_of(&format!("/{name}")));
    vec![Asked::new(200, said, seen)]
}

/// Waits until the log has one more of these lines; it may not come.
fn wait_for_log(server: &Server, before: usize, lines: &[&str]) -> bool {
    let start = Instant::now();
    while count(server, lines) == before {
        if start.elapsed() > Duration::from_millis(500) {
            return false;
        }
        watch_for(Duration::from_millis(2));
    }
    true
}

fn count(server: &Server, lines: &[&str]) -> usize {
    let log = server.log();
    lines.iter().map(|line| log.matches(line).count()).sum()
}

/// A listener comes and goes.
fn reload(server: &Server) -> Vec<Asked> {
    let more = format!("bind = unix:{}\n", server.folder.at("more").display());
    let mut asked = Vec::new();
    // Once more, should the last one have failed.
    for more in [&*more, "", ""] {
        let text = scenarios::config(&server.folder, more);
        server.folder.write("caffeine.conf", text, 0o644);
        let outcomes = ["reloaded: ", "unable to reload"];
        let before = count(server, &outcomes);
        server.signal(os::HUP);
        wait_for_log(server, before, &outcomes);
        asked.push(hello(tcp(server).ask(get_of("/hello"))));
    }
    asked
}

/// With a client that is idle and one in the middle of its body.
fn upgrade(server: &Server) -> Vec<Asked> {
    let (mut idle, mut sender) = (tcp(server), tcp(server));
    let first = hello(idle.ask(get_of("/hello")));
    let body = scenarios::text(200 << 10);
    let (half, rest) = body.split_at(100 << 10);
    sender.send([post_of("/echo", body.len()).as_bytes(), half].concat());
    watch_for(scenarios::PAUSE);
    let outcomes = ["upgraded: ", "unable to upgrade"];
    let before = count(server, &outcomes);
    server.signal(os::USR2);
    wait_for_log(server, before, &outcomes);
    follow(server);
    let second = hello(idle.ask(get_of("/hello")));
    sender.send(rest);
    let sent = Asked::new(200, body.clone(), sender.response());
    vec![
        first,
        second,
        sent,
        hello(tcp(server).ask(get_of("/hello"))),
    ]
}
