//! A handler that runs on although its response is complete, or although its client has left
//! (`half-close = serve`). The client has gone back to the parent. The worker stays with the handler, within the same
//! limits, and tells the parent that it is free when the handler has ended.
//!
//! Knows no client.

use super::feed::Feed;
use super::process_tree;
use super::stderr::{HandlerStderr, PausedStderr};
use crate::settings::HandlerSettings;
use crate::sys::fd::{self, AsFd};
use crate::sys::process::{Pid, Reaped};
use crate::sys::time::{self, Moment};
use crate::sys::{self, poll};
use std::os::fd::{BorrowedFd, OwnedFd};

/// A handler whose client was let go.
pub(super) struct ReleasedHandler<'a> {
    pub(super) parts: RelayParts,
    pub(super) settings: &'a HandlerSettings,
}

/// What is left of its relay.
pub(super) struct RelayParts {
    pub(super) pid: Pid,
    /// What the handler still prints is read and dropped: a closed pipe would kill it.
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: PausedStderr,
    pub(super) feed: Option<Feed>,
    /// Bytes that it may still print.
    pub(super) allowed: u64,
    pub(super) deadline: Moment,
}

/// Why the worker does not wait for the handler any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitEnd {
    /// It has ended by itself.
    Ended,
    TimedOut,
    TooMuch,
    /// The worker cannot give it the rest of its body.
    Unfed(sys::Error),
    ParentGone,
}

impl RelayParts {
    /// Waits until the handler has ended or has to be ended, and says which.
    pub(super) fn wait(
        &mut self,
        stderr: &mut HandlerStderr<'_>,
        channel: BorrowedFd<'_>,
    ) -> (WaitEnd, Option<Reaped>) {
        loop {
            match process_tree::reap_handler(self.pid) {
                Ok(None) => {}
                Ok(reaped) => return (WaitEnd::Ended, reaped),
                Err(_) => return (WaitEnd::Ended, None),
            }
            let now = time::now();
            if now >= self.deadline {
                return (WaitEnd::TimedOut, None);
            }
            let mut set = [
                poll::of_any(self.stdout.as_ref().map(AsFd::as_fd), poll::READABLE),
                poll::of(stderr.fd(), poll::READABLE),
                poll::of(channel, 0),
                poll::of_any(self.feed.as_ref().map(Feed::pipe), poll::WRITABLE),
            ];
            // No SIGCHLD is lost between the two calls: outside of this wait it is blocked.
            if !poll::wait(&mut set, Some(self.deadline.since(now))).unwrap_or(false) {
                continue;
            }
            let [stdout, of_stderr, parent, feed] = set.map(|entry| entry.revents);
            if parent != 0 {
                return (WaitEnd::ParentGone, None);
            }
            if of_stderr != 0 {
                stderr.read();
            }
            if feed != 0
                && let Err(why) = self.feed_on()
            {
                return (WaitEnd::Unfed(why), None);
            }
            if stdout != 0 && !self.drop_output() {
                return (WaitEnd::TooMuch, None);
            }
        }
    }

    /// Goes on with the body. After an error the pipe stays open: the handler would take its end
    /// for the end of the body.
    fn feed_on(&mut self) -> sys::Result<()> {
        if let Some(feed) = &mut self.feed
            && !feed.write()?
        {
            self.feed = None;
        }
        Ok(())
    }

    /// Reads and drops what the handler has printed; false if that was too much.
    fn drop_output(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        let Some(stdout) = &self.stdout else {
            return true;
        };
        match fd::read(stdout.as_fd(), &mut bytes) {
            Ok(0) | Err(_) => self.stdout = None,
            Ok(n) => match self.allowed.checked_sub(n as u64) {
                Some(left) => self.allowed = left,
                None => return false,
            },
        }
        true
    }
}
