//! The walk through the faults: every call that a request makes, with every errno that it can have,
//! at its first uses. After each the server serves again, and nothing is left of it.
//!
//! `cargo test --features fault-injection --test faults`; with `FAULTS=all` each call fails at more
//! of its uses.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at what it does not expect"
)]

mod died;
#[path = "../black_box/harness/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the black-box tests use the rest of it"
)]
mod harness;
mod matrix;
mod scenarios;
mod server_kinds;
mod stopped;
mod table;
mod test_client;
