//! The upgrade: the server before this one (*predecessor*) and the one that follows (*successor*), and what is
//! said between two servers. One of the parent's four owners.
//!
//! Nothing outside of this folder touches what stands here. SIGUSR2 starts the server's own program again, which
//! gets copies of all that cannot be had twice, and once it is ready the parked clients too. Nothing that is
//! copied is given up before the old server leaves, so whatever becomes of the new one, it can all be taken back,
//! unless that has a successor of its own by then.
//!
//! ```text
//! owner                    both, and the order to upgrade
//! forward, successor       what the old server says to the new one, and hears from it
//! backward, predecessor    what the new server says to the old one, and hears from it
//! records                  what one tells the other, byte by byte
//! program                  starting the program again
//! ```

mod backward;
mod forward;
mod owner;
mod predecessor;
mod program;
pub(crate) mod records;
mod successor;

pub(in crate::parent) use backward::FromPredecessor;
pub(in crate::parent) use forward::{End, Possessions, Step};
pub(in crate::parent) use owner::Upgrade;
pub(in crate::parent) use predecessor::{Claims, Predecessor};
pub(in crate::parent) use successor::{FAILED, FromSuccessor, READY};
