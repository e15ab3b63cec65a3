//! What every owner of the parent may read, and what it may wait with. Parent only.
//!
//! Owners get it as `&Context`: only the loop, a reload and the life cycle change it.

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

/// What is shared. Workers are born with the most of it.
pub(super) struct Context {
    pub(super) settings: Settings,
    /// By which a worker is known where the kernel does not say who has connected.
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
    /// How fast clients get through, noted once per turn.
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

/// A place in a table, with the generation that tells it from earlier tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id {
    pub(super) index: u32,
    /// 24 bits, as many as a token has for it.
    pub(super) generation: u32,
}

/// What a worker gets with an order.
pub(super) struct Ordered<'a> {
    pub(super) serve: Serve,
    pub(super) client: BorrowedFd<'a>,
    pub(super) spool: Option<BorrowedFd<'a>>,
}

/// Servers that follow this one: its children too.
pub(super) type Successors = [Option<Pid>; 2];

/// A burst is over when nothing happened for this long.
const BURST_GAP: Duration = Duration::from_secs(10);

/// Says things once per burst.
#[derive(Default)]
pub(super) struct Burst {
    last: Option<Moment>,
}

impl Burst {
    /// Notes that it has happened; true if it is to be said.
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

/// How fast clients get through.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turnover {
    /// Recent time from the beginning of a request to its end, in microseconds.
    pub(super) service_micros: u64,
    /// Workers that are here to stay.
    pub(super) workers: usize,
}

impl Turnover {
    /// Seconds after which a client that is turned away may come back, when so many wait: queue length ×
    /// service time ÷ workers, from 1 s to an hour.
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
