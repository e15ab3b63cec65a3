//! Reload: other settings while the server serves.
//!
//! Everything that can fail is done before anything is changed: a configuration that is wrong, or
//! that the system refuses, leaves the old one in force. No client notices: listeners that stay are
//! never closed, and workers are replaced one by one. Pid file and control socket cannot be changed, since others
//! know the server by them: that takes a restart.

use super::error::Error;
use super::life::Life;
use super::lifecycle::LAST_ACCEPTS;
use super::listeners::{Bound, Wish, wishes};
use super::server::Parent;
use super::start::make_absolute;
use super::{privilege, resolve};
use crate::instance;
use crate::settings::Settings;
use crate::sys::fd::AsFd;
use crate::sys::{self, process};
use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Keeps the old value of a setting that only a restart can change; notes its key if it differs.
fn keep<T: Clone + PartialEq>(
    key: &'static str,
    old: &T,
    new: &mut T,
    kept: &mut Vec<&'static str>,
) {
    if old != new {
        new.clone_from(old);
        kept.push(key);
    }
}

/// Keeps every setting that only a restart can change; the keys of those that differ.
#[cold]
fn keep_fixed(old: &Settings, new: &mut Settings) -> Vec<&'static str> {
    let mut kept = Vec::new();
    keep("daemon", &old.daemon, &mut new.daemon, &mut kept);
    // The start could not make this socket, and uses the one that stands in for it.
    if instance::unplaced(&new.socket).as_ref() == Some(&old.socket) {
        new.socket.clone_from(&old.socket);
    }
    keep("socket", &old.socket, &mut new.socket, &mut kept);
    keep("pid-file", &old.pid_file, &mut new.pid_file, &mut kept);
    keep("user", &old.user, &mut new.user, &mut kept);
    keep("group", &old.group, &mut new.group, &mut kept);
    keep("chroot", &old.chroot, &mut new.chroot, &mut kept);
    keep("traceable", &old.traceable, &mut new.traceable, &mut kept);
    kept
}

/// Those of these paths, and of the folders above them, that do not exist; the innermost first.
#[cold]
fn missing(paths: [&PathBuf; 2]) -> Vec<PathBuf> {
    let all = paths.iter().flat_map(|path| path.ancestors());
    all.filter(|path| path.symlink_metadata().is_err())
        .map(Path::to_path_buf)
        .collect()
}

/// After a reload that has failed: removes what it made at these paths, empty folders and an empty file.
#[cold]
fn remove(paths: &[PathBuf]) {
    for path in paths {
        if fs::remove_dir(path).is_err() && path.metadata().is_ok_and(|m| m.len() == 0) {
            let _ = fs::remove_file(path);
        }
    }
}

impl Parent {
    /// SIGHUP, or `reload` at the control socket: reads the settings again and applies them.
    ///
    /// # Errors
    /// Why the old ones stay in force; it is in the log too.
    #[cold]
    pub(super) fn reload(&mut self) -> Result<(), String> {
        match self.ctx.life {
            Life::Starting(_) => {
                self.is_reload_due = true;
                return Ok(());
            }
            Life::Serving => {}
            _ => return Err(String::from("the server is about to stop")),
        }
        self.control.notify.reloading(self.ctx.now);
        let changed = self.read_again().and_then(|settings| {
            let changed = self.change_to(settings);
            changed.map_err(|why| why.to_string())
        });
        match &changed {
            Ok(()) => {
                let workers = self.workers.pool().living();
                self.ctx.log.info(format_args!(
                    "reloaded: {workers} workers are being replaced"
                ));
            }
            Err(why) => {
                self.ctx.log.error(format_args!(
                    "unable to reload, the old configuration stays in force: {why}"
                ));
                self.control.notify.ready(self.workers.pool().living());
            }
        }
        changed
    }

    /// Reads the settings. A daemon has left the folder in which relative names on its command line begin, and goes
    /// back there for this.
    #[cold]
    fn read_again(&self) -> Result<Settings, String> {
        let is_daemon = self.ctx.settings.daemon;
        if is_daemon {
            std::env::set_current_dir(&self.folder).map_err(|e| {
                let why = sys::Error::from_io(&"chdir", &e);
                format!("unable to enter {}: {why}", self.folder.display())
            })?;
        }
        let settings = (self.reread)().map(|mut settings| {
            make_absolute(&mut settings);
            settings
        });
        if is_daemon {
            let _ = std::env::set_current_dir("/");
        }
        settings
    }

    #[cold]
    fn change_to(&mut self, mut settings: Settings) -> Result<(), Error> {
        let kept = keep_fixed(&self.ctx.settings, &mut settings);
        let paths = missing([&settings.path, &settings.log_file]);
        let wishes = wishes(&settings.bind, settings.port);
        let ready = self.get_ready(&mut settings, wishes);
        let (root, log_file, change) = ready.inspect_err(|_| remove(&paths))?;
        // Nothing can fail from here on.
        self.settle_listeners(change);
        self.ctx.log.change(log_file, settings.log_level);
        for key in kept {
            self.ctx
                .log
                .warn(format_args!("{key} has changed: that takes a restart"));
        }
        resolve::sections(&settings, root.as_fd(), &self.ctx.log);
        self.connections
            .set_limits(&settings.limits, &settings.trusted_proxies);
        let slots = self.workers.change(&settings);
        self.ctx.scoreboard.set_size(slots);
        self.ctx.root = root;
        self.ctx.settings = settings;
        Ok(())
    }

    /// Changes the listeners, or nothing.
    #[cold]
    pub(super) fn change_listeners(&mut self, wishes: Vec<Wish>) -> Result<(), Error> {
        let change = self.bind_listeners(wishes)?;
        self.settle_listeners(change);
        Ok(())
    }

    #[cold]
    fn bind_listeners(&mut self, wishes: Vec<Wish>) -> Result<Bound, Error> {
        let is_known = |index| self.connections.is_from(index);
        self.listeners
            .bind_new(&self.ctx.addresses, wishes, &is_known)
    }

    /// The new listeners are used from now on, and those that are no longer wished for are closed.
    #[cold]
    fn settle_listeners(&mut self, change: Bound) {
        self.listeners.settle(&self.ctx, &change);
        self.ctx.addresses = change.addresses;
        for index in change.going {
            // Closing first would reset clients that are connected and wait for accept.
            self.accept_from(index, LAST_ACCEPTS);
            self.listeners.remove(&self.ctx, index);
        }
    }

    /// Does all that may fail. What changes the process itself (its limit on core files) comes last.
    #[cold]
    fn get_ready(
        &mut self,
        settings: &mut Settings,
        wishes: Vec<Wish>,
    ) -> Result<(OwnedFd, CString, Bound), Error> {
        let root = instance::open_root(&settings.path)?;
        let log_file = instance::prepare_log(&settings.log_file)?;
        let workers = self.workers.pool().living();
        privilege::limit_handlers(settings, process::effective_uid(), workers);
        let change = self.bind_listeners(wishes)?;
        let listeners = self.listeners.all().len() - change.going.len();
        let limits = resolve::limits(settings, self.descriptor_limit, listeners, &self.ctx.log);
        match limits.and_then(|()| privilege::limit_cores(settings)) {
            Ok(()) => Ok((root, log_file, change)),
            Err(why) => {
                self.listeners.unbind(&change);
                Err(why)
            }
        }
    }
}
