//! A spool: an unlinked file that holds what a client has not yet sent or taken. Small ones live
//! in memory, larger ones on disk; all together they are bounded by `max-spool-total`.
//!
//! Parked bodies stay in memory as long as all spools there are within `max-spool-memory`. A parked
//! body is written to each time that its client has sent a little, and a write to a busy disk can
//! wait for the disk's journal for longer than a worker may be held.
//!
//! A spool does not know what its bytes mean.

use crate::scoreboard::{Budget, Entry, Scoreboard, Spooled};
use crate::sys::{self, Errno, Error, fd, fd::AsFd, file};
use crate::text;
use std::ffi::CStr;
use std::fmt::{self, Display};
use std::num::NonZero;
use std::os::fd::OwnedFd;

/// Up to this size a spool is in memory: most requests that need one never touch a disk.
const IN_MEMORY: u64 = 256 * 1024;

/// Why something cannot be spooled.
#[derive(Debug)]
pub(super) enum NoRoom {
    /// `max-spool-total`, which is this, is reached.
    Limit(u64),
    /// The system has none.
    System(sys::Error),
}

impl From<sys::Error> for NoRoom {
    fn from(error: sys::Error) -> Self {
        Self::System(error)
    }
}

impl Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(total) => write!(f, "max-spool-total ({}) is reached", text::size(*total)),
            Self::System(why) => why.fmt(f),
        }
    }
}

/// Whether a disk, a quota or a file's own limit has no room for more.
fn is_full_disk(why: sys::Error) -> bool {
    matches!(why.errno, Errno::NOSPC | Errno::DQUOT | Errno::FBIG)
}

/// What every spool of a worker needs.
#[derive(Clone, Copy)]
pub(super) struct SpoolKeeper<'a> {
    pub(super) scoreboard: &'a Scoreboard,
    pub(super) entry: Entry<'a>,
    /// Where large spools are made.
    pub(super) folder: &'a CStr,
    pub(super) budget: Budget,
    /// Bytes of all spools in memory.
    pub(super) max_memory: u64,
    /// Workers that may spool responses at a time.
    pub(super) max_writers: NonZero<usize>,
}

impl SpoolKeeper<'_> {
    fn used(&self) -> (Spooled, Spooled) {
        self.scoreboard.spooled_with(self.entry.origin())
    }

    /// Whether so many more bytes of a body may be spooled.
    pub(super) fn takes_body(&self, more: u64) -> bool {
        let (all, of_address) = self.used();
        self.budget.takes_body(all, of_address, more)
    }

    /// Whether a client that has to wait for its turn may be parked in a spool: with the little of
    /// its request that is here.
    pub(super) fn check_waiting(&self) -> Result<(), NoRoom> {
        match self.budget.takes_waiting(self.scoreboard.spooled_total()) {
            true => Ok(()),
            false => Err(self.limit()),
        }
    }

    /// The limit that is reached.
    pub(super) fn limit(&self) -> NoRoom {
        NoRoom::Limit(self.budget.total)
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
        let has_room = self.has_memory_for(bytes) && self.takes_body(bytes);
        if has_room {
            self.count(Spooled::new(bytes, true, false));
        }
        has_room
    }

    /// Counts such a body no more.
    pub(super) fn take_memory_back(&self, bytes: u64) {
        self.release(Spooled::new(bytes, true, false));
    }

    fn release(&self, gone: Spooled) {
        self.entry.set_spooled(self.entry.spooled().less(gone));
    }
}

