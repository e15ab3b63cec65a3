//! Moves a running handler's output to the client, its stderr to the log, and its body to it. Waits
//! for bytes, for the handler's end and for the client's in one ppoll. A handler holds the worker;
//! a client does so only when its spool is full.

mod client;
mod patience;

pub(super) use patience::Gushers;

use super::feed::Feed;
use super::outlet::{Blocked, Outlet};
use super::plan::Running;
use super::released::Parts;
use super::response::{Failed, Response};
use super::stderr::{self, Stderr};
use super::{Client, tree};
use crate::birth::Birth;
use crate::settings::HandlerSettings;
use crate::sys::fd::{self, AsFd};
use crate::sys::process::{self, Ended, Pid, Reaped};
use crate::sys::time::{self, Moment};
use crate::sys::{self, poll, socket};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// Why a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The handler's output is over.
    Complete,
    /// The response is complete, and the handler runs on: the client need not wait for that.
    Released,
    /// The output is no response.
    Bad(crate::cgi::BadOutput),
    /// The output is more than it may be.
    TooMuch,
    /// The handler ran out of time.
    TimedOut,
    /// The client left.
    ClientGone,
    /// The client left, and the handler is to run to its end all the same.
    Unheard,
    /// The client took nothing for too long.
    ClientStuck,
    /// There is no room for what the client did not take.
    NoSpool,
    /// The parent is gone.
    ParentGone,
    /// The worker cannot go on.
    Broken(sys::Error),
}

impl End {
    /// Only the client's part of the request is over.
    pub(super) fn is_handler_running(self) -> bool {
        matches!(self, Self::Released | Self::Unheard)
    }
}

/// What the relay works with.
pub(super) struct Scene<'r> {
    pub(super) birth: &'r Birth<'r>,
    pub(super) client: &'r Client,
    pub(super) channel: BorrowedFd<'r>,
    pub(super) name: &'r [u8],
    pub(super) settings: &'r HandlerSettings,
    pub(super) stderr: &'r stderr::Pipe,
    /// The client may be asked with 100 (Continue) whether it is still there.
    pub(super) can_probe: bool,
    /// The handler will probably print more than its pipe holds.
    pub(super) is_gusher: bool,
    pub(super) deadline: Moment,
}

/// A relay in progress.
pub(super) struct Relay<'r, 'b> {
    scene: Scene<'r>,
    pid: Pid,
    stdout: Option<OwnedFd>,
    stderr: Stderr<'r>,
    feed: Option<Feed>,
    pub(super) response: Response<'b>,
    pub(super) outlet: Outlet<'r>,
    buffer: &'b mut [u8],
    /// Bytes of output that it may still have.
    allowed: u64,
    /// How the handler ended.
    pub(super) reaped: Option<Reaped>,
    /// When output last came, or the handler ended.
    quiet_since: Moment,
    client_progress: Moment,
    has_client_fin: bool,
    /// What the end of stdout means was decided, though the handler runs on.
    is_eof_judged: bool,
    /// Since when nothing that the handler prints can belong to the response any more.
    whole_since: Option<Moment>,
    is_nph: bool,
    /// What was written to the client before an nph handler began.
    written: Option<u64>,
    /// Nothing was waited for yet. Most handlers are over within a pause: then one wake-up, at
    /// their end, brings all that they wrote.
    is_first_wait: bool,
    /// The handler's pipe was enlarged.
    is_wide: bool,
    /// Its output is not read until the next wait is over: there is no room for it, or others put
    /// theirs away first.
    is_held_up: bool,
    now: Moment,
}

/// What a handler may print after the end of its response: nobody gets it, and to print and to read it
/// without end would keep two CPUs busy until the handler's time limit.
pub(super) const MOST_DROPPED: u64 = 16 * 1024 * 1024;

/// Bytes that the pipe of a handler with much to say may hold: what a user may have without a right
/// of its own (/proc/sys/fs/pipe-max-size).
const WIDE_PIPE: i32 = 1024 * 1024;

