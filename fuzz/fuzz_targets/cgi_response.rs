//! `cgi::OutputParser` on any output of a handler, against its promises and against httparse.
//!
//! Promises: the same result however the output is split, slices of the head only, nothing that
//! could inject a line or speak about the connection. The response that is built from it is one
//! that httparse reads back, field by field.

#![no_main]

use caffeine::testing::cgi::{BadOutput, Output, OutputParser};
use caffeine::testing::http::{
    self, Framing, Progress, ResponseHead, Version, is_field_value, is_token,
};
use libfuzzer_sys::fuzz_target;

const MAX_HEAD: usize = 4096;

/// What a head means, without its addresses.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    status: u16,
    reason: Option<Vec<u8>>,
    local: Option<Vec<u8>>,
    content_length: Option<u64>,
    chunked: bool,
    head_length: usize,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

type Outcome = Result<Option<Told>, BadOutput>;

// The first byte says how long the pieces are.
fuzz_target!(|bytes: &[u8]| {
    let Some((&piece, bytes)) = bytes.split_first() else {
        return;
    };
    let mut parser = OutputParser::default();
    let whole = parse(&mut parser, bytes, MAX_HEAD);
    for piece in [1, usize::from(piece) + 1] {
        // A parser that is used again must know nothing of what it saw before.
        parser.reset();
        assert_eq!(in_pieces(&mut parser, bytes, piece), whole);
    }
    check_prefixes(bytes, &whole);
    check_limit(bytes, &whole);
    if let Ok(Some(told)) = &whole {
        read_back(told);
    }
});

fn parse(parser: &mut OutputParser, bytes: &[u8], max_head: usize) -> Outcome {
    Ok(match parser.parse(bytes, max_head)? {
        Progress::Partial => None,
        Progress::Complete(output) => {
            assert!(output.head_length <= max_head);
            check_output(bytes, &output);
            Some(tell(&output))
        }
    })
}

fn in_pieces(parser: &mut OutputParser, bytes: &[u8], piece: usize) -> Outcome {
    let mut end = 0;
    while end + piece < bytes.len() {
        end += piece;
        if let told @ Some(_) = parse(parser, &bytes[..end], MAX_HEAD)? {
            return Ok(told);
        }
    }
    parse(parser, bytes, MAX_HEAD)
}

/// A fresh parser says of each prefix nothing, or what it says of the whole.
fn check_prefixes(bytes: &[u8], whole: &Outcome) {
    let step = bytes.len() / 50 + 1;
    for cut in (0..bytes.len()).step_by(step) {
        match parse(&mut OutputParser::default(), &bytes[..cut], MAX_HEAD) {
            Ok(None) => {}
            earlier => assert_eq!(earlier, *whole),
        }
    }
}

/// A smaller limit refuses more, and only for its length.
fn check_limit(bytes: &[u8], whole: &Outcome) {
    match parse(&mut OutputParser::default(), bytes, 32) {
        Ok(None) => assert!(bytes.len() < 32),
        Err(BadOutput::TooLong) => {}
        limited => assert_eq!(limited, *whole),
    }
}

fn check_output(bytes: &[u8], output: &Output<'_>) {
    assert!(bytes[..output.head_length].ends_with(b"\n"));
    let head = bytes[..output.head_length].as_ptr_range();
    let inside = |part: &[u8]| {
        let part = part.as_ptr_range();
        head.start <= part.start && part.end <= head.end
    };
    assert!((200..=599).contains(&output.status));
    for (name, value) in output.fields() {
        assert!(inside(name) && is_token(name) && !is_removed(name));
        assert!(inside(value) && is_field_value(value) && http::trim(value) == value);
    }
    for part in [output.reason, output.local] {
        assert!(part.is_none_or(|part| inside(part) && is_field_value(part)));
    }
    assert!(output.reason.is_none_or(|reason| !reason.is_empty()));
    if let Some(path) = output.local {
        assert!(!bytes.starts_with(b"HTTP/") && output.fields().next().is_none());
        assert!(path.starts_with(b"/") && !path.starts_with(b"//") && !path.contains(&b'#'));
    }
    let dates = output
        .fields()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"date"));
    assert!(dates.count() <= 1);
}

/// Of one connection only, or Caffeine's to say.
fn is_removed(name: &[u8]) -> bool {
    let names = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "status",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    names
        .iter()
        .any(|removed| name.eq_ignore_ascii_case(removed.as_bytes()))
}

fn tell(output: &Output<'_>) -> Told {
    let owned = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
    Told {
        status: output.status,
        reason: owned(output.reason),
        local: owned(output.local),
        content_length: output.content_length,
        chunked: output.chunked,
        head_length: output.head_length,
        fields: output
            .fields()
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect(),
    }
}

/// The response's head as the worker builds it, read by httparse: no line more, none less.
fn read_back(told: &Told) {
    let mut head = Vec::new();
    let start = ResponseHead {
        status: told.status,
        reason: told.reason.as_deref(),
        date: &http::imf_fixdate(0),
        version: Version::Http11,
        close: true,
        framing: Framing::Length(0),
    };
    http::begin(&mut head, &start);
    let passed: Vec<_> = told
        .fields
        .iter()
        .filter(|(name, value)| http::push_field(&mut head, name, value))
        .collect();
    http::finish(&mut head);
    let mut fields = vec![httparse::EMPTY_HEADER; MAX_HEAD];
    let mut response = httparse::Response::new(&mut fields);
    let length = response.parse(&head).expect("a response").unwrap();
    assert_eq!((length, response.code), (head.len(), Some(told.status)));
    // Date, Server, Connection and Content-Length stand before the handler's own.
    let own = &response.headers[4..];
    assert_eq!(own.len(), passed.len());
    for (field, (name, value)) in own.iter().zip(passed) {
        assert_eq!(
            (field.name.as_bytes(), field.value),
            (&name[..], &value[..])
        );
    }
}
