//! Every system call of the server, one function per call: `BorrowedFd` in, `OwnedFd` out.
//!
//! This is the only module that may say `unsafe` or name `libc`. It decides nothing: an expected
//! errno is a value for the caller to match, EINTR is retried here (except where a signal is what
//! the caller waits for), and every descriptor is born close-on-exec.

#![allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    clippy::unnecessary_fallible_conversions,
    clippy::cast_possible_truncation,
    reason = "the widths of C types differ between platforms"
)]

mod address;
pub mod beneath;
mod call;
pub mod confine;
pub mod descendants;
mod errno;
pub mod exec;
mod fault;
pub mod fd;
pub mod file;
pub mod launch;
pub mod machine;
pub mod memory;
pub mod passing;
mod platform;
pub mod poll;
pub mod privilege;
pub mod proc;
pub mod process;
pub mod random;
mod raw;
pub mod readiness;
pub mod signal;
pub mod socket;
pub mod teardown;
pub mod time;

pub use call::{CallName, Error, Result};
pub use errno::Errno;
