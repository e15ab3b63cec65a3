//! The normal load: keep-alive connections that ask for the tiny handler, one request after the
//! other, from one thread. The same with and without the abuse.

use crate::{Result, http, sys};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Connections of the normal load.
pub const CONNECTIONS: usize = 16;

/// What the load saw.
#[derive(Clone, Default)]
pub struct Seen {
    pub requests: usize,
    /// Answers that were not 200, and connections that ended in the middle.
    pub failures: usize,
    pub seconds: f64,
    micros: Vec<u64>,
}

impl Seen {
    /// Adds another round.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.seconds += other.seconds;
        self.micros.extend(other.micros);
    }

    /// Requests per second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds.max(0.001)
    }

    /// The latency below which this share of the requests stayed, in ms.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let mut micros = self.micros.clone();
        micros.sort_unstable();
        let last = micros.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        micros.get(at).copied().unwrap_or(0) as f64 / 1000.0
    }

    /// The longest latency in ms.
    pub fn worst_ms(&self) -> f64 {
        self.quantile_ms(1.0)
    }
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    since: Instant,
}

impl Connection {
    fn open(server: SocketAddr, set: &sys::Epoll, number: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        set.add(&stream, number as u64)?;
        let mut connection = Self {
            stream,
            input: Vec::new(),
            since: Instant::now(),
        };
        connection.ask()?;
        Ok(connection)
    }

    fn ask(&mut self) -> io::Result<()> {
        self.since = Instant::now();
        self.stream.write_all(http::get("/tiny").as_bytes())
    }

    /// Reads what is there. The answer's status and whether the connection goes on, if it is whole.
    fn hear(&mut self) -> io::Result<Option<(u16, bool)>> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => self.input.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(e),
        }
        let Some(head) = http::head(&mut self.input) else {
            return Ok(None);
        };
        let http::Length::Known(size) = head.length else {
            return Err(io::Error::other("an answer without a length"));
        };
        if self.input.len() < head.bytes + size {
            return Ok(None);
        }
        self.input.clear();
        Ok(Some((head.status, !head.closes)))
    }
}

/// Puts the normal load on the server for so long.
pub fn run(server: SocketAddr, time: Duration) -> Result<Seen> {
    let set = sys::Epoll::new()?;
    let mut connections = Vec::new();
    for number in 0..CONNECTIONS {
        connections.push(Connection::open(server, &set, number)?);
    }
    let mut seen = Seen::default();
    let begun = Instant::now();
    while begun.elapsed() < time {
        for number in set.wait(100)? {
            let number = usize::try_from(number)?;
            let Some(connection) = connections.get_mut(number) else {
                continue;
            };
            let goes_on = match connection.hear() {
                Ok(None) => continue,
                Ok(Some((status, goes_on))) => {
                    seen.requests += 1;
                    seen.failures += usize::from(status != 200);
                    let micros = connection.since.elapsed().as_micros();
                    seen.micros.push(u64::try_from(micros)?);
                    goes_on && connection.ask().is_ok()
                }
                Err(_) => {
                    seen.failures += 1;
                    false
                }
            };
            if !goes_on {
                *connection = Connection::open(server, &set, number)?;
            }
        }
    }
    // What is still unanswered after all this time counts too: a hang must not look like silence.
    for connection in &connections {
        let micros = connection.since.elapsed().as_micros();
        if micros > 1_000_000 {
            seen.micros.push(u64::try_from(micros)?);
            seen.failures += 1;
        }
    }
    seen.seconds = begun.elapsed().as_secs_f64();
    Ok(seen)
}

/// The same load without and with the abuse.
#[derive(Default)]
pub struct Compared {
    pub without: Seen,
    pub with: Seen,
}

impl Compared {
    /// Throughput with the abuse, as a share of that without.
    pub fn throughput(&self) -> f64 {
        self.with.rate() / self.without.rate().max(0.001)
    }

    /// p99 with the abuse, in multiples of that without.
    pub fn p99(&self) -> f64 {
        self.with.quantile_ms(0.99) / self.without.quantile_ms(0.99).max(0.001)
    }
}
