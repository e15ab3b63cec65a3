//! The owner itself: predecessor and successor, and the order to upgrade.

use super::predecessor::Predecessor;
use super::program::own_program;
use super::records::{Record, encode};
use super::successor::Successor;
use crate::parent::context::{Context, Successors};
use crate::sys::passing::send_record;
use crate::sys::process::Pid;
use std::path::PathBuf;

/// What a server knows of its predecessor and its successor.
pub(in crate::parent) struct Upgrade {
    /// The path of this program, where a new version is put.
    pub(super) program: PathBuf,
    /// SIGUSR2 has come, and the upgrade begins when no worker is starting.
    pub(super) is_due: bool,
    pub(super) successor: Option<Successor>,
    pub(super) predecessor: Option<Predecessor>,
    /// This server was started by an upgrade.
    is_follower: bool,
}

impl Upgrade {
    /// With the predecessor, if there is one.
    pub(in crate::parent) fn new(predecessor: Option<Predecessor>) -> Self {
        Self {
            program: own_program(),
            is_due: false,
            successor: None,
            is_follower: predecessor.is_some(),
            predecessor,
        }
    }

    /// Whether this server was started by an upgrade.
    pub(in crate::parent) fn is_follower(&self) -> bool {
        self.is_follower
    }

    /// The predecessor, while it is there.
    pub(in crate::parent) fn predecessor(&self) -> Option<&Predecessor> {
        self.predecessor.as_ref()
    }

    /// Whether an upgrade is under way. No worker is started meanwhile: it would connect to the control socket, where the
    /// new server listens too.
    pub(in crate::parent) fn is_under_way(&self) -> bool {
        self.is_due || self.successor.is_some()
    }

    /// Whether everything is the successor's.
    pub(in crate::parent) fn has_handed_over(&self) -> bool {
        self.follower().is_some()
    }

    /// The server that has everything, if it is not this one.
    pub(super) fn follower(&self) -> Option<Pid> {
        let successor = self.successor.as_ref();
        successor.and_then(Successor::follower)
    }

    /// The successor, and the successor's own one, which becomes a child of this server when the one between them has
    /// ended.
    pub(in crate::parent) fn successors(&self) -> Successors {
        let successor = self.successor.as_ref();
        successor.map_or([None; 2], Successor::pids)
    }

    /// The order to stop has come: no upgrade begins any more, and the predecessor is told to stop too.
    pub(in crate::parent) fn stop(&mut self) {
        self.is_due = false;
        if let Some(predecessor) = &self.predecessor {
            let _ = send_record(predecessor.fd(), &encode(&Record::Stopping), &[]);
        }
    }

    /// Tells the predecessor which server has everything now. Should this one be killed, that is the predecessor's
    /// successor.
    pub(super) fn tell_follower(&self, follower: Option<Pid>) {
        if let Some(predecessor) = &self.predecessor {
            let record = encode(&Record::Follower(follower));
            let _ = send_record(predecessor.fd(), &record, &[]);
        }
    }

    /// SIGUSR2. `can_begin`: the server serves.
    #[cold]
    pub(in crate::parent) fn order(&mut self, ctx: &Context, can_begin: bool) {
        if ctx.settings.chroot.is_some() {
            // Inside, somebody who may write there could have put another program in its place.
            ctx.log.error(format_args!(
                "unable to upgrade, going on as before: the program is outside of --chroot; restart the server instead"
            ));
        } else if can_begin && self.successor.is_none() {
            self.is_due = true;
        } else {
            ctx.log.warn(format_args!(
                "this is no time for an upgrade: SIGUSR2 ignored"
            ));
        }
    }
}
