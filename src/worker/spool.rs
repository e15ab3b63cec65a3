//! A spool: an unlinked file that holds what a client has not yet sent or taken. Small ones live
//! in memory, larger ones on disk; all together they are bounded by `max-spool-total`.
//!
//! Parked bodies stay in memory while all that is there is within `max-spool-memory`: they are written
//! to each time that their client has sent a little, and a write to a busy disk can wait for its
//! journal for longer than a worker may be held.
//!
//! Knows nothing of what it holds.

use crate::scoreboard::{Entry, Scoreboard, Spooled};
use crate::sys::{self, Errno, Error, fd, fd::AsFd, file};
use std::ffi::CStr;
use std::num::NonZero;
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
    /// Bytes of all spools in memory.
    pub(super) max_memory: u64,
    /// Workers that put responses away at a time.
    pub(super) max_writers: NonZero<usize>,
}

impl SpoolKeeper<'_> {
    /// ENOSPC when `more` bytes would exceed what all spools may hold together.
    fn check_room(&self, more: u64) -> sys::Result<()> {
        let total = self.scoreboard.spooled_total().bytes;
        if total.saturating_add(more) > self.max_total {
            return Err(Error {
                call: &"spool",
                errno: Errno::NOSPC,
            });
        }
        Ok(())
    }

    /// Whether so many more bytes may be kept in memory.
    fn has_memory_for(&self, more: u64) -> bool {
        let in_memory = self.scoreboard.spooled_total().in_memory;
        in_memory.saturating_add(more) <= self.max_memory
    }

    fn count(&self, more: Spooled) {
        self.entry.set_spooled(self.entry.spooled().plus(more));
    }

    /// Counts a body of this size that is kept in a worker's own memory; false if there is no room.
    pub(super) fn lend_memory(&self, bytes: u64) -> bool {
        let has_room = self.has_memory_for(bytes) && self.check_room(bytes).is_ok();
        if has_room {
            self.count(Spooled::new(bytes, true));
        }
        has_room
    }

    /// It is not kept there any more.
    pub(super) fn take_memory_back(&self, bytes: u64) {
        self.release(Spooled::new(bytes, true));
    }

    fn is_total_reached(&self) -> bool {
        self.scoreboard.spooled_total().bytes >= self.max_total
    }

    fn release(&self, gone: Spooled) {
        self.entry.set_spooled(self.entry.spooled().less(gone));
    }
}

/// What a spool is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A body that has to wait for its client, again and again.
    ParkedBody,
    /// Something that is written at once. Where it is large a disk's cache, in larger pieces than
    /// memory has them, costs less than memory.
    Bulk,
}

/// One spool, written at its end.
pub(super) struct Spool<'a> {
    keeper: SpoolKeeper<'a>,
    fd: OwnedFd,
    len: u64,
    is_in_memory: bool,
    used_for: Use,
    /// The file is longer than `len`.
    has_tail: bool,
}

impl<'a> Spool<'a> {
    /// An empty spool that will probably hold `expected` bytes.
    pub(super) fn new(keeper: SpoolKeeper<'a>, used_for: Use, expected: u64) -> sys::Result<Self> {
        let fits = expected <= IN_MEMORY
            || (used_for == Use::ParkedBody && keeper.has_memory_for(expected));
        let memory = if fits { file::memory_file().ok() } else { None };
        let is_in_memory = memory.is_some();
        let fd = match memory {
            Some(fd) => fd,
            None => file::temporary_file(keeper.folder)?,
        };
        Ok(Self {
            keeper,
            fd,
            len: 0,
            is_in_memory,
            used_for,
            has_tail: false,
        })
    }

