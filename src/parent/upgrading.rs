//! The steps of an upgrade that concern more than what two servers say to each other: which of them accepts, which
//! has pid file and control socket, and which serves the clients.

use super::error::Error;
use super::life::{Life, START_TIMEOUT};
use super::listeners::wishes;
use super::server::Parent;
use super::upgrade::{End, FromPredecessor, FromSuccessor, Possessions, Step};
use super::workers::How;
use crate::instance::UnixSocket;
use crate::sys::fd::AsFd;
use crate::sys::process::{self, Ended, Pid};

/// The most messages of the predecessor that are taken in one turn; most of them bring a client.
const BATCH: usize = 128;

impl Parent {
    /// The next steps of an upgrade, once per turn.
    pub(super) fn go_on_with_upgrade(&mut self) {
        let is_calm = self.workers.pool().starting() == 0;
        match self.upgrade.next_step(&self.ctx, is_calm) {
            Step::None => {}
            Step::Begin => self.begin_upgrade(),
            Step::HandOver => self.hand_clients_on(),
            Step::Late => {
                let seconds = START_TIMEOUT.as_secs();
                self.take_back(&format!("the new server was not ready within {seconds} s"));
            }
        }
    }

    #[cold]
    fn begin_upgrade(&mut self) {
        let has = Possessions {
            folder: &self.folder,
            pid_file: self.control.pid_file().map(|own| own.file().as_fd()),
            control: self.control.fd(),
            listeners: self.listeners.all(),
            accepted: self.connections.accepted(),
        };
        if self.upgrade.begin(&self.ctx, &has) {
            // The new server's workers connect there, and this server would take them for callers.
            self.control.unwatch(&self.ctx);
        }
    }

    /// The new server has said something, or has room for more clients.
    #[cold]
    pub(super) fn hear_successor(&mut self) {
        while let Some(said) = self.upgrade.hear_successor(&self.ctx) {
            match said {
                FromSuccessor::Ready => self.give_way(),
                FromSuccessor::Stopping => self.drain(),
                FromSuccessor::Client(transfer, client, spool) => {
                    self.connections
                        .take_on(&self.ctx, &transfer, client, spool);
                    self.keep_within_limit();
                }
            }
        }
    }

    /// The new server is ready: from now on it accepts, and this one only finishes the requests that its workers
    /// have.
    #[cold]
    fn give_way(&mut self) {
        let Some(pid) = self.upgrade.settle() else {
            return;
        };
        self.set_own(false);
        self.control.write_pid(&self.ctx, pid);
        self.control.notify.say(&format!("MAINPID={pid}"));
        let (clients, busy) = (self.connections.open(), self.workers.pool().busy());
        self.ctx.log.info(format_args!(
            "upgraded: {pid} serves now; of {clients} connections it gets all but {busy}, which are served here first"
        ));
        self.listeners.unwatch(&self.ctx);
        self.ctx.life = Life::HandingOver;
        for slot in self.workers.pool().slots() {
            self.dismiss(slot);
        }
    }

    /// Hands every client on that no worker has, until the new server's socket is full.
    fn hand_clients_on(&mut self) {
        while let Some(id) = self.connections.next_to_transfer()
            && let Some(passed) = self.connections.transfer(id)
            && self.upgrade.hand_on(&self.ctx, passed)
        {
            self.connections.forget(&self.ctx, id);
        }
    }

    /// Whether this server is the one that removes pid file, control socket and the files of listeners at its end.
    #[cold]
    fn set_own(&mut self, is_own: bool) {
        self.control.set_own(is_own);
        self.listeners.set_own(is_own);
    }

    /// The successor has ended, or the one that follows that.
    #[cold]
    pub(super) fn bury_successor(&mut self, pid: Pid, ended: Ended) {
        // What it has said last may have come together with the signal.
        self.hear_successor();
        let how = How(ended);
        match self.upgrade.note_end(&self.ctx, pid) {
            End::OfAnother => {}
            End::Followed { was, now } => {
                self.ctx.log.warn(format_args!(
                    "the new server ({was}) {how}: its successor ({now}) serves on"
                ));
                self.end_what_is_left(ended);
            }
            // A new server that leaves in good order was told to stop. So this one is to stop too.
            End::Settled { .. } if ended == Ended::Exited(0) || self.ctx.is_stopping() => {
                self.outlive_successor(ended);
            }
            End::Settled { pid } => self.take_back(&format!("the new server ({pid}) {how}")),
            End::Early { pid, why } => {
                let colon = if why.is_empty() { "" } else { ": " };
                self.take_back(&format!(
                    "the new server ({pid}) {how} before it was ready{colon}{why}"
                ));
            }
        }
    }

