//! The owner itself: who was before and who follows, and the order to upgrade.

use super::predecessor::Predecessor;
use super::program::own_program;
use super::records::{Record, encode};
use super::successor::Successor;
use crate::parent::context::{Context, Successors};
use crate::sys::passing::send_record;
use crate::sys::process::Pid;
use std::path::PathBuf;

/// What a server knows of those before and after it.
pub(in crate::parent) struct Upgrade {
    /// Where this program is found when it has been replaced.
    pub(super) program: PathBuf,
    /// SIGUSR2 came; the last worker that is starting is waited for.
    pub(super) is_due: bool,
    pub(super) successor: Option<Successor>,
    pub(super) predecessor: Option<Predecessor>,
    /// This server follows another one.
    is_follower: bool,
}

impl Upgrade {
    /// With the server before, if there is one.
    pub(in crate::parent) fn new(predecessor: Option<Predecessor>) -> Self {
        Self {
            program: own_program(),
            is_due: false,
            successor: None,
            is_follower: predecessor.is_some(),
            predecessor,
        }
    }

    /// Whether this server follows another one.
    pub(in crate::parent) fn is_follower(&self) -> bool {
        self.is_follower
    }

    /// The server before, while it is there.
    pub(in crate::parent) fn predecessor(&self) -> Option<&Predecessor> {
        self.predecessor.as_ref()
    }

    /// No worker is started meanwhile: the new server would be asked who it is.
    pub(in crate::parent) fn is_under_way(&self) -> bool {
        self.is_due || self.successor.is_some()
    }

    /// Everything is another server's.
    pub(in crate::parent) fn has_handed_over(&self) -> bool {
        self.follower().is_some()
    }

    /// Who has everything, if not this server.
    pub(super) fn follower(&self) -> Option<Pid> {
        let successor = self.successor.as_ref();
        successor.and_then(Successor::follower)
    }

    /// The new server, and the one that follows it: that is a child of this one as soon as the one between has
    /// gone.
    pub(in crate::parent) fn successors(&self) -> Successors {
        let successor = self.successor.as_ref();
        successor.map_or([None; 2], Successor::pids)
    }

    /// The order to stop has come: no upgrade begins any more, and the server before stops too.
    pub(in crate::parent) fn stop(&mut self) {
        self.is_due = false;
        if let Some(predecessor) = &self.predecessor {
            let _ = send_record(predecessor.fd(), &encode(&Record::Stopping), &[]);
        }
    }

    /// Tells the server before who has everything now: should this one be killed, that is its successor.
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
            // Inside, whoever may write there could have put another program in its place.
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
