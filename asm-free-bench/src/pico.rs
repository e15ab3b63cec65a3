//! picohttpparser (C), behind one safe function. The only unsafe code of the bench.

use picohttpparser_sys::{phr_header, phr_parse_request};
use std::ptr;

/// Fields of one head.
const MAX_FIELDS: usize = 100;

/// The length of the head that `bytes` begin with; 0 if they do not.
pub(crate) fn head_length(bytes: &[u8]) -> usize {
    let mut fields = [phr_header::default(); MAX_FIELDS];
    let (mut method, mut target) = (ptr::null(), ptr::null());
    let (mut method_length, mut target_length, mut version) = (0, 0, 0);
    let mut count = fields.len();
    #[expect(unsafe_code, reason = "a C library")]
    // SAFETY: every pointer is to a live local, the counts say how large they are, and the parser
    // reads no more than the bytes.
    let parsed = unsafe {
        phr_parse_request(
            bytes.as_ptr().cast(),
            bytes.len(),
            &raw mut method,
            &raw mut method_length,
            &raw mut target,
            &raw mut target_length,
            &raw mut version,
            fields.as_mut_ptr(),
            &raw mut count,
            0,
        )
    };
    usize::try_from(parsed).unwrap_or(0)
}
