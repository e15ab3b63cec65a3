//! An HTTP client that sends what it is told and shows what came back, byte for byte.

use super::PATIENCE;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// A response, as far as it came.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Status line and fields, without the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The end was seen that the framing promised.
    pub(crate) is_whole: bool,
    /// The statuses of the interim responses before it.
    pub(crate) interim: Vec<u16>,
}

impl Response {
    /// The value of a field; several are joined.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().skip(1);
        let fields = lines.filter_map(|line| line.split_once(':'));
        let values: Vec<&str> = fields
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body of a good response.
    #[track_caller]
    pub(crate) fn ok(&self) -> String {
        assert!(self.is_whole, "cut: {self:?}");
        assert_eq!(self.status, 200, "{}\n{}", self.head, self.text());
        self.text()
    }

    /// Whether the server said that the connection ends.
    pub(crate) fn says_close(&self) -> bool {
        self.field("Connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// How a body ends.
enum Framing {
    Nothing,
    Length(usize),
    Chunked,
    Close,
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// What was received and not yet understood.
    buffer: Vec<u8>,
    /// The connection ended by a reset.
    pub(crate) was_reset: bool,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        Self::of(TcpStream::connect(("127.0.0.1", port)).unwrap())
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
            was_reset: false,
        }
    }

    /// Sends all of it.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a GET and reads its response.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.response()
    }

    /// Sends a POST with a Content-Length and reads its response.
    #[track_caller]
    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> Response {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
        // At once: a body that nobody wants is dropped if it is here, else the connection ends.
        self.send([head.as_bytes(), body].concat());
        self.response()
    }

    /// Nothing more will be sent.
    pub(crate) fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Receives something; false at the end of the connection.
    #[track_caller]
    fn receive(&mut self) -> bool {
        let mut bytes = vec![0; 64 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(n) => {
                self.buffer.extend_from_slice(&bytes[..n]);
                n > 0
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => {
                self.was_reset = true;
                false
            }
            // A read with a timeout is not restarted when the machine stops and continues (signal(7)).
            Err(e) if e.kind() == ErrorKind::Interrupted => true,
            Err(e) => panic!("nothing came: {e}; before: {:?}", self.peek()),
        }
    }

    fn peek(&self) -> String {
        String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(2000)]).into_owned()
    }

    /// Receives up to and including `end`; `None` if the connection ends before it.
    #[track_caller]
    pub(crate) fn receive_until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut from = 0;
        loop {
            if let Some(at) = find(&self.buffer[from..], end) {
                return Some(self.buffer.drain(..from + at + end.len()).collect());
            }
            from = self.buffer.len().saturating_sub(end.len());
            if !self.receive() {
                return None;
            }
        }
    }

    /// Takes this many bytes off, or all that come before the end of the connection.
    #[track_caller]
    fn take(&mut self, len: usize) -> Vec<u8> {
        while self.buffer.len() < len && self.receive() {}
        self.buffer.drain(..len.min(self.buffer.len())).collect()
    }

    /// Receives one response to anything but HEAD.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.read_response(false)
    }

    /// Receives one response to HEAD.
    #[track_caller]
    pub(crate) fn response_to_head(&mut self) -> Response {
        self.read_response(true)
    }

    #[track_caller]
    fn read_response(&mut self, is_head: bool) -> Response {
        let mut interim = Vec::new();
        loop {
            let Some(head) = self.receive_until(b"\r\n\r\n") else {
                let how = if self.was_reset { "reset" } else { "closed" };
                panic!("{how} before a response; came: {:?}", self.peek());
            };
            let head = String::from_utf8(head).unwrap().trim_end().to_owned();
            let status: u16 = head[9..12].parse().unwrap();
            assert!(head.starts_with("HTTP/1."), "{head}");
            if status < 200 {
                interim.push(status);
                continue;
            }
            let mut response = Response {
                status,
                head,
                body: Vec::new(),
                is_whole: true,
                interim,
            };
            self.read_body(&mut response, is_head);
            return response;
        }
    }

    #[track_caller]
    fn read_body(&mut self, response: &mut Response, is_head: bool) {
        match framing(response, is_head) {
            Framing::Nothing => {}
            Framing::Length(length) => {
                response.body = self.take(length);
                response.is_whole = response.body.len() == length;
            }
            Framing::Chunked => response.is_whole = self.read_chunks(&mut response.body).is_some(),
            Framing::Close => {
                response.body = self.take(usize::MAX);
                response.is_whole = !self.was_reset;
            }
        }
    }

    #[track_caller]
    fn read_chunks(&mut self, body: &mut Vec<u8>) -> Option<()> {
        loop {
            let line = String::from_utf8(self.receive_until(b"\r\n")?).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let mut chunk = self.take(size + 2);
            if chunk.len() < size + 2 {
                return None;
            }
            assert_eq!(chunk.split_off(size), b"\r\n", "after a chunk");
            body.extend_from_slice(&chunk);
            if size == 0 {
                return Some(());
            }
        }
    }

    /// Everything that comes until the connection ends.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        self.take(usize::MAX)
    }

    /// Waits for the end of the connection; nothing may come before it.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        let rest = self.rest();
        assert!(
            rest.is_empty(),
            "before the end: {:?}",
            String::from_utf8_lossy(&rest)
        );
    }

    /// Whether nothing has come, and the connection is open.
    pub(crate) fn is_silent(&mut self) -> bool {
        let before = self.buffer.len();
        let short = Duration::from_millis(1);
        self.stream.set_read_timeout(Some(short)).unwrap();
        let mut bytes = [0; 1024];
        let result = self.stream.read(&mut bytes);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match result {
            Ok(n) => self.buffer.extend_from_slice(&bytes[..n]),
            Err(e) => return before == 0 && e.kind() == ErrorKind::WouldBlock,
        }
        false
    }
}

fn framing(response: &Response, is_head: bool) -> Framing {
    if is_head || matches!(response.status, 204 | 304) {
        return Framing::Nothing;
    }
    let is_chunked = response.field("Transfer-Encoding").is_some();
    match response.field("Content-Length") {
        _ if is_chunked => Framing::Chunked,
        Some(length) => Framing::Length(length.parse().unwrap()),
        None => Framing::Close,
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, part)
}
