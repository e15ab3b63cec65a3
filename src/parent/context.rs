//! What all owners of the parent share: settings, clock, log, scoreboard, readiness set.
//!
//! Owners get it as `&Context` and cannot change it: only the loop, a reload, an upgrade and the life cycle do.

use super::life::Life;
use crate::birth::WorkerMain;
use crate::channel::Serve;
use crate::log::Log;
use crate::scoreboard::Scoreboard;
use crate::settings::Settings;
use crate::sys::process::{DescriptorLimit, Pid};
use crate::sys::readiness::Readiness;
use crate::sys::time::Moment;
use std::net::SocketAddr;
use std::num::NonZero;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// What the owners share. A worker is born with most of it (`crate::birth`).
pub(super) struct Context {
    pub(super) settings: Settings,
    /// A number that only the parent and its forks know. It proves a worker where the kernel does not say who
    /// has connected.
    pub(super) secret: u64,
    pub(super) scoreboard: Scoreboard,
    pub(super) log: Log,
    /// The folder with the handlers.
    pub(super) root: OwnedFd,
    /// Where each listener is bound, by its number.
    pub(super) addresses: Vec<Option<SocketAddr>>,
    /// The descriptor limit before the parent raised its own.
    pub(super) handler_descriptor_limit: Option<DescriptorLimit>,
    pub(super) worker_main: WorkerMain,
    /// CPUs that the server may use.
    pub(super) cpus: NonZero<usize>,
    /// What the loop waits with.
    pub(super) readiness: Readiness,
    /// The clock, read once per turn.
    pub(super) now: Moment,
    /// From Starting to Over.
    pub(super) life: Life,
    /// How fast requests are served, noted once per turn.
    pub(super) turnover: Turnover,
}

impl Context {
    /// The order to stop has come.
    pub(super) fn is_stopping(&self) -> bool {
        self.life.is_stopping()
    }

    /// Whether a connection that becomes idle now is closed at once.
    pub(super) fn closes_idle(&self) -> bool {
        self.life.closes_idle(self.now)
    }
}

/// A place in a table, with a generation: whoever had the place before had another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id {
    pub(super) index: u32,
    /// 24 bits, as many as a token has for it.
    pub(super) generation: u32,
}

/// An order to serve a client, with the descriptors that go along with it.
pub(super) struct Ordered<'a> {
    pub(super) serve: Serve,
    pub(super) client: BorrowedFd<'a>,
    pub(super) spool: Option<BorrowedFd<'a>>,
}

/// The servers that follow this one. They are its children, but not to be ended as what workers leave behind.
pub(super) type Successors = [Option<Pid>; 2];

/// A burst is over when nothing happened for this long.
const BURST_GAP: Duration = Duration::from_secs(10);

/// Lets an event that repeats be logged once per burst.
#[derive(Default)]
pub(super) struct Burst {
    last: Option<Moment>,
}

impl Burst {
    /// Notes that the event has happened; true if it is to be logged.
    pub(super) fn note(&mut self, now: Moment) -> bool {
        let before = self.last.replace(now);
        before.is_none_or(|last| now.since(last) > BURST_GAP)
    }
}

/// The clients that wait for a worker.
#[derive(Clone, Copy)]
pub(super) struct Demand {
    pub(super) queued: usize,
    /// Since when the first of them waits.
    pub(super) since: Option<Moment>,
}

/// How fast requests are served: what Retry-After is estimated from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turnover {
    /// Recent time from the beginning of a request to its end, in microseconds.
    pub(super) service_micros: u64,
    /// Workers that have not been told to leave.
    pub(super) workers: usize,
}

impl Turnover {
    /// Seconds after which a client that is turned away should come back, when so many others wait: their
    /// number × service time ÷ workers, from 1 s to an hour.
    pub(super) fn retry_after(self, queued: usize) -> u32 {
        let queued = u64::try_from(queued).unwrap_or(u64::MAX);
        let workers = u64::try_from(self.workers.max(1)).unwrap_or(u64::MAX);
        let micros = queued.saturating_mul(self.service_micros) / workers;
        u32::try_from(micros.div_ceil(1_000_000).clamp(1, 3600)).unwrap_or(3600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_said_once() {
        let mut burst = Burst::default();
        let at = |s: u64| Moment::from_micros(s * 1_000_000);
        let said: Vec<bool> = [0, 1, 9, 19, 40].map(|s| burst.note(at(s))).into();
        assert_eq!(said, [true, false, false, false, true]);
    }

    #[test]
    fn a_client_is_told_to_come_back_when_its_turn_would_come() {
        for (queued, service_micros, workers, expected) in [
            (0, 0, 0, 1),
            (100, 1_000, 4, 1),
            (100, 500_000, 4, 13),
            (usize::MAX, u64::MAX, 1, 3600),
        ] {
            let turnover = Turnover {
                service_micros,
                workers,
            };
            assert_eq!(turnover.retry_after(queued), expected);
        }
    }
}
