//! The server's life: from Starting to Over. Pure.

use crate::sys::time::Moment;
use std::time::Duration;

/// A worker, or a new server, that is not ready after this time is given up.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle connections are closed this long after the order to stop: a request that is on its way by then is still
/// answered.
pub(super) const IDLE_GRACE: Duration = Duration::from_secs(1);

/// How long workers have to leave, on top of their handlers' `kill-grace`, before they are killed.
pub(super) const LEAVE_GRACE: Duration = Duration::from_secs(1);

/// The server's state. Each leads only to those below it, but for HandingOver, which may lead back to Serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Listeners are bound, workers are not ready yet. By this moment they must be.
    Starting(Moment),
    /// Clients are accepted.
    Serving,
    /// A successor has everything but the requests in flight. Should it fail, this server is Serving again.
    HandingOver,
    /// No more clients are accepted; those that are here are answered.
    Draining {
        /// Until then idle connections are kept.
        idle_until: Moment,
        /// By then every connection is closed.
        until: Moment,
        /// Idle connections have been closed.
        is_idle_closed: bool,
        /// SIGINT has come once: a second one ends the wait.
        is_interrupted: bool,
    },
    /// Workers leave; those that are still there at this moment are killed.
    Stopping(Moment),
    /// No worker is left: the loop ends.
    Over,
}

impl Life {
    /// Before the first client.
    pub(super) fn is_starting(self) -> bool {
        matches!(self, Self::Starting(_))
    }

    /// The order to stop has come.
    pub(super) fn is_stopping(self) -> bool {
        !matches!(self, Self::Starting(_) | Self::Serving | Self::HandingOver)
    }

    /// No worker is started any more.
    pub(super) fn is_leaving(self) -> bool {
        matches!(self, Self::Stopping(_) | Self::Over)
    }

    /// Whether a connection that becomes idle now is closed at once.
    pub(super) fn closes_idle(self, now: Moment) -> bool {
        match self {
            Self::Starting(_) | Self::Serving | Self::HandingOver => false,
            Self::Draining { idle_until, .. } => idle_until <= now,
            Self::Stopping(_) | Self::Over => true,
        }
    }

    /// Its word in the status.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Starting(_) => "starting",
            Self::Serving => "serving",
            Self::HandingOver => "upgrading",
            Self::Draining { .. } => "draining",
            Self::Stopping(_) | Self::Over => "stopping",
        }
    }

    /// When the state has to be looked at again.
    pub(super) fn next_deadline(self, now: Moment) -> Option<Moment> {
        match self {
            Self::Starting(until) | Self::Stopping(until) => Some(until),
            Self::Serving | Self::HandingOver | Self::Over => None,
            Self::Draining {
                idle_until, until, ..
            } if idle_until > now => Some(idle_until.min(until)),
            Self::Draining { until, .. } => Some(until),
        }
    }

    /// Begins to close idle connections when it is time for that: true, once.
    pub(super) fn begin_to_close_idle(&mut self, now: Moment) -> bool {
        match self {
            Self::Draining {
                idle_until,
                is_idle_closed,
                ..
            } if *idle_until <= now => !std::mem::replace(is_idle_closed, true),
            _ => false,
        }
    }

    /// Notes a SIGINT (Ctrl-C); true if everything is to end at once, since it is the second one.
    pub(super) fn note_interrupt(&mut self) -> bool {
        match self {
            Self::Draining { is_interrupted, .. } => std::mem::replace(is_interrupted, true),
            Self::Stopping(_) => true,
            _ => false,
        }
    }
}
