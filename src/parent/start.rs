//! From settings to a parent that can serve: once, at the start.
//!
//! Every file made here is removed when its owner is dropped, so a start that fails leaves nothing behind. Until the
//! log is open nothing is logged: warnings of the start are said when the server is ready.

use super::connections::Connections;
use super::context::{Context, Turnover};
use super::control::{Control, Notify};
use super::daemon::Starter;
use super::error::{Error, call};
use super::inheritance::Inheritance;
use super::life::{Life, START_TIMEOUT};
use super::listeners::{self, Listener, Listeners};
use super::privilege::Privileges;
use super::resolve;
use super::server::{Parent, Reread};
use super::token::Token;
use super::upgrade::{Claims, Predecessor, Upgrade};
use super::workers::Workers;
use crate::birth::WorkerMain;
use crate::instance::{self, PidFile, UnixSocket};
use crate::log::{Log, Stderr};
use crate::scoreboard::Scoreboard;
use crate::settings::Settings;
use crate::sys::fd::AsFd;
use crate::sys::file::{self, Open};
use crate::sys::readiness::Readiness;
use crate::sys::time;
use crate::sys::{self, machine, privilege, proc, process, random, signal, socket};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What the server has on disk and in the kernel before anything else is made.
struct Ground {
    claims: Claims,
    root: OwnedFd,
    log: Log,
}

/// Makes all paths absolute: workers run in the handlers' folder and a daemon in the root, so a name that is
/// relative to the folder of the start would mean another file there.
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

/// The folder that the server was started in. A daemon leaves it, so that its file system can be unmounted.
fn leave_folder(is_daemon: bool) -> PathBuf {
    let folder = std::env::current_dir().unwrap_or_default();
    if is_daemon {
        let _ = std::env::set_current_dir("/");
    }
    folder
}

/// Makes the parent, which takes the starter over.
pub(super) fn prepare(
    mut settings: Settings,
    mut inherited: Inheritance,
    (worker_main, reread): (WorkerMain, Reread),
    starter: &mut Starter,
) -> Result<Parent, Error> {
    let upgrade = Upgrade::new(inherited.predecessor.take().map(Predecessor::new));
    make_absolute(&mut settings);
    let folder = leave_folder(settings.daemon);
    let stderr = starter.is_foreground().then(Stderr::take).flatten();
    let (privileges, oom_score) = Privileges::prepare(&mut settings)?;
    // First of all: a signal during the start must not leave files behind.
    let signals = signal::to_pipe().map_err(call("set up signals"))?;
    let limit = resolve::raise_descriptor_limit().map_err(call("raise the descriptor limit"))?;
    let (predecessor, basis) = (upgrade.predecessor(), (inherited, privileges));
    let Ground { claims, root, log } = lay_ground(&mut settings, predecessor, basis, stderr)?;
    let count = claims.listeners.len();
    resolve::limits(&mut settings, limit.now, count, &log)?;
    let most = settings.limits.max_workers.unwrap_or(settings.workers);
    // One slot more than workers: while a worker is replaced there are two.
    let scoreboard = Scoreboard::new(most + 1).map_err(call("share memory with workers"))?;
    let readiness = first_watched(&signals, &claims.control, predecessor)?;
    let own = claims.pid_file.as_ref().filter(|_| !upgrade.is_follower());
    own.map(|own| own.write(process::pid())).transpose()?;
    let now = time::now();
    let notify = Notify::new(now, &log);
    let (limits, proxies) = (&settings.limits, &settings.trusted_proxies);
    Ok(Parent {
        connections: Connections::new(limits, proxies, claims.accepted, now),
        workers: Workers::new(most, oom_score),
        upgrade,
        control: Control::new(claims.control, claims.pid_file, notify),
        listeners: Listeners::new(claims.listeners),
        signals,
        events: Vec::new(),
        started: now,
        reread,
        folder,
        descriptor_limit: limit.now,
        is_reload_due: false,
        starter: std::mem::take(starter),
        failure: None,
        ctx: Context {
            secret: random::number(),
            addresses: claims.addresses,
            handler_descriptor_limit: limit.original,
            scoreboard,
            log,
            root,
            settings,
            worker_main,
            cpus: machine::cpus(),
            readiness,
            now,
            life: Life::Starting(now.after(START_TIMEOUT)),
            turnover: Turnover::default(),
        },
    })
}

/// What this process has to be before it forks. Where a system lacks or forbids a call, a WARN says what is different
/// then.
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
    control: &UnixSocket,
    predecessor: Option<&Predecessor>,
) -> Result<Readiness, Error> {
    let mut first = vec![
        (signals.as_fd(), Token::Signals.number()),
        (control.listener.as_fd(), Token::Control.number()),
    ];
    first.extend(predecessor.map(|p| (p.fd(), Token::Predecessor.number())));
    Readiness::of(&first).map_err(call("make the readiness set"))
}

const SOCKET: &str = "--socket";

/// Makes pid file, control socket and listeners. The pid file comes first: of two servers that start at once, its lock
/// lets one go on. All but the listeners is made as the user that the server becomes, since that user has to open and
/// remove it later.
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
    let control = match UnixSocket::bind(&settings.socket, true, SOCKET) {
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
        control,
        listeners,
        addresses,
        accepted: 0,
    })
}

fn lay_ground(
    settings: &mut Settings,
    predecessor: Option<&Predecessor>,
    (inherited, privileges): (Inheritance, Privileges),
    stderr: Option<Stderr>,
) -> Result<Ground, Error> {
    let claims = match predecessor {
        Some(predecessor) => predecessor.claims(settings)?,
        None => claim(settings, inherited.listeners, &privileges)?,
    };
    settings.socket = claims.control.path().to_path_buf();
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

/// Whether workers can make a spool on disk.
fn try_spool() -> Result<(), (PathBuf, sys::Error)> {
    let folder = std::env::temp_dir();
    let name = CString::new(folder.as_os_str().as_bytes()).unwrap_or_default();
    file::temporary_file(&name)
        .map(drop)
        .map_err(|why| (folder, why))
}

/// Warnings that belong to a start that went well.
pub(super) fn say_first_words(parent: &Parent) {
    let (ctx, log) = (&parent.ctx, &parent.ctx.log);
    match (parent.control.pid_file(), &ctx.settings.pid_file) {
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
    resolve::sections(&ctx.settings, ctx.root.as_fd(), log);
}

/// The one line that says what is served where. Tests read the port from it.
pub(super) fn start_line(parent: &Parent) -> String {
    let settings = &parent.ctx.settings;
    // Without the slash at the end that the default has.
    let folder = settings.path.components().as_path();
    let mut line = format!("serving {}", folder.display());
    for (i, listener) in parent.listeners.all().iter().enumerate() {
        line.push_str(if i == 0 { " on " } else { " " });
        line.push_str(&listener.shown());
    }
    let workers = settings.workers;
    let plural = if workers == 1 { "" } else { "s" };
    line.push_str(&format!(" with {workers} worker{plural}"));
    let all = parent.listeners.all().iter().map(Listener::takes_all);
    let which = match all.fold((false, false), |(v4, v6), (a, b)| (v4 | a, v6 | b)) {
        (true, true) => "all addresses",
        (true, false) => "all IPv4 addresses",
        (false, true) => "all IPv6 addresses",
        (false, false) => "",
    };
    if !which.is_empty() {
        line.push_str(&format!("; {which}, handlers run without authentication"));
    }
    let stop = if parent.starter.is_foreground() {
        "Ctrl-C or "
    } else {
        ""
    };
    line.push_str(&format!("; stop with {stop}kill {}", process::pid()));
    line
}
