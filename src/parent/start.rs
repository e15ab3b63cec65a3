//! From settings to a parent that can serve. Parent only, once, at start.
//!
//! Everything made here goes when its owner is dropped, so a start that fails leaves nothing
//! behind. Refuses to log before the log is there: what has to be said until then is kept.

use super::daemon::Starter;
use super::elder::{Claims, Elder};
use super::listeners::{self, Listener};
use super::privilege::Privileges;
use super::{
    Estate, Inheritance, Parent, Reread, control, heir, house, life, lot, notify, orphans, pool,
    resolve, rest, token, wheel,
};
use crate::birth::WorkerMain;
use crate::instance::{self, PidFile, UnixSocket};
use crate::log::{Log, Stderr};
use crate::scoreboard::{Scoreboard, Spooled};
use crate::settings::Settings;
use crate::sys::fd::AsFd;
use crate::sys::file::{self, Open};
use crate::sys::readiness::Readiness;
use crate::sys::time::{self, Moment};
use crate::sys::{self, machine, privilege, proc, process, random, signal, socket};
use std::ffi::{CString, OsString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Workers that have not said a word by then never will.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the server cannot start; one line.
#[derive(Debug)]
pub(super) enum Error {
    /// What it owns on disk.
    Instance(instance::Error),
    /// A listener: its address as it was given.
    Listen(String, sys::Error),
    /// A call that needs no object: what was to be done.
    Call(&'static str, sys::Error),
    /// The descriptor limit is below what the server needs for itself.
    FewDescriptors(u64),
    /// A descriptor of the service manager: its place, and what is wrong with it.
    Given(usize, &'static str),
    /// The server before and this one do not agree.
    Upgrade(&'static str),
    /// More than a number per listener allows.
    ManyListeners,
    /// A user of this name.
    User(OsString, sys::Error),
    /// A call with a path: what was to be done with it.
    File(&'static str, PathBuf, sys::Error),
    /// Workers: how the first one that failed ended.
    Workers(String),
}

impl From<instance::Error> for Error {
    fn from(error: instance::Error) -> Self {
        Self::Instance(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(error) => error.fmt(f),
            Self::Listen(address, why) => {
                let way_out = listeners::way_out(why.errno);
                write!(f, "unable to listen on {address}: {why}; {way_out}")
            }
            Self::Call(what, why) => write!(f, "unable to {what}: {why}"),
            Self::User(name, why) => {
                let name = name.display();
                write!(
                    f,
                    "unable to find user {name}: {why}; give USER:GROUP in numbers"
                )
            }
            Self::File(what, path, why) => write!(f, "unable to {what} {}: {why}", path.display()),
            Self::FewDescriptors(limit) => write!(
                f,
                "unable to serve with a descriptor limit of {limit}; raise it with ulimit -n"
            ),
            Self::Given(place, is) => write!(f, "descriptor {place} of LISTEN_FDS is {is}"),
            Self::Upgrade(why) => write!(f, "unable to take over: {why}"),
            Self::ManyListeners => f.write_str("unable to listen on more than 256 addresses"),
            Self::Workers(how) => write!(f, "unable to start workers: {how}"),
        }
    }
}

pub(super) fn call(what: &'static str) -> impl Fn(sys::Error) -> Error {
    move |why| Error::Call(what, why)
}

/// What is on disk and in the kernel before anything else.
struct Ground {
    claims: Claims,
    root: OwnedFd,
    log: Log,
}

/// Workers run in the handlers' folder and a daemon in the root, so no name may begin where the
/// server was started.
pub(super) fn make_absolute(settings: &mut Settings) {
    let paths = [&mut settings.path, &mut settings.log_file];
    let binds = settings.bind.iter_mut().filter_map(|bind| match bind {
        crate::settings::Bind::Unix(path) => Some(path),
        crate::settings::Bind::Tcp { .. } => None,
    });
    let others = [
        settings.pid_file.as_mut(),
        Some(&mut settings.socket).filter(|path| !socket::is_abstract(path)),
        settings.config.as_mut(),
        settings.chroot.as_mut(),
    ];
    let others = others.into_iter().flatten();
    for path in paths.into_iter().chain(binds).chain(others) {
        if let Ok(absolute) = std::path::absolute(&*path) {
            *path = absolute;
        }
    }
}

/// The folder that the server was started in. A daemon leaves it: the file system that the starting
/// shell happened to be in can be unmounted then.
fn leave_folder(is_daemon: bool) -> PathBuf {
    let folder = std::env::current_dir().unwrap_or_default();
    if is_daemon {
        let _ = std::env::set_current_dir("/");
    }
    folder
}

/// Makes the parent; the starter goes along with it.
pub(super) fn prepare(
    mut settings: Settings,
    mut inherited: Inheritance,
    (worker_main, reread): (WorkerMain, Reread),
    starter: &mut Starter,
) -> Result<Parent, Error> {
    let upgrade = heir::Upgrade::new(inherited.elder.take().map(Elder::new));
    make_absolute(&mut settings);
    let folder = leave_folder(settings.daemon);
    let stderr = starter.is_foreground().then(Stderr::take).flatten();
    let (privileges, oom_score) = Privileges::prepare(&mut settings)?;
    // First of all: a signal during the start must not leave files behind.
    let signals = signal::to_pipe().map_err(call("set up signals"))?;
    let limit = resolve::raise_descriptor_limit().map_err(call("raise the descriptor limit"))?;
    let (elder, basis) = (upgrade.elder.as_ref(), (inherited, privileges));
    let Ground { claims, root, log } = lay_ground(&mut settings, elder, basis, stderr)?;
    let count = claims.listeners.len();
    resolve::limits(&mut settings, limit.now, count, &log)?;
    let most = settings.limits.max_workers.unwrap_or(settings.workers);
    // One more: while a worker is replaced there are two.
    let scoreboard = Scoreboard::new(most + 1).map_err(call("share memory with workers"))?;
    let readiness = first_watched(&signals, &claims.meeting, elder)?;
    let own = claims.pid_file.as_ref().filter(|_| !upgrade.is_follower);
    own.map(|own| own.write(process::pid())).transpose()?;
    let now = time::now();
    Ok(Parent {
        state: life::State::Starting(now.after(START_TIMEOUT)),
        now,
        started: now,
        reread,
        folder,
        descriptor_limit: limit.now,
        upgrade,
        is_reload_due: false,
        readiness,
        events: Vec::new(),
        signals,
        meeting: claims.meeting,
        pid_file: claims.pid_file,
        lot: lot::Lot::new(),
        wheel: wheel::Wheel::new(now),
        house: house::House::new(&settings.limits, &settings.trusted_proxies),
        pool: pool::Pool::new(most),
        rest: rest::Rest::default(),
        orphans: orphans::Orphans::new(),
        control: control::Control::default(),
        notify: notify::Notify::new(now, &log),
        watch_at: None,
        log_reopened: Moment::default(),
        spooled: Spooled::default(),
        accepted: claims.accepted,
        starter: std::mem::take(starter),
        failure: None,
        oom_score,
        estate: Estate {
            secret: random::number(),
            addresses: claims.addresses,
            handler_descriptor_limit: limit.original,
            scoreboard,
            log,
            root,
            settings,
            worker_main,
            cpus: machine::cpus(),
        },
        listeners: claims.listeners,
    })
}

/// What this process is to be, before it forks: where a system lacks or forbids a call, the log says what is
/// not as it should be.
#[cold]
fn set_up_process(log: &Log, is_traceable: bool) {
    for (result, means) in [
        (
            process::become_subreaper(),
            "what a handler leaves in a session of its own is not ended",
        ),
        (
            proc::ask_for_proc(),
            "what a handler leaves behind is not found, and not ended",
        ),
        (
            process::ask_signal_with_parent(),
            "a handler whose worker is killed goes on until the parent ends it",
        ),
        (
            privilege::set_traceable(is_traceable),
            "handlers may trace the server and read its memory",
        ),
    ] {
        if let Err(why) = result {
            log.warn(format_args!("this system lacks something ({why}): {means}"));
        }
    }
}

fn first_watched(
    signals: &OwnedFd,
    meeting: &UnixSocket,
    elder: Option<&Elder>,
) -> Result<Readiness, Error> {
    let mut first = vec![
        (signals.as_fd(), token::Token::Signals.number()),
        (meeting.listener.as_fd(), token::Token::Meeting.number()),
    ];
    first.extend(elder.map(|elder| (elder.fd(), token::Token::Elder.number())));
    Readiness::of(&first).map_err(call("make the readiness set"))
}

const SOCKET: &str = "--socket";

/// The pid file first: of two servers that start at once, its lock lets one go on. All but the
/// listeners is made as the user whom the server becomes, who has to open and remove it later.
fn claim(
    settings: &Settings,
    given: Vec<OwnedFd>,
    privileges: &Privileges,
) -> Result<Claims, Error> {
    privileges.assume()?;
    let pid_file = match settings.pid_file.as_deref().map(PidFile::take) {
        Some(Err(why)) if why.is_no_place() => None,
        other => other.transpose()?,
    };
    let meeting = match UnixSocket::bind(&settings.socket, true, SOCKET) {
        Err(why) if why.is_no_place() => {
            let name = instance::unplaced(&settings.socket).ok_or(why)?;
            UnixSocket::bind(&name, true, SOCKET)?
        }
        other => other?,
    };
    privileges.resume()?;
    let bound = if given.is_empty() {
        listeners::bind(listeners::wishes(&settings.bind, settings.port))?
    } else {
        listeners::given(given)?
    };
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    for listener in bound {
        if !listeners::enroll(&mut listeners, listener, &mut addresses, &|_| false) {
            return Err(Error::ManyListeners);
        }
    }
    Ok(Claims {
        pid_file,
        meeting,
        listeners,
        addresses,
        accepted: 0,
    })
}

fn lay_ground(
    settings: &mut Settings,
    elder: Option<&Elder>,
    (inherited, privileges): (Inheritance, Privileges),
    stderr: Option<Stderr>,
) -> Result<Ground, Error> {
    let claims = match elder {
        Some(elder) => elder.claims(settings)?,
        None => claim(settings, inherited.listeners, &privileges)?,
    };
    settings.socket = claims.meeting.path().to_path_buf();
    privileges.give_up(settings)?;
    let null = Path::new("/dev/null");
    let failed = |why| Error::File("open", null.to_path_buf(), why);
    file::open_at(None, c"/dev/null", Open::Existing).map_err(failed)?;
    let root = instance::open_root(&settings.path)?;
    let log_file = instance::prepare_log(&settings.log_file)?;
    let log = Log::open(log_file, settings.log_level, stderr).map_err(call("open the log"))?;
    set_up_process(&log, settings.traceable);
    Ok(Ground { claims, root, log })
}

/// Where workers put what memory is too small for.
fn try_spool() -> Result<(), (PathBuf, sys::Error)> {
    let folder = std::env::temp_dir();
    let name = CString::new(folder.as_os_str().as_bytes()).unwrap_or_default();
    file::temporary_file(&name)
        .map(drop)
        .map_err(|why| (folder, why))
}

/// Warnings that belong to a start that went well.
pub(super) fn say_first_words(parent: &Parent) {
    let log = parent.log();
    match (&parent.pid_file, &parent.estate.settings.pid_file) {
        (Some(own), _) if own.was_stale => log.warn(format_args!(
            "replaced the pid file of a server that is gone"
        )),
        (None, Some(path)) => log.warn(format_args!(
            "unable to make {}, going on without: --stop and --reload will be refused",
            path.display()
        )),
        _ => {}
    }
    if let Err((folder, why)) = try_spool() {
        log.warn(format_args!(
            "unable to make a spool in {}: {why}; large bodies will be refused; name another with TMPDIR",
            folder.display()
        ));
    }
    if process::effective_uid() == 0 {
        log.warn(format_args!(
            "running as root: every handler runs as root too; give it a user with --user"
        ));
    }
    let estate = &parent.estate;
    resolve::sections(&estate.settings, estate.root.as_fd(), log);
}

/// The one line that says what is served where. Tests read the port from it.
pub(super) fn start_line(parent: &Parent) -> String {
    let settings = &parent.estate.settings;
    // Without the slash at the end that the default has.
    let folder = settings.path.components().as_path();
    let mut line = format!("serving {}", folder.display());
    for (i, listener) in parent.listeners.iter().enumerate() {
        line.push_str(if i == 0 { " on " } else { " " });
        line.push_str(&listener.shown());
    }
    let workers = settings.workers;
    let plural = if workers == 1 { "" } else { "s" };
    line.push_str(&format!(" with {workers} worker{plural}"));
    if parent.listeners.iter().any(Listener::is_wildcard) {
        line.push_str("; all addresses, handlers run without authentication");
    }
    let stop = if parent.starter.is_foreground() {
        "Ctrl-C or "
    } else {
        ""
    };
    line.push_str(&format!("; stop with {stop}kill {}", process::pid()));
    line
}
