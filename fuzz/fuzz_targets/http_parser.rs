//! `http::parse` on any bytes, against its own promises and against httparse.
//!
//! Promises: slices lie inside the input, a prefix never says more than the whole, what follows the
//! head changes nothing, and the target of a good head can be taken apart and decoded.
//!
//! Differences from httparse that are intended, with their reasons: [`compare`] where we are more
//! lenient, [`is_intended`] where we are stricter. Any other difference is a crash.

#![no_main]

use caffeine::testing::http::{
    DecodedPath, FieldStore, Head, HeadLimits, Malformed, Progress, is_field_value, is_token,
    parse, split,
};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits {
    max_head: 16 * 1024,
    max_fields: 100,
    max_target: 8 * 1024,
};

/// What is compared between two runs: all of a head but its addresses.
type Outcome = Result<Option<String>, Malformed>;

fuzz_target!(|bytes: &[u8]| {
    let whole = outcome(bytes, &LIMITS);
    check_prefixes(bytes, &whole);
    check_small_limits(bytes, &whole);
    let mut store = FieldStore::new();
    let ours = parse(bytes, &mut store, &LIMITS);
    if let Ok(Progress::Complete(head)) = &ours {
        check_head(bytes, head);
        assert_eq!(outcome(&bytes[..head.length], &LIMITS), whole);
    }
    compare(bytes, &ours);
});

fn outcome(bytes: &[u8], limits: &HeadLimits) -> Outcome {
    let mut store = FieldStore::new();
    Ok(match parse(bytes, &mut store, limits)? {
        Progress::Partial => None,
        Progress::Complete(head) => Some(format!("{head:?}")),
    })
}

/// Each prefix is partial or says what the whole says. All cuts of short inputs, some of long ones.
fn check_prefixes(bytes: &[u8], whole: &Outcome) {
    let step = bytes.len() / 100 + 1;
    for cut in (0..bytes.len()).step_by(step) {
        match outcome(&bytes[..cut], &LIMITS) {
            Ok(None) => {}
            earlier => assert_eq!(earlier, *whole),
        }
    }
}

/// Smaller limits refuse more, and only with the limits' own errors.
fn check_small_limits(bytes: &[u8], whole: &Outcome) {
    let limits = HeadLimits {
        max_head: 64,
        max_fields: 2,
        max_target: 8,
    };
    match outcome(bytes, &limits) {
        Ok(Some(head)) => assert_eq!(Ok(Some(head)), *whole),
        Ok(None) => assert!(bytes.len() < limits.max_head),
        Err(malformed) => {
            assert!(matches!(malformed.status(), 414 | 431) || Err(malformed) == *whole)
        }
    }
}

fn check_head(bytes: &[u8], head: &Head<'_>) {
    assert!(head.length <= bytes.len());
    assert!(bytes[..head.length].ends_with(b"\r\n\r\n"));
    let range = bytes.as_ptr_range();
    let inside = |slice: &[u8]| {
        let slice = slice.as_ptr_range();
        range.start <= slice.start && slice.end <= range.end
    };
    assert!(inside(head.method) && is_token(head.method));
    assert!(inside(head.target) && !head.target.is_empty());
    assert!(head.host.is_none_or(inside));
    for (name, value) in head.fields {
        assert!(inside(name) && is_token(name));
        assert!(inside(value) && is_field_value(value));
        assert_eq!(value.trim_ascii(), value);
    }
    let parts = split(head.method, head.target).expect("parse checked the target");
    let mut path = DecodedPath::new();
    if path.decode(parts.path).is_ok() {
        assert!(path.bytes().starts_with(b"/") && !path.bytes().contains(&0));
    }
}

/// Both parsers on the same bytes.
fn compare(bytes: &[u8], ours: &Result<Progress<Head<'_>>, Malformed>) {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    let theirs = request.parse(bytes);
    match (ours, theirs) {
        (Ok(Progress::Complete(head)), Ok(httparse::Status::Complete(length))) => {
            assert_eq!(head.length, length);
            compare_heads(head, &request);
        }
        // httparse knows 1.0 and 1.1 only; we take a later 1.x for 1.1 (RFC 9110 section 2.5).
        (Ok(Progress::Complete(_)), Err(httparse::Error::Version)) => {
            assert!(is_later_version(bytes));
        }
        // Its target is a str; ours are bytes, as clients send them in Latin-1 too.
        (Ok(_), Err(httparse::Error::Token)) if !is_target_utf8(bytes) => {}
        // Any version is judged at the end of its line only: 505 for a good one, else 400.
        (Ok(Progress::Partial), Err(httparse::Error::Version)) => {}
        (Ok(Progress::Complete(head)), theirs) => panic!("only we accept: {head:?} {theirs:?}"),
        (Ok(Progress::Partial), Err(error)) => panic!("only httparse refuses: {error}"),
        (Ok(Progress::Partial), Ok(httparse::Status::Complete(_))) => {
            panic!("httparse sees an end that we do not")
        }
        (Err(malformed), Ok(httparse::Status::Complete(length))) => {
            assert!(is_intended(*malformed, &bytes[..length]), "{malformed:?}");
        }
        _ => {}
    }
}

fn is_target_utf8(bytes: &[u8]) -> bool {
    let target = bytes.split(|&byte| byte == b' ').nth(1);
    std::str::from_utf8(target.unwrap_or_default()).is_ok()
}

/// HTTP/1.2 to HTTP/1.9 stands somewhere.
fn is_later_version(bytes: &[u8]) -> bool {
    bytes
        .windows(8)
        .any(|word| word.starts_with(b"HTTP/1.") && matches!(word[7], b'2'..=b'9'))
}

fn compare_heads(head: &Head<'_>, request: &httparse::Request<'_, '_>) {
    assert_eq!(Some(head.method), request.method.map(str::as_bytes));
    assert_eq!(Some(head.target), request.path.map(str::as_bytes));
    assert_eq!(head.fields.iter().count(), request.headers.len());
    for ((name, value), theirs) in head.fields.iter().zip(&*request.headers) {
        assert_eq!((name, value), (theirs.name.as_bytes(), theirs.value));
    }
}

/// Where httparse accepts a head that we refuse on purpose.
fn is_intended(malformed: Malformed, head: &[u8]) -> bool {
    use Malformed::*;
    match malformed {
        // It takes a bare LF for a line end (RFC 9112 section 2.2: may), we do not. In a request
        // line that makes the version or the target wrong for us.
        BareLf | VersionSyntax => has_bare_lf(head),
        // It skips any number of empty lines (RFC 9112 section 2.2: at least one).
        EmptyLines => true,
        // It takes any VCHAR and obs-text for a target (RFC 9112 section 3.2 says URI, without a fragment).
        TargetSyntax => head.contains(&b'#'),
        // It has no limits but the number of fields.
        MethodTooLong | TargetTooLong | HeadTooLarge | TooManyFields => true,
        // It leaves the meaning of target and fields to its caller.
        TargetForm | TargetAuthority => true,
        HostMissing | HostRepeated | HostSyntax => true,
        ContentLengthSyntax | ContentLengthConflict => true,
        TransferCodingUnknown | TransferEncodingSyntax => true,
        TransferEncodingWithLength | TransferEncodingInHttp10 => true,
        ExpectationUnknown => true,
        _ => false,
    }
}

fn has_bare_lf(head: &[u8]) -> bool {
    head.first() == Some(&b'\n')
        || head
            .windows(2)
            .any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
}
