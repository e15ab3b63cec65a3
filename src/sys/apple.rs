//! macOS lacks some calls that make a descriptor close-on-exec or non-blocking in the moment of its
//! birth, and ppoll. With one thread and no fork in between, two calls do the same.

use libc::{c_char, c_int, nfds_t, pollfd, sigset_t, sockaddr, socklen_t, timespec};

/// Taken out of the kind by `socket`; the value is Linux's.
pub(super) const SOCK_CLOEXEC: c_int = 0o2_000_000;
/// Taken out of the kind by `socket`; the value is Linux's.
pub(super) const SOCK_NONBLOCK: c_int = 0o4_000;

/// Adds the flags to a new descriptor; hands a failure on.
fn dress(fd: c_int, flags: c_int) -> c_int {
    if fd < 0 {
        return fd;
    }
    // SAFETY: F_SETFD takes an integer.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    let status = if flags & SOCK_NONBLOCK == 0 {
        0
    } else {
        libc::O_NONBLOCK
    };
    // SAFETY: F_SETFL takes an integer.
    unsafe { libc::fcntl(fd, libc::F_SETFL, status) };
    fd
}

/// # Safety
/// As socket(2).
pub(super) unsafe fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int {
    let plain = kind & !(SOCK_CLOEXEC | SOCK_NONBLOCK);
    // SAFETY: takes integers.
    dress(unsafe { libc::socket(family, plain, protocol) }, kind)
}

/// # Safety
/// As accept4(2).
pub(super) unsafe fn accept4(
    listener: c_int,
    address: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    dress(unsafe { libc::accept(listener, address, len) }, flags)
}

/// # Safety
/// As pipe2(2).
pub(super) unsafe fn pipe2(ends: *mut c_int, _: c_int) -> c_int {
    // SAFETY: the caller's promise: room for two.
    let result = unsafe { libc::pipe(ends) };
    for i in 0..2 {
        // SAFETY: the caller's promise: room for two.
        let end = unsafe { ends.add(i) };
        // SAFETY: one of the two.
        let end = unsafe { end.read() };
        if result == 0 {
            // SAFETY: F_SETFD takes an integer.
            unsafe { libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    result
}

/// # Safety
/// As socketpair(2).
pub(super) unsafe fn socketpair(
    family: c_int,
    kind: c_int,
    protocol: c_int,
    ends: *mut c_int,
) -> c_int {
    // SAFETY: the caller's promise: room for two.
    unsafe { libc::socketpair(family, kind & !SOCK_CLOEXEC, protocol, ends) }
}

/// # Safety
/// As mkostemp(3).
pub(super) unsafe fn mkostemp(template: *mut c_char, _: c_int) -> c_int {
    // SAFETY: the caller's promise.
    dress(unsafe { libc::mkstemp(template) }, 0)
}

/// poll(2) with another signal mask. A signal between the two calls is seen one timeout later.
///
/// # Safety
/// As ppoll(2).
pub(super) unsafe fn ppoll(
    fds: *mut pollfd,
    len: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    const TICK_MS: c_int = 50;
    // SAFETY: the caller's promise: null or live.
    let ms = unsafe { timeout.as_ref() }.map_or(TICK_MS, |t| {
        let ms = t
            .tv_sec
            .saturating_mul(1000)
            .saturating_add(t.tv_nsec / 1_000_000);
        c_int::try_from(ms).unwrap_or(TICK_MS).min(TICK_MS)
    });
    // SAFETY: an initialised set.
    let mut before: sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: both sets are live.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, mask, &raw mut before) };
    // SAFETY: the caller's promise.
    let result = unsafe { libc::poll(fds, len, ms) };
    // SAFETY: the set is live.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    result
}
