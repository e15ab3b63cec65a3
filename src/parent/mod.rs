//! The parent: accepts, parks, hands over. It never reads a client's byte.
//!
//! One process, one thread, one loop (`turn`). What the parent holds belongs to five owners: folders with private
//! state, which only their own functions change. Owners do not know each other (`upgrade` alone has values of two
//! others in its records). The files beside them translate: what one owner's event means for another. The parent
//! never parses a request, never launches a handler, and never waits for anybody.
//!
//! ```text
//! turn                                one turn of the loop
//! serving, accepting                  clients to workers and back; clients in
//! lifecycle, reload, upgrading        what changes the server as a whole
//! commands, status                    what its user may ask
//! server                              the parent itself: the owners, and what only all together need
//! start, resolve, daemon, privilege,
//! inheritance                         from settings to a parent that serves
//!
//! connections                         owner: the clients' connections
//! workers                             owner: the processes that serve them
//! upgrade                             owner: the servers before and after this one
//! control                             owner: control socket, pid file, service manager
//! listeners                           owner: the sockets where clients connect
//!
//! context, life, token, error         what all of these share
//! ```

mod accepting;
mod commands;
mod connections;
mod context;
mod control;
mod daemon;
mod error;
mod inheritance;
mod life;
mod lifecycle;
mod listeners;
mod privilege;
mod reload;
mod resolve;
mod server;
mod serving;
mod start;
mod status;
mod token;
mod turn;
pub(crate) mod upgrade;
mod upgrading;
mod workers;

use crate::birth::WorkerMain;
use crate::settings::Settings;
use crate::sys::process;
pub(crate) use inheritance::Inheritance;
use life::Life;
use server::Parent;
pub(crate) use server::Reread;

/// Serves until it is told to stop; the exit status. `worker_main` is what a forked worker runs.
///
/// With `settings.daemon` this returns in the starting process too, once the daemon serves or has
/// said why it cannot.
pub(crate) fn serve(
    settings: Settings,
    inherited: Inheritance,
    worker_main: WorkerMain,
    reread: Reread,
) -> u8 {
    process::tighten_umask();
    let mut starter = match daemon::detach(settings.daemon, inherited.predecessor.as_ref()) {
        daemon::Detached::Starter(code) => return code,
        daemon::Detached::Server(starter) => starter,
    };
    let mut parent = match start::prepare(settings, inherited, (worker_main, reread), &mut starter)
    {
        Ok(parent) => parent,
        Err(error) => return starter.refuse(&error),
    };
    parent.workers.leave_alone(&parent.ctx, [None; 2]);
    parent.reconcile();
    while parent.ctx.life != Life::Over {
        if let Err(e) = parent.turn() {
            let log = &parent.ctx.log;
            log.error(format_args!("unable to wait for events: {e}"));
            parent.stop_at_once();
        }
    }
    parent.end()
}

impl Parent {
    /// Runs when the last worker has left; returns the exit status. Pid file, control socket and the files of
    /// listeners are removed when their owners are dropped.
    fn end(mut self) -> u8 {
        let successors = self.upgrade.successors();
        self.workers.end_all_orphans(&self.ctx, successors);
        let (log, pid) = (&self.ctx.log, process::pid());
        if self.upgrade.has_handed_over() {
            log.info(format_args!("left to its successor (pid {pid})"));
            return 0;
        }
        match self.failure.take() {
            Some(failure) => {
                if !self.starter.is_foreground() {
                    log.error(format_args!("{failure}"));
                }
                self.starter.refuse(&failure)
            }
            None => {
                log.info(format_args!("stopped (pid {pid})"));
                0
            }
        }
    }
}
