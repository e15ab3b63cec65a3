//! Uploads and downloads at a few KB/s, that are finished fast in the end and compared by hash.

use super::{Orders, Rounds, SLICES, say};
use crate::{Result, http, pattern};
use sha2::{Digest, Sha256};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Once fast, all must be over in this time.
const LONGEST: Duration = Duration::from_secs(120);

/// Bytes at a time when fast.
const PIECE: usize = 1 << 18;

/// Downloads whose head is awaited at a time: the handlers must not be a crowd of their own.
const OPENING: usize = 8;

pub struct Plan {
    /// Uploads, and as many downloads.
    pub count: usize,
    pub up_bytes: usize,
    pub down_bytes: usize,
    /// Bytes per second of each.
    pub rate: usize,
}

/// One transfer in either direction.
struct Transfer {
    stream: TcpStream,
    out: [Rc<Vec<u8>>; 2],
    sent: usize,
    input: Vec<u8>,
    head: Option<http::Head>,
    got: usize,
    hash: Sha256,
    is_upload: bool,
    /// The hash that it must come to.
    want: String,
    /// What came of it; empty if all is well.
    end: Option<String>,
}

impl Transfer {
    fn open(
        server: SocketAddr,
        head: String,
        body: Option<Rc<Vec<u8>>>,
        want: String,
    ) -> Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let is_upload = body.is_some();
        Ok(Self {
            stream,
            out: [Rc::new(head.into_bytes()), body.unwrap_or_default()],
            sent: 0,
            input: Vec::new(),
            head: None,
            got: 0,
            hash: Sha256::new(),
            is_upload,
            want,
            end: None,
        })
    }

    /// The unsent part, at most so much. The head goes at once.
    fn unsent(&self, budget: usize) -> &[u8] {
        let [head, body] = &self.out;
        match self.sent.checked_sub(head.len()) {
            None => &head[self.sent..],
            Some(at) => &body[at..(at + budget).min(body.len())],
        }
    }

    /// Sends or takes at most so much. True if anything moved.
    fn turn(&mut self, budget: usize, buffer: &mut [u8]) -> bool {
        match self.try_turn(budget, buffer) {
            Ok(Some(status)) => {
                self.end = Some(self.judge(status));
                true
            }
            Ok(None) => true,
            Err(e) if e.kind() == ErrorKind::WouldBlock => false,
            Err(e) => {
                self.end = Some(format!("{e} after {} bytes", self.got));
                true
            }
        }
    }

    fn judge(&self, status: u16) -> String {
        let is_same = if self.is_upload {
            self.input == self.want.as_bytes()
        } else {
            pattern::hex(self.hash.clone()) == self.want
        };
        match (status, is_same) {
            (200, true) => String::new(),
            (200, false) => String::from("another hash"),
            _ => format!("status {status}"),
        }
    }

    fn try_turn(&mut self, budget: usize, buffer: &mut [u8]) -> io::Result<Option<u16>> {
        let part = self.unsent(budget);
        if !part.is_empty() {
            self.sent += (&self.stream).write(part)?;
            return Ok(None);
        }
        let n = self.stream.read(&mut buffer[..budget.min(PIECE)])?;
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let Some(head) = self.head else {
            self.input.extend_from_slice(&buffer[..n]);
            let Some(head) = http::head(&mut self.input) else {
                return Ok(None);
            };
            self.head = Some(head);
            let body = self.input.split_off(head.bytes);
            self.input.clear();
            return Ok(self.take(&body, head));
        };
        Ok(self.take(&buffer[..n], head))
    }

    fn take(&mut self, part: &[u8], head: http::Head) -> Option<u16> {
        self.got += part.len();
        self.hash.update(part);
        if self.is_upload {
            self.input.extend_from_slice(part);
        }
        let http::Length::Known(size) = head.length else {
            return Some(0);
        };
        (self.got >= size).then_some(head.status)
    }
}

