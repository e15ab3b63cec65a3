//! 7: event streams and large slow downloads beside the normal load.

use super::{Bounds, end, judge_load, load_time, rounds, warm_up};
use crate::Result;
use crate::abuser::Abuser;
use crate::args::Options;
use crate::load::{self, Compared};
use crate::server::Server;
use crate::table::Table;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Workers of a server at rest.
const WORKERS: u64 = 4;
const STREAMS: usize = 8;
const LARGE: usize = 4;
const RATE: usize = 100 << 10;

/// What the readers saw, over all rounds.
struct Seen {
    broken: u64,
    gap: u64,
    bytes: u64,
    events: u64,
}

pub fn run(options: &Options, table: &mut Table) -> Result<()> {
    let server = Server::start(options, &[])?;
    warm_up(&server, options)?;
    let waits = waits_of_streams(&server, options)?;
    let mut compared = Compared::default();
    let mut seen = Seen {
        broken: 0,
        gap: 0,
        bytes: u64::MAX,
        events: u64::MAX,
    };
    for _ in 0..rounds(options) {
        round(&server, options, &mut compared, &mut seen)?;
    }
    let bounds = Bounds {
        throughput: Some(0.9),
        p99: None,
    };
    judge_load(table, &compared, bounds);
    let broken = seen.broken;
    table.check("readers that were cut off", broken, "0", broken == 0);
    let least = options.pick(10, 1);
    let (events, bound) = (seen.events, format!(">= {least}"));
    table.check(
        "events seen by each reader",
        events,
        &bound,
        events >= least,
    );
    let gap = format!("{} ms", seen.gap);
    table.time(
        "longest time between events",
        gap,
        "< 1500 ms",
        seen.gap < 1500,
    );
    table.show("bytes taken by the slowest large one", seen.bytes);
    table.check(
        "waits for clients, of streams alone",
        waits,
        "0",
        waits == 0,
    );
    let waits = server.status()?.get("client_waits");
    // Their spools are full: the one case in which a worker may wait for a client.
    table.show("waits for clients, of large ones too", waits);
    end(table, server)
}

fn round(
    server: &Server,
    options: &Options,
    compared: &mut Compared,
    seen: &mut Seen,
) -> Result<()> {
    let time = load_time(options);
    compared.without.add(load::run(server.address, time)?);
    let mut readers = Abuser::start("readers", server.address, &[STREAMS, LARGE, RATE])?;
    readers.expect("ready", Duration::from_secs(20))?;
    wait_until_full(server)?;
    compared.with.add(load::run(server.address, time * 2)?);
    readers.say("end")?;
    let found = readers.expect("done", Duration::from_secs(10))?;
    seen.broken += found.get("broken");
    // A reader that has much in its receive buffer does not see for long that it was cut off.
    seen.broken += server.count_in_log(" cut");
    seen.gap = seen.gap.max(found.get("gap"));
    seen.bytes = seen.bytes.min(found.get("bytes"));
    seen.events = seen.events.min(found.get("events"));
    drop(readers);
    // The next round begins with as many workers as this one.
    server.wait_for(Duration::from_secs(15), |s| {
        s.get("connections") == 0 && s.get("workers") == WORKERS
    })?;
    Ok(())
}

/// Waits until the spools of the large readers have stopped growing: filling them is the handlers'
/// work, and no client is waited for.
fn wait_until_full(server: &Server) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut before = 0;
    while Instant::now() < deadline {
        let now = server.status()?.get("spooled");
        if now > 0 && now == before {
            break;
        }
        before = now;
        sleep(Duration::from_millis(300));
    }
    Ok(())
}

/// What the streams alone make workers wait for clients.
fn waits_of_streams(server: &Server, options: &Options) -> Result<u64> {
    let mut readers = Abuser::start("readers", server.address, &[STREAMS, 0, RATE])?;
    readers.expect("ready", Duration::from_secs(20))?;
    sleep(load_time(options) / 2);
    readers.say("end")?;
    readers.expect("done", Duration::from_secs(10))?;
    drop(readers);
    server.wait_for(Duration::from_secs(10), |s| s.get("connections") == 0)?;
    Ok(server.status()?.get("client_waits"))
}
