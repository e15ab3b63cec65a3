//! The workers: which of them has which slot, what each does, how many there are, and what they say. One of the
//! parent's five owners.
//!
//! Nothing outside of this folder changes what stands here. It knows a client only by its number: what a
//! worker has said of one goes to the loop as [`Finished`].
//!
//! ```text
//! owner                       the whole; what workers say, and how they are told to leave
//! pool, duty, edition, pace   the slots, which workers are ready, how many are to be started or to leave
//! birth, death                forking a worker, and what is read when it has ended
//! rest                        workers that rest with their last client
//! watchdog                    workers that give no sign of life when they must
//! orphans, sweep              what dead workers leave behind
//! ```

mod birth;
mod death;
mod duty;
mod edition;
mod orphans;
mod owner;
mod pace;
mod pool;
mod rest;
mod sweep;
mod watchdog;

pub(in crate::parent) use death::How;
pub(in crate::parent) use duty::Duty;
pub(in crate::parent) use owner::{Finished, Heard, Workers};
pub(in crate::parent) use pool::Replacement;
