//! What every request of a worker needs, and the answers that need no handler.

use super::answer::Answerer;
use super::body::BodyReader;
use super::buffer::Buffer;
use super::client::{Client, Outcome};
use super::plan::Planner;
use super::receipt::Receipt;
use super::released::ReleasedHandler;
use super::request::{Manner, Request};
use super::response::Buffers;
use super::root::Root;
use super::spool::SpoolKeeper;
use super::stderr;
use crate::birth::Birth;
use crate::cgi;
use crate::http::{self, DecodedPath, Malformed};
use crate::log::Escaped;
use crate::route::{self, Handler, Route, Router, Writers};
use crate::scoreboard::{Budget, Phase};
use crate::settings::HandlerSettings;
use crate::sys;
use crate::sys::time::{self, Moment};
use std::ffi::{CStr, CString};
use std::num::NonZero;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Bytes of a handler's output that are moved at a time.
const RELAY_BYTES: usize = 64 * 1024;

/// What a worker keeps from request to request.
pub(super) struct Context<'a> {
    pub(super) birth: &'a Birth<'a>,
    pub(super) keeper: SpoolKeeper<'a>,
    root: Root,
    pub(super) router: Router<'a>,
    pub(super) path: DecodedPath,
    pub(super) reader: BodyReader,
    pub(super) planner: Planner<'a>,
    pub(super) answerer: Answerer<'a>,
    pub(super) buffers: Buffers,
    pub(super) relay_buffer: Buffer,
    pub(super) stderr: stderr::StderrPipe,
    pub(super) receipt: Receipt,
    pub(super) large_outputs: LargeOutputs,
    /// The settings of handlers without a section of their own.
    pub(super) default_settings: &'a HandlerSettings,
    /// A process that a handler has detached is this worker's child. The worker has to end, so that
    /// the process passes to the parent.
    pub(super) must_retire: bool,
    /// A handler that runs on although its response is complete.
    pub(super) released: Option<ReleasedHandler<'a>>,
}

/// Whether a folder was asked for without the slash at its end. The links on its page are relative
/// to that slash.
pub(super) fn lacks_slash(handler: &Handler, path: &DecodedPath) -> bool {
    handler.is_index && !path.trailing_slash()
}

/// Whether the method is one that changes nothing (RFC 9110 section 9.2.1).
pub(super) fn is_safe(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD")
}

/// Where spools that do not fit in memory are made. Lives as long as the process.
fn spool_folder() -> &'static CStr {
    let folder = std::env::temp_dir().into_os_string().into_vec();
    CString::new(folder).map_or(c"/tmp", |folder| Box::leak(folder.into_boxed_c_str()))
}

/// What the configuration file is called, if it lies below the root.
fn hidden_name(birth: &Birth<'_>) -> Option<Vec<u8>> {
    let config = birth.settings.config.as_ref()?;
    let folder = std::fs::canonicalize(config.parent()?).ok()?;
    let root = std::fs::canonicalize(&birth.settings.path).ok()?;
    let name = config.file_name()?.as_bytes().to_vec();
    folder.starts_with(root).then_some(name)
}

impl<'a> Context<'a> {
    pub(super) fn new(birth: &'a Birth<'a>) -> sys::Result<Self> {
        let settings = birth.settings;
        let keeper = SpoolKeeper {
            scoreboard: birth.scoreboard,
            entry: birth.entry(),
            folder: spool_folder(),
            budget: Budget::of(settings),
            max_memory: settings.limits.max_spool_memory.unwrap_or(0),
            max_writers: NonZero::new(birth.cpus.get() / 2).unwrap_or(NonZero::<usize>::MIN),
        };
        let (index, follow) = (&settings.index, settings.follow_symlinks);
        let writers = (!settings.allow_writable).then(Writers::of_this_process);
        Ok(Self {
            birth,
            keeper,
            root: Root::new(birth)?,
            router: Router::new(birth.root, index, follow, hidden_name(birth), writers),
            path: DecodedPath::new(),
            reader: BodyReader::new(),
            planner: Planner::new(birth)?,
            answerer: Answerer::new(&settings.error_pages, keeper),
            buffers: Buffers::default(),
            relay_buffer: Buffer::new(RELAY_BYTES),
            stderr: stderr::StderrPipe::new()?,
            receipt: Receipt::default(),
            large_outputs: LargeOutputs::default(),
            // The leak is the process's only one: it lives as long as the settings that it stands in for.
            default_settings: Box::leak(Box::new(HandlerSettings {
                allowance: settings.allowance.clone(),
                ..HandlerSettings::new(b"")
            })),
            must_retire: false,
            released: None,
        })
    }

    pub(super) fn start_request(&mut self, now: Moment) {
        if self.root.renew(self.birth, now) {
            self.router.hide(hidden_name(self.birth));
            self.planner.change_root(self.birth);
        }
        self.receipt.reset();
        self.reader.reset();
        self.birth.entry().set_handler(0);
        self.birth.entry().set_redirected(false);
    }

    /// Answers a head that breaks the rules of HTTP.
    pub(super) fn refuse(
        &mut self,
        client: &Client,
        bytes: &[u8],
        malformed: Malformed,
    ) -> Outcome {
        self.birth.entry().enter(Phase::Answering, time::now());
        let (outcome, sent) =
            self.answerer
                .error(client, Manner::of_nobody(bytes), malformed.status());
        self.receipt.status = malformed.status();
        self.receipt.bytes_out = sent;
        self.receipt.why = malformed.reason();
        let came = bytes.trim_ascii_start();
        self.receipt
            .write(self.birth.log, client, cgi::first_line(came));
        outcome
    }

