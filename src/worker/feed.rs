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

    /// Writes as much as the pipe takes; false when it is over: nothing is left, or the handler has
    /// stopped reading, as is its right. After an error it has less than there is, and must not
    /// take that for all.
    pub(super) fn write(&mut self) -> sys::Result<bool> {
        let mut piece = [0; 16 * 1024];
        loop {
            let at = file::offset(self.source.as_fd())?;
            let n = fd::pread(self.source.as_fd(), &mut piece, at)?;
            let Some(part) = piece.get(..n).filter(|part| !part.is_empty()) else {
                return Ok(false);
            };
            match fd::write(self.pipe.as_fd(), part) {
                Ok(n) => file::seek(self.source.as_fd(), at + n as u64)?,
                Err(e) if e.is_would_block() => return Ok(true),
                Err(e) if e.errno == Errno::PIPE => return Ok(false),
                Err(e) => return Err(e),
            }
        }
    }
}
