//! 1: ten thousand idle keep-alive connections.

use super::{Bounds, end, judge_load, load_time, rounds, warm_up};
use crate::abuser::Abuser;
use crate::args::Options;
use crate::load::{self, Compared};
use crate::server::Server;
use crate::table::Table;
use crate::{Result, process};
use std::thread::sleep;
use std::time::Duration;

pub fn run(options: &Options, table: &mut Table) -> Result<()> {
    let count = options.pick(10_000, 1_000);
    let room = (count + 1_000).to_string();
    let more = ["--keep-alive-timeout", "10m", "--max-connections", &room];
    let server = Server::start(options, &more)?;
    warm_up(&server, options)?;
    let mut compared = Compared::default();
    let (mut parked, mut answered, mut growth, mut ticks) = (u64::MAX, u64::MAX, 0, 0);
    for _ in 0..rounds(options) {
        compared
            .without
            .add(load::run(server.address, load_time(options))?);
        let rss = process::rss_kib(server.pid());
        let mut idle = Abuser::start("idle", server.address, &[count])?;
        idle.expect("ready", Duration::from_secs(60))?;
        // The normal load's connections have been closed, but not all may have been seen to be.
        sleep(Duration::from_millis(300));
        parked = parked.min(server.status()?.get("idle"));
        growth = growth.max(process::rss_kib(server.pid()).saturating_sub(rss));
        ticks = ticks.max(ticks_of_silence(&server, options));
        compared
            .with
            .add(load::run(server.address, load_time(options))?);
        idle.say("end")?;
        let found = idle.expect("done", Duration::from_secs(60))?;
        answered = answered.min(found.get("answered"));
        drop(idle);
        server.wait_for(Duration::from_secs(10), |s| s.get("connections") == 0)?;
    }
    let all = u64::try_from(count)?;
    table.check(
        "connections parked as idle",
        parked,
        &format!(">= {all}"),
        parked >= all,
    );
    let bound = format!("{all}");
    table.check(
        "of them answered in the end",
        answered,
        &bound,
        answered == all,
    );
    let bounds = Bounds {
        throughput: Some(0.95),
        p99: Some(1.2),
    };
    judge_load(table, &compared, bounds);
    let shown = format!("{growth} KiB");
    table.check("parent's RSS growth", shown, "< 4096 KiB", growth < 4096);
    table.check("parent's CPU ticks in silence", ticks, "0", ticks == 0);
    end(table, server)
}

/// CPU time of the parent while nothing happens.
fn ticks_of_silence(server: &Server, options: &Options) -> u64 {
    // The pool may have grown; its last extra worker leaves after 10 s.
    let rest = options.pick(Duration::from_secs(3), Duration::from_millis(500));
    let before = process::cpu_ticks(server.pid());
    sleep(rest);
    process::cpu_ticks(server.pid()) - before
}
