//! 9: everything at once. Full load, while workers and handlers are killed, stopped and continued at
//! random, clients vanish, handlers leave behind what is hard to end, the server is reloaded, its log is
//! moved away and its binary is upgraded.
//! What was answered is right, and nothing is lost but what died with its own worker or handler.

mod ask;
mod brood;
mod harm;
mod judge;

use super::{Holdings, settle};
use crate::args::Options;
use crate::server::Server;
use crate::table::Table;
use crate::{Result, process, sys};
use ask::Asked;
use brood::Broods;
use harm::Harm;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// Clients that ask, and clients that vanish.
const CLIENTS: u64 = 12;
const VANISHING: u64 = 2;
/// Clients of handlers that leave processes behind.
const BROODS: u64 = 3;
/// Workers of the server.
const WORKERS: usize = 4;

/// Memory of one parent, from when it was warm to its end.
struct Memory {
    pid: i32,
    since: Instant,
    warm: Option<u64>,
    last: u64,
}

/// Watches the parent's memory; an upgrade begins with another one.
fn watch_memory(server: &Server, is_over: &AtomicBool) -> Vec<Memory> {
    let mut seen: Vec<Memory> = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let pid = server.pid_now();
        if seen.last().is_none_or(|last| last.pid != pid) {
            seen.push(Memory {
                pid,
                since: Instant::now(),
                warm: None,
                last: 0,
            });
        }
        let rss = process::rss_kib(pid);
        if let Some(memory) = seen.last_mut().filter(|_| rss > 0) {
            memory.last = rss;
            if memory.since.elapsed() > Duration::from_secs(3) {
                memory.warm.get_or_insert(rss);
            }
        }
        sleep(Duration::from_millis(100));
    }
    seen
}

pub fn run(options: &Options, table: &mut Table) -> Result<()> {
    sys::become_subreaper()?;
    let time = options.seconds.map(Duration::from_secs);
    let time =
        time.unwrap_or_else(|| options.pick(Duration::from_secs(600), Duration::from_secs(20)));
    let more = ["--kill-grace", "500ms", "--max-spool-total", "1G"];
    let mut server =
        Server::start_with(options, &more, "[handler /brood]\nhandler-timeout = 1s\n")?;
    let shared = count_shared();
    let before = settle(&server, WORKERS)?;
    let is_over = AtomicBool::new(false);
    let mut harm = Harm::new(&server, time, options.without_upgrade);
    let seconds = time.as_secs() + 120;
    let (asked, broods, memory) = scope(|scope| {
        let over = &is_over;
        let place = &server;
        let asking: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || ask::ask_on(place, number, over)))
            .collect();
        for number in 0..VANISHING {
            scope.spawn(move || ask::vanish_on(place, number, over));
        }
        let breeding: Vec<_> = (0..BROODS)
            .map(|number| scope.spawn(move || brood::brood_on(place, number, seconds, over)))
            .collect();
        let memory = scope.spawn(move || watch_memory(place, over));
        harm.run();
        is_over.store(true, Ordering::Relaxed);
        let mut asked = Asked::default();
        for client in asking {
            asked.add(client.join().unwrap_or_default());
        }
        let mut broods = Broods::default();
        for client in breeding {
            broods.add(&client.join().unwrap_or_default());
        }
        (asked, broods, memory.join().unwrap_or_default())
    });
    harm.show(table);
    broods.show(table);
    judge::requests(table, &server, &asked, &harm, time);
    judge_memory(table, &memory);
    server.follow();
    judge_rest(table, &mut server, before, shared)
}

fn judge_memory(table: &mut Table, memory: &[Memory]) {
    for parent in memory {
        let Some(warm) = parent.warm else { continue };
        let shown = format!("{warm} -> {} KiB", parent.last);
        let is_flat = parent.last < warm + 1024;
        table.check(
            "a parent's memory, warm and at its end",
            shown,
            "< +1024 KiB",
            is_flat,
        );
    }
}

/// What is still there when everybody has gone, and when the server has.
fn judge_rest(
    table: &mut Table,
    server: &mut Server,
    before: Option<Holdings>,
    shared: usize,
) -> Result<()> {
    let after = settle(server, WORKERS)?;
    let pids: Vec<i32> = server.workers().into_iter().chain([server.pid()]).collect();
    super::judge_holdings(table, before, after);
    let memory_files: usize = pids.iter().map(|pid| process::memory_files(*pid)).sum();
    table.check(
        "memory files in parent and workers",
        memory_files,
        "0",
        memory_files == 0,
    );
    let zombies = process::zombies(server.pid());
    table.check("zombies", zombies, "0", zombies == 0);
    let status = server.status()?;
    let spooled = status.get("spooled");
    table.check("bytes in spools", spooled, "0", spooled == 0);
    let is_clean = server.stop()?;
    let figure = if is_clean { "yes" } else { "no" };
    table.check("stopped with status 0", figure, "yes", is_clean);
    // This process is a subreaper: whatever has lost its parent is its child. The servers that were
    // followed by another one are.
    let bad = sys::reap_all();
    table.check("ended, not with status 0", bad, "0", bad == 0);
    let own = i32::try_from(std::process::id())?;
    let left = process::descendants(own);
    table.check("processes left behind", left.len(), "0", left.is_empty());
    for pid in left {
        // They would live for as long as the run has lasted.
        let _ = sys::kill(pid, sys::SIGKILL);
    }
    let files = server.left_behind();
    let shown = format!("{} {files:?}", files.len());
    let shown = shown.trim_end_matches(" []");
    let what = "files left: pid file, socket, spools";
    table.check(what, shown, "0", files.is_empty());
    let now = count_shared();
    table.check(
        "files in /dev/shm before, after",
        format!("{shared}, {now}"),
        "equal",
        now <= shared,
    );
    Ok(())
}

/// Shared memory with a name.
fn count_shared() -> usize {
    fs::read_dir("/dev/shm").map_or(0, Iterator::count)
}
