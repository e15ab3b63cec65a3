//! One call of a handler: its body, its launch, its relay, and what the client gets in the end.

use super::body::{BodyRead, PIECE, Reading};
use super::client::Outcome;
use super::context::Context;
use super::detached;
use super::ending::{self, Finished, ResponseFate};
use super::launch_failure::{self, NotLaunched};
use super::outlet::{self, Outlet};
use super::plan::{Body, Call, Job, Running};
use super::process_tree::{self, Swept};
use super::progress::BodyProgress;
use super::relay::{Relay, RelayTask};
use super::released::{RelayParts, ReleasedHandler, WaitEnd};
use super::request::Request;
use super::response::Response;
use super::spool::{NoRoom, Spool};
use super::stderr::{self, HandlerStderr};
use crate::channel::Verdict;
use crate::http::{BodyLength, Version};
use crate::log::Escaped;
use crate::route::Handler;
use crate::scoreboard::Phase;
use crate::settings::HandlerSettings;
use crate::sys::process::{Pid, Reaped};
use crate::sys::time::Moment;
use crate::sys::{fd, teardown, time};

use std::os::fd::BorrowedFd;
use std::time::Duration;

const TOO_LARGE: &str = "body longer than max-body";

/// A body that an earlier worker began to read.
pub(super) type Begun<'a> = Option<(BodyProgress, Option<Spool<'a>>)>;

/// What one call came to.
pub(super) enum Called {
    Done(Outcome),
    /// The handler names another path to answer in its place.
    Redirect(Vec<u8>),
}

impl<'a> Context<'a> {
    /// Reads the body of a request whose handler is known. `Err`: the handler is not called now,
    /// and this is what becomes of the client.
    pub(super) fn read_body(
        &mut self,
        request: &Request<'_>,
        handler: &Handler,
        begun: Begun<'a>,
    ) -> Result<(BodyProgress, Option<Spool<'a>>), Outcome> {
        let head = request.head;
        let settings = self.settings_of(handler);
        let max_body = settings
            .max_body
            .unwrap_or(self.birth.settings.limits.max_body);
        if matches!(head.body, BodyLength::Length(n) if n > max_body) {
            return Err(self.fail_for(request, request.broken(), 413, TOO_LARGE));
        }
        if matches!(head.body, BodyLength::Length(n) if n > self.keeper.budget.total) {
            return Err(self.fail_for_room(request, &self.keeper.limit()));
        }
        self.birth.entry().set_handler(handler.hash());
        let job = Reading {
            client: request.client,
            keeper: self.keeper,
            head: request.input.bytes().get(..head.length).unwrap_or_default(),
            max_body,
            taken_up: begun.as_ref().map(|(progress, _)| progress.total),
        };
        let is_resumed = begun.is_some();
        let (mut progress, spool) = match begun {
            Some(begun) => begun,
            None => (self.take_head(request, &job, handler)?, None),
        };
        match self.reader.read(&job, &mut progress, spool) {
            BodyRead::Complete(spool) if is_resumed && !self.claim_place(settings, handler) => {
                Err(self.wait_with_body(request, &job, progress, spool))
            }
            BodyRead::Complete(spool) => {
                Ok((progress, spool.filter(|_| head.body != BodyLength::None)))
            }
            BodyRead::Parked(spool) => Err(Outcome::with(Verdict::Body, spool)),
            BodyRead::ClientGone => Err(Outcome::of(Verdict::Close)),
            BodyRead::TooLarge => Err(self.fail_for(request, request.broken(), 413, TOO_LARGE)),
            BodyRead::Malformed(m) => {
                Err(self.fail_for(request, request.broken(), m.status(), m.reason()))
            }
            BodyRead::Stalled(spool) => Err(Outcome::with(Verdict::Stall, spool)),
            BodyRead::Unable(why) => Err(self.fail_for_room(request, &why)),
        }
    }

