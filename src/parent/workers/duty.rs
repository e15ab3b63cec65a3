//! What a worker is doing.

use crate::parent::context::Id;

/// What a worker is doing, as far as the parent knows. Starting becomes Ready, Ready becomes Busy, and Busy becomes
/// Ready again, or Finishing and then Ready. Each may become Retiring, which ends with the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::parent) enum Duty {
    /// Forked; has not said that it is ready.
    Starting,
    /// Waits for a client.
    Ready,
    /// Has this client.
    Busy(Id),
    /// Has given its client back, and stays with the handler, which runs on after its response.
    Finishing,
    /// Was told to leave, or killed.
    Retiring,
}

impl Duty {
    /// Whether a request keeps the worker.
    pub(in crate::parent) fn is_occupied(self) -> bool {
        matches!(self, Self::Busy(_) | Self::Finishing)
    }
}