    /// A body's spool that the parent kept, with `len` bytes that matter.
    pub(super) fn resume(keeper: SpoolKeeper<'a>, fd: OwnedFd, len: u64) -> Self {
        let is_in_memory = file::is_in_memory(fd.as_fd());
        keeper.count(Spooled::new(len, is_in_memory));
        Self {
            keeper,
            fd,
            len,
            is_in_memory,
            used_for: Use::ParkedBody,
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
        self.keeper.check_room(bytes.len() as u64)?;
        self.write(bytes)
    }

    /// The same beyond the total: one piece of output that was read already, and cannot be put back.
    pub(super) fn append_last_piece(&mut self, bytes: &[u8]) -> sys::Result<()> {
        self.write(bytes)
    }

    fn write(&mut self, mut bytes: &[u8]) -> sys::Result<()> {
        let more = bytes.len() as u64;
        if self.is_in_memory && !self.has_memory_for(more) {
            self.move_to_disk()?;
        }
        self.keeper.count(Spooled::new(more, self.is_in_memory));
        while !bytes.is_empty() {
            let n = fd::pwrite(self.fd.as_fd(), bytes, self.len)?;
            self.len += n as u64;
            bytes = bytes.get(n..).unwrap_or_default();
        }
        Ok(())
    }

    fn has_memory_for(&self, more: u64) -> bool {
        self.len.saturating_add(more) <= IN_MEMORY
            || (self.used_for == Use::ParkedBody && self.keeper.has_memory_for(more))
    }

    /// Copies a spool that has grown; the place up to which it was sent goes along.
    fn move_to_disk(&mut self) -> sys::Result<()> {
        let Ok(disk) = file::temporary_file(self.keeper.folder) else {
            // Rather in memory than not at all; the total bounds it.
            return Ok(());
        };
        let mut buffer = [0; 8192];
        let mut at = 0;
        while at < self.len {
            let n = fd::pread(self.fd.as_fd(), &mut buffer, at)?;
            let part = buffer.get(..n).filter(|p| !p.is_empty());
            let part = part.ok_or(Error {
                call: &"pread",
                errno: Errno::IO,
            })?;
            at += fd::pwrite(disk.as_fd(), part, at)? as u64;
        }
        file::seek(disk.as_fd(), file::offset(self.fd.as_fd())?)?;
        self.fd = disk;
        self.keeper.release(Spooled::new(self.len, true));
        self.keeper.count(Spooled::new(self.len, false));
        self.is_in_memory = false;
        self.has_tail = false;
        Ok(())
    }

    /// Only the first `len` bytes count from now on; what stands behind them is written over.
    /// The file itself is cut by `seal`: a change of size on a busy disk can wait for its journal,
    /// and a parked upload comes here each time that its client has sent a little.
    pub(super) fn rewind(&mut self, len: u64) {
        let gone = self.len.saturating_sub(len);
        self.keeper.release(Spooled::new(gone, self.is_in_memory));
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
        let gone = Spooled::new(self.len, self.is_in_memory);
        self.keeper.release(gone);
    }

    /// Gives it to the parent, which counts it from now on.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::Slot;

    const MIB: u64 = 1024 * 1024;

    fn keeper(board: &Scoreboard, max_memory: u64) -> SpoolKeeper<'_> {
        SpoolKeeper {
            scoreboard: board,
            entry: board.entry(Slot(0)),
            folder: c"/tmp",
            max_total: 100 * MIB,
            max_memory,
            max_writers: NonZero::<usize>::MIN,
        }
    }

    #[test]
    fn parked_bodies_are_in_memory_as_long_as_there_is_room() {
        for (used_for, max_memory, expected, in_memory) in [
            (Use::ParkedBody, 4 * MIB, 2 * MIB, true),
            (Use::ParkedBody, MIB, 2 * MIB, false),
            (Use::ParkedBody, 0, IN_MEMORY, true),
            (Use::Bulk, 4 * MIB, 2 * MIB, false),
            (Use::Bulk, 0, IN_MEMORY, true),
        ] {
            let board = Scoreboard::new(1).unwrap();
            let keeper = keeper(&board, max_memory);
            let spool = Spool::new(keeper, used_for, expected).unwrap();
            assert_eq!(spool.is_in_memory, in_memory);
        }
    }

    #[test]
    fn a_body_that_outgrows_memory_moves_to_disk_with_all_that_is_counted() {
        let board = Scoreboard::new(1).unwrap();
        let mut spool = Spool::new(keeper(&board, MIB), Use::ParkedBody, 0).unwrap();
        let piece = vec![7; 300 * 1024];
        for in_memory in [true, true, true, false, false] {
            spool.append(&piece).unwrap();
            assert_eq!(spool.is_in_memory, in_memory);
            assert_eq!(board.spooled_total(), Spooled::new(spool.len(), in_memory));
        }
        let mut found = vec![0; 1500 * 1024 + 1];
        let n = fd::pread(spool.fd().as_fd(), &mut found, 0).unwrap();
        assert!(n == 1500 * 1024 && found[..n].iter().all(|&byte| byte == 7));
        spool.discard();
        assert_eq!(board.spooled_total(), Spooled::default());
    }
}