/// All of them, with what they must come to.
struct All {
    server: SocketAddr,
    transfers: Vec<Transfer>,
    bodies: Vec<Rc<Vec<u8>>>,
    up: Vec<String>,
    down: Vec<String>,
}

impl All {
    fn new(server: SocketAddr, plan: &Plan) -> Self {
        let ids = || 0..pattern::VARIANTS;
        let whole = |id| Rc::new(pattern::whole(id, plan.up_bytes));
        Self {
            server,
            transfers: Vec::new(),
            bodies: ids().map(whole).collect(),
            up: ids().map(|id| pattern::hash(id, plan.up_bytes)).collect(),
            down: ids().map(|id| pattern::hash(id, plan.down_bytes)).collect(),
        }
    }

    /// Opens one more upload or download.
    fn open(&mut self, plan: &Plan) -> Result<()> {
        let number = self.transfers.len();
        let variant = number / 2 % self.bodies.len();
        let (head, body, want) = if number.is_multiple_of(2) {
            let head = http::post("/upload", plan.up_bytes);
            (head, Some(self.bodies[variant].clone()), &self.up[variant])
        } else {
            let size = plan.down_bytes;
            let target = format!("/download?id={variant}&size={size}");
            (http::get(&target), None, &self.down[variant])
        };
        let transfer = Transfer::open(self.server, head, body, want.clone())?;
        self.transfers.push(transfer);
        Ok(())
    }

    fn without_head(&self) -> usize {
        let is_opening = |t: &Transfer| !t.is_upload && t.head.is_none() && t.end.is_none();
        self.transfers.iter().filter(|t| is_opening(t)).count()
    }

    fn unfinished(&self) -> usize {
        self.transfers.iter().filter(|t| t.end.is_none()).count()
    }

    fn slowly(&mut self, orders: &Orders, plan: &Plan) -> Result<()> {
        let round = Duration::from_millis(50);
        let budget = plan.rate / 20;
        let mut rounds = Rounds::every(round);
        let mut buffer = vec![0; PIECE];
        let mut is_ready = false;
        while !orders.came() {
            let slice = rounds.next();
            while self.transfers.len() < plan.count * 2 && self.without_head() < OPENING {
                self.open(plan)?;
            }
            for transfer in self.transfers.iter_mut().skip(slice).step_by(SLICES) {
                if transfer.end.is_none() {
                    transfer.turn(budget, &mut buffer);
                }
            }
            let all_here = self.transfers.len() == plan.count * 2 && self.without_head() == 0;
            if all_here && !is_ready {
                is_ready = true;
                say(&format!(
                    "ready ended={}",
                    plan.count * 2 - self.unfinished()
                ));
            }
        }
        Ok(())
    }

    fn fast(&mut self) {
        let deadline = Instant::now() + LONGEST;
        let mut buffer = vec![0; PIECE];
        while self.unfinished() > 0 && Instant::now() < deadline {
            let mut has_moved = false;
            for transfer in &mut self.transfers {
                if transfer.end.is_none() {
                    has_moved |= transfer.turn(PIECE, &mut buffer);
                }
            }
            if !has_moved {
                sleep(Duration::from_millis(1));
            }
        }
    }
}

pub fn run(server: SocketAddr, orders: &Orders, plan: &Plan) -> Result<()> {
    let mut all = All::new(server, plan);
    all.slowly(orders, plan)?;
    say(&format!("slow ended={}", plan.count * 2 - all.unfinished()));
    all.fast();
    let count = |is_upload| {
        let is_good = |t: &Transfer| t.is_upload == is_upload && t.end.as_deref() == Some("");
        all.transfers.iter().filter(|t| is_good(t)).count()
    };
    let mut whys = all.transfers.iter().filter_map(|t| match t.end.as_deref() {
        None => Some(String::from("not finished")),
        Some("") => None,
        Some(why) => Some(why.replace(' ', "_")),
    });
    let why = whys.next().unwrap_or_default();
    say(&format!(
        "done up={} down={} why={why}",
        count(true),
        count(false)
    ));
    Ok(())
}
