//! What the tests stand on: a server of one's own, a client that hides nothing, and one way to
//! wait. Knows nothing about what is tested.

mod client;
mod folder;
pub(crate) mod os;
pub(crate) mod seccomp;
mod server;

pub(crate) use client::{Client, Response};
pub(crate) use folder::Folder;
pub(crate) use server::{Server, Setup, can_run, command, run, spawn};

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for anything that happens at all, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until it is so. The one place where a test sleeps.
#[track_caller]
pub(crate) fn eventually(deadline: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        let waited = start.elapsed();
        assert!(waited < deadline, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a list is empty; on failure shows what is in it.
#[track_caller]
pub(crate) fn eventually_none<T: Debug>(
    deadline: Duration,
    what: &str,
    mut list: impl FnMut() -> Vec<T>,
) {
    let start = Instant::now();
    loop {
        let left = list();
        if left.is_empty() {
            return;
        }
        assert!(
            start.elapsed() < deadline,
            "{what}, after {deadline:?} still: {left:?}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// Lets time pass in which something must not happen.
pub(crate) fn watch_for(time: Duration) {
    thread::sleep(time);
}

/// Bytes without a pattern that a lost, doubled or moved block could hide in.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
