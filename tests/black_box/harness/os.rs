//! What the standard library does not have: signals, urgent bytes, and /proc.

#![expect(
    unsafe_code,
    reason = "a few system calls that the standard library does not wrap"
)]

use std::fs;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

pub(crate) const CONT: i32 = libc::SIGCONT;
pub(crate) const HUP: i32 = libc::SIGHUP;
pub(crate) const INT: i32 = libc::SIGINT;
pub(crate) const KILL: i32 = libc::SIGKILL;
pub(crate) const QUIT: i32 = libc::SIGQUIT;
pub(crate) const TERM: i32 = libc::SIGTERM;
pub(crate) const USR1: i32 = libc::SIGUSR1;
pub(crate) const USR2: i32 = libc::SIGUSR2;

/// Sends a signal; whether there was somebody to get it.
pub(crate) fn kill(pid: u32, signal: i32) -> bool {
    let pid = i32::try_from(pid).unwrap();
    assert!(pid > 1);
    // SAFETY: takes numbers only.
    unsafe { libc::kill(pid, signal) == 0 }
}

/// Stops a process, and waits until it stands still: it may do a little more after the signal was sent.
#[track_caller]
pub(crate) fn stop(pid: u32) {
    kill(pid, libc::SIGSTOP);
    super::eventually(super::PATIENCE, "it stands still", || {
        stat(pid).is_some_and(|fields| fields[0] == "T")
    });
}

/// Sends one urgent byte.
pub(crate) fn send_urgent(stream: &TcpStream, byte: u8) {
    let bytes = [byte];
    // SAFETY: the buffer holds the one byte that is announced.
    let n = unsafe { libc::send(stream.as_raw_fd(), bytes.as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(n, 1, "{}", std::io::Error::last_os_error());
}

/// A terminal: what its user holds, and what a program in it does.
pub(crate) fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut user, mut program) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: both places live; no name, modes or size are wanted.
    let result = unsafe {
        libc::openpty(
            &raw mut user,
            &raw mut program,
            null,
            null.cast(),
            null.cast(),
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    let own = |fd| {
        // SAFETY: the call has made it, for nobody else.
        unsafe { OwnedFd::from_raw_fd(fd) }
    };
    (own(user), own(program))
}

/// Lets the close of this socket be a reset.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    wait_at_close(stream, 0);
}

/// Lets the close of the last copy of this socket wait so long for its peer.
pub(crate) fn wait_at_close(stream: &TcpStream, seconds: i32) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: seconds,
    };
    set_option(stream, libc::SO_LINGER, &linger);
}

/// Sends bytes with a descriptor, so many times.
pub(crate) fn send_with(
    socket: &UnixStream,
    bytes: &[u8],
    passed: &TcpStream,
    times: usize,
) -> std::io::Result<()> {
    let raw = vec![passed.as_raw_fd(); times];
    let size = u32::try_from(size_of_val(raw.as_slice())).unwrap();
    let mut control = vec![0_u64; 256];
    let mut piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: a zeroed msghdr is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size) }.try_into().unwrap();
    // SAFETY: the control buffer has room for 253 descriptors, zeroed and aligned.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: a valid header of that buffer.
    let fields = unsafe { &mut *header };
    fields.cmsg_level = libc::SOL_SOCKET;
    fields.cmsg_type = libc::SCM_RIGHTS;
    // SAFETY: arithmetic.
    fields.cmsg_len = unsafe { libc::CMSG_LEN(size) }.try_into().unwrap();
    // SAFETY: the header is valid.
    let place = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: the buffer has room for them behind the header.
    unsafe { std::ptr::copy_nonoverlapping(raw.as_ptr().cast::<u8>(), place, size as usize) };
    // SAFETY: everything that the message points to lives.
    let n = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    if n < 0 {
        return Err(std::io::Error::last_os_error());
    }
    assert_eq!(usize::try_from(n).ok(), Some(bytes.len()));
    Ok(())
}

