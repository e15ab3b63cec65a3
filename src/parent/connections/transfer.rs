//! Connections that come: from a listener, or from another server; and connections that go to another server.

use super::account::Account;
use super::canned::{self, Canned};
use super::ending::Peer;
use super::owner::Connections;
use super::state::State;
use super::table::{Connection, End};
use crate::channel::{Serve, Stage};
use crate::parent::context::{Context, Id};
use crate::parent::token::Token;
use crate::scoreboard::Ticket;
use crate::sys::fd::AsFd;
use crate::sys::readiness::Interest;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A connection between two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub(in crate::parent) state: State,
    pub(in crate::parent) serve: Serve,
    pub(in crate::parent) mark: u64,
    pub(in crate::parent) visits: u8,
    pub(in crate::parent) has_lost_worker: bool,
    pub(in crate::parent) was_held: bool,
    pub(in crate::parent) is_copied: bool,
}

impl Connection {
    /// What a worker, or another server, has to know of the connection.
    pub(super) fn serve(&self, ticket: Ticket) -> Serve {
        Serve {
            ticket,
            connection: self.number,
            stage: self.stage,
            is_head_resumed: false,
            is_last: false,
            listener: self.listener,
            requests: self.requests,
            head_begun: self.head_begun,
            progress: self.progress,
            woken: self.woken,
            peer: self.peer,
        }
    }
}

impl Transfer {
    /// A connection that is parked in this state.
    fn of(connection: &Connection, state: State) -> Self {
        Self {
            state,
            serve: connection.serve(Ticket::new(0)),
            mark: connection.mark,
            visits: connection.visits,
            has_lost_worker: connection.has_lost_worker,
            was_held: connection.was_held,
            is_copied: connection.copies > 0,
        }
    }

    /// Whether it needs a spool: without one the next worker could not go on.
    pub(in crate::parent) fn needs_spool(&self) -> bool {
        matches!(
            self.serve.stage,
            Stage::Body | Stage::DrainKeep | Stage::DrainClose
        )
    }

    /// Whether a parked connection can be like this.
    pub(in crate::parent) fn is_possible(&self) -> bool {
        use Stage::{Body, DrainClose, DrainKeep, Head};
        match self.state {
            State::Idle | State::Head => self.serve.stage == Head,
            State::Body => self.serve.stage == Body,
            State::Drain => matches!(self.serve.stage, DrainKeep | DrainClose),
            State::Held | State::Stalled | State::Queued | State::Linger => true,
            State::Serving => false,
        }
    }
}

/// The order in which clients go to another server, after those that are held: those that wait for this server come
/// before those that this server waits for.
const ORDER: [State; 7] = [
    State::Queued,
    State::Stalled,
    State::Drain,
    State::Body,
    State::Head,
    State::Idle,
    State::Linger,
];

impl Connections {
    /// The connection that goes to another server next, of those that no worker has.
    pub(in crate::parent) fn next_to_transfer(&self) -> Option<Id> {
        let held = self.table.held_handlers();
        let held = held
            .first()
            .and_then(|handler| self.table.first_held(*handler));
        held.or_else(|| {
            ORDER
                .iter()
                .find_map(|state| self.table.at(*state, End::Front))
        })
    }

    /// What another server has to know of a parked client, and its descriptors.
    pub(in crate::parent) fn transfer(
        &self,
        id: Id,
    ) -> Option<(Transfer, BorrowedFd<'_>, Option<BorrowedFd<'_>>)> {
        let connection = self.table.get(id)?;
        let transfer = Transfer::of(connection, self.table.state(id)?);
        let spool = connection.spool.as_ref().map(AsFd::as_fd);
        Some((transfer, connection.client.as_fd(), spool))
    }

    /// Whether there are more connections than there may be.
    pub(in crate::parent) fn is_over_full(&self) -> bool {
        self.table.len() > self.admission.most
    }

    /// Whether there are as many connections as there may be: one has to be closed before another can come.
    pub(in crate::parent) fn is_full(&self) -> bool {
        self.table.len() >= self.admission.most
    }

    /// Whether there is memory for one more client.
    pub(in crate::parent) fn has_memory(&mut self) -> bool {
        self.table.has_place() && self.wheel.has_place() && self.admission.has_place()
    }

    /// Takes a new client: it is parked as head, and `head-timeout` runs.
    pub(in crate::parent) fn welcome(
        &mut self,
        ctx: &Context,
        client: OwnedFd,
        peer: Option<SocketAddr>,
        listener: u8,
    ) {
        if !self.admission.enter(peer) {
            if self.said.crowd.note(ctx.now) {
                ctx.log.warn(format_args!(
                    "{} has max-connections-per-address open",
                    Peer(peer)
                ));
            }
            canned::answer(client.as_fd(), Canned::Busy(1));
            return;
        }
        self.accepted += 1;
        let now = ctx.now;
        let id = self.table.add(Connection {
            client,
            spool: None,
            account: Account::of(peer, &ctx.settings.trusted_proxies),
            number: self.accepted,
            head_begun: now,
            progress: now,
            woken: now,
            mark: 0,
            handler: 0,
            admitted: 0,
            requests: 0,
            stage: Stage::Head,
            peer,
            listener,
            visits: 0,
            copies: 0,
            is_set_aside: false,
            has_lost_worker: false,
            was_held: false,
        });
        let limits = &ctx.settings.limits;
        self.wheel.set(id.index, now.after(limits.head_timeout));
        let token = Token::Client(id).number();
        let parked = match self.table.get(id) {
            Some(c) => ctx.readiness.park(c.client.as_fd(), token, Interest::Read),
            None => Ok(()),
        };
        if let Err(e) = parked {
            ctx.log.error(format_args!("unable to park a client: {e}"));
            self.close(ctx, id);
        }
    }

    /// Takes a client of another server over: of the predecessor, or of a successor that gives it back.
    #[cold]
    pub(in crate::parent) fn take_on(
        &mut self,
        ctx: &Context,
        transfer: &Transfer,
        client: OwnedFd,
        spool: Option<OwnedFd>,
    ) {
        let serve = &transfer.serve;
        self.admission.enter_again(serve.peer);
        let id = self.table.add(Connection {
            client,
            spool: None,
            account: Account::of(serve.peer, &ctx.settings.trusted_proxies),
            number: serve.connection,
            head_begun: serve.head_begun,
            progress: serve.progress,
            woken: serve.woken,
            mark: transfer.mark,
            handler: 0,
            admitted: 0,
            requests: serve.requests,
            stage: serve.stage,
            peer: serve.peer,
            listener: serve.listener,
            visits: transfer.visits,
            is_set_aside: false,
            has_lost_worker: transfer.has_lost_worker,
            was_held: transfer.was_held,
            // A worker of the other server may still have a copy, and this server is not told when it closes that.
            copies: transfer.is_copied.into(),
        });
        self.set_spool(ctx, id, spool);
        let interest = match transfer.state {
            State::Drain => Interest::Write,
            _ => Interest::Read,
        };
        let token = Token::Client(id).number();
        let parked = match self.table.get(id) {
            Some(c) => ctx.readiness.park(c.client.as_fd(), token, interest),
            None => Ok(()),
        };
        if let Err(e) = parked {
            ctx.log.error(format_args!("unable to park a client: {e}"));
            return self.close(ctx, id);
        }
        match transfer.state {
            State::Queued | State::Held | State::Stalled => self.queue(ctx, id, End::Back),
            state => {
                self.table.enter(id, state, End::Back);
                self.set_deadline(ctx, id, state);
            }
        }
    }
}
