//! What an old server may say to the new one: any bytes are a record or nothing.
//!
//! Oracles: whatever is accepted is written in the same bytes again, and read from them as the same
//! record; nothing shorter or longer is accepted.

#![no_main]

use caffeine::testing::handover::{RECORD_BYTES, decode, encode};
use libfuzzer_sys::fuzz_target;

// The first bytes of a record; zeroes follow, as in most.
fuzz_target!(|bytes: &[u8]| {
    assert!(bytes.len() == RECORD_BYTES || decode(bytes).is_none());
    let mut wire = [0; RECORD_BYTES];
    for (place, byte) in wire.iter_mut().zip(bytes) {
        *place = *byte;
    }
    if let Some(record) = decode(&wire) {
        let again = encode(&record);
        assert_eq!(again, wire, "{record:?}");
        assert_eq!(decode(&again), Some(record));
    }
});
