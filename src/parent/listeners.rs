//! Where clients connect: binding, and what is said of it. Parent only.
//!
//! Refuses to accept; that is `clients`' work.

use super::start::Error;
use crate::instance::{BACKLOG, UnixSocket};
use crate::settings::Bind;
use crate::sys::fd::AsFd;
use crate::sys::{self, Errno, socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

/// What listens.
enum Socket {
    Tcp(OwnedFd),
    Unix(UnixSocket),
}

/// A listener.
pub(super) struct Listener {
    socket: Socket,
    /// Where it is bound; `None` for a Unix socket.
    pub(super) address: Option<SocketAddr>,
}

impl Listener {
    /// Its descriptor.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(fd) => fd.as_fd(),
            Socket::Unix(unix) => unix.listener.as_fd(),
        }
    }

    /// Whoever reaches the machine reaches it.
    pub(super) fn is_wildcard(&self) -> bool {
        self.address.is_some_and(|a| a.ip().is_unspecified())
    }

    /// As a client would name it; on this machine, if it takes all addresses.
    pub(super) fn shown(&self) -> String {
        match (&self.socket, self.address) {
            (Socket::Unix(unix), _) => format!("unix:{}", unix.path().display()),
            (_, Some(address)) if self.is_wildcard() => {
                format!("http://localhost:{}/", address.port())
            }
            (_, Some(address)) => format!("http://{address}/"),
            (_, None) => String::from("nowhere"),
        }
    }
}

/// Binds what was asked for; without a wish all addresses, IPv4 and IPv6.
pub(super) fn bind(binds: &[Bind], port: u16) -> Result<Vec<Listener>, Error> {
    if binds.is_empty() {
        return everywhere(port).map(|listener| vec![listener]);
    }
    binds
        .iter()
        .map(|bind| match bind {
            Bind::Unix(path) => Ok(Listener {
                socket: Socket::Unix(UnixSocket::bind(path, false, "--bind")?),
                address: None,
            }),
            Bind::Tcp { addr, port: own } => {
                let address = SocketAddr::new(*addr, own.unwrap_or(port));
                tcp(address, false).map_err(|why| Error::Listen(address.to_string(), why))
            }
        })
        .collect()
}

/// One dual-stack listener, or IPv4 alone where IPv6 is not compiled in or switched off.
fn everywhere(port: u16) -> Result<Listener, Error> {
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    match tcp(v6, true) {
        Err(e) if matches!(e.errno, Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
            tcp(v4, false).map_err(|why| Error::Listen(format!("port {port}"), why))
        }
        other => other.map_err(|why| Error::Listen(format!("port {port}"), why)),
    }
}

fn tcp(address: SocketAddr, is_dual: bool) -> sys::Result<Listener> {
    let listener = socket::listen(address, is_dual, BACKLOG)?;
    // Clients inherit it, which saves a call for each. Responses are written whole, so Nagle's
    // wait could only delay them.
    socket::set_no_delay(listener.as_fd())?;
    Ok(Listener {
        address: socket::local_address(listener.as_fd())?,
        socket: Socket::Tcp(listener),
    })
}

/// What to do about a listener that cannot be had.
pub(super) fn way_out(errno: Errno) -> &'static str {
    match errno {
        Errno::ADDRINUSE => "stop who listens there or choose another --port",
        Errno::ACCES => "choose a --port of 1024 or more",
        Errno::ADDRNOTAVAIL => "choose a --bind address that this machine has",
        _ => "choose another --bind or --port",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_says_its_real_port_and_clients_inherit_no_delay() {
        let loopback = Bind::Tcp {
            addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: None,
        };
        let bound = bind(&[loopback.clone(), loopback], 0).unwrap();
        let ports: Vec<u16> = bound.iter().map(|l| l.address.unwrap().port()).collect();
        assert!(ports[0] != ports[1] && ports.iter().all(|p| *p != 0));
        assert_eq!(bound[0].shown(), format!("http://127.0.0.1:{}/", ports[0]));
        assert!(!bound[0].is_wildcard());
        let client = std::net::TcpStream::connect(bound[0].address.unwrap()).unwrap();
        let (server, _) = socket::accept(bound[0].fd()).unwrap();
        drop(client);
        assert!(std::net::TcpStream::from(server).nodelay().unwrap());
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_that_names_it() {
        let first = everywhere(0).unwrap();
        let port = first.address.unwrap().port();
        assert!(first.is_wildcard() && first.shown().contains(&format!(":{port}")));
        let said = everywhere(port).err().unwrap().to_string();
        assert!(
            said.contains(&port.to_string()) && said.contains("--port"),
            "{said}"
        );
    }
}
