//! Processes: fork, wait, kill, limits, identity.

use super::call::{Error, Result, once, retry};
use super::errno::Errno;
use super::fault;
use super::platform::ResourceNumber;
#[cfg(target_os = "linux")]
use super::raw;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(i32);

impl Pid {
    /// From a number read elsewhere (a pid file, SO_PEERCRED); `None` unless positive.
    pub fn new(number: i32) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number.
    pub fn raw(self) -> i32 {
        self.0
    }
}

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// getpid(2).
pub fn pid() -> Pid {
    // SAFETY: no arguments, cannot fail.
    Pid(unsafe { libc::getpid() })
}

/// geteuid(2).
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() }
}

/// Whether the real user of this process is the effective one too.
#[cfg(target_os = "linux")]
pub(crate) fn is_effective_user_real() -> bool {
    // SAFETY: no arguments, cannot fail.
    let real = unsafe { libc::getuid() };
    real == effective_uid()
}

/// getegid(2) and getgroups(2): every group whose rights this process has.
pub(crate) fn groups() -> Vec<u32> {
    // If the process has more groups than this, the rights of the others do not count here.
    let mut groups = [0; 256];
    // SAFETY: getgroups writes at most 256 numbers into an array of 256.
    let n = unsafe { libc::getgroups(256, groups.as_mut_ptr()) };
    let n = usize::try_from(n).unwrap_or(0);
    let mut all = groups.get(..n).unwrap_or_default().to_vec();
    // SAFETY: no arguments, cannot fail.
    all.push(unsafe { libc::getegid() });
    all
}

/// fork(2): `None` in the child.
pub fn fork() -> Result<Option<Pid>> {
    // SAFETY: the server has one thread, so the child is a whole copy of it.
    let pid = once(&"fork", || unsafe { libc::fork() })?;
    if pid == 0 {
        fault::become_worker();
    }
    Ok(Pid::new(pid))
}

/// _exit(2): no destructors, no buffers flushed twice.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// exit(2) with this status.
    Exited(i32),
    /// A signal.
    Killed(i32),
}

/// What a process used, from wait4(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Peak resident memory in KiB.
    pub peak_kib: u64,
}

/// A child that has been reaped.
#[derive(Clone, Copy, Debug)]
pub struct Reaped {
    /// Who.
    pub pid: Pid,
    /// How.
    pub ended: Ended,
    /// At what cost.
    pub usage: Usage,
}

/// wait4(2) without waiting. `Ok(None)`: none has ended yet. ECHILD: there are no children.
pub(crate) fn reap(whom: Option<Pid>) -> Result<Option<Reaped>> {
    wait4(whom, libc::WNOHANG)
}

/// wait4(2) until it ends.
pub fn wait_for(whom: Pid) -> Result<Option<Reaped>> {
    wait4(Some(whom), 0)
}

fn wait4(whom: Option<Pid>, flags: i32) -> Result<Option<Reaped>> {
    let mut status = 0;
    // SAFETY: a zeroed rusage is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let pid = retry(&"wait4", || {
        // SAFETY: both pointers are to live locals.
        unsafe {
            libc::wait4(
                whom.map_or(-1, Pid::raw),
                &raw mut status,
                flags,
                &raw mut usage,
            )
        }
    })?;
    Ok(Pid::new(pid).map(|pid| Reaped {
        pid,
        ended: ended(status),
        usage: usage_of(&usage),
    }))
}

fn ended(status: i32) -> Ended {
    if libc::WIFSIGNALED(status) {
        Ended::Killed(libc::WTERMSIG(status))
    } else {
        Ended::Exited(libc::WEXITSTATUS(status))
    }
}

/// The fields of rusage differ in width between C libraries.
fn usage_of(raw: &libc::rusage) -> Usage {
    let time = |t: libc::timeval| {
        let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
        let micros = u32::try_from(t.tv_usec).unwrap_or(0);
        Duration::new(seconds, micros * 1_000)
    };
    Usage {
        user: time(raw.ru_utime),
        system: time(raw.ru_stime),
        peak_kib: u64::try_from(raw.ru_maxrss).unwrap_or(0),
    }
}

/// kill(2) of one process.
pub fn kill(pid: Pid, signal: i32) -> Result<()> {
    // SAFETY: takes two integers.
    once(&"kill", || unsafe { libc::kill(pid.raw(), signal) }).map(drop)
}

/// kill(2) of a process group, named by its leader.
pub(crate) fn kill_group(leader: Pid, signal: i32) -> Result<()> {
    // SAFETY: takes two integers.
    once(&"kill", || unsafe { libc::kill(-leader.raw(), signal) }).map(drop)
}

/// getpgid(2): the group that a process belongs to.
pub(crate) fn group_of(pid: Pid) -> Result<Pid> {
    // SAFETY: takes one integer.
    let group = once(&"getpgid", || unsafe { libc::getpgid(pid.raw()) })?;
    Pid::new(group).ok_or(Error::new(&"getpgid", Errno::SRCH))
}

/// setsid(2).
pub(crate) fn new_session() -> Result<()> {
    // SAFETY: no arguments.
    once(&"setsid", || unsafe { libc::setsid() }).map(drop)
}

/// umask(2).
pub(crate) fn set_umask(mask: libc::mode_t) {
    // SAFETY: takes an integer, cannot fail.
    unsafe { libc::umask(mask) };
}

