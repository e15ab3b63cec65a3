//! Reload: other settings while the server serves. Parent only.
//!
//! Everything that can fail is done before anything is changed: a configuration that is wrong, or
//! that the system refuses, leaves the old one in force. No client notices: listeners that stay are
//! never closed, and workers are replaced one by one. Refuses to change what others know the server
//! by (its pid file, its Unix socket).

use super::life::{LAST_ACCEPTS, State};
use super::listeners::{self, Listener, Wish};
use super::pool::{Duty, Step};
use super::start::{Error, make_absolute};
use super::{Parent, privilege, resolve};
use crate::instance;
use crate::scoreboard::Slot;
use crate::settings::Settings;
use crate::sys::fd::AsFd;
use crate::sys::socket;
use crate::sys::teardown::{self, Direction};
use crate::sys::{self, Errno, process};
use std::ffi::CString;
use std::fs;
use std::net::SocketAddr;
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
    // The one that stands in for it.
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

/// The listeners after a reload.
struct Change {
    /// Those of now that stay, by their place.
    stays: Vec<bool>,
    /// Those to be bound.
    new: Vec<Wish>,
}

/// Which listeners stay and which are new. One stays for each equal wish, and for one that names the
/// port that it was given.
#[cold]
fn compare(now: &[(Wish, Option<SocketAddr>)], wishes: Vec<Wish>) -> Change {
    let mut stays = vec![false; now.len()];
    let mut new = Vec::new();
    for wish in wishes {
        let is_it = |(had, address): &(Wish, Option<SocketAddr>)| {
            *had == wish
                || matches!((had, &wish), (Wish::Tcp(_), Wish::Tcp(a)) if *address == Some(*a))
        };
        let found = now
            .iter()
            .zip(&mut stays)
            .find(|(known, stays)| !**stays && is_it(known));
        match found {
            Some((_, stays)) => *stays = true,
            None => new.push(wish),
        }
    }
    Change { stays, new }
}

/// Listeners that are bound and not in charge yet.
struct Bound {
    /// They stand behind those of before.
    first_new: usize,
    /// Whom they take the place of, by number.
    going: Vec<u8>,
    /// What was known by number before.
    addresses: Vec<Option<SocketAddr>>,
}

/// Of these paths and the folders above them what is not there, the innermost first.
#[cold]
fn missing(paths: [&PathBuf; 2]) -> Vec<PathBuf> {
    let all = paths.iter().flat_map(|path| path.ancestors());
    all.filter(|path| path.symlink_metadata().is_err())
        .map(Path::to_path_buf)
        .collect()
}

/// Takes back what was made at them for nothing: folders that are empty, a file.
#[cold]
fn remove(paths: &[PathBuf]) {
    for path in paths {
        if fs::remove_dir(path).is_err() && path.metadata().is_ok_and(|m| m.len() == 0) {
            let _ = fs::remove_file(path);
        }
    }
}

/// The port that a wish names.
fn port_of(wish: &Wish) -> Option<u16> {
    match wish {
        Wish::Everywhere(port) => Some(*port),
        Wish::Tcp(address) => Some(address.port()),
        Wish::Unix(_) => None,
    }
}

impl Parent {
    /// SIGHUP, or the word on the Unix socket: reads the settings again and lives by them.
    ///
    /// # Errors
    /// Why the old ones stay in force; it is in the log too.
    #[cold]
    pub(super) fn reload(&mut self) -> Result<(), String> {
        match self.state {
            State::Starting(_) => {
                self.is_reload_due = true;
                return Ok(());
            }
            State::Serving => {}
            _ => return Err(String::from("the server is about to stop")),
        }
        self.notify_reloading();
        let changed = self.read_again().and_then(|settings| {
            let changed = self.change_to(settings);
            changed.map_err(|why| why.to_string())
        });
        match &changed {
            Ok(()) => {
                let workers = self.pool.living();
                self.log().info(format_args!(
                    "reloaded: {workers} workers are being replaced"
                ));
            }
            Err(why) => {
                self.log().error(format_args!(
                    "unable to reload, the old configuration stays in force: {why}"
                ));
                self.notify_ready();
            }
        }
        changed
    }

