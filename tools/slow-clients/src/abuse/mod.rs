//! The abusive clients' side: what each kind does until it is told to stop.

mod drip;
mod idle;
mod readers;
mod transfers;

use crate::{Result, sys};
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What the scenario says to this process.
pub struct Orders(Receiver<String>);

impl Orders {
    fn listen() -> Self {
        let (sender, orders) = channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(|line| line.ok()) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self(orders)
    }

    /// Whether something was said, or nobody is there to say anything.
    pub fn came(&self) -> bool {
        !matches!(self.0.try_recv(), Err(TryRecvError::Empty))
    }

    /// Waits for the next one.
    pub fn wait(&self) {
        let _ = self.0.recv();
    }
}

/// Says one line to the scenario.
pub fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

/// Spreads the turns of many connections evenly: `SLICES` groups per round.
pub struct Rounds {
    slice_time: Duration,
    next: Instant,
    slice: usize,
}

/// Groups per round.
pub const SLICES: usize = 10;

impl Rounds {
    pub fn every(time: Duration) -> Self {
        Self {
            slice_time: time / 10,
            next: Instant::now(),
            slice: 0,
        }
    }

    /// Waits for the next group's turn; its number.
    pub fn next(&mut self) -> usize {
        self.next += self.slice_time;
        match self.next.checked_duration_since(Instant::now()) {
            Some(rest) => sleep(rest),
            // Late: catching up would be a burst.
            None => self.next = Instant::now(),
        }
        self.slice = (self.slice + 1) % SLICES;
        self.slice
    }
}

/// Plays one of the roles.
pub fn run(words: &[String]) -> ExitCode {
    match play(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("slow-clients: abusive clients: {why}");
            ExitCode::FAILURE
        }
    }
}

fn play(words: &[String]) -> Result<()> {
    let [role, server, numbers @ ..] = words else {
        return Err("a role and an address are needed".into());
    };
    let server: SocketAddr = server.parse()?;
    let numbers: Vec<usize> = numbers.iter().filter_map(|n| n.parse().ok()).collect();
    let orders = Orders::listen();
    sys::raise_descriptor_limit()?;
    match (role.as_str(), numbers.as_slice()) {
        ("idle", [count]) => idle::run(server, &orders, *count),
        ("drip", [count]) => drip::run(server, &orders, *count),
        ("transfers", [count, up, down, rate]) => transfers::run(
            server,
            &orders,
            &transfers::Plan {
                count: *count,
                up_bytes: *up,
                down_bytes: *down,
                rate: *rate,
            },
        ),
        ("readers", [streams, large, rate]) => {
            readers::run(server, &orders, (*streams, *large, *rate))
        }
        _ => Err(format!("unknown role {role}").into()),
    }
}
