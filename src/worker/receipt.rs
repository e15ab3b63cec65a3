//! The receipt: what one request took and cost, one line in the log.

use super::Client;
use crate::log::{Escaped, Log};
use crate::settings::Level;
use crate::sys::process::{Ended, Pid, Usage};
use crate::sys::time::{self, Moment};
use std::fmt::{self, Display};
use std::net::SocketAddr;

/// What is known of a request in the end.
#[derive(Default)]
pub(super) struct Receipt {
    pub(super) status: u16,
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
        let line = Line {
            receipt: self,
            client,
            request,
            now: time::now(),
        };
        log.info(format_args!("{line}"));
    }
}

struct Line<'a> {
    receipt: &'a Receipt,
    client: &'a Client,
    request: &'a [u8],
    now: Moment,
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            receipt,
            client,
            request,
            now,
        } = self;
        write_peer(f, client.serve.peer)?;
        write!(f, " \"{}\" ", Escaped(request))?;
        match receipt.status {
            // An nph handler said it to the client itself.
            0 => f.write_str("-")?,
            status => write!(f, "{status}")?,
        }
        write!(f, " in={} out={}", receipt.bytes_in, receipt.bytes_out)?;
        write!(f, " queue={}ms", client.serve.queued_ms)?;
        if let Some(first) = receipt.first_byte {
            write!(f, " first={}", Ms(first.since(client.received)))?;
        }
        write!(f, " total={}", Ms(now.since(client.received)))?;
        if let Some(pid) = receipt.pid {
            write!(f, " handler={} pid={pid}", Escaped(&receipt.handler))?;
        }
        match receipt.ended {
            Some(Ended::Exited(status)) => write!(f, " exit={status}")?,
            Some(Ended::Killed(signal)) => write!(f, " signal={signal}")?,
            None => {}
        }
        if receipt.ended.is_some() {
            let usage = &receipt.usage;
            write!(
                f,
                " user={} sys={} rss={}K",
                Ms(usage.user),
                Ms(usage.system),
                usage.peak_kib
            )?;
        }
        if receipt.is_cut {
            f.write_str(" cut")?;
        }
        if receipt.is_client_gone {
            f.write_str(" client-gone")?;
        }
        Ok(())
    }
}

fn write_peer(f: &mut fmt::Formatter<'_>, peer: Option<SocketAddr>) -> fmt::Result {
    match peer {
        Some(peer) => write!(f, "{peer}"),
        None => f.write_str("unix"),
    }
}

/// A duration in milliseconds with one decimal.
struct Ms(std::time::Duration);

impl Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.as_micros() / 100;
        write!(f, "{}.{}ms", tenths / 10, tenths % 10)
    }
}
