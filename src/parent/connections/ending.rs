//! The ends of connections: canned responses, and the ways to close.
//!
//! Reads nothing from clients: what a client still sends after its answer is dropped in the kernel.

use super::canned::{self, Canned};
use super::owner::Connections;
use super::state::State;
use super::table::{Connection, End};
use crate::parent::context::{Context, Id};
use crate::parent::life::IDLE_GRACE;
use crate::parent::token::Token;
use crate::sys::fd::{self, AsFd};
use crate::sys::readiness::Interest;
use crate::sys::socket;
use crate::sys::teardown::{self, Direction};
use std::net::SocketAddr;

/// The most bytes of one client that are discarded after its answer: enough for the upload of a client that reads its
/// 413 only when it has sent all. Time bounds it too (`linger`), and discarding costs no memory.
const LINGER_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes to discard at a time.
const DISCARD: usize = 1 << 20;

impl Connections {
    /// The client that is closed first when every place is taken: the longest idle, the longest without a whole head, the
    /// longest lingering, then body or response with the least recent progress. Each list is in order of
    /// parking, so its front is the one.
    pub(in crate::parent) fn longest_waiting(&self) -> Option<(Id, State)> {
        for state in [State::Idle, State::Head, State::Linger] {
            if let Some(id) = self.table.at(state, End::Front) {
                return Some((id, state));
            }
        }
        [State::Body, State::Stalled, State::Drain]
            .into_iter()
            .filter_map(|state| {
                let id = self.table.at(state, End::Front)?;
                Some((self.table.get(id)?.progress, id, state))
            })
            .min_by_key(|(progress, ..)| *progress)
            .map(|(_, id, state)| (id, state))
    }

    /// Logs that no client can be accepted, and why.
    pub(in crate::parent) fn note_full(&mut self, ctx: &Context, why: &dyn std::fmt::Display) {
        if self.said.full.note(ctx.now) {
            ctx.log.warn(format_args!("no room for new clients: {why}"));
        }
    }

    /// Closes a client to make room for others.
    pub(in crate::parent) fn close_for_room(&mut self, ctx: &Context, id: Id) {
        let Some(state) = self.table.state(id) else {
            return;
        };
        if self.said.full.note(ctx.now) {
            ctx.log.warn(format_args!(
                "every place is taken ({} connections): closing the longest {}",
                self.table.len(),
                state.name()
            ));
        }
        match state {
            State::Body | State::Stalled | State::Drain => self.reset(ctx, id),
            _ => self.close(ctx, id),
        }
    }

    /// Resets every connection; returns how many there were.
    #[cold]
    pub(in crate::parent) fn cut_all(&mut self, ctx: &Context) -> usize {
        let open = self.table.len();
        for state in State::ALL {
            for id in self.table.all(state) {
                self.reset(ctx, id);
            }
        }
        open
    }

    /// Gives a client a canned response, then lingers until the client has read it.
    pub(in crate::parent) fn refuse(&mut self, ctx: &Context, id: Id, canned: Canned) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        let (client, peer) = (connection.client.as_fd(), connection.peer);
        let Some(status) = canned::answer(client, canned) else {
            return self.close(ctx, id);
        };
        let number = connection.number;
        let _ = teardown::shutdown(client, Direction::Write);
        ctx.log
            .info(format_args!("{} {status} connection={number}", Peer(peer)));
        self.pass_on(ctx, id);
        self.linger(ctx, id);
    }

    /// Discards what the client still sends, until its FIN. Otherwise its unread bytes would turn the close into a reset,
    /// which can destroy the answer on its way. A Unix domain socket knows no reset, and is closed at once.
    pub(super) fn linger(&mut self, ctx: &Context, id: Id) {
        self.set_spool(ctx, id, None);
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        if connection.peer.is_none() {
            return self.close(ctx, id);
        }
        connection.mark = LINGER_BYTES;
        // A worker may have set a low-water mark above what the client will ever send.
        let _ = socket::set_receive_low_water(connection.client.as_fd(), 1);
        let limit = ctx.settings.limits.linger;
        let limit = if ctx.is_stopping() {
            limit.min(IDLE_GRACE)
        } else {
            limit
        };
        self.wheel.set(id.index, ctx.now.after(limit));
        self.table.enter(id, State::Linger, End::Back);
        self.rearm(ctx, id, Interest::Read);
    }

    /// Ends a connection whose client was sent all that it gets. If it has sent bytes that nobody has read, a close
    /// would be a reset, which may destroy the end of the answer: then it lingers.
    pub(super) fn close_gently(&mut self, ctx: &Context, id: Id) {
        let is_sending = self.table.get(id).is_some_and(|c| unread(c) > 0);
        if is_sending {
            self.pass_on(ctx, id);
            self.linger(ctx, id);
        } else {
            self.close(ctx, id);
        }
    }

    /// A client that lingers has sent something, which is dropped, or its FIN, after which the connection is closed.
    pub(super) fn discard(&mut self, ctx: &Context, id: Id) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        match socket::discard(connection.client.as_fd(), DISCARD) {
            Ok(n) if n > 0 && connection.mark > n as u64 => {
                connection.mark -= n as u64;
                self.rearm(ctx, id, Interest::Read);
            }
            Err(e) if e.is_would_block() => self.rearm(ctx, id, Interest::Read),
            _ => self.close(ctx, id),
        }
    }

    /// Closes the connection by a reset, so that the client can tell that its response is not whole.
    pub(in crate::parent) fn reset(&mut self, ctx: &Context, id: Id) {
        if let Some(connection) = self.table.get(id) {
            let _ = teardown::reset_on_close(connection.client.as_fd(), true);
        }
        self.close(ctx, id);
    }

    /// Closes the connection, also if a worker still has a copy of its descriptor.
    pub(in crate::parent) fn close(&mut self, ctx: &Context, id: Id) {
        if let Some(connection) = self.table.get(id).filter(|c| c.copies > 0) {
            let _ = teardown::end(connection.client.as_fd());
        }
        self.forget(ctx, id);
    }

    /// Closes the parent's descriptor of a connection. If nobody else has one, that ends the connection.
    pub(in crate::parent) fn forget(&mut self, ctx: &Context, id: Id) {
        self.pass_on(ctx, id);
        self.set_spool(ctx, id, None);
        self.wheel.remove(id.index);
        let Some(connection) = self.table.remove(id) else {
            return;
        };
        // Before the close: as long as a worker has a copy, the kernel would keep the registration.
        let _ = ctx.readiness.forget(connection.client.as_fd());
        self.admission.leave(connection.peer);
    }

    /// Waits for a parked client again.
    pub(super) fn rearm(&mut self, ctx: &Context, id: Id, interest: Interest) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        let token = Token::Client(id).number();
        let client = connection.client.as_fd();
        if let Err(e) = ctx.readiness.rearm(client, token, interest) {
            ctx.log
                .error(format_args!("unable to park a client again: {e}"));
            self.close(ctx, id);
        }
    }
}

/// Bytes that have arrived and that nobody has taken.
pub(super) fn unread(connection: &Connection) -> u64 {
    fd::bytes_readable(connection.client.as_fd()).map_or(0, |n| n as u64)
}

/// A client's address in the log.
pub(super) struct Peer(pub(super) Option<SocketAddr>);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.ip().fmt(f),
            None => f.write_str("unix"),
        }
    }
}
