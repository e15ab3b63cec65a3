//! Sockets: listeners, clients (never blocking), and the control socket.

pub(crate) use super::address::is_abstract;
use super::address::{RawAddress, internet_address, notify_address, unix_address};
use super::call::{Error, Result, count, once, or_else, retry};
use super::errno::Errno;
use super::{fd, file, platform, process};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

fn socket(family: i32, extra: i32) -> Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | platform::SOCK_CLOEXEC | extra;
    // SAFETY: takes integers.
    once(&"socket", || unsafe { platform::socket(family, kind, 0) }).map(fd::own)
}

pub(super) fn set_option<T>(socket: BorrowedFd<'_>, level: i32, name: i32, value: T) -> Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the value is live and the length is its own.
    once(&"setsockopt", || unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            len,
        )
    })
    .map(drop)
}

/// getsockopt(2). Any bits must be a T.
fn read_option<T>(socket: BorrowedFd<'_>, level: i32, name: i32, value: &mut T) -> Result<()> {
    let mut len = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: value and length are live and agree; see the function's contract.
    once(&"getsockopt", || unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_mut(value).cast(),
            &raw mut len,
        )
    })
    .map(drop)
}

/// getsockopt(2) at the level of sockets, for a number.
pub(super) fn option(socket: BorrowedFd<'_>, name: i32) -> Result<i32> {
    let mut value = 0;
    read_option(socket, libc::SOL_SOCKET, name, &mut value)?;
    Ok(value)
}

/// bind(2) and listen(2), non-blocking, with SO_REUSEADDR. An IPv6 wildcard takes IPv4 too when
/// `dual` is set; `beside` others that listen there and `share_port`.
pub(crate) fn listen(
    address: SocketAddr,
    dual: bool,
    beside: bool,
    backlog: i32,
) -> Result<OwnedFd> {
    let listener = socket(family_of(address), platform::SOCK_NONBLOCK)?;
    set_option(listener.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if address.is_ipv6() {
        set_option(
            listener.as_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_V6ONLY,
            i32::from(!dual),
        )?;
    }
    if beside {
        share_port(listener.as_fd(), true)?;
    }
    bind(&listener, &internet_address(address))?;
    listen_on(&listener, backlog)?;
    if beside {
        share_port(listener.as_fd(), false)?;
    }
    Ok(listener)
}

/// SO_REUSEPORT: another socket of this user that says the same may listen at this port too.
pub(crate) fn share_port(listener: BorrowedFd<'_>, on: bool) -> Result<()> {
    set_option(
        listener,
        libc::SOL_SOCKET,
        libc::SO_REUSEPORT,
        i32::from(on),
    )
}

fn family_of(address: SocketAddr) -> i32 {
    match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    }
}

fn bind(socket: &OwnedFd, address: &RawAddress) -> Result<()> {
    // SAFETY: the address is live for its length.
    once(&"bind", || unsafe {
        libc::bind(socket.as_raw_fd(), address.as_ptr(), address.len)
    })
    .map(drop)
}

/// listen(2). If another process has made the listener, clients see this process as their peer from
/// then on (SO_PEERCRED names the process that has called listen last).
pub(crate) fn listen_on(socket: &OwnedFd, backlog: i32) -> Result<()> {
    // SAFETY: takes two integers.
    once(&"listen", || unsafe {
        libc::listen(socket.as_raw_fd(), backlog)
    })
    .map(drop)
}

/// Whether bind(2) would be refused, without listening: nobody notices.
pub(crate) fn try_bind(address: SocketAddr) -> Result<()> {
    let socket = socket(family_of(address), 0)?;
    set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    bind(&socket, &internet_address(address))
}

/// A non-blocking listening Unix domain socket. `private` makes its file 0600 from its first moment
/// on (by the umask). Otherwise everybody who can reach the folder may connect; group or others may
/// not if the umask in force takes all rights from them (077, 027).
pub fn listen_unix(path: &Path, private: bool, backlog: i32) -> Result<OwnedFd> {
    let address = unix_address(path)?;
    let listener = socket(libc::AF_UNIX, platform::SOCK_NONBLOCK)?;
    // SAFETY: takes an integer, cannot fail.
    let before = unsafe { libc::umask(0o177) };
    if !private {
        let denied = |class| if before & class == class { class } else { 0 };
        process::set_umask(0o111 | denied(0o070) | denied(0o007));
    }
    let bound = bind(&listener, &address).and_then(|()| listen_on(&listener, backlog));
    process::set_umask(before);
    if !private {
        refuse_descriptors(listener.as_fd());
    }
    bound.map(|()| listener)
}

