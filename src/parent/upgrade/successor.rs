//! The server that follows: its line, and what it says there.

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

/// First byte of what a server says to who waits for its start, a text follows: it is ready, it cannot
/// start. Once it is in charge it speaks in records.
pub(in crate::parent) const READY: u8 = b'+';
pub(in crate::parent) const FAILED: u8 = b'-';

/// What the new server has said.
pub(in crate::parent) enum FromSuccessor {
    /// It is ready.
    Ready,
    /// It was told to stop.
    Stopping,
    /// It leaves, and gives a client back that it had not read of yet.
    Client(Transfer, OwnedFd, Option<OwnedFd>),
}

/// The new server.
pub(super) struct Successor {
    pub(super) pid: Pid,
    pub(super) socket: OwnedFd,
    /// By then it must be ready.
    pub(super) until: Moment,
    /// It is in charge.
    pub(super) is_settled: bool,
    /// Somebody was handed on to it.
    pub(super) has_clients: bool,
    /// Whom it has left everything to itself.
    pub(super) next: Option<Pid>,
    /// Why it cannot start, in its own words.
    pub(super) why: String,
}

impl Successor {
    /// Itself, if it has everything.
    pub(super) fn follower(&self) -> Option<Pid> {
        self.is_settled.then_some(self.pid)
    }

    /// It, and who follows it.
    pub(super) fn pids(&self) -> [Option<Pid>; 2] {
        [Some(self.pid), self.next]
    }

    pub(super) fn arm(&self, ctx: &Context, interest: Interest) {
        let token = Token::Successor.number();
        let _ = ctx.readiness.rearm(self.socket.as_fd(), token, interest);
    }

    /// What a server says that is in charge.
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
