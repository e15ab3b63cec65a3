//! Clients that wait for a worker, and clients that are held until their handler, which is at `max-concurrent`, has
//! room.

use super::canned::Canned;
use super::owner::Connections;
use super::state::State;
use super::table::End;
use crate::channel::Stage;
use crate::parent::context::{Context, Demand, Id};
use crate::route;
use crate::scoreboard::Report;
use std::os::fd::OwnedFd;

impl Connections {
    /// A client has something to say: puts it into the queue.
    pub(super) fn ask_for_worker(&mut self, ctx: &Context, id: Id, state: State) {
        let now = ctx.now;
        if let Some(connection) = self.table.get_mut(id) {
            connection.woken = now;
            if state == State::Idle {
                connection.head_begun = now;
            }
        }
        self.queue(ctx, id, End::Back);
    }

    /// Puts a client into the queue, at its end or, if it has waited before, at its front.
    pub(super) fn queue(&mut self, ctx: &Context, id: Id, end: End) {
        self.table.enter(id, State::Queued, end);
        self.set_deadline(ctx, id, State::Queued);
    }

    /// Parks a connection until its handler has room: behind the others that wait for it, or before them if it was
    /// held for this request already.
    pub(super) fn hold(&mut self, ctx: &Context, id: Id, handler: u64, spool: Option<OwnedFd>) {
        self.set_spool(ctx, id, spool);
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        let end = if connection.was_held {
            End::Front
        } else {
            End::Back
        };
        connection.is_set_aside = false;
        connection.was_held = true;
        connection.handler = handler;
        connection.stage = Stage::Retry;
        self.table.enter(id, State::Held, end);
        self.set_deadline(ctx, id, State::Held);
    }

    /// How many clients wait for a worker, and since when.
    pub(in crate::parent) fn demand(&self) -> Demand {
        let first = self.table.at(State::Queued, End::Front);
        let first = first.and_then(|first| self.table.get(first));
        Demand {
            queued: self.table.count(State::Queued),
            since: first.map(|connection| connection.woken),
        }
    }

    /// Turns clients away that are too many: of those that wait for a worker the last, of those that are held the last
    /// one that waits for the handler with the longest line. Each has a bound of its own, since clients of one
    /// handler are not in the way of clients that wait for any worker.
    pub(in crate::parent) fn shorten_queues(&mut self, ctx: &Context) {
        let most = ctx.settings.limits.max_queue;
        while self.table.count(State::Queued) > most
            && let Some(id) = self.table.at(State::Queued, End::Back)
        {
            self.turn_away(ctx, id);
        }
        while self.table.count(State::Held) > most
            && let Some(id) = self.table.last_of_most_held()
        {
            self.turn_away(ctx, id);
        }
    }

    /// Clients that wait for a worker, or for their handler.
    pub(in crate::parent) fn waiting(&self) -> usize {
        self.table.count(State::Queued) + self.table.count(State::Held)
    }

    /// Answers 503, with the time after which the client should come back.
    pub(in crate::parent) fn turn_away(&mut self, ctx: &Context, id: Id) {
        let stage = self.table.get(id).map(|connection| connection.stage);
        if let Some(Stage::DrainKeep | Stage::DrainClose) = stage {
            // Its response has begun: another one inside it would be taken for a part of it.
            return self.set_aside(ctx, id);
        }
        let waiting = self.waiting();
        if self.said.queue.note(ctx.now) {
            let held = self.table.state(id) == Some(State::Held);
            let handler = self
                .table
                .get(id)
                .map_or(0, |connection| connection.handler);
            let why = match held {
                true if ctx.scoreboard.is_heavy(handler) => {
                    "handlers whose clients read slowly stay at three quarters of max-workers"
                }
                true => "a handler stays at max-concurrent",
                false => "no worker in time",
            };
            ctx.log
                .warn(format_args!("{why}: turning clients away, {waiting} wait"));
        }
        let retry_after = ctx.turnover.retry_after(waiting);
        self.refuse(ctx, id, Canned::Busy(retry_after));
    }

