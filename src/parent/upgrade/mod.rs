//! The upgrade: the server before this one (*predecessor*, or the old server), the one that follows (*successor*, or
//! the new server), and what two servers say to each other. One of the parent's five owners.
//!
//! Nothing outside of this folder changes what stands here. SIGUSR2 starts the server's own program again. The new
//! server gets copies of all that cannot be had twice, and once it is ready the parked clients too. The old server
//! gives up nothing that it has copied before it leaves. So whatever becomes of the new one, the old one can take
//! everything back, unless the new one has a successor of its own by then.
//!
//! ```text
//! owner                    the whole: both other servers, and the order to upgrade
//! forward, successor       what the old server says to the new one, and hears from it
//! backward, predecessor    what the new server says to the old one, and hears from it
//! records                  the messages between two servers, byte by byte
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
