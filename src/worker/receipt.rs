//! The receipt: what one request took and cost, one line in the log.

use super::client::Client;
use crate::log::{Line, Log};
use crate::settings::Level;
use crate::sys::process::{Ended, Pid, Usage};
use crate::sys::time::{self, Moment};
use crate::text::AddressText;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What is known of a request in the end.
#[derive(Default)]
pub(super) struct Receipt {
    pub(super) status: u16,
    /// Why the server has answered itself, in fixed words; empty if a handler has answered.
    pub(super) why: &'static str,
    /// Bytes of the decoded body.
    pub(super) bytes_in: u64,
    /// Bytes of head and body that went to the client or its spool.
    pub(super) bytes_out: u64,
    /// When the first byte of the response left.
    pub(super) first_byte: Option<Moment>,
    pub(super) handler: Vec<u8>,
    pub(super) pid: Option<Pid>,
    pub(super) ended: Option<Ended>,
    pub(super) usage: Usage,
    /// The response was cut: the client can tell.
    pub(super) is_cut: bool,
    /// The client was gone before the end.
    pub(super) is_client_gone: bool,
    /// What is known of a client that was released while its handler ran on.
    released: Option<ReleasedClient>,
}

/// What the line needs of a released client; it is written when the handler ends.
struct ReleasedClient {
    facts: ClientFacts,
    request: Vec<u8>,
}

/// What the line says of the client.
#[derive(Clone, Copy)]
struct ClientFacts {
    peer: Option<SocketAddr>,
    received: Moment,
    queued: Duration,
    /// When the response was complete, if its handler ran on.
    released: Option<Moment>,
}

impl ClientFacts {
    fn of(client: &Client) -> Self {
        Self {
            peer: client.serve.peer,
            received: client.received,
            queued: client.queued(),
            released: None,
        }
    }
}

impl Receipt {
    /// Gets ready for the next request; keeps the memory.
    pub(super) fn reset(&mut self) {
        let mut handler = std::mem::take(&mut self.handler);
        handler.clear();
        *self = Self {
            handler,
            ..Self::default()
        };
    }

    /// This handler answers now.
    pub(super) fn name_handler(&mut self, pid: Pid, name: &[u8]) {
        self.pid = Some(pid);
        self.handler.clear();
        self.handler.extend_from_slice(name);
    }

    /// A handler was started for it.
    pub(super) fn has_handler(&self) -> bool {
        self.pid.is_some()
    }

    /// Writes the line. `request` is the request line, empty if there was none to be read.
    pub(super) fn write(&self, log: &Log, client: &Client, request: &[u8]) {
        if !log.has(Level::Info) {
            return;
        }
        let now = time::now();
        let facts = ClientFacts::of(client);
        log.receipt(&|line| self.put(line, &facts, request, now));
    }

    /// Keeps what the line needs of a client that is released now.
    pub(super) fn release(&mut self, client: &Client, request: &[u8]) {
        let facts = ClientFacts {
            released: Some(time::now()),
            ..ClientFacts::of(client)
        };
        let request = request.to_vec();
        self.released = Some(ReleasedClient { facts, request });
    }

    /// Writes the line of a client that was released, once its handler has ended.
    pub(super) fn write_released(&mut self, log: &Log) {
        if let Some(ReleasedClient { facts, request }) = self.released.take()
            && log.has(Level::Info)
        {
            let now = time::now();
            log.receipt(&|line| self.put(line, &facts, &request, now));
        }
    }

    fn put(&self, line: &mut Line<'_>, client: &ClientFacts, request: &[u8], now: Moment) {
        put_peer(line, client.peer);
        line.text(b" \"");
        line.escaped(request);
        line.text(b"\" ");
        match self.status {
            // An nph handler has sent its status itself, or the client was gone.
            0 => line.text(b"-"),
            status => line.number(status.into()),
        }
        put_number(line, b" in=", self.bytes_in);
        put_number(line, b" out=", self.bytes_out);
        put_ms(line, b" queue=", client.queued);
        if let Some(first) = self.first_byte {
            put_ms(line, b" first=", first.since(client.received));
        }
        if let Some(released) = client.released.filter(|_| !self.is_client_gone) {
            put_ms(line, b" answered=", released.since(client.received));
        }
        put_ms(line, b" total=", now.since(client.received));
        if !self.why.is_empty() {
            line.text(b" why=\"");
            line.text(self.why.as_bytes());
            line.text(b"\"");
        }
        if let Some(pid) = self.pid {
            line.text(b" handler=");
            line.escaped(&self.handler);
            put_number(line, b" pid=", pid.raw().unsigned_abs().into());
        }
        match self.ended {
            Some(Ended::Exited(status)) => {
                put_number(line, b" exit=", status.unsigned_abs().into());
            }
            Some(Ended::Killed(signal)) => {
                put_number(line, b" signal=", signal.unsigned_abs().into());
            }
            None => {}
        }
        if self.ended.is_some() {
            put_ms(line, b" user=", self.usage.user);
            put_ms(line, b" sys=", self.usage.system);
            put_number(line, b" rss=", self.usage.peak_kib);
            line.text(b"K");
        }
        if self.is_cut {
            line.text(b" cut");
        }
        if self.is_client_gone {
            line.text(b" client-gone");
        }
    }
}

fn put_peer(line: &mut Line<'_>, peer: Option<SocketAddr>) {
    match peer {
        Some(SocketAddr::V4(peer)) => {
            line.text(AddressText::new(IpAddr::V4(*peer.ip())).as_bytes());
            put_number(line, b":", peer.port().into());
        }
        Some(SocketAddr::V6(peer)) => {
            // A line that is too long is cut; writing to it never fails.
            let _ = write!(line, "{peer}");
        }
        None => line.text(b"unix"),
    }
}

fn put_number(line: &mut Line<'_>, name: &[u8], number: u64) {
    line.text(name);
    line.number(number);
}

/// A duration in milliseconds, to the microsecond.
fn put_ms(line: &mut Line<'_>, name: &[u8], duration: Duration) {
    put_number(
        line,
        name,
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
    );
    let micros = duration.subsec_micros() % 1_000;
    let [hundreds, tens, ones] =
        [100, 10, 1].map(|place| b'0' + u8::try_from(micros / place % 10).unwrap_or(0));
    line.text(&[b'.', hundreds, tens, ones, b'm', b's']);
}
