//! Which processes were started by which: children, descendants, and the mark by which the
//! descendants of a worker are known for good. Elsewhere than on Linux orphans are not given to
//! this process, so none is found.

use super::call::{Error, Result};
use super::errno::Errno;
#[cfg(target_os = "linux")]
use super::fault;
#[cfg(target_os = "linux")]
use super::proc::{self, pid_of, stat_of};
use super::process::{self, Pid};
use super::signal;

/// The children of this process, orphans that a subreaper was given among them: from the
/// `children` file, else (no CONFIG_PROC_CHILDREN) from a walk over /proc. Zombies are listed too.
#[cfg(target_os = "linux")]
pub(crate) fn children() -> Result<Vec<Pid>> {
    let (own, mut all) = (process::pid(), Vec::new());
    if fault::due("children").is_none()
        && add_children(&format!("self/task/{own}"), &mut all).is_ok()
    {
        return Ok(all);
    }
    children_by_walk(own)
}

/// Elsewhere nothing is reparented to this process, so there is nothing to find.
#[cfg(not(target_os = "linux"))]
pub(crate) fn children() -> Result<Vec<Pid>> {
    Ok(Vec::new())
}

#[cfg(target_os = "linux")]
fn children_by_walk(own: Pid) -> Result<Vec<Pid>> {
    // A /proc of another pid namespace has other numbers for everybody.
    let itself = proc::read("self/stat")?;
    if itself.split(|byte| *byte == b' ').next().and_then(pid_of) != Some(own) {
        return Err(Error::new(&"opendir", Errno::SRCH));
    }
    let folder = std::fs::read_dir("/proc").map_err(|e| Error::from_io(&"opendir", &e))?;
    Ok(folder
        .filter_map(|entry| pid_of(entry.ok()?.file_name().as_encoded_bytes()))
        .filter(|pid| parent_of(*pid) == Some(own))
        .collect())
}

#[cfg(target_os = "linux")]
fn parent_of(pid: Pid) -> Option<Pid> {
    pid_of(stat_of(pid)?.split(|byte| *byte == b' ').nth(1)?)
}

/// Appends the children that a thread has started; `thread` is its folder below /proc.
#[cfg(target_os = "linux")]
fn add_children(thread: &str, to: &mut Vec<Pid>) -> Result<()> {
    let list = proc::read(&format!("{thread}/children"))?;
    to.extend(list.split(|byte| *byte == b' ').filter_map(pid_of));
    Ok(())
}

/// These processes and all that descend from them, as far as /proc tells (CONFIG_PROC_CHILDREN). What
/// starts or ends meanwhile may be missing, or be there twice.
#[cfg(target_os = "linux")]
pub(crate) fn with_descendants(mut of: Vec<Pid>) -> Vec<Pid> {
    let mut at = 0;
    while let Some(&pid) = of.get(at) {
        at += 1;
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
        // In a chroot there may be no /proc to list, only the one that was kept, from which files
        // can be read.
        let mut names: Vec<_> = match threads {
            Ok(threads) => threads.flatten().map(|thread| thread.file_name()).collect(),
            Err(_) => vec![pid.to_string().into()],
        };
        for name in names.drain(..) {
            // A process that has just ended has no children any more.
            let _ = add_children(&format!("{pid}/task/{}", name.display()), &mut of);
        }
    }
    of
}

/// These processes, as far as is known.
#[cfg(not(target_os = "linux"))]
pub(crate) fn with_descendants(of: Vec<Pid>) -> Vec<Pid> {
    of
}

/// How often `end_with_descendants` looks for processes that were started while it looked.
const MOST_PASSES: usize = 50;

/// SIGKILL for these processes and all their descendants; returns those that got it, in order. All are
/// stopped first: a process that the signal has reached starts no other, so the number of those that still
/// fork falls with each pass. To kill one of them at once would only make room for the next.
pub(crate) fn end_with_descendants(of: &dyn Fn() -> Vec<Pid>) -> Vec<Pid> {
    let mut known = Vec::new();
    for _ in 0..MOST_PASSES {
        let before = known.len();
        for pid in with_descendants(of()) {
            if let Err(at) = known.binary_search(&pid)
                && process::kill(pid, signal::SIGSTOP).is_ok()
            {
                known.insert(at, pid);
            }
        }
        if known.len() == before {
            break;
        }
    }
    for pid in &known {
        let _ = process::kill(*pid, signal::SIGKILL);
    }
    known
}

/// Worker: marks itself and all that it will ever start. The mark is its pid as hard limit of
/// RLIMIT_LOCKS: no kernel since Linux 2.4.24 looks at that one, fork and exec hand it on, and only
/// CAP_SYS_RESOURCE raises it again.
#[cfg(target_os = "linux")]
pub(crate) fn mark() -> Result<()> {
    let own = u64::from(process::pid().raw().unsigned_abs());
    set_mark(own)
}

