//! One exchange: from what has arrived of a request to the verdict on its connection.

use super::answer::Manner;
use super::desk::Desk;
use super::input::{Arrived, Input};
use super::released::Released;
use super::{Client, Outcome, outlet, progress};
use crate::birth::Birth;
use crate::channel::{Stage, Verdict};
use crate::http::{self, BodyLength, FieldStore, Head, HeadLimits};
use crate::scoreboard::{Entry, Origin, Phase, Scoreboard};
use crate::sys::{self, Errno, socket, time};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// Serves clients one after the other; its memory is reused.
pub(super) struct Exchange<'a> {
    input: Input,
    fields: FieldStore,
    limits: HeadLimits,
    desk: Desk<'a>,
}

/// One request with its client, as far as it has been understood.
#[derive(Clone, Copy)]
pub(super) struct Request<'r> {
    pub(super) client: &'r Client,
    pub(super) channel: BorrowedFd<'r>,
    pub(super) input: &'r Input,
    pub(super) head: &'r Head<'r>,
    pub(super) manner: Manner,
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
            desk: Desk::new(birth)?,
        })
    }

    /// The worker's slot.
    pub(super) fn entry(&self) -> Entry<'a> {
        self.desk.birth.entry()
    }

    /// All slots.
    pub(super) fn scoreboard(&self) -> &'a Scoreboard {
        self.desk.birth.scoreboard
    }

    /// What a client's spools are counted by.
    pub(super) fn origin_of(&self, client: &Client) -> Origin {
        let proxies = &self.desk.birth.settings.trusted_proxies;
        Origin::of(client.serve.peer, proxies)
    }

    /// How long a client may be silent between two requests.
    pub(super) fn keep_alive_timeout(&self) -> Duration {
        self.desk.birth.settings.limits.keep_alive_timeout
    }

    /// A detached process is left: it passes to the parent with this worker's end.
    pub(super) fn must_retire(&self) -> bool {
        self.desk.must_retire
    }

    /// A handler runs on although its response is complete.
    pub(super) fn has_released(&self) -> bool {
        self.desk.released.is_some()
    }

    /// That handler, to be stayed with.
    pub(super) fn take_released(&mut self) -> Option<Released<'a>> {
        self.desk.released.take()
    }

    /// Stays with it until it has ended.
    pub(super) fn stay_with(&mut self, released: Released<'a>, channel: BorrowedFd<'_>) {
        self.desk.stay_with(released, channel);
    }

    /// Serves a client until the next step depends on it.
    pub(super) fn serve(
        &mut self,
        client: &Client,
        channel: BorrowedFd<'_>,
        spool: Option<OwnedFd>,
    ) -> Outcome {
        self.desk.start_request(client.received);
        let result = match (client.serve.stage, spool) {
            (Stage::DrainKeep, spool) => outlet::resume(client, spool, true),
            (Stage::DrainClose, spool) => outlet::resume(client, spool, false),
            (Stage::Body | Stage::Retry, Some(spool)) => self.resume_body(client, channel, spool),
            (_, spool) => self.begin(client, channel, spool),
        };
        // A client that left in the middle of a large body must not leave its memory with the worker.
        self.desk.reader.reset();
        if !self.desk.receipt.has_handler() {
            let held = time::now().since(client.received);
            self.entry()
                .note_hold(u64::try_from(held.as_micros()).unwrap_or(u64::MAX));
        }
        result.unwrap_or_else(|e| {
            let id = client.serve.connection;
            self.desk
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
            desk,
        } = self;
        match http::parse(input.bytes(), fields, limits) {
            Ok(http::Progress::Complete(head)) => {
                if client.serve.is_head_resumed && !client.is_unix() {
                    socket::set_receive_low_water(client.socket(), 1)?;
                }
                let request = Request::new(client, channel, input, &head);
                Ok(desk.answer(request, None))
            }
            Ok(http::Progress::Partial) => self.park_head(client, arrived, spool.is_some()),
            Err(malformed) => Ok(desk.refuse(client, input.bytes(), malformed)),
        }
    }

    /// Waits for the rest of a head, in the kernel if that works, else with what is here in a spool.
    fn park_head(
        &mut self,
        client: &Client,
        arrived: Arrived,
        has_spool: bool,
    ) -> sys::Result<Outcome> {
        if arrived == Arrived::News && !has_spool && self.input.wait_for_more(client) {
            return Ok(Outcome::of(Verdict::Head));
        }
        self.entry().enter(Phase::Reading, time::now());
        if self.input.take_all(client)? == Arrived::End {
            return Ok(Outcome::of(Verdict::Close));
        }
        if self.input.taken() == 0 {
            return Ok(Outcome::of(Verdict::Head));
        }
        if !client.is_unix() {
            socket::set_receive_low_water(client.socket(), 1)?;
        }
        if let Err(why) = self.desk.keeper.check_waiting() {
            let log = self.desk.birth.log;
            log.error(format_args!("unable to keep a request's head: {why}"));
            return Ok(Outcome::of(Verdict::Close));
        }
        let spool = self.input.to_spool(self.desk.keeper)?;
        Ok(Outcome::with(Verdict::Head, spool))
    }

    /// Goes on with a body where an earlier worker stopped.
    fn resume_body(
        &mut self,
        client: &Client,
        channel: BorrowedFd<'_>,
        spool: OwnedFd,
    ) -> sys::Result<Outcome> {
        self.entry().enter(Phase::Reading, client.received);
        let broken = sys::Error {
            call: &"pread",
            errno: Errno::PROTO,
        };
        let resumed = progress::resume(self.desk.keeper, spool)?;
        if !self.input.load(&resumed.head) {
            return Err(broken);
        }
        let Self {
            input,
            fields,
            limits,
            desk,
        } = self;
        match http::parse(input.bytes(), fields, limits) {
            Ok(http::Progress::Complete(head)) => {
                let request = Request::new(client, channel, input, &head);
                let spool = desk.reader.take_up(resumed.spool)?;
                Ok(desk.answer(request, Some((resumed.progress, spool))))
            }
            _ => Err(broken),
        }
    }
}

impl<'r> Request<'r> {
    fn new(
        client: &'r Client,
        channel: BorrowedFd<'r>,
        input: &'r Input,
        head: &'r Head<'r>,
    ) -> Self {
        let manner = Manner {
            version: head.version,
            is_head: head.method == b"HEAD",
            close: !head.keep_alive || client.serve.is_last,
            linger: false,
        };
        Self {
            client,
            channel,
            input,
            head,
            manner,
        }
    }

    /// How to answer before the body was read: it is dropped if all of it is here, else the
    /// connection cannot be used any more.
    pub(super) fn drop_body(&self) -> Manner {
        let here = self.input.bytes().len();
        let whole = match self.head.body {
            BodyLength::None => Some(self.head.length),
            BodyLength::Length(n) => usize::try_from(n)
                .ok()
                .and_then(|n| self.head.length.checked_add(n)),
            BodyLength::Chunked => None,
        };
        match whole.filter(|&whole| whole <= here) {
            Some(whole) if self.input.consume(self.client, whole).is_ok() => self.manner,
            _ => self.broken(),
        }
    }

    /// What follows can no longer be read as a request.
    pub(super) fn broken(&self) -> Manner {
        Manner {
            close: true,
            linger: true,
            ..self.manner
        }
    }

    /// The request line, for the log.
    pub(super) fn line(&self) -> &'r [u8] {
        let bytes = self.input.bytes();
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let end = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
        bytes.get(..end).unwrap_or_default()
    }
}
