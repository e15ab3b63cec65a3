//! One name for each call that systems name differently, and a second way for those that macOS lacks.

// Files beyond 2 GiB: Linux names the calls and structures for them apart (on 32-bit systems they
// differ from the plain ones), elsewhere there is only one kind.
#[cfg(not(target_os = "linux"))]
pub(super) use libc::{fstat, fstatat, fstatvfs, ftruncate, lseek, pread, pwrite, stat, statvfs};
#[cfg(target_os = "linux")]
pub(super) use libc::{
    fstat64 as fstat, fstatat64 as fstatat, fstatvfs64 as fstatvfs, ftruncate64 as ftruncate,
    lseek64 as lseek, pread64 as pread, pwrite64 as pwrite, stat64 as stat, statvfs64 as statvfs,
};

/// What the C library numbers resources with (getrlimit(2)).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) type ResourceNumber = libc::__rlimit_resource_t;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) type ResourceNumber = libc::c_int;

#[cfg(not(target_os = "macos"))]
pub(super) use libc::{
    SOCK_CLOEXEC, SOCK_NONBLOCK, accept4, mkostemp, pipe2, ppoll, socket, socketpair,
};
#[cfg(target_os = "macos")]
pub(super) use macos::{
    SOCK_CLOEXEC, SOCK_NONBLOCK, accept4, mkostemp, pipe2, ppoll, socket, socketpair,
};

/// macOS lacks some calls that make a descriptor close-on-exec or non-blocking in the moment of its
/// birth, and ppoll. With one thread and no fork in between, two calls do the same.
#[cfg(target_os = "macos")]
mod macos {
    use libc::{c_char, c_int, nfds_t, pollfd, sigset_t, sockaddr, socklen_t, timespec};

    /// Taken out of the kind by `socket`; the value is Linux's.
    pub(in crate::sys) const SOCK_CLOEXEC: c_int = 0o2_000_000;
    /// Taken out of the kind by `socket`; the value is Linux's.
    pub(in crate::sys) const SOCK_NONBLOCK: c_int = 0o4_000;

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
    pub(in crate::sys) unsafe fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int {
        let plain = kind & !(SOCK_CLOEXEC | SOCK_NONBLOCK);
        // SAFETY: takes integers.
        dress(unsafe { libc::socket(family, plain, protocol) }, kind)
    }

    /// # Safety
    /// As accept4(2).
    pub(in crate::sys) unsafe fn accept4(
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
    pub(in crate::sys) unsafe fn pipe2(ends: *mut c_int, _: c_int) -> c_int {
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
    pub(in crate::sys) unsafe fn socketpair(
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
    pub(in crate::sys) unsafe fn mkostemp(template: *mut c_char, _: c_int) -> c_int {
        // SAFETY: the caller's promise.
        dress(unsafe { libc::mkstemp(template) }, 0)
    }

    /// poll(2) with another signal mask. A signal between the two calls is seen one timeout later.
    ///
    /// # Safety
    /// As ppoll(2).
    pub(in crate::sys) unsafe fn ppoll(
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
}
