//! As much of a client as the scenarios need: one request, one answer, on a blocking socket; and
//! the response head for those who do not block.

use crate::Result;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No answer takes longer, or something hangs.
const PATIENCE: Duration = Duration::from_secs(40);

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Known(usize),
    Chunked,
    UntilClose,
}

/// A response head.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub status: u16,
    /// Bytes of the head itself.
    pub bytes: usize,
    pub length: Length,
    pub closes: bool,
}

/// Finds a complete head at the start of what has arrived; interim responses are cut off.
pub fn head(input: &mut Vec<u8>) -> Option<Head> {
    loop {
        let end = input.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&input[..end]).to_ascii_lowercase();
        let status = text.split_whitespace().nth(1);
        let status: u16 = status.and_then(|s| s.parse().ok()).unwrap_or(0);
        if (100..200).contains(&status) {
            input.drain(..end);
            continue;
        }
        let field = |name: &str| {
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            let mut found = lines.filter(|(n, _)| *n == name).map(|(_, v)| v.trim());
            found.next()
        };
        let length = match (field("content-length"), field("transfer-encoding")) {
            (Some(length), _) => Length::Known(length.parse().unwrap_or(0)),
            (None, Some(_)) => Length::Chunked,
            (None, None) => Length::UntilClose,
        };
        return Some(Head {
            status,
            bytes: end,
            length,
            closes: field("connection") == Some("close"),
        });
    }
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// A complete response.
    Whole(u16, Vec<u8>),
    /// The connection ended in the middle of one.
    Cut,
    /// The connection ended before one.
    Closed,
}

impl Answer {
    /// Its status; 0 for none.
    pub fn status(&self) -> u16 {
        match self {
            Self::Whole(status, _) => *status,
            Self::Cut | Self::Closed => 0,
        }
    }
}

/// A connection.
pub struct Client {
    pub stream: TcpStream,
    input: Vec<u8>,
    /// No request can follow the last answer.
    pub is_closing: bool,
}

/// A GET of this target.
pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// The head of a POST with a body of this size.
pub fn post(target: &str, size: usize) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n")
}

impl Client {
    pub fn connect(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            input: Vec::new(),
            is_closing: false,
        })
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a GET and takes its answer.
    pub fn get(&mut self, target: &str) -> Result<Answer> {
        self.send(get(target).as_bytes())?;
        self.answer()
    }

    /// Reads more; false at the end. A reset is an end, a timeout an error.
    fn more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 1 << 16];
        match self.stream.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(n) => {
                self.input.extend_from_slice(&buffer[..n]);
                Ok(true)
            }
            Err(e) if is_reset(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Reads until at least this much has arrived, in all.
    pub fn read_some(&mut self, least: usize) -> io::Result<bool> {
        while self.input.len() < least {
            if !self.more()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads one response to its end.
    pub fn answer(&mut self) -> Result<Answer> {
        self.is_closing = true;
        let head = loop {
            if let Some(head) = head(&mut self.input) {
                break head;
            }
            if !self.more()? {
                return Ok(match self.input.is_empty() {
                    true => Answer::Closed,
                    false => Answer::Cut,
                });
            }
        };
        self.input.drain(..head.bytes);
        let is_last = head.closes || head.length == Length::UntilClose;
        let body = match head.length {
            Length::Known(size) => {
                if !self.read_some(size)? {
                    return Ok(Answer::Cut);
                }
                self.input.drain(..size).collect()
            }
            Length::Chunked => match self.chunks()? {
                Some(body) => body,
                None => return Ok(Answer::Cut),
            },
            Length::UntilClose => {
                while self.more()? {}
                std::mem::take(&mut self.input)
            }
        };
        self.is_closing = is_last;
        Ok(Answer::Whole(head.status, body))
    }

    /// The body in chunks; `None` if its end is missing.
    fn chunks(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.input.windows(2).position(|two| two == b"\r\n") else {
                if !self.more()? {
                    return Ok(None);
                }
                continue;
            };
            let size = String::from_utf8_lossy(&self.input[..line]).into_owned();
            let size = usize::from_str_radix(&size, 16).unwrap_or(0);
            if !self.read_some(line + 2 + size + 2)? {
                return Ok(None);
            }
            body.extend_from_slice(&self.input[line + 2..line + 2 + size]);
            self.input.drain(..line + 2 + size + 2);
            if size == 0 {
                return Ok(Some(body));
            }
        }
    }
}

/// The peer has ended the connection without a FIN, or before all was sent.
pub fn is_reset(e: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        e.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}
