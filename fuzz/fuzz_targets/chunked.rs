//! `http::Chunked` on any bytes: split input = whole input, and httparse walks the same chunks.

#![no_main]

use caffeine::testing::http::{CHUNKED_BYTES, Chunked, Malformed};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, PartialEq)]
struct Outcome {
    body: Vec<u8>,
    consumed: usize,
    done: bool,
    error: Option<Malformed>,
}

// The first byte says how long the pieces are.
fuzz_target!(|bytes: &[u8]| {
    check_stored(bytes);
    let Some((&piece, input)) = bytes.split_first() else {
        return;
    };
    let whole = decode(input, usize::MAX);
    for piece in [1, usize::from(piece) + 1] {
        assert_eq!(decode(input, piece), whole);
    }
    if whole.done {
        assert_eq!(walk(&input[..whole.consumed]), whole.body);
    }
});

/// Feeds `input` in pieces; between them the decoder is stored and loaded.
fn decode(input: &[u8], piece: usize) -> Outcome {
    let mut decoder = Chunked::new();
    let (mut body, mut consumed) = (Vec::new(), 0);
    let mut error = None;
    'pieces: for part in input.chunks(piece.min(input.len()).max(1)) {
        let mut rest = part;
        while !rest.is_empty() && !decoder.is_done() {
            let missing = decoder.missing();
            let step = match decoder.decode(rest) {
                Ok(step) => step,
                Err(malformed) => {
                    error = Some(malformed);
                    break 'pieces;
                }
            };
            assert!(step.consumed > 0 && step.consumed <= rest.len());
            let (range, data) = (rest.as_ptr_range(), step.data.as_ptr_range());
            assert!(step.data.is_empty() || range.start <= data.start && data.end <= range.end);
            assert!(!step.done || step.consumed as u64 >= missing);
            assert_eq!(step.done, decoder.is_done());
            body.extend_from_slice(step.data);
            consumed += step.consumed;
            rest = &rest[step.consumed..];
        }
        let loaded = Chunked::from_bytes(&decoder.to_bytes());
        assert_eq!(loaded, Some(decoder));
    }
    // How far into a broken body each piece counts depends on the cuts; nobody uses it.
    Outcome {
        consumed: if error.is_some() { 0 } else { consumed },
        done: decoder.is_done(),
        body,
        error,
    }
}

/// A stored state that is not refused is one that could have been stored.
fn check_stored(bytes: &[u8]) {
    let Some((stored, rest)) = bytes.split_first_chunk::<CHUNKED_BYTES>() else {
        return;
    };
    if let Some(mut decoder) = Chunked::from_bytes(stored) {
        assert_eq!(decoder.to_bytes(), *stored);
        let _ = decoder.decode(rest);
    }
}

/// The body as httparse's chunk sizes and fields delimit it. It is more lenient, so it must agree
/// with everything that we accept, to the last byte.
fn walk(input: &[u8]) -> Vec<u8> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&input[at..])
        else {
            panic!("httparse refuses the size line at {at}");
        };
        at += line;
        if size == 0 {
            break;
        }
        let end = at + usize::try_from(size).expect("it was there");
        body.extend_from_slice(&input[at..end]);
        assert_eq!(&input[end..end + 2], b"\r\n");
        at = end + 2;
    }
    let mut fields = vec![httparse::EMPTY_HEADER; 4096];
    match httparse::parse_headers(&input[at..], &mut fields) {
        Ok(httparse::Status::Complete((length, _))) => assert_eq!(at + length, input.len()),
        other => panic!("httparse refuses the trailer section: {other:?}"),
    }
    body
}
