//! The worker: its way from order to verdict is the source's, what it does for a request is not.

use crate::birth::Birth;
use crate::channel::{self, Order, Serve, Stage, Verdict};
use crate::scoreboard::{Entry, Origin, Phase, Report, Spooled};
use crate::sys;
use crate::sys::fd::{BorrowedFd, OwnedFd, Socket};
use crate::sys::time::{self, Moment};
use client::{Client, Outcome};
use context::Context;
use exchange::Exchange;
use rest::RestEnd;

mod rest {
    whole!("src/worker/rest.rs");
}

mod client {
    use crate::channel::{Serve, Verdict};
    use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
    use crate::sys::time::{self, Moment};
    use std::cell::Cell;
    use std::time::Duration;

    take!(
        "src/worker/client.rs",
        "pub(crate) struct Outcome",
        "impl Outcome",
        "pub(crate) struct Client"
    );

    impl Client {
        take!(
            "src/worker/client.rs",
            "fn new",
            "fn begin_next",
            "fn socket"
        );
    }
}

take!(
    "src/worker/mod.rs",
    "fn serve_client",
    "fn serve_request",
    "fn give_verdict",
    "fn release_slot"
);

/// The loop of a worker.
pub fn work(birth: &Birth<'_>, channel: BorrowedFd<'_>) -> sys::Result<()> {
    let mut exchange = Exchange::new(birth);
    while let Some(received) = channel::receive_order(channel)? {
        match received.order {
            Order::Retire => return Ok(()),
            Order::Serve(serve) => {
                let Some(fd) = received.client else {
                    return Ok(());
                };
                let client = Client::new(fd, serve);
                if let Some(outcome) = serve_client(&mut exchange, channel, client, received.spool)
                {
                    give_verdict(&mut exchange.context, channel, &outcome)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Calls the handler if it has a place; `place` is that place.
pub fn call(birth: &Birth<'_>, place: &Socket) {
    let exchange = Exchange::new(birth);
    if exchange.claims() {
        place.touch();
        release_slot(birth.entry(), None);
    }
}

/// The only handler.
pub const HANDLER: u64 = 7;

mod context {
    use crate::birth::Birth;
    use crate::settings::HandlerSettings;
    use crate::sys::fd::BorrowedFd;

    pub(super) struct Handler;

    impl Handler {
        fn hash(&self) -> u64 {
            super::HANDLER
        }
    }

    /// A handler that runs on: no part of the model.
    pub(super) struct Released;

    pub(super) struct Context<'a> {
        pub(super) birth: &'a Birth<'a>,
        pub(super) released: Option<Released>,
        pub(super) must_retire: bool,
    }

    impl Context<'_> {
        take!("src/worker/call.rs", "fn claim_place");

        pub(super) fn stay_with(&mut self, _released: Released, _channel: BorrowedFd<'_>) {}
    }
}

mod exchange {
    use super::HANDLER;
    use super::client::{Client, Outcome};
    use super::context::{Context, Handler};
    use crate::birth::Birth;
    use crate::channel::Verdict;
    use crate::scoreboard::Phase;
    use crate::settings::HandlerSettings;
    use crate::sys::fd::{BorrowedFd, OwnedFd, Truth};
    use crate::sys::time;

    pub(super) struct Exchange<'a> {
        pub(super) context: Context<'a>,
    }

    impl<'a> Exchange<'a> {
        pub(super) fn new(birth: &'a Birth<'a>) -> Self {
            let context = Context {
                birth,
                released: None,
                must_retire: false,
            };
            Self { context }
        }

        pub(super) fn claims(&self) -> bool {
            self.context
                .claim_place(&HandlerSettings::default(), &Handler)
        }

        /// One request: each phase is said before what it stands for is done, as in the source.
        pub(super) fn serve(
            &mut self,
            client: &Client,
            _channel: BorrowedFd<'_>,
            _spool: Option<OwnedFd>,
        ) -> Outcome {
            let (entry, socket) = (self.context.birth.entry(), client.socket().socket());
            entry.set_handler(0);
            entry.set_handler(HANDLER);
            if !self.claims() {
                return Outcome::of(Verdict::Retry);
            }
            entry.set_phase(Phase::Reading);
            socket.go_on(Truth::Taken);
            entry.set_phase(Phase::Launched);
            socket.go_on(Truth::Launched);
            entry.enter(Phase::Answering, time::now());
            socket.go_on(Truth::Answering);
            socket.go_on(Truth::Answered);
            Outcome::of(Verdict::Keep)
        }
    }
}
