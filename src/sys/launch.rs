//! Starting a handler: clone(CLONE_VM | CLONE_VFORK) and execve.
//!
//! Everything the child needs is prepared before the clone. Between clone and exec it shares the
//! worker's memory, so it makes system calls and nothing else: no allocation, no log, no panic.

#[cfg(target_os = "linux")]
use super::call::or_else;
use super::call::{CallName, Error, Result, make_in_child, once};
use super::confine::{self, Bounds, Ruleset};
use super::errno::Errno;
use super::process::{self, Pid};
use super::{memory, signal};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Pointers to the strings of an arena, closed by a null: what execve(2) wants. Reused.
#[derive(Default)]
pub struct Pointers(Vec<*const c_char>);

/// A filled pointer vector that borrows the arena it points into.
pub struct Strings<'a> {
    first: *const *const c_char,
    arena: PhantomData<&'a [u8]>,
}

impl Pointers {
    /// Points at each string of `bytes` that begins at one of `offsets`. Every string must end in
    /// NUL inside `bytes`; `None` if one cannot.
    pub fn fill<'a>(&'a mut self, bytes: &'a [u8], offsets: &[usize]) -> Option<Strings<'a>> {
        if !offsets.is_empty() && bytes.last() != Some(&0) {
            return None;
        }
        self.0.clear();
        self.0.resize(offsets.len() + 1, std::ptr::null());
        for (pointer, &offset) in self.0.iter_mut().zip(offsets) {
            // Inside the arena, whose last byte is NUL: so the string ends inside it too.
            *pointer = std::ptr::from_ref(bytes.get(offset)?).cast();
        }
        Some(Strings {
            first: self.0.as_ptr(),
            arena: PhantomData,
        })
    }
}

/// Everything between clone and exec, decided beforehand.
pub struct Plan<'a> {
    /// What to execute; relative to `folder`.
    pub program: &'a CStr,
    /// Arguments, the name first.
    pub argv: Strings<'a>,
    /// Environment.
    pub envp: Strings<'a>,
    /// The handler's working directory, unless it is the worker's own.
    pub folder: Option<BorrowedFd<'a>>,
    /// Descriptors 0, 1 and 2 of the handler. Their own numbers are above 2.
    pub standard: [BorrowedFd<'a>; 3],
    /// Where its limits differ from the worker's.
    pub bounds: &'a Bounds,
    /// The rules of its sandbox.
    pub ruleset: Option<&'a Ruleset>,
}

/// The step between clone and exec that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchStep {
    /// clone(2) itself: no process was made.
    Clone,
    /// setpgid, dup2 or sigprocmask.
    Prepare,
    /// setrlimit or setpriority.
    Limit,
    /// landlock_restrict_self.
    Sandbox,
    /// fchdir into the handler's folder.
    Folder,
    /// execve.
    Exec,
}

/// A launch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchFailure {
    /// Where.
    pub step: LaunchStep,
    /// Why.
    pub error: Error,
}

/// What the child reads. Plain values only.
struct ChildOrder<'a> {
    program: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    folder: RawFd,
    standard: [RawFd; 3],
    bounds: &'a Bounds,
    /// The ruleset, or -1.
    ruleset: RawFd,
    /// Where the child says what went wrong: step, errno. Shared memory, because valgrind and
    /// qemu-user run this clone as a plain fork.
    report: &'static [AtomicU64; 2],
}

/// Worker: starts handlers, one at a time.
pub struct Launcher {
    /// The child's stack. execve needs little; libc's wrappers need a few hundred bytes.
    stack: Vec<u128>,
    report: &'static [AtomicU64; 2],
}

const STACK_BYTES: usize = 32 * 1024;

impl Launcher {
    /// mmap(2) of the report; the stack is ordinary memory.
    pub fn new() -> Result<Self> {
        let stack = vec![0; STACK_BYTES / size_of::<u128>()];
        let report = memory::shared_words(2)?
            .first_chunk()
            .ok_or(Error::new(&"mmap", Errno::NOMEM))?;
        Ok(Self { stack, report })
    }