    /// Answers with an error, and says why in the receipt.
    pub(super) fn fail_for(
        &mut self,
        request: &Request<'_>,
        manner: Manner,
        status: u16,
        why: &'static str,
    ) -> Outcome {
        self.receipt.why = why;
        self.fail(request, manner, status)
    }

    /// Answers a request that was understood with an error.
    pub(super) fn fail(&mut self, request: &Request<'_>, manner: Manner, status: u16) -> Outcome {
        self.birth.entry().enter(Phase::Answering, time::now());
        let retry_after = (status == 503).then_some(1);
        let (outcome, sent) = self
            .answerer
            .error_with(request.client, manner, status, retry_after);
        self.conclude(request, status, sent);
        outcome
    }

    /// Ends a request: counts it and writes its receipt, unless its handler runs on.
    pub(super) fn conclude(&mut self, request: &Request<'_>, status: u16, sent: u64) {
        self.receipt.status = status;
        self.receipt.bytes_out += sent;
        self.birth.entry().count_request();
        if self.released.is_some() {
            return self.receipt.release(request.client, request.line());
        }
        self.receipt
            .write(self.birth.log, request.client, request.line());
    }

    /// Answers a request for which no handler was found.
    pub(super) fn answer_without_handler(
        &mut self,
        request: &Request<'_>,
        manner: Manner,
        route: &Route,
    ) -> Outcome {
        if let Route::EmptyRoot = route
            && is_safe(request.head.method)
            && self.has_no_handlers()
        {
            self.birth.entry().enter(Phase::Answering, time::now());
            let (outcome, sent) = self.answerer.welcome(request.client, manner);
            self.conclude(request, 200, sent);
            return outcome;
        }
        if let Route::Failed(e) = route {
            let path = Escaped(self.path.bytes());
            self.birth
                .log
                .error(format_args!("unable to look up {path}: {e}"));
            let status = if e.is_shortage() { 503 } else { 500 };
            return self.fail(request, manner, status);
        }
        let (status, why) = match route {
            Route::Writable(name, stranger) => {
                let name = Escaped(name);
                self.birth
                    .log
                    .error(format_args!("refused to run {name}: it {stranger}"));
                (403, "others can write it")
            }
            Route::NotExecutable => (403, "not executable"),
            Route::NotFound(why) => (404, *why),
            _ => (404, "no index"),
        };
        self.fail_for(request, manner, status, why)
    }

    /// Sends the client to the folder of this index, with its query. The path is written anew from
    /// what was found: one that begins with two slashes would lead to another host.
    pub(super) fn send_to_folder(
        &mut self,
        request: &Request<'_>,
        manner: Manner,
        handler: &Handler,
        query: Option<&[u8]>,
    ) -> Outcome {
        let name = &handler.script_name;
        let index = handler.program().to_bytes().len() - b"./".len();
        let folder = name.get(..name.len() - index).unwrap_or(b"/");
        let mut location = Vec::new();
        http::push_path(&mut location, folder);
        if let Some(query) = query {
            location.push(b'?');
            http::push_reference(&mut location, query);
        }
        self.birth.entry().enter(Phase::Answering, time::now());
        let (outcome, sent) = self.answerer.redirect(request.client, manner, &location);
        self.conclude(request, 301, sent);
        outcome
    }

    /// Whether the root holds nothing but the configuration: then it is a new installation.
    fn has_no_handlers(&self) -> bool {
        let Ok(entries) = std::fs::read_dir(&self.birth.settings.path) else {
            return false;
        };
        let hidden = hidden_name(self.birth);
        !entries.flatten().any(|entry| {
            let name = entry.file_name();
            !route::is_hidden(name.as_bytes()) && Some(name.as_bytes()) != hidden.as_deref()
        })
    }

    pub(super) fn settings_of(&self, handler: &Handler) -> &'a HandlerSettings {
        let own = self
            .birth
            .settings
            .handlers
            .iter()
            .find(|h| h.name == handler.script_name);
        own.unwrap_or(self.default_settings)
    }
}

/// Bytes that a pipe holds by default (pipe(7)).
const PIPE_BYTES: u64 = 64 * 1024;

/// Handlers whose last output filled their pipe. Such a handler stands still until the worker reads, so the
/// worker must not wait for its end before it reads. Sixteen are remembered, by the hashes of their names.
#[derive(Default)]
pub(super) struct LargeOutputs([u64; 16]);

impl LargeOutputs {
    fn place(&mut self, handler: u64) -> Option<&mut u64> {
        let at = usize::try_from(handler % self.0.len() as u64);
        at.ok().and_then(|at| self.0.get_mut(at))
    }

    /// Whether this handler will probably fill its pipe.
    pub(super) fn has(&mut self, handler: u64) -> bool {
        self.place(handler).is_some_and(|place| *place == handler)
    }

    /// Notes how much a handler has printed.
    pub(super) fn note(&mut self, handler: u64, printed: u64) {
        let prints_much = printed >= PIPE_BYTES;
        if let Some(place) = self.place(handler)
            && (prints_much || *place == handler)
        {
            *place = if prints_much { handler } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_last_filled_its_pipe_is_remembered_until_it_does_not() {
        let mut large_outputs = LargeOutputs::default();
        large_outputs.note(17, PIPE_BYTES - 1);
        assert!(!large_outputs.has(17));
        large_outputs.note(17, PIPE_BYTES);
        assert!(large_outputs.has(17) && !large_outputs.has(33) && !large_outputs.has(1));
        large_outputs.note(33, 5);
        assert!(large_outputs.has(17), "another one in the same place");
        large_outputs.note(17, 5);
        assert!(!large_outputs.has(17));
    }
}
