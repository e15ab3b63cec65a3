//! What a worker is born with: the parent prepares it before the fork, the worker lives on it.
//! Parent and worker share nothing else but the channel and the scoreboard.

use crate::log::Log;
use crate::scoreboard::{Entry, Scoreboard, Slot};
use crate::settings::Settings;
use crate::sys::process::DescriptorLimit;
use std::net::SocketAddr;
use std::num::NonZero;
use std::os::fd::BorrowedFd;

/// A new worker's inheritance. All descriptors but those named here (and 0, 1, 2) are closed.
pub struct Birth<'a> {
    /// Its place in the scoreboard.
    pub slot: Slot,
    /// Everything that was set, with every derived limit resolved to `Some`.
    pub settings: &'a Settings,
    /// A number that only the parent and its forks know: a program that comes by exec has none of their memory.
    pub secret: u64,
    /// The scoreboard.
    pub scoreboard: &'a Scoreboard,
    /// The log.
    pub log: &'a Log,
    /// The folder with the handlers (`--path`), opened at the start. If another folder gets this name, the worker puts
    /// that in its place.
    pub root: BorrowedFd<'a>,
    /// Where each listener is bound, by the number in `channel::Serve`; `None` for a Unix domain socket.
    pub listeners: &'a [Option<SocketAddr>],
    /// The descriptor limit that the server was started with, if it has raised its own.
    pub handler_descriptor_limit: Option<DescriptorLimit>,
    /// CPUs that the server may use.
    pub cpus: NonZero<usize>,
}

impl Birth<'_> {
    /// The worker's own slot.
    pub fn entry(&self) -> Entry<'_> {
        self.scoreboard.entry(self.slot)
    }
}

/// Runs a worker until it has to leave; the result is its exit status.
pub(crate) type WorkerMain = fn(&Birth<'_>) -> i32;
