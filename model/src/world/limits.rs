//! What the protocol knows of `limits`.

use std::time::Duration;

/// As many as the model has.
pub const MAX_WORKERS: usize = 2;

#[derive(Default)]
pub struct Limits {
    pub max_spool_total: Option<u64>,
    pub max_queue: usize,
    pub max_workers: Option<usize>,
    pub max_concurrent: Option<usize>,
    pub keep_alive_timeout: Duration,
}
