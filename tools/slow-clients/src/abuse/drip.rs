//! Connections that send one byte of a head every 100 ms, and never finish it.

use super::{Orders, Rounds, SLICES, say};
use crate::{Result, http};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes of the head, one after the other; the last one is repeated.
const HEAD: &[u8] = b"GET /tiny HTTP/1.1\r\nX-Slow: a";

/// Nothing may live longer.
const LONGEST: Duration = Duration::from_secs(60);

struct Dripping {
    stream: TcpStream,
    since: Instant,
    sent: usize,
    input: Vec<u8>,
    /// Status and time of the end.
    end: Option<(u16, Duration)>,
}

impl Dripping {
    fn open(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            since: Instant::now(),
            sent: 0,
            input: Vec::new(),
            end: None,
        })
    }

    fn turn(&mut self) {
        let mut buffer = [0; 1024];
        let is_over = match self.stream.read(&mut buffer) {
            Ok(0) => true,
            Ok(n) => {
                self.input.extend_from_slice(&buffer[..n]);
                false
            }
            Err(e) => e.kind() != ErrorKind::WouldBlock,
        };
        if let Some(head) = http::head(&mut self.input) {
            self.end = Some((head.status, self.since.elapsed()));
        } else if is_over || self.since.elapsed() > LONGEST {
            self.end = Some((0, self.since.elapsed()));
        } else {
            let at = self.sent.min(HEAD.len() - 1);
            // What becomes of it shows in the next turn's read.
            let _ = self.stream.write(&HEAD[at..=at]);
            self.sent += 1;
        }
    }
}

/// One wave: all of them open within a second, and each drips until it is answered.
pub fn run(server: SocketAddr, orders: &Orders, count: usize) -> Result<()> {
    let mut all: Vec<Dripping> = Vec::with_capacity(count);
    let mut rounds = Rounds::every(Duration::from_millis(100));
    let mut is_told = false;
    loop {
        let slice = rounds.next();
        for _ in 0..(count / 100 + 1).min(count - all.len()) {
            all.push(Dripping::open(server)?);
            if all.len() == count {
                say("ready");
            }
        }
        let group = all.iter_mut().skip(slice).step_by(SLICES);
        for one in group.filter(|one| one.end.is_none()) {
            one.turn();
        }
        is_told |= orders.came();
        if all.len() == count && all.iter().all(|one| one.end.is_some()) {
            break;
        }
    }
    let ends: Vec<(u16, Duration)> = all.iter().filter_map(|one| one.end).collect();
    let timeouts = ends.iter().filter(|(status, _)| *status == 408);
    let times = timeouts.clone().map(|(_, time)| time.as_millis());
    say(&format!(
        "done timeouts={} others={} min={} max={}",
        timeouts.count(),
        ends.iter().filter(|(status, _)| *status != 408).count(),
        times.clone().min().unwrap_or(0),
        times.max().unwrap_or(0),
    ));
    if !is_told {
        orders.wait();
    }
    Ok(())
}
