//! The loop: waits for bytes, for the handler's end and for the client's in one ppoll.

use super::deadlines::PAUSE;
use super::{Relay, RelayEnd};
use crate::sys::fd::AsFd;
use crate::sys::{self, fd, poll, time};
use crate::worker::feed::Feed;
use crate::worker::process_tree;
use std::time::Duration;

/// Bytes that the pipe of a handler that prints much may hold: what an unprivileged user may set
/// (/proc/sys/fs/pipe-max-size).
const WIDE_PIPE: i32 = 1024 * 1024;

impl Relay<'_, '_> {
    /// Relays until the end. Then the handler is reaped and its stderr is in the log, unless the
    /// client is released before the handler ends.
    pub(in crate::worker) fn run(&mut self) -> RelayEnd {
        let end = loop {
            match self.run_once() {
                Ok(None) => {}
                Ok(Some(end)) => break self.or_run_on(end),
                Err(e) => break RelayEnd::Broken(e),
            }
        };
        if end.is_handler_running() {
            return end;
        }
        if self.reaped.is_none() {
            let (task, grace) = (&self.task, self.task.birth.settings.limits.kill_grace);
            self.reaped = process_tree::end_handler(self.pid, task.settings, grace, task.channel);
        }
        self.stderr.finish();
        end
    }

    /// One wait and what it brought.
    fn run_once(&mut self) -> sys::Result<Option<RelayEnd>> {
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
            // The handler pauses: other workers may spool meanwhile.
            self.outlet.turn().end();
        }
        if !woke {
            return Ok(self.reap());
        }
        let [stdout, stderr, client, channel, feed] = came;
        if channel != 0 {
            return Ok(Some(RelayEnd::ParentGone));
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

    /// Whether the relay is over, or has taken too long.
    fn check_end(&mut self) -> Option<RelayEnd> {
        if self.now >= self.task.deadline {
            return Some(RelayEnd::TimedOut);
        }
        if self.outlet.is_full() && self.now >= self.client_deadline() {
            return Some(RelayEnd::ClientStuck);
        }
        let is_silent = self.stdout.is_none();
        if self.reaped.is_none() && is_silent && !self.is_nph {
            // The usual end: the handler closes stdout by its exit, so the end of the file comes a
            // moment before the end of the process.
            let lost = self.reap();
            if lost.is_some() {
                return lost;
            }
        }
        if self.reaped.is_some() {
            // As long as a full spool keeps the worker from reading, the output is not silent.
            let is_enough = is_silent || self.response.is_declared_complete();
            let is_over = || !self.is_held_up && self.now >= self.after_exit_deadline();
            return (is_enough || is_over()).then_some(RelayEnd::Complete);
        }
        if self.is_eof_open() && self.now >= self.after_eof_deadline() {
            // The handler has closed stdout and runs on. A response that is not known to be good
            // now is judged at the handler's exit.
            self.is_eof_judged = true;
            let may_fail_late = self.task.settings.strict_exit || self.response.is_redirect();
            let is_good = !may_fail_late && self.response.judge().is_ok();
            return is_good.then_some(RelayEnd::Released);
        }
        let is_due = self.release_deadline().is_some_and(|at| self.now >= at);
        is_due.then_some(RelayEnd::Released)
    }

    /// Adds to the handler's time limit what it has lost because of its client.
    fn give_back(&mut self, waited: Duration) {
        self.task.deadline = self.task.deadline.after(waited);
        self.task.birth.entry().set_deadline(self.task.deadline);
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
        let stdout = self.stdout.as_ref().filter(|_| !self.is_held_up);
        let client = Some(self.task.client.socket()).filter(|_| !self.is_client_lost);
        [
            poll::of_any(stdout.map(|stdout| stdout.as_fd()), for_output),
            poll::of(self.stderr.fd(), for_output),
            poll::of_any(client, for_fin | for_room),
            // Of the channel only the end matters now: orders wait until this request is done.
            poll::of(self.task.channel, 0),
            poll::of_any(self.feed.as_ref().map(Feed::pipe), poll::WRITABLE),
        ]
    }

    fn read_stdout(&mut self, has_no_writer: bool) -> sys::Result<Option<RelayEnd>> {
        let Some(stdout) = &self.stdout else {
            return Ok(None);
        };
        if !self.outlet.take_turn() {
            self.is_held_up = true;
            return Ok(None);
        }
        let n = fd::read(stdout.as_fd(), self.buffer)?;
        self.quiet_since = self.now;
        if n == self.buffer.len() && !self.is_wide {
            // Much is coming: the more the pipe holds, the less often handler and worker have to wake each
            // other. If the user has too much in pipes already (pipe(7)), this one stays as it is.
            self.is_wide = true;
            let _ = fd::set_pipe_size(stdout.as_fd(), WIDE_PIPE);
        }
        // A read takes all that a pipe holds, as far as there is room: if no writer is left, a read
        // that does not fill the buffer has brought the last bytes.
        if n == 0 || (has_no_writer && n < self.buffer.len()) {
            self.stdout = None;
        }
        if n == 0 {
            return Ok(None);
        }
        if !self.use_up_output(n) {
            return Ok(Some(RelayEnd::TooMuch));
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
            let entry = self.task.birth.entry();
            entry.count_client_wait();
            self.task.birth.scoreboard.note_heavy(entry.handler());
        }
        if is_full || n < self.buffer.len() {
            self.outlet.turn().end();
        }
        Ok(result.err().map(RelayEnd::from))
    }

    /// Sends what is held back when the handler pauses, so that streams flow.
    fn flush_after_pause(&mut self) -> Option<RelayEnd> {
        let has_paused = self.now >= self.quiet_since.after(PAUSE);
        if !has_paused || !self.is_pause_due() {
            return None;
        }
        self.response
            .flush(&mut self.outlet)
            .err()
            .map(RelayEnd::from)
    }
}
