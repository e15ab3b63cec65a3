//! Clocks.

use super::fault;
use std::time::Duration;

/// A moment on the monotonic clock, in microseconds. The same in every process of the machine,
/// so it can be passed over the channel. Clock changes and suspend do not move it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(u64);

impl Moment {
    /// From the number that `as_micros` gave, in this process or another one.
    pub fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since an unspecified start.
    pub fn as_micros(self) -> u64 {
        self.0
    }

    /// This moment plus a timeout.
    pub fn after(self, timeout: Duration) -> Self {
        let micros = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// Time since an earlier moment; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// clock_gettime(2).
fn clock(id: libc::clockid_t) -> (i64, i64) {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // It cannot fail for the clocks used here, but a test may kill or stop the process at this call.
    let _ = fault::due("clock_gettime");
    // SAFETY: clock_gettime writes one timespec.
    unsafe { libc::clock_gettime(id, &raw mut t) };
    (i64::from(t.tv_sec), i64::from(t.tv_nsec))
}

/// CLOCK_MONOTONIC.
pub fn now() -> Moment {
    let (seconds, nanos) = clock(libc::CLOCK_MONOTONIC);
    Moment(seconds.unsigned_abs() * 1_000_000 + nanos.unsigned_abs() / 1_000)
}

/// CLOCK_REALTIME as milliseconds since 1970.
pub(crate) fn unix_ms() -> i64 {
    let (seconds, nanos) = clock(libc::CLOCK_REALTIME);
    seconds * 1_000 + nanos / 1_000_000
}

/// Seconds that local time is ahead of UTC at a unix time (localtime_r(3)).
pub(crate) fn local_offset(unix_seconds: i64) -> i64 {
    // time_t: the crate's name for it is deprecated on musl.
    let time = unix_seconds as _;
    // SAFETY: a zeroed tm is valid; localtime_r fills it or leaves it.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of this frame.
    unsafe { libc::localtime_r(&raw const time, &raw mut parts) };
    i64::from(parts.tm_gmtoff)
}
