//! Feeds a body to a handler that wants a pipe (`stdin = pipe`), while its output is relayed.

use super::large_body::LargeBody;
use crate::sys::{self, Errno, fd, fd::AsFd, file};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Where a body comes from.
pub(super) enum Source {
    /// A file, from its own offset on.
    File(OwnedFd),
    /// Memory, from this byte on.
    Memory(LargeBody, usize),
}

/// A body on its way into a pipe.
pub(super) struct Feed {
    pipe: OwnedFd,
    source: Source,
}

/// Bytes that the pipe shall hold: the larger it is, the less often worker and handler wake each other.
const PIPE_BYTES: i32 = 1 << 20;

impl Feed {
    /// A pipe that is fed from a source as its reader goes on: the read end, and the feed.
    pub(super) fn new(source: Source) -> sys::Result<(OwnedFd, Self)> {
        let (read_end, pipe) = fd::pipe()?;
        fd::set_nonblocking(pipe.as_fd(), true)?;
        // The kernel refuses this to a user who has too many pages in pipes (pipe(7)); a pipe of
        // the usual size works too.
        let _ = fd::set_pipe_size(pipe.as_fd(), PIPE_BYTES);
        Ok((read_end, Self { pipe, source }))
    }

    /// What to wait for.
    pub(super) fn pipe(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Writes as much as the pipe takes; false when the feed is over: nothing is left, or the
    /// handler has stopped reading, which it may. After an error the handler has less than the
    /// whole body, and must not take the end of the pipe for the end of the body.
    pub(super) fn write(&mut self) -> sys::Result<bool> {
        loop {
            let moved = match &mut self.source {
                Source::File(file) => move_from_file(self.pipe.as_fd(), file),
                Source::Memory(body, at) => {
                    let rest = body.bytes().get(*at..).unwrap_or_default();
                    move_from_memory(self.pipe.as_fd(), rest, at)
                }
            };
            match moved {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(e) if e.is_would_block() => return Ok(true),
                Err(e) if e.errno == Errno::PIPE => return Ok(false),
                Err(e) => return Err(e),
            }
        }
    }
}

/// False at the end of the file.
fn move_from_file(pipe: BorrowedFd<'_>, file: &OwnedFd) -> sys::Result<bool> {
    let mut piece = [0; 16 * 1024];
    let at = file::offset(file.as_fd())?;
    let n = fd::pread(file.as_fd(), &mut piece, at)?;
    let Some(part) = piece.get(..n).filter(|part| !part.is_empty()) else {
        return Ok(false);
    };
    let moved = fd::write(pipe, part)?;
    file::seek(file.as_fd(), at + moved as u64)?;
    Ok(true)
}

/// False when nothing is left. The pipe refers to the pages themselves, and its reader may keep
/// them for longer than the handler lives (splice(2)): so these pages are never written again, nor
/// used for another body.
fn move_from_memory(pipe: BorrowedFd<'_>, rest: &[u8], at: &mut usize) -> sys::Result<bool> {
    if rest.is_empty() {
        return Ok(false);
    }
    *at += fd::vmsplice(pipe, rest)?;
    Ok(true)
}
