//! Mapped memory: words that the parent shares with the processes it forks (atomics, so that no
//! layout, padding or pointer can differ between two sides), and large buffers.

use super::call::{Error, Result};
use super::fault;
use std::ffi::c_void;
use std::sync::atomic::AtomicU64;

fn map(bytes: usize, sharing: libc::c_int) -> Result<*mut c_void> {
    if let Some(errno) = fault::due("mmap") {
        return Err(Error::new(&"mmap", errno));
    }
    // SAFETY: an anonymous mapping at an address of the kernel's choice.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            sharing | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(Error::last(&"mmap"));
    }
    Ok(start)
}

/// mmap(2) of `len` zeroed words, MAP_SHARED: it survives fork and is seen by all sides. Never
/// unmapped: it lives as long as the process.
pub fn shared_words(len: usize) -> Result<&'static [AtomicU64]> {
    let bytes = size_of::<AtomicU64>() * len.max(1);
    let start = map(bytes, libc::MAP_SHARED)?;
    // SAFETY: the mapping holds `len` words, page-aligned, zeroed and never unmapped; atomics may
    // be read while other processes write.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), len) })
}

/// A buffer with a mapping of its own, zeroed. When it is dropped its pages go back to the kernel,
/// and this process never uses them again: whoever got them by `vmsplice` may still read them.
#[derive(Debug)]
pub(crate) struct Region {
    start: *mut u8,
    len: usize,
}

impl Region {
    /// mmap(2) of `len` bytes, at least one; in huge pages if the machine gives them (madvise(2)).
    pub(crate) fn new(len: usize) -> Result<Self> {
        let len = len.max(1);
        let start = map(len, libc::MAP_PRIVATE)?;
        #[cfg(target_os = "linux")]
        // SAFETY: advice about this mapping; it may be refused.
        unsafe {
            libc::madvise(start, len, libc::MADV_HUGEPAGE)
        };
        let start = start.cast();
        Ok(Self { start, len })
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping has `len` readable bytes and is borrowed for as long as they are.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// All of it, to be written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; nobody else writes to it.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is this region's own and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_zeroed_and_keeps_what_is_written() {
        let mut region = Region::new(3 << 20).unwrap();
        assert!(region.bytes().iter().all(|&byte| byte == 0));
        region.bytes_mut()[(3 << 20) - 1] = 7;
        assert_eq!(region.bytes().last(), Some(&7));
        assert_eq!(Region::new(0).unwrap().bytes().len(), 1);
    }
}
