//! Signals: the parent's self-pipe, the worker's interrupts, and the mask around a launch.

use super::{Result, born, fd, once};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

pub use libc::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGTERM};
pub use libc::{SIGSTOP, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};

/// Every signal that this server handles in some process.
const HANDLED: [i32; 9] = [
    SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ,
];

/// Of these, the ones that only say why a call of ours has failed: a peer that is gone, and a file
/// that has reached RLIMIT_FSIZE. Their default would end the process.
const ERRORS: [i32; 2] = [SIGPIPE, SIGXFSZ];

/// Write end of the self-pipe, or -1. One writer, set before the handlers are installed.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Signal handler: says in the self-pipe which signal came. Async-signal-safe: one write(2), and
/// errno is put back. A full pipe loses nothing that matters: the reader is awake then.
extern "C" fn note(signal: i32) {
    let byte = [u8::try_from(signal).unwrap_or(0)];
    let saved = super::Errno::last().raw();
    // SAFETY: the byte is live; a bad descriptor only fails.
    unsafe { libc::write(PIPE.load(Ordering::Relaxed), byte.as_ptr().cast(), 1) };
    set_errno(saved);
}

/// Async-signal-safe.
pub(super) fn set_errno(number: i32) {
    // SAFETY: takes nothing; answers with the place of this thread's errno.
    let errno = unsafe { errno_location() };
    // SAFETY: that place is always writable.
    unsafe { *errno = number };
}

#[cfg(any(target_os = "openbsd", target_os = "netbsd"))]
use libc::__errno as errno_location;
#[cfg(target_os = "linux")]
use libc::__errno_location as errno_location;
#[cfg(any(target_os = "freebsd", target_os = "macos"))]
use libc::__error as errno_location;

/// Signal handler that only interrupts. A handler, unlike SIG_IGN, is not handed on by exec, so a
/// launch need not undo it; and since it touches no memory it may run in a vfork child.
extern "C" fn interrupt(_: i32) {}

fn install(signal: i32, action: usize) -> Result<()> {
    // SAFETY: a zeroed sigaction is valid: no flags, empty mask.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    new.sa_sigaction = action;
    // SAFETY: the action is SIG_DFL or one of the two handlers above.
    once(&"sigaction", || unsafe {
        libc::sigaction(signal, &raw const new, std::ptr::null_mut())
    })
    .map(drop)
}

/// Start of the program: undoes what the starter left ignored (nohup, a shell's `trap ''`) and
/// Rust's own SIGPIPE, so that handlers begin with the defaults, and clears the mask.
pub fn reset_inherited() -> Result<()> {
    for signal in 1..=64 {
        if signal != SIGKILL && signal != SIGSTOP {
            // Numbers between the standard and the real-time signals belong to the C library.
            let _ = install(signal, libc::SIG_DFL);
        }
    }
    for signal in ERRORS {
        install(signal, interrupt as *const () as usize)?;
    }
    unblock_all()
}

/// Parent: every handled signal becomes a byte in the pipe whose read end is returned.
/// SIGPIPE and SIGXFSZ stay interrupts: what they mean is an error of the call.
pub fn to_pipe() -> Result<OwnedFd> {
    #[cfg(feature = "fault-injection")]
    super::fault::become_kind(super::fault::Kind::Parent);
    let (read_end, write_end) = fd::pipe()?;
    fd::set_nonblocking(read_end.as_fd(), true)?;
    fd::set_nonblocking(write_end.as_fd(), true)?;
    PIPE.store(write_end.as_raw_fd(), Ordering::Relaxed);
    std::mem::forget(write_end); // lives as long as the process
    for signal in HANDLED {
        if !ERRORS.contains(&signal) {
            install(signal, note as *const () as usize)?;
        }
    }
    Ok(read_end)
}

/// Worker: every handled signal only interrupts (a terminal sends ^C to the whole group, and the
/// parent says what is to be done), and all are blocked except in `wait`: so a launch, which needs
/// them blocked, has no mask to change.
pub fn to_interrupts() -> Result<()> {
    PIPE.store(-1, Ordering::Relaxed);
    for signal in HANDLED {
        install(signal, interrupt as *const () as usize)?;
    }
    block_all().map(drop)
}