/// SO_PASSRIGHTS off, for all that a Unix listener accepts: nobody may pass descriptors (Linux
/// 6.16). Before, a descriptor that nobody has received is closed by the process that reads or
/// closes the connection, and that process may have to wait for the descriptor's peer.
pub(crate) fn refuse_descriptors(listener: BorrowedFd<'_>) {
    const SO_PASSRIGHTS: i32 = 83;
    if cfg!(target_os = "linux") {
        let _ = set_option(listener, libc::SOL_SOCKET, SO_PASSRIGHTS, 0);
    }
}

/// A connected Unix domain socket. It blocks.
pub(crate) fn connect_unix(path: &Path) -> Result<OwnedFd> {
    connect_unix_with(path, 0)
}

/// A connected Unix domain socket, never blocking: EAGAIN says that too many others wait there.
pub(crate) fn connect_unix_at_once(path: &Path) -> Result<OwnedFd> {
    connect_unix_with(path, platform::SOCK_NONBLOCK)
}

fn connect_unix_with(path: &Path, flags: i32) -> Result<OwnedFd> {
    let address = unix_address(path).map_err(|e| Error {
        call: &"connect",
        ..e
    })?;
    let socket = socket(libc::AF_UNIX, flags)?;
    connect(socket, &address)
}

fn connect(socket: OwnedFd, address: &RawAddress) -> Result<OwnedFd> {
    retry(&"connect", || {
        // SAFETY: the address is live for its length.
        unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr(), address.len) }
    })?;
    Ok(socket)
}

/// getsockname(2).
pub(super) fn name(socket: BorrowedFd<'_>) -> Result<RawAddress> {
    let mut address = RawAddress::empty();
    // SAFETY: storage and length are live and agree.
    once(&"getsockname", || unsafe {
        libc::getsockname(
            socket.as_raw_fd(),
            (&raw mut address.storage).cast(),
            &raw mut address.len,
        )
    })?;
    Ok(address)
}

/// Who is at the other end of a Unix domain socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its process id; 0 where the system does not say.
    pub pid: i32,
    /// Its effective user id when it connected.
    pub uid: u32,
}

/// SO_PEERCRED (getpeereid(3) elsewhere, which knows no pid).
pub(crate) fn peer(socket: BorrowedFd<'_>) -> Result<Peer> {
    #[cfg(target_os = "linux")]
    {
        let mut raw = libc::ucred {
            pid: 0,
            uid: 0,
            gid: 0,
        };
        read_option(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, &mut raw)?;
        Ok(Peer {
            pid: raw.pid,
            uid: raw.uid,
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let (mut uid, mut gid) = (0, 0);
        // SAFETY: both pointers are to live locals.
        once(&"getpeereid", || unsafe {
            libc::getpeereid(socket.as_raw_fd(), &raw mut uid, &raw mut gid)
        })?;
        Ok(Peer { pid: 0, uid })
    }
}

/// The `@NAME` of a Unix socket that is in no folder.
pub(crate) fn abstract_name(socket: BorrowedFd<'_>) -> Option<PathBuf> {
    name(socket).ok()?.to_abstract()
}

/// Whether it is a stream socket that listens (SO_ACCEPTCONN).
pub(crate) fn is_listening(socket: BorrowedFd<'_>) -> bool {
    option(socket, libc::SO_TYPE) == Ok(libc::SOCK_STREAM)
        && option(socket, libc::SO_ACCEPTCONN).is_ok_and(|value| value != 0)
}

/// Whether it is a Unix domain socket.
pub(crate) fn is_unix(socket: BorrowedFd<'_>) -> bool {
    name(socket).is_ok_and(|name| i32::from(name.storage.ss_family) == libc::AF_UNIX)
}

/// A datagram socket that is connected to this name: a path, or an abstract name behind `@`.
pub(crate) fn connect_notify(name: &[u8]) -> Result<OwnedFd> {
    let address = notify_address(name).ok_or(Error::new(&"connect", Errno::NAMETOOLONG))?;
    let kind = libc::SOCK_DGRAM | platform::SOCK_CLOEXEC;
    // SAFETY: takes integers.
    let made = once(&"socket", || unsafe {
        platform::socket(libc::AF_UNIX, kind, 0)
    });
    let socket = made.map(fd::own)?;
    connect(socket, &address)
}

/// Where a socket is bound; `None` for a Unix socket.
pub(crate) fn local_address(socket: BorrowedFd<'_>) -> Result<Option<SocketAddr>> {
    Ok(name(socket)?.to_internet())
}

/// accept4(2): the client, non-blocking and close-on-exec, and its address (`None` on a Unix
/// socket). Only sendfile(2) relies on O_NONBLOCK; every other call says MSG_DONTWAIT.
pub fn accept(listener: BorrowedFd<'_>) -> Result<(OwnedFd, Option<SocketAddr>)> {
    let mut address = RawAddress::empty();
    let flags = platform::SOCK_CLOEXEC | platform::SOCK_NONBLOCK;
    let (fd, storage, len) = (
        listener.as_raw_fd(),
        (&raw mut address.storage).cast(),
        &raw mut address.len,
    );
    let accepted = retry(&"accept4", || {
        // SAFETY: storage and length are live and agree.
        unsafe { platform::accept4(fd, storage, len, flags) }
    });
    let client = or_else(accepted.map(fd::own), || {
        // SAFETY: as above.
        let accepted = retry(&"accept", || unsafe { libc::accept(fd, storage, len) })?;
        let client = fd::adopt(accepted)?;
        fd::set_nonblocking(client.as_fd(), true)?;
        Ok(client)
    })?;
    Ok((client, address.to_internet()))
}

/// recv(2) with MSG_PEEK: what has arrived stays in the socket. 0 is the peer's FIN.
pub fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    receive_with(socket, buffer, libc::MSG_PEEK)
}

/// recv(2), never blocking. 0 is the peer's FIN.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    receive_with(socket, buffer, 0)
}