    /// A daemon has left the folder that relative names on its command line begin in.
    #[cold]
    fn read_again(&self) -> Result<Settings, String> {
        let is_daemon = self.estate.settings.daemon;
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
        let kept = keep_fixed(&self.estate.settings, &mut settings);
        let paths = missing([&settings.path, &settings.log_file]);
        let wishes = listeners::wishes(&settings.bind, settings.port);
        let ready = self.get_ready(&mut settings, wishes);
        let (root, log_file, change) = ready.inspect_err(|_| remove(&paths))?;
        // Nothing can fail from here on.
        self.settle_listeners(&change);
        self.log().change(log_file, settings.log_level);
        for key in kept {
            self.log()
                .warn(format_args!("{key} has changed: that takes a restart"));
        }
        resolve::sections(&settings, root.as_fd(), self.log());
        self.oom_score.change(&settings);
        self.house
            .set_limits(&settings.limits, &settings.trusted_proxies);
        let most = settings.limits.max_workers.unwrap_or(settings.workers);
        let slots = self.pool.set_most(most);
        self.estate.scoreboard.set_size(slots);
        self.estate.root = root;
        self.estate.settings = settings;
        self.pool.begin_edition();
        Ok(())
    }

    /// All that may fail; what is changed for all comes last.
    #[cold]
    fn get_ready(
        &mut self,
        settings: &mut Settings,
        wishes: Vec<Wish>,
    ) -> Result<(OwnedFd, CString, Bound), Error> {
        let root = instance::open_root(&settings.path)?;
        let log_file = instance::prepare_log(&settings.log_file)?;
        let workers = self.pool.living();
        privilege::limit_handlers(settings, process::effective_uid(), workers);
        let change = self.bind_listeners(wishes)?;
        let listeners = self.listeners.len() - change.going.len();
        let limits = resolve::limits(settings, self.descriptor_limit, listeners, self.log());
        match limits.and_then(|()| privilege::limit_cores(settings)) {
            Ok(()) => Ok((root, log_file, change)),
            Err(why) => {
                self.unbind(change);
                Err(why)
            }
        }
    }

    /// Changes the listeners, or nothing.
    #[cold]
    pub(super) fn change_listeners(&mut self, wishes: Vec<Wish>) -> Result<(), Error> {
        let change = self.bind_listeners(wishes)?;
        self.settle_listeners(&change);
        Ok(())
    }

    /// Binds new listeners, before old ones go.
    #[cold]
    fn bind_listeners(&mut self, wishes: Vec<Wish>) -> Result<Bound, Error> {
        let mut bound = Bound {
            first_new: self.listeners.len(),
            going: Vec::new(),
            addresses: self.estate.addresses.clone(),
        };
        let mut now = Vec::new();
        for listener in &self.listeners {
            let Some(wish) = listener.wish.clone() else {
                // The service manager has its own configuration for them.
                return Ok(bound);
            };
            now.push((wish, listener.address));
        }
        let change = compare(&now, wishes);
        let stay = self.listeners.iter().zip(&change.stays);
        bound.going = stay
            .filter(|(_, stays)| !**stays)
            .map(|(listener, _)| listener.index)
            .collect();
        match self.bind_all(change.new, &bound.going) {
            Ok(()) => Ok(bound),
            Err(why) => {
                self.unbind(bound);
                Err(why)
            }
        }
    }

    /// Those at a port of ours come last: once a port was shared, the kernel lets others of this user
    /// share it for as long as anybody listens there.
    #[cold]
    fn bind_all(&mut self, wishes: Vec<Wish>, going: &[u8]) -> Result<(), Error> {
        let is_beside = |wish: &Wish| self.with_port(wish, going).next().is_some();
        let (beside, plain): (Vec<Wish>, Vec<Wish>) = wishes.into_iter().partition(is_beside);
        for wish in plain.into_iter().chain(beside) {
            let listener = self.bind_new(wish, going)?;
            let known = |index| self.lot.is_from(index);
            let addresses = &mut self.estate.addresses;
            if !listeners::enroll(&mut self.listeners, listener, addresses, &known) {
                return Err(Error::ManyListeners);
            }
        }
        Ok(())
    }

    /// Those of ours that will go and have the port of a wish.
    fn with_port(&self, wish: &Wish, going: &[u8]) -> impl Iterator<Item = &Listener> {
        let port = port_of(wish);
        let going = self.listeners.iter().filter(|l| going.contains(&l.index));
        going.filter(move |l| port.is_some() && l.address.map(|a| a.port()) == port)
    }

