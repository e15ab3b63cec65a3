//! Ends a handler and everything it started. A worker serves one request at a time and is a child
//! subreaper, so every descendant that is still there belongs to that request, also after setsid
//! or a double fork.

use crate::log::{Escaped, Log};
use crate::sys::process::{self, Pid, Reaped};
use crate::sys::time::{self, Moment};
use crate::sys::{Errno, signal};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Rounds of killing before the worker gives up on what cannot be killed (a process in state D).
const MAX_ROUNDS: usize = 1000;

/// Asks a handler's process group to end, waits up to `grace`, then kills it. Returns how the
/// handler ended. Without a parent at the other end of the channel nobody has time.
pub(super) fn end_handler(pid: Pid, grace: Duration, channel: BorrowedFd<'_>) -> Option<Reaped> {
    // ESRCH: it has just ended by itself, and is reaped below.
    let _ = process::kill_group(pid, signal::SIGTERM);
    let reaped = reap_until(pid, time::now().after(grace), channel);
    // The group may live on without its leader.
    let _ = process::kill_group(pid, signal::SIGKILL);
    reaped.or_else(|| process::wait_for(pid).ok().flatten())
}

/// Waits for one child until a deadline, or the parent's end. The worker sleeps in `signal::wait`,
/// where SIGCHLD wakes it.
fn reap_until(pid: Pid, deadline: Moment, channel: BorrowedFd<'_>) -> Option<Reaped> {
    let mut set = [signal::poll_fd(channel, 0)];
    loop {
        match process::reap(Some(pid)) {
            Ok(None) => {}
            Ok(reaped) => return reaped,
            Err(_) => return None,
        }
        let now = time::now();
        let [parent] = &set;
        if now >= deadline || parent.revents != 0 {
            return None;
        }
        // Without a signal mask change in between no SIGCHLD is lost: it is blocked outside.
        let _ = signal::wait(&mut set, Some(deadline.since(now)));
    }
}

/// Kills every descendant that is left, without grace, and says so in the log. One system call
/// when there is none. True if the handler had no descendants at its end.
pub(super) fn sweep(log: &Log, handler: &[u8]) -> bool {
    let mut was_alone = true;
    let mut killed: Vec<Pid> = Vec::new();
    for _ in 0..MAX_ROUNDS {
        match process::reap(None) {
            Ok(Some(_)) => {
                was_alone = false;
                continue;
            }
            Err(e) if e.errno == Errno::CHILD => break,
            Ok(None) | Err(_) => {}
        }
        for pid in process::children().unwrap_or_default() {
            if process::kill(pid, signal::SIGKILL).is_ok() && !killed.contains(&pid) {
                killed.push(pid);
            }
        }
        let _ = signal::wait(&mut [], Some(Duration::from_millis(10)));
    }
    if !killed.is_empty() {
        let (handler, n) = (Escaped(handler), killed.len());
        let noun = if n == 1 { "process" } else { "processes" };
        log.warn(format_args!(
            "{handler}: {n} {noun} outlived the handler and had to be ended"
        ));
    }
    was_alone && killed.is_empty()
}

/// Whether anything is left.
pub(super) fn has_survivors() -> bool {
    !matches!(process::reap(None), Err(e) if e.errno == Errno::CHILD)
}
