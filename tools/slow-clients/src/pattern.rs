//! Contents that differ at every place and from transfer to transfer, so that a lost, doubled or
//! mixed-up piece changes the hash.

use sha2::{Digest, Sha256};

/// Transfers share this many contents, so that each is hashed once for all.
pub const VARIANTS: u64 = 16;

fn word(variant: u64, index: u64) -> u64 {
    // splitmix64
    let mut z = (index ^ (variant << 48)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 29)
}

/// Fills a buffer with what stands at `offset`, a multiple of 8.
pub fn fill(buffer: &mut [u8], id: u64, offset: u64) {
    for (index, place) in (offset / 8..).zip(buffer.chunks_mut(8)) {
        let bytes = word(id % VARIANTS, index).to_le_bytes();
        place.copy_from_slice(&bytes[..place.len()]);
    }
}

/// All of it.
pub fn whole(id: u64, size: usize) -> Vec<u8> {
    let mut all = vec![0; size];
    fill(&mut all, id, 0);
    all
}

/// SHA-256 in hexadecimal digits.
pub fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// The hash of all of it.
pub fn hash(id: u64, size: usize) -> String {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut at = 0;
    while at < size {
        let part = &mut buffer[..(size - at).min(1 << 16)];
        fill(part, id, at as u64);
        hash.update(&*part);
        at += part.len();
    }
    hex(hash)
}
