//! What the new server says to the old one, and hears from it.

use super::owner::Upgrade;
use super::records::{RECORD_BYTES, Record, decode};
use crate::parent::connections::Transfer;
use crate::parent::context::Context;
use crate::parent::token::Token;
use crate::sys::Errno;
use crate::sys::fd::AsFd;
use crate::sys::passing::{receive_record, send_record};
use crate::sys::teardown::{self, Direction};
use std::os::fd::{BorrowedFd, OwnedFd};

/// A client that comes from another server, with its spool.
pub(in crate::parent) type Passed = (Transfer, OwnedFd, Option<OwnedFd>);

/// What the predecessor has said or done.
pub(in crate::parent) enum FromPredecessor {
    /// A client is this server's from now on.
    Client(Passed),
    /// A client has come for which there was no descriptor.
    Shortage(crate::sys::Error),
    /// It has ended before it gave way.
    Gone,
}

impl Upgrade {
    /// Whether there is a predecessor, which may still have clients for this server.
    pub(in crate::parent) fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Whether the predecessor, if there is one, has left everything to this server.
    pub(in crate::parent) fn has_charge(&self) -> bool {
        self.predecessor.as_ref().is_none_or(|p| p.has_yielded)
    }

    /// Whether the predecessor has to be told that this server is ready: true, once.
    pub(in crate::parent) fn note_heard(&mut self) -> bool {
        let predecessor = self.predecessor.as_mut();
        predecessor.is_some_and(|p| !std::mem::replace(&mut p.has_heard, true))
    }

    /// The next thing that the old server has said; `None`: nothing more now.
    #[cold]
    pub(in crate::parent) fn hear_predecessor(&mut self, ctx: &Context) -> Option<FromPredecessor> {
        loop {
            let predecessor = self.predecessor.as_mut()?;
            let mut bytes = [0; RECORD_BYTES];
            let received = match receive_record(predecessor.socket.as_fd(), &mut bytes) {
                Ok(received) if received.len > 0 => received,
                Err(e) if e.is_would_block() => return None,
                Err(e) if e.errno == Errno::MFILE => return Some(FromPredecessor::Shortage(e)),
                _ => {
                    return self.next_predecessor(ctx).then_some(FromPredecessor::Gone);
                }
            };
            match (decode(&bytes), received.passed) {
                (Some(Record::Go), _) => predecessor.has_yielded = true,
                (Some(Record::Before), [Some(line), _]) => predecessor.before.push(line),
                (Some(Record::Client(transfer)), [Some(client), spool])
                    if spool.is_some() || !transfer.needs_spool() =>
                {
                    return Some(FromPredecessor::Client((transfer, client, spool)));
                }
                _ => {
                    ctx.log
                        .error(format_args!("the server before says nonsense"));
                    self.forget_predecessor(ctx);
                }
            }
        }
    }

    /// The old server has gone: listens to its predecessor, if it had one, which may still have clients. If this server was
    /// not in charge yet, that one has taken everything back, or says *go*. True if this server is not in charge and
    /// nobody is left who could say so.
    #[cold]
    fn next_predecessor(&mut self, ctx: &Context) -> bool {
        let Some(mut predecessor) = self.predecessor.take() else {
            return false;
        };
        let _ = ctx.readiness.forget(predecessor.socket.as_fd());
        if predecessor.before.is_empty() {
            return predecessor.is_second_hand && !predecessor.has_yielded;
        }
        predecessor.socket = predecessor.before.remove(0);
        predecessor.is_second_hand = true;
        let token = Token::Predecessor.number();
        if let Err(e) = ctx.readiness.watch(predecessor.fd(), token) {
            ctx.log
                .error(format_args!("unable to take clients on: {e}"));
            return false;
        }
        self.predecessor = Some(predecessor);
        if let Some(follower) = self.follower() {
            self.tell_follower(Some(follower));
        }
        false
    }

    /// Takes nothing more from the predecessor.
    fn forget_predecessor(&mut self, ctx: &Context) {
        if let Some(predecessor) = self.predecessor.take() {
            let _ = ctx.readiness.forget(predecessor.socket.as_fd());
        }
    }

    /// This server stops, so it would not serve clients that the old one still sends. The old one gets those back that
    /// this one has not taken yet, and keeps the rest. If the old one has gone, they are this server's: those are
    /// returned.
    #[cold]
    pub(in crate::parent) fn give_back(&mut self, ctx: &Context) -> Vec<Passed> {
        let mut own = Vec::new();
        // If everything is a successor's, that reads the line.
        let is_last = !self.has_handed_over();
        if let Some(predecessor) = self.predecessor.as_ref().filter(|_| is_last) {
            let _ = teardown::shutdown(predecessor.fd(), Direction::Read);
            let mut bytes = [0; RECORD_BYTES];
            while let Ok(received) = receive_record(predecessor.fd(), &mut bytes)
                && received.len > 0
            {
                let passed: Vec<BorrowedFd<'_>> =
                    received.passed.iter().flatten().map(AsFd::as_fd).collect();
                if send_record(predecessor.fd(), &bytes, &passed).is_err()
                    && let Some(Record::Client(transfer)) = decode(&bytes)
                    && let [Some(client), spool] = received.passed
                {
                    own.push((transfer, client, spool));
                }
            }
        }
        self.forget_predecessor(ctx);
        own
    }
}
