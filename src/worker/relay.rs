//! Moves a running handler's output to the client, its stderr to the log, and the request's body to
//! it. Waits for all of that, for the handler's end and for the client's in one ppoll. A handler
//! holds its worker as long as it runs; a client holds it only when its spool is full.

mod client;
mod deadlines;
mod run;

use super::client::Client;
use super::feed::Feed;
use super::outlet::{Blocked, Outlet};
use super::plan::Running;
use super::process_tree;
use super::released::RelayParts;
use super::response::{Failed, Response};
use super::stderr::{self, HandlerStderr, PausedStderr};
use crate::birth::Birth;
use crate::settings::HandlerSettings;
use crate::sys::process::{Ended, Pid, Reaped};
use crate::sys::time::{self, Moment};
use crate::sys::{self, socket};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Why a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RelayEnd {
    /// The handler's output is over.
    Complete,
    /// The response is complete, and the handler runs on: the client is released.
    Released,
    /// The output is no response.
    Bad(crate::cgi::BadOutput),
    /// The handler has printed more than `max-output`.
    TooMuch,
    /// The handler has used up its time.
    TimedOut,
    /// The client left.
    ClientGone,
    /// The client left, and the handler is to run to its end all the same.
    RunsOn,
    /// The client took nothing for too long.
    ClientStuck,
    /// There is no room to spool what the client did not take.
    NoSpool,
    /// The parent is gone.
    ParentGone,
    /// A call of the worker has failed.
    Broken(sys::Error),
}

impl RelayEnd {
    /// Whether only the client's part of the request is over.
    pub(super) fn is_handler_running(self) -> bool {
        matches!(self, Self::Released | RelayEnd::RunsOn)
    }
}

/// What the relay works with.
pub(super) struct RelayTask<'r> {
    pub(super) birth: &'r Birth<'r>,
    pub(super) client: &'r Client,
    pub(super) channel: BorrowedFd<'r>,
    pub(super) name: &'r [u8],
    pub(super) settings: &'r HandlerSettings,
    pub(super) stderr: &'r stderr::StderrPipe,
    /// The client's version of HTTP allows to ask with 100 (Continue) whether it is still there.
    pub(super) can_probe: bool,
    /// The handler will probably print more than its pipe holds.
    pub(super) prints_much: bool,
    pub(super) deadline: Moment,
}

/// A relay in progress.
pub(super) struct Relay<'r, 'b> {
    pub(super) task: RelayTask<'r>,
    pid: Pid,
    stdout: Option<OwnedFd>,
    stderr: HandlerStderr<'r>,
    feed: Option<Feed>,
    pub(super) response: Response<'b>,
    pub(super) outlet: Outlet<'r>,
    buffer: &'b mut [u8],
    /// Bytes that the handler may still print.
    allowed: u64,
    /// How the handler ended.
    pub(super) reaped: Option<Reaped>,
    /// When output last came, the client last took some, or the handler ended.
    quiet_since: Moment,
    client_progress: Moment,
    has_client_fin: bool,
    /// The client has left, and what its handler is about to print may be a redirect to one that has to run all
    /// the same.
    is_client_lost: bool,
    /// The handler has closed stdout and runs on, and it was decided whether its response is complete.
    is_eof_judged: bool,
    /// Since when the response is complete: nothing that the handler prints can belong to it any more.
    whole_since: Option<Moment>,
    is_nph: bool,
    /// Bytes written to the client before its nph handler began.
    written: Option<u64>,
    /// The first wait has not begun. Most handlers end within a pause: then one wake-up at the
    /// handler's end brings all that it has printed.
    is_first_wait: bool,
    /// The handler's pipe was enlarged.
    is_wide: bool,
    /// The handler's output is not read until the next wait is over: there is no room for it, or it
    /// is the turn of other workers to spool.
    is_held_up: bool,
    now: Moment,
}

/// What a handler may print after the end of its response. Nobody gets it, and a handler that
/// prints without end would keep itself and its worker busy until its time limit.
pub(super) const MOST_DROPPED: u64 = 16 * 1024 * 1024;

impl<'r, 'b> Relay<'r, 'b> {
    pub(super) fn new(
        task: RelayTask<'r>,
        running: Running,
        response: Response<'b>,
        outlet: Outlet<'r>,
        buffer: &'b mut [u8],
    ) -> Self {
        let now = time::now();
        Self {
            pid: running.pid,
            is_nph: running.stdout.is_none(),
            written: running.written,
            stdout: running.stdout,
            stderr: HandlerStderr::resume(
                (task.birth.log, task.name),
                running.pid,
                task.stderr,
                PausedStderr::new(task.settings.allowance.stderr),
            ),
            allowed: task.settings.allowance.output.unwrap_or(u64::MAX),
            feed: running.feed,
            response,
            outlet,
            buffer,
            reaped: None,
            quiet_since: now,
            client_progress: now,
            has_client_fin: false,
            is_client_lost: false,
            is_eof_judged: false,
            whole_since: None,
            is_first_wait: !task.prints_much,
            is_wide: false,
            is_held_up: false,
            now,
            task,
        }
    }

    /// Whether an nph handler has written to its client. True also if the kernel cannot tell.
    pub(super) fn has_answered_itself(&self) -> bool {
        let now = || socket::bytes_written(self.task.client.socket());
        self.is_nph && (self.written.is_none() || self.written != now())
    }

    /// Whether the way the handler has ended makes its output worthless.
    pub(super) fn has_failed(&self) -> bool {
        match self.reaped.map(|reaped| reaped.ended) {
            Some(Ended::Exited(status)) => self.task.settings.strict_exit && status != 0,
            Some(Ended::Killed(_)) | None => true,
        }
    }

    /// Notes when the response becomes complete: what the handler prints from then on is dropped,
    /// up to `MOST_DROPPED`.
    fn note_whole(&mut self) {
        if self.whole_since.is_none() && self.response.is_whole() {
            self.whole_since = Some(self.now);
            self.allowed = self.allowed.min(MOST_DROPPED);
        }
    }

    /// What is left of the relay when the client is released.
    pub(super) fn into_parts(self) -> RelayParts {
        RelayParts {
            pid: self.pid,
            stdout: self.stdout,
            stderr: self.stderr.pause(),
            feed: self.feed,
            allowed: self.allowed,
            deadline: self.task.deadline,
        }
    }

    /// Reaps the handler, if it has ended. If that fails, nobody can tell how the handler ended:
    /// then its request has failed.
    fn reap(&mut self) -> Option<RelayEnd> {
        if self.reaped.is_some() {
            return None;
        }
        match process_tree::reap_handler(self.pid) {
            Ok(None) => None,
            Ok(reaped) => {
                self.reaped = reaped;
                self.quiet_since = self.now;
                None
            }
            Err(e) => Some(RelayEnd::Broken(e)),
        }
    }

    /// Takes so many bytes off what the handler may print; false if that is too much.
    fn use_up_output(&mut self, bytes: usize) -> bool {
        let left = self.allowed.checked_sub(bytes as u64);
        self.allowed = left.unwrap_or(0);
        left.is_some()
    }

    /// Bytes that it has printed.
    pub(super) fn printed(&self) -> u64 {
        let most = self.task.settings.allowance.output;
        most.unwrap_or(u64::MAX) - self.allowed
    }
}

impl From<Failed> for RelayEnd {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Bad(bad) => Self::Bad(bad),
            Failed::Blocked(Blocked::Gone) => Self::ClientGone,
            Failed::Blocked(Blocked::Unable(_)) => Self::NoSpool,
        }
    }
}
