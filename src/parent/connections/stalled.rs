//! Bodies that wait for room in the spools: the client's next bytes stay in its socket meanwhile.
//!
//! Decides by the same rules as the workers, which ask again before they take a byte from the socket.

use super::canned::Canned;
use super::owner::Connections;
use super::state::State;
use super::table::End;
use crate::parent::context::{Context, Id};
use crate::scoreboard::{Budget, Spooled};
use crate::sys::time::Moment;
use crate::text;
use std::time::Duration;

/// How often to look for room: a worker that has used a body up does not tell the parent.
const LOOK: Duration = Duration::from_millis(50);

/// Clients that are looked at in one turn.
const MOST_LOOKS: usize = 64;

impl Connections {
    /// When to look for room.
    pub(super) fn stalled_deadline(&self, ctx: &Context) -> Option<Moment> {
        (self.table.count(State::Stalled) > 0).then(|| ctx.now.after(LOOK))
    }

    /// Lets as many bodies go on as there is room for a step of each, in the order in which they wait. A body whose own
    /// address has its share already goes to the end of the line.
    pub(in crate::parent) fn let_bodies_on(&mut self, ctx: &Context) {
        let stalled = self.table.count(State::Stalled);
        if stalled == 0 {
            return;
        }
        let budget = Budget::of(&ctx.settings);
        let mut promised = 0;
        for _ in 0..stalled.min(MOST_LOOKS) {
            let more = promised + budget.step();
            let front = self.table.at(State::Stalled, End::Front);
            let Some((id, connection)) = front.and_then(|id| Some((id, self.table.get(id)?)))
            else {
                return;
            };
            let board = &ctx.scoreboard;
            let (all, of_address) = board.spooled_with(connection.account.origin);
            if budget.takes_body(all, of_address, more) {
                promised = more;
                self.queue(ctx, id, End::Back);
            } else if budget.takes_body(all, Spooled::default(), more) {
                self.table.enter(id, State::Stalled, End::Back);
            } else {
                return;
            }
        }
    }

    /// There was no room for a body in time: 503. Its handler has not been started.
    pub(super) fn give_up_body(&mut self, ctx: &Context, id: Id) {
        if self.said.spools.note(ctx.now) {
            let total = ctx.settings.limits.max_spool_total;
            let total = text::size(total.unwrap_or(0));
            ctx.log.warn(format_args!(
                "max-spool-total ({total}) is reached: refusing bodies that found no room in time"
            ));
        }
        let retry_after = ctx.turnover.retry_after(self.table.count(State::Stalled));
        self.refuse(ctx, id, Canned::Busy(retry_after));
    }
}
