//! The raw descriptor round trip: an order with one descriptor to a forked process, its verdict
//! back. What the channel costs by itself, with nobody who polls or parses.

use crate::child::Child;
use crate::failure::Failure;
use crate::samples::nanos;
use caffeine::testing::channel::{self, Order, Received, Serve, Stage, VERDICT_BYTES, Verdict};
use caffeine::testing::scoreboard::{Report, Ticket};
use caffeine::testing::sys::fd::{self, AsFd};
use caffeine::testing::sys::time::Moment;
use caffeine::testing::sys::{file, memory, socket};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Rounds in which the partner also checks which descriptor it was that came.
const CHECKED_ROUNDS: usize = 100;

/// A forked process at the other end of a channel.
pub(crate) struct Partner {
    channel: OwnedFd,
    passed: OwnedFd,
    /// Nanoseconds from `start` to the moment at which the partner held the descriptor.
    received: &'static AtomicU64,
    start: Instant,
    _child: Child,
}

impl Partner {
    /// Forks it.
    pub(crate) fn start() -> Result<Self, Failure> {
        let unable = |e| Failure::unable("set up the descriptor round trip", e);
        let (channel, theirs) = socket::pair().map_err(unable)?;
        // Any descriptor will do; a pipe's end has an identity that the partner can check.
        let (passed, _) = fd::pipe().map_err(unable)?;
        let identity = file::stat(passed.as_fd()).map_err(unable)?.identity;
        let received = memory::shared_words(1).map_err(unable)?;
        let received = received
            .first()
            .ok_or_else(|| Failure::unable("share memory", "no word"))?;
        let start = Instant::now();
        let child = Child::fork(theirs.as_fd(), || {
            answer_orders(theirs.as_fd(), |order| {
                received.store(nanos(start.elapsed()), Ordering::Relaxed);
                order.order == sent_order(false) || is_expected(order, identity)
            });
        })?;
        let mut partner = Self {
            channel,
            passed,
            received,
            start,
            _child: child,
        };
        for _ in 0..CHECKED_ROUNDS {
            partner.exchange(true)?;
        }
        Ok(partner)
    }

    /// One round trip: there with the descriptor, back with the verdict.
    pub(crate) fn round_trip(&mut self) -> Result<Instant, Failure> {
        self.exchange(false)
    }

    /// One way of it: until the partner held the descriptor.
    pub(crate) fn one_way(&mut self) -> Result<Instant, Failure> {
        let before = Instant::now();
        self.exchange(false)?;
        let nanos = self.received.load(Ordering::Relaxed);
        let received = self.start + Duration::from_nanos(nanos);
        if received < before {
            return Err(Failure::wrong("the partner had received nothing"));
        }
        Ok(received)
    }

    fn exchange(&mut self, is_checked: bool) -> Result<Instant, Failure> {
        let unable = |e| Failure::unable("pass a descriptor", e);
        let order = sent_order(is_checked);
        let passed = Some(self.passed.as_fd());
        channel::send_order(self.channel.as_fd(), &order, passed, None).map_err(unable)?;
        let mut said = [0; VERDICT_BYTES + 1];
        let n = fd::read(self.channel.as_fd(), &mut said).map_err(unable)?;
        let end = Instant::now();
        let said = said.get(..n).unwrap_or_default();
        if n != VERDICT_BYTES || !said.starts_with(&[Verdict::Keep.byte()]) {
            let said = said.escape_ascii();
            return Err(Failure::wrong(format_args!("verdict \"{said}\"")));
        }
        Ok(end)
    }
}

/// What is sent; a worker gets the same number of bytes.
fn sent_order(is_checked: bool) -> Order {
    Order::Serve(Serve {
        connection: 0x0102_0304_0506_0708,
        stage: Stage::Head,
        is_head_resumed: is_checked,
        is_last: false,
        listener: 0,
        requests: 1,
        head_begun: Moment::from_micros(2),
        progress: Moment::from_micros(3),
        ticket: Ticket::new(0),
        woken: Moment::from_micros(4),
        peer: None,
    })
}

fn is_expected(received: &Received, identity: (u64, u64)) -> bool {
    let client = received.client.as_ref();
    let stat = client.and_then(|fd| file::stat(fd.as_fd()).ok());
    received.order == sent_order(true)
        && received.spool.is_none()
        && stat.is_some_and(|stat| stat.identity == identity)
}

/// The partner: takes orders until its starter is gone.
fn answer_orders(channel: BorrowedFd<'_>, is_good: impl Fn(&Received) -> bool) {
    while let Ok(Some(received)) = channel::receive_order(channel) {
        let verdict = if is_good(&received) {
            Verdict::Keep
        } else {
            Verdict::Close
        };
        if channel::send_verdict(channel, verdict, Report::default(), None).is_err() {
            return;
        }
        // `received` is dropped here: its descriptor is closed after the answer, as a worker does.
    }
}
