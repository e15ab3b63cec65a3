//! Ends a handler and everything it started. A worker serves one request at a time and is a child subreaper,
//! so every descendant that is still there belongs to that request, also after setsid or a double fork.

use crate::log::{Escaped, Log};
use crate::settings::HandlerSettings;
use crate::sys::process::{self, Pid, Reaped};
use crate::sys::time::{self, Moment};
use crate::sys::{self, Errno, descendants, poll, signal};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// How long the worker waits for the end of what it has killed before it gives up: a process may be
/// in state D (a dead network file system), or have become another user's.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long one round of killing may take to show.
const ROUND: Duration = Duration::from_millis(10);

/// What a sweep has found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Swept {
    /// The handler had no descendants at its end.
    Nothing,
    /// Some, which are gone.
    All,
    /// Some that cannot be ended.
    NotAll,
}

/// Asks a handler to end, with its process group and, unless some of its descendants may detach,
/// all of them. Waits up to `grace`, or until the parent is gone, then kills what it has asked.
/// Returns how the handler ended, if it did.
pub(super) fn end_handler(
    pid: Pid,
    settings: &HandlerSettings,
    grace: Duration,
    channel: BorrowedFd<'_>,
) -> Option<Reaped> {
    signal_all(pid, settings, signal::SIGTERM);
    let reaped = reap_until(pid, time::now().after(grace), channel);
    if reaped.is_some() {
        // The group may live on without its leader.
        let _ = process::kill_group(pid, signal::SIGKILL);
        return reaped;
    }
    signal_all(pid, settings, signal::SIGKILL);
    reap_until(pid, time::now().after(PATIENCE), channel)
}

/// Signals a handler and its descendants. The handler may have left its group, and each descendant
/// may have a group of its own.
fn signal_all(handler: Pid, settings: &HandlerSettings, signal: i32) {
    // ESRCH: it has just ended by itself, or left.
    let _ = process::kill_group(handler, signal);
    let mut all = Vec::new();
    if !settings.detach {
        all = descendants::with_descendants(descendants::children().unwrap_or_default());
    }
    if !all.contains(&handler) {
        all.push(handler);
    }
    for pid in all {
        if process::group_of(pid).is_ok_and(|group| group != handler) {
            let _ = process::kill(pid, signal);
        }
    }
}

/// How a handler has ended, if it has. Reaps with it those of its orphans that have ended before.
pub(super) fn reap_handler(handler: Pid) -> sys::Result<Option<Reaped>> {
    loop {
        match process::reap(None)? {
            Some(other) if other.pid != handler => {}
            found => return Ok(found),
        }
    }
}

/// Waits for the handler's end until a deadline, or until the parent is gone.
fn reap_until(pid: Pid, deadline: Moment, channel: BorrowedFd<'_>) -> Option<Reaped> {
    let mut set = [poll::of(channel, 0)];
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
        // No SIGCHLD is lost between the two calls: outside of this wait it is blocked.
        let _ = poll::wait(&mut set, Some(deadline.since(now)));
    }
}

/// Reaps all children that have ended: how many, and whether there are others.
fn reap_all() -> (usize, bool) {
    let mut ended = 0;
    loop {
        match process::reap(None) {
            Ok(Some(_)) => ended += 1,
            Ok(None) => return (ended, true),
            Err(e) => return (ended, e.errno != Errno::CHILD),
        }
    }
}

/// Kills every descendant that is left, without grace. Where the system does not tell which they
/// are, those that are in the handler's group.
pub(super) fn end_rest(log: &Log, name: &[u8], handler: Pid) -> Swept {
    let swept = sweep(log, name);
    if swept == Swept::NotAll || !process::is_subreaper() {
        let _ = process::kill_group(handler, signal::SIGKILL);
    }
    swept
}

/// Kills them by their numbers, and says so in the log. One system call when there is none.
fn sweep(log: &Log, handler: &[u8]) -> Swept {
    let (ended, mut is_left) = reap_all();
    if !is_left && ended == 0 {
        return Swept::Nothing;
    }
    let mut killed: Vec<Pid> = Vec::new();
    let children = || descendants::children().unwrap_or_default();
    let mut until = time::now().after(PATIENCE);
    let mut is_first = true;
    // The time begins anew whenever a process has ended: only if none ends is there no progress.
    while is_left && time::now() < until {
        let round = match std::mem::take(&mut is_first) {
            true => kill_each(children()),
            false => descendants::end_with_descendants(&children),
        };
        for pid in round {
            if let Err(at) = killed.binary_search(&pid) {
                killed.insert(at, pid);
            }
        }
        let _ = poll::wait(&mut [], Some(ROUND));
        let ended;
        (ended, is_left) = reap_all();
        if ended > 0 {
            until = time::now().after(PATIENCE);
        }
    }
    let (handler, n) = (Escaped(handler), killed.len());
    if n > 0 {
        let noun = if n == 1 { "process" } else { "processes" };
        log.warn(format_args!(
            "{handler}: {n} {noun} outlived the handler and had to be ended"
        ));
    }
    if is_left {
        let n = children().len();
        log.warn(format_args!(
            "{handler}: {n} of its processes cannot be ended: this worker leaves"
        ));
        return Swept::NotAll;
    }
    Swept::All
}

/// Kills these, and returns those that got the signal. Most handlers that leave any process behind
/// leave one or two.
fn kill_each(mut children: Vec<Pid>) -> Vec<Pid> {
    children.retain(|pid| process::kill(*pid, signal::SIGKILL).is_ok());
    children
}

/// Reaps all children that have ended; true if there are others.
pub(super) fn reap_and_find_others() -> bool {
    reap_all().1
}
