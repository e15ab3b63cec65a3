//! What a server has from the one that it follows: the same files under the same names, whose
//! descriptors were passed on. At any time one of the two answers for them and removes them at its end.
//! Refuses what is not the same any more.

use super::{
    BACKLOG, Made, PID_FILE, PidFile, Result, UnixSocket, failed, foreign, identity, unplaced,
};
use crate::sys::{file, socket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

impl PidFile {
    /// The lock belongs to the open file, so whoever has a copy of its descriptor holds it.
    pub(crate) fn adopt(path: &Path, file: OwnedFd) -> Result<Self> {
        let found = file::stat(file.as_fd()).map_err(|why| failed("read", path, why, PID_FILE))?;
        if identity(path) != Some(found.identity) {
            return Err(foreign(path, "is not that of the server before", PID_FILE));
        }
        Ok(Self {
            made: Made::new(path, found.identity, false),
            file,
            was_stale: false,
        })
    }

    /// Its descriptor, for a successor.
    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Whether it goes with this server.
    pub(crate) fn set_own(&mut self, is_own: bool) {
        self.made.is_own = is_own;
    }
}

impl UnixSocket {
    /// A socket does not know its file, so the server that has passed it on is believed that it is the one at
    /// `path`. An abstract socket knows its name.
    pub(crate) fn adopt(path: &Path, listener: OwnedFd, option: &'static str) -> Result<Self> {
        if let Some(name) = socket::abstract_name(listener.as_fd()) {
            return match name == path || unplaced(path).as_ref() == Some(&name) {
                true => Ok(Self::nowhere(&name, listener)),
                false => Err(foreign(path, "is not that of the server before", option)),
            };
        }
        let identity = identity(path).ok_or_else(|| foreign(path, "has vanished", option))?;
        Ok(Self {
            listener,
            made: Made::new(path, identity, false),
        })
    }

    /// Whether its file goes with this server. Who connects is told so from then on: commands talk
    /// only to the process that holds the pid file.
    pub(crate) fn set_own(&mut self, is_own: bool) {
        self.made.is_own = is_own && self.made.identity != (0, 0);
        if is_own {
            // It listens already, so nothing can be refused.
            let _ = socket::listen_on(&self.listener, BACKLOG);
        }
    }
}
