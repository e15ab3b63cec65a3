//! Buffers through which much is moved.

use std::ops::{Deref, DerefMut};

/// Bytes of a page, or of a part of one.
const PAGE: usize = 4096;

/// Zeroed bytes that begin where a page does, as those in pipes and in the page cache do.
///
/// The kernel copies by `rep movsb`. Zen 3 does that at 3 GB/s in place of 40 if the target lies 1 to
/// 31 bytes behind the source modulo a page, and malloc puts large pieces 16 bytes behind a page.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    len: usize,
}

impl Buffer {
    pub(super) fn new(len: usize) -> Self {
        let bytes = vec![0; PAGE + len].into_boxed_slice();
        let start = bytes.as_ptr().align_offset(PAGE);
        Self { bytes, start, len }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let buffer = self.bytes.get(self.start..self.start + self.len);
        buffer.unwrap_or_default()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let buffer = self.bytes.get_mut(self.start..self.start + self.len);
        buffer.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_begins_with_a_page_and_has_its_length() {
        for len in [0, 1, 64 * 1024, 1 << 20] {
            let mut buffer = Buffer::new(len);
            assert_eq!(buffer.as_ptr() as usize % 4096, 0, "{len}");
            assert_eq!(buffer.len(), len);
            buffer.fill(7);
            assert_eq!(
                buffer.iter().map(|&byte| usize::from(byte)).sum::<usize>(),
                7 * len
            );
        }
    }
}
