//! The head of a request (RFC 9112): request line and fields, in one pass over the caller's bytes.
//!
//! Refuses to repair anything: what the grammar does not allow is [`Malformed`]. Errors are found in
//! the order of the bytes, so a prefix never fails differently from the whole.

use super::class::{TOKEN, find_control, find_outside, find_target_end, trim_end, trim_start};
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
    let end = parse_fields(bytes, line.end, store, limits, &mut governing)?;
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
        length: end,
    })
}

/// The field lines and the empty line behind them; the offset where the head ends.
// Inlined, the loop loses its registers to the request line: 4 % more instructions.
#[inline(never)]
fn parse_fields<'a>(
    bytes: &'a [u8],
    mut at: usize,
    store: &mut FieldStore,
    limits: &HeadLimits,
    governing: &mut Governing<'a>,
) -> Result<usize, Stop> {
    store.spans.clear();
    while let Some(field) = parse_field(bytes.get(at..).unwrap_or_default())? {
        if store.spans.len() >= limits.max_fields {
            return Err(Malformed::TooManyFields.into());
        }
        governing.learn(field.name, field.value)?;
        store.spans.push(field.span(at));
        at += field.length;
    }
    Ok(at + 2)
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
    let rest = bytes.get(start..).unwrap_or_default();
    let method_end = find_outside(rest, TOKEN);
    if method_end.unwrap_or(rest.len()) > MAX_METHOD_BYTES {
        return Err(Malformed::MethodTooLong.into());
    }
    let (method, rest) = split_at_space(rest, method_end, Malformed::MethodSyntax)?;
    let target_end = find_target_end(rest);
    if target_end.unwrap_or(rest.len()) > limits.max_target {
        return Err(Malformed::TargetTooLong.into());
    }
    let (target, rest) = split_at_space(rest, target_end, Malformed::TargetSyntax)?;
    Ok(RequestLine {
        method,
        target,
        version: parse_version(rest)?,
        authority: check_form(method, target)?,
        end: start + method.len() + 1 + target.len() + 1 + VERSION_LINE_BYTES,
    })
}

/// The word before `end`, which must not be empty, and what follows the one space there.
#[inline]
fn split_at_space(
    bytes: &[u8],
    end: Option<usize>,
    otherwise: Malformed,
) -> Result<(&[u8], &[u8]), Stop> {
    let (word, rest) = end
        .and_then(|end| bytes.split_at_checked(end))
        .ok_or(Stop::Partial)?;
    match rest {
        [b' ', rest @ ..] if !word.is_empty() => Ok((word, rest)),
        _ => Err(otherwise.into()),
    }
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

/// One field line, taken apart.
struct FieldLine<'a> {
    name: &'a [u8],
    /// Without whitespace around it.
    value: &'a [u8],
    /// Bytes between the colon and the value.
    gap: usize,
    /// Bytes of the line, CRLF included.
    length: usize,
}

impl FieldLine<'_> {
    /// Where its parts stand if the line starts at offset `at`.
    #[inline]
    fn span(&self, at: usize) -> Span {
        let value = at + self.name.len() + 1 + self.gap;
        Span {
            name: offset(at),
            name_end: offset(at + self.name.len()),
            value: offset(value),
            value_end: offset(value + self.value.len()),
        }
    }
}

/// The field line at the start of `bytes`; `None` at the empty line that ends the head.
#[inline]
fn parse_field(bytes: &[u8]) -> Result<Option<FieldLine<'_>>, Stop> {
    let colon = find_outside(bytes, TOKEN).ok_or(Stop::Partial)?;
    let (name, rest) = bytes.split_at_checked(colon).ok_or(Stop::Partial)?;
    let Some(rest) = rest.strip_prefix(b":").filter(|_| colon > 0) else {
        return judge_line(name, rest).map(|()| None);
    };
    let line_end = find_line_end(rest)?;
    let (padded, line_feed) = rest.split_at_checked(line_end).ok_or(Stop::Partial)?;
    expect_line_feed(line_feed)?;
    let (gap, value) = trim_value(padded);
    Ok(Some(FieldLine {
        name,
        value,
        gap,
        length: colon + 1 + line_end + 2,
    }))
}

/// Number of whitespace bytes before the value, and the value without any around it.
#[inline]
fn trim_value(padded: &[u8]) -> (usize, &[u8]) {
    // One space before it and none behind it is how nearly all fields come.
    if let [b' ', value @ ..] = padded
        && value.first() > Some(&b' ')
        && value.last() > Some(&b' ')
    {
        return (1, value);
    }
    let value = trim_start(padded);
    (padded.len() - value.len(), trim_end(value))
}

/// Why a line is no field line: `Ok` for the empty one that ends the head.
#[cold]
fn judge_line(name: &[u8], rest: &[u8]) -> Result<(), Stop> {
    match rest {
        [b'\r', ..] if name.is_empty() => expect_line_feed(rest),
        [b' ' | b'\t', ..] if name.is_empty() => Err(Malformed::ObsFold.into()),
        [b' ' | b'\t', ..] => Err(Malformed::SpaceBeforeColon.into()),
        [b'\n', ..] => Err(Malformed::BareLf.into()),
        _ => Err(Malformed::FieldName.into()),
    }
}

/// Offset of the CR that ends a value.
#[inline]
fn find_line_end(bytes: &[u8]) -> Result<usize, Stop> {
    let end = find_control(bytes).ok_or(Stop::Partial)?;
    match bytes.get(end) {
        Some(b'\r') => Ok(end),
        _ => find_line_end_behind(bytes, end),
    }
}

/// The same where an HTAB, the only other control byte in a value, may stand at `end`.
#[cold]
fn find_line_end_behind(bytes: &[u8], mut end: usize) -> Result<usize, Stop> {
    loop {
        let rest = match bytes.get(end..).unwrap_or_default() {
            [b'\r', ..] => return Ok(end),
            [b'\t', rest @ ..] => rest,
            [b'\n', ..] => return Err(Malformed::BareLf.into()),
            _ => return Err(Malformed::FieldValue.into()),
        };
        end += 1 + find_control(rest).ok_or(Stop::Partial)?;
    }
}

/// The LF that must follow the CR at the start of `bytes`.
#[inline]
fn expect_line_feed(bytes: &[u8]) -> Result<(), Stop> {
    match bytes.get(1) {
        Some(b'\n') => Ok(()),
        Some(_) => Err(Malformed::BareCr.into()),
        None => Err(Stop::Partial),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "parse() clamps the window to u32::MAX bytes"
)]
#[inline]
fn offset(at: usize) -> u32 {
    at as u32
}
