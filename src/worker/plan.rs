//! The launch plan: everything between clone and exec is decided here, before the clone.

use super::body::BodyReader;
use super::client::Client;
use super::confine::Confines;
use super::feed::{Feed, Source};
use super::launch_failure::NotLaunched;
use super::spool::{Spool, SpoolKeeper};
use crate::birth::Birth;
use crate::cgi::{self, Environment, Forwarded, MetaVariables};
use crate::http::{DecodedPath, Head, Version};
use crate::log::Escaped;
use crate::route::Handler;
use crate::settings::{HandlerSettings, Level, SEARCH_PATH, Stdin};
use crate::sys::fd::{self, AsFd};
use crate::sys::file::{self, Open};
use crate::sys::launch::{Launcher, Plan, Pointers};
use crate::sys::process::Pid;
use crate::sys::{self, proc, socket};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

/// Which handler is called, and how.
pub(super) struct Call<'c> {
    pub(super) handler: Handler,
    pub(super) settings: &'c HandlerSettings,
    /// The method to tell it: of an internal redirect that is GET.
    pub(super) method: &'c [u8],
    /// The path to tell it, raw, and the query.
    pub(super) raw_path: &'c [u8],
    pub(super) query: Option<&'c [u8]>,
    pub(super) body_length: Option<u64>,
    /// It answers in place of another handler, to which the request's content went.
    pub(super) is_redirected: bool,
}

/// One request, as its handler is to see it.
pub(super) struct Job<'r> {
    pub(super) client: &'r Client,
    pub(super) head: &'r Head<'r>,
    pub(super) path: &'r DecodedPath,
    pub(super) call: &'r Call<'r>,
    pub(super) timeout: Duration,
}

/// A complete body: in a spool, else in the reader's memory.
pub(super) struct Body<'b, 'a> {
    pub(super) reader: &'b mut BodyReader,
    pub(super) spool: Option<Spool<'a>>,
    pub(super) keeper: SpoolKeeper<'a>,
}

/// A handler that runs.
pub(super) struct Running {
    pub(super) pid: Pid,
    /// Its output; `None` for nph, whose output is the client.
    pub(super) stdout: Option<OwnedFd>,
    /// What is still to be written to its stdin.
    pub(super) feed: Option<Feed>,
    /// Bytes written to the client before its nph handler began, if the kernel can tell.
    pub(super) written: Option<u64>,
}

/// Makes launch plans; its memory is reused from request to request.
pub(super) struct Planner<'a> {
    confines: Confines<'a>,
    launcher: Launcher,
    environment: Environment,
    meta: MetaVariables,
    envp: Pointers,
    argv: Pointers,
    /// Lives as long as the worker.
    null: &'static OwnedFd,
    document_root: Vec<u8>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(birth: &Birth<'a>) -> sys::Result<Self> {
        Ok(Self {
            confines: Confines::new(birth)?,
            launcher: Launcher::new()?,
            environment: Environment::new(),
            meta: MetaVariables::new(),
            envp: Pointers::default(),
            argv: Pointers::default(),
            null: Box::leak(Box::new(file::open_at(None, c"/dev/null", Open::Read)?)),
            document_root: document_root(birth),
        })
    }

    /// Another folder is the root from now on.
    pub(super) fn change_root(&mut self, birth: &Birth<'_>) {
        self.document_root = document_root(birth);
    }

    /// Why the last child never became the handler. Known once the child is reaped.
    pub(super) fn failure(&self) -> Option<NotLaunched> {
        self.launcher.failure().map(NotLaunched::Failed)
    }

    /// Starts the handler of a job.
    pub(super) fn launch(
        &mut self,
        birth: &Birth<'_>,
        job: &Job<'_>,
        body: Body<'_, '_>,
        stderr: BorrowedFd<'_>,
    ) -> Result<Running, NotLaunched> {
        self.write_environment(birth, job)?;
        let (stdin, feed) = open_stdin(job, body)?;
        let (stdout, stdout_end) = if job.call.handler.is_nph() {
            (None, None)
        } else {
            let (read_end, write_end) = fd::pipe()?;
            (Some(read_end), Some(write_end))
        };
        let null = self.null;
        let standard = [
            stdin.as_ref().map_or(null.as_fd(), |f| f.as_fd()),
            stdout_end
                .as_ref()
                .map_or(job.client.socket(), |f| f.as_fd()),
            stderr,
        ];
        let is_nph = job.call.handler.is_nph();
        let mut written = None;
        if is_nph {
            fd::set_nonblocking(job.client.socket(), false)?;
            written = socket::bytes_written(job.client.socket());
        }
        let started = self.start(birth, job, standard);
        if is_nph && (started.is_err() || self.failure().is_some()) {
            // No handler has this connection, so it may be kept: the worker must not wait for a
            // client that does not read.
            fd::set_nonblocking(job.client.socket(), true)?;
        }
        let pid = started?;
        Ok(Running {
            pid,
            stdout,
            feed,
            written,
        })
    }

    fn start(
        &mut self,
        birth: &Birth<'_>,
        job: &Job<'_>,
        standard: [BorrowedFd<'_>; 3],
    ) -> Result<Pid, NotLaunched> {
        let program = job.call.handler.program();
        let argv = self.argv.fill(program.to_bytes_with_nul(), &[0]);
        let envp = self
            .envp
            .fill(self.environment.bytes(), self.environment.offsets());
        let (Some(argv), Some(envp)) = (argv, envp) else {
            return Err(NotLaunched::Unspeakable);
        };
        let confine = self
            .confines
            .of(birth, &job.call.handler, job.call.settings)?;
        let plan = Plan {
            program,
            argv,
            envp,
            folder: job.call.handler.folder.as_ref().map(|f| f.as_fd()),
            standard,
            bounds: &confine.bounds,
            ruleset: confine.ruleset(),
        };
        let pid = self.launcher.launch(&plan).map_err(NotLaunched::Failed)?;
        if let Some(score) = confine.oom_score
            && let Err(e) = proc::set_oom_score(pid, score)
        {
            birth
                .log
                .debug(format_args!("unable to set oom-score-adj of {pid}: {e}"));
        }
        Ok(pid)
    }

    fn write_environment(&mut self, birth: &Birth<'_>, job: &Job<'_>) -> Result<(), NotLaunched> {
        let bound = birth
            .listeners
            .get(usize::from(job.client.serve.listener))
            .copied();
        // A wildcard listener does not tell which of the machine's addresses the client has used,
        // and this worker does not know the address of a listener that is younger than itself.
        let local = match bound {
            Some(Some(address)) if !address.ip().is_unspecified() => Some(address),
            Some(None) => None,
            _ => socket::local_address(job.client.socket()).ok().flatten(),
        };
        let peer = job.client.serve.peer;
        let fields = job.head.fields.iter();
        let forwarded = Forwarded::read(&birth.settings.trusted_proxies, peer, fields);
        let request = cgi::CgiRequest {
            method: job.call.method,
            protocol: match job.head.version {
                Version::Http10 => b"HTTP/1.0",
                Version::Http11 => b"HTTP/1.1",
            },
            raw_path: job.call.raw_path,
            host: forwarded.host.or(job.head.host),
            script_name: &job.call.handler.script_name,
            path_info: job
                .path
                .bytes()
                .get(job.call.handler.path_info_at..)
                .unwrap_or_default(),
            query: job.call.query,
            body_length: job.call.body_length,
            is_redirected: job.call.is_redirected,
            peer: job.client.serve.peer,
            forwarded,
            local,
            document_root: &self.document_root,
            search_path: SEARCH_PATH,
            queue_ms: u64::try_from(job.client.queued().as_millis()).unwrap_or(u64::MAX),
            deadline_ms: u64::try_from(job.timeout.as_millis()).unwrap_or(u64::MAX),
            authorization: job.call.settings.authorization,
            upgrade: job.call.handler.is_nph() && job.head.upgrade,
        };
        if birth.log.has(Level::Debug) {
            note_dropped(birth, job.head);
        }
        let extra = birth.settings.env.iter().chain(&job.call.settings.env);
        let extra = extra.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        self.meta
            .write(
                &mut self.environment,
                &request,
                job.head.fields.iter(),
                extra,
            )
            .map_err(|_| NotLaunched::Unspeakable)
    }
}