    /// The listeners are as they were.
    #[cold]
    fn unbind(&mut self, bound: Bound) {
        self.listeners.truncate(bound.first_new);
        self.estate.addresses = bound.addresses;
        for listener in &self.listeners {
            // Else others of this user could take its clients.
            let _ = socket::share_port(listener.fd(), false);
        }
    }

    /// The new ones are in charge.
    #[cold]
    fn settle_listeners(&mut self, bound: &Bound) {
        for listener in self.listeners.iter().skip(bound.first_new) {
            let shown = listener.shown();
            self.log().info(format_args!("listening on {shown}"));
        }
        if self.house.paused_until().is_none() {
            self.watch_listeners_from(bound.first_new);
        }
        for index in &bound.going {
            self.dismiss_listener(*index);
        }
    }

    /// Binds a new listener, beside one of ours that will go if that has the port.
    #[cold]
    fn bind_new(&self, wish: Wish, going: &[u8]) -> Result<Listener, Error> {
        match Listener::bind(wish.clone(), false) {
            Err(Error::Listen(_, why)) if why.errno == Errno::ADDRINUSE => {}
            other => return other,
        }
        for listener in self.with_port(&wish, going) {
            let _ = socket::share_port(listener.fd(), true);
        }
        Listener::bind(wish, true)
    }

    /// Closing first would reset clients that are connected and wait for accept.
    #[cold]
    fn dismiss_listener(&mut self, index: u8) {
        self.accept_from(index, LAST_ACCEPTS);
        let place = self.listeners.iter().position(|l| l.index == index);
        if let Some(place) = place {
            let listener = self.listeners.remove(place);
            // Already out during a pause.
            let _ = self.readiness.forget(listener.fd());
            // Also for a server before this one that still has a copy.
            let _ = teardown::shutdown(listener.fd(), Direction::Both);
            let shown = listener.shown();
            self.log()
                .info(format_args!("no longer listening on {shown}"));
        }
    }

    /// The next steps of replacing workers that have older settings, once per turn.
    pub(super) fn replace_outdated(&mut self) {
        if self.state != State::Serving {
            return;
        }
        loop {
            match self.pool.next_step(self.estate.settings.workers) {
                Step::Dismiss(slot) => self.dismiss(slot),
                Step::Start => {
                    if self.pool.pace.allows(1, self.now) > 0 {
                        self.start_worker();
                    }
                    return;
                }
                Step::Done => {
                    self.log()
                        .info(format_args!("every worker has the new configuration"));
                    self.notify_ready();
                    // Those may go on whom only workers with older settings have held.
                    self.release_where_room();
                }
                Step::Nothing => return,
            }
        }
    }

    /// Tells a worker to leave, or marks it until it is free.
    pub(super) fn dismiss(&mut self, slot: Slot) {
        match self.pool.get(slot).map(|worker| worker.duty) {
            Some(Duty::Ready) => self.retire(slot),
            Some(Duty::Busy(_)) => {
                self.pool.dismiss(slot);
                self.must_speak(slot);
            }
            Some(Duty::Finishing) => self.pool.dismiss(slot),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_stays_for_each_equal_wish() {
        let at = |text: &str| Wish::Tcp(text.parse().unwrap());
        let unix = |path: &str| Wish::Unix(PathBuf::from(path));
        let bound = |text: &str| Some(text.parse().unwrap());
        let now = [
            (at("127.0.0.1:0"), bound("127.0.0.1:4000")),
            (at("127.0.0.1:80"), bound("127.0.0.1:80")),
            (unix("/a"), None),
            (at("127.0.0.1:0"), bound("127.0.0.1:4001")),
        ];
        for (wishes, stays, new) in [
            (
                vec![at("127.0.0.1:0"), at("127.0.0.1:0")],
                [true, false, false, true],
                vec![],
            ),
            (
                vec![at("127.0.0.1:0"), at("127.0.0.1:0"), at("127.0.0.1:0")],
                [true, false, false, true],
                vec![at("127.0.0.1:0")],
            ),
            (
                vec![unix("/a"), unix("/b"), at("127.0.0.1:4001")],
                [false, false, true, true],
                vec![unix("/b")],
            ),
            (
                vec![Wish::Everywhere(80)],
                [false; 4],
                vec![Wish::Everywhere(80)],
            ),
        ] {
            let change = compare(&now, wishes.clone());
            assert_eq!(change.stays, stays, "{wishes:?}");
            assert_eq!(change.new, new, "{wishes:?}");
        }
    }
}
