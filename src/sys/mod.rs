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
pub(crate) mod beneath;
mod call;
pub(crate) mod confine;
pub(crate) mod descendants;
mod errno;
pub(crate) mod exec;
mod fault;
pub(crate) mod fd;
pub(crate) mod file;
pub(crate) mod launch;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod passing;
mod platform;
pub(crate) mod poll;
pub(crate) mod privilege;
pub(crate) mod proc;
pub(crate) mod process;
pub(crate) mod random;
mod raw;
pub(crate) mod readiness;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod teardown;
pub(crate) mod time;

pub(crate) use call::{Error, Result};
pub(crate) use errno::Errno;