impl<'r, 'b> Relay<'r, 'b> {
    pub(super) fn new(
        scene: Scene<'r>,
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
            stderr: Stderr::new(&scene, running.pid),
            allowed: scene.settings.allowance.output.unwrap_or(u64::MAX),
            feed: running.feed,
            response,
            outlet,
            buffer,
            reaped: None,
            quiet_since: now,
            client_progress: now,
            has_client_fin: false,
            is_eof_judged: false,
            whole_since: None,
            is_first_wait: !scene.is_gusher,
            is_wide: false,
            is_held_up: false,
            now,
            scene,
        }
    }

    /// The handler's output went to the client without us: its first byte, as far as that can be told.
    pub(super) fn has_answered_itself(&self) -> bool {
        let now = || socket::bytes_written(self.scene.client.socket());
        self.is_nph && (self.written.is_none() || self.written != now())
    }

    /// The handler's name.
    pub(super) fn name(&self) -> &'r [u8] {
        self.scene.name
    }

    /// The way it ended makes its output worthless.
    pub(super) fn has_failed(&self) -> bool {
        match self.reaped.map(|reaped| reaped.ended) {
            Some(Ended::Exited(status)) => self.scene.settings.strict_exit && status != 0,
            Some(Ended::Killed(_)) | None => true,
        }
    }

    /// Relays until the end; then the handler is reaped and its stderr is in the log, unless the client
    /// is released before.
    pub(super) fn run(&mut self) -> End {
        let end = loop {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(end)) => break self.or_unheard(end),
                Err(e) => break End::Broken(e),
            }
        };
        if end.is_handler_running() {
            return end;
        }
        if self.reaped.is_none() {
            let (scene, grace) = (&self.scene, self.scene.birth.settings.limits.kill_grace);
            self.reaped = tree::end_handler(self.pid, scene.settings, grace, scene.channel);
        }
        self.stderr.finish();
        end
    }

    /// One wait and what it brought.
    fn turn(&mut self) -> sys::Result<Option<End>> {
        if let Some(end) = self.check_end() {
            return Ok(Some(end));
        }
        self.is_held_up |= self.outlet.is_full();
        let mut set = self.poll_set();
        let since = self.now;
        let timeout = Some(self.next_deadline().since(self.now));
        let woke = match std::mem::take(&mut self.is_first_wait) && !self.is_nph {
            true => poll::wait_undisturbed(&mut set, timeout),
            false => poll::wait(&mut set, timeout),
        }?;
        self.now = time::now();
        if std::mem::take(&mut self.is_held_up) {
            self.give_back(self.now.since(since));
            self.quiet_since = self.now;
        }
        let came = set.map(|entry| entry.revents);
        if came == [0; 5] && self.outlet.turn().is_taken() {
            // The handler pauses: others may put away meanwhile.
            self.outlet.turn().end();
        }
        if !woke {
            return Ok(self.reap());
        }
        let [stdout, stderr, client, channel, feed] = came;
        if channel != 0 {
            return Ok(Some(End::ParentGone));
        }
        if let Some(end) = self.hear_client(client) {
            return Ok(Some(end));
        }
        if stderr != 0 {
            self.stderr.read();
        }
        if let Some(body) = self.feed.as_mut().filter(|_| feed != 0)
            && !body.write()?
        {
            self.feed = None;
        }
        let end = match stdout {
            0 => None,
            events => self.read_stdout(events & poll::HUNG_UP != 0)?,
        };
        Ok(end.or_else(|| self.flush_after_pause()))
    }

    /// Whether everything is over, or has taken too long.
    fn check_end(&mut self) -> Option<End> {
        if self.now >= self.scene.deadline {
            return Some(End::TimedOut);
        }
        if self.outlet.is_full() && self.now >= self.client_deadline() {
            return Some(End::ClientStuck);
        }
        let is_silent = self.stdout.is_none();
        if self.reaped.is_none() && is_silent && !self.is_nph {
            // The usual end: EOF comes a moment before the exit that it belongs to.
            let lost = self.reap();
            if lost.is_some() {
                return lost;
            }
        }
        if self.reaped.is_some() {
            // What a full spool keeps us from reading is no silence.
            let is_enough = is_silent || self.response.is_declared_complete();
            let is_over = || !self.is_held_up && self.now >= self.after_exit_deadline();
            return (is_enough || is_over()).then_some(End::Complete);
        }
        if self.is_eof_open() && self.now >= self.after_eof_deadline() {
            // Its output is over and it does something else. What cannot be judged now is judged at its exit.
            self.is_eof_judged = true;
            let may_fail_late = self.scene.settings.strict_exit || self.response.is_redirect();
            let is_good = !may_fail_late && self.response.judge().is_ok();
            return is_good.then_some(End::Released);
        }
        let is_due = self.release_deadline().is_some_and(|at| self.now >= at);
        is_due.then_some(End::Released)
    }

    /// Notes once that the response is complete: what the handler prints from then on is dropped, and
    /// bounded.
    fn note_whole(&mut self) {
        if self.whole_since.is_none() && self.response.is_whole() {
            self.whole_since = Some(self.now);
            self.allowed = self.allowed.min(MOST_DROPPED);
        }
    }

    /// What is left of the relay when the client has been let go.
    pub(super) fn into_parts(self) -> Parts {
        Parts {
            pid: self.pid,
            stdout: self.stdout,
            stderr: self.stderr.pause(),
            feed: self.feed,
            allowed: self.allowed,
            deadline: self.scene.deadline,
        }
    }

    /// Time in which the handler could not go on because of its client is not the handler's.
    fn give_back(&mut self, waited: Duration) {
        self.scene.deadline = self.scene.deadline.after(waited);
        self.scene.birth.entry().set_deadline(self.scene.deadline);
    }

    /// Takes the handler's exit in, if it has ended, and whoever it has left behind and that ended
    /// before it. A handler that nobody can be told of is no success.
    fn reap(&mut self) -> Option<End> {
        while self.reaped.is_none() {
            match process::reap(None) {
                Ok(None) => return None,
                Ok(Some(reaped)) if reaped.pid != self.pid => {}
                Ok(reaped) => {
                    self.reaped = reaped;
                    self.quiet_since = self.now;
                }
                Err(e) => return Some(End::Broken(e)),
            }
        }
        None
    }

    /// stdout, stderr, client, channel, feed.
    fn poll_set(&self) -> [poll::PollFd; 5] {
        let for_output = match self.is_first_wait {
            true => 0,
            false => poll::READABLE,
        };
        let for_fin = match self.has_client_fin {
            true => 0,
            false => poll::PEER_CLOSED,
        };
        let for_room = match self.outlet.is_backed_up() {
            true => poll::WRITABLE,
            false => 0,
        };
        let perhaps = |fd: Option<BorrowedFd<'_>>, events| {
            fd.map_or_else(poll::poll_nothing, |fd| poll::poll_fd(fd, events))
        };
        let stdout = self.stdout.as_ref().filter(|_| !self.is_held_up);
        [
            perhaps(stdout.map(|stdout| stdout.as_fd()), for_output),
            poll::poll_fd(self.stderr.fd(), for_output),
            poll::poll_fd(self.scene.client.socket(), for_fin | for_room),
            // Only its end is of interest now: orders wait until this request is done.
            poll::poll_fd(self.scene.channel, 0),
            perhaps(self.feed.as_ref().map(Feed::pipe), poll::WRITABLE),
        ]
    }

    fn read_stdout(&mut self, has_no_writer: bool) -> sys::Result<Option<End>> {
        let Some(stdout) = &self.stdout else {
            return Ok(None);
        };
        if !self.outlet.may_put_away() {
            self.is_held_up = true;
            return Ok(None);
        }
        let n = fd::read(stdout.as_fd(), self.buffer)?;
        self.quiet_since = self.now;
        if n == self.buffer.len() && !self.is_wide {
            // Much is coming: the more the pipe holds, the less often handler and worker have to
            // wake each other. Whose pipes hold too much already (pipe(7)) keeps this one as it is.
            self.is_wide = true;
            let _ = fd::set_pipe_size(stdout.as_fd(), WIDE_PIPE);
        }
        // A pipe gives all that it has: when nobody can write any more, less than there is room
        // for is the rest.
        if n == 0 || (has_no_writer && n < self.buffer.len()) {
            self.stdout = None;
        }
        if n == 0 {
            return Ok(None);
        }
        if !self.may_print(n) {
            return Ok(Some(End::TooMuch));
        }
        let piece = self.buffer.get(..n).unwrap_or_default();
        let was_backed_up = self.outlet.is_backed_up();
        let result = self.response.feed(piece, &mut self.outlet);
        self.note_whole();
        if !was_backed_up {
            self.client_progress = self.now;
        }
        let is_full = self.outlet.is_full();
        if is_full {
            self.scene.birth.entry().count_client_wait();
        }
        if is_full || n < self.buffer.len() {
            self.outlet.turn().end();
        }
        Ok(result.err().map(end_of))
    }
}

fn end_of(failed: Failed) -> End {
    match failed {
        Failed::Bad(bad) => End::Bad(bad),
        Failed::Blocked(Blocked::Gone) => End::ClientGone,
        Failed::Blocked(Blocked::Unable(_)) => End::NoSpool,
    }
}
