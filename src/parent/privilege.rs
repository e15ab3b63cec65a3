//! What the parent gives up at its start, so that workers and handlers never have it: root, the file system
//! outside of `--chroot`, core files.

use super::error::{Error, call};
use crate::settings::Settings;
use crate::sys::confine::{self, Resource};
use crate::sys::fd::AsFd;
use crate::sys::file::{self, Open};
use crate::sys::privilege::{self, Account};
use crate::sys::{proc, process, time};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

/// The user that the server becomes.
pub(super) struct Privileges {
    account: Option<Account>,
}

impl Privileges {
    /// Finds the user, and changes the root if that is wanted: from here on all paths are inside.
    pub(super) fn prepare(settings: &mut Settings) -> Result<(Self, OomScore), Error> {
        let oom_score = OomScore::open(settings);
        let account = account(settings)?;
        let uid = account
            .as_ref()
            .map_or_else(process::effective_uid, |to| to.uid);
        limit_cores(settings)?;
        limit_handlers(settings, uid, 0);
        if let Some(folder) = &settings.chroot {
            let failed = |why| Error::File("change the root to", folder.clone(), why);
            let name = CString::new(folder.as_os_str().as_bytes()).unwrap_or_default();
            // Without one the log will say so.
            let _ = proc::keep_proc();
            // The C library reads the time zone only once.
            time::local_offset(0);
            privilege::change_root(&name).map_err(failed)?;
        }
        Ok((Self { account }, oom_score))
    }

    /// What is made from here on belongs to the user.
    pub(super) fn assume(&self) -> Result<(), Error> {
        match &self.account {
            Some(account) => privilege::assume(account).map_err(call("become the user")),
            None => Ok(()),
        }
    }

    /// Root is needed once more, for ports below 1024.
    pub(super) fn resume(&self) -> Result<(), Error> {
        match &self.account {
            Some(_) => privilege::resume_root().map_err(call("be root again")),
            None => Ok(()),
        }
    }

    /// Becomes the user for good: nothing that is left to do needs root.
    pub(super) fn give_up(self, settings: &Settings) -> Result<(), Error> {
        if let Some(account) = &self.account {
            privilege::become_account(account).map_err(call("become the user"))?;
        }
        // It is tried again when there is a log, which then says whether it works.
        let _ = privilege::set_traceable(settings.traceable);
        Ok(())
    }
}

/// The user to become; `None`: the server stays who it is.
fn account(settings: &Settings) -> Result<Option<Account>, Error> {
    let Some((user, group)) = settings.account() else {
        return Ok(None);
    };
    let names_group = group.is_some();
    let found = privilege::find_account(user, group);
    let account =
        found.map_err(|why| Error::User(settings.user.clone().unwrap_or_default(), why))?;
    // A group that was named has to be right too: nobody would notice that it was ignored.
    let is_already = account.uid == process::effective_uid()
        && account.uid != 0
        && (!names_group || account.gid == privilege::effective_gid());
    Ok((!is_already).then_some(account))
}

/// The limit that handlers inherit from this process.
pub(super) fn limit_cores(settings: &Settings) -> Result<(), Error> {
    let core = settings.allowance.core.unwrap_or(0);
    confine::set_soft_limit(Resource::Core, core).map_err(call("limit core files"))
}

/// Adds to `max-processes` the processes that are there besides handlers, since the kernel counts all of a user;
/// `workers` of them are the server's workers already.
pub(super) fn limit_handlers(settings: &mut Settings, uid: u32, workers: usize) {
    let most_workers = settings.limits.max_workers;
    let most_workers = most_workers.unwrap_or(settings.workers.saturating_mul(8));
    let handlers = settings.handlers.iter_mut();
    let allowances = handlers.map(|handler| &mut handler.allowance);
    let limits = allowances.chain([&mut settings.allowance]);
    let limits: Vec<&mut u64> = limits.filter_map(|own| own.processes.as_mut()).collect();
    if !limits.is_empty() {
        // Without /proc only the server's own are known.
        let there = proc::count_tasks(uid).unwrap_or(0);
        let others = there.saturating_sub(workers as u64) + most_workers as u64;
        for limit in limits {
            *limit += others;
        }
    }
}

/// The parent's own `oom_score_adj`: what a worker inherits is written there around its fork,
/// since nobody but root may write that of a process that cannot be traced.
pub(super) struct OomScore {
    file: Option<OwnedFd>,
    own: u64,
    workers: u64,
}

impl OomScore {
    /// To be opened while the parent can still be traced. Without /proc it changes nothing.
    pub(super) fn open(settings: &Settings) -> Self {
        let name = c"/proc/self/oom_score_adj";
        let own = proc::own_oom_score();
        let workers = settings.allowance.oom_score.unwrap_or(0);
        // A server that was started with a value as high, or higher, keeps it for all its processes.
        let is_raised = own.is_some_and(|own| own < workers);
        Self {
            file: file::open_at(None, name, Open::Write)
                .ok()
                .filter(|_| is_raised),
            own: own.unwrap_or(0),
            workers,
        }
    }

    /// After a reload.
    pub(super) fn change(&mut self, settings: &Settings) {
        self.workers = settings.allowance.oom_score.unwrap_or(0).max(self.own);
    }

    /// Before the fork of a worker.
    pub(super) fn raise(&self) {
        self.write(self.workers);
    }

    /// After it.
    pub(super) fn restore(&self) {
        self.write(self.own);
    }

    fn write(&self, score: u64) {
        if let Some(file) = &self.file {
            // Raising is always allowed, and lowering as far as it was before.
            let _ = proc::write_oom_score(file.as_fd(), score);
        }
    }
}
