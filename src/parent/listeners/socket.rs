//! One socket where clients connect: how it is bound or taken over, and its name in the log.

use crate::instance::{BACKLOG, UnixSocket};
use crate::parent::error::Error;
use crate::settings::Bind;
use crate::sys::fd::{self, AsFd};
use crate::sys::{self, Errno, socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// What listens.
pub(super) enum Socket {
    /// TCP, or whatever the service manager gave.
    Tcp(OwnedFd),
    /// With a file of its own.
    Unix(UnixSocket),
}

/// What a listener was asked for. As long as the settings have the same wish, the listener stays open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// All addresses, IPv4 and IPv6.
    Everywhere(u16),
    /// This one; port 0 is any.
    Tcp(SocketAddr),
    /// A Unix domain socket.
    Unix(PathBuf),
}

/// A listener.
pub(in crate::parent) struct Listener {
    pub(super) socket: Socket,
    /// `None`: the service manager gave it.
    pub(in crate::parent) wish: Option<Wish>,
    /// Its number, under which workers find its address. No other listener gets this number while one of its connections
    /// is open.
    pub(in crate::parent) index: u8,
    /// Where it is bound; `None` for a Unix domain socket.
    pub(in crate::parent) address: Option<SocketAddr>,
}

impl Listener {
    /// Its descriptor.
    pub(in crate::parent) fn fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(fd) => fd.as_fd(),
            Socket::Unix(unix) => unix.listener.as_fd(),
        }
    }

    /// Says whether this server removes its file at its end.
    pub(super) fn set_own(&mut self, is_own: bool) {
        if let Socket::Unix(unix) = &mut self.socket {
            unix.set_own(is_own);
        }
    }

    /// Whether it is for all addresses of the machine.
    pub(in crate::parent) fn is_wildcard(&self) -> bool {
        self.address.is_some_and(|a| a.ip().is_unspecified())
    }

    /// Whether it takes all addresses of IPv4, and of IPv6. One for `::` alone takes none of IPv4.
    pub(in crate::parent) fn takes_all(&self) -> (bool, bool) {
        let is_v6 = self.address.is_some_and(|address| address.is_ipv6());
        match self.wish {
            _ if !self.is_wildcard() => (false, false),
            Some(Wish::Tcp(_)) => (!is_v6, is_v6),
            _ => (true, true),
        }
    }

    /// Its URL, as a client would write it; if it is for all addresses, as a client on this machine would.
    #[cold]
    pub(in crate::parent) fn shown(&self) -> String {
        match (&self.socket, self.address) {
            (Socket::Unix(unix), _) => format!("unix:{}", unix.path().display()),
            (_, Some(address)) if self.is_wildcard() => {
                format!("http://localhost:{}/", address.port())
            }
            (_, Some(address)) => format!("http://{address}/"),
            (_, None) => String::from("unix:inherited"),
        }
    }

    /// Binds a listener; `beside`: another one of this server has the port and will be closed.
    #[cold]
    pub(super) fn bind(wish: Wish, beside: bool) -> Result<Self, Error> {
        let (socket, address) = match &wish {
            Wish::Unix(path) => {
                let unix = UnixSocket::bind(path, false, "--bind")?;
                (Socket::Unix(unix), None)
            }
            Wish::Everywhere(port) => everywhere(*port, beside)?,
            Wish::Tcp(address) => tcp(*address, false, beside)
                .map_err(|why| Error::Listen(address.to_string(), why))?,
        };
        Ok(Self {
            socket,
            wish: Some(wish),
            index: 0,
            address,
        })
    }

    /// Takes over a listener of the predecessor.
    #[cold]
    pub(in crate::parent) fn adopt(
        index: u8,
        wish: Option<Wish>,
        socket: OwnedFd,
    ) -> Result<Self, Error> {
        let address = socket::local_address(socket.as_fd())
            .map_err(|why| Error::Call("take a listener over", why))?;
        let socket = match &wish {
            Some(Wish::Unix(path)) => Socket::Unix(UnixSocket::adopt(path, socket, "--bind")?),
            _ => Socket::Tcp(socket),
        };
        Ok(Self {
            socket,
            wish,
            index,
            address,
        })
    }

    /// Takes a listener of the service manager; `Err` says what is wrong with the descriptor.
    #[cold]
    fn given(socket: OwnedFd) -> Result<Self, &'static str> {
        if !socket::is_listening(socket.as_fd()) {
            return Err("no stream socket that listens");
        }
        let address = match socket::local_address(socket.as_fd()) {
            Ok(Some(address)) => Some(address),
            Ok(None) if socket::is_unix(socket.as_fd()) => None,
            _ => return Err("neither a TCP nor a Unix domain socket"),
        };
        // The service manager may have made it blocking, and the parent never waits.
        if fd::set_nonblocking(socket.as_fd(), true).is_err() {
            return Err("not to be made non-blocking");
        }
        if address.is_some() {
            let _ = socket::set_no_delay(socket.as_fd());
        } else {
            socket::refuse_descriptors(socket.as_fd());
        }
        Ok(Self {
            socket: Socket::Tcp(socket),
            wish: None,
            index: 0,
            address,
        })
    }
}

