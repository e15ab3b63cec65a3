//! What the server was told to do: the result of command line and configuration file.
//!
//! Plain values, filled in by `cli` and read by everything else. Nothing here parses or acts.

mod confine;
mod contradictions;

pub(crate) use confine::{Allowance, Ports, Sandbox};
pub(crate) use contradictions::contradictions;

use crate::limits::Limits;
use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// `PATH` of a handler, unless the configuration sets another.
pub(crate) const SEARCH_PATH: &[u8] =
    b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bytes of an instance's name: its socket's path has room for it.
pub(crate) const MAX_INSTANCE: usize = 64;

/// Whether an instance may be called so: part of a file name in any folder, plain in any terminal.
pub(crate) fn is_instance(name: &[u8]) -> bool {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"._-".contains(b);
    (1..=MAX_INSTANCE).contains(&name.len()) && !name.starts_with(b".") && name.iter().all(is_plain)
}

/// Severity of a log line, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Each dispatch, verdict and launch.
    Debug,
    /// Start, stop and one receipt per request.
    Info,
    /// Something that a handler or client did wrong, or that was refused.
    Warn,
    /// Something that the server could not do.
    Error,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// An address; without a port `Settings::port` holds.
    Tcp {
        /// The IPv4 or IPv6 address.
        addr: IpAddr,
        /// A port of its own, 0 for any.
        port: Option<u16>,
    },
    /// A Unix domain socket.
    Unix(PathBuf),
}

/// A trusted proxy: what it says of its client is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Everybody who reaches a Unix domain socket.
    Unix,
    /// The addresses that share so many first bits with this one.
    Network(IpAddr, u8),
}

impl TrustedProxy {
    /// Whether this peer is one (`None`: over a Unix domain socket).
    pub fn is(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer.map(|peer| peer.to_canonical())) {
            (Self::Unix, None) => true,
            (Self::Network(IpAddr::V4(network), bits), Some(IpAddr::V4(peer))) => {
                let differing = (network.to_bits() ^ peer.to_bits()).leading_zeros();
                differing >= u32::from(*bits)
            }
            (Self::Network(IpAddr::V6(network), bits), Some(IpAddr::V6(peer))) => {
                let differing = (network.to_bits() ^ peer.to_bits()).leading_zeros();
                differing >= u32::from(*bits)
            }
            _ => false,
        }
    }
}

/// What a client's FIN before the end of the response means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfClose {
    /// Ask: one interim 100 Continue makes a client that is gone answer with RST.
    Probe,
    /// A half-close: serve on.
    Serve,
    /// The client is gone: end the handler.
    Gone,
}

/// What a handler reads its body from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// A pipe when the body fits into it, else a file.
    Auto,
    /// Always a pipe, fed while the handler runs.
    Pipe,
}

/// A page of one's own for an error that the server itself answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// 400 to 599.
    pub status: u16,
    /// The file that holds it.
    pub path: PathBuf,
    /// The line of the configuration file that says so.
    pub line: usize,
    /// What the file held at start.
    pub body: Vec<u8>,
}

impl ErrorPage {
    /// Bytes that a page may have: workers keep all of them in memory.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// `text/plain` for a file called so, else `text/html`.
    pub fn content_type(&self) -> &'static str {
        match self.path.extension() {
            Some(end) if end == "txt" => "text/plain",
            _ => "text/html",
        }
    }
}

