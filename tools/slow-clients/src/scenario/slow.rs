//! 3: slow uploads and slow downloads, all of them finished fast in the end.

use super::{Bounds, end, judge_load, load_time, warm_up};
use crate::Result;
use crate::abuser::Abuser;
use crate::args::Options;
use crate::load::{self, Compared};
use crate::server::Server;
use crate::table::Table;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Bytes per second of each.
const RATE: usize = 20 << 10;

pub fn run(options: &Options, table: &mut Table) -> Result<()> {
    let count = options.pick(200, 20);
    let (up, down) = options.pick((2 << 20, 32 << 20), (1 << 20, 12 << 20));
    // 200 downloads of 32 MiB are more than responses may hold together by default, and than half of 8G.
    let server = Server::start(options, &["--max-spool-total", "16G"])?;
    warm_up(&server, options)?;
    let mut compared = Compared::default();
    let mut transfers = Abuser::start("transfers", server.address, &[count, up, down, RATE])?;
    slowly(&server, options, table, &mut compared, (&transfers, count))?;
    transfers.say("fast")?;
    let early = transfers.expect("slow", Duration::from_secs(10))?;
    let early = early.get("ended");
    table.check("ended while still slow", early, "0", early == 0);
    fast(table, &transfers, count)?;
    drop(transfers);
    let bounds = Bounds {
        throughput: Some(0.9),
        p99: None,
    };
    judge_load(table, &compared, bounds);
    let hold = server.status()?.get("longest_hold_us") as f64 / 1000.0;
    let what = "longest hold, with the fast finish";
    table.show(what, format!("{hold:.1} ms"));
    server.wait_for(Duration::from_secs(10), |s| s.get("connections") == 0)?;
    let spooled = server.status()?.get("spooled");
    table.check("bytes in spools afterwards", spooled, "0", spooled == 0);
    end(table, server)
}

/// The slow minute, with the normal load beside it.
fn slowly(
    server: &Server,
    options: &Options,
    table: &mut Table,
    compared: &mut Compared,
    (transfers, count): (&Abuser, usize),
) -> Result<()> {
    transfers.expect("ready", Duration::from_secs(90))?;
    let begun = Instant::now();
    let stolen = stolen_ms();
    let wanted = u64::try_from(count)?;
    // Spools fill first: that is the handlers' work.
    let is_parked = server.wait_for(Duration::from_secs(60), |status| {
        status.get("drain") >= wanted && status.get("serving") <= 1
    })?;
    let status = server.status()?;
    let shown = format!("{}, {}", status.get("body"), status.get("drain"));
    let bound = format!("about {count} each");
    table.check("parked as body, as drain", shown, &bound, is_parked);
    // Turn by turn: a machine that others use too is not equally fast for a whole minute.
    for _ in 0..options.pick(3, 1) {
        let time = load_time(options);
        compared.with.add(load::run(server.address, time)?);
        transfers.pause(true)?;
        compared.without.add(load::run(server.address, time)?);
        transfers.pause(false)?;
    }
    let slow_time = Duration::from_secs(options.pick(60, 3));
    sleep(slow_time.saturating_sub(begun.elapsed()));
    let status = server.status()?;
    let hold = status.get("longest_hold_us");
    let figure = format!("{:.1} ms", hold as f64 / 1000.0);
    let is_good = hold <= 10_000;
    table.time("longest hold by a slow one", figure, "<= 10 ms", is_good);
    // A worker that the host does not let run holds its client too.
    let stolen = format!("{} ms", stolen_ms().saturating_sub(stolen));
    table.show("taken by the machine's host meanwhile", stolen);
    let waits = status.get("client_waits");
    table.check("waits of a worker for a client", waits, "0", waits == 0);
    Ok(())
}

/// CPU time that a hypervisor has given to others, in a unit of 10 ms (proc_stat(5)).
fn stolen_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.split_whitespace().nth(8);
    ticks.and_then(|ticks| ticks.parse().ok()).unwrap_or(0) * 10
}

/// What the transfers came to.
fn fast(table: &mut Table, transfers: &Abuser, count: usize) -> Result<()> {
    let found = transfers.expect("done", Duration::from_secs(150))?;
    for (what, name) in [("uploads", "up"), ("downloads", "down")] {
        let good = found.get(name);
        let figure = format!("{good} {}", found.text("why"));
        let what = format!("{what} intact by hash");
        let is_good = good == u64::try_from(count)?;
        table.check(&what, figure.trim(), &count.to_string(), is_good);
    }
    Ok(())
}
