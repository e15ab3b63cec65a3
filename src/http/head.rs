//! The head of a request (RFC 9112): request line and fields, in one pass over the caller's bytes.
//!
//! Refuses to repair anything: what the grammar does not allow is [`Malformed`]. Errors are found in
//! the order of the bytes, so a prefix never fails differently from the whole.

use super::class::{TARGET, TOKEN, end_of_run, find_control};
use super::fields::Span;
use super::framing::Governing;
use super::{BodyLength, FieldStore, Fields, Form, Malformed, split};

/// Longest method: twice the longest registered one (IANA: UPDATEREDIRECTREF, 17), rounded up.
pub const MAX_METHOD_BYTES: usize = 64;

/// The version that the connection speaks (RFC 9112 section 2.3). 1.x other than 1.0 counts as 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1, or a later 1.x (RFC 9110 section 2.5: same major, so understood as our highest).
    Http11,
}

/// How much of a head is accepted.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head, empty lines included; above: 431.
    pub max_head: usize,
    /// Number of fields; above: 431.
    pub max_fields: usize,
    /// Bytes of the target; above: 414.
    pub max_target: usize,
}

/// A complete head; every slice points into the parsed bytes.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// A token as sent (methods are case-sensitive, RFC 9110 section 9.1).
    pub method: &'a [u8],
    /// The target as sent; [`split`] takes it apart and cannot fail on it.
    pub target: &'a [u8],
    /// The client's version.
    pub version: Version,
    /// All fields, the ones interpreted below included.
    pub fields: Fields<'a>,
    /// How the body is delimited.
    pub body: BodyLength,
    /// Whether the client lets the connection persist.
    pub keep_alive: bool,
    /// Whether the client waits for 100 (Continue) before it sends a body that is not empty.
    pub expect_continue: bool,
    /// Authority of the target, else Host (RFC 9112 section 3.2.2); may be empty; `None` in 1.0 only.
    pub host: Option<&'a [u8]>,
    /// Whether the client asks for another protocol: Upgrade, named in Connection, in HTTP/1.1.
    pub upgrade: bool,
    /// Bytes of the head: an empty line before it and the one that ends it included.
    pub length: usize,
}

/// What a parser makes of the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<T> {
    /// All of it is there.
    Complete(T),
    /// Nothing is wrong yet, but more must come.
    Partial,
}

/// Why the parser stops before the end of the head.
#[derive(Clone, Copy)]
enum Stop {
    Partial,
    Malformed(Malformed),
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// The request line and the offset behind it.
struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
    authority: Option<&'a [u8]>,
    end: usize,
}

/// Parses the head at the start of `bytes`.
///
/// The result borrows `bytes` and `store`. `Partial` means that more bytes must come; once
/// `max_head` bytes are there without an end it is an error instead.
///
/// # Errors
///
/// [`Malformed`], as soon as the first offending byte is there.
pub fn parse<'a>(
    bytes: &'a [u8],
    store: &'a mut FieldStore,
    limits: &HeadLimits,
) -> Result<Progress<Head<'a>>, Malformed> {
    // Spans hold 32-bit offsets, so no head is ever larger than they can say.
    let max_head = limits.max_head.min(u32::MAX as usize);
    let window = bytes.get(..max_head).unwrap_or(bytes);
    match parse_window(window, store, limits) {
        Ok(head) => Ok(Progress::Complete(head)),
        Err(Stop::Partial) if window.len() == max_head => Err(Malformed::HeadTooLarge),
        Err(Stop::Partial) => Ok(Progress::Partial),
        Err(Stop::Malformed(malformed)) => Err(malformed),
    }
}

fn parse_window<'a>(
    bytes: &'a [u8],
    store: &'a mut FieldStore,
    limits: &HeadLimits,
) -> Result<Head<'a>, Stop> {
    let start = skip_empty_line(bytes)?;
    let line = parse_request_line(bytes, start, limits)?;
    let mut governing = Governing::new(line.version);
    store.spans.clear();
    let mut at = line.end;
    while let Some((span, end)) = parse_field(bytes, at)? {
        if store.spans.len() >= limits.max_fields {
            return Err(Malformed::TooManyFields.into());
        }
        governing.learn(
            slice(bytes, span.name as usize, span.name_end as usize),
            slice(bytes, span.value as usize, span.value_end as usize),
        )?;
        store.spans.push(span);
        at = end;
    }
    let body = governing.body()?;
    Ok(Head {
        method: line.method,
        target: line.target,
        version: line.version,
        fields: Fields::new(bytes, &store.spans),
        body,
        keep_alive: governing.keep_alive(),
        expect_continue: governing.expect_continue(),
        host: line.authority.or(governing.host),
        upgrade: governing.upgrade(),
        length: at + 2,
    })
}

/// RFC 9112 section 2.2: one empty line before the request line is ignored; old clients send it
/// after a body. More would let a client keep a worker busy with nothing.
fn skip_empty_line(bytes: &[u8]) -> Result<usize, Stop> {
    match bytes {
        [b'\r', b'\n', b'\r' | b'\n', ..] => Err(Malformed::EmptyLines.into()),
        [b'\r', b'\n', ..] => Ok(2),
        [b'\r'] | [] => Err(Stop::Partial),
        [b'\r', ..] => Err(Malformed::BareCr.into()),
        [b'\n', ..] => Err(Malformed::BareLf.into()),
        _ => Ok(0),
    }
}

