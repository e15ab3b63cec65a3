//! Sockets: listeners, clients (never blocking), and the Unix socket of the server.

pub use super::address::is_abstract;
use super::address::{RawAddress, internet_address, unix_address};
pub use super::peer::{Peer, abstract_name, peer};
use super::{Error, Result, born, count, fd, once, or_else, retry};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

fn socket(family: i32, extra: i32) -> Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | born::SOCK_CLOEXEC | extra;
    // SAFETY: takes integers.
    once(&"socket", || unsafe { born::socket(family, kind, 0) }).map(fd::own)
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

/// getsockopt(2) at the level of sockets, for a number.
pub(super) fn option(socket: BorrowedFd<'_>, name: i32) -> Result<i32> {
    let mut value: i32 = 0;
    let mut len = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(0);
    // SAFETY: value and length are live and agree.
    once(&"getsockopt", || unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw mut value).cast(),
            &raw mut len,
        )
    })?;
    Ok(value)
}

/// bind(2) and listen(2), non-blocking, with SO_REUSEADDR. An IPv6 wildcard takes IPv4 too when
/// `dual` is set; `beside` others that listen there and `share_port`.
pub fn listen(address: SocketAddr, dual: bool, beside: bool, backlog: i32) -> Result<OwnedFd> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let listener = socket(family, born::SOCK_NONBLOCK)?;
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
pub fn share_port(listener: BorrowedFd<'_>, on: bool) -> Result<()> {
    set_option(
        listener,
        libc::SOL_SOCKET,
        libc::SO_REUSEPORT,
        i32::from(on),
    )
}

fn bind(socket: &OwnedFd, address: &RawAddress) -> Result<()> {
    // SAFETY: the address is live for its length.
    once(&"bind", || unsafe {
        libc::bind(socket.as_raw_fd(), address.as_ptr(), address.len)
    })
    .map(drop)
}

/// listen(2). Again on a listener that another process has made: its clients see this one as their
/// peer from then on (SO_PEERCRED is who listened last).
pub fn listen_on(socket: &OwnedFd, backlog: i32) -> Result<()> {
    // SAFETY: takes two integers.
    once(&"listen", || unsafe {
        libc::listen(socket.as_raw_fd(), backlog)
    })
    .map(drop)
}

/// Whether bind(2) would be refused, without listening: nobody notices.
pub fn try_bind(address: SocketAddr) -> Result<()> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let socket = socket(family, 0)?;
    set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    bind(&socket, &internet_address(address))
}

/// A non-blocking listening Unix domain socket. `private` makes its file 0600, from its first
/// moment on (by the umask), else whoever may reach the folder may connect, but for the group and the
/// others if the umask in force leaves them nothing at all (077, 027).
pub fn listen_unix(path: &Path, private: bool, backlog: i32) -> Result<OwnedFd> {
    let address = unix_address(path)?;
    let listener = socket(libc::AF_UNIX, born::SOCK_NONBLOCK)?;
    // SAFETY: takes an integer, cannot fail.
    let before = unsafe { libc::umask(0o177) };
    if !private {
        let denied = |class| if before & class == class { class } else { 0 };
        super::process::set_umask(0o111 | denied(0o070) | denied(0o007));
    }
    let bound = bind(&listener, &address).and_then(|()| listen_on(&listener, backlog));
    super::process::set_umask(before);
    if !private {
        refuse_descriptors(listener.as_fd());
    }
    bound.map(|()| listener)
}

/// SO_PASSRIGHTS off, for all that a Unix listener accepts: nobody may pass descriptors (Linux 6.16; before,
/// one that nobody takes is closed by whoever reads or closes the connection, who may then wait for its peer).
pub fn refuse_descriptors(listener: BorrowedFd<'_>) {
    const SO_PASSRIGHTS: i32 = 83;
    if cfg!(target_os = "linux") {
        let _ = set_option(listener, libc::SOL_SOCKET, SO_PASSRIGHTS, 0);
    }
}

/// A connected Unix domain socket. It blocks.
pub fn connect_unix(path: &Path) -> Result<OwnedFd> {
    connect_unix_with(path, 0)
}

/// A connected Unix domain socket, never blocking: EAGAIN says that too many others wait there.
pub fn connect_unix_at_once(path: &Path) -> Result<OwnedFd> {
    connect_unix_with(path, born::SOCK_NONBLOCK)
}

