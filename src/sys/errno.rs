//! Error numbers: their names and texts. Decides nothing about them.

#[cfg(any(target_os = "openbsd", target_os = "netbsd"))]
use libc::__errno as errno_location;
#[cfg(target_os = "linux")]
use libc::__errno_location as errno_location;
#[cfg(any(target_os = "freebsd", target_os = "macos"))]
use libc::__error as errno_location;
use std::ffi::CStr;
use std::fmt;

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(i32);

macro_rules! errnos {
    ($($name:ident = $value:ident),* $(,)?) => {
        #[allow(missing_docs, reason = "the names are those of errno(3)")]
        impl Errno {
            $(pub const $name: Self = Self(libc::$value);)*

            /// The symbolic name, where this server knows it.
            pub fn name(self) -> Option<&'static str> {
                $(if self == Self::$name { return Some(stringify!($value)); })*
                None
            }
        }
    };
}

errnos! {
    ACCES = EACCES, ADDRINUSE = EADDRINUSE, ADDRNOTAVAIL = EADDRNOTAVAIL, AFNOSUPPORT = EAFNOSUPPORT,
    AGAIN = EAGAIN, BADF = EBADF, BUSY = EBUSY, CHILD = ECHILD, CONNABORTED = ECONNABORTED,
    CONNREFUSED = ECONNREFUSED, CONNRESET = ECONNRESET, DQUOT = EDQUOT, EXIST = EEXIST,
    FAULT = EFAULT, FBIG = EFBIG, INTR = EINTR, INVAL = EINVAL, IO = EIO, ISDIR = EISDIR,
    LOOP = ELOOP, MFILE = EMFILE, MSGSIZE = EMSGSIZE, NAMETOOLONG = ENAMETOOLONG, NFILE = ENFILE,
    NOBUFS = ENOBUFS, NOENT = ENOENT, NOEXEC = ENOEXEC, NOMEM = ENOMEM, NOSPC = ENOSPC,
    NOSYS = ENOSYS, NOTCONN = ENOTCONN, NOTDIR = ENOTDIR, NOTSOCK = ENOTSOCK, NXIO = ENXIO,
    OPNOTSUPP = EOPNOTSUPP, PERM = EPERM, PIPE = EPIPE, PROTO = EPROTO, ROFS = EROFS,
    SRCH = ESRCH, TIMEDOUT = ETIMEDOUT, TOOBIG = E2BIG, TXTBSY = ETXTBSY, XDEV = EXDEV,
    WOULDBLOCK = EWOULDBLOCK,
}

impl Errno {
    /// What the last failed call of this thread left behind.
    pub(super) fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    /// Leaves this one behind, as a failed call would. Async-signal-safe.
    pub(super) fn set(self) {
        // SAFETY: takes nothing; answers with the place of this thread's errno.
        let errno = unsafe { errno_location() };
        // SAFETY: that place is always writable.
        unsafe { *errno = self.0 };
    }

    /// From the kernel's own number.
    pub fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// The kernel's own number.
    pub fn raw(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 128];
        // SAFETY: the buffer is writable for the length that is passed.
        let rc = unsafe { libc::strerror_r(self.0, text.as_mut_ptr().cast(), text.len()) };
        let text = CStr::from_bytes_until_nul(&text).ok().filter(|_| rc == 0);
        f.write_str(
            text.and_then(|t| t.to_str().ok())
                .unwrap_or("Unknown error"),
        )?;
        match self.name() {
            Some(name) => write!(f, " ({name})"),
            None => write!(f, " ({})", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_says_its_text_and_its_name() {
        assert_eq!(
            Errno::NOENT.to_string(),
            "No such file or directory (ENOENT)"
        );
        assert!(Errno::from_raw(99_999).to_string().ends_with("(99999)"));
    }
}