    /// Answers 507, and logs what is full.
    fn fail_for_room(&mut self, request: &Request<'_>, why: &NoRoom) -> Outcome {
        self.birth
            .log
            .error(format_args!("unable to keep a request's body: {why}"));
        self.fail_for(request, request.broken(), 507, "no room for its body")
    }

    /// Takes the head off the socket. It stays there if the request has to wait for others that run
    /// its handler, and nothing of the head has been taken before.
    fn take_head(
        &mut self,
        request: &Request<'_>,
        job: &Reading<'_, 'a>,
        handler: &Handler,
    ) -> Result<BodyProgress, Outcome> {
        let head = request.head;
        let must_wait = !self.claim_place(self.settings_of(handler), handler);
        if request.input.taken() == 0 {
            if must_wait {
                return Err(Outcome::of(Verdict::Retry));
            }
            if !self.has_room_for(head.body) {
                return Err(Outcome::of(Verdict::Stall));
            }
        }
        let client = request.client;
        self.birth.entry().enter(Phase::Reading, client.received);
        if request.input.consume(client, head.length).is_err() {
            return Err(Outcome::of(Verdict::Close));
        }
        let progress = BodyProgress::new(head.body, head.expect_continue);
        match must_wait {
            true => Err(self.wait_with_body(request, job, progress, None)),
            false => Ok(progress),
        }
    }

    /// Puts the request into a spool: it has to wait for others that run its handler.
    fn wait_with_body(
        &mut self,
        request: &Request<'_>,
        job: &Reading<'_, 'a>,
        progress: BodyProgress,
        spool: Option<Spool<'a>>,
    ) -> Outcome {
        match self.reader.spool_with_head(job, progress, spool) {
            Ok(spool) => Outcome::with(Verdict::Retry, spool.into_fd()),
            Err(why) => self.fail_for_room(request, &why),
        }
    }

    /// Whether there is room for a body of which nothing has been read. One that needs no spool has
    /// room always.
    fn has_room_for(&self, body: BodyLength) -> bool {
        let more = match body {
            BodyLength::None => 0,
            BodyLength::Length(n) => n,
            BodyLength::Chunked => u64::MAX,
        };
        more <= PIECE as u64 || self.keeper.takes_body(more.min(self.keeper.budget.step()))
    }

    /// Claims a place under the handler's `max-concurrent`, and among those of heavy handlers (`scoreboard/heavy`);
    /// false if all are taken. The claim is made before
    /// the places are counted, so that there are never too many. Of two workers that claim the last place at
    /// the same moment both may be refused; the parent gives them their requests again one after the other.
    pub(super) fn claim_place(&self, settings: &HandlerSettings, handler: &Handler) -> bool {
        let (entry, hash) = (self.birth.entry(), handler.hash());
        let limit = settings
            .max_concurrent
            .or(self.birth.settings.limits.max_concurrent);
        entry.set_claim(hash);
        let board = self.birth.scoreboard;
        let has_room = limit.is_none_or(|limit| board.concurrent(hash) <= limit)
            && (!board.is_heavy(hash) || board.room_for_heavy(&self.birth.settings.limits) >= 0);
        if !has_room {
            entry.set_claim(0);
        }
        has_room
    }

    /// Launches one handler and relays its output.
    pub(super) fn call(
        &mut self,
        request: &Request<'_>,
        call: &Call<'_>,
        spool: Option<Spool<'a>>,
    ) -> Called {
        let limits = &self.birth.settings.limits;
        let timeout = call
            .settings
            .handler_timeout
            .unwrap_or(limits.handler_timeout);
        let (entry, started) = (self.birth.entry(), time::now());
        entry.set_deadline(started.after(timeout));
        entry.enter(first_phase(&call.handler), started);
        let job = Job {
            client: request.client,
            head: request.head,
            path: &self.path,
            call,
            timeout,
        };
        let body = Body {
            reader: &mut self.reader,
            spool,
            keeper: self.keeper,
        };
        let running = match self
            .planner
            .launch(self.birth, &job, body, self.stderr.write_end())
        {
            Ok(running) => running,
            Err(why) => return Called::Done(self.fail_launch(request, &call.handler, &why)),
        };
        self.note_running(running.pid, &call.handler.script_name);
        self.relay(request, call, running, started.after(timeout))
    }

