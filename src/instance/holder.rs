//! A pid file that a server holds, as a command sees it. Changes nothing.

use super::{PID_FILE, c_path};
use crate::sys::file::{self, Open};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Command: the pid file, open for writing, if a server of the user `uid` holds it. Its lock can be had
/// when that is gone.
pub(crate) fn held(path: &Path, uid: u32) -> Option<OwnedFd> {
    let name = c_path(path, PID_FILE).ok()?;
    let file = file::open_at(None, &name, Open::Existing).ok()?;
    let found = file::stat(file.as_fd()).ok()?;
    let is_held = found.is_file() && found.uid == uid && !file::try_lock(file.as_fd()).ok()?;
    is_held.then_some(file)
}