#[cfg(target_os = "linux")]
fn set_mark(number: u64) -> Result<()> {
    process::set_limit(libc::RLIMIT_LOCKS, number, number)
}

/// Whether workers of this process can be marked: it bears no mark itself, and the kernel lets it.
#[cfg(target_os = "linux")]
pub(crate) fn can_mark() -> bool {
    matches!(mark_of(process::pid()), Ok(None)) && set_mark(libc::RLIM_INFINITY as u64).is_ok()
}

/// The mark of a process, which may be a zombie: the pid of a worker, or what a process that wanted to hide
/// has made of it. `None`: it descends from no worker.
#[cfg(target_os = "linux")]
pub(crate) fn mark_of(pid: Pid) -> Result<Option<i32>> {
    let limits = proc::read(&format!("{pid}/limits"))?;
    let lines = limits.split(|byte| *byte == b'\n');
    let line = lines.filter_map(|line| line.strip_prefix(b"Max file locks"));
    // Soft limit, hard limit, unit.
    let words = line.flat_map(|line| line.split(|byte| *byte == b' '));
    let hard = words.filter(|word| !word.is_empty()).nth(1);
    let hard = hard.filter(|hard| *hard != b"unlimited");
    Ok(hard.map(|hard| pid_of(hard).map_or(0, Pid::raw)))
}

/// Elsewhere there is no such limit.
#[cfg(not(target_os = "linux"))]
pub(crate) fn mark() -> Result<()> {
    Err(unknown())
}

/// Elsewhere there is no such limit.
#[cfg(not(target_os = "linux"))]
pub(crate) fn can_mark() -> bool {
    false
}

/// Elsewhere there is no such limit.
#[cfg(not(target_os = "linux"))]
pub(crate) fn mark_of(_: Pid) -> Result<Option<i32>> {
    Err(unknown())
}

#[cfg(not(target_os = "linux"))]
fn unknown() -> Error {
    Error::new(&"setrlimit", Errno::NOSYS)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_find_children_find_the_same() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Pid::new(i32::try_from(child.id()).unwrap()).unwrap();
        assert_eq!(parent_of(pid), Some(process::pid()));
        assert!(children_by_walk(process::pid()).unwrap().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children_by_walk(process::pid()).unwrap().contains(&pid));
    }

    fn pid_of_child(child: &std::process::Child) -> Pid {
        Pid::new(i32::try_from(child.id()).unwrap()).unwrap()
    }

    /// A shell below which there are two more processes, one in a session of its own.
    fn family() -> std::process::Child {
        let script = "setsid sh -c 'sleep 100 & wait' & wait";
        let mut shell = std::process::Command::new("sh");
        let child = shell.args(["-c", script]).spawn().unwrap();
        let begun = std::time::Instant::now();
        while with_descendants(vec![pid_of_child(&child)]).len() < 3 {
            assert!(begun.elapsed().as_secs() < 20, "they do not start");
            std::thread::yield_now();
        }
        child
    }

    #[test]
    fn a_family_is_ended_as_a_whole_and_nobody_else() {
        let (mut child, mut other) = (family(), family());
        let all = with_descendants(vec![pid_of_child(&child)]);
        let killed = end_with_descendants(&|| vec![pid_of_child(&child)]);
        assert!(killed.is_sorted() && killed.len() == 3, "{killed:?}");
        assert!(all.iter().all(|pid| killed.contains(pid)), "{all:?}");
        child.wait().unwrap();
        let begun = std::time::Instant::now();
        while all.iter().any(|pid| process::kill(*pid, 0).is_ok()) {
            assert!(begun.elapsed().as_secs() < 20, "they do not end");
            std::thread::yield_now();
        }
        assert_eq!(with_descendants(vec![pid_of_child(&other)]).len(), 3);
        end_with_descendants(&|| vec![pid_of_child(&other)]);
        other.wait().unwrap();
    }

    #[test]
    fn a_mark_is_handed_on_and_cannot_be_taken_off() {
        use std::os::unix::process::CommandExt;
        assert!(can_mark());
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "sleep 100; exit"]);
        // SAFETY: makes two system calls and allocates nothing.
        unsafe { shell.pre_exec(|| mark().map_err(|_| std::io::ErrorKind::Other.into())) };
        let mut child = shell.spawn().unwrap();
        let pid = pid_of_child(&child);
        let begun = std::time::Instant::now();
        while with_descendants(vec![pid]).len() < 2 {
            assert!(begun.elapsed().as_secs() < 20, "it does not start");
            std::thread::yield_now();
        }
        for pid_of_one in with_descendants(vec![pid]) {
            assert_eq!(mark_of(pid_of_one).unwrap(), Some(pid.raw()));
        }
        assert_eq!(mark_of(process::pid()).unwrap(), None);
        end_with_descendants(&|| vec![pid]);
        child.wait().unwrap();
    }
}
