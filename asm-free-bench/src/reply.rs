//! A client that knows every byte of the answer it expects, but for the digits of the date.

use crate::failure::Failure;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A server that is silent for so long has failed.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of the date of RFC 9110 section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
const DATE_BYTES: usize = 29;

/// A request and what must come back.
#[derive(Clone, Copy)]
pub(crate) struct Question {
    /// All of it.
    pub(crate) request: &'static [u8],
    /// Status of the answer.
    pub(crate) status: u16,
    /// Body of the answer.
    pub(crate) body: &'static [u8],
}

/// A question with the whole answer, as it came the first time and as it must come every time.
pub(crate) struct Exchange {
    question: Question,
    before_date: Vec<u8>,
    behind_date: Vec<u8>,
}

impl Exchange {
    /// Asks once, and checks status and body; from then on all bytes are known.
    pub(crate) fn learn(address: SocketAddr, question: Question) -> Result<Self, Failure> {
        let mut stream = connect(address)?;
        send(&mut stream, question.request)?;
        let mut answer = Vec::new();
        while !is_complete(&answer, question)? {
            receive(&mut stream, &mut answer)?;
        }
        let date = find(&answer, b"\r\nDate: ").map(|at| at + b"\r\nDate: ".len());
        let parts = date.and_then(|date| {
            let behind = answer.get(date + DATE_BYTES..)?;
            Some((answer.get(..date)?.to_vec(), behind.to_vec()))
        });
        let (before_date, behind_date) = parts
            .filter(|(_, behind)| behind.starts_with(b"\r\n"))
            .ok_or_else(|| wrong("has no date", &answer))?;
        Ok(Self {
            question,
            before_date,
            behind_date,
        })
    }

    /// An answer as it comes, but for the date.
    pub(crate) fn answer(&self) -> Vec<u8> {
        let date = [b'-'; DATE_BYTES];
        [&*self.before_date, &date, &self.behind_date].concat()
    }

    fn length(&self) -> usize {
        self.before_date.len() + DATE_BYTES + self.behind_date.len()
    }

    fn check(&self, answer: &[u8]) -> Result<(), Failure> {
        let is_good = answer.len() == self.length()
            && answer.starts_with(&self.before_date)
            && answer.ends_with(&self.behind_date);
        if is_good {
            Ok(())
        } else {
            Err(wrong("is not what came the first time", answer))
        }
    }

    /// Reads the whole answer and checks it; the moment of its first byte.
    fn receive_all(&self, stream: &mut TcpStream) -> Result<Instant, Failure> {
        let mut answer = Vec::with_capacity(self.length());
        receive(stream, &mut answer)?;
        let first = Instant::now();
        while answer.len() < self.length() {
            receive(stream, &mut answer)?;
        }
        self.check(&answer)?;
        Ok(first)
    }

    /// On a connection of its own, which the server must close: connect → first byte.
    pub(crate) fn ask_once(&self, address: SocketAddr) -> Result<Instant, Failure> {
        let mut stream = connect(address)?;
        send(&mut stream, self.question.request)?;
        let first = self.receive_all(&mut stream)?;
        match stream.read(&mut [0]) {
            Ok(0) => Ok(first),
            Ok(_) => Err(Failure::wrong("more bytes behind the answer")),
            Err(e) => Err(Failure::unable("see the end of the connection", e)),
        }
    }
}

/// A connection that is kept.
pub(crate) struct Kept<'a> {
    stream: TcpStream,
    exchange: &'a Exchange,
}

impl<'a> Kept<'a> {
    /// Connects.
    pub(crate) fn new(address: SocketAddr, exchange: &'a Exchange) -> Result<Self, Failure> {
        let stream = connect(address)?;
        Ok(Self { stream, exchange })
    }

    /// Request → first byte of the answer.
    pub(crate) fn ask(&mut self) -> Result<Instant, Failure> {
        self.send()?;
        self.receive()
    }

    /// Only the request.
    pub(crate) fn send(&mut self) -> Result<(), Failure> {
        send(&mut self.stream, self.exchange.question.request)
    }

    /// Only the answer.
    pub(crate) fn receive(&mut self) -> Result<Instant, Failure> {
        self.exchange.receive_all(&mut self.stream)
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let unable = |e| Failure::unable(&format!("connect to {address}"), e);
    let stream = TcpStream::connect(address).map_err(unable)?;
    stream.set_nodelay(true).map_err(unable)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(unable)?;
    Ok(stream)
}

fn send(stream: &mut TcpStream, request: &[u8]) -> Result<(), Failure> {
    stream
        .write_all(request)
        .map_err(|e| Failure::unable("send a request", e))
}

/// What one read finds.
fn receive(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<(), Failure> {
    let mut piece = [0; 2048];
    let n = stream
        .read(&mut piece)
        .map_err(|e| Failure::unable("receive an answer", e))?;
    if n == 0 {
        return Err(wrong("is cut", answer));
    }
    answer.extend_from_slice(piece.get(..n).unwrap_or_default());
    Ok(())
}

fn wrong(what: &str, answer: &[u8]) -> Failure {
    Failure::wrong(format_args!("\"{}\" {what}", answer.escape_ascii()))
}

/// Whether all of the answer is there. What is there must be right.
fn is_complete(answer: &[u8], question: Question) -> Result<bool, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(answer) {
        Ok(httparse::Status::Partial) => return Ok(false),
        Ok(httparse::Status::Complete(length)) => length,
        Err(e) => return Err(wrong(&format!("is no response ({e})"), answer)),
    };
    if response.code != Some(question.status) {
        return Err(wrong(
            &format!("has not status {}", question.status),
            answer,
        ));
    }
    let declared = response
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("Content-Length"));
    if declared.map(|field| field.value) != Some(question.body.len().to_string().as_bytes()) {
        return Err(wrong("has not the expected Content-Length", answer));
    }
    let body = answer.get(length..).unwrap_or_default();
    if !question.body.starts_with(body) {
        return Err(wrong("has not the expected body", answer));
    }
    Ok(body.len() == question.body.len())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: Question = Question {
        request: b"",
        status: 404,
        body: b"no\n",
    };

    #[test]
    fn only_the_right_answer_is_complete() {
        let good = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n";
        for cut in 0..good.len() {
            assert!(
                !is_complete(&good[..cut], QUESTION).unwrap(),
                "cut at {cut}"
            );
        }
        assert!(is_complete(good, QUESTION).unwrap());
        for bad in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno\n"[..],
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nno\n",
            b"HTTP/1.1 404 Not Found\r\n\r\nno\n",
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nyes",
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\nno",
            b"<html>",
        ] {
            assert!(
                is_complete(bad, QUESTION).is_err(),
                "{}",
                bad.escape_ascii()
            );
        }
    }

    #[test]
    fn only_the_date_may_change() {
        let exchange = Exchange {
            question: QUESTION,
            before_date: b"a: ".to_vec(),
            behind_date: b"\r\nz".to_vec(),
        };
        assert!(
            exchange
                .check(b"a: Sun, 06 Nov 1994 08:49:37 GMT\r\nz")
                .is_ok()
        );
        assert!(
            exchange
                .check(b"a: Sun, 06 Nov 1994 08:49:37 GMT\r\ny")
                .is_err()
        );
        assert!(
            exchange
                .check(b"a: Sun, 06 Nov 1994 08:49:37 GMT\r\nz\r\nz")
                .is_err()
        );
    }
}
