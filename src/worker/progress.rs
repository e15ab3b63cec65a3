//! How far a body has been read, and how the next worker learns of it.
//!
//! Layout of the spool of an incomplete body: body, then head, then a trailer of fixed size. Head
//! and trailer stand behind the body so that they can be cut off before the launch: a handler that
//! reopens or rewinds its stdin must see the body and nothing else.

use super::spool::{Spool, SpoolKeeper};
use crate::http::{BodyLength, CHUNKED_BYTES, Chunked};
use crate::sys::{self, Errno, Error, fd, fd::AsFd, file};
use std::os::fd::OwnedFd;

/// First bytes of the trailer; the last digit counts the layouts.
const MAGIC: &[u8; 4] = b"CAF1";
const TRAILER_BYTES: usize = 4 + 8 + 8 + 1 + 8 + CHUNKED_BYTES + 1;

/// How far a body has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BodyProgress {
    pub(super) left: Left,
    /// Decoded bytes so far.
    pub(super) total: u64,
    /// 100 (Continue) is due, and was not sent yet.
    pub(super) wants_continue: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Bytes(u64),
    Chunks(Chunked),
}

impl BodyProgress {
    /// At the start of a body.
    pub(super) fn new(body: BodyLength, expect_continue: bool) -> Self {
        let left = match body {
            BodyLength::None => Left::Bytes(0),
            BodyLength::Length(n) => Left::Bytes(n),
            BodyLength::Chunked => Left::Chunks(Chunked::new()),
        };
        Self {
            left,
            total: 0,
            wants_continue: expect_continue,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        match &self.left {
            Left::Bytes(n) => *n == 0,
            Left::Chunks(chunked) => chunked.is_done(),
        }
    }

    pub(super) fn missing(&self) -> u64 {
        match &self.left {
            Left::Bytes(n) => *n,
            Left::Chunks(chunked) => chunked.missing(),
        }
    }

    pub(super) fn to_trailer(self, head_len: usize) -> [u8; TRAILER_BYTES] {
        let (kind, left, chunks) = match self.left {
            Left::Bytes(n) => (0, n, [0; CHUNKED_BYTES]),
            Left::Chunks(chunked) => (1, 0, chunked.to_bytes()),
        };
        let mut trailer = [0; TRAILER_BYTES];
        let parts: [&[u8]; 7] = [
            MAGIC,
            &(head_len as u64).to_le_bytes(),
            &self.total.to_le_bytes(),
            &[kind],
            &left.to_le_bytes(),
            &chunks,
            &[u8::from(self.wants_continue)],
        ];
        for (place, byte) in trailer.iter_mut().zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        trailer
    }

    /// The progress and the length of the head that stands before the trailer.
    fn from_trailer(trailer: &[u8; TRAILER_BYTES]) -> Option<(Self, u64)> {
        let rest = trailer.strip_prefix(MAGIC)?;
        let (head_len, rest) = rest.split_first_chunk::<8>()?;
        let (total, rest) = rest.split_first_chunk::<8>()?;
        let (kind, rest) = rest.split_first()?;
        let (left, rest) = rest.split_first_chunk::<8>()?;
        let (chunks, rest) = rest.split_first_chunk::<CHUNKED_BYTES>()?;
        let left = match kind {
            0 => Left::Bytes(u64::from_le_bytes(*left)),
            1 => Left::Chunks(Chunked::from_bytes(chunks)?),
            _ => return None,
        };
        let total = u64::from_le_bytes(*total);
        let wants_continue = rest == [1];
        Some((
            Self {
                left,
                total,
                wants_continue,
            },
            u64::from_le_bytes(*head_len),
        ))
    }
}

/// What a spool of an unfinished body says.
pub(super) struct Resumed<'a> {
    pub(super) progress: BodyProgress,
    pub(super) head: Vec<u8>,
    pub(super) spool: Spool<'a>,
}

/// Takes up a body where an earlier worker has stopped: reads head and trailer. The next piece of
/// the body is written over them.
pub(super) fn resume<'a>(keeper: SpoolKeeper<'a>, fd: OwnedFd) -> sys::Result<Resumed<'a>> {
    let broken = Error::new(&"pread", Errno::PROTO);
    let size = file::stat(fd.as_fd())?.size;
    let mut trailer = [0; TRAILER_BYTES];
    let trailer_at = size.checked_sub(TRAILER_BYTES as u64).ok_or(broken)?;
    read_exactly(&fd, &mut trailer, trailer_at)?;
    let (progress, head_len) = BodyProgress::from_trailer(&trailer).ok_or(broken)?;
    if head_len > size || progress.total.checked_add(head_len) != Some(trailer_at) {
        return Err(broken);
    }
    let mut head = vec![0; usize::try_from(head_len).map_err(|_| broken)?];
    read_exactly(&fd, &mut head, progress.total)?;
    let mut spool = Spool::resume(keeper, fd, size);
    spool.rewind(progress.total);
    Ok(Resumed {
        progress,
        head,
        spool,
    })
}

pub(super) fn read_exactly(fd: &OwnedFd, buffer: &mut [u8], at: u64) -> sys::Result<()> {
    let n = fd::pread(fd.as_fd(), buffer, at)?;
    if n == buffer.len() {
        Ok(())
    } else {
        Err(Error::new(&"pread", Errno::PROTO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_survives_the_trailer() {
        let mut chunked = Chunked::new();
        chunked.decode(b"10\r\nabc").unwrap();
        for left in [Left::Bytes(0), Left::Bytes(u64::MAX), Left::Chunks(chunked)] {
            for wants_continue in [false, true] {
                let progress = BodyProgress {
                    left,
                    total: 77,
                    wants_continue,
                };
                let trailer = progress.to_trailer(1234);
                assert_eq!(BodyProgress::from_trailer(&trailer), Some((progress, 1234)));
            }
        }
    }

    #[test]
    fn a_damaged_trailer_is_refused() {
        let progress = BodyProgress::new(BodyLength::Chunked, false);
        let good = progress.to_trailer(10);
        for place in [0, 3, 20] {
            let mut bad = good;
            bad[place] ^= 0xff;
            assert_eq!(BodyProgress::from_trailer(&bad), None, "byte {place}");
        }
    }
}