    /// Relays the output of a running handler. Unless the handler runs on, it is ended here, with
    /// all that it has started.
    fn relay(
        &mut self,
        request: &Request<'_>,
        call: &Call<'_>,
        running: Running,
        deadline: Moment,
    ) -> Called {
        let (finished, is_running, parts) = {
            let task = RelayTask {
                birth: self.birth,
                client: request.client,
                channel: request.channel,
                name: &call.handler.script_name,
                settings: call.settings,
                stderr: &self.stderr,
                can_probe: request.head.version == Version::Http11,
                prints_much: self.large_outputs.has(call.handler.hash()),
                deadline,
            };
            let response = Response::new(&mut self.buffers, request.manner);
            let max_spool = self.birth.settings.limits.max_spool;
            let outlet = Outlet::new(request.client, self.keeper, max_spool);
            let mut relay = Relay::new(task, running, response, outlet, &mut self.relay_buffer);
            let end = relay.run();
            self.large_outputs
                .note(call.handler.hash(), relay.printed());
            let finished = ending::finish(&mut relay, end, self.planner.failure());
            (finished, end.is_handler_running(), relay.into_parts())
        };
        if is_running {
            let settings = self.settings_of(&call.handler);
            self.released = Some(ReleasedHandler { parts, settings });
            return self.conclude_call(request, call, finished);
        }
        self.clean_up(call.settings, parts, finished.reaped);
        self.conclude_call(request, call, finished)
    }

    /// Stays with a handler whose client was let go until the handler ends, or has to be ended.
    /// Then all that it has started is ended and its receipt is written, as for any other request.
    pub(super) fn stay_with(&mut self, released: ReleasedHandler<'a>, channel: BorrowedFd<'_>) {
        let ReleasedHandler {
            mut parts,
            settings,
        } = released;
        let grace = self.birth.settings.limits.kill_grace;
        let log = self.birth.log;
        let name = std::mem::take(&mut self.receipt.handler);
        let paused = std::mem::take(&mut parts.stderr);
        let mut stderr = HandlerStderr::resume((log, &name), parts.pid, &self.stderr, paused);
        let (over, reaped) = parts.wait(&mut stderr, channel);
        match over {
            WaitEnd::TimedOut => log.warn(format_args!(
                "{}: over its time limit after its client was let go, ended",
                Escaped(&name)
            )),
            WaitEnd::TooMuch => log.warn(format_args!(
                "{}: printed too much after its client was let go, ended",
                Escaped(&name)
            )),
            WaitEnd::Unfed(why) => log.error(format_args!(
                "{}: unable to feed the rest of its body after its client was let go: {why}, ended",
                Escaped(&name)
            )),
            WaitEnd::Ended => ending::log_late_end(log, &name, reaped),
            WaitEnd::ParentGone => {}
        }
        let grace = match over {
            WaitEnd::ParentGone => Duration::ZERO,
            _ => grace,
        };
        let reaped =
            reaped.or_else(|| process_tree::end_handler(parts.pid, settings, grace, channel));
        stderr.finish();
        parts.stderr = stderr.pause();
        self.receipt.handler = name;
        self.clean_up(settings, parts, reaped);
        self.receipt.write_released(log);
    }

    /// Names the handler in the worker's slot and in the receipt.
    fn note_running(&mut self, pid: Pid, name: &[u8]) {
        self.birth.entry().set_running(pid.raw(), name);
        self.receipt.name_handler(pid, name);
    }

