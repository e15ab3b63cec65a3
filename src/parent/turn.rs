//! One turn of the parent's loop: events and deadlines, each to its owner.
//!
//! One readiness set holds everything: signals, channels, listeners, clients. (A poll(2) around a
//! nested epoll set would cost a second call per wake-up.) The work of a turn is done elsewhere.

use super::server::Parent;
use super::token::Token;
use crate::sys;
use crate::sys::readiness::Event;
use crate::sys::time::{self, Moment};

/// New clients that are accepted per listener and turn. After that those who are connected have their turn again.
const ACCEPT_BATCH: usize = 64;

impl Parent {
    /// Waits for events or the next deadline, then acts on them in this order: workers that have died or are free
    /// come before clients that want to be served, and connected clients before new ones.
    pub(super) fn turn(&mut self) -> sys::Result<()> {
        let timeout = self.next_deadline().map(|at| at.since(self.ctx.now));
        let mut events = std::mem::take(&mut self.events);
        let waited = self.ctx.readiness.wait(&mut events, timeout);
        self.ctx.now = time::now();
        self.ctx.turnover = self.workers.pool().turnover();
        self.act_on(&events);
        self.events = events;
        self.connections.let_bodies_on(&self.ctx);
        self.connections.forget_heavy(&self.ctx);
        self.connections.expire(&self.ctx);
        self.dispatch();
        self.reconcile();
        self.watch();
        self.live();
        self.let_rest();
        waited
    }

    /// Acts on the events, one kind after the other. A batch has at most 128 events, so to go through it once per
    /// kind is cheaper than to sort it, and keeps the order of arrival.
    fn act_on(&mut self, events: &[Event]) {
        let passes: [fn(&mut Self, Token, &Event); 4] = [
            |parent, token, _| {
                if token == Token::Signals {
                    parent.take_signals();
                }
            },
            |parent, token, _| {
                if let Token::Channel(slot, generation) = token {
                    let heard = parent.workers.receive(&parent.ctx, slot, generation);
                    parent.act_on_heard(heard);
                }
            },
            |parent, token, event| match token {
                Token::Control => parent.accept_callers(),
                Token::Conversation(id) => parent.hear_caller(id),
                Token::Client(id) => parent.connections.wake(&parent.ctx, id, event),
                Token::Successor => parent.hear_successor(),
                Token::Predecessor => parent.hear_predecessor(),
                _ => {}
            },
            |parent, token, _| {
                if let Token::Listener(index) = token {
                    parent.accept_from(index, ACCEPT_BATCH);
                }
            },
        ];
        for pass in passes {
            for event in events {
                if let Some(token) = Token::of(event.token) {
                    pass(self, token, event);
                }
            }
        }
    }

    /// When something is due without an event; `None`: the parent sleeps until an event comes.
    fn next_deadline(&self) -> Option<Moment> {
        let ctx = &self.ctx;
        let may_start = !ctx.life.is_leaving() && !self.upgrade.is_under_way();
        let demand = self.connections.demand();
        [
            self.connections.next_deadline(ctx),
            self.workers.watch_deadline(),
            may_start
                .then(|| self.workers.pool_deadline(ctx, demand))
                .flatten(),
            self.upgrade
                .next_deadline(ctx, self.connections.open() == 0),
            self.control.next_deadline(),
            self.listeners.paused_until(),
            ctx.life.next_deadline(ctx.now),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
