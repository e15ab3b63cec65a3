//! The server's life: from Starting to Over. Pure.

use crate::sys::time::Moment;
use std::time::Duration;

/// Workers, and a new server, that have not said a word by then never will.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle connections are closed this long after the order to stop: a request that is on its way is
/// still answered.
pub(super) const IDLE_GRACE: Duration = Duration::from_secs(1);

/// Between the order to leave and the last SIGKILL, on top of the handlers' own grace.
pub(super) const LEAVE_GRACE: Duration = Duration::from_secs(1);

/// The server's state; each leads only to those below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Listeners are bound, workers are not ready; by this moment they must be.
    Starting(Moment),
    /// Clients are accepted.
    Serving,
    /// Another server has everything but the requests in flight. Should it fail, this one is Serving
    /// again.
    HandingOver,
    /// No more clients are accepted; those that are here are answered.
    Draining {
        /// From then on idle connections are closed.
        idle_until: Moment,
        /// By then the rest is.
        until: Moment,
        /// They have been.
        is_idle_closed: bool,
        /// A second SIGINT ends the wait.
        is_interrupted: bool,
    },
    /// Workers leave; by this moment they are killed.
    Stopping(Moment),
    /// Nobody is left.
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

    /// Notes that somebody has pressed Ctrl-C, or so; whether it was for the second time.
    pub(super) fn note_interrupt(&mut self) -> bool {
        match self {
            Self::Draining { is_interrupted, .. } => std::mem::replace(is_interrupted, true),
            Self::Stopping(_) => true,
            _ => false,
        }
    }
}
