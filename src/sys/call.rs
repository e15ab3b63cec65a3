//! Making a system call: what its failure says, who retries it after a signal, and whether a test
//! wants it to fail.

use super::errno::Errno;
use super::fault;
use std::fmt;

/// A call's name as in its man page. By a thin pointer, so that an error is returned in two registers.
pub(super) type CallName = &'static &'static str;

/// A system call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Which one.
    pub call: CallName,
    /// Why.
    pub errno: Errno,
}

/// What a call returns.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.errno)
    }
}

impl Error {
    /// This errno of this call.
    pub(crate) const fn new(call: CallName, errno: Errno) -> Self {
        Self { call, errno }
    }

    /// The error that the last failed libc call left in `errno`.
    pub(super) fn last(call: CallName) -> Self {
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
pub(super) trait Returned: Copy {
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

/// Makes a call once; a signal that interrupts it is the caller's business. A call that is to fail
/// for a test is not made at all: nobody would close what it has opened.
pub(super) fn once<T: Returned>(call: CallName, f: impl FnOnce() -> T) -> Result<T> {
    if let Some(errno) = fault::due(call) {
        return Err(Error::new(call, errno));
    }
    let result = f();
    if result.is_failure() {
        Err(Error::last(call))
    } else {
        Ok(result)
    }
}

/// Makes a call until no signal interrupts it: the one place that retries EINTR.
pub(super) fn retry<T: Returned>(call: CallName, mut f: impl FnMut() -> T) -> Result<T> {
    loop {
        match once(call, &mut f) {
            Err(Error {
                errno: Errno::INTR, ..
            }) => {}
            other => return other,
        }
    }
}

/// The result of a call that not every system has; where it is missing, that of its second way.
pub(super) fn or_else<T>(first: Result<T>, second: impl FnOnce() -> Result<T>) -> Result<T> {
    match first {
        Err(e) if e.is_missing_call() => second(),
        known => known,
    }
}

/// A byte count that a successful call returned, never negative.
pub(super) fn count<T: TryInto<usize>>(n: T) -> usize {
    n.try_into().unwrap_or(0)
}

/// Between clone and exec: makes a call; false if it failed, and errno says why.
pub(super) fn make_in_child(call: &'static str, f: impl FnOnce() -> i32) -> bool {
    !fault::due_in_child(call) && f() >= 0
}
