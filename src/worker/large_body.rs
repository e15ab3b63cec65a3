//! A large body on its way from a client that sends without a stop: in memory of its own, from which
//! the handler gets it. A spool would cost a file, and one copy more.

use super::spool::SpoolKeeper;
use crate::sys::memory::Region;
use crate::sys::{self, socket};
use std::os::fd::BorrowedFd;

/// A body whose length was told.
pub(super) struct LargeBody {
    region: Region,
    len: usize,
}

impl LargeBody {
    /// Room for a body of this size, which begins with these pieces; `None` if it has to be spooled.
    pub(super) fn new(keeper: SpoolKeeper<'_>, whole: u64, pieces: [&[u8]; 2]) -> Option<Self> {
        let size = usize::try_from(whole).ok()?;
        if !keeper.lend_memory(whole) {
            return None;
        }
        let Ok(region) = Region::new(size) else {
            keeper.take_memory_back(whole);
            return None;
        };
        let mut large = Self { region, len: 0 };
        for piece in pieces {
            let room = large.region.bytes_mut().get_mut(large.len..);
            room.and_then(|room| room.get_mut(..piece.len()))?
                .copy_from_slice(piece);
            large.len += piece.len();
        }
        Some(large)
    }

    /// What has arrived of it.
    pub(super) fn bytes(&self) -> &[u8] {
        self.region.bytes().get(..self.len).unwrap_or_default()
    }

    pub(super) fn size(&self) -> u64 {
        self.region.bytes().len() as u64
    }

    /// Takes what has arrived, without a copy on its way; 0 is the client's FIN.
    pub(super) fn receive(&mut self, client: BorrowedFd<'_>) -> sys::Result<usize> {
        let room = self.region.bytes_mut().get_mut(self.len..);
        let n = socket::receive(client, room.unwrap_or_default())?;
        self.len += n;
        Ok(n)
    }
}
