//! One exchange: from what has arrived of a request to the verdict on its connection.

use super::call::Begun;
use super::client::{Client, Outcome};
use super::context::{Context, is_safe, lacks_slash};
use super::input::{Arrived, Input};
use super::plan::Call;
use super::request::{Manner, Request};
use super::{outlet, progress};
use crate::birth::Birth;
use crate::channel::{Stage, Verdict};
use crate::http::{self, BodyLength, FieldStore, Form, HeadLimits};
use crate::route::Route;
use crate::scoreboard::Phase;
use crate::sys::{self, Errno, socket, time};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Serves clients one after the other; its memory is reused.
pub(super) struct Exchange<'a> {
    input: Input,
    fields: FieldStore,
    limits: HeadLimits,
    pub(super) context: Context<'a>,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(birth: &'a Birth<'a>) -> sys::Result<Self> {
        let limits = &birth.settings.limits;
        Ok(Self {
            input: Input::new(limits.max_head),
            fields: FieldStore::new(),
            limits: HeadLimits {
                max_head: limits.max_head,
                max_fields: limits.max_fields,
                max_target: limits.max_target,
            },
            context: Context::new(birth)?,
        })
    }

    /// Serves a client until the next step depends on it.
    pub(super) fn serve(
        &mut self,
        client: &Client,
        channel: BorrowedFd<'_>,
        spool: Option<OwnedFd>,
    ) -> Outcome {
        self.context.start_request(client.received);
        let result = match (client.serve.stage, spool) {
            (Stage::DrainKeep, spool) => outlet::resume(client, spool, true),
            (Stage::DrainClose, spool) => outlet::resume(client, spool, false),
            (Stage::Body | Stage::Retry, Some(spool)) => self.resume_body(client, channel, spool),
            (_, spool) => self.begin(client, channel, spool),
        };
        // A client that left in the middle of a large body must not leave that memory occupied.
        self.context.reader.reset();
        if !self.context.receipt.has_handler() {
            let held = time::now().since(client.received);
            self.context
                .birth
                .entry()
                .note_hold(u64::try_from(held.as_micros()).unwrap_or(u64::MAX));
        }
        result.unwrap_or_else(|e| {
            let id = client.serve.connection;
            self.context
                .birth
                .log
                .error(format_args!("unable to serve connection {id}: {e}"));
            Outcome::of(Verdict::Close)
        })
    }

    fn begin(
        &mut self,
        client: &Client,
        channel: BorrowedFd<'_>,
        spool: Option<OwnedFd>,
    ) -> sys::Result<Outcome> {
        let arrived = self.input.look(client, spool.as_ref())?;
        if arrived == Arrived::End {
            return Ok(Outcome::of(Verdict::Close));
        }
        let Self {
            input,
            fields,
            limits,
            context,
        } = self;
        match http::parse(input.bytes(), fields, limits) {
            Ok(http::Progress::Complete(head)) => {
                if client.serve.is_head_resumed && !client.is_unix() {
                    socket::set_receive_low_water(client.socket(), 1)?;
                }
                let request = Request::new(client, channel, input, &head);
                Ok(context.answer(request, None))
            }
            Ok(http::Progress::Partial) => self.park_head(client, arrived, spool.is_some()),
            Err(malformed) => Ok(context.refuse(client, input.bytes(), malformed)),
        }
    }

    /// Parks a client whose head is incomplete. The bytes stay in the socket where the kernel can
    /// wait for more of them, else they go into a spool.
    fn park_head(
        &mut self,
        client: &Client,
        arrived: Arrived,
        has_spool: bool,
    ) -> sys::Result<Outcome> {
        if arrived == Arrived::News && !has_spool && self.input.wait_for_more(client) {
            return Ok(Outcome::of(Verdict::Head));
        }
        self.context
            .birth
            .entry()
            .enter(Phase::Reading, time::now());
        if self.input.take_all(client)? == Arrived::End {
            return Ok(Outcome::of(Verdict::Close));
        }
        if self.input.taken() == 0 {
            return Ok(Outcome::of(Verdict::Head));
        }
        if !client.is_unix() {
            socket::set_receive_low_water(client.socket(), 1)?;
        }
        if let Err(why) = self.context.keeper.check_waiting() {
            let log = self.context.birth.log;
            log.error(format_args!("unable to keep a request's head: {why}"));
            return Ok(Outcome::of(Verdict::Close));
        }
        let spool = self.input.to_spool(self.context.keeper)?;
        Ok(Outcome::with(Verdict::Head, spool))
    }

    /// Goes on with a body where an earlier worker stopped.
    fn resume_body(
        &mut self,
        client: &Client,
        channel: BorrowedFd<'_>,
        spool: OwnedFd,
    ) -> sys::Result<Outcome> {
        self.context
            .birth
            .entry()
            .enter(Phase::Reading, client.received);
        let broken = sys::Error::new(&"pread", Errno::PROTO);
        let resumed = progress::resume(self.context.keeper, spool)?;
        if !self.input.load(&resumed.head) {
            return Err(broken);
        }
        let Self {
            input,
            fields,
            limits,
            context,
        } = self;
        match http::parse(input.bytes(), fields, limits) {
            Ok(http::Progress::Complete(head)) => {
                let request = Request::new(client, channel, input, &head);
                let spool = context.reader.take_up(resumed.spool)?;
                Ok(context.answer(request, Some((resumed.progress, spool))))
            }
            _ => Err(broken),
        }
    }
}

impl<'a> Context<'a> {
    /// Answers a request whose head is complete.
    pub(super) fn answer(&mut self, request: Request<'_>, begun: Begun<'a>) -> Outcome {
        let head = request.head;
        let Ok(target) = http::split(head.method, head.target) else {
            return self.fail(&request, request.broken(), 400);
        };
        if matches!(head.method, b"TRACE" | b"CONNECT") {
            let why = "TRACE and CONNECT are not served";
            return self.fail_for(&request, request.broken(), 501, why);
        }
        if target.form == Form::Asterisk {
            self.birth.entry().enter(Phase::Answering, time::now());
            let (outcome, sent) = self.answerer.options(request.client, request.drop_body());
            self.conclude(&request, 204, sent);
            return outcome;
        }
        if let Err(malformed) = self.path.decode(target.path) {
            let (status, why) = (malformed.status(), malformed.reason());
            return self.fail_for(&request, request.broken(), status, why);
        }
        let handler = match self.router.resolve(&self.path) {
            Route::Handler(handler) => handler,
            other => {
                let manner = self.drop_body(&request);
                return self.answer_without_handler(&request, manner, &other);
            }
        };
        if lacks_slash(&handler, &self.path) && is_safe(head.method) {
            let manner = self.drop_body(&request);
            return self.send_to_folder(&request, manner, &handler, target.query);
        }
        let settings = self.settings_of(&handler);
        match self.read_body(&request, &handler, begun) {
            Ok((progress, spool)) => {
                let call = Call {
                    handler,
                    settings,
                    method: head.method,
                    raw_path: target.path,
                    query: target.query,
                    is_redirected: false,
                    body_length: (head.body != BodyLength::None).then_some(progress.total),
                };
                self.receipt.bytes_in = progress.total;
                self.run(&request, call, spool)
            }
            Err(outcome) => outcome,
        }
    }

    /// How to answer without a look at the body.
    fn drop_body(&self, request: &Request<'_>) -> Manner {
        // The phase is set before anything is taken from the socket: if this worker dies then, no
        // other worker can read the request again.
        self.birth.entry().enter(Phase::Reading, time::now());
        request.drop_body()
    }
}
