//! Processes that a dead worker left behind: they become the parent's children (it is a subreaper)
//! and are ended. Parent only.
//!
//! Those of a worker that left in good order were detached on purpose (`detach = yes`): they and
//! what they start are left alone, recognised by their process group.

use super::Parent;
use crate::sys::process::{self, Pid};
use crate::sys::signal::SIGKILL;
use crate::sys::{Errno, family};
use std::time::Duration;

/// At the end: how often, and how long apart, what is left is killed and reaped.
const LAST_ROUNDS: u32 = 50;
const LAST_PAUSE: Duration = Duration::from_millis(10);

/// What the parent knows of its children that are no workers.
#[derive(Default)]
pub(super) struct Orphans {
    detached: Vec<Pid>,
    /// Something was killed: its own children come next, with the SIGCHLD of its end.
    is_sweeping: bool,
}

impl Orphans {
    /// A child that was no worker has been reaped; a group without its leader may live on, but the
    /// number may be used again only after the whole group has gone.
    pub(super) fn forget(&mut self, pid: Pid) {
        if process::kill_group(pid, 0).is_err() {
            self.detached.retain(|group| *group != pid);
        }
    }
}

impl Parent {
    /// Children that are neither workers nor detached.
    fn orphans(&self) -> Vec<Pid> {
        let children = match family::children() {
            Ok(children) => children,
            Err(e) => {
                self.log()
                    .debug(format_args!("unable to list children: {e}"));
                return Vec::new();
            }
        };
        children
            .into_iter()
            .filter(|pid| {
                self.pool.find(*pid).is_none() && !self.is_heir(*pid) && !self.is_detached(*pid)
            })
            .collect()
    }

    fn is_detached(&self, pid: Pid) -> bool {
        !self.orphans.detached.is_empty()
            && process::group_of(pid).is_ok_and(|group| self.orphans.detached.contains(&group))
    }

    /// A worker has left in good order: what it leaves behind may stay, if there is a handler that
    /// may leave anything behind.
    pub(super) fn adopt_detached(&mut self) {
        let handlers = &self.estate.settings.handlers;
        // A number may be used again once its group has gone.
        let is_there = |group: &Pid| {
            process::kill_group(*group, 0).map_or_else(|e| e.errno == Errno::PERM, |()| true)
        };
        self.orphans.detached.retain(is_there);
        if !self.orphans.is_sweeping && handlers.iter().any(|handler| handler.detach) {
            self.leave_alone();
        }
    }

    /// The children that are there now are none of the server's business: before the first fork,
    /// those of a shell that became this process by exec.
    pub(super) fn leave_alone(&mut self) {
        for pid in self.orphans() {
            if let Ok(group) = process::group_of(pid)
                && !self.orphans.detached.contains(&group)
            {
                self.orphans.detached.push(group);
            }
        }
    }

    /// A worker has died: its handler's group and everything that was below it goes.
    pub(super) fn end_orphans(&mut self, handler: Option<Pid>) {
        if let Some(handler) = handler {
            let _ = process::kill_group(handler, SIGKILL);
        }
        self.sweep();
    }

    fn sweep(&mut self) {
        let ended = family::end_families(&|| self.orphans());
        self.orphans.is_sweeping = !ended.is_empty();
    }

    /// Goes on with a sweep after some have ended.
    pub(super) fn sweep_on(&mut self) {
        if self.orphans.is_sweeping {
            self.sweep();
        }
    }

    /// At the very end, when no worker is left: ends what is still there, detached or not known to
    /// be, and waits for it a moment.
    pub(super) fn orphans_end(&mut self) {
        for _ in 0..LAST_ROUNDS {
            self.sweep();
            if !self.orphans.is_sweeping {
                return;
            }
            std::thread::sleep(LAST_PAUSE);
            while let Ok(Some(_)) = process::reap(None) {}
        }
    }
}
