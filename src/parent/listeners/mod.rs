//! The sockets where clients connect: which there are, under which numbers, and pauses while nobody can come
//! in.
//!
//! Nothing outside of this folder touches what stands here. Refuses to accept by itself: the loop knows whether
//! there is room.

mod change;
mod owner;
mod socket;

pub(in crate::parent) use change::{Bound, enroll};
pub(in crate::parent) use owner::Listeners;
pub(crate) use socket::Wish;
pub(in crate::parent) use socket::{Listener, bind, given, wishes};
