//! The upgrade: the server before this one (*predecessor*) and the one that follows (*successor*), and what is
//! said between two servers. One of the parent's four owners.
//!
//! Nothing outside of this folder touches what stands here. SIGUSR2 starts the server's own program again, which
//! gets copies of all that cannot be had twice, and once it is ready the parked clients too. Nothing that is
//! copied is given up before the old server leaves, so whatever becomes of the new one, it can all be taken back,
//! unless that has a successor of its own by then.
//!
//! ```text
//! successor     seen from the old server
//! predecessor   seen from the new server
//! records       what one tells the other, byte by byte
//! program       starting the program again
//! ```

mod predecessor;
mod program;
pub mod records;
mod successor;

pub(in crate::parent) use predecessor::{Claims, FromPredecessor, Predecessor};
pub(in crate::parent) use successor::{End, FromSuccessor, Possessions, Step};

use super::context::Context;
use super::workers::Successors;
use crate::sys::passing::send_record;
use crate::sys::process::Pid;
use program::own_program;
use records::{Record, encode};
use std::path::PathBuf;
use successor::Successor;

/// First byte of what a server says to who waits for its start, a text follows: it is ready, it cannot
/// start. Once it is in charge it speaks in records.
pub(in crate::parent) const READY: u8 = b'+';
pub(in crate::parent) const FAILED: u8 = b'-';

/// What a server knows of those before and after it.
pub(in crate::parent) struct Upgrade {
    /// Where this program is found when it has been replaced.
    program: PathBuf,
    /// SIGUSR2 came; the last worker that is starting is waited for.
    is_due: bool,
    successor: Option<Successor>,
    predecessor: Option<Predecessor>,
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
    fn follower(&self) -> Option<Pid> {
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
    fn tell_follower(&self, follower: Option<Pid>) {
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