fn receive_with(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: i32) -> Result<usize> {
    let flags = flags | libc::MSG_DONTWAIT;
    retry(&"recv", || {
        // SAFETY: the buffer is writable for its own length.
        unsafe {
            libc::recv(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                flags,
            )
        }
    })
    .map(count)
}

/// recv(2) with MSG_TRUNC and no buffer: TCP drops up to `bytes` bytes in the kernel, none reaches
/// user space (tcp(7)). 0 is the FIN. Unix sockets answer EFAULT: there read.
pub fn discard(socket: BorrowedFd<'_>, bytes: usize) -> Result<usize> {
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    let dropped = retry(&"recv", || {
        // SAFETY: TCP writes nothing when MSG_TRUNC is set; others fail with EFAULT on null.
        unsafe { libc::recv(socket.as_raw_fd(), std::ptr::null_mut(), bytes, flags) }
    });
    or_else(dropped.map(count), || {
        let mut scratch = [0; 4096];
        let part = scratch.get_mut(..bytes.min(4096)).unwrap_or_default();
        receive(socket, part)
    })
}

/// send(2), never blocking, no SIGPIPE.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    retry(&"send", || {
        // SAFETY: the bytes are readable for their own length.
        unsafe {
            libc::send(
                socket.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                flags,
            )
        }
    })
    .map(count)
}

/// sendmsg(2) of up to three pieces in one call, never blocking, no SIGPIPE.
pub(crate) fn send_gathered(
    socket: BorrowedFd<'_>,
    pieces: &[std::io::IoSlice<'_>],
) -> Result<usize> {
    let mut message = empty_message();
    message.msg_iov = pieces.as_ptr().cast_mut().cast();
    {
        message.msg_iovlen = pieces.len().try_into().unwrap_or(0);
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    retry(&"sendmsg", || {
        // SAFETY: IoSlice has the layout of iovec, and the kernel only reads the pieces.
        unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) }
    })
    .map(count)
}

pub(super) fn empty_message() -> libc::msghdr {
    // SAFETY: a zeroed msghdr is valid; musl pads it differently, so it is never built by fields.
    unsafe { std::mem::zeroed() }
}

/// sendfile(2) from the file's own offset, which it moves on: the next process goes on from there.
/// The socket must not block; `Ok(0)` is the end of the file.
#[cfg(target_os = "linux")]
pub(crate) fn send_file(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    bytes: usize,
) -> Result<usize> {
    let sent = retry(&"sendfile", || {
        // SAFETY: a null offset means the file's own.
        unsafe {
            libc::sendfile64(
                socket.as_raw_fd(),
                file.as_raw_fd(),
                std::ptr::null_mut(),
                bytes,
            )
        }
    });
    or_else(sent.map(count), || copy_file(socket, file, bytes))
}

/// Elsewhere sendfile(2) is missing or another call.
#[cfg(not(target_os = "linux"))]
pub(crate) use copy_file as send_file;

/// Reads, sends, moves the offset on.
pub(crate) fn copy_file(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    bytes: usize,
) -> Result<usize> {
    let mut piece = [0; 32 * 1024];
    let at = file::offset(file)?;
    let room = piece.get_mut(..bytes.min(32 * 1024)).unwrap_or_default();
    let n = fd::pread(file, room, at)?;
    let part = piece.get(..n).unwrap_or_default();
    if part.is_empty() {
        return Ok(0);
    }
    let sent = send(socket, part)?;
    file::seek(file, at + sent as u64)?;
    Ok(sent)
}

