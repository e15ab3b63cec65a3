//! A client that goes to a worker, and what becomes of it when the worker has said its verdict or has died.

use super::canned::Canned;
use super::fate::{Fate, Salvage, fate, salvage};
use super::owner::Connections;
use super::state::State;
use super::table::End;
use crate::channel::{Serve, Verdict};
use crate::parent::context::{Context, Id, Ordered};
use crate::scoreboard::{Phase, Report, Ticket};
use crate::sys::fd::AsFd;
use std::os::fd::OwnedFd;

/// What a worker has done for a client, beside its verdict.
pub(in crate::parent) struct Visit {
    pub(in crate::parent) report: Report,
    pub(in crate::parent) spool: Option<OwnedFd>,
    /// The worker was forked with older settings.
    pub(in crate::parent) is_outdated: bool,
}

impl Connections {
    /// The client that has queued longest.
    pub(in crate::parent) fn next_queued(&self) -> Option<Id> {
        self.table.at(State::Queued, End::Front)
    }

    /// The order to serve a client. From here on its spool is no longer on the parent's account, since the worker will
    /// count it: a spool that is counted twice could find no room because of itself. If the worker cannot be reached,
    /// `take_spool_back` undoes this.
    pub(in crate::parent) fn order(
        &mut self,
        ctx: &Context,
        id: Id,
        ticket: Ticket,
    ) -> Option<Ordered<'_>> {
        self.lend_spool(ctx, id);
        let connection = self.table.get(id)?;
        Some(Ordered {
            serve: Serve {
                is_head_resumed: connection.visits > 0,
                is_last: ctx.is_stopping(),
                ..connection.serve(ticket)
            },
            client: connection.client.as_fd(),
            spool: connection.spool.as_ref().map(AsFd::as_fd),
        })
    }

    /// A worker has the order.
    pub(in crate::parent) fn note_serving(&mut self, id: Id) {
        self.wheel.remove(id.index);
        self.table.enter(id, State::Serving, End::Back);
    }

    /// What becomes of a client by its worker's verdict; `None`: the parent has given it up meanwhile.
    pub(in crate::parent) fn fate(
        &self,
        id: Id,
        verdict: Verdict,
        report: &Report,
    ) -> Option<Fate> {
        let fate = fate(verdict, self.table.get(id)?.stage);
        let is_unanswered = matches!(fate, Fate::Hold | Fate::Park(State::Head | State::Body, _));
        Some(if report.is_handler_running && is_unanswered {
            Fate::Distrust
        } else {
            fate
        })
    }

    /// Does what a verdict says.
    pub(in crate::parent) fn resume(&mut self, ctx: &Context, id: Id, fate: Fate, visit: Visit) {
        let (report, handler) = (&visit.report, visit.report.handler);
        if let Some(connection) = self.table.get_mut(id)
            && connection.admitted == handler
        {
            // It has used the place that it was let go for: the next client gets that when the handler ends, below
            // or later.
            connection.admitted = 0;
        }
        self.pass_on(ctx, id);
        match fate {
            Fate::Park(state, stage) => {
                if state == State::Drain {
                    self.note_heavy(ctx, handler, visit.spool.as_ref());
                }
                if let Some(connection) = self.table.get_mut(id).filter(|_| state == State::Idle) {
                    // It is idle since its request ended, also if its worker has rested with it since then.
                    connection.head_begun = report.ended.min(ctx.now);
                }
                self.park(ctx, id, (state, stage), visit.spool);
            }
            Fate::Linger => self.linger(ctx, id),
            Fate::Hold => self.hold(ctx, id, handler, visit.spool),
            Fate::Close => self.close(ctx, id),
            // The worker's death decides.
            Fate::Distrust => {}
        }
        // The client is held now, but a request of its handler may have ended meanwhile. That end has found nobody
        // who was held, and the next end may be far away: so if the handler has room now, the client goes on.
        // Not if the worker refused by older settings: others of its kind would refuse again and again, until
        // they are replaced.
        let has_room = || !visit.is_outdated && self.room(ctx, handler) > 0;
        if handler != 0 && !report.is_handler_running && (fate != Fate::Hold || has_room()) {
            self.release_after(ctx, report);
        }
    }

    /// A worker's verdict on a client has come without its spool: the client can only be cut. If the handler has
    /// ended, its place is another client's.
    pub(in crate::parent) fn lose(&mut self, ctx: &Context, id: Id, report: &Report) {
        self.reset(ctx, id);
        if report.handler != 0 && !report.is_handler_running {
            self.release_after(ctx, report);
        }
    }

    /// Notes what a worker has done for its client since the order, at rest: true if it has answered a request and
    /// begun a further one.
    pub(in crate::parent) fn catch_up(&mut self, id: Id, report: &Report) -> bool {
        let Some(connection) = self.table.get_mut(id) else {
            return false;
        };
        let has_answered = report.answered > connection.requests;
        if has_answered {
            connection.requests = report.answered;
            connection.woken = report.began;
            connection.head_begun = report.began;
            connection.visits = 0;
            connection.has_lost_worker = false;
            connection.was_held = false;
        }
        has_answered
    }

    /// A client was taken back from a worker that still has a copy of its descriptor. Until that is closed, the parent's
    /// own close does not end the connection.
    pub(in crate::parent) fn note_copy(&mut self, id: Id) {
        if let Some(connection) = self.table.get_mut(id) {
            connection.copies += 1;
        }
    }

    /// A worker has closed its copy of a client's descriptor, or is dead.
    pub(in crate::parent) fn forget_copy(&mut self, id: Id) {
        if let Some(connection) = self.table.get_mut(id) {
            connection.copies = connection.copies.saturating_sub(1);
        }
    }

    /// Decides what becomes of the client of a dead worker, by the phase in the worker's slot, and by whether the worker
    /// had begun the order for this client.
    pub(in crate::parent) fn salvage(
        &mut self,
        ctx: &Context,
        id: Id,
        phase: Phase,
        has_begun: bool,
    ) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        let number = connection.number;
        match salvage(phase, has_begun, connection.has_lost_worker) {
            Salvage::HandOver => self.hand_over_again(ctx, id, true),
            Salvage::HandOverUnseen => self.hand_over_again(ctx, id, false),
            Salvage::Unread => self.refuse(ctx, id, Canned::Unread),
            Salvage::Lost => self.refuse(ctx, id, Canned::Lost),
            Salvage::Cut => self.reset(ctx, id),
            Salvage::Close => self.close_gently(ctx, id),
            Salvage::GiveUp => {
                ctx.log.error(format_args!(
                    "connection {number} has cost two workers: closing it"
                ));
                self.reset(ctx, id);
            }
        }
    }
}
