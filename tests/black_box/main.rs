//! Black-box tests: the real binary, real sockets, real handlers.
//!
//! One crate, so that the tests run beside each other and the harness is built once; one module
//! per theme, so that `cargo test --test black_box slow_clients` runs one. Each test has a server
//! of its own in a folder of its own, on a port that the kernel chose.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at what it does not expect"
)]

mod command_line;
mod confinement;
mod conformance;
mod contract;
mod control;
mod denied;
mod deployment;
mod doctor;
mod errors;
mod exhaustion;
mod files;
mod harness;
mod held;
mod hostile;
mod life;
mod nowhere;
mod processes;
mod proxies;
mod queue;
mod released;
mod rest;
mod serving;
mod slow_clients;
mod spools;
mod supervision;
mod trees;
mod turns;
mod upgrade;
mod upgrade_end;
