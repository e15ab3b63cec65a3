//! Signals: the parent's self-pipe, the worker's interrupts, and the mask around a launch.

use super::call::{Result, once};
use super::errno::Errno;
use super::poll::empty_set;
use super::{fault, fd};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

pub(crate) use libc::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGTERM};
pub(crate) use libc::{SIGSTOP, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};

/// Every signal that this server handles in some process.
const HANDLED: [i32; 9] = [
    SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ,
];

/// Those of them that only say why a call has failed: the peer is gone, or a file has reached
/// RLIMIT_FSIZE. Their default action would end the process.
const ERRORS: [i32; 2] = [SIGPIPE, SIGXFSZ];

/// Write end of the self-pipe, or -1. One writer, set before the handlers are installed.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Signal handler: writes the signal's number into the self-pipe. Async-signal-safe: one write(2),
/// and errno is put back. A full pipe may lose the number: the parent is awake then anyway.
extern "C" fn note(signal: i32) {
    let byte = [u8::try_from(signal).unwrap_or(0)];
    let saved = Errno::last();
    // SAFETY: the byte is live; a bad descriptor only fails.
    unsafe { libc::write(PIPE.load(Ordering::Relaxed), byte.as_ptr().cast(), 1) };
    saved.set();
}

/// Signal handler that only interrupts. Unlike SIG_IGN it does not outlive an exec, so a launch
/// need not undo it; and since it touches no memory it may run in the child of a vfork.
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
pub(crate) fn reset_inherited() -> Result<()> {
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

/// Parent: from now on every handled signal becomes a byte in the pipe whose read end is returned.
/// SIGPIPE and SIGXFSZ only interrupt: the call that caused them returns an error.
pub(crate) fn to_pipe() -> Result<OwnedFd> {
    fault::become_parent();
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

/// Worker: from now on every handled signal only interrupts, since a terminal sends ^C to the whole
/// group, and the parent says what is to be done. All signals are blocked except in `poll::wait`,
/// so that a launch, which needs them blocked, has no mask to change.
pub(crate) fn to_interrupts() -> Result<()> {
    PIPE.store(-1, Ordering::Relaxed);
    for signal in HANDLED {
        install(signal, interrupt as *const () as usize)?;
    }
    block_all().map(drop)
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
pub(crate) struct Mask(libc::sigset_t);

/// Blocks every signal, as a launch needs it, and returns the mask before.
pub(crate) fn block_all() -> Result<Mask> {
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
pub(crate) fn restore(mask: &Mask) -> Result<()> {
    set_mask(libc::SIG_SETMASK, &mask.0)
}

/// Between clone and exec: unblocks every signal; negative on failure, with errno.
pub(super) fn unblock_in_child() -> i32 {
    let none = empty_set();
    // SAFETY: the set is live; a system call and nothing else.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) }
}