    /// Worker: clone and exec. On success the handler runs (or, where clone is a plain fork,
    /// will say later that it does not: see `failure`). The caller has blocked all signals, since
    /// the child shares its memory and must not run a handler in it; the child unblocks them.
    pub fn launch(&mut self, plan: &Plan<'_>) -> std::result::Result<Pid, LaunchFailure> {
        let failed = |error| LaunchFailure {
            step: LaunchStep::Clone,
            error,
        };
        let [step, _] = self.report;
        step.store(0, Ordering::Relaxed);
        let order = ChildOrder {
            program: plan.program.as_ptr(),
            argv: plan.argv.first,
            envp: plan.envp.first,
            folder: plan.folder.map_or(-1, |f| f.as_raw_fd()),
            standard: plan.standard.map(|fd| fd.as_raw_fd()),
            bounds: plan.bounds,
            ruleset: plan.ruleset.map_or(-1, Ruleset::raw),
            report: self.report,
        };
        clone(&mut self.stack, &order).map_err(failed)
    }

    /// Why the last launch never became the handler; `None` if it did. Final once the child is
    /// reaped; with a true vfork final as soon as `launch` returns.
    pub fn failure(&self) -> Option<LaunchFailure> {
        let [step, errno] = self.report;
        let (step, call): (_, CallName) = match step.load(Ordering::Acquire) {
            0 => return None,
            PREPARE => (LaunchStep::Prepare, &"dup2"),
            FOLDER => (LaunchStep::Folder, &"fchdir"),
            LIMIT => (LaunchStep::Limit, &"setrlimit"),
            SANDBOX => (LaunchStep::Sandbox, &"landlock_restrict_self"),
            _ => (LaunchStep::Exec, &"execve"),
        };
        let errno = Errno::from_raw(i32::try_from(errno.load(Ordering::Relaxed)).unwrap_or(0));
        Some(LaunchFailure {
            step,
            error: Error::new(call, errno),
        })
    }
}

const PREPARE: u64 = 1;
const FOLDER: u64 = 2;
const EXEC: u64 = 3;
const LIMIT: u64 = 4;
const SANDBOX: u64 = 5;

#[cfg(target_os = "linux")]
fn clone(stack: &mut [u128], order: &ChildOrder<'_>) -> Result<Pid> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    let order = std::ptr::from_ref(order).cast_mut().cast::<c_void>();
    // SAFETY: the stack is this launcher's own and 16-byte aligned; CLONE_VFORK suspends this
    // thread until the child has left the shared memory, so the order outlives its use.
    let pid = once(&"clone", || unsafe {
        libc::clone(child, top, flags, order)
    });
    or_else(pid.map(Pid::new), || fork(order).map(Some))?.ok_or(Error::new(&"clone", Errno::INVAL))
}

/// Elsewhere fork, which costs more; the report tells why a child failed.
#[cfg(not(target_os = "linux"))]
fn clone(_stack: &mut [u128], order: &ChildOrder<'_>) -> Result<Pid> {
    fork(std::ptr::from_ref(order).cast_mut().cast::<c_void>())
}

/// `order`: a live one.
fn fork(order: *mut c_void) -> Result<Pid> {
    // SAFETY: one thread; the child only runs `child`, which never returns.
    let pid = once(&"fork", || unsafe { libc::fork() })?;
    match Pid::new(pid) {
        Some(pid) => Ok(pid),
        None => process::exit_now(child(order)),
    }
}

/// Between clone and exec: system calls only. Never returns to the caller's code.
extern "C" fn child(order: *mut c_void) -> c_int {
    // SAFETY: `clone` passes a live ChildOrder.
    let order = unsafe { &*order.cast::<ChildOrder>() };
    let step = prepare(order);
    let [said, errno] = order.report;
    errno.store(
        u64::from(Errno::last().raw().unsigned_abs()),
        Ordering::Relaxed,
    );
    said.store(step, Ordering::Release);
    // SAFETY: ends the child without touching anything that it shares.
    unsafe { libc::_exit(127) }
}

