//! How long a relay waits for what: the handler's pause, its exit, its leftovers, the client.

use super::Relay;
use crate::sys::process;
use crate::sys::time::Moment;
use std::time::Duration;

/// How long the first bytes of a body are held back: the response of a handler that prints once and
/// exits then leaves in one write. A stream is late by this much, once.
pub(super) const PAUSE: Duration = Duration::from_millis(1);
/// How long stdout may be silent after the handler's exit while its process group has members: one
/// of them, such as a filter, probably holds stdout and still works on the output.
const GROUP_AFTER_EXIT: Duration = Duration::from_secs(2);

impl Relay<'_, '_> {
    pub(super) fn after_eof_deadline(&self) -> Moment {
        self.quiet_since
            .after(self.task.birth.settings.limits.after_exit)
    }

    /// When silence after the handler's exit ends the response although somebody still holds
    /// stdout. The process group of a handler that may detach counts for nothing: the worker does
    /// not wait for a job that it leaves behind.
    pub(super) fn after_exit_deadline(&self) -> Moment {
        let after_exit = self.task.birth.settings.limits.after_exit;
        let is_group_left = || process::kill_group(self.pid, 0).is_ok();
        self.quiet_since
            .after(if !self.task.settings.detach && is_group_left() {
                GROUP_AFTER_EXIT.max(after_exit)
            } else {
                after_exit
            })
    }

    pub(super) fn client_deadline(&self) -> Moment {
        self.client_progress
            .after(self.task.birth.settings.limits.progress_timeout)
    }

    /// When the client is released although the handler runs on, if its response is complete. A pause later
    /// than that: most handlers end before, and then one message to the parent is enough.
    pub(super) fn release_deadline(&self) -> Option<Moment> {
        let may_fail_late = self.task.settings.strict_exit;
        let since = self.whole_since.filter(|_| !may_fail_late);
        since
            .or_else(|| self.bare_redirect_since())
            .filter(|_| self.reaped.is_none())
            .map(|since| since.after(PAUSE))
    }

    /// A redirect without a Content-Type has no body (RFC 3875 section 6.2.3), unless its handler prints
    /// one all the same.
    fn bare_redirect_since(&self) -> Option<Moment> {
        let may_fail_late = self.task.settings.strict_exit;
        (self.response.is_bare_redirect() && !may_fail_late).then_some(self.quiet_since)
    }

    /// The next moment at which something is due without an event.
    pub(super) fn next_deadline(&mut self) -> Moment {
        let mut next = self.task.deadline;
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
        if let Some(release) = self.release_deadline() {
            next = next.min(release);
        }
        next
    }

    /// Whether the handler has closed stdout and runs on, and what that means is still to be
    /// decided. Decided once, since a deadline that has passed would end every wait at once.
    pub(super) fn is_eof_open(&self) -> bool {
        self.stdout.is_none() && self.reaped.is_none() && !self.is_nph && !self.is_eof_judged
    }

    /// Whether something is to be sent as soon as the handler pauses. A response that a strict exit
    /// status can still make a failure is held back to the end, as long as there is room.
    pub(super) fn is_pause_due(&self) -> bool {
        let can_fail_late = self.task.settings.strict_exit;
        let is_open = self.stdout.is_some() && self.release_deadline().is_none();
        is_open && self.response.is_holding() && !can_fail_late
    }
}
