//! How the server is, in words for its Unix socket. Parent only.
//!
//! The first line is `key=value` for programs; the lines behind it are `key: value` for people.
//! Only reads: nothing here changes the server.

use super::Parent;
use super::lot::State;
use super::pool::{Duty, Worker};
use crate::log::Escaped;
use crate::scoreboard::Slot;
use crate::sys::process;
use std::fmt::Write;

/// Bytes of an answer, which an empty socket has to hold. Workers beyond it are only counted.
const MOST_BYTES: usize = 64 * 1024;

impl Parent {
    /// The whole status. Writing to a String cannot fail.
    pub(super) fn status(&self) -> String {
        let mut text = self.status_line();
        text.push_str("\nlistening:");
        for listener in &self.listeners {
            let _ = write!(text, " {}", listener.shown());
        }
        let mut workers = self.pool.workers();
        for (slot, worker) in workers.by_ref() {
            if text.len() > MOST_BYTES {
                let _ = write!(text, "\nmore workers: {}", workers.count() + 1);
                break;
            }
            self.describe(&mut text, slot, worker);
        }
        text
    }

    fn describe(&self, text: &mut String, slot: Slot, worker: &Worker) {
        let entry = self.estate.scoreboard.entry(slot);
        let duty = match worker.duty {
            Duty::Starting => "starting",
            Duty::Ready => "ready",
            Duty::Busy(_) if entry.is_resting() => "ready",
            Duty::Busy(_) => "busy",
            Duty::Finishing => "finishing",
            Duty::Retiring => "leaving",
        };
        let since = self.now.since(self.busy_since(slot, worker.since));
        let since = since.as_secs();
        let _ = write!(text, "\nworker {}: {duty} for {since} s", worker.pid);
        let handler = entry.handler_pid();
        if handler != 0 {
            let name = entry.handler_name();
            let _ = write!(text, ", {} (pid {handler})", Escaped(&name));
        }
    }

    /// One line of key=value.
    fn status_line(&self) -> String {
        let mut line = String::from("state=");
        line.push_str(self.state.name());
        let mut put = |key: &str, value: u64| {
            for piece in [" ", key, "=", itoa::Buffer::new().format(value)] {
                line.push_str(piece);
            }
        };
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        put("pid", u64::from(process::pid().raw().unsigned_abs()));
        put("uptime", self.now.since(self.started).as_secs());
        put("workers", count(self.pool.living()));
        let resting = self.resting();
        put("ready", count(self.pool.ready() + resting));
        put("busy", count(self.pool.busy().saturating_sub(resting)));
        put("connections", count(self.lot.len()));
        put("accepted", self.accepted);
        for state in State::ALL {
            // Who is with a resting worker is idle.
            let n = match state {
                State::Idle => self.lot.count(state) + resting,
                State::Serving => self.lot.count(state).saturating_sub(resting),
                _ => self.lot.count(state),
            };
            put(state.name(), count(n));
        }
        let (mut requests, mut client_waits, mut longest_hold_us) = (0, 0, 0);
        for entry in self.estate.scoreboard.workers() {
            requests += entry.requests();
            client_waits += entry.client_waits();
            longest_hold_us = entry.longest_hold_us().max(longest_hold_us);
        }
        put("requests", requests);
        put("spooled", self.estate.scoreboard.spooled_total().bytes);
        put("client_waits", client_waits);
        put("longest_hold_us", longest_hold_us);
        for (i, listener) in self.listeners.iter().enumerate() {
            line.push_str(if i == 0 { " ports=" } else { "," });
            match listener.address {
                Some(address) => line.push_str(itoa::Buffer::new().format(address.port())),
                None => line.push_str("unix"),
            }
        }
        line
    }
}
