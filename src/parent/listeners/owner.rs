//! The owner itself: which listeners there are, and whether they are waited for.

use super::socket::Listener;
use crate::parent::context::Context;
use crate::parent::token::Token;
use crate::sys::file::{self, Open};
use crate::sys::time::Moment;
use crate::sys::{self, poll};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long the listeners stay out of the readiness set when nothing can be done.
const PAUSE: Duration = Duration::from_millis(100);

/// All listeners.
pub(in crate::parent) struct Listeners {
    pub(super) list: Vec<Listener>,
    /// Until when they are out of the readiness set.
    pub(super) paused_until: Option<Moment>,
    /// One descriptor kept in reserve, so that a new worker can be accepted at the control socket when there is none
    /// left.
    reserve: Option<OwnedFd>,
}

impl Listeners {
    /// These listeners, which are bound already.
    pub(in crate::parent) fn new(list: Vec<Listener>) -> Self {
        Self {
            list,
            paused_until: None,
            reserve: null(),
        }
    }

    /// All listeners.
    pub(in crate::parent) fn all(&self) -> &[Listener] {
        &self.list
    }

    /// Their numbers.
    pub(in crate::parent) fn numbers(&self) -> Vec<u8> {
        self.list.iter().map(|l| l.index).collect()
    }

    fn get(&self, index: u8) -> Option<&Listener> {
        self.list.iter().find(|l| l.index == index)
    }

    /// Accepts the next client of a listener; `None`: there is no such listener.
    pub(in crate::parent) fn accept(
        &self,
        index: u8,
    ) -> Option<sys::Result<(OwnedFd, Option<SocketAddr>)>> {
        let listener = self.get(index)?;
        Some(sys::socket::accept(listener.fd()))
    }

    /// Whether a client waits at a listener.
    pub(in crate::parent) fn has_client(&self, index: u8) -> bool {
        self.get(index).is_some_and(|l| {
            poll::wait_one(l.fd(), poll::READABLE, Duration::ZERO).unwrap_or(false)
        })
    }

    /// Puts the listeners into the readiness set.
    pub(in crate::parent) fn watch(&self, ctx: &Context) {
        self.watch_from(ctx, 0);
    }

    /// Puts those from this place on into the readiness set.
    pub(super) fn watch_from(&self, ctx: &Context, place: usize) {
        for listener in self.list.iter().skip(place) {
            let token = Token::Listener(listener.index).number();
            if let Err(e) = ctx.readiness.watch(listener.fd(), token) {
                ctx.log
                    .error(format_args!("unable to watch {}: {e}", listener.shown()));
            }
        }
    }

    /// Takes the listeners out of the readiness set. During a pause they are out already.
    pub(in crate::parent) fn unwatch(&self, ctx: &Context) {
        for listener in &self.list {
            let _ = ctx.readiness.forget(listener.fd());
        }
    }

    /// Closes the listeners. Clients that are connected and were not accepted before would be reset.
    pub(in crate::parent) fn close(&mut self, ctx: &Context) {
        self.unwatch(ctx);
        self.list.clear();
    }

    /// Says whether this server removes the files of Unix domain listeners at its end.
    pub(in crate::parent) fn set_own(&mut self, is_own: bool) {
        for listener in &mut self.list {
            listener.set_own(is_own);
        }
    }

    /// Takes the listeners out of the readiness set for a moment: clients that wait there and cannot be accepted would
    /// wake the parent without end.
    pub(in crate::parent) fn pause(&mut self, ctx: &Context) {
        self.unwatch(ctx);
        self.paused_until = Some(ctx.now.after(PAUSE));
    }

    /// Until when no client is accepted, during a pause.
    pub(in crate::parent) fn paused_until(&self) -> Option<Moment> {
        self.paused_until
    }

    /// Ends the pause when it is over: true, once.
    pub(in crate::parent) fn end_pause(&mut self, ctx: &Context) -> bool {
        let is_over = self.paused_until.is_some_and(|until| until <= ctx.now);
        if is_over {
            self.paused_until = None;
            if self.reserve.is_none() {
                self.reserve = null();
            }
        }
        is_over
    }

    /// Closes the descriptor in reserve, so that a connection can be accepted; false if it is used up.
    pub(in crate::parent) fn use_reserve(&mut self) -> bool {
        self.reserve.take().is_some()
    }

    /// Where each is bound, by its number.
    pub(in crate::parent) fn ports(&self) -> impl Iterator<Item = Option<SocketAddr>> {
        self.list.iter().map(|listener| listener.address)
    }
}

fn null() -> Option<OwnedFd> {
    file::open_at(None, c"/dev/null", Open::Read).ok()
}