/// Settings of one handler; `None` takes the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerSettings {
    /// The path under which it is requested, `/name`.
    pub name: Vec<u8>,
    /// `handler-timeout`.
    pub handler_timeout: Option<Duration>,
    /// `max-body`.
    pub max_body: Option<u64>,
    /// `max-concurrent`.
    pub max_concurrent: Option<usize>,
    /// `half-close`.
    pub half_close: Option<HalfClose>,
    /// `stdin`.
    pub stdin: Stdin,
    /// `exit-status = strict`: a non-zero exit makes the response a failure.
    pub strict_exit: bool,
    /// `detach = yes`: processes that survive the handler are left alone.
    pub detach: bool,
    /// `authorization = yes`: the Authorization field reaches the handler.
    pub authorization: bool,
    /// `env NAME = value`, in order; after the server's own.
    pub env: Vec<(OsString, OsString)>,
    /// What it may use; what is not set is not limited.
    pub allowance: Allowance,
    /// What it may touch, if that is limited.
    pub sandbox: Option<Sandbox>,
}

impl HandlerSettings {
    /// The settings of a handler that has no section of its own.
    pub fn new(name: &[u8]) -> Self {
        Self {
            name: name.to_vec(),
            handler_timeout: None,
            max_body: None,
            max_concurrent: None,
            half_close: None,
            stdin: Stdin::Auto,
            strict_exit: false,
            detach: false,
            authorization: false,
            env: Vec::new(),
            allowance: Allowance::default(),
            sandbox: None,
        }
    }
}

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `--path`: the folder with the handlers.
    pub path: PathBuf,
    /// `--port`: for every TCP address without one of its own; 0 for any.
    pub port: u16,
    /// `--bind`; empty: all addresses, IPv4 and IPv6.
    pub bind: Vec<Bind>,
    /// `--trusted-proxy`.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// `--workers`: workers that are always there.
    pub workers: usize,
    /// `--log-level`.
    pub log_level: Level,
    /// `--daemon`.
    pub daemon: bool,
    /// `--socket`: the control socket, where workers and commands connect; `@NAME` is in no folder (unix(7), abstract).
    pub socket: PathBuf,
    /// `--pid-file`; `None`: the server has none.
    pub pid_file: Option<PathBuf>,
    /// `--log-file`.
    pub log_file: PathBuf,
    /// The configuration file that was read, if there was one.
    pub config: Option<PathBuf>,
    /// `--index`: the handler that answers for a folder.
    pub index: OsString,
    /// `--follow-symlinks`: links may lead out of `path`.
    pub follow_symlinks: bool,
    /// `half-close` for handlers without their own.
    pub half_close: HalfClose,
    /// `env NAME = value` for every handler.
    pub env: Vec<(OsString, OsString)>,
    /// `error-page STATUS = FILE`.
    pub error_pages: Vec<ErrorPage>,
    /// `--user`: whom the server becomes once it listens.
    pub user: Option<OsString>,
    /// `--group`, in place of the user's own.
    pub group: Option<OsString>,
    /// `--chroot`.
    pub chroot: Option<PathBuf>,
    /// `no-new-privs`: no exec gives a handler privileges that the server does not have.
    pub no_new_privs: bool,
    /// `--traceable`: processes of the same user may look into the server.
    pub traceable: bool,
    /// `--allow-writable`: handlers that others can write are run.
    pub allow_writable: bool,
    /// What handlers may use.
    pub allowance: Allowance,
    /// Sizes, numbers and times that bound what clients and handlers may take.
    pub limits: Limits,
    /// `[handler /name]` sections.
    pub handlers: Vec<HandlerSettings>,
}

impl Settings {
    /// Names of the user whom the server becomes and of the group, if one is named: by `--group`, else
    /// behind the colon of `--user`.
    pub(crate) fn account(&self) -> Option<(&[u8], Option<&[u8]>)> {
        let mut parts = self
            .user
            .as_ref()?
            .as_bytes()
            .splitn(2, |byte| *byte == b':');
        let user = parts.next().unwrap_or_default();
        let group = self.group.as_ref().map(|group| group.as_bytes());
        Some((user, group.or(parts.next())))
    }

    /// The largest body that any handler takes.
    pub fn largest_body(&self) -> u64 {
        let own = self.handlers.iter().filter_map(|handler| handler.max_body);
        own.fold(self.limits.max_body, u64::max)
    }
}
