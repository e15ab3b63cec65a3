//! Waiting for a few descriptors: by poll(2), or by ppoll(2) where a signal is waited for too.
//! `readiness` waits for many.

use super::call::{Result, once, retry};
use super::errno::Errno;
use super::platform;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// One descriptor of a set.
pub(crate) type PollFd = libc::pollfd;

/// There is something to read, or the other end is closed for writing.
pub const READABLE: i16 = libc::POLLIN;
/// There is room to write.
pub(crate) const WRITABLE: i16 = libc::POLLOUT;
/// The peer of a stream socket will send no more (Linux; elsewhere a read of 0 says so).
#[cfg(target_os = "linux")]
pub(crate) const PEER_CLOSED: i16 = libc::POLLRDHUP;
/// The peer of a stream socket will send no more.
#[cfg(not(target_os = "linux"))]
pub(crate) const PEER_CLOSED: i16 = 0;
/// Both directions are over (after an RST, or a pipe without its other end).
pub(crate) const HUNG_UP: i16 = libc::POLLHUP | libc::POLLERR;

/// A descriptor with the events that are waited for.
pub(crate) fn of(fd: BorrowedFd<'_>, events: i16) -> PollFd {
    of_any(Some(fd), events)
}

/// The same, or a place in the set that is not waited for.
pub(crate) fn of_any(fd: Option<BorrowedFd<'_>>, events: i16) -> PollFd {
    PollFd {
        fd: fd.map_or(-1, |fd| fd.as_raw_fd()),
        events,
        revents: 0,
    }
}

/// Worker: ppoll(2) with no signal blocked. Returns false when a signal (a child's end) came
/// first; then `revents` are all 0. `None` waits for ever.
pub(crate) fn wait(fds: &mut [PollFd], timeout: Option<Duration>) -> Result<bool> {
    let none = empty_set();
    wait_with(fds, timeout, &raw const none)
}

/// Worker: the same, with every signal blocked. A child that was reaped before its SIGCHLD came
/// leaves that signal pending: it would end a `wait` for something else.
pub(crate) fn wait_undisturbed(fds: &mut [PollFd], timeout: Option<Duration>) -> Result<bool> {
    wait_with(fds, timeout, std::ptr::null())
}

/// ppoll(2) with this mask, a live one, or null for the present one.
fn wait_with(
    fds: &mut [PollFd],
    timeout: Option<Duration>,
    mask: *const libc::sigset_t,
) -> Result<bool> {
    let (time, pointer);
    if let Some(timeout) = timeout {
        time = libc::timespec {
            // The crate's name for this type is deprecated on musl.
            tv_sec: i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX).into(),
            tv_nsec: timeout.subsec_nanos().try_into().unwrap_or(0),
        };
        pointer = &raw const time;
    } else {
        pointer = std::ptr::null();
    }
    for fd in &mut *fds {
        fd.revents = 0;
    }
    let len = fds.len() as libc::nfds_t;
    // SAFETY: the array is writable for its length; time and mask are live or null.
    let result = once(&"ppoll", || unsafe {
        platform::ppoll(fds.as_mut_ptr(), len, pointer, mask)
    });
    match result {
        Ok(_) => Ok(true),
        Err(e) if e.errno == Errno::INTR => Ok(false),
        Err(e) => Err(e),
    }
}

/// poll(2) of one descriptor: true once one of `events` (or an error) is there in time.
pub fn wait_one(fd: BorrowedFd<'_>, events: i16, timeout: Duration) -> Result<bool> {
    let mut set = [of(fd, events)];
    let ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one live entry.
    retry(&"poll", || unsafe { libc::poll(set.as_mut_ptr(), 1, ms) }).map(|n| n > 0)
}

/// No signal at all.
pub(super) fn empty_set() -> libc::sigset_t {
    // SAFETY: a zeroed set is valid on every libc; sigemptyset makes it so by the book.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a live local.
    unsafe { libc::sigemptyset(&raw mut set) };
    set
}
