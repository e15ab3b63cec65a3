//! How a connection is ended: by FIN or RST, at the last close or now.

use super::call::{Result, once};
#[cfg(target_os = "linux")]
use super::fd;
use super::socket::{option, set_option};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Which directions `shutdown` ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// We send no more: the peer sees FIN.
    Write,
    /// We take no more: the peer is told as soon as it sends.
    Read,
    /// Neither.
    Both,
}

/// shutdown(2): ends the connection itself, whoever else holds a copy of its descriptor.
pub(crate) fn shutdown(socket: BorrowedFd<'_>, direction: Direction) -> Result<()> {
    let how = match direction {
        Direction::Write => libc::SHUT_WR,
        Direction::Read => libc::SHUT_RD,
        Direction::Both => libc::SHUT_RDWR,
    };
    // SAFETY: takes two integers.
    once(&"shutdown", || unsafe {
        libc::shutdown(socket.as_raw_fd(), how)
    })
    .map(drop)
}

/// SO_LINGER. On: the close of the last copy sends RST instead of FIN, and written bytes that were not sent
/// yet are lost. Off: it sends FIN. The close never waits, even if a handler had set that it should.
pub(crate) fn reset_on_close(socket: BorrowedFd<'_>, is_on: bool) -> Result<()> {
    let linger = libc::linger {
        l_onoff: i32::from(is_on),
        l_linger: 0,
    };
    set_option(socket, libc::SOL_SOCKET, libc::SO_LINGER, linger)
}

/// Whether [`reset_on_close`] is on, whichever process that has a copy of the descriptor has set it.
pub(crate) fn will_reset(socket: BorrowedFd<'_>) -> bool {
    // The first of its two numbers says whether it is on.
    option(socket, libc::SO_LINGER).is_ok_and(|is_on| is_on != 0)
}

/// Whether bytes that were written to a TCP connection have not been sent yet (SIOCOUTQNSD). If so, it
/// becomes writable when all of them have (TCP_NOTSENT_LOWAT, Linux 3.12), and not before.
#[cfg(target_os = "linux")]
pub(crate) fn await_sent(socket: BorrowedFd<'_>) -> Result<bool> {
    if fd::ask_number(socket, libc::SIOCOUTQNSD as u64)? == 0 {
        return Ok(false);
    }
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, 1)?;
    Ok(true)
}

/// Elsewhere there is no one way to ask.
#[cfg(not(target_os = "linux"))]
pub(crate) fn await_sent(_: BorrowedFd<'_>) -> Result<bool> {
    Ok(false)
}

/// Ends a connection now, whoever else holds a copy of its descriptor, as the close of the last one
/// would: by RST after [`reset_on_close`], else by FIN.
pub(crate) fn end(socket: BorrowedFd<'_>) -> Result<()> {
    if will_reset(socket) && dissolve(socket).is_ok() {
        return Ok(());
    }
    shutdown(socket, Direction::Both)
}

/// connect(2) to AF_UNSPEC, which resets a TCP connection of Linux; others refuse.
fn dissolve(socket: BorrowedFd<'_>) -> Result<()> {
    let nobody = libc::sa_family_t::try_from(libc::AF_UNSPEC).unwrap_or(0);
    let len = size_of_val(&nobody) as libc::socklen_t;
    // SAFETY: the address is live and of this length.
    once(&"connect", || unsafe {
        libc::connect(socket.as_raw_fd(), (&raw const nobody).cast(), len)
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd::AsFd;
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    /// A connection; the server's end has a copy that stays open.
    fn copied() -> (TcpStream, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let copy = server.try_clone().unwrap();
        (client, server, copy)
    }

    #[test]
    fn an_end_is_seen_at_once_although_there_is_a_copy() {
        let (mut client, server, _copy) = copied();
        end(server.as_fd()).unwrap();
        assert_eq!(client.read(&mut [0; 4]).unwrap(), 0);
        let (mut client, server, _copy) = copied();
        reset_on_close(server.as_fd(), true).unwrap();
        end(server.as_fd()).unwrap();
        let error = client.read(&mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let (client, server) = UnixStream::pair().unwrap();
        let _copy = server.try_clone().unwrap();
        reset_on_close(server.as_fd(), true).unwrap();
        end(server.as_fd()).unwrap();
        assert_eq!((&client).read(&mut [0; 4]).unwrap(), 0);
    }
}