    /// The handler is gone: notes how it has ended, and ends what it has left behind, unless its settings let
    /// it detach.
    fn clean_up(&mut self, settings: &HandlerSettings, parts: RelayParts, reaped: Option<Reaped>) {
        self.birth.entry().set_handler_pid(0);
        if let Some(reaped) = reaped {
            self.receipt.ended = Some(reaped.ended);
            self.receipt.usage = reaped.usage;
        }
        let was_alone = if settings.detach {
            let has_left = process_tree::reap_and_find_others();
            if has_left {
                self.must_retire = true;
                detached::listen(self.birth.log, &self.receipt.handler, &self.stderr, parts);
            }
            !has_left
        } else {
            let swept = process_tree::end_rest(self.birth.log, &self.receipt.handler, parts.pid);
            self.must_retire |= swept == Swept::NotAll;
            swept == Swept::Nothing
        };
        if !(was_alone && self.stderr.is_as_new())
            && let Ok(stderr) = stderr::StderrPipe::new()
        {
            self.stderr = stderr;
        }
    }

    /// What the client gets, and what becomes of its connection.
    fn conclude_call(
        &mut self,
        request: &Request<'_>,
        call: &Call<'_>,
        finished: Finished,
    ) -> Called {
        let client = request.client;
        let is_nph = call.handler.is_nph();
        if is_nph {
            // The handler may have made the socket blocking, or its close waiting (SO_LINGER); the
            // worker and the parent must never wait for a client.
            let _ = fd::set_nonblocking(client.socket(), true);
            let _ = teardown::reset_on_close(client.socket(), false);
        }
        let outcome = match finished.fate {
            ResponseFate::Complete if is_nph => {
                // The client got the handler's own bytes: only the end of the connection tells it
                // that they are complete.
                let _ = teardown::shutdown(client.socket(), teardown::Direction::Write);
                outlet::close(client)
            }
            ResponseFate::Redirect(target) => return Called::Redirect(target),
            ResponseFate::NotLaunched(why) => {
                return Called::Done(self.fail_launch(request, &call.handler, &why));
            }
            ResponseFate::Replace(status) => {
                // An nph handler may have read from the connection: no request can follow on it.
                let manner = match is_nph {
                    true => request.broken(),
                    false => request.manner,
                };
                return Called::Done(self.fail(request, manner, status));
            }
            ResponseFate::Complete => match (finished.spool, finished.must_close) {
                (Some(spool), true) => Outcome::with(Verdict::DrainClose, spool),
                (Some(spool), false) => Outcome::with(Verdict::DrainKeep, spool),
                (None, true) => outlet::close(client),
                (None, false) => Outcome::of(Verdict::Keep),
            },
            ResponseFate::Cut => {
                self.receipt.is_cut = true;
                outlet::cut(client, self.keeper, finished.spool)
            }
            ResponseFate::Drop => {
                self.receipt.is_client_gone = true;
                Outcome::of(Verdict::Close)
            }
        };
        self.receipt.first_byte = finished.first_byte;
        self.conclude(request, finished.status, finished.written);
        Called::Done(outcome)
    }

    /// Answers a request whose handler could not be started: 503 if trying again may help, else
    /// 500; the log says why and what to do.
    fn fail_launch(
        &mut self,
        request: &Request<'_>,
        handler: &Handler,
        why: &NotLaunched,
    ) -> Outcome {
        let name = Escaped(&handler.script_name);
        let advice = launch_failure::advice(why, handler, self.birth.root);
        self.birth
            .log
            .error(format_args!("unable to launch {name}: {why}{advice}"));
        self.fail(request, request.manner, launch_failure::status_of(why))
    }
}

/// The phase of a request as soon as its handler runs. The worker cannot see when an nph handler
/// begins to answer, so it counts as answering from the start.
fn first_phase(handler: &Handler) -> Phase {
    match handler.is_nph() {
        true => Phase::Answering,
        false => Phase::Launched,
    }
}
