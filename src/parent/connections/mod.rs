//! Every client's connection: its state, its deadline, what its spool holds, how many there may be, and the answers
//! that the parent may give itself. One of the parent's five owners.
//!
//! Nothing outside of this folder changes what stands here. It knows nothing of workers: the loop says which
//! client goes to a worker, and what a worker has said of it.
//!
//! ```text
//! owner                 the whole: how many connections, the next deadline
//! table, state, wheel   the connections, one list per state, and their deadlines
//! admission             the limits on clients
//! parking               between two visits to a worker: deadlines, what ends it
//! queue                 clients that wait for a worker, or are held for a handler
//! account, spools,
//! stalled               what is in spools, bodies that wait for room
//! verdicts, fate        to a worker, and back by its verdict or death
//! transfer              clients that come from a listener, or from and to another server
//! ending, canned        canned responses, and the ways to close
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
pub(in crate::parent) use verdicts::Visit;
