//! The states of a connection.

/// Where a connection stands. The transitions:
///
/// ```text
/// accept ─▶ Head ─▶ Queued ─▶ Serving ─┬─▶ Idle, Head, Body, Drain ─▶ Queued
///                     ▲                ├─▶ Held ─▶ Queued (front)
///                     │                ├─▶ Stalled ─▶ Queued
///                     └── worker died ─┤
///                                      └─▶ Linger ─▶ closed
/// ```
///
/// From each state a connection may also be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::parent) enum State {
    /// Between two requests.
    Idle,
    /// The client has to send (the rest of) a head.
    Head,
    /// The client has to send more of a body.
    Body,
    /// The client has to take more of its response.
    Drain,
    /// The client has its answer; what it still sends is discarded.
    Linger,
    /// Waits for a worker.
    Queued,
    /// Waits for its handler to become free, in the list of that handler.
    Held,
    /// A worker has it.
    Serving,
    /// Waits for room for its body.
    Stalled,
}

impl State {
    /// Every state.
    pub(in crate::parent) const ALL: [Self; 9] = [
        Self::Idle,
        Self::Head,
        Self::Body,
        Self::Drain,
        Self::Linger,
        Self::Queued,
        Self::Held,
        Self::Serving,
        Self::Stalled,
    ];

    /// Its word in the status.
    pub(in crate::parent) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Head => "head",
            Self::Body => "body",
            Self::Drain => "drain",
            Self::Linger => "linger",
            Self::Queued => "queued",
            Self::Held => "held",
            Self::Serving => "serving",
            Self::Stalled => "stalled",
        }
    }
}
