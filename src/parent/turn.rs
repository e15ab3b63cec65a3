//! One turn of the parent's loop. Parent only.
//!
//! One readiness set holds everything: signals, channels, listeners, clients. (A poll(2) around a
//! nested epoll set would cost a second call per wake-up.) Refuses to do the work of a turn itself.

use super::Parent;
use super::token::Token;
use crate::sys::readiness::Event;
use crate::sys::time::{self, Moment};
use crate::sys::{self};

/// New clients per listener and turn: those who are served already come first again then.
const ACCEPT_BATCH: usize = 64;

impl Parent {
    /// Waits for events or the next deadline, then acts, in this order: who has died or is free
    /// comes before who wants to be served, and those who are here before those who arrive.
    pub(super) fn turn(&mut self) -> sys::Result<()> {
        let timeout = self.next_deadline().map(|at| at.since(self.now));
        let mut events = std::mem::take(&mut self.events);
        let waited = self.readiness.wait(&mut events, timeout);
        self.now = time::now();
        self.act_on(&events);
        self.events = events;
        self.let_bodies_on();
        self.expire();
        self.dispatch();
        self.reconcile();
        self.watch();
        self.live();
        self.let_rest();
        waited
    }

    /// The events by kind. A batch is at most 128, so going through it once per kind is cheaper
    /// than sorting, and keeps the order of arrival.
    fn act_on(&mut self, events: &[Event]) {
        let passes: [fn(&mut Self, Token, &Event); 4] = [
            |parent, token, _| {
                if token == Token::Signals {
                    parent.on_signals();
                }
            },
            |parent, token, _| {
                if let Token::Channel(slot, generation) = token {
                    parent.on_channel(slot, generation);
                }
            },
            |parent, token, event| match token {
                Token::Meeting => parent.on_meeting(),
                Token::Control(id) => parent.on_control(id),
                Token::Client(id) => parent.wake(id, event),
                Token::Heir => parent.on_heir(),
                Token::Elder => parent.on_elder(),
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

    /// When something is due without an event; `None` lets an idle parent sleep for ever.
    fn next_deadline(&self) -> Option<Moment> {
        [
            self.wheel.next(),
            self.stalled_deadline(),
            self.watch_at,
            self.house.paused_until(),
            self.control.next_deadline(),
            self.notify.next_deadline(),
            self.heir_deadline(),
            self.pool_deadline(),
            self.state.next_deadline(self.now),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