/// The canonical path of the root. If the root was moved just now, its name as it was given.
fn document_root(birth: &Birth<'_>) -> Vec<u8> {
    let path = &birth.settings.path;
    let root = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    root.into_os_string().into_vec()
}

/// Logs which fields do not reach the handler because of their names: nothing else tells the user.
#[cold]
fn note_dropped(birth: &Birth<'_>, head: &Head<'_>) {
    for (name, _) in head.fields {
        if !cgi::is_variable(name) {
            let name = Escaped(name);
            birth.log.debug(format_args!(
                "field {name} is not passed on: its name holds more than letters, digits and -"
            ));
        }
    }
}

/// The handler's stdin: nothing, a pipe that already holds the body or is fed from memory while the
/// output is relayed, or the body's file. CONTENT_LENGTH is always right: all of it is here.
fn open_stdin(
    job: &Job<'_>,
    body: Body<'_, '_>,
) -> Result<(Option<OwnedFd>, Option<Feed>), NotLaunched> {
    if let Some(large) = body.reader.take_large() {
        let (stdin, mut feed) = Feed::new(Source::Memory(large, 0))?;
        let has_more = feed.write()?;
        return Ok((Some(stdin), has_more.then_some(feed)));
    }
    if body.spool.is_none() && body.reader.memory().is_empty() {
        return Ok((None, None));
    }
    if body.spool.is_none()
        && let Some(pipe) = filled_pipe(body.reader.memory())?
    {
        return Ok((Some(pipe), None));
    }
    let mut spool = body.reader.spool_up(body.keeper, body.spool, 0)?;
    spool.seal()?;
    let file = match file::reopen(spool.fd().as_fd(), Open::Read) {
        Ok(file) => file,
        // Without /proc the handler gets this open file description itself, from its start.
        Err(_) => {
            let file = spool.into_fd();
            file::seek(file.as_fd(), 0)?;
            file
        }
    };
    if job.call.settings.stdin == Stdin::Auto {
        return Ok((Some(file), None));
    }
    let (stdin, feed) = Feed::new(Source::File(file))?;
    Ok((Some(stdin), Some(feed)))
}

/// A pipe with the whole body in it, if it fits. How much fits must be asked: a user with many
/// pipes gets small ones (pipe(7)).
fn filled_pipe(body: &[u8]) -> sys::Result<Option<OwnedFd>> {
    let (read_end, write_end) = fd::pipe()?;
    if body.len() > fd::pipe_size(write_end.as_fd())? {
        return Ok(None);
    }
    let written = fd::write(write_end.as_fd(), body)?;
    Ok((written == body.len()).then_some(read_end))
}
