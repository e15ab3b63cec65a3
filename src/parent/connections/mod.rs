//! Every client's connection: where it stands, by when it has to do something, what its spool holds, how
//! many there may be, and the last words that the parent may say to it. One of the parent's four owners.
//!
//! Nothing outside of this folder touches what stands here. It knows nothing of workers: the loop says which
//! client goes to a worker, and what a worker has said of it.
//!
//! ```text
//! owner                 all of it; how many, until when
//! table, state, wheel   the connections, one list per state, and their deadlines
//! admission             the limits on clients
//! parking               between two visits to a worker: deadlines, what ends it
//! queue                 who waits for a worker, or is held for a handler
//! account, spools,
//! stalled               what is in spools, bodies that wait for room
//! verdicts, fate        to a worker, and back by its verdict or death
//! transfer              in from a listener, from and to another server
//! ending, canned        last words, and the ways to close
//! ```

mod account;
mod admission;
mod canned;
mod ending;
mod fate;
mod owner;
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
pub(in crate::parent) use owner::Connections;
pub(in crate::parent) use state::State;
pub(crate) use transfer::Transfer;
pub(in crate::parent) use verdicts::Done;
