//! Accepts clients, and makes room for them where there is none.

use super::connections::State;
use super::life::Life;
use super::server::Parent;
use crate::sys::{self, Errno};
use std::fmt::Display;

/// What a failed accept means.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// No client waits.
    Nobody,
    /// The client has left; the next one may be there.
    Gone,
    /// There is no descriptor or memory for a client.
    Shortage,
}

fn refusal(error: sys::Error) -> Refusal {
    match error.errno {
        _ if error.is_would_block() => Refusal::Nobody,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => Refusal::Shortage,
        // accept(2): errors that are pending on the new connection are passed on.
        _ => Refusal::Gone,
    }
}

impl Parent {
    /// Accepts at most `most` clients of a listener.
    pub(super) fn accept_from(&mut self, index: u8, most: usize) {
        for _ in 0..most {
            if self.listeners.paused_until().is_some() {
                return;
            }
            if self.connections.is_full() && !self.has_whom_to_close() {
                return self.pause_listeners(&"every connection is being served");
            }
            if !self.connections.has_memory() && !self.finds_room(index, &"out of memory") {
                return;
            }
            match self.listeners.accept(index) {
                None => return,
                Some(Ok((client, peer))) => {
                    self.connections.welcome(&self.ctx, client, peer, index);
                    self.keep_within_limit();
                }
                Some(Err(e)) => match refusal(e) {
                    Refusal::Nobody => return,
                    Refusal::Gone => {}
                    Refusal::Shortage if self.finds_room(index, &e) => {}
                    Refusal::Shortage => return,
                },
            }
        }
    }

    /// A client has come: if there are more than `max-connections` now, one is closed.
    pub(super) fn keep_within_limit(&mut self) {
        if self.connections.is_over_full() {
            self.make_room();
        }
    }

    /// There is no descriptor or memory for the next client: true if another one was closed for it.
    fn finds_room(&mut self, index: u8, why: &dyn Display) -> bool {
        // Linux looks for a descriptor before it looks for a client, so the error does not say that one waits.
        if !self.listeners.has_client(index) {
            return false;
        }
        let is_made = self.make_room();
        if !is_made {
            self.pause_listeners(why);
        }
        is_made
    }

    /// Whether a client can be closed to make room. A client whose worker rests is idle too: if no other one is, it
    /// is taken back.
    fn has_whom_to_close(&mut self) -> bool {
        let found = self.connections.longest_waiting();
        if !matches!(found, Some((_, State::Idle))) && self.rouse_longest() {
            return self.connections.longest_waiting().is_some();
        }
        found.is_some()
    }

    /// Closes one client to make room; false if none can go.
    pub(super) fn make_room(&mut self) -> bool {
        if !self.has_whom_to_close() {
            return false;
        }
        let longest = self.connections.longest_waiting();
        if let Some((client, _)) = longest {
            self.connections.close_for_room(&self.ctx, client);
        }
        longest.is_some()
    }

    /// Takes the listeners and the control socket out of the readiness set until the pause is over: as long as somebody
    /// waits there who cannot be accepted, they would wake the parent without end.
    pub(super) fn pause_listeners(&mut self, why: &dyn Display) {
        self.connections.note_full(&self.ctx, why);
        self.listeners.pause(&self.ctx);
        self.control.unwatch(&self.ctx);
    }

    /// Puts the listeners and the control socket back when the pause is over.
    pub(super) fn end_pause(&mut self) {
        if !self.listeners.end_pause(&self.ctx) {
            return;
        }
        if !self.upgrade.is_under_way() {
            self.control.watch(&self.ctx);
        }
        if self.ctx.life == Life::Serving {
            self.listeners.watch(&self.ctx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_accept_ends_the_batch_only_if_nobody_can_come_next() {
        for (errno, expected) in [
            (Errno::AGAIN, Refusal::Nobody),
            (Errno::CONNABORTED, Refusal::Gone),
            (Errno::PERM, Refusal::Gone),
            (Errno::MFILE, Refusal::Shortage),
            (Errno::NFILE, Refusal::Shortage),
            (Errno::NOMEM, Refusal::Shortage),
        ] {
            let call = &"accept4";
            assert_eq!(refusal(sys::Error { call, errno }), expected);
        }
    }
}
