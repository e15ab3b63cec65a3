//! Why a handler was not started: the status for its client, and advice for the author of the handler.

use crate::doctor::{self, Who};
use crate::route::Handler;
use crate::sys::launch::{LaunchFailure, LaunchStep};
use crate::sys::{Errno, Error, fd::AsFd};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

/// A launch that did not happen.
#[derive(Debug)]
pub(super) enum NotLaunched {
    /// Nothing was started.
    Unprepared(Error),
    /// clone(2) failed, or a step between it and the handler's first instruction.
    Failed(LaunchFailure),
    /// The kernel cannot make the sandbox that its section asks for.
    Unconfined(Error),
    /// A path that its sandbox names cannot be opened.
    Unreachable(PathBuf, Error),
    /// A field or path contains what no environment can hold.
    Unspeakable,
}

impl std::fmt::Display for NotLaunched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unprepared(e) => e.fmt(f),
            Self::Unconfined(e) => write!(f, "no sandbox: {e}"),
            Self::Unreachable(path, e) => write!(f, "{} of its sandbox: {e}", path.display()),
            Self::Failed(failure) => failure.error.fmt(f),
            Self::Unspeakable => f.write_str("the request holds a NUL byte"),
        }
    }
}

impl From<Error> for NotLaunched {
    fn from(e: Error) -> Self {
        Self::Unprepared(e)
    }
}

/// The status for a launch that failed.
pub(super) fn status_of(why: &NotLaunched) -> u16 {
    match why {
        NotLaunched::Unprepared(e) if e.is_shortage() => 503,
        NotLaunched::Failed(f) if f.error.is_shortage() => 503,
        NotLaunched::Failed(LaunchFailure {
            step: LaunchStep::Exec,
            error,
        }) if error.errno == Errno::ACCES => 403,
        NotLaunched::Unprepared(e) if matches!(e.errno, Errno::NOSPC | Errno::DQUOT) => 507,
        NotLaunched::Unspeakable => 400,
        _ => 500,
    }
}

/// Why execve has failed, for somebody who wrote a handler: the words of `--check`.
pub(super) fn advice(why: &NotLaunched, handler: &Handler, root: BorrowedFd<'_>) -> String {
    let error = match why {
        NotLaunched::Failed(LaunchFailure {
            step: LaunchStep::Exec,
            error,
        }) => error,
        NotLaunched::Unconfined(_) => {
            return "; its section does not say sandbox = best-effort".into();
        }
        _ => return String::new(),
    };
    let words = match error.errno {
        Errno::TXTBSY => "; somebody is writing to it",
        Errno::TOOBIG => "; the request's fields do not fit into an environment",
        _ => {
            let folder = handler.folder.as_ref().map_or(root, |f| f.as_fd());
            let fault = doctor::why_not(folder, handler.program(), &Who::this_process());
            let sandbox = match error.errno {
                Errno::ACCES => "; its sandbox does not let it read its interpreter or loader",
                _ => "",
            };
            return fault.map_or_else(|| sandbox.into(), |fault| format!("; it {fault}"));
        }
    };
    words.into()
}
