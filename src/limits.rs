//! Every limit of the server: its name, default, unit and the reason for the number.
//!
//! Plain values; nothing here acts. A limit that depends on the machine (descriptors, free
//! space) is `None` until the parent resolves it at start.

use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Ceiling of the elastic pool: `max-workers` is never more.
pub(crate) const MAX_WORKERS: usize = 4096;

/// The limits, under the names of their options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `max-head`: bytes of request line and fields together. 16K: what nginx and Apache accept in total.
    pub max_head: usize,
    /// `max-fields`: fields of one head. 100: Apache's `LimitRequestFields`.
    pub max_fields: usize,
    /// `max-target`: bytes of the request target. 8K: RFC 9112 section 3 recommends at least 8000.
    pub max_target: usize,
    /// `max-body`: bytes of a decoded request body.
    pub max_body: u64,
    /// `max-spool`: bytes of one connection's spool.
    pub max_spool: u64,
    /// `max-spool-total`: bytes of all spools; `None`: see [`spool_total`].
    pub max_spool_total: Option<u64>,
    /// `max-spool-memory`: bytes of request bodies in memory; `None`: 1/16 of the machine's.
    pub max_spool_memory: Option<u64>,
    /// `max-queue`: clients that wait for a worker; as many again may wait for handlers at `max-concurrent`.
    pub max_queue: usize,
    /// `max-workers`: ceiling of the elastic pool; `None`: 8 times `workers`.
    pub max_workers: Option<usize>,
    /// `max-concurrent`: requests of one handler at a time; `None`: three quarters of `max-workers`.
    pub max_concurrent: Option<usize>,
    /// `max-connections`: open clients; `None`: (descriptor limit - reserve) / 2, at most 100,000.
    pub max_connections: Option<usize>,
    /// `max-connections-per-address`; `None`: a quarter of `max-connections`. Loopback is exempt.
    pub max_connections_per_address: Option<usize>,
    /// `head-timeout`: from the first moment the client owes a head until it is complete.
    pub head_timeout: Duration,
    /// `progress-timeout`: body or response without a byte of progress.
    pub progress_timeout: Duration,
    /// `handler-timeout`: wall clock of one handler.
    pub handler_timeout: Duration,
    /// `keep-alive-timeout`: an idle connection between two requests.
    pub keep_alive_timeout: Duration,
    /// `queue-timeout`: longest wait for a worker before 503.
    pub queue_timeout: Duration,
    /// `kill-grace`: between SIGTERM and SIGKILL to a handler's tree.
    pub kill_grace: Duration,
    /// `shutdown-grace`: for requests in flight when the server stops.
    pub shutdown_grace: Duration,
    /// `after-exit`: silence on stdout after the handler's exit that ends its response.
    pub after_exit: Duration,
    /// `linger`: how long what a client still sends is discarded before the close.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_head: 16 * 1024,
            max_fields: 100,
            max_target: 8 * 1024,
            max_body: 16 * MIB,
            max_spool: 64 * MIB,
            max_spool_total: None,
            max_spool_memory: None,
            max_queue: 1024,
            max_workers: None,
            max_concurrent: None,
            max_connections: None,
            max_connections_per_address: None,
            head_timeout: Duration::from_secs(10),
            progress_timeout: Duration::from_secs(30),
            handler_timeout: Duration::from_secs(60),
            keep_alive_timeout: Duration::from_secs(15),
            queue_timeout: Duration::from_secs(10),
            kill_grace: Duration::from_secs(2),
            shutdown_grace: Duration::from_secs(30),
            after_exit: Duration::from_millis(200),
            linger: Duration::from_secs(5),
        }
    }
}

/// `max-spool-total` for bodies of up to so many bytes, and so much free space where spools are kept:
/// 256M, or a quarter of that space; but room for four of the largest bodies, or half of that space.
pub(crate) fn spool_total(largest_body: u64, free: u64) -> u64 {
    let bodies = largest_body.saturating_mul(4).min(free / 2);
    let total = (256 * MIB).min(free / 4).max(bodies);
    total - if total > MIB { total % MIB } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spools_together_hold_the_largest_body_if_the_disk_does() {
        const GIB: u64 = 1024 * MIB;
        for (largest_body, free, expected) in [
            (16 * MIB, 100 * GIB, 256 * MIB),
            (2 * GIB, 100 * GIB, 8 * GIB),
            (2 * GIB, u64::MAX, 8 * GIB),
            (2 * GIB, 10 * GIB, 5 * GIB),
            (16 * MIB, 400 * MIB, 100 * MIB),
            (16 * MIB, 40 * MIB + 5, 20 * MIB),
            (MIB, 40 * MIB, 10 * MIB),
            (u64::MAX, GIB, GIB / 2),
            (16 * MIB, 9, 4),
        ] {
            let case = format!("{largest_body} of {free}");
            assert_eq!(spool_total(largest_body, free), expected, "{case}");
        }
    }
}
