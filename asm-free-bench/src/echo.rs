//! The raw TCP echo over loopback: what a request and its answer cost with no server in between.

use crate::child::Child;
use crate::failure::Failure;
use caffeine::sys::fd::AsFd;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

/// A forked process that sends back what it gets.
pub(crate) struct Echo {
    stream: TcpStream,
    bytes: &'static [u8],
    _child: Child,
}

impl Echo {
    /// Forks it and connects; every round sends `bytes`.
    pub(crate) fn start(bytes: &'static [u8]) -> Result<Self, Failure> {
        let unable = |e| Failure::unable("set up the TCP echo", e);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(unable)?;
        let address = listener.local_addr().map_err(unable)?;
        let child = Child::fork(listener.as_fd(), || {
            // An error here is the end of the connection there.
            let _ = send_back(&listener);
        })?;
        let stream = TcpStream::connect(address).map_err(unable)?;
        stream.set_nodelay(true).map_err(unable)?;
        stream
            .set_read_timeout(Some(crate::reply::TIMEOUT))
            .map_err(unable)?;
        Ok(Self {
            stream,
            bytes,
            _child: child,
        })
    }

    /// There and back.
    pub(crate) fn round_trip(&mut self) -> Result<Instant, Failure> {
        let unable = |e| Failure::unable("exchange bytes with the TCP echo", e);
        self.stream.write_all(self.bytes).map_err(unable)?;
        let mut answer = [0; 512];
        let n = self.stream.read(&mut answer).map_err(unable)?;
        let end = Instant::now();
        if answer.get(..n) != Some(self.bytes) {
            return Err(Failure::wrong("the TCP echo is not what was sent"));
        }
        Ok(end)
    }
}

fn send_back(listener: &TcpListener) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut bytes = [0; 512];
    loop {
        let n = stream.read(&mut bytes)?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(bytes.get(..n).unwrap_or_default())?;
    }
}
