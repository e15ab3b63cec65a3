//! The parent: accepts, parks, hands over. It never reads a client's byte.
//!
//! One process, one thread, one loop (`turn`). The files below share the struct `Parent`; each
//! holds one purpose of it. Refuses to parse, to launch, and to wait for anybody.
//!
//! ```text
//! start, resolve, listeners, daemon   from settings to a parent that serves
//! privilege                           what it gives up before that
//! turn, token                         one turn of the loop
//! clients, park, dispatch, hear       a connection's way: in, parked, to a worker, back
//! rest                                the way on which less is said
//! lot, wheel, house, canned           where they are, their deadlines, how many, last words
//! workers, pool, orphans, watch       the processes
//! verdict                             the decisions, as a table
//! control, status, life               what its user may ask; from Serving to the end
//! heir, elder, restart, handover      the upgrade: old and new server, what is said
//! inheritance, notify                 from and to the service manager
//! reload                              other settings, listeners and workers on the way
//! ```

mod account;
mod canned;
mod clients;
mod control;
mod daemon;
mod dispatch;
mod elder;
pub mod handover;
mod hear;
mod heir;
mod house;
mod inheritance;
mod life;
mod listeners;
mod lot;
mod notify;
mod orphans;
mod park;
mod pool;
mod privilege;
mod reload;
mod resolve;
mod rest;
mod restart;
mod stalled;
mod start;
mod status;
mod token;
mod turn;
mod verdict;
mod watch;
mod wheel;
mod workers;

use crate::birth::WorkerMain;
use crate::instance::{PidFile, UnixSocket};
use crate::log::Log;
use crate::scoreboard::{Scoreboard, Spooled};
use crate::settings::Settings;
use crate::sys::process::{self, DescriptorLimit};
use crate::sys::readiness::{Event, Readiness};
use crate::sys::time::Moment;
pub use inheritance::Inheritance;
use std::net::SocketAddr;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What every worker is born with. Only a reload changes it, for those that are forked later.
struct Estate {
    settings: Settings,
    /// By which a worker is known where the kernel does not say who has connected.
    secret: u64,
    scoreboard: Scoreboard,
    log: Log,
    /// The folder with the handlers.
    root: OwnedFd,
    /// Where each listener is bound.
    addresses: Vec<Option<SocketAddr>>,
    /// The descriptor limit before the parent raised its own.
    handler_descriptor_limit: Option<DescriptorLimit>,
    worker_main: WorkerMain,
    /// CPUs that the server may use.
    cpus: NonZero<usize>,
}

/// The parent and everything it holds.
struct Parent {
    estate: Estate,
    state: life::State,
    /// The clock, read once per turn.
    now: Moment,
    started: Moment,
    /// How the settings are read again, and the folder that relative names in them begin in.
    reread: Reread,
    folder: PathBuf,
    /// The descriptor limit that the server has.
    descriptor_limit: u64,
    upgrade: heir::Upgrade,
    /// SIGHUP came before the server was ready.
    is_reload_due: bool,
    readiness: Readiness,
    events: Vec<Event>,
    signals: OwnedFd,
    listeners: Vec<listeners::Listener>,
    /// Where workers and controllers connect.
    meeting: UnixSocket,
    /// Held for its lock, removed at the end; `None`: none is wanted, or there was no place for it.
    pid_file: Option<PidFile>,
    lot: lot::Lot,
    wheel: wheel::Wheel,
    house: house::House,
    pool: pool::Pool,
    rest: rest::Rest,
    orphans: orphans::Orphans,
    oom_score: privilege::OomScore,
    control: control::Control,
    notify: notify::Notify,
    /// When workers are looked after next; `None` while none needs it.
    watch_at: Option<Moment>,
    /// When the log was last opened again; workers forked before it have to be told.
    log_reopened: Moment,
    /// What is in the spools that the parent holds alone.
    spooled: Spooled,
    /// Connections ever accepted.
    accepted: u64,
    /// Said once when the server is ready.
    starter: daemon::Starter,
    /// Why the server could not start.
    failure: Option<start::Error>,
}

/// Reads the settings of this process again, or says in one line what is wrong with them.
pub type Reread = fn() -> Result<Settings, String>;

/// Serves until it is told to stop; the exit status. `worker_main` is what a forked worker runs.
///
/// With `settings.daemon` this returns in the starting process too, once the daemon serves or has
/// said why it cannot.
pub fn serve(
    settings: Settings,
    inherited: Inheritance,
    worker_main: WorkerMain,
    reread: Reread,
) -> u8 {
    process::tighten_umask();
    let mut starter = match daemon::detach(settings.daemon, inherited.elder.as_ref()) {
        daemon::Detached::Starter(code) => return code,
        daemon::Detached::Server(starter) => starter,
    };
    let mut parent = match start::prepare(settings, inherited, (worker_main, reread), &mut starter)
    {
        Ok(parent) => parent,
        Err(error) => return starter.refuse(&error),
    };
    parent.leave_alone();
    parent.reconcile();
    while parent.state != life::State::Over {
        if let Err(e) = parent.turn() {
            let log = &parent.estate.log;
            log.error(format_args!("unable to wait for events: {e}"));
            parent.stop_at_once();
        }
    }
    parent.end()
}

impl Parent {
    fn log(&self) -> &Log {
        &self.estate.log
    }

    /// After the last worker: the exit status. Files vanish with their owners.
    fn end(mut self) -> u8 {
        self.orphans_end();
        if self.is_bequeathed() {
            let pid = process::pid();
            self.log()
                .info(format_args!("left to its successor (pid {pid})"));
            return 0;
        }
        match self.failure.take() {
            Some(failure) => {
                if !self.starter.is_foreground() {
                    self.log().error(format_args!("{failure}"));
                }
                self.starter.refuse(&failure)
            }
            None => {
                let pid = process::pid();
                self.log().info(format_args!("stopped (pid {pid})"));
                0
            }
        }
    }
}
