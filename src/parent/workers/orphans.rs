//! Processes that a dead worker has left behind: they become the parent's children (it is a subreaper), and `sweep` ends
//! them. This file says which children are spared.
//!
//! Children of a worker that left in good order were detached on purpose (`detach = yes`): they and what they start
//! are known by that worker's mark (`sys/descendants`). Children that were there before the first worker are known by
//! their process group. And if the parent is the first process of a container, it is given the orphans of all
//! others too: there a child without a mark is a stranger.

use crate::sys::descendants;
use crate::sys::process::{self, Pid};

/// What the parent knows of its children that are no workers.
pub(super) struct Orphans {
    /// Workers whose descendants may stay, known by their mark, and process groups that may stay.
    pub(super) spared: Vec<Pid>,
    /// Workers can be marked on this system.
    pub(super) has_marks: bool,
    /// A child without a mark is no descendant of a worker.
    has_strangers: bool,
    /// Some were killed in the last sweep. When they end (SIGCHLD), their own children become the parent's, and the next
    /// sweep ends those.
    pub(super) is_sweeping: bool,
}

impl Orphans {
    /// To be called before the first worker is forked.
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

    /// A child that was no worker has been reaped. If its process group is gone too, its number is forgotten, since it may
    /// be used again; a group may outlive its leader.
    pub(super) fn forget(&mut self, pid: Pid) {
        if process::kill_group(pid, 0).is_err() {
            self.spared.retain(|group| *group != pid);
        }
    }
}