/// `method SP request-target SP HTTP-version CRLF` (RFC 9112 section 3), single spaces only.
fn parse_request_line<'a>(
    bytes: &'a [u8],
    start: usize,
    limits: &HeadLimits,
) -> Result<RequestLine<'a>, Stop> {
    let method_end = end_of_run(bytes, start, TOKEN);
    if method_end - start > MAX_METHOD_BYTES {
        return Err(Malformed::MethodTooLong.into());
    }
    match bytes.get(method_end) {
        Some(b' ') if method_end > start => {}
        Some(_) => return Err(Malformed::MethodSyntax.into()),
        None => return Err(Stop::Partial),
    }
    let target_start = method_end + 1;
    let target_end = end_of_run(bytes, target_start, TARGET);
    if target_end - target_start > limits.max_target {
        return Err(Malformed::TargetTooLong.into());
    }
    match bytes.get(target_end) {
        Some(b' ') if target_end > target_start => {}
        Some(_) => return Err(Malformed::TargetSyntax.into()),
        None => return Err(Stop::Partial),
    }
    let version = parse_version(bytes.get(target_end + 1..).unwrap_or_default())?;
    let method = slice(bytes, start, method_end);
    let target = slice(bytes, target_start, target_end);
    Ok(RequestLine {
        method,
        target,
        version,
        authority: check_form(method, target)?,
        end: target_end + 1 + VERSION_LINE_BYTES,
    })
}

/// `HTTP/1.1` and CRLF.
const VERSION_LINE_BYTES: usize = 10;

/// RFC 9112 section 2.3: case-sensitive, exactly one digit on each side of the point.
fn parse_version(rest: &[u8]) -> Result<Version, Stop> {
    let pattern = b"HTTP/d.d\r\n";
    if rest.starts_with(b"HTTP/1.1\r\n") {
        return Ok(Version::Http11);
    }
    for (&expected, &byte) in pattern.iter().zip(rest) {
        let fits = match expected {
            b'd' => byte.is_ascii_digit(),
            _ => byte == expected,
        };
        if !fits {
            return Err(Malformed::VersionSyntax.into());
        }
    }
    match rest.get(..VERSION_LINE_BYTES) {
        None => Err(Stop::Partial),
        Some([_, _, _, _, _, b'1', _, b'0', ..]) => Ok(Version::Http10),
        Some([_, _, _, _, _, b'1', ..]) => Ok(Version::Http11),
        Some(_) => Err(Malformed::VersionUnsupported.into()),
    }
}

/// The authority of an absolute-form or authority-form target; nearly all others start with a slash.
fn check_form<'a>(method: &[u8], target: &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    if target.first() == Some(&b'/') && method.len() != b"CONNECT".len() {
        return Ok(None);
    }
    let parts = split(method, target)?;
    Ok(match parts.form {
        Form::Absolute | Form::Authority => parts.authority,
        Form::Origin | Form::Asterisk => None,
    })
}

/// One field line and the offset behind it; `None` at the empty line that ends the head.
#[inline]
fn parse_field(bytes: &[u8], at: usize) -> Result<Option<(Span, usize)>, Stop> {
    let colon = end_of_run(bytes, at, TOKEN);
    match bytes.get(colon) {
        Some(b':') if colon > at => {}
        None => return Err(Stop::Partial),
        Some(b'\r') if colon == at => return expect_line_feed(bytes, at).map(|_| None),
        Some(&byte) => return Err(judge_name(byte, colon == at).into()),
    }
    let line_end = find_line_end(bytes, colon + 1)?;
    let end = expect_line_feed(bytes, line_end)?;
    let (value, value_end) = trim_span(bytes, colon + 1, line_end);
    let span = Span {
        name: offset(at),
        name_end: offset(colon),
        value: offset(value),
        value_end: offset(value_end),
    };
    Ok(Some((span, end)))
}

/// Why `byte` cannot end a field name, where `first` says that there is no name before it.
#[cold]
fn judge_name(byte: u8, first: bool) -> Malformed {
    match byte {
        b' ' | b'\t' if first => Malformed::ObsFold,
        b' ' | b'\t' => Malformed::SpaceBeforeColon,
        b'\n' => Malformed::BareLf,
        _ => Malformed::FieldName,
    }
}

/// Offset of the CR that ends the value at `at`; HTAB is the only other control byte in it.
#[inline]
fn find_line_end(bytes: &[u8], at: usize) -> Result<usize, Stop> {
    let mut at = find_control(bytes, at);
    loop {
        match bytes.get(at) {
            Some(b'\r') => return Ok(at),
            Some(b'\t') => at = find_control(bytes, at + 1),
            Some(b'\n') => return Err(Malformed::BareLf.into()),
            Some(_) => return Err(Malformed::FieldValue.into()),
            None => return Err(Stop::Partial),
        }
    }
}

/// Offset behind the LF that must follow the CR at `at`.
#[inline]
fn expect_line_feed(bytes: &[u8], at: usize) -> Result<usize, Stop> {
    match bytes.get(at + 1) {
        Some(b'\n') => Ok(at + 2),
        Some(_) => Err(Malformed::BareCr.into()),
        None => Err(Stop::Partial),
    }
}

/// `from..to` without whitespace at its ends.
#[inline]
fn trim_span(bytes: &[u8], mut from: usize, mut to: usize) -> (usize, usize) {
    while from < to && matches!(bytes.get(from), Some(b' ' | b'\t')) {
        from += 1;
    }
    while from < to && matches!(bytes.get(to - 1), Some(b' ' | b'\t')) {
        to -= 1;
    }
    (from, to)
}

#[inline]
fn slice(bytes: &[u8], from: usize, to: usize) -> &[u8] {
    bytes.get(from..to).unwrap_or_default()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "parse() clamps the window to u32::MAX bytes"
)]
#[inline]
fn offset(at: usize) -> u32 {
    at as u32
}
