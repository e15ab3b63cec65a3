//! Parking: a connection between two visits to a worker, its deadline and what ends it.
//!
//! Whether a client makes progress is asked of the kernel: how many bytes have arrived, how many it has not taken. The
//! bytes are not read.

use super::canned::Canned;
use super::ending::unread;
use super::fate::ticks_aside;
use super::owner::Connections;
use super::state::State;
use super::table::{Connection, End};
use super::wheel::TICK;
use crate::channel::Stage;
use crate::parent::context::{Context, Id};
use crate::scoreboard::Spooled;
use crate::settings::HalfClose;
use crate::sys::fd::AsFd;
use crate::sys::readiness::{Event, Interest};
use crate::sys::time::Moment;
use crate::sys::{poll, socket};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A visit to a worker that brought less of a body than this was in vain: a body may come in drips too.
const SMALL_BYTES: u64 = 1024;

impl Connection {
    /// Whether nothing of the present head has been seen yet.
    fn is_untouched(&self) -> bool {
        self.visits == 0 && self.spool.is_none()
    }

    /// A worker has given the client back, with more of its body or without.
    fn note_body(&mut self, now: Moment, was_body: bool, before: Spooled) {
        let spooled = self.account.spooled;
        let grown = spooled.less(before).bytes;
        if !was_body || spooled.bytes != before.bytes {
            self.progress = now;
        }
        self.visits = if was_body && grown < SMALL_BYTES {
            self.visits.saturating_add(1)
        } else {
            0
        };
    }
}

impl Connections {
    /// Parks a connection that a worker has given back.
    pub(super) fn park(
        &mut self,
        ctx: &Context,
        id: Id,
        (state, stage): (State, Stage),
        spool: Option<OwnedFd>,
    ) {
        let now = ctx.now;
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        let before = connection.account.spooled;
        let was_body = connection.stage == Stage::Body;
        let has_waited = connection.stage == Stage::Retry;
        connection.stage = stage;
        connection.mark = 0;
        match state {
            State::Idle => {
                connection.requests = connection.requests.saturating_add(1);
                connection.visits = 0;
                connection.has_lost_worker = false;
                connection.was_held = false;
            }
            State::Head => {
                connection.visits = connection.visits.saturating_add(1);
                // The time that it spent in queue and worker is not the client's slowness.
                let own = now.since(connection.woken);
                connection.head_begun = connection.head_begun.after(own);
            }
            State::Drain => {
                connection.progress = now;
                let unsent = socket::bytes_unsent(connection.client.as_fd());
                connection.mark = unsent.unwrap_or(0) as u64;
            }
            _ => {}
        }
        self.set_spool(ctx, id, spool);
        if let Some(connection) = self.table.get_mut(id) {
            match state {
                State::Body => connection.note_body(now, was_body, before),
                State::Stalled
                    if !has_waited || connection.account.spooled.bytes > before.bytes =>
                {
                    connection.woken = now;
                }
                _ => {}
            }
            let may_trickle = matches!(state, State::Head | State::Body);
            connection.is_set_aside = may_trickle && ticks_aside(connection.visits).is_some();
        }
        let end = match state {
            State::Stalled if has_waited => End::Front,
            _ => End::Back,
        };
        self.table.enter(id, state, end);
        self.set_deadline(ctx, id, state);
        let is_aside = self.table.get(id).is_some_and(|c| c.is_set_aside);
        if ctx.closes_idle() && self.has_given_up(ctx, id, state) {
            return;
        }
        if !is_aside && state != State::Stalled {
            self.rearm(ctx, id, interest(state));
        }
    }

    /// Puts the deadline of a parked connection into the wheel.
    pub(super) fn set_deadline(&mut self, ctx: &Context, id: Id, state: State) {
        let limits = &ctx.settings.limits;
        let Some(connection) = self.table.get(id) else {
            return;
        };
        let deadline = match state {
            _ if connection.is_set_aside => {
                let ticks = ticks_aside(connection.visits).unwrap_or(1);
                ctx.now.after(TICK * ticks)
            }
            State::Idle => connection.head_begun.after(limits.keep_alive_timeout),
            State::Head => connection.head_begun.after(limits.head_timeout),
            State::Body | State::Drain => connection.progress.after(limits.progress_timeout),
            State::Linger => ctx.now.after(limits.linger),
            State::Queued | State::Held | State::Stalled => {
                connection.woken.after(limits.queue_timeout)
            }
            State::Serving => return self.wheel.remove(id.index),
        };
        self.wheel.set(id.index, deadline);
    }

    /// A parked client is ready.
    pub(in crate::parent) fn wake(&mut self, ctx: &Context, id: Id, event: &Event) {
        match self.table.state(id) {
            None | Some(State::Queued | State::Held | State::Stalled | State::Serving) => {}
            Some(State::Linger) => self.discard(ctx, id),
            Some(state) if event.is_hung_up && !self.has_left_request(ctx, id, state) => {
                self.close(ctx, id);
            }
            Some(_) if self.has_left(id, event) => self.close(ctx, id),
            Some(state) => self.ask_for_worker(ctx, id, state),
        }
    }

