//! What /proc says of processes, also from inside a new root folder, and what is written there.

use super::call::{Error, Result};
use super::errno::Errno;
use super::fd::{self, AsFd};
use super::file::{self, Open};
use super::process::Pid;
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// /proc from before a chroot, or -1. Lives as long as the process.
static PROC: AtomicI32 = AtomicI32::new(-1);

/// Keeps /proc, for what is read there when no /proc is below the new root.
pub(crate) fn keep_proc() -> Result<()> {
    let proc = file::open_at(None, c"/proc", Open::Folder)?;
    PROC.store(proc.as_raw_fd(), Ordering::Relaxed);
    std::mem::forget(proc);
    Ok(())
}

/// The /proc that was kept; a forked worker must not close it.
pub(crate) fn kept_proc() -> Option<i32> {
    Some(PROC.load(Ordering::Relaxed)).filter(|proc| *proc >= 0)
}

/// Opens a file below /proc, `name` relative to it.
fn open(name: &str, how: Open) -> Result<OwnedFd> {
    let proc = PROC.load(Ordering::Relaxed);
    let above = if proc < 0 { "/proc/" } else { "" };
    let path =
        CString::new([above, name].concat()).map_err(|_| Error::new(&"open", Errno::NOENT))?;
    // SAFETY: opened by `keep_proc` and never closed.
    let proc = (proc >= 0).then(|| unsafe { BorrowedFd::borrow_raw(proc) });
    file::open_at(proc, &path, how)
}

/// All of a file below /proc, `name` relative to it.
pub(super) fn read(name: &str) -> Result<Vec<u8>> {
    let file = open(name, Open::Read)?;
    fd::read_all(file.as_fd(), usize::MAX)
}

/// `oom_score_adj` of this process; `None` if it is below 0, or without /proc.
pub(crate) fn own_oom_score() -> Option<u64> {
    let text = read("self/oom_score_adj").ok()?;
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

/// `oom_score_adj` of a process of this user: the more, the sooner the kernel ends it when memory
/// runs out. Nobody but root may lower it below what it was born with.
pub(crate) fn set_oom_score(pid: Pid, score: u64) -> Result<()> {
    let file = open(&format!("{pid}/oom_score_adj"), Open::Write)?;
    write_oom_score(file.as_fd(), score)
}

/// The same of an `oom_score_adj` file that is open.
pub(crate) fn write_oom_score(file: BorrowedFd<'_>, score: u64) -> Result<()> {
    let mut digits = itoa::Buffer::new();
    fd::write(file, digits.format(score).as_bytes()).map(drop)
}

/// Processes and threads of a user, as RLIMIT_NPROC counts them. ENOENT without /proc.
pub(crate) fn count_tasks(uid: u32) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let folder = std::fs::read_dir("/proc").map_err(|e| Error::from_io(&"opendir", &e))?;
    let tasks = |entry: std::fs::DirEntry| {
        let is_own = entry.metadata().ok()?.uid() == uid;
        let tasks = std::fs::read_dir(entry.path().join("task")).ok()?;
        is_own.then(|| tasks.count() as u64)
    };
    Ok(folder.filter_map(|entry| tasks(entry.ok()?)).sum())
}

/// Whether there is a /proc in which children are found.
#[cfg(target_os = "linux")]
pub(crate) fn ask_for_proc() -> Result<()> {
    read("self/stat").map(drop)
}

/// Elsewhere there is nothing to find.
#[cfg(not(target_os = "linux"))]
pub(crate) fn ask_for_proc() -> Result<()> {
    Ok(())
}

/// `/proc/PID/stat` from its third field on; the second, the name, may hold blanks and brackets.
#[cfg(target_os = "linux")]
pub(super) fn stat_of(pid: Pid) -> Option<Vec<u8>> {
    let mut stat = read(&format!("{pid}/stat")).ok()?;
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    (name_end + 2 <= stat.len()).then(|| stat.split_off(name_end + 2))
}

/// What a process does, as ps(1) shows it: `R`uns, `S`leeps, waits for a `D`isk, is s`T`opped, a `Z`ombie.
/// `None`: it cannot be told.
#[cfg(target_os = "linux")]
pub(crate) fn state_of(pid: Pid) -> Option<u8> {
    stat_of(pid)?.first().copied()
}

/// Elsewhere it cannot be told.
#[cfg(not(target_os = "linux"))]
pub(crate) fn state_of(_: Pid) -> Option<u8> {
    None
}

#[cfg(target_os = "linux")]
pub(super) fn pid_of(digits: &[u8]) -> Option<Pid> {
    Pid::new(std::str::from_utf8(digits).ok()?.parse().ok()?)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::sys::process::{exit_now, kill, wait_for};
    use std::os::unix::process::parent_id;
    use std::time::Duration;

    /// Who waits for a child of vfork(2) to become another program is shown as one who waits for a
    /// disk: no signal but a deadly one awakens either.
    #[test]
    fn what_a_process_does_can_be_told() {
        let fork = |flags: libc::c_int| {
            // SAFETY: without CLONE_VM the child is a copy with a stack of its own, as after fork.
            let pid = unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0) };
            Pid::new(i32::try_from(pid).unwrap())
        };
        let pause = || {
            loop {
                // SAFETY: no arguments.
                unsafe { libc::pause() };
            }
        };
        let becomes = |pid: Pid, state: u8| {
            let begun = std::time::Instant::now();
            while state_of(pid) != Some(state) {
                assert!(begun.elapsed() < Duration::from_secs(20), "never {state}");
                std::thread::yield_now();
            }
        };
        let Some(pid) = fork(0) else {
            let own = crate::sys::process::pid();
            if fork(libc::CLONE_VFORK).is_none() {
                // Ends after the one who waits for it.
                while Pid::new(parent_id().cast_signed()) == Some(own) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            exit_now(0)
        };
        becomes(pid, b'D');
        kill(pid, libc::SIGKILL).unwrap();
        becomes(pid, b'Z');
        wait_for(pid).unwrap();
        assert_eq!(state_of(pid), None);
        let Some(pid) = fork(0) else { pause() };
        becomes(pid, b'S');
        kill(pid, libc::SIGSTOP).unwrap();
        becomes(pid, b'T');
        kill(pid, libc::SIGKILL).unwrap();
        wait_for(pid).unwrap();
    }
}
