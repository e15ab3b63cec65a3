//! 6: workers that are killed at each phase. A handler never runs twice, and its client learns the
//! truth.

mod at_random;
mod phases;

use super::{end, judge_holdings, settle};
use crate::Result;
use crate::args::Options;
use crate::server::Server;
use crate::table::Table;

pub fn run(options: &Options, table: &mut Table) -> Result<()> {
    let more = ["--max-body", "200M", "--kill-grace", "500ms"];
    let server = Server::start(options, &more)?;
    let before = settle(&server, 4)?;
    let rounds = options.pick(20, 3);
    phases::looking(&server, rounds, table)?;
    phases::parked(&server, rounds, table)?;
    phases::reading(&server, rounds, table)?;
    phases::launched(&server, rounds, table)?;
    phases::answering(&server, rounds, table)?;
    at_random::run(&server, options, table)?;
    let after = settle(&server, 4)?;
    judge_holdings(table, before, after);
    end(table, server)
}
