//! A forked process that runs one function of this program. It dies with its starter.

use crate::failure::Failure;
use caffeine::testing::sys::fd;
use caffeine::testing::sys::process::{self, Ended, Pid};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::parent_id;

/// The process; killed and reaped when dropped.
pub(crate) struct Child(Option<Pid>);

impl Child {
    /// Forks a process that runs `work` with no descriptor but `keep` above the standard ones.
    /// To be called while this process has one thread.
    pub(crate) fn fork(keep: BorrowedFd<'_>, work: impl FnOnce()) -> Result<Self, Failure> {
        let starter = process::pid();
        match process::fork().map_err(|e| Failure::unable("start a process", e))? {
            Some(pid) => Ok(Self(Some(pid))),
            None => {
                // The starter may have died before the request that this process die with it.
                let is_bound = process::signal_with_parent(libc::SIGKILL).is_ok();
                if is_bound && parent_id() == starter.raw().unsigned_abs() {
                    fd::close_all_but(&[keep.as_raw_fd()]);
                    work();
                }
                process::exit_now(0)
            }
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: i32) -> Result<(), Failure> {
        self.0
            .map_or(Ok(()), |pid| process::kill(pid, signal))
            .map_err(|e| Failure::unable("signal a process", e))
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(mut self) -> Result<Option<Ended>, Failure> {
        let Some(pid) = self.0.take() else {
            return Ok(None);
        };
        let reaped =
            process::wait_for(pid).map_err(|e| Failure::unable("wait for a process", e))?;
        Ok(reaped.map(|reaped| reaped.ended))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(pid) = self.0.take() {
            // This process's own child and not reaped yet, so the id is nobody else's.
            let _ = process::kill(pid, libc::SIGKILL);
            let _ = process::wait_for(pid);
        }
    }
}
