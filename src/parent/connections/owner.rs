//! The owner itself: what it holds, and what can be asked of it as a whole.

use super::admission::Admission;
use super::state::State;
use super::table::Table;
use super::wheel::Wheel;
use crate::limits::Limits;
use crate::parent::context::{Burst, Context};
use crate::scoreboard::Spooled;
use crate::settings::TrustedProxy;
use crate::sys::time::Moment;

/// All connections.
pub(in crate::parent) struct Connections {
    pub(super) table: Table,
    pub(super) wheel: Wheel,
    pub(super) admission: Admission,
    /// What is in the spools that no worker has in hand.
    pub(super) spooled: Spooled,
    /// Connections ever accepted, by this server and those before it.
    pub(super) accepted: u64,
    /// When each warning was last logged.
    pub(super) said: Said,
}

/// Warnings that are logged once per burst.
#[derive(Default)]
pub(super) struct Said {
    /// A client was closed to make room, or none could be accepted.
    pub(super) full: Burst,
    /// One address has too many connections.
    pub(super) crowd: Burst,
    /// The queue was too long.
    pub(super) queue: Burst,
    /// Bodies were refused since they found no room.
    pub(super) spools: Burst,
}

impl Connections {
    /// None yet; `accepted`: how many the predecessors have accepted.
    pub(in crate::parent) fn new(
        limits: &Limits,
        proxies: &[TrustedProxy],
        accepted: u64,
        now: Moment,
    ) -> Self {
        Self {
            table: Table::new(),
            wheel: Wheel::new(now),
            admission: Admission::new(limits, proxies),
            spooled: Spooled::default(),
            accepted,
            said: Said::default(),
        }
    }

    /// Other limits. Clients that are connected stay.
    pub(in crate::parent) fn set_limits(&mut self, limits: &Limits, proxies: &[TrustedProxy]) {
        self.admission.set_limits(limits, proxies);
    }

    /// How many are open.
    pub(in crate::parent) fn open(&self) -> usize {
        self.table.len()
    }

    /// How many are in a state.
    pub(in crate::parent) fn count(&self, state: State) -> usize {
        self.table.count(state)
    }

    /// How many were ever accepted.
    pub(in crate::parent) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Whether one is open that came from this listener.
    pub(in crate::parent) fn is_from(&self, listener: u8) -> bool {
        self.table.is_from(listener)
    }

    /// When something is due without an event.
    pub(in crate::parent) fn next_deadline(&self, ctx: &Context) -> Option<Moment> {
        [self.wheel.next(), self.stalled_deadline(ctx)]
            .into_iter()
            .flatten()
            .min()
    }
}