/// What a spool is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A body that is parked, whose client sends a little from time to time.
    ParkedBody,
    /// Something that is written in one go. If it is large, the disk's cache costs less than
    /// memory, since it comes in larger pieces.
    Bulk,
    /// A response, which is written in one go too.
    Response,
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
    /// It stays in memory: the disk was full when it was to move there.
    is_stuck: bool,
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
            is_stuck: false,
        })
    }

    /// A body's spool that the parent kept, with `len` bytes that matter.
    pub(super) fn resume(keeper: SpoolKeeper<'a>, fd: OwnedFd, len: u64) -> Self {
        let is_in_memory = file::is_in_memory(fd.as_fd());
        keeper.count(Spooled::new(len, is_in_memory, false));
        Self {
            keeper,
            fd,
            len,
            is_in_memory,
            used_for: Use::ParkedBody,
            has_tail: false,
            is_stuck: false,
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

    /// Whether no more of this response may be spooled: then its handler has to wait. One client
    /// may have as much as one address, also if it is one of many behind a proxy.
    pub(super) fn is_full(&self) -> bool {
        let (all, of_address) = self.keeper.used();
        self.is_stuck
            || self.len >= self.keeper.budget.share()
            || self.keeper.budget.is_full(all, of_address)
    }

    /// So many of its bytes.
    fn spooled(&self, bytes: u64) -> Spooled {
        Spooled::new(bytes, self.is_in_memory, self.used_for == Use::Response)
    }

    /// Appends all of `bytes`. If it fails (disk full), the spool is worthless. The caller has
    /// asked before whether the limits leave room.
    pub(super) fn append(&mut self, bytes: &[u8]) -> sys::Result<()> {
        match self.write(bytes)? {
            None => Ok(()),
            Some(why) => Err(why),
        }
    }

    /// Appends as much as the disk has room for: so many bytes.
    pub(super) fn append_some(&mut self, bytes: &[u8]) -> sys::Result<usize> {
        let before = self.len;
        match self.write(bytes)? {
            Some(why) if !is_full_disk(why) => Err(why),
            _ => Ok(usize::try_from(self.len - before).unwrap_or(bytes.len())),
        }
    }

    /// Writes as much as can be written, and says why it was not all.
    fn write(&mut self, mut bytes: &[u8]) -> sys::Result<Option<sys::Error>> {
        let more = bytes.len() as u64;
        if self.is_in_memory && !self.is_stuck && !self.has_memory_for(more) {
            self.move_to_disk()?;
        }
        self.keeper.count(self.spooled(more));
        while !bytes.is_empty() {
            match fd::pwrite(self.fd.as_fd(), bytes, self.len) {
                Ok(n) => {
                    self.len += n as u64;
                    bytes = bytes.get(n..).unwrap_or_default();
                }
                Err(why) => {
                    self.keeper.release(self.spooled(bytes.len() as u64));
                    return Ok(Some(why));
                }
            }
        }
        Ok(None)
    }

    fn has_memory_for(&self, more: u64) -> bool {
        self.len.saturating_add(more) <= IN_MEMORY
            || (self.used_for == Use::ParkedBody && self.keeper.has_memory_for(more))
    }

    /// Copies a spool that has grown; the place up to which it was sent goes along.
    fn move_to_disk(&mut self) -> sys::Result<()> {
        let Ok(disk) = file::temporary_file(self.keeper.folder) else {
            // It stays in memory: the total bounds that too.
            return Ok(());
        };
        match self.copy_to(&disk) {
            Err(why) if self.used_for == Use::Response && is_full_disk(why) => {
                self.is_stuck = true;
                return Ok(());
            }
            other => other?,
        }
        file::seek(disk.as_fd(), file::offset(self.fd.as_fd())?)?;
        self.keeper.release(self.spooled(self.len));
        self.fd = disk;
        self.is_in_memory = false;
        self.keeper.count(self.spooled(self.len));
        self.has_tail = false;
        Ok(())
    }

    fn copy_to(&self, disk: &OwnedFd) -> sys::Result<()> {
        let mut buffer = [0; 8192];
        let mut at = 0;
        while at < self.len {
            let n = fd::pread(self.fd.as_fd(), &mut buffer, at)?;
            let part = buffer.get(..n).filter(|p| !p.is_empty());
            let part = part.ok_or(Error::new(&"pread", Errno::IO))?;
            at += fd::pwrite(disk.as_fd(), part, at)? as u64;
        }
        Ok(())
    }

    /// Only the first `len` bytes count from now on; the next bytes are written over the others.
    /// `seal` cuts the file itself: on a busy disk a change of size can wait for the journal, and a
    /// parked upload comes here each time that its client has sent a little.
    pub(super) fn rewind(&mut self, len: u64) {
        let gone = self.len.saturating_sub(len);
        self.keeper.release(self.spooled(gone));
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
        self.keeper.release(self.spooled(self.len));
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
            budget: Budget::new(100 * MIB, 0),
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
            (Use::Response, 4 * MIB, 2 * MIB, false),
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
            assert_eq!(
                board.spooled_total(),
                Spooled::new(spool.len(), in_memory, false)
            );
        }
        let mut found = vec![0; 1500 * 1024 + 1];
        let n = fd::pread(spool.fd().as_fd(), &mut found, 0).unwrap();
        assert!(n == 1500 * 1024 && found[..n].iter().all(|&byte| byte == 7));
        spool.discard();
        assert_eq!(board.spooled_total(), Spooled::default());
    }
}
