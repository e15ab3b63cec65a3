//! The status: how the server is, in words for its control socket.
//!
//! The first line is `key=value` for programs; the lines behind it are `key: value` for people.
//! Only reads: nothing here changes the server.

use super::connections::State;
use super::server::Parent;
use crate::sys::process;
use std::fmt::Write;

/// Bytes of an answer, which an empty socket has to hold. Workers beyond it are only counted.
const MOST_BYTES: usize = 64 * 1024;

impl Parent {
    /// The whole status. Writing to a String cannot fail.
    pub(super) fn status(&self) -> String {
        let mut text = self.status_line();
        text.push_str("\nlistening:");
        for listener in self.listeners.all() {
            let _ = write!(text, " {}", listener.shown());
        }
        self.workers.describe(&self.ctx, &mut text, MOST_BYTES);
        text
    }

    /// One line of key=value.
    fn status_line(&self) -> String {
        let mut line = String::from("state=");
        line.push_str(self.ctx.life.name());
        let mut put = |key: &str, value: u64| {
            for piece in [" ", key, "=", itoa::Buffer::new().format(value)] {
                line.push_str(piece);
            }
        };
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        put("pid", u64::from(process::pid().raw().unsigned_abs()));
        put("uptime", self.ctx.now.since(self.started).as_secs());
        put("workers", count(self.workers.pool().living()));
        let resting = self.workers.resting(&self.ctx);
        put("ready", count(self.workers.pool().ready() + resting));
        put(
            "busy",
            count(self.workers.pool().busy().saturating_sub(resting)),
        );
        put("connections", count(self.connections.open()));
        put("accepted", self.connections.accepted());
        for state in State::ALL {
            // A client with a resting worker counts as idle.
            let n = match state {
                State::Idle => self.connections.count(state) + resting,
                State::Serving => self.connections.count(state).saturating_sub(resting),
                _ => self.connections.count(state),
            };
            put(state.name(), count(n));
        }
        let board = &self.ctx.scoreboard;
        let (mut requests, mut client_waits, mut longest_hold_us) = (0, 0, 0);
        for entry in board.workers() {
            requests += entry.requests();
            client_waits += entry.client_waits();
            longest_hold_us = entry.longest_hold_us().max(longest_hold_us);
        }
        put("requests", requests);
        put("spooled", board.spooled_total().bytes);
        put("client_waits", client_waits);
        put("longest_hold_us", longest_hold_us);
        for (i, address) in self.listeners.ports().enumerate() {
            line.push_str(if i == 0 { " ports=" } else { "," });
            match address {
                Some(address) => line.push_str(itoa::Buffer::new().format(address.port())),
                None => line.push_str("unix"),
            }
        }
        line
    }
}
