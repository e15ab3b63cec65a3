//! The scenarios, and what they have in common.

mod burst;
mod drip;
mod external;
mod idle;
mod kill;
mod lifecycle;
mod slow;
mod streams;
mod torture;
mod vanish;

use crate::args::Options;
use crate::load::{self, Compared};
use crate::server::Server;
use crate::table::Table;
use crate::{Result, process};
use std::time::Duration;

/// One scenario.
pub struct Scenario {
    pub name: &'static str,
    run: fn(&Options, &mut Table) -> Result<()>,
}

/// All of them, in the order of their numbers.
pub const SCENARIOS: [Scenario; 10] = [
    Scenario {
        name: "idle",
        run: idle::run,
    },
    Scenario {
        name: "drip",
        run: drip::run,
    },
    Scenario {
        name: "slow",
        run: slow::run,
    },
    Scenario {
        name: "external",
        run: external::run,
    },
    Scenario {
        name: "vanish",
        run: vanish::run,
    },
    Scenario {
        name: "kill",
        run: kill::run,
    },
    Scenario {
        name: "streams",
        run: streams::run,
    },
    Scenario {
        name: "burst",
        run: burst::run,
    },
    Scenario {
        name: "torture",
        run: torture::run,
    },
    Scenario {
        name: "lifecycle",
        run: lifecycle::run,
    },
];

/// Runs what was chosen.
pub fn run_all(options: &Options) -> Table {
    let mut table = Table::new(!options.short);
    if let Err(why) = crate::sys::raise_descriptor_limit() {
        eprintln!("slow-clients: {why}");
    }
    for index in &options.chosen {
        let Some(scenario) = SCENARIOS.get(*index) else {
            continue;
        };
        table.begin(scenario.name);
        if let Err(why) = (scenario.run)(options, &mut table) {
            table.check("ran to its end", why, "", false);
        }
    }
    table
}

/// How long the normal load runs per round.
fn load_time(options: &Options) -> Duration {
    options.pick(Duration::from_secs(8), Duration::from_millis(800))
}

/// Rounds of without and with.
fn rounds(options: &Options) -> usize {
    options.pick(3, 1)
}

/// Lets caches and pools settle before anything is compared.
fn warm_up(server: &Server, options: &Options) -> Result<()> {
    load::run(server.address, load_time(options) / 4).map(|_| ())
}

/// What the normal load may lose.
#[derive(Clone, Copy, Default)]
struct Bounds {
    throughput: Option<f64>,
    p99: Option<f64>,
}

/// Rows on the normal load.
fn judge_load(table: &mut Table, compared: &Compared, bounds: Bounds) {
    let (with, without) = (&compared.with, &compared.without);
    table.show(
        "normal load without, with",
        format!("{:.0}/s, {:.0}/s", without.rate(), with.rate()),
    );
    let ratio = compared.throughput();
    let shown = format!("{ratio:.3}");
    match bounds.throughput {
        Some(least) => {
            let bound = format!(">= {least:.2}");
            table.time("throughput ratio", shown, &bound, ratio >= least);
        }
        None => table.show("throughput ratio", shown),
    }
    let p99 = compared.p99();
    let (before, after) = (without.quantile_ms(0.99), with.quantile_ms(0.99));
    let shown = format!("{p99:.2} ({before:.2} -> {after:.2} ms)");
    match bounds.p99 {
        Some(most) => {
            let bound = format!("<= {most:.1}");
            table.time("p99 ratio", shown, &bound, p99 <= most);
        }
        None => table.show("p99 ratio", shown),
    }
    let failures = with.failures + without.failures;
    table.check("normal requests that failed", failures, "0", failures == 0);
}

/// The server ends in order, and found nothing wrong with itself.
fn end(table: &mut Table, mut server: Server) -> Result<()> {
    let errors = server.errors();
    let first = errors.first().map_or("0", String::as_str);
    table.check("errors in the server's log", first, "0", errors.is_empty());
    let is_clean = server.stop()?;
    let figure = if is_clean { "yes" } else { "no" };
    table.check("stopped, nothing left behind", figure, "yes", is_clean);
    Ok(())
}

/// What a server holds when nobody asks for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holdings {
    parent_descriptors: usize,
    /// Of the worker that holds most.
    worker_descriptors: usize,
    processes: usize,
    rss_kib: u64,
}

/// Waits until nobody is connected and the pool is as small as at the start, then counts. `None` if
/// that does not come about.
fn settle(server: &Server, workers: usize) -> Result<Option<Holdings>> {
    let is_settled = server.wait_for(Duration::from_secs(40), |status| {
        let pool = usize::try_from(status.get("workers"));
        status.get("connections") == 0 && status.get("busy") == 0 && pool == Ok(workers)
    })?;
    if !is_settled {
        return Ok(None);
    }
    std::thread::sleep(Duration::from_millis(200));
    let of_workers = server.workers().into_iter().map(process::descriptors);
    Ok(Some(Holdings {
        parent_descriptors: process::descriptors(server.pid()),
        worker_descriptors: of_workers.max().unwrap_or(0),
        processes: process::descendants(server.pid()).len(),
        rss_kib: process::rss_kib(server.pid()),
    }))
}

/// Rows on what was held before and after.
fn judge_holdings(table: &mut Table, before: Option<Holdings>, after: Option<Holdings>) {
    let (Some(before), Some(after)) = (before, after) else {
        table.check("everybody gone in the end", "no", "yes", false);
        return;
    };
    for (what, before, after) in [
        (
            "parent's descriptors before, after",
            before.parent_descriptors,
            after.parent_descriptors,
        ),
        (
            "a worker's descriptors before, after",
            before.worker_descriptors,
            after.worker_descriptors,
        ),
        ("processes before, after", before.processes, after.processes),
    ] {
        table.check(what, format!("{before}, {after}"), "equal", after <= before);
    }
    let growth = after.rss_kib.saturating_sub(before.rss_kib);
    table.check(
        "parent's RSS growth",
        format!("{growth} KiB"),
        "< 1024 KiB",
        growth < 1024,
    );
}
