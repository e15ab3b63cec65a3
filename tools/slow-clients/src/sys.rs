//! The system calls that std has no words for; the only unsafe.
#![expect(unsafe_code, reason = "calls of libc")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

pub const SIGKILL: i32 = libc::SIGKILL;
pub const SIGTERM: i32 = libc::SIGTERM;
pub const SIGSTOP: i32 = libc::SIGSTOP;
pub const SIGCONT: i32 = libc::SIGCONT;
pub const SIGHUP: i32 = libc::SIGHUP;
pub const SIGUSR1: i32 = libc::SIGUSR1;
pub const SIGUSR2: i32 = libc::SIGUSR2;

fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// kill(2) of one process, by its id.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    assert!(pid > 1, "only one process at a time");
    // SAFETY: no memory is involved.
    check(unsafe { libc::kill(pid, signal) }).map(|_| ())
}

/// Processes below this one that lose their parent become its children.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: prctl takes plain numbers here.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }).map(|_| ())
}

/// fork(2): the child's process id, or 0 in the child. Only for a process with one thread.
pub fn fork() -> io::Result<i32> {
    // SAFETY: this process has one thread, so the child may do what it likes.
    check(unsafe { libc::fork() })
}

/// Begins a session of one's own.
pub fn begin_session() -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::setsid() }).map(|_| ())
}

/// Joins the process group of another process, or begins one of one's own (0).
pub fn join_group(pid: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::setpgid(0, pid) }).map(|_| ())
}

/// SIGTERM has no effect any more.
pub fn ignore_term() {
    // SAFETY: to ignore a signal needs no handler.
    unsafe {
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
    }
}

/// Closes stdin, stdout and stderr.
pub fn close_standard() {
    for fd in 0..3 {
        // SAFETY: what is written to them later fails, and is not looked at.
        unsafe {
            libc::close(fd);
        }
    }
}

/// Takes in a child that has ended; true if it ended with status 0.
pub fn reap(pid: i32) -> io::Result<Option<bool>> {
    let mut status = 0;
    // SAFETY: the status lives as long as the call.
    let ended = check(unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) })?;
    Ok((ended == pid).then_some(status == 0))
}

/// Takes in every child that has ended; how many did not with status 0.
pub fn reap_all() -> usize {
    let mut bad = 0;
    let mut status = 0;
    // SAFETY: the status lives as long as the call.
    while unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } > 0 {
        bad += usize::from(status != 0);
    }
    bad
}

/// Raises the soft descriptor limit to the hard one.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure lives as long as the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_max)
}

/// The child is ended with this process, however that ends.
pub fn end_with_parent(command: &mut Command) {
    let die = || {
        // SAFETY: prctl is async-signal-safe and takes plain numbers here.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) }).map(|_| ())
    };
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(die);
    }
}

/// Makes close(2) of this socket send RST.
pub fn reset_on_close(socket: &impl AsRawFd) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let size = libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap_or(0);
    // SAFETY: the structure and its size belong together and live as long as the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size,
        )
    };
    check(result).map(|_| ())
}

/// An epoll set.
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no memory is involved.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor was just made and belongs to nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches for readability, until the socket is closed.
    pub fn add(&self, socket: &impl AsRawFd, number: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: number,
        };
        let (set, fd) = (self.0.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: the event lives as long as the call.
        check(unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, fd, &raw mut event) }).map(|_| ())
    }

    /// Numbers of the sockets that are readable, after at most this long.
    pub fn wait(&self, ms: i32) -> io::Result<Vec<u64>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: the kernel writes at most the 64 events that there is room for.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 64, ms) };
        match check(count) {
            Ok(count) => {
                let count = usize::try_from(count).unwrap_or(0);
                Ok(events.iter().take(count).map(|event| event.u64).collect())
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }
}
