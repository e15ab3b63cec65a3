//! The sockets where clients connect: which there are, under which numbers, and pauses while no client can be accepted.
//! One of the parent's five owners.
//!
//! Nothing outside of this folder changes what stands here. It accepts only when it is asked to: the loop knows whether
//! there is room.

mod change;
mod owner;
mod socket;

pub(in crate::parent) use change::{Bound, enroll};
pub(in crate::parent) use owner::Listeners;
pub(crate) use socket::Wish;
pub(in crate::parent) use socket::{Listener, bind, given, wishes};
