//! A spool: an unlinked file that holds what a client has not yet sent or taken. Small ones live
//! in memory, larger ones on disk; all together they are bounded by `max-spool-total`.
//!
//! Knows nothing of what it holds.

use crate::scoreboard::{Entry, Scoreboard};
use crate::sys::{self, Errno, Error, fd, fd::AsFd, file};
use std::ffi::CStr;
use std::os::fd::OwnedFd;

/// Up to this size a spool is in memory: most requests that need one never touch a disk.
const IN_MEMORY: u64 = 256 * 1024;

/// What every spool of a worker needs.
#[derive(Clone, Copy)]
pub(super) struct SpoolKeeper<'a> {
    pub(super) scoreboard: &'a Scoreboard,
    pub(super) entry: Entry<'a>,
    /// Where large spools are made.
    pub(super) folder: &'a CStr,
    pub(super) max_total: u64,
}

impl SpoolKeeper<'_> {
    /// ENOSPC when `more` bytes would exceed what all spools may hold together.
    fn reserve(&self, more: u64) -> sys::Result<()> {
        if self.scoreboard.spooled_total().saturating_add(more) > self.max_total {
            return Err(Error {
                call: "spool",
                errno: Errno::NOSPC,
            });
        }
        self.count(more);
        Ok(())
    }

    fn count(&self, more: u64) {
        self.entry.set_spooled(self.entry.spooled() + more);
    }

    fn is_total_reached(&self) -> bool {
        self.scoreboard.spooled_total() >= self.max_total
    }

    fn release(&self, bytes: u64) {
        self.entry
            .set_spooled(self.entry.spooled().saturating_sub(bytes));
    }
}

/// One spool, written at its end.
pub(super) struct Spool<'a> {
    keeper: SpoolKeeper<'a>,
    fd: OwnedFd,
    len: u64,
    is_in_memory: bool,
    /// The file is longer than `len`.
    has_tail: bool,
}

impl<'a> Spool<'a> {
    /// An empty spool that will probably hold `expected` bytes.
    pub(super) fn new(keeper: SpoolKeeper<'a>, expected: u64) -> sys::Result<Self> {
        if expected <= IN_MEMORY
            && let Ok(fd) = file::memory_file()
        {
            return Ok(Self {
                keeper,
                fd,
                len: 0,
                is_in_memory: true,
                has_tail: false,
            });
        }
        let fd = file::temporary_file(keeper.folder)?;
        Ok(Self {
            keeper,
            fd,
            len: 0,
            is_in_memory: false,
            has_tail: false,
        })
    }

    /// A spool that the parent kept, with `len` bytes that matter.
    pub(super) fn resume(keeper: SpoolKeeper<'a>, fd: OwnedFd, len: u64) -> Self {
        keeper.entry.set_spooled(keeper.entry.spooled() + len);
        Self {
            keeper,
            fd,
            len,
            is_in_memory: len <= IN_MEMORY,
            has_tail: false,
        }
    }

    /// Bytes in it.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The file.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// No more may be spooled: what can wait has to.
    pub(super) fn is_total_reached(&self) -> bool {
        self.keeper.is_total_reached()
    }

    /// Appends all of `bytes`; on failure (disk full, total reached) the spool is worthless.
    pub(super) fn append(&mut self, bytes: &[u8]) -> sys::Result<()> {
        self.keeper.reserve(bytes.len() as u64)?;
        self.write(bytes)
    }

    /// The same beyond the total: one piece of output that was read already, and cannot be put back.
    pub(super) fn append_last_piece(&mut self, bytes: &[u8]) -> sys::Result<()> {
        self.keeper.count(bytes.len() as u64);
        self.write(bytes)
    }

    fn write(&mut self, mut bytes: &[u8]) -> sys::Result<()> {
        if self.is_in_memory && self.len + bytes.len() as u64 > IN_MEMORY {
            self.move_to_disk()?;
        }
        while !bytes.is_empty() {
            let n = fd::pwrite(self.fd.as_fd(), bytes, self.len)?;
            self.len += n as u64;
            bytes = bytes.get(n..).unwrap_or_default();
        }
        Ok(())
    }

    /// Copies a spool that has grown; the place up to which it was sent goes along.
    fn move_to_disk(&mut self) -> sys::Result<()> {
        let Ok(disk) = file::temporary_file(self.keeper.folder) else {
            // Rather in memory than not at all; the total bounds it.
            self.is_in_memory = false;
            return Ok(());
        };
        let mut buffer = [0; 8192];
        let mut at = 0;
        while at < self.len {
            let n = fd::pread(self.fd.as_fd(), &mut buffer, at)?;
            let part = buffer.get(..n).filter(|p| !p.is_empty());
            let part = part.ok_or(Error {
                call: "pread",
                errno: Errno::IO,
            })?;
            at += fd::pwrite(disk.as_fd(), part, at)? as u64;
        }
        file::seek(disk.as_fd(), file::offset(self.fd.as_fd())?)?;
        self.fd = disk;
        self.is_in_memory = false;
        self.has_tail = false;
        Ok(())
    }

    /// Only the first `len` bytes count from now on; what stands behind them is written over.
    /// The file itself is cut by `seal`: a change of size on a busy disk can wait for its journal,
    /// and a parked upload comes here each time that its client has sent a little.
    pub(super) fn rewind(&mut self, len: u64) {
        self.keeper.release(self.len.saturating_sub(len));
        self.len = len;
        self.has_tail = true;
    }

    /// Cuts the file to what counts, before a handler gets it.
    pub(super) fn seal(&mut self) -> sys::Result<()> {
        if std::mem::take(&mut self.has_tail) {
            file::truncate(self.fd.as_fd(), self.len)?;
        }
        Ok(())
    }

    /// Nothing in it is wanted any more, and the request goes on.
    pub(super) fn discard(self) {
        self.keeper.release(self.len);
    }

    /// Gives it to the parent, which counts it from now on.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }
}