    /// Whether a client that is gone has left something that a worker has to look at. Over a Unix domain socket a close
    /// looks like a reset does elsewhere, and what the client sent before can still be read: perhaps a whole
    /// request. Over TCP only handlers with `half-close = serve` run for a client that has reset its connection;
    /// which handler was asked for only a worker can tell.
    fn has_left_request(&self, ctx: &Context, id: Id, state: State) -> bool {
        let settings = &ctx.settings;
        let serves = |half_close| half_close == HalfClose::Serve;
        let may_run = |c: &Connection| {
            c.peer.is_none()
                || serves(settings.half_close)
                || settings
                    .handlers
                    .iter()
                    .any(|h| h.half_close.is_some_and(serves))
        };
        let connection = self.table.get(id);
        state != State::Drain && connection.is_some_and(|c| may_run(c) && unread(c) > 0)
    }

    /// Whether the client has sent its FIN and not a byte of a request: there is nothing to answer, so no worker has to
    /// look. The kernel says so without a byte being read.
    fn has_left(&self, id: Id, event: &Event) -> bool {
        event.is_peer_closed
            && self
                .table
                .get(id)
                .is_some_and(|c| c.stage == Stage::Head && c.is_untouched() && unread(c) == 0)
    }

    /// Takes a client out of the queue for a tick that waits for a worker to go on with its response. That time does
    /// not count as the client's slowness.
    pub(super) fn set_aside(&mut self, ctx: &Context, id: Id) {
        if let Some(connection) = self.table.get_mut(id) {
            connection.is_set_aside = true;
            connection.progress = ctx.now;
        }
        self.table.enter(id, State::Drain, End::Back);
        self.set_deadline(ctx, id, State::Drain);
    }

    /// Acts on deadlines that have passed, and waits again for clients whose time aside is over.
    pub(in crate::parent) fn expire(&mut self, ctx: &Context) {
        while let Some(index) = self.wheel.expired(ctx.now) {
            if let Some(id) = self.table.id(index)
                && let Some(state) = self.table.state(id)
            {
                self.overdue(ctx, id, state);
            }
        }
    }

    fn overdue(&mut self, ctx: &Context, id: Id, state: State) {
        let connection = self.table.get_mut(id);
        if connection.is_some_and(|c| std::mem::take(&mut c.is_set_aside)) {
            self.set_deadline(ctx, id, state);
            return self.rearm(ctx, id, interest(state));
        }
        match state {
            // Its next request may have come together with the end of its time.
            State::Idle if self.table.get(id).is_some_and(|c| unread(c) > 0) => {
                self.ask_for_worker(ctx, id, state);
            }
            State::Idle | State::Linger => self.close(ctx, id),
            State::Head => self.overdue_head(ctx, id),
            State::Body | State::Drain if self.has_moved(ctx, id, state) => {
                self.set_deadline(ctx, id, state);
            }
            State::Body => self.refuse(ctx, id, Canned::TooSlow),
            State::Drain => self.reset(ctx, id),
            State::Queued | State::Held => self.turn_away(ctx, id),
            State::Stalled => self.give_up_body(ctx, id),
            State::Serving => {}
        }
    }

    /// A head is not there in time. If not a byte of it has come, nothing was asked for and there is nothing to
    /// answer.
    fn overdue_head(&mut self, ctx: &Context, id: Id) {
        let is_silent = |c: &Connection| c.is_untouched() && unread(c) == 0;
        if self.table.get(id).is_some_and(is_silent) {
            self.close(ctx, id);
        } else {
            self.refuse(ctx, id, Canned::TooSlow);
        }
    }

    /// Whether the client has sent (body) or taken (response) anything since it was last asked,
    /// without a worker having been needed for it.
    fn has_moved(&mut self, ctx: &Context, id: Id, state: State) -> bool {
        let now = ctx.now;
        let Some(connection) = self.table.get_mut(id) else {
            return false;
        };
        let (mark, has_moved) = if state == State::Body {
            let unread = unread(connection);
            (unread, unread > connection.mark)
        } else {
            let unsent = socket::bytes_unsent(connection.client.as_fd());
            let unsent = unsent.map_or(u64::MAX, |n| n as u64);
            (unsent, unsent < connection.mark)
        };
        if has_moved {
            connection.mark = mark;
            connection.progress = now;
        }
        has_moved
    }

    /// The server is about to stop: closes every client that has no whole request in flight. A client that lingers has
    /// had its answer.
    pub(in crate::parent) fn close_idle(&mut self, ctx: &Context) {
        for id in self.table.all(State::Linger) {
            self.close(ctx, id);
        }
        for state in [State::Idle, State::Head] {
            for id in self.table.all(state) {
                self.has_given_up(ctx, id, state);
            }
        }
    }

    /// Ends a client without a whole head: a silent one is closed, one with half a head gets 503. True if it was ended. A
    /// client with something for a worker to look at is left to its event, which is about to come.
    fn has_given_up(&mut self, ctx: &Context, id: Id, state: State) -> bool {
        let Some(connection) = self.table.get(id) else {
            return false;
        };
        match state {
            State::Idle | State::Head if connection.is_untouched() => {
                let is_silent = unread(connection) == 0;
                if is_silent {
                    self.close(ctx, id);
                }
                is_silent
            }
            // The socket counts as readable only when there is more than a worker has seen (SO_RCVLOWAT).
            State::Head => {
                let client = connection.client.as_fd();
                let has_more = poll::wait_one(client, poll::READABLE, Duration::ZERO);
                let is_half = !has_more.unwrap_or(false);
                if is_half {
                    self.refuse(ctx, id, Canned::Unread);
                }
                is_half
            }
            _ => false,
        }
    }
}

/// What a parked connection waits for.
fn interest(state: State) -> Interest {
    if state == State::Drain {
        Interest::Write
    } else {
        Interest::Read
    }
}
