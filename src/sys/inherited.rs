//! What a process was born with: variables that are for it alone, descriptors that its starter left
//! open for it, and the service manager's ear.

use super::address::notify_address;
use super::{Errno, Error, Result, born, fd, once, retry, socket};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Start of the program: a variable, taken out of the environment, so that nobody inherits it.
pub fn take_variable(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    // SAFETY: the server has one thread.
    unsafe { std::env::remove_var(name) };
    Some(value)
}

/// Start of the program: a descriptor that the starter left open for this process, close-on-exec
/// from now on. EBADF if there is none.
///
/// Nothing else may own it: ask once for each number, before anything is opened.
pub fn descriptor(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_SETFD takes an integer.
    once(&"fcntl", || unsafe {
        libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC)
    })?;
    Ok(fd::own(number))
}

/// Whether it is a stream socket that listens (SO_ACCEPTCONN).
pub fn is_listening(socket: BorrowedFd<'_>) -> bool {
    socket::option(socket, libc::SO_TYPE) == Ok(libc::SOCK_STREAM)
        && socket::option(socket, libc::SO_ACCEPTCONN).is_ok_and(|value| value != 0)
}

/// Whether it is a Unix domain socket.
pub fn is_unix(socket: BorrowedFd<'_>) -> bool {
    socket::name(socket).is_ok_and(|name| i32::from(name.storage.ss_family) == libc::AF_UNIX)
}

/// A datagram socket that is connected to this name: a path, or an abstract name behind `@`.
pub fn connect_notify(name: &[u8]) -> Result<OwnedFd> {
    let address = notify_address(name).ok_or(Error {
        call: &"connect",
        errno: Errno::NAMETOOLONG,
    })?;
    let kind = libc::SOCK_DGRAM | born::SOCK_CLOEXEC;
    // SAFETY: takes integers.
    let made = once(&"socket", || unsafe {
        born::socket(libc::AF_UNIX, kind, 0)
    });
    let socket = made.map(fd::own)?;
    retry(&"connect", || {
        // SAFETY: the address is live for its length.
        unsafe { libc::connect(socket.as_fd().as_raw_fd(), address.as_ptr(), address.len) }
    })?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_that_listens_is_a_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(is_listening(listener.as_fd()));
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (stream, _) = socket::pair().unwrap();
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
            socket::send(mouth.as_fd(), b"READY=1", false).unwrap();
            let mut heard = [0; 16];
            let n = ear.recv(&mut heard).unwrap();
            assert_eq!(&heard[..n], b"READY=1");
        }
    }
}
