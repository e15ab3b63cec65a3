//! Readers of event streams, and slow readers of something large.

use super::{Orders, Rounds, SLICES, say};
use crate::{Result, http};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What the large readers ask for.
const LARGE: u64 = 1 << 30;

struct Reader {
    stream: TcpStream,
    is_stream: bool,
    input: Vec<u8>,
    bytes: usize,
    events: usize,
    last: Instant,
    longest: Duration,
    is_broken: bool,
}

impl Reader {
    fn open(server: SocketAddr, is_stream: bool) -> Result<Self> {
        let mut stream = TcpStream::connect(server)?;
        let target = match is_stream {
            true => String::from("/events?seconds=55"),
            false => format!("/download?id=1&size={LARGE}"),
        };
        stream.write_all(http::get(&target).as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            is_stream,
            input: Vec::new(),
            bytes: 0,
            events: 0,
            last: Instant::now(),
            longest: Duration::ZERO,
            is_broken: false,
        })
    }

    fn turn(&mut self, buffer: &mut [u8]) {
        match self.stream.read(buffer) {
            Ok(0) => self.is_broken = true,
            Ok(n) => self.take(&buffer[..n]),
            Err(e) => self.is_broken |= e.kind() != ErrorKind::WouldBlock,
        }
    }

    fn take(&mut self, part: &[u8]) {
        self.bytes += part.len();
        if !self.is_stream {
            return;
        }
        self.input.extend_from_slice(part);
        while let Some(at) = self.input.windows(6).position(|six| six == b"data: ") {
            self.input.drain(..at + 6);
            if self.events > 0 {
                self.longest = self.longest.max(self.last.elapsed());
            }
            self.events += 1;
            self.last = Instant::now();
        }
    }
}

pub fn run(server: SocketAddr, orders: &Orders, plan: (usize, usize, usize)) -> Result<()> {
    let (streams, large, rate) = plan;
    let mut readers = Vec::new();
    for number in 0..streams + large {
        readers.push(Reader::open(server, number < streams)?);
    }
    let mut rounds = Rounds::every(Duration::from_millis(50));
    let mut buffer = vec![0; rate / 20];
    let mut is_ready = false;
    while !orders.came() {
        let slice = rounds.next();
        for reader in readers.iter_mut().skip(slice).step_by(SLICES) {
            if !reader.is_broken {
                reader.turn(&mut buffer);
            }
        }
        if !is_ready && readers.iter().all(|reader| reader.bytes > 0) {
            is_ready = true;
            say("ready");
        }
    }
    let of_streams = || readers.iter().filter(|reader| reader.is_stream);
    let longest = of_streams().map(|r| r.longest.max(r.last.elapsed())).max();
    let large = readers.iter().filter(|reader| !reader.is_stream);
    say(&format!(
        "done events={} gap={} bytes={} broken={}",
        of_streams().map(|reader| reader.events).min().unwrap_or(0),
        longest.unwrap_or_default().as_millis(),
        large.map(|reader| reader.bytes).min().unwrap_or(0),
        readers.iter().filter(|reader| reader.is_broken).count(),
    ));
    Ok(())
}
