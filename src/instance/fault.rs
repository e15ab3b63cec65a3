//! Why a server cannot have what it owns on disk, in one line with the way out. Parent only.

use super::PID_FILE;
use crate::sys::process::Pid;
use crate::sys::{self, Errno};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Why the server cannot have what it needs. `Display` is one line that names the thing and the
/// way out.
#[derive(Debug)]
pub(crate) enum Error {
    /// A call failed.
    Call {
        /// What was to be done, as in `unable to <verb>`.
        verb: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it could not be done.
        why: sys::Error,
        /// The option that names another one.
        option: &'static str,
    },
    /// A living server has it.
    Taken {
        /// What.
        path: PathBuf,
        /// By whom, if that can be told.
        owner: Option<Pid>,
        /// The option that names another one.
        option: &'static str,
    },
    /// Something that is not ours to replace.
    Foreign {
        /// What.
        path: PathBuf,
        /// What is wrong with it.
        is: &'static str,
        /// The option that names another one.
        option: &'static str,
    },
}

/// What taking something may end in.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether a file at a default path cannot be made because its folder does not allow it. A server goes
    /// without such a file.
    pub(crate) fn is_no_place(&self) -> bool {
        matches!(self, Self::Call { verb: "create" | "bind", path, why, .. } if is_by_default(path)
            && [Errno::ROFS, Errno::ACCES, Errno::PERM, Errno::NOENT].contains(&why.errno))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call {
                verb,
                path,
                why,
                option,
            } => write!(
                f,
                "unable to {verb} {}: {why}; {}",
                path.display(),
                WayOut(path, option)
            ),
            Self::Taken {
                path,
                owner,
                option,
            } => {
                write!(f, "{} belongs to a running server", path.display())?;
                if let Some(pid) = owner {
                    write!(f, " (pid {pid})")?;
                }
                write!(f, "; stop it or {}", WayOut(path, option))
            }
            Self::Foreign { path, is, option } => {
                write!(f, "{} {is}; {}", path.display(), WayOut(path, option))
            }
        }
    }
}

/// What to do about a file in the way: never to remove it, since it may be anybody's, or /dev/null.
struct WayOut<'a>(&'a Path, &'static str);

impl fmt::Display for WayOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "choose another with {}", self.1)?;
        if self.1 == PID_FILE {
            f.write_str(", or none")?;
        }
        // There is one for all users of the host.
        f.write_str(if is_by_default(self.0) {
            ", or give this server a --name"
        } else {
            ""
        })
    }
}

/// The abstract name that stands in for a Unix socket at a default path (Linux only).
pub(crate) fn unplaced(path: &Path) -> Option<PathBuf> {
    let name = || [b"@", path.as_os_str().as_bytes()].concat();
    (cfg!(target_os = "linux") && is_by_default(path)).then(|| OsString::from_vec(name()).into())
}

/// Whether this is the default path of a pid file or Unix socket.
pub(super) fn is_by_default(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let is_ours = name.starts_with(b"caffeine") || name.starts_with(b"webserver");
    is_ours && path.parent() == Some(Path::new("/tmp"))
}

pub(super) fn taken(path: &Path, owner: Option<Pid>, option: &'static str) -> Error {
    Error::Taken {
        path: path.to_path_buf(),
        owner,
        option,
    }
}

pub(super) fn failed(
    verb: &'static str,
    path: &Path,
    why: sys::Error,
    option: &'static str,
) -> Error {
    Error::Call {
        verb,
        path: path.to_path_buf(),
        why,
        option,
    }
}

pub(super) fn foreign(path: &Path, is: &'static str, option: &'static str) -> Error {
    Error::Foreign {
        path: path.to_path_buf(),
        is,
        option,
    }
}