/// Whether the kernel can keep descriptors from a Unix socket (SO_PASSRIGHTS, Linux 6.16).
pub(crate) fn can_refuse_descriptors(socket: &UnixStream) -> bool {
    let (mut value, mut size) = (0_i32, 4);
    // SAFETY: value and size live and agree.
    let result = unsafe {
        let value = (&raw mut value).cast();
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            83,
            value,
            &raw mut size,
        )
    };
    result == 0
}

/// Makes the socket's receive buffer that large, so that little is enough to fill it.
pub(crate) fn set_receive_buffer(stream: &TcpStream, bytes: i32) {
    set_option(stream, libc::SO_RCVBUF, &bytes);
}

/// Whether another socket of this user may listen at this port of 127.0.0.1 (SO_REUSEPORT).
pub(crate) fn can_share_port(port: u16) -> bool {
    // SAFETY: takes numbers only.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(socket >= 0);
    // SAFETY: it was made just now and is nobody else's.
    let socket = TcpStream::from(unsafe { OwnedFd::from_raw_fd(socket) });
    set_option(&socket, libc::SO_REUSEPORT, &1_i32);
    let address = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap(),
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    };
    let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).unwrap();
    // SAFETY: the address lives, and the length is its own.
    unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) == 0 }
}

fn set_option<T>(stream: &TcpStream, option: i32, value: &T) {
    let size = libc::socklen_t::try_from(size_of::<T>()).unwrap();
    let value = std::ptr::from_ref(value).cast();
    // SAFETY: the value lives, and the length is its own.
    let result =
        unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, option, value, size) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// The version of Landlock that the kernel speaks, 0 for none.
pub(crate) fn landlock_version() -> i64 {
    let (create_ruleset, ask_version) = (444, 1);
    // SAFETY: a null pointer of size 0 asks for the version.
    unsafe { libc::syscall(create_ruleset, 0_usize, 0_usize, ask_version) }.max(0)
}

pub(crate) fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t0"))
}

/// Runs it as the user nobody, if this is root. Only the thread changes its user: that is what the
/// kernel's own call does, and the C library's would change all.
pub(crate) fn as_nobody<T: Send>(act: impl FnOnce() -> T + Send) -> Option<T> {
    const NOBODY: libc::c_long = 65534;
    if !is_root() {
        eprintln!("skipped: only root can become another user");
        return None;
    }
    let changed = || {
        // SAFETY: takes numbers only.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        act()
    };
    Some(std::thread::scope(|scope| {
        scope.spawn(changed).join().unwrap()
    }))
}

/// The fields of /proc/PID/stat behind the program's name: state, parent, group, ...
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Whether it runs: neither gone nor a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| !matches!(fields[0].as_str(), "Z" | "X"))
}

/// Whether it sleeps: what it had to do is done.
pub(crate) fn is_asleep(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] == "S")
}

/// CPU time that it has used so far, in clock ticks (10 ms).
pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    let fields = stat(pid).unwrap();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The living processes of a user.
pub(crate) fn processes_of(user: u32) -> Vec<u32> {
    let is_own =
        |pid: &u32| fs::metadata(format!("/proc/{pid}")).is_ok_and(|folder| folder.uid() == user);
    pids().filter(is_own).filter(|pid| is_alive(*pid)).collect()
}

/// Its living children.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let parent = parent.to_string();
    pids()
        .filter(|&pid| is_alive(pid) && stat(pid).is_some_and(|fields| fields[1] == parent))
        .collect()
}

/// Its children that have ended and that it has not taken in.
pub(crate) fn zombies(parent: u32) -> usize {
    let parent = parent.to_string();
    let is_zombie = |fields: &Vec<String>| fields[0] == "Z" && fields[1] == parent;
    pids().filter_map(stat).filter(is_zombie).count()
}

/// The living processes whose working folder is `folder` or below it.
pub(crate) fn processes_in(folder: &Path) -> Vec<u32> {
    let is_there = |pid: &u32| {
        fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    };
    pids()
        .filter(is_there)
        .filter(|&pid| is_alive(pid))
        .collect()
}

/// What its descriptors lead to.
pub(crate) fn descriptors(pid: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let links = entries
        .flatten()
        .filter_map(|e| fs::read_link(e.path()).ok());
    links.map(|link| link.display().to_string()).collect()
}
