//! The successor: the line to it, and what it says there.

use super::records::{RECORD_BYTES, Record, decode};
use crate::parent::connections::Transfer;
use crate::parent::context::Context;
use crate::parent::token::Token;
use crate::sys::fd::AsFd;
use crate::sys::passing::receive_record;
use crate::sys::process::Pid;
use crate::sys::readiness::Interest;
use crate::sys::time::Moment;
use std::os::fd::OwnedFd;

/// First byte of what a new server says to the process that waits for its start: it is ready, or it cannot start. A
/// text follows. Once the server is in charge it speaks in records.
pub(in crate::parent) const READY: u8 = b'+';
pub(in crate::parent) const FAILED: u8 = b'-';

/// What the new server has said.
pub(in crate::parent) enum FromSuccessor {
    /// It is ready.
    Ready,
    /// It was told to stop.
    Stopping,
    /// It leaves, and gives back a client that was handed on to it and that it had not taken yet.
    Client(Transfer, OwnedFd, Option<OwnedFd>),
}

/// The new server.
pub(super) struct Successor {
    pub(super) pid: Pid,
    pub(super) socket: OwnedFd,
    /// It must be ready by then.
    pub(super) until: Moment,
    /// It is in charge.
    pub(super) is_settled: bool,
    /// A client was handed on to it.
    pub(super) has_clients: bool,
    /// Its own successor, if it has left everything to that.
    pub(super) next: Option<Pid>,
    /// Why it cannot start, in its own words.
    pub(super) why: String,
}

impl Successor {
    /// Its process id, if it has everything.
    pub(super) fn follower(&self) -> Option<Pid> {
        self.is_settled.then_some(self.pid)
    }

    /// Its process id, and that of its own successor.
    pub(super) fn pids(&self) -> [Option<Pid>; 2] {
        [Some(self.pid), self.next]
    }

    pub(super) fn arm(&self, ctx: &Context, interest: Interest) {
        let token = Token::Successor.number();
        let _ = ctx.readiness.rearm(self.socket.as_fd(), token, interest);
    }

    /// The next thing that a successor says that is in charge.
    pub(super) fn hear_record(&mut self, ctx: &Context) -> Option<FromSuccessor> {
        loop {
            let mut bytes = [0; RECORD_BYTES];
            let received = match receive_record(self.socket.as_fd(), &mut bytes) {
                Ok(received) if received.len > 0 => received,
                Ok(_) => return None,
                Err(_) => {
                    self.arm(ctx, Interest::Read);
                    return None;
                }
            };
            match (decode(&bytes), received.passed) {
                (Some(Record::Stopping), _) => return Some(FromSuccessor::Stopping),
                (Some(Record::Follower(next)), _) => self.next = next,
                (Some(Record::Client(transfer)), [Some(client), spool]) => {
                    return Some(FromSuccessor::Client(transfer, client, spool));
                }
                _ => {}
            }
        }
    }
}