    /// A successor has ended: what its handlers have left becomes this server's child, and is ended unless it may
    /// stay.
    fn end_what_is_left(&mut self, ended: Ended) {
        let successors = self.upgrade.successors();
        match ended {
            // It has ended all that may not stay itself.
            Ended::Exited(0) => self.workers.adopt_detached(&self.ctx, successors, None),
            _ => self.workers.end_orphans(&self.ctx, successors, None),
        }
    }

    /// The upgrade has failed: this server goes on as before.
    #[cold]
    pub(super) fn take_back(&mut self, why: &str) {
        if self.upgrade.drop_successor(&self.ctx).is_none() {
            return;
        }
        self.ctx
            .log
            .error(format_args!("unable to upgrade, going on as before: {why}"));
        let has_given_way = self.ctx.life == Life::HandingOver;
        self.upgrade.note_failure();
        if has_given_way {
            self.ctx.life = Life::Serving;
            self.set_own(true);
            self.control.write_pid(&self.ctx, process::pid());
            self.control.notify.ready(self.workers.pool().living());
        }
        if self.listeners.paused_until().is_none() {
            self.control.watch(&self.ctx);
            if has_given_way {
                self.listeners.watch(&self.ctx);
            }
        }
        // The new server, if it still runs, and what it has started or has left.
        let successors = self.upgrade.successors();
        self.workers.end_orphans(&self.ctx, successors, None);
    }

    /// The server is to stop, and the new one has left first: clients that it has not taken are served here to the end.
    #[cold]
    fn outlive_successor(&mut self, ended: Ended) {
        self.drain();
        let Some(successor) = self.upgrade.drop_successor(&self.ctx) else {
            return;
        };
        self.end_what_is_left(ended);
        let (own, clients) = (process::pid(), self.connections.open());
        if ended != Ended::Exited(0) {
            self.set_own(true);
            self.control.write_pid(&self.ctx, own);
        } else if !self.ctx.life.is_leaving()
            // The new server has removed the control socket, by which new workers find this one: so it is made
            // again. If it is there after all, it is that of a further successor, or could not be removed and
            // still leads here.
            && let Ok(socket) = UnixSocket::bind(self.control.path(), true, "--socket")
        {
            self.control.replace_socket(socket);
        }
        if self.listeners.paused_until().is_none() {
            self.control.watch(&self.ctx);
        }
        self.control.notify.say(&format!(
            "MAINPID={own}\nSTOPPING=1\nSTATUS=finishing requests"
        ));
        let how = How(ended);
        self.ctx.log.warn(format_args!(
            "the new server ({successor}) {how}: {clients} connections are served here to the end"
        ));
    }

    /// The predecessor has said something.
    #[cold]
    pub(super) fn hear_predecessor(&mut self) {
        if matches!(self.ctx.life, Life::Draining { until, .. } if until <= self.ctx.now) {
            // This server stops in this turn, and clients that it has not taken yet go back.
            return;
        }
        for _ in 0..BATCH {
            match self.upgrade.hear_predecessor(&self.ctx) {
                None => return,
                Some(FromPredecessor::Client((transfer, client, spool))) => {
                    self.connections
                        .take_on(&self.ctx, &transfer, client, spool);
                    self.keep_within_limit();
                }
                Some(FromPredecessor::Shortage(e)) => {
                    self.ctx
                        .log
                        .error(format_args!("unable to take a client on: {e}"));
                    self.make_room();
                }
                Some(FromPredecessor::Gone) => {
                    let why = Error::Upgrade("the server before is gone");
                    self.failure.get_or_insert(why);
                    return;
                }
            }
        }
    }

    /// Whether this server, which is ready, has to wait until its predecessor gives way. The first time the predecessor
    /// is told that it is ready.
    pub(super) fn waits_for_predecessor(&mut self, line: &str) -> bool {
        if self.upgrade.has_charge() {
            return false;
        }
        if self.upgrade.note_heard() {
            self.starter.announce(line);
        }
        true
    }

    /// The predecessor has given way: pid file, control socket and listeners are this server's.
    #[cold]
    pub(super) fn take_charge(&mut self) {
        self.set_own(true);
        // The predecessor has done so, unless it died.
        self.control.write_pid(&self.ctx, process::pid());
        let wishes = wishes(&self.ctx.settings.bind, self.ctx.settings.port);
        if let Err(e) = self.change_listeners(wishes) {
            self.ctx.log.error(format_args!("{e}"));
        }
    }

    /// While this server starts: whether its predecessor has given way, which may not have been heard yet. If so,
    /// clients and files are this server's, also if it is to stop now.
    #[cold]
    pub(super) fn become_server_if_due(&mut self) -> bool {
        if !self.upgrade.is_follower() {
            return false;
        }
        self.hear_predecessor();
        if self.upgrade.has_charge() {
            self.start_up();
        }
        self.ctx.life == Life::Serving
    }
}
