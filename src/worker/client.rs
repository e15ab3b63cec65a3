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
    /// How long this worker has waited for it in this dispatch.
    waited: Cell<Duration>,
}

/// A client that has waited for a worker for longer than this may have left meanwhile.
const WORTH_A_LOOK: Duration = Duration::from_millis(10);

/// How long a worker may wait for a client in one dispatch, however little work the client makes.
const PATIENCE: Duration = Duration::from_millis(10);
/// And this many times as long as the worker has worked for the client: a worker moves some 2 GB/s,
/// so a client that needs longer waits takes less than 500 MB/s.
const PATIENCE_RATIO: u32 = 4;

/// How long the worker waits for a client that has moved so many bytes since the last wait: a millisecond for
/// each 32 KiB, which is less than it costs to spool what is here and to come back to it later, and at most
/// five. All waits of a dispatch together are bounded by its work, so that no client holds a worker.
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

    /// How long it has waited for a worker.
    pub(super) fn queued(&self) -> Duration {
        self.received.since(self.serve.woken)
    }

    /// Whether it had to wait for a worker and has reset its connection meanwhile: under overload all work
    /// would be for clients that have left. A client that did not wait is not asked, since that costs a call;
    /// nor is one on a Unix-domain socket, which may close as soon as it has sent its request.
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

    /// Waits a little for a client that has moved so many bytes since the last wait; true if it is ready.
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
