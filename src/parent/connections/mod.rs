//! Every client's connection: where it stands, by when it has to do something, what its spool holds, how
//! many there may be, and the last words that the parent may say to it. One of the parent's four owners.
//!
//! Nothing outside of this folder touches what stands here. It knows nothing of workers: the loop says which
//! client goes to a worker, and what a worker has said of it.
//!
//! ```text
//! table, state, wheel   the connections, one list per state, and their deadlines
//! admission             the limits on clients
//! parking               between two visits to a worker: deadlines, what ends it
//! queue                 who waits for a worker, or is held for a handler
//! spools, stalled       what is in spools, bodies that wait for room
//! verdicts, fate        to a worker, and back by its verdict or death
//! transfer              in from a listener, from and to another server
//! ending, canned        last words, and the ways to close
//! ```

mod admission;
mod canned;
mod ending;
mod fate;
mod parking;
mod queue;
mod spools;
mod stalled;
mod state;
mod table;
mod transfer;
mod verdicts;
mod wheel;

pub(in crate::parent) use fate::Fate;
pub(in crate::parent) use state::State;
pub use transfer::Transfer;
pub(in crate::parent) use verdicts::Done;

use super::context::{Burst, Context};
use crate::limits::Limits;
use crate::scoreboard::Spooled;
use crate::settings::TrustedProxy;
use crate::sys::time::Moment;
use admission::Admission;
use table::{End, Table};
use wheel::Wheel;

/// All connections.
pub(in crate::parent) struct Connections {
    table: Table,
    wheel: Wheel,
    admission: Admission,
    /// What is in the spools that no worker has.
    spooled: Spooled,
    /// Connections ever accepted, by this server and those before it.
    accepted: u64,
    /// What was said in the log.
    said: Said,
}

/// What is said once per burst.
#[derive(Default)]
struct Said {
    /// Somebody had to go, or nobody could be let in.
    full: Burst,
    /// One address has too many connections.
    crowd: Burst,
    /// The queue was too long.
    queue: Burst,
    /// Bodies found no room.
    spools: Burst,
}

impl Connections {
    /// None yet; `accepted` by the servers before.
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

    /// Other limits; who is in stays in.
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
