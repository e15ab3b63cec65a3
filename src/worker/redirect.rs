//! The handler of a request, and those that answer in its place: a handler may name another path
//! (RFC 3875 section 6.2.2).

use super::call::Called;
use super::client::Outcome;
use super::context::{Context, lacks_slash};
use super::plan::Call;
use super::request::Request;
use super::spool::Spool;
use crate::channel::Verdict;
use crate::http;
use crate::log::Escaped;
use crate::route::{Handler, Route};
use crate::scoreboard::Phase;
use crate::settings::{HalfClose, HandlerSettings};
use crate::sys::{poll, time};
use std::time::Duration;

/// Internal redirects that one request may cause.
const MAX_REDIRECTS: usize = 10;

/// Whether a request may run a handler.
enum Claim {
    Granted,
    /// The handler's places were taken all the time.
    TimedOut,
    ClientGone,
}

/// How often the worker tries to claim a place.
const PACE: Duration = Duration::from_millis(10);

impl<'a> Context<'a> {
    /// Calls the handler, and those that it redirects to.
    pub(super) fn run(
        &mut self,
        request: &Request<'_>,
        call: Call<'_>,
        spool: Option<Spool<'a>>,
    ) -> Outcome {
        let own = call.settings.half_close;
        let half_close = own.unwrap_or(self.birth.settings.half_close);
        if request.client.has_left(half_close) {
            self.receipt.is_client_gone = true;
            self.conclude(request, 0, 0);
            return Outcome::of(Verdict::Close);
        }
        match self.call(request, &call, spool) {
            Called::Done(outcome) => {
                self.router.recycle(call.handler);
                outcome
            }
            Called::Redirect(target) => self.follow(request, &call.handler.script_name, target),
        }
    }

    /// The settings for a handler that runs after one that has left a job on purpose (`detach = yes`). The
    /// worker cannot tell that job from what this handler leaves behind, so it ends neither.
    fn sparing(&self, settings: &'a HandlerSettings) -> &'a HandlerSettings {
        if !self.must_retire || settings.detach {
            return settings;
        }
        // The leak is small: this worker is about to leave.
        Box::leak(Box::new(HandlerSettings {
            detach: true,
            ..settings.clone()
        }))
    }

    /// Waits for a place under the handler's `max-concurrent`. The worker waits itself: the parent would
    /// start the request again from its first handler, which has run already. It gives up the first handler's
    /// place before, since two requests that wait for each other's place would both wait in vain.
    fn wait_for_place(
        &self,
        request: &Request<'_>,
        settings: &HandlerSettings,
        handler: &Handler,
    ) -> Claim {
        let entry = self.birth.entry();
        entry.set_redirected(true);
        let until = time::now().after(self.birth.settings.limits.queue_timeout);
        let half_close = settings
            .half_close
            .unwrap_or(self.birth.settings.half_close);
        let client = Some(request.client.socket()).filter(|_| half_close != HalfClose::Serve);
        while !self.claim_place(settings, handler) {
            let now = time::now();
            if now >= until {
                return Claim::TimedOut;
            }
            entry.set_deadline(until);
            entry.enter(Phase::Launched, now);
            let mut set = [poll::of_any(client, 0), poll::of(request.channel, 0)];
            let _ = poll::wait_undisturbed(&mut set, Some(PACE));
            if set.iter().any(|fd| fd.revents != 0) {
                return Claim::ClientGone;
            }
        }
        Claim::Granted
    }

    /// Calls the handler that another one has named, and those that it names in turn, as for a GET.
    pub(super) fn follow(
        &mut self,
        request: &Request<'_>,
        first: &[u8],
        mut target: Vec<u8>,
    ) -> Outcome {
        for _ in 0..MAX_REDIRECTS {
            self.reader.reset();
            let parts = http::split(b"GET", &target);
            let path = parts.and_then(|parts| self.path.decode(parts.path).map(|()| parts));
            let parts = match path {
                Ok(parts) => parts,
                Err(why) => {
                    let (first, target) = (Escaped(first), Escaped(&target));
                    self.birth.log.warn(format_args!(
                        "{first}: unable to redirect to {target}: {}",
                        why.reason()
                    ));
                    return self.fail(request, request.manner, 502);
                }
            };
            let handler = match self.router.resolve(&self.path) {
                Route::Handler(handler) => handler,
                other => return self.answer_without_handler(request, request.manner, &other),
            };
            if lacks_slash(&handler, &self.path) {
                return self.send_to_folder(request, request.manner, &handler, parts.query);
            }
            let settings = self.settings_of(&handler);
            match self.wait_for_place(request, settings, &handler) {
                Claim::Granted => {}
                Claim::ClientGone => {
                    self.receipt.is_client_gone = true;
                    self.conclude(request, 0, 0);
                    return Outcome::of(Verdict::Close);
                }
                Claim::TimedOut => {
                    let why = "no place in time under max-concurrent after a local redirect";
                    return self.fail_for(request, request.manner, 503, why);
                }
            }
            let call = Call {
                settings: self.sparing(settings),
                handler,
                method: b"GET",
                raw_path: parts.path,
                query: parts.query,
                body_length: None,
                is_redirected: true,
            };
            match self.call(request, &call, None) {
                Called::Done(outcome) => return outcome,
                Called::Redirect(next) => target = next,
            }
        }
        let first = Escaped(first);
        self.birth.log.warn(format_args!(
            "{first}: more than {MAX_REDIRECTS} internal redirects"
        ));
        self.fail(request, request.manner, 502)
    }
}