/// SO_RCVLOWAT: the socket counts as readable only from this many bytes on (in epoll since
/// Linux 4.18). The kernel caps it at half the receive buffer.
pub(crate) fn set_receive_low_water(socket: BorrowedFd<'_>, bytes: usize) -> Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    let set = set_option(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes);
    match bytes {
        // A system without the mark needs no mark taken back.
        ..=1 => or_else(set, || Ok(())),
        _ => set,
    }
}

/// SO_RCVLOWAT as it stands.
pub(crate) fn receive_low_water(socket: BorrowedFd<'_>) -> Result<usize> {
    option(socket, libc::SO_RCVLOWAT).map(count)
}

/// SIOCOUTQ: bytes that were written and that the peer's kernel has not acknowledged (TCP) or the peer has
/// not read (Unix sockets). It falls while a slow reader reads, long before the socket becomes writable.
#[cfg(target_os = "linux")]
pub(crate) fn bytes_unsent(socket: BorrowedFd<'_>) -> Result<usize> {
    // The same number as SIOCOUTQ.
    fd::ask_number(socket, libc::TIOCOUTQ as u64)
}

/// Elsewhere there is no one way to ask.
#[cfg(not(target_os = "linux"))]
pub(crate) fn bytes_unsent(_: BorrowedFd<'_>) -> Result<usize> {
    Err(Error::new(&"ioctl", Errno::NOSYS))
}

/// TCP_INFO: bytes that were written to a TCP connection so far, sent or not, by whoever has a copy of
/// its descriptor. `None` where nobody can tell: other sockets, kernels before 4.19, others that count
/// nothing (this one has received a request).
#[cfg(target_os = "linux")]
pub(crate) fn bytes_written(socket: BorrowedFd<'_>) -> Option<u64> {
    // struct tcp_info up to tcpi_bytes_retrans; every 64-bit member of it is aligned everywhere.
    let mut info = [0_u64; 27];
    read_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info).ok()?;
    let [.., received, _, notsent, _, _, _, _, _, _, sent, again] = info;
    let [a, b, c, d, ..] = notsent.to_ne_bytes();
    let notsent = u64::from(u32::from_ne_bytes([a, b, c, d]));
    (received > 0).then(|| sent.wrapping_sub(again).wrapping_add(notsent))
}

/// Elsewhere nobody can tell.
#[cfg(not(target_os = "linux"))]
pub(crate) fn bytes_written(_: BorrowedFd<'_>) -> Option<u64> {
    None
}

/// TCP_NODELAY: what is written leaves at once. Accepted sockets inherit it from their listener.
pub(crate) fn set_no_delay(socket: BorrowedFd<'_>) -> Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)
}

/// socketpair(2), for tests and benches of the channel.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    let kind = libc::SOCK_STREAM | platform::SOCK_CLOEXEC;
    // SAFETY: socketpair writes two descriptors into an array of two.
    once(&"socketpair", || unsafe {
        platform::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr())
    })?;
    let [a, b] = ends;
    Ok((fd::own(a), fd::own(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discarding_on_a_unix_socket_is_refused() {
        let (a, b) = pair().unwrap();
        send(a.as_fd(), b"abc").unwrap();
        assert!(discard(b.as_fd(), 3).is_err());
        assert_eq!(receive(b.as_fd(), &mut [0; 8]).unwrap(), 3);
    }

    #[test]
    fn a_unix_path_that_is_too_long_is_refused_before_the_kernel_cuts_it() {
        let path = "/tmp/".to_string() + &"x".repeat(200);
        let error = listen_unix(Path::new(&path), true, 1).unwrap_err();
        assert_eq!(error.errno, Errno::NAMETOOLONG);
    }

    #[test]
    fn only_a_socket_that_listens_is_a_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(is_listening(listener.as_fd()));
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (stream, _) = pair().unwrap();
        let (pipe, _) = fd::pipe().unwrap();
        for other in [datagrams.as_fd(), stream.as_fd(), pipe.as_fd()] {
            assert!(!is_listening(other));
        }
    }

    #[test]
    fn a_name_is_a_path_or_abstract() {
        assert!(connect_notify(&[b'/'; 200]).is_err());
        assert!(connect_notify(b"").is_err());
        assert!(connect_notify(b"relative").is_err());
        assert!(connect_notify(b"/nowhere/at/all").is_err());
        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt;
            use std::os::unix::net::{SocketAddr, UnixDatagram};
            let name = format!("caffeine-notify-{}", std::process::id());
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            let ear = UnixDatagram::bind_addr(&address).unwrap();
            let mouth = connect_notify(format!("@{name}").as_bytes()).unwrap();
            send(mouth.as_fd(), b"READY=1").unwrap();
            let mut heard = [0; 16];
            let n = ear.recv(&mut heard).unwrap();
            assert_eq!(&heard[..n], b"READY=1");
        }
    }
}