/// What the settings ask for; without `bind` all addresses.
#[cold]
pub(in crate::parent) fn wishes(binds: &[Bind], port: u16) -> Vec<Wish> {
    if binds.is_empty() {
        return vec![Wish::Everywhere(port)];
    }
    let wish = |bind: &Bind| match bind {
        Bind::Unix(path) => Wish::Unix(path.clone()),
        Bind::Tcp { addr, port: own } => Wish::Tcp(SocketAddr::new(*addr, own.unwrap_or(port))),
    };
    binds.iter().map(wish).collect()
}

/// Binds what was asked for.
#[cold]
pub(in crate::parent) fn bind(wishes: Vec<Wish>) -> Result<Vec<Listener>, Error> {
    let mut listeners = Vec::new();
    for wish in wishes {
        listeners.push(Listener::bind(wish, false)?);
    }
    Ok(listeners)
}

/// What the service manager has bound.
#[cold]
pub(in crate::parent) fn given(sockets: Vec<OwnedFd>) -> Result<Vec<Listener>, Error> {
    let mut listeners = Vec::new();
    for socket in sockets {
        let place = listeners.len();
        listeners.push(Listener::given(socket).map_err(|is| Error::Given(place, is))?);
    }
    Ok(listeners)
}

/// One listener for IPv6 and IPv4, or for IPv4 only where IPv6 is not compiled in or is switched off.
#[cold]
fn everywhere(port: u16, beside: bool) -> Result<(Socket, Option<SocketAddr>), Error> {
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    match tcp(v6, true, beside) {
        Err(e) if matches!(e.errno, Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
            tcp(v4, false, beside)
        }
        other => other,
    }
    .map_err(|why| Error::Listen(format!("port {port}"), why))
}

#[cold]
fn tcp(
    address: SocketAddr,
    is_dual: bool,
    beside: bool,
) -> sys::Result<(Socket, Option<SocketAddr>)> {
    let listener = socket::listen(address, is_dual, beside, BACKLOG)?;
    // Clients inherit it, which saves a call for each. Responses are written whole, so Nagle's
    // wait could only delay them.
    socket::set_no_delay(listener.as_fd())?;
    let address = socket::local_address(listener.as_fd())?;
    Ok((Socket::Tcp(listener), address))
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
        let bound = bind(wishes(&[loopback.clone(), loopback], 0)).unwrap();
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
        let first = Listener::bind(Wish::Everywhere(0), false).unwrap();
        let port = first.address.unwrap().port();
        assert!(first.is_wildcard() && first.shown().contains(&format!(":{port}")));
        let again = Wish::Everywhere(port);
        let said = Listener::bind(again, false).err().unwrap().to_string();
        assert!(
            said.contains(&port.to_string()) && said.contains("--port"),
            "{said}"
        );
    }
}
