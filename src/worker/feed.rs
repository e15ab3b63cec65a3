//! Feeds a body to a handler that wants a pipe (`stdin = pipe`), while its output is relayed.

use crate::sys::{self, Errno, fd, fd::AsFd, file};
use std::os::fd::{BorrowedFd, OwnedFd};

/// A body on its way into a pipe. Where it stands is the file's own offset.
pub(super) struct Feed {
    pipe: OwnedFd,
    source: OwnedFd,
}

impl Feed {
    /// Both ends of the way; writing to the pipe must not block.
    pub(super) fn new(pipe: OwnedFd, source: OwnedFd) -> Self {
        Self { pipe, source }
    }

    /// What to wait for.
    pub(super) fn pipe(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Writes as much as the pipe takes. An error ends the feed: EPIPE when either side is done.
    pub(super) fn write(&mut self) -> sys::Result<()> {
        let mut piece = [0; 16 * 1024];
        loop {
            let at = file::offset(self.source.as_fd())?;
            let n = fd::pread(self.source.as_fd(), &mut piece, at)?;
            let part = piece.get(..n).filter(|part| !part.is_empty());
            let part = part.ok_or(sys::Error {
                call: "pread",
                errno: Errno::PIPE,
            })?;
            match fd::write(self.pipe.as_fd(), part) {
                Ok(n) => file::seek(self.source.as_fd(), at + n as u64)?,
                Err(e) if e.is_would_block() => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }
}
