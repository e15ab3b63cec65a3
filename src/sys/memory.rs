//! Memory shared between the parent and the processes it forks: words, each an atomic, so that no
//! layout, padding or pointer can differ between two sides.

use super::{Error, Result, fault};
use std::sync::atomic::AtomicU64;

/// mmap(2) of `len` zeroed words, MAP_SHARED: it survives fork and is seen by all sides. Never
/// unmapped: it lives as long as the process.
pub fn shared_words(len: usize) -> Result<&'static [AtomicU64]> {
    let bytes = size_of::<AtomicU64>() * len.max(1);
    if let Some(errno) = fault::due("mmap") {
        return Err(Error {
            call: "mmap",
            errno,
        });
    }
    // SAFETY: an anonymous mapping at an address of the kernel's choice.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(Error::last("mmap"));
    }
    // SAFETY: the mapping holds `len` words, page-aligned, zeroed and never unmapped; atomics may
    // be read while other processes write.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), len) })
}
