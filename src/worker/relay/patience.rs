//! How long a relay waits for what: the handler's pause, its exit, its leftovers, the client. And
//! how much the handler may use.

use super::{End, Relay, end_of};
use crate::log::Log;
use crate::sys::process;
use crate::sys::time::Moment;
use std::time::Duration;

/// How long the first bytes of a body are held back for its end: a handler that prints once and
/// exits then leaves in one write. A stream is late by this much, once.
const PAUSE: Duration = Duration::from_millis(1);
/// After the handler's exit, while a process of its own group still holds stdout.
const GROUP_AFTER_EXIT: Duration = Duration::from_secs(2);

impl<'r> Relay<'r, '_> {
    /// The log.
    pub(in crate::worker) fn log(&self) -> &'r Log {
        self.scene.birth.log
    }

    /// The CPU time that the handler may have.
    pub(in crate::worker) fn most_cpu(&self) -> Option<Duration> {
        self.scene.settings.allowance.cpu
    }

    /// Takes so many bytes off what the handler may print; false if that is too much.
    pub(super) fn may_print(&mut self, bytes: usize) -> bool {
        let left = self.allowed.checked_sub(bytes as u64);
        self.allowed = left.unwrap_or(0);
        left.is_some()
    }

    pub(super) fn after_eof_deadline(&self) -> Moment {
        self.quiet_since
            .after(self.scene.birth.settings.limits.after_exit)
    }

    /// Silence after the exit that ends the response, though somebody still holds stdout.
    pub(super) fn after_exit_deadline(&self) -> Moment {
        let after_exit = self.scene.birth.settings.limits.after_exit;
        let holds_stdout = process::kill_group(self.pid, 0).is_ok();
        self.quiet_since.after(if holds_stdout {
            GROUP_AFTER_EXIT.max(after_exit)
        } else {
            after_exit
        })
    }

    pub(super) fn client_deadline(&self) -> Moment {
        self.client_progress
            .after(self.scene.birth.settings.limits.progress_timeout)
    }

    /// The next moment at which something is due without an event.
    pub(super) fn next_deadline(&mut self) -> Moment {
        let mut next = self.scene.deadline;
        if self.is_pause_due() || self.is_first_wait || self.outlet.turn().is_taken() {
            next = next.min(self.now.after(PAUSE));
        }
        if self.outlet.is_full() {
            next = next.min(self.client_deadline());
        } else if self.is_held_up {
            next = next.min(self.now.after(self.outlet.turn().pause()));
        }
        if self.reaped.is_some() {
            if !self.is_held_up {
                next = next.min(self.after_exit_deadline());
            }
        } else if self.is_eof_open() {
            next = next.min(self.after_eof_deadline());
        }
        next
    }

    /// The handler has ended its output and runs on, and what that means is still to be decided:
    /// once, since a deadline that has passed would end every wait at once.
    pub(super) fn is_eof_open(&self) -> bool {
        self.stdout.is_none() && self.reaped.is_none() && !self.is_nph && !self.is_eof_judged
    }

    /// The handler pauses: what is held back goes out, so that streams flow.
    pub(super) fn flush_after_pause(&mut self) -> Option<End> {
        let has_paused = self.now >= self.quiet_since.after(PAUSE);
        if !has_paused || !self.is_pause_due() {
            return None;
        }
        self.response.flush(&mut self.outlet).err().map(end_of)
    }

    /// There is something to send as soon as the handler pauses. What a strict exit status can
    /// still make a failure is held back to the end, as long as there is room.
    pub(super) fn is_pause_due(&self) -> bool {
        let can_fail_late = self.scene.settings.strict_exit;
        self.stdout.is_some() && self.response.is_holding() && !can_fail_late
    }
}