/// umask(2): only the owner may write to a file that this process makes, whatever umask the starter
/// has set. What the starter's umask denies stays denied.
pub(crate) fn tighten_umask() {
    // SAFETY: takes an integer, cannot fail.
    let before = unsafe { libc::umask(0o077) };
    set_umask(before | 0o022);
}

/// prctl(2) with one number.
#[cfg(target_os = "linux")]
pub(super) fn prctl(option: i32, number: u32) -> Result<()> {
    const NONE: libc::c_ulong = 0;
    // SAFETY: the options that are used here take integers.
    once(&"prctl", || unsafe {
        libc::prctl(option, libc::c_ulong::from(number), NONE, NONE, NONE)
    })
    .map(drop)
}

/// prctl(PR_SET_CHILD_SUBREAPER): orphaned descendants become this process's children.
#[cfg(target_os = "linux")]
pub(crate) fn become_subreaper() -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)?;
    IS_SUBREAPER.store(true, Ordering::Relaxed);
    Ok(())
}

static IS_SUBREAPER: AtomicBool = AtomicBool::new(false);

/// Whether this process is a subreaper: then it has no descendants if it has no children.
pub(crate) fn is_subreaper() -> bool {
    IS_SUBREAPER.load(Ordering::Relaxed)
}

/// Elsewhere there are no subreapers: a descendant that leaves its process group is not found.
#[cfg(not(target_os = "linux"))]
pub(crate) fn become_subreaper() -> Result<()> {
    Ok(())
}

/// prctl(PR_SET_PDEATHSIG): this process gets the signal when its parent dies.
#[cfg(target_os = "linux")]
pub fn signal_with_parent(signal: i32) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal.unsigned_abs())
}

/// prctl(PR_SET_PDEATHSIG): whether there is such a call. Sets what is already set.
#[cfg(target_os = "linux")]
pub(crate) fn ask_signal_with_parent() -> Result<()> {
    let mut signal: libc::c_int = 0;
    // SAFETY: PR_GET_PDEATHSIG writes one int.
    once(&"prctl", || unsafe {
        libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal, 0, 0, 0)
    })?;
    signal_with_parent(signal)
}

/// Elsewhere nobody expects it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn ask_signal_with_parent() -> Result<()> {
    Ok(())
}

/// Elsewhere the end of the channel says that the parent is gone.
#[cfg(not(target_os = "linux"))]
pub fn signal_with_parent(_: i32) -> Result<()> {
    Ok(())
}

/// prctl(PR_SET_NAME): what ps(1) shows as the command's name, at most 15 bytes.
pub(crate) fn set_name(name: &std::ffi::CStr) {
    #[cfg(target_os = "linux")]
    // SAFETY: the name is NUL-terminated; the kernel copies at most 16 bytes.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = name;
}

/// RLIMIT_NOFILE: how many descriptors a process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// What the kernel enforces.
    pub soft: u64,
    /// How far it may be raised.
    pub hard: u64,
}

impl DescriptorLimit {
    /// The highest descriptor number that the limit allows, as far as an i32 goes.
    pub fn highest_possible(&self) -> i32 {
        i32::try_from(self.soft.min(1 << 20)).unwrap_or(1 << 20)
    }
}

/// getrlimit(2).
pub(super) fn limit_of(resource: ResourceNumber) -> Result<libc::rlimit> {
    // SAFETY: a zeroed rlimit is valid.
    let mut raw: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: getrlimit writes one rlimit.
    once(&"getrlimit", || unsafe {
        libc::getrlimit(resource, &raw mut raw)
    })?;
    Ok(raw)
}

/// setrlimit(2) of this process.
pub(super) fn set_limit(resource: ResourceNumber, soft: u64, hard: u64) -> Result<()> {
    let raw = libc::rlimit {
        rlim_cur: soft as libc::rlim_t,
        rlim_max: hard as libc::rlim_t,
    };
    // SAFETY: setrlimit reads one rlimit.
    once(&"setrlimit", || unsafe {
        libc::setrlimit(resource, &raw const raw)
    })
    .map(drop)
}

/// getrlimit(2) of RLIMIT_NOFILE.
pub(crate) fn descriptor_limit() -> Result<DescriptorLimit> {
    let raw = limit_of(libc::RLIMIT_NOFILE)?;
    Ok(DescriptorLimit {
        soft: raw.rlim_cur as u64,
        hard: raw.rlim_max as u64,
    })
}

/// setrlimit(2) of RLIMIT_NOFILE.
pub(crate) fn set_descriptor_limit(limit: DescriptorLimit) -> Result<()> {
    set_limit(libc::RLIMIT_NOFILE, limit.soft, limit.hard)
}

/// Worker: sched_setscheduler(2) with SCHED_BATCH. A worker that wakes up then takes the CPU from
/// nobody: if every CPU is busy a handler finishes first, which saves two changes of process. It is
/// advice, and may fail. Handlers inherit it: to take it back in each child costs more than all
/// else that a child does before its exec.
#[cfg(target_os = "linux")]
pub(crate) fn work_in_batches() {
    raw::sched_setscheduler(libc::SCHED_BATCH);
}

/// Elsewhere there is no such policy.
#[cfg(not(target_os = "linux"))]
pub(crate) fn work_in_batches() {}
