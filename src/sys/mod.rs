//! Every system call of the server, one function per call: `BorrowedFd` in, `OwnedFd` out.
//!
//! This is the only module that may say `unsafe` or name `libc`. It decides nothing: an expected
//! errno is a value for the caller to match, EINTR is retried here (except where a signal is what
//! the caller waits for), and every descriptor is born close-on-exec.

#![allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    clippy::unnecessary_fallible_conversions,
    clippy::cast_possible_truncation,
    reason = "the widths of C types differ between platforms"
)]

mod address;
#[cfg(target_os = "macos")]
mod apple;
pub mod beneath;
pub mod confine;
mod errno;
pub mod exec;
pub mod family;
#[cfg(feature = "fault-injection")]
mod fault;
pub mod fd;
pub mod file;
pub mod inherited;
pub mod launch;
pub mod look;
pub mod machine;
pub mod memory;
pub mod parting;
pub mod passing;
mod peer;
pub mod privilege;
pub mod process;
pub mod random;
mod raw;
pub mod readiness;
pub mod signal;
pub mod socket;
pub mod time;
mod wide;

pub use errno::Errno;

/// Without the feature no call fails but those that do.
#[cfg(not(feature = "fault-injection"))]
mod fault {
    use crate::sys::Errno;

    #[inline(always)]
    pub(super) fn due(_: &'static str) -> Option<Errno> {
        None
    }

    #[inline(always)]
    pub(super) fn is_due_in_child(_: &'static str) -> bool {
        false
    }
}

/// The calls that macOS has to be given.
#[cfg(target_os = "macos")]
use apple as born;
#[cfg(not(target_os = "macos"))]
use libc as born;
use std::fmt;

/// A call's name as in its man page. By a thin pointer, so that an error is returned in two registers.
pub type CallName = &'static &'static str;

/// A system call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Which one.
    pub call: CallName,
    /// Why.
    pub errno: Errno,
}

/// What a call returns.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.errno)
    }
}

impl Error {
    /// The error that the last failed libc call left in `errno`.
    fn last(call: CallName) -> Self {
        Self {
            call,
            errno: Errno::last(),
        }
    }

    /// From a call that the standard library made (start-up only: folders and small files).
    pub fn from_io(call: CallName, error: &std::io::Error) -> Self {
        Self {
            call,
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        }
    }

    /// True where trying again later is the answer: the call would have had to wait.
    pub fn is_would_block(self) -> bool {
        self.errno == Errno::AGAIN || self.errno == Errno::WOULDBLOCK
    }

    /// True where the system has no such call or no such use of it, or forbids it (a seccomp filter):
    /// then a second way is taken.
    pub fn is_missing_call(self) -> bool {
        matches!(
            self.errno,
            Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP
        )
    }

    /// True where the machine, not the caller, is short of something for the moment.
    pub fn is_shortage(self) -> bool {
        matches!(
            self.errno,
            Errno::AGAIN
                | Errno::NOMEM
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOBUFS
                | Errno::TXTBSY
        )
    }
}

/// The integers that system calls return.
trait Returned: Copy {
    fn is_failure(self) -> bool;
}

macro_rules! returned {
    ($($t:ty),*) => {$(impl Returned for $t {
        fn is_failure(self) -> bool {
            self < 0
        }
    })*};
}
returned!(i32, i64, isize);

/// Makes a call once; any signal that interrupts it is the caller's business. A call that is to
/// fail for a test is not made at all: what it would have opened or sent would be the test's leak.
fn once<T: Returned>(call: CallName, f: impl FnOnce() -> T) -> Result<T> {
    if let Some(errno) = fault::due(call) {
        return Err(Error { call, errno });
    }
    let result = f();
    if result.is_failure() {
        Err(Error::last(call))
    } else {
        Ok(result)
    }
}

/// Makes a call until no signal interrupts it: the one place that retries EINTR.
fn retry<T: Returned>(call: CallName, mut f: impl FnMut() -> T) -> Result<T> {
    loop {
        match once(call, &mut f) {
            Err(Error {
                errno: Errno::INTR, ..
            }) => {}
            other => return other,
        }
    }
}

/// What a call said that not every system has, or else its second way.
fn or_else<T>(first: Result<T>, second: impl FnOnce() -> Result<T>) -> Result<T> {
    match first {
        Err(e) if e.is_missing_call() => second(),
        known => known,
    }
}

/// A byte count that a successful call returned, never negative.
fn count<T: TryInto<usize>>(n: T) -> usize {
    n.try_into().unwrap_or(0)
}
