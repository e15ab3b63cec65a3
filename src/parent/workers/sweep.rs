//! Ending what dead workers, and dead servers, leave behind.

use super::owner::Workers;
use crate::parent::context::{Context, Successors};
use crate::sys::process::{self, Pid};
use crate::sys::{Errno, descendants};
use std::time::Duration;

/// At the server's end: how often, and how long apart, what is left is killed and reaped.
const LAST_ROUNDS: u32 = 50;
const LAST_PAUSE: Duration = Duration::from_millis(10);

impl Workers {
    /// A child that was no worker has been reaped.
    pub(in crate::parent) fn forget_orphan(&mut self, pid: Pid) {
        self.orphans.forget(pid);
    }

    /// Children that are to be ended: neither workers nor successors, and not spared.
    fn orphans(&self, ctx: &Context, successors: Successors) -> Vec<Pid> {
        let mut children = self.children(ctx, successors);
        children.retain(|pid| !self.orphans.spares(*pid));
        children
    }

    fn children(&self, ctx: &Context, successors: Successors) -> Vec<Pid> {
        let children = descendants::children();
        if let Err(e) = children {
            ctx.log.debug(format_args!("unable to list children: {e}"));
        }
        let mut children = children.unwrap_or_default();
        children.retain(|pid| self.pool.find(*pid).is_none() && !successors.contains(&Some(*pid)));
        children
    }

    /// A worker, or a whole successor (`None`), has left in good order: what it leaves behind may stay, if some handler
    /// may leave anything behind (`detach = yes`).
    pub(in crate::parent) fn adopt_detached(
        &mut self,
        ctx: &Context,
        successors: Successors,
        worker: Option<Pid>,
    ) {
        let handlers = &ctx.settings.handlers;
        if handlers.iter().any(|handler| handler.detach) {
            match worker.filter(|_| self.orphans.has_marks) {
                Some(worker) => self.orphans.spared.push(worker),
                None if self.orphans.is_sweeping => {}
                None => self.leave_alone(ctx, successors),
            }
        }
        // A number that no process bears any more may be used again: it is forgotten.
        let children = self.children(ctx, successors);
        let is_borne = |number: &Pid| {
            let is_group = process::kill_group(*number, 0);
            is_group.map_or_else(|e| e.errno == Errno::PERM, |()| true)
                || children.iter().any(|child| {
                    descendants::mark_of(*child).is_ok_and(|mark| mark == Some(number.raw()))
                })
        };
        self.orphans.spared.retain(is_borne);
    }

    /// Spares the children that are there now: before the first fork, those of a shell that became this process by
    /// exec.
    pub(in crate::parent) fn leave_alone(&mut self, ctx: &Context, successors: Successors) {
        for pid in self.orphans(ctx, successors) {
            if let Ok(group) = process::group_of(pid)
                && !self.orphans.spared.contains(&group)
            {
                self.orphans.spared.push(group);
            }
        }
    }

    /// A worker has died: ends its handler's group and all that it has left.
    pub(in crate::parent) fn end_orphans(
        &mut self,
        ctx: &Context,
        successors: Successors,
        handler: Option<Pid>,
    ) {
        if let Some(handler) = handler {
            let _ = process::kill_group(handler, crate::sys::signal::SIGKILL);
        }
        self.sweep(ctx, successors);
    }

    fn sweep(&mut self, ctx: &Context, successors: Successors) {
        let ended = descendants::end_with_descendants(&|| self.orphans(ctx, successors));
        self.orphans.is_sweeping = !ended.is_empty();
    }

    /// Goes on with a sweep when processes have ended that the last one has killed.
    pub(in crate::parent) fn sweep_on(&mut self, ctx: &Context, successors: Successors) {
        if self.orphans.is_sweeping {
            self.sweep(ctx, successors);
        }
    }

    /// At the very end, when no worker is left: ends what is still there and may not stay, and waits up to half a second
    /// for it.
    pub(in crate::parent) fn end_all_orphans(&mut self, ctx: &Context, successors: Successors) {
        for _ in 0..LAST_ROUNDS {
            self.sweep(ctx, successors);
            if !self.orphans.is_sweeping {
                return;
            }
            std::thread::sleep(LAST_PAUSE);
            while let Ok(Some(_)) = process::reap(None) {}
        }
    }
}
