//! 8: more clients than workers, on a handler that sleeps.

use super::end;
use crate::Result;
use crate::args::Options;
use crate::http::Client;
use crate::server::Server;
use crate::table::Table;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const CLIENTS: usize = 64;

pub fn run(options: &Options, table: &mut Table) -> Result<()> {
    let server = Server::start(options, &["--max-workers", "32"])?;
    let begun = Instant::now();
    let mut most = 0;
    let ask = || {
        let answer = Client::connect(server.address).map(|mut c| c.get("/sleep?ms=500"));
        matches!(answer, Ok(Ok(answer)) if answer.status() == 200)
    };
    let served = scope(|scope| -> Result<usize> {
        let threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            most = most.max(server.status()?.get("workers"));
            sleep(Duration::from_millis(20));
        }
        let served = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(false));
        Ok(served.filter(|is_served| *is_served).count())
    })?;
    let took = begun.elapsed().as_secs_f64();
    table.check("served with 200", served, "64", served == CLIENTS);
    table.check(
        "workers at most",
        most,
        "> 4, <= 32",
        (5..=32).contains(&most),
    );
    // With 4 workers for ever it would be 8 s.
    table.time("all served in", format!("{took:.1} s"), "< 4 s", took < 4.0);
    let begun = Instant::now();
    let is_back = server.wait_for(Duration::from_secs(20), |s| s.get("workers") == 4)?;
    let took = begun.elapsed().as_secs_f64();
    table.check(
        "back at 4 workers",
        if is_back { "yes" } else { "no" },
        "yes",
        is_back,
    );
    table.time(
        "back after",
        format!("{took:.1} s"),
        "<= 15 s",
        took <= 15.0,
    );
    end(table, server)
}