fn connect_unix_with(path: &Path, flags: i32) -> Result<OwnedFd> {
    let address = unix_address(path).map_err(|e| Error {
        call: &"connect",
        ..e
    })?;
    let socket = socket(libc::AF_UNIX, flags)?;
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

/// Where a socket is bound; `None` for a Unix socket.
pub fn local_address(socket: BorrowedFd<'_>) -> Result<Option<SocketAddr>> {
    Ok(name(socket)?.to_internet())
}

/// accept4(2): the client, non-blocking and close-on-exec, and its address (`None` on a Unix
/// socket). Only sendfile(2) relies on O_NONBLOCK; every other call says MSG_DONTWAIT.
pub fn accept(listener: BorrowedFd<'_>) -> Result<(OwnedFd, Option<SocketAddr>)> {
    let mut address = RawAddress::empty();
    let flags = born::SOCK_CLOEXEC | born::SOCK_NONBLOCK;
    let (fd, storage, len) = (
        listener.as_raw_fd(),
        (&raw mut address.storage).cast(),
        &raw mut address.len,
    );
    let accepted = retry(&"accept4", || {
        // SAFETY: storage and length are live and agree.
        unsafe { born::accept4(fd, storage, len, flags) }
    });
    let client = or_else(accepted.map(fd::own), || {
        // SAFETY: as above.
        let accepted = retry(&"accept", || unsafe { libc::accept(fd, storage, len) })?;
        let client = super::inherited::descriptor(accepted)?;
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

/// send(2), never blocking, no SIGPIPE. With `more` the kernel may wait for what follows.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], more: bool) -> Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | if more { MSG_MORE } else { 0 };
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

#[cfg(target_os = "linux")]
const MSG_MORE: i32 = libc::MSG_MORE;
#[cfg(not(target_os = "linux"))]
const MSG_MORE: i32 = 0;

/// sendmsg(2) of up to three pieces in one call, never blocking, no SIGPIPE.
pub fn send_gathered(socket: BorrowedFd<'_>, pieces: &[std::io::IoSlice<'_>]) -> Result<usize> {
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

/// SO_RCVLOWAT: the socket counts as readable only from this many bytes on (in epoll since
/// Linux 4.18). The kernel caps it at half the receive buffer.
pub fn set_receive_low_water(socket: BorrowedFd<'_>, bytes: usize) -> Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    let set = set_option(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes);
    match bytes {
        // Where there is no mark, nobody has moved it.
        ..=1 => or_else(set, || Ok(())),
        _ => set,
    }
}

/// SO_RCVLOWAT as it stands.
pub fn receive_low_water(socket: BorrowedFd<'_>) -> Result<usize> {
    option(socket, libc::SO_RCVLOWAT).map(count)
}

/// SIOCOUTQ: bytes that were written and that the peer's kernel has not acknowledged (TCP) or the
/// peer has not read (Unix sockets). It falls while a slow reader reads, long before the socket
/// becomes writable.
#[cfg(target_os = "linux")]
pub fn bytes_unsent(socket: BorrowedFd<'_>) -> Result<usize> {
    let mut n: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (the same number as TIOCOUTQ) writes one int.
    once(&"ioctl", || unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut n)
    })?;
    Ok(count(n))
}

/// Elsewhere there is no one way to ask.
#[cfg(not(target_os = "linux"))]
pub fn bytes_unsent(_: BorrowedFd<'_>) -> Result<usize> {
    Err(Error {
        call: &"ioctl",
        errno: super::Errno::NOSYS,
    })
}

/// TCP_INFO: bytes that were written to a TCP connection so far, sent or not, by whoever has a copy of
/// its descriptor. `None` where nobody can tell: other sockets, kernels before 4.19, others that count
/// nothing (this one has received a request).
#[cfg(target_os = "linux")]
pub fn bytes_written(socket: BorrowedFd<'_>) -> Option<u64> {
    // struct tcp_info up to tcpi_bytes_retrans; every 64-bit member of it is aligned everywhere.
    let mut info = [0_u64; 27];
    let mut len = libc::socklen_t::try_from(size_of_val(&info)).ok()?;
    // SAFETY: the array is live and of this length.
    once(&"getsockopt", || unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    })
    .ok()?;
    let [.., received, _, notsent, _, _, _, _, _, _, sent, again] = info;
    let [a, b, c, d, ..] = notsent.to_ne_bytes();
    let notsent = u64::from(u32::from_ne_bytes([a, b, c, d]));
    (received > 0).then(|| sent.wrapping_sub(again).wrapping_add(notsent))
}

/// Elsewhere nobody can tell.
#[cfg(not(target_os = "linux"))]
pub fn bytes_written(_: BorrowedFd<'_>) -> Option<u64> {
    None
}

/// TCP_NODELAY: what is written leaves at once. Accepted sockets inherit it from their listener.
pub fn set_no_delay(socket: BorrowedFd<'_>) -> Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)
}

/// socketpair(2), for tests and benches of the channel.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    let kind = libc::SOCK_STREAM | born::SOCK_CLOEXEC;
    // SAFETY: socketpair writes two descriptors into an array of two.
    once(&"socketpair", || unsafe {
        born::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr())
    })?;
    let [a, b] = ends;
    Ok((fd::own(a), fd::own(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Errno;

    #[test]
    fn discarding_on_a_unix_socket_is_refused() {
        let (a, b) = pair().unwrap();
        send(a.as_fd(), b"abc", false).unwrap();
        assert!(discard(b.as_fd(), 3).is_err());
        assert_eq!(receive(b.as_fd(), &mut [0; 8]).unwrap(), 3);
    }

    #[test]
    fn a_unix_path_that_is_too_long_is_refused_before_the_kernel_cuts_it() {
        let path = "/tmp/".to_string() + &"x".repeat(200);
        let error = listen_unix(Path::new(&path), true, 1).unwrap_err();
        assert_eq!(error.errno, Errno::NAMETOOLONG);
    }
}
