//! Counts what is in the spools of parked connections.
//!
//! What a worker has in hand is counted by that worker, in its slot of the scoreboard. So nothing is counted twice, and
//! the count of a worker that dies goes with its slot.

use super::owner::Connections;
use super::table::Connection;
use crate::channel::Stage;
use crate::parent::context::{Context, Id};
use crate::scoreboard::{Origin, Spooled};
use crate::sys::fd::AsFd;
use crate::sys::file;
use std::os::fd::OwnedFd;

impl Connection {
    /// Whether its spool holds what the client has not taken of its response.
    fn has_response(&self) -> bool {
        matches!(self.stage, Stage::DrainKeep | Stage::DrainClose)
    }
}

/// What a spool holds.
fn in_spool(spool: &OwnedFd, is_response: bool) -> Spooled {
    let bytes = file::stat(spool.as_fd()).map_or(0, |stat| stat.size);
    Spooled::new(bytes, file::is_in_memory(spool.as_fd()), is_response)
}

/// A handler is heavy when this much of one of its responses waits for a client (`scoreboard/heavy`).
const HEAVY_BYTES: u64 = 1024 * 1024;

impl Connections {
    /// A response is parked that its client has not taken: if it is large, its handler is heavy.
    pub(super) fn note_heavy(&self, ctx: &Context, handler: u64, spool: Option<&OwnedFd>) {
        let bytes = spool.map_or(0, |spool| in_spool(spool, true).bytes);
        if handler != 0 && bytes >= HEAVY_BYTES {
            ctx.scoreboard.note_heavy(handler);
        }
    }

    /// When no response waits in a spool any more, no handler is heavy, and clients that were held for that go on. Workers
    /// do not tell the parent when a spool of theirs is empty, so the parent looks in every turn.
    pub(in crate::parent) fn forget_heavy(&mut self, ctx: &Context) {
        let board = &ctx.scoreboard;
        // The cheapest question first: while clients read slowly, the parent has something for them.
        let is_over = self.spooled.responses == 0
            && board.has_heavy()
            && board.spooled_total().responses == 0;
        if is_over {
            board.forget_heavy();
            self.release_where_room(ctx);
        }
    }

    /// Gives a connection its spool, or takes it away, and counts it.
    pub(super) fn set_spool(&mut self, ctx: &Context, id: Id, spool: Option<OwnedFd>) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        if spool.is_none() && connection.spool.is_none() {
            return;
        }
        let is_response = connection.has_response();
        let in_spool = spool.as_ref().map(|spool| in_spool(spool, is_response));
        let after = in_spool.unwrap_or_default();
        let account = &mut connection.account;
        let was_own = std::mem::replace(&mut account.is_own, true);
        let before = std::mem::replace(&mut account.spooled, after);
        let before = if was_own { before } else { Spooled::default() };
        let origin = account.origin;
        connection.spool = spool;
        self.book(ctx, origin, before, after);
    }

    /// A worker gets a connection, and counts its spool from now on. It does not count a response that it only sends on:
    /// that stays with the parent.
    pub(super) fn lend_spool(&mut self, ctx: &Context, id: Id) {
        let connection = self.table.get_mut(id);
        if let Some(connection) = connection.filter(|c| !c.has_response()) {
            let account = &mut connection.account;
            let (origin, spooled) = (account.origin, account.spooled);
            account.is_own = false;
            self.book(ctx, origin, spooled, Spooled::default());
        }
    }

    /// The worker has died without having touched the spool, or could not be reached: the parent counts it again.
    pub(in crate::parent) fn take_spool_back(&mut self, ctx: &Context, id: Id) {
        let connection = self.table.get_mut(id);
        if let Some(connection) = connection.filter(|c| !c.account.is_own) {
            let account = &mut connection.account;
            let (origin, spooled) = (account.origin, account.spooled);
            account.is_own = true;
            self.book(ctx, origin, Spooled::default(), spooled);
        }
    }

    /// What the parent's spools hold has changed: writes it into the scoreboard.
    fn book(&mut self, ctx: &Context, origin: Origin, before: Spooled, after: Spooled) {
        if before == after {
            return;
        }
        self.spooled = self.spooled.plus(after).less(before);
        let board = &ctx.scoreboard;
        board.parent().set_spooled(self.spooled);
        board.note_parked(origin, before, after);
    }
}