fn empty_set() -> libc::sigset_t {
    // SAFETY: a zeroed set is valid on every libc; sigemptyset makes it so by the book.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a live local.
    unsafe { libc::sigemptyset(&raw mut set) };
    set
}

fn set_mask(how: i32, set: &libc::sigset_t) -> Result<()> {
    // SAFETY: the set is live; the old mask is not wanted.
    once(&"sigprocmask", || unsafe {
        libc::sigprocmask(how, set, std::ptr::null_mut())
    })
    .map(drop)
}

fn unblock_all() -> Result<()> {
    set_mask(libc::SIG_SETMASK, &empty_set())
}

/// The mask that was in force before `block_all`.
pub struct Mask(libc::sigset_t);

/// Blocks every signal, as a launch needs it, and returns the mask before.
pub fn block_all() -> Result<Mask> {
    let mut all = empty_set();
    // SAFETY: the set is a live local.
    unsafe { libc::sigfillset(&raw mut all) };
    let mut before = empty_set();
    // SAFETY: both sets are live locals.
    once(&"sigprocmask", || unsafe {
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut before)
    })?;
    Ok(Mask(before))
}

/// Puts a mask back.
pub fn restore(mask: &Mask) -> Result<()> {
    set_mask(libc::SIG_SETMASK, &mask.0)
}

/// One descriptor in `wait`.
pub type PollFd = libc::pollfd;

/// There is something to read, or the other end is closed for writing.
pub const READABLE: i16 = libc::POLLIN;
/// There is room to write.
pub const WRITABLE: i16 = libc::POLLOUT;
/// The peer of a stream socket will send no more (Linux; elsewhere a read of 0 says so).
#[cfg(target_os = "linux")]
pub const PEER_CLOSED: i16 = libc::POLLRDHUP;
/// The peer of a stream socket will send no more.
#[cfg(not(target_os = "linux"))]
pub const PEER_CLOSED: i16 = 0;
/// Both directions are over (after an RST, or a pipe without its other end).
pub const HUNG_UP: i16 = libc::POLLHUP | libc::POLLERR;

/// A descriptor with the events that are waited for.
pub fn poll_fd(fd: BorrowedFd<'_>, events: i16) -> PollFd {
    PollFd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    }
}

/// A place in the set that is not waited for.
pub fn poll_nothing() -> PollFd {
    PollFd {
        fd: -1,
        events: 0,
        revents: 0,
    }
}

/// Worker: ppoll(2) with no signal blocked. Returns false when a signal (a child's end) came
/// first; then `revents` are all 0. `None` waits for ever.
pub fn wait(fds: &mut [PollFd], timeout: Option<Duration>) -> Result<bool> {
    let none = empty_set();
    wait_with(fds, timeout, &raw const none)
}

/// Worker: the same with every signal blocked, as outside. The end of a child that was reaped
/// without its SIGCHLD is still pending, and would end a `wait` that has nothing to do with it.
pub fn wait_undisturbed(fds: &mut [PollFd], timeout: Option<Duration>) -> Result<bool> {
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
        born::ppoll(fds.as_mut_ptr(), len, pointer, mask)
    });
    match result {
        Ok(_) => Ok(true),
        Err(e) if e.errno == super::Errno::INTR => Ok(false),
        Err(e) => Err(e),
    }
}

/// poll(2) of one descriptor: true once one of `events` (or an error) is there in time.
pub fn wait_one(fd: BorrowedFd<'_>, events: i16, timeout: Duration) -> Result<bool> {
    let mut set = [poll_fd(fd, events)];
    let ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one live entry.
    super::retry(&"poll", || unsafe { libc::poll(set.as_mut_ptr(), 1, ms) }).map(|n| n > 0)
}

/// Between clone and exec: unblocks every signal; negative on failure, with errno.
pub(super) fn unblock_in_child() -> i32 {
    let none = empty_set();
    // SAFETY: the set is live; a system call and nothing else.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) }
}
