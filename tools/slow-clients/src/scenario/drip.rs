//! 2: a thousand heads that come byte by byte and never end.

use super::{Bounds, end, judge_load, load_time, rounds, warm_up};
use crate::Result;
use crate::abuser::Abuser;
use crate::args::Options;
use crate::load::{self, Compared};
use crate::server::Server;
use crate::table::Table;
use std::time::Duration;

pub fn run(options: &Options, table: &mut Table) -> Result<()> {
    let count = options.pick(1_000, 200);
    let timeout = options.pick(10_000, 2_000);
    let seconds = format!("{timeout}ms");
    let server = Server::start(options, &["--head-timeout", &seconds])?;
    warm_up(&server, options)?;
    let mut compared = Compared::default();
    let (mut timeouts, mut others, mut least, mut most) = (0, 0, u64::MAX, 0);
    for _ in 0..rounds(options) {
        compared
            .without
            .add(load::run(server.address, load_time(options))?);
        let mut wave = Abuser::start("drip", server.address, &[count])?;
        wave.expect("ready", Duration::from_secs(20))?;
        compared
            .with
            .add(load::run(server.address, load_time(options))?);
        let found = wave.expect("done", Duration::from_secs(90))?;
        wave.say("end")?;
        timeouts += found.get("timeouts");
        others += found.get("others");
        least = least.min(found.get("min"));
        most = most.max(found.get("max"));
    }
    let bounds = Bounds {
        throughput: Some(0.7),
        p99: Some(2.0),
    };
    judge_load(table, &compared, bounds);
    let all = u64::try_from(count * rounds(options))?;
    let bound = format!("{all}");
    table.check("answered 408", timeouts, &bound, timeouts == all);
    table.check("ended otherwise", others, "0", others == 0);
    let shown = format!("{least} to {most} ms");
    let is_in_time = least >= timeout - 100 && most <= timeout + 2_000;
    let bound = format!("{timeout} to {} ms", timeout + 2_000);
    table.time("when they were answered", shown, &bound, is_in_time);
    end(table, server)
}
