//! Who holds a pid file, as a command sees it. Changes nothing.

use super::{PID_FILE, c_path, owner_in};
use crate::sys::file::{self, Open};
use crate::sys::process::Pid;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A pid file that somebody holds.
#[derive(Debug)]
pub struct Holder {
    /// The file; its lock can be had when the holder is gone.
    pub file: OwnedFd,
    /// The number in it.
    pub pid: Option<Pid>,
}

/// Command: who holds a pid file; `None` if nobody does.
pub fn holder(path: &Path) -> Option<Holder> {
    let name = c_path(path, PID_FILE).ok()?;
    let file = file::open_at(None, &name, Open::Existing).ok()?;
    if !file::stat(file.as_fd()).ok()?.is_file() || file::try_lock(file.as_fd()).ok()? {
        return None;
    }
    let pid = owner_in(&file);
    Some(Holder { file, pid })
}
