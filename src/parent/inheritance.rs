//! What the starter has left for the server: listeners of the service manager (sd_listen_fds(3)), or
//! the line to the predecessor. At the start of the program only, before any descriptor is opened.
//!
//! The variables are taken out of the environment. What the descriptors are is not judged here.

use crate::sys::exec::take_variable;
use crate::sys::fd::adopt;
use crate::sys::process;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The first descriptor that the service manager passes.
const FIRST: RawFd = 3;

/// The variable that tells a new server that it has a predecessor, and the descriptor of the line to that.
pub(super) const SUCCESSOR_VARIABLE: &str = "CAFFEINE_UPGRADE";
pub(super) const SUCCESSOR_FD: RawFd = 3;

/// Descriptors that are the server's from birth.
#[derive(Debug, Default)]
pub(crate) struct Inheritance {
    /// What the service manager listens with in the server's place.
    pub(super) listeners: Vec<OwnedFd>,
    /// The line to the predecessor.
    pub(super) predecessor: Option<OwnedFd>,
}

impl Inheritance {
    /// Takes the descriptors over, and the variables out of the environment.
    #[cold]
    pub(crate) fn take() -> Self {
        let [pid, count, _] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(take_variable);
        let number = |text: Option<std::ffi::OsString>| -> Option<i32> {
            text?.into_string().ok()?.parse().ok()
        };
        if take_variable(SUCCESSOR_VARIABLE).is_some() {
            return Self {
                listeners: Vec::new(),
                predecessor: adopt(SUCCESSOR_FD).ok(),
            };
        }
        // A process that has only inherited the variables has no such descriptors.
        if number(pid) != Some(process::pid().raw()) {
            return Self::default();
        }
        let count = number(count).unwrap_or(0).clamp(0, 1024);
        Self {
            listeners: (FIRST..FIRST + count)
                .filter_map(|number| adopt(number).ok())
                .collect(),
            predecessor: None,
        }
    }

    /// The numbers of what must not be closed.
    pub(crate) fn numbers(&self) -> Vec<RawFd> {
        let all = self.listeners.iter().chain(&self.predecessor);
        all.map(AsRawFd::as_raw_fd).collect()
    }
}
