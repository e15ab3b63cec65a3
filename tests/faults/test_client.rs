//! A client that takes whatever happens to it and says what it was, within a deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Nothing may take longer: the watchdog needs 2 s, what it kills a second more.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A response that ended as it had announced.
    Whole(u16, Vec<u8>),
    /// A response that broke off, visibly.
    Cut,
    /// The connection ended without a response.
    Closed,
    /// Nothing more came.
    Hung,
    /// Something came behind the response that nobody had asked for.
    Doubled,
}

/// A connection of either kind.
pub(crate) trait Stream: Read + Write {
    fn set_patience(&self, patience: Duration);
}

impl Stream for TcpStream {
    fn set_patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
        self.set_write_timeout(Some(patience)).unwrap();
    }
}

impl Stream for UnixStream {
    fn set_patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
        self.set_write_timeout(Some(patience)).unwrap();
    }
}

/// How the connection stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Fin,
    Reset,
    Late,
}

pub(crate) struct TestClient {
    stream: Box<dyn Stream + Send>,
    buffer: Vec<u8>,
    end: End,
    until: Instant,
}

impl TestClient {
    pub(crate) fn new(stream: impl Stream + Send + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
            end: End::Open,
            until: Instant::now() + PATIENCE,
        }
    }

    pub(crate) fn tcp(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }

    /// Sends, unless the server has ended the connection: that shows when it is read.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.set_patience(PATIENCE);
        let _ = self.stream.write_all(bytes.as_ref());
    }

    fn receive(&mut self) -> bool {
        if self.end != End::Open {
            return false;
        }
        let left = self.until.saturating_duration_since(Instant::now());
        self.stream.set_patience(left.max(Duration::from_millis(1)));
        let mut bytes = [0; 1 << 16];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.end = End::Fin,
            Ok(n) => self.buffer.extend_from_slice(&bytes[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.end = End::Late;
            }
            Err(_) => self.end = End::Reset,
        }
        self.end == End::Open
    }

    fn find(&mut self, from: usize, end: &[u8]) -> Option<usize> {
        let mut looked = from;
        loop {
            let rest = self.buffer.get(looked..).unwrap_or_default();
            if let Some(at) = memchr::memmem::find(rest, end) {
                return Some(looked + at + end.len());
            }
            looked = self.buffer.len().saturating_sub(end.len()).max(from);
            if !self.receive() {
                return None;
            }
        }
    }

    fn ended(&self) -> Seen {
        match self.end {
            End::Late => Seen::Hung,
            _ if self.buffer.is_empty() => Seen::Closed,
            _ => Seen::Cut,
        }
    }

    /// The next response, interim ones left out.
    pub(crate) fn response(&mut self) -> Seen {
        self.until = Instant::now() + PATIENCE;
        loop {
            let Some(length) = self.find(0, b"\r\n\r\n") else {
                return self.ended();
            };
            let head: Vec<u8> = self.buffer.drain(..length).collect();
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let status: u16 = head.get(9..12).unwrap().parse().unwrap();
            if status >= 200 {
                return match self.body(&head) {
                    Some(_) if self.has_more() => Seen::Doubled,
                    Some(body) => Seen::Whole(status, body),
                    None if self.end == End::Late => Seen::Hung,
                    None => Seen::Cut,
                };
            }
        }
    }

    /// Whether anything comes behind a response, for a moment.
    fn has_more(&mut self) -> bool {
        if self.buffer.is_empty() && self.end == End::Open {
            self.until = Instant::now() + Duration::from_millis(2);
            self.receive();
            if self.end == End::Late {
                self.end = End::Open;
            }
        }
        !self.buffer.is_empty()
    }

    fn body(&mut self, head: &str) -> Option<Vec<u8>> {
        if head.contains("transfer-encoding: chunked") {
            return self.chunks();
        }
        if let Some((_, rest)) = head.split_once("content-length: ") {
            let length = rest.lines().next()?.trim().parse().ok()?;
            while self.buffer.len() < length && self.receive() {}
            return (self.buffer.len() >= length).then(|| self.buffer.drain(..length).collect());
        }
        while self.receive() {}
        (self.end == End::Fin).then(|| std::mem::take(&mut self.buffer))
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = self.find(0, b"\r\n")?;
            let line: Vec<u8> = self.buffer.drain(..end).collect();
            let size = usize::from_str_radix(String::from_utf8(line).ok()?.trim(), 16).ok()?;
            while self.buffer.len() < size + 2 && self.receive() {}
            if self.buffer.len() < size + 2 {
                return None;
            }
            body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
            if size == 0 {
                return Some(body);
            }
        }
    }

    /// Whether the connection ends by a FIN, with nothing before it.
    pub(crate) fn ends_without_reset(&mut self) -> bool {
        self.until = Instant::now() + PATIENCE;
        while self.receive() {}
        self.end == End::Fin && self.buffer.is_empty()
    }

    /// One request, one response.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Seen {
        self.send(request);
        self.response()
    }
}