    /// A request of this handler has ended: the first client that is held for it goes to the front of the queue. If
    /// others have taken the place by then, it is held again.
    fn release(&mut self, ctx: &Context, handler: u64) {
        if ctx.scoreboard.is_heavy(handler) {
            return self.release_heavy(ctx);
        }
        if let Some(id) = self.table.first_held(handler) {
            self.admit(ctx, id, handler, End::Front);
        }
    }

    /// Gives the free places that heavy handlers share to the clients that have waited longest, whichever of these
    /// handlers they are held for. Otherwise a handler that many clients ask for would keep all places for itself.
    fn release_heavy(&mut self, ctx: &Context) {
        let room = ctx.scoreboard.room_for_heavy(&ctx.settings.limits);
        for _ in 0..room {
            let Some((id, handler)) = self.longest_held_for_heavy(ctx) else {
                break;
            };
            self.admit(ctx, id, handler, End::Front);
        }
    }

    /// The client that has waited longest for a heavy handler that has room, and that handler.
    fn longest_held_for_heavy(&self, ctx: &Context) -> Option<(Id, u64)> {
        let handlers = self.table.held_handlers().into_iter();
        let heavy = handlers.filter(|handler| ctx.scoreboard.is_heavy(*handler));
        let able = heavy.filter(|handler| self.room(ctx, *handler) > 0);
        let firsts = able.filter_map(|handler| Some((self.table.first_held(handler)?, handler)));
        firsts.min_by_key(|(id, _)| self.table.get(*id).map(|connection| connection.woken))
    }

    /// A client that is held goes into the queue: a place of its handler is free.
    pub(super) fn admit(&mut self, ctx: &Context, id: Id, handler: u64, end: End) {
        if let Some(connection) = self.table.get_mut(id) {
            connection.admitted = handler;
        }
        self.queue(ctx, id, end);
    }

    /// A client that a handler had a place for leaves, or does not need it: the place goes to the next that is held.
    pub(super) fn pass_on(&mut self, ctx: &Context, id: Id) {
        let connection = self.table.get_mut(id);
        let admitted = connection.map_or(0, |c| std::mem::take(&mut c.admitted));
        if admitted != 0 {
            self.release(ctx, admitted);
        }
    }

    /// A request has ended: the next client that is held for its handler gets the place. After local redirects it may
    /// have had places of other handlers too: then all handlers are looked at.
    pub(in crate::parent) fn release_after(&mut self, ctx: &Context, report: &Report) {
        self.release(ctx, report.handler);
        if report.was_redirected {
            self.release_where_room(ctx);
        }
    }

    /// How many more requests of this handler may run now.
    pub(super) fn room(&self, ctx: &Context, handler: u64) -> usize {
        let settings = &ctx.settings;
        let own = settings
            .handlers
            .iter()
            .find(|known| route::hash_of(&known.name) == handler);
        let limit = own
            .and_then(|own| own.max_concurrent)
            .or(settings.limits.max_concurrent);
        let board = &ctx.scoreboard;
        let room = limit.map_or(usize::MAX, |limit| {
            limit.saturating_sub(board.concurrent(handler))
        });
        if !board.is_heavy(handler) {
            return room;
        }
        let heavy = board.room_for_heavy(&settings.limits);
        room.min(usize::try_from(heavy).unwrap_or(0))
    }

    /// Lets as many clients of those that are held go on as their handlers have room for.
    #[cold]
    pub(in crate::parent) fn release_where_room(&mut self, ctx: &Context) {
        for handler in self.table.held_handlers() {
            for _ in 0..self.room(ctx, handler) {
                let Some(id) = self.table.first_held(handler) else {
                    break;
                };
                self.admit(ctx, id, handler, End::Back);
            }
        }
    }

    /// A worker died before it took anything from its client: another worker gets that client. `was_seen`: the worker
    /// had looked at the client, which may be what it died of.
    pub(super) fn hand_over_again(&mut self, ctx: &Context, id: Id, was_seen: bool) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        connection.has_lost_worker |= was_seen;
        self.take_spool_back(ctx, id);
        self.queue(ctx, id, End::Front);
    }
}
