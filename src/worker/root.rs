//! Follows the folder with the handlers by its name: a deployment switches a symbolic link, or puts another
//! folder in the place of the old one, and nobody has to tell the server. Runs in the worker.
//!
//! The root's descriptor keeps its number and leads to the new folder, so that the code that looks
//! up handlers in it need not know. It is looked at twice a second at most. If no folder has that
//! name any more, the worker keeps the old one.

use crate::birth::Birth;
use crate::sys::fd::{self, AsFd};
use crate::sys::file::{self, Open};
use crate::sys::time::Moment;
use crate::sys::{self, Errno};
use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// How old a worker's knowledge of the root may be when a request comes.
const INTERVAL: Duration = Duration::from_millis(500);

/// Stands in the scoreboard while no folder has the root's name.
const LOST: u64 = u64::MAX;

/// What a worker knows of its root.
pub(super) struct Root {
    path: CString,
    identity: (u64, u64),
    looked: Moment,
    is_lost: bool,
}

impl Root {
    pub(super) fn new(birth: &Birth<'_>) -> sys::Result<Self> {
        let path = birth.settings.path.as_os_str().as_bytes();
        Ok(Self {
            path: CString::new(path).unwrap_or_default(),
            identity: file::stat(birth.root)?.identity,
            looked: Moment::default(),
            is_lost: false,
        })
    }

    /// Looks whether another folder has the root's name, unless the last look was a moment ago.
    /// True if that folder is the root from now on.
    pub(super) fn renew(&mut self, birth: &Birth<'_>, now: Moment) -> bool {
        if now < self.looked.after(INTERVAL) {
            return false;
        }
        self.looked = now;
        let found = self.look(birth.root);
        let was_lost = std::mem::replace(&mut self.is_lost, found.is_err());
        let path = birth.settings.path.display();
        match found {
            Ok(false) if !was_lost => false,
            Ok(is_new) => {
                let (device, inode) = self.identity;
                // All workers see it; the first one logs it.
                if birth.scoreboard.note_root(device.rotate_left(32) ^ inode) {
                    birth.log.info(format_args!("{path} is another folder now"));
                }
                is_new
            }
            Err(e) => {
                if !was_lost && birth.scoreboard.note_root(LOST) {
                    birth.log.warn(format_args!(
                        "unable to look into {path}, serving the folder that was there: {e}"
                    ));
                }
                false
            }
        }
    }

    fn look(&mut self, root: BorrowedFd<'_>) -> sys::Result<bool> {
        let found = file::stat_at(root, &self.path, true)?.identity;
        if found == self.identity {
            return Ok(false);
        }
        let folder = file::open_at(None, &self.path, Open::Folder)?;
        if !file::is_executable_at(folder.as_fd(), c".") {
            return Err(sys::Error::new(&"faccessat", Errno::ACCES));
        }
        file::change_folder(folder.as_fd())?;
        fd::replace(root, folder.as_fd())?;
        self.identity = found;
        Ok(true)
    }
}