/// Between clone and exec: returns only with the step that failed; errno says why.
fn prepare(order: &ChildOrder<'_>) -> u64 {
    // SAFETY: takes integers. A group of its own, so that the whole group can be signalled.
    if !make_in_child("setpgid", || unsafe { libc::setpgid(0, 0) }) {
        return PREPARE;
    }
    for (standard, fd) in (0..).zip(order.standard) {
        // SAFETY: takes integers. The copy survives exec; the original is close-on-exec.
        if !make_in_child("dup2", || unsafe { libc::dup2(fd, standard) }) {
            return PREPARE;
        }
    }
    if !order.bounds.apply() {
        return LIMIT;
    }
    // SAFETY: takes an integer.
    if order.folder >= 0 && !make_in_child("fchdir", || unsafe { libc::fchdir(order.folder) }) {
        return FOLDER;
    }
    #[cfg(target_os = "linux")]
    // If it fails, the parent ends the handler of a worker that has died, as it ends all else that
    // the worker leaves behind.
    // SAFETY: takes integers.
    make_in_child("prctl", || unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0)
    });
    if order.ruleset >= 0
        && !make_in_child("landlock_restrict_self", || {
            confine::restrict_self(order.ruleset)
        })
    {
        return SANDBOX;
    }
    if !make_in_child("sigprocmask", signal::unblock_in_child) {
        return PREPARE;
    }
    make_in_child("execve", || {
        // SAFETY: program, argv and envp are NUL-terminated and live until the worker goes on.
        unsafe { libc::execve(order.program, order.argv, order.envp) }
    });
    EXEC
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd::{self, AsFd};
    use crate::sys::{file, process};

    fn launch(program: &CStr) -> (Launcher, std::result::Result<Pid, LaunchFailure>, String) {
        let (read_end, write_end) = fd::pipe().unwrap();
        let null = file::open_at(None, c"/dev/null", file::Open::Read).unwrap();
        let (mut argv, mut envp) = (Pointers::default(), Pointers::default());
        let mut launcher = Launcher::new().unwrap();
        let plan = Plan {
            program,
            argv: argv.fill(b"echo\0one two\0", &[0, 5]).unwrap(),
            envp: envp.fill(b"A=b\0", &[0]).unwrap(),
            folder: None,
            standard: [null.as_fd(), write_end.as_fd(), null.as_fd()],
            bounds: &Bounds::default(),
            ruleset: None,
        };
        let result = launcher.launch(&plan);
        drop(write_end);
        let mut text = [0; 64];
        let n = fd::read(read_end.as_fd(), &mut text).unwrap();
        (
            launcher,
            result,
            String::from_utf8_lossy(&text[..n]).into_owned(),
        )
    }

    #[test]
    fn a_program_runs_with_its_arguments() {
        let (launcher, pid, output) = launch(c"/bin/echo");
        let reaped = process::wait_for(pid.unwrap()).unwrap().unwrap();
        assert_eq!(output, "one two\n");
        assert_eq!(reaped.ended, process::Ended::Exited(0));
        assert_eq!(launcher.failure(), None);
    }

    #[test]
    fn a_missing_program_is_reported_with_its_errno() {
        let (launcher, pid, _) = launch(c"/no/such/program");
        let reaped = process::wait_for(pid.unwrap()).unwrap().unwrap();
        assert_eq!(reaped.ended, process::Ended::Exited(127));
        let failure = launcher.failure().unwrap();
        assert_eq!(
            (failure.step, failure.error.errno),
            (LaunchStep::Exec, Errno::NOENT)
        );
    }

    #[test]
    fn strings_that_do_not_end_inside_the_arena_are_refused() {
        let mut pointers = Pointers::default();
        assert!(pointers.fill(b"abc", &[0]).is_none());
        assert!(pointers.fill(b"abc\0", &[4]).is_none());
        assert!(pointers.fill(b"", &[]).is_some());
    }
}
