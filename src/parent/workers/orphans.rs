//! Processes that a dead worker left behind: they become the parent's children (it is a subreaper)
//! and are ended.
//!
//! Not all of the parent's children are its own to end. Those of a worker that left in good order were
//! detached on purpose (`detach = yes`): they and what they start are known by that worker's mark
//! (`sys/descendants`). Those that were there before the first worker are known by their process group. And
//! the first process of a container is given everybody's orphans: there, who bears no mark is a stranger.

use crate::sys::descendants;
use crate::sys::process::{self, Pid};

/// What the parent knows of its children that are no workers.
pub(super) struct Orphans {
    /// Workers whose marks, and groups, that may stay.
    pub(super) spared: Vec<Pid>,
    /// Workers are marked.
    pub(super) has_marks: bool,
    /// Who bears no mark is no descendant.
    has_strangers: bool,
    /// Something was killed: its own children come next, with the SIGCHLD of its end.
    pub(super) is_sweeping: bool,
}

impl Orphans {
    /// Before the first worker.
    pub(super) fn new() -> Self {
        let has_marks = descendants::can_mark();
        Self {
            spared: Vec::new(),
            has_marks,
            has_strangers: has_marks && process::pid().raw() == 1,
            is_sweeping: false,
        }
    }

    /// Whether a child may stay.
    pub(super) fn spares(&self, child: Pid) -> bool {
        if self.spared.is_empty() && !self.has_strangers {
            return false;
        }
        let Ok(mark) = descendants::mark_of(child) else {
            return false;
        };
        let group = process::group_of(child).ok();
        (mark.is_none() && self.has_strangers)
            || self
                .spared
                .iter()
                .any(|spared| mark == Some(spared.raw()) || group == Some(*spared))
    }

    /// A child that was no worker has been reaped; a group without its leader may live on, but the
    /// number may be used again only after the whole group has gone.
    pub(super) fn forget(&mut self, pid: Pid) {
        if process::kill_group(pid, 0).is_err() {
            self.spared.retain(|group| *group != pid);
        }
    }
}
