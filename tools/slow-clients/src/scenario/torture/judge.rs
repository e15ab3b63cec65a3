//! What became of the requests: whether each that failed died with a process that was killed.

use super::ask::{Asked, Failure};
use super::harm::Harm;
use crate::server::Server;
use crate::table::Table;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// What the logs say.
#[derive(Default)]
struct Logs {
    /// Handler and worker of the failed requests that left a receipt.
    receipts: HashMap<String, (i32, i32)>,
    /// Responses with status 200.
    answered: usize,
    /// Workers that the server itself has killed, since they were stopped for too long.
    killed_by_server: HashSet<i32>,
    /// Parents, one after the other.
    servers: HashSet<i32>,
    lost_lines: u64,
    errors: Vec<String>,
}

fn number_behind(line: &str, mark: &str) -> Option<i32> {
    let (_, rest) = line.split_once(mark)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

impl Logs {
    fn read(server: &Server, failures: &[Failure]) -> Self {
        let failed: HashSet<&str> = failures.iter().map(|f| f.id.as_str()).collect();
        let mut logs = Self::default();
        server.each_log_line(|line| logs.take(line, &failed));
        logs
    }

    fn take(&mut self, line: &str, failed: &HashSet<&str>) {
        if let Some((_, rest)) = line.split_once("note=") {
            self.answered += usize::from(line.contains("\" 200 in="));
            let id = rest.split([' ', '&']).next().unwrap_or_default();
            if failed.contains(id) {
                let handler = number_behind(line, " pid=").unwrap_or(0);
                let worker = number_behind(line, " [").unwrap_or(0);
                self.receipts.insert(id.to_owned(), (handler, worker));
            }
        } else if let Some(pid) = number_behind(line, "killing worker ") {
            self.killed_by_server.insert(pid);
        } else if line.contains(" INFO [") && line.contains("] serving ") {
            self.servers.extend(number_behind(line, " ["));
        } else if let Some((before, _)) = line.split_once(" log lines were lost") {
            let count = before
                .rsplit(' ')
                .next()
                .and_then(|n| n.parse::<u64>().ok());
            self.lost_lines += count.unwrap_or(0);
        } else if line.contains(" ERROR [") {
            self.errors.push(line.to_owned());
        }
    }
}

/// How a failure is explained.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Its handler was killed, or the worker that ran it.
    Killed,
    /// No handler has run, and it said 503: safe to ask again. Its worker was killed.
    Refused,
    /// Nothing says who ran it: its worker was killed before its handler could note that.
    Lost,
    /// The same, and the connection has ended.
    Cut,
    Unexplained,
}

fn cause(failure: &Failure, server: &Server, harm: &Harm<'_>, logs: &Logs) -> Cause {
    let note = server.note(&failure.id);
    let noted = note.iter().copied();
    let logged = logs.receipts.get(&failure.id).copied();
    let mut was_killed = false;
    for (handler, worker) in noted.chain(logged) {
        was_killed |= [handler, worker].iter().any(|pid| {
            harm.has_killed(*pid, failure.begun, failure.ended)
                || logs.killed_by_server.contains(pid)
        });
    }
    // One that is already the parent's has lost its worker before it could note whose it is.
    let is_nobodys = |(_, worker): &(i32, i32)| logs.servers.contains(worker);
    let is_traceless = logged.is_none() && note.iter().all(is_nobodys);
    match (is_traceless, failure.status) {
        _ if was_killed => Cause::Killed,
        (true, 503) if note.is_empty() => Cause::Refused,
        (true, 502) => Cause::Lost,
        (true, 0) => Cause::Cut,
        _ => Cause::Unexplained,
    }
}

/// Rows on what clients got.
pub fn requests(
    table: &mut Table,
    server: &Server,
    asked: &Asked,
    harm: &Harm<'_>,
    time: Duration,
) {
    let logs = Logs::read(server, &asked.failures);
    let rate = asked.right as f64 / time.as_secs_f64();
    table.show("right by hash", format!("{} ({rate:.0}/s)", asked.right));
    table.show("MiB received", asked.bytes >> 20);
    let wrong = asked.wrong.len();
    let first = asked.wrong.first().map_or("", String::as_str);
    table.check(
        "wrong, or no end of it",
        format!("{wrong} {first}").trim(),
        "0",
        wrong == 0,
    );
    let mut count: HashMap<u8, usize> = HashMap::new();
    let mut unexplained = Vec::new();
    for failure in &asked.failures {
        let cause = cause(failure, server, harm, &logs);
        *count.entry(cause as u8).or_insert(0) += 1;
        if cause == Cause::Unexplained {
            let ran = server.note(&failure.id);
            unexplained.push(format!("{} status {} {ran:?}", failure.id, failure.status));
        }
    }
    let of = |cause: Cause| count.get(&(cause as u8)).copied().unwrap_or(0);
    table.show("failed: own worker or handler killed", of(Cause::Killed));
    let traceless = [Cause::Refused, Cause::Lost, Cause::Cut].map(of);
    let shown: Vec<String> = traceless.iter().map(ToString::to_string).collect();
    let bound = harm.workers_killed + logs.killed_by_server.len();
    table.check(
        "failed without a trace: 503, 502, cut",
        shown.join(", "),
        &format!("together <= {bound} workers killed"),
        traceless.iter().sum::<usize>() <= bound,
    );
    let first = unexplained.first().map_or("", String::as_str);
    let shown = format!("{} {first}", unexplained.len());
    table.check(
        "failed otherwise",
        shown.trim(),
        "0",
        unexplained.is_empty(),
    );
    let twice = asked
        .failures
        .iter()
        .filter(|f| server.note(&f.id).len() > 1);
    let twice = twice.count();
    table.check("ran twice", twice, "0", twice == 0);
    table.check(
        "receipts in the logs",
        logs.answered,
        ">= right answers",
        logs.answered + harm.workers_killed >= asked.right,
    );
    table.check("log lines lost", logs.lost_lines, "0", logs.lost_lines == 0);
    let first = logs.errors.first().map_or("0", String::as_str);
    table.check("errors in the logs", first, "0", logs.errors.is_empty());
}
