//! A client that is being served, and what the worker says when it is done with it.

use crate::channel::{Serve, Verdict};
use crate::settings::HalfClose;
use crate::sys::fd::AsFd;
use crate::sys::poll;
use crate::sys::time::{self, Moment};
use std::cell::Cell;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// What the worker says when it is done with a client, and the spool that goes with it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(super) verdict: Verdict,
    pub(super) spool: Option<OwnedFd>,
}

impl Outcome {
    pub(super) fn of(verdict: Verdict) -> Self {
        Self {
            verdict,
            spool: None,
        }
    }

    pub(super) fn with(verdict: Verdict, spool: OwnedFd) -> Self {
        Self {
            verdict,
            spool: Some(spool),
        }
    }
}

/// A client that is being served.
pub(crate) struct Client {
    fd: OwnedFd,
    pub(super) serve: Serve,
    /// When this worker got it.
    pub(super) received: Moment,
    /// How long it was waited for.
    waited: Cell<Duration>,
}

/// Who has waited for longer may have left.
const WORTH_A_LOOK: Duration = Duration::from_millis(10);

/// What a client may be waited for in one dispatch, however little work it makes.
const PATIENCE: Duration = Duration::from_millis(10);
/// And so many times as long as it was worked for: a worker moves some 2 GB/s, so who leaves it more
/// time than this takes less than 500 MB/s.
const PATIENCE_RATIO: u32 = 4;

/// How long a client is worth waiting for that has moved so many bytes since the last wait. A
/// millisecond for each 32 KiB is less than what it costs to put away what is here and to come back to
/// it. At most 5, and all waits of a dispatch are bounded by its work: a client must not hold a worker.
fn patience(moved: u64, worked: Duration, waited: Duration) -> Duration {
    let worth = Duration::from_millis((moved / (32 * 1024)).min(5));
    worth.min((worked * PATIENCE_RATIO + PATIENCE).saturating_sub(waited))
}

impl Client {
    pub(super) fn new(fd: OwnedFd, serve: Serve) -> Self {
        Self {
            fd,
            serve,
            received: time::now(),
            waited: Cell::default(),
        }
    }

    /// The next request of the same client, which came while this worker rested.
    pub(super) fn begin_next(&mut self) {
        let now = time::now();
        self.serve.requests = self.serve.requests.saturating_add(1);
        self.serve.head_begun = now;
        self.serve.woken = now;
        self.received = now;
        self.waited = Cell::default();
    }

    /// How long it has waited for this worker.
    pub(super) fn queued(&self) -> Duration {
        self.received.since(self.serve.woken)
    }

    /// Whether it had to wait and has reset its connection meanwhile: under overload all work would be
    /// for nobody. Others are not asked, which would cost them a call. A Unix-domain client may close as
    /// soon as it has spoken.
    pub(super) fn has_left(&self, half_close: HalfClose) -> bool {
        let also = match half_close {
            HalfClose::Probe => 0,
            HalfClose::Gone => poll::PEER_CLOSED,
            HalfClose::Serve => return false,
        };
        self.queued() > WORTH_A_LOOK
            && !self.is_unix()
            && poll::wait_one(self.socket(), also, Duration::ZERO).unwrap_or(false)
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Unix domain sockets cannot discard, and ignore SO_RCVLOWAT.
    pub(super) fn is_unix(&self) -> bool {
        self.serve.peer.is_none()
    }

    /// Waits a little for a client that has moved so many bytes since the last wait; true if it can go
    /// on.
    pub(super) fn wait_briefly(&self, events: i16, moved: u64) -> bool {
        let (begun, waited) = (time::now(), self.waited.get());
        let worked = begun.since(self.received).saturating_sub(waited);
        let wait = patience(moved, worked, waited);
        if wait.is_zero() {
            return false;
        }
        let is_ready = poll::wait_one(self.socket(), events, wait).unwrap_or(false);
        self.waited.set(waited + time::now().since(begun));
        is_ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_waited_for_as_far_as_it_moves_and_makes_work() {
        const MIB: u64 = 1024 * 1024;
        let ms = Duration::from_millis;
        for (moved, worked, waited, expected) in [
            (32 * 1024 - 1, ms(0), ms(0), 0),
            (32 * 1024, ms(0), ms(0), 1),
            (MIB, ms(0), ms(0), 5),
            (MIB, ms(0), ms(8), 2),
            (MIB, ms(0), ms(10), 0),
            (MIB, ms(10), ms(48), 2),
            (MIB, ms(10), ms(50), 0),
            (MIB, Duration::from_secs(86_400), ms(50), 5),
        ] {
            assert_eq!(
                patience(moved, worked, waited),
                ms(expected),
                "{moved} {worked:?} {waited:?}"
            );
        }
    }
}
