//! The head of a request (RFC 9112): request line and fields, in one pass over the caller's bytes.
//!
//! Refuses to repair anything: what the grammar does not allow is [`Malformed`]. Errors are found in
//! the order of the bytes, so a prefix never fails differently from the whole.

use super::class::{TOKEN, find_control, find_outside, find_target_end, trim_end, trim_start};
use super::fields::Span;
use super::framing::Governing;
use super::{BodyLength, FieldStore, Fields, Form, Malformed, split};

/// The longest method that is taken. The longest one in the registry of IANA, UPDATEREDIRECTREF, has 17
/// bytes, so there is room for methods of one's own.
pub(super) const MAX_METHOD_BYTES: usize = 64;

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
            return Err(match (expected, byte) {
                (b'\r', b'\n') => Malformed::BareLf.into(),
                _ => Malformed::VersionSyntax.into(),
            });
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        max_head: 1024,
        max_fields: 4,
        max_target: 64,
    };

    /// What is compared of a head; fields joined as `name=value;`.
    #[derive(Debug, PartialEq)]
    struct Seen {
        line: String,
        version: Version,
        fields: String,
        body: BodyLength,
        flags: (bool, bool, bool),
        host: Option<String>,
        length: usize,
    }

    fn text(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string()
    }

    fn see(bytes: &[u8]) -> Result<Progress<Seen>, Malformed> {
        let mut store = FieldStore::new();
        Ok(match parse(bytes, &mut store, &LIMITS)? {
            Progress::Partial => Progress::Partial,
            Progress::Complete(head) => Progress::Complete(Seen {
                line: format!("{} {}", text(head.method), text(head.target)),
                version: head.version,
                fields: head
                    .fields
                    .iter()
                    .fold(String::new(), |all, (name, value)| {
                        format!("{all}{}={};", text(name), text(value))
                    }),
                body: head.body,
                flags: (head.keep_alive, head.expect_continue, head.upgrade),
                host: head.host.map(text),
                length: head.length,
            }),
        })
    }

    fn complete(bytes: &[u8]) -> Seen {
        match see(bytes) {
            Ok(Progress::Complete(seen)) => seen,
            other => panic!("{}: {other:?}", text(bytes)),
        }
    }

    /// A head with these lines after `GET / HTTP/1.1` and Host.
    fn with(fields: &str) -> Vec<u8> {
        format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes()
    }

    const GOOD: [&[u8]; 12] = [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"M-SEARCH!#$%&'*+.^_`|~ /a%20b?c=d|e HTTP/1.1\r\nhost:h\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: \r\n\r\n",
        b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
        b"GET http://a.b:1/\xc3\xbc?\xff HTTP/1.1\r\nHost: other\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\ncontent-length:5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]:80\r\nX: \t a\tb \xff\t \r\nEmpty:\r\nSpaces: \t \r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: x\r\n\r\n",
        b"GET /123456789012345678901234567890 HTTP/1.9\r\nHost: h\r\nA: 12345678901234567890123456789012345\r\n\r\n",
    ];

    #[test]
    fn every_prefix_of_a_good_head_is_partial() {
        for head in GOOD {
            for cut in 0..head.len() {
                assert_eq!(
                    see(&head[..cut]),
                    Ok(Progress::Partial),
                    "{} at {cut}",
                    text(head)
                );
            }
            assert_eq!(complete(head).length, head.len());
        }
    }

    #[test]
    fn what_follows_a_head_changes_nothing() {
        for head in GOOD {
            for rest in [&b"\r\n\r\n"[..], b"GET / HTTP/1.1\r\n", b"\0\xff\n", b":"] {
                assert_eq!(complete(&[head, rest].concat()), complete(head));
            }
        }
    }

    #[test]
    fn a_head_is_taken_apart_into_slices_of_the_input() {
        let seen = complete(GOOD[9]);
        assert_eq!(seen.line, "GET /");
        assert_eq!(seen.fields, "Host=[::1]:80;X=a\\tb \\xff;Empty=;Spaces=;");
        assert_eq!(seen.host.as_deref(), Some("[::1]:80"));
        assert_eq!(seen.version, Version::Http11);
        assert_eq!(complete(GOOD[2]).version, Version::Http10);
        assert_eq!(complete(GOOD[11]).version, Version::Http11); // RFC 9110 2.5
    }

    #[test]
    fn fields_come_in_their_order_under_their_names_as_sent() {
        let head = with("a: 1\r\nB: 2\r\nA: 3\r\n");
        let mut store = FieldStore::new();
        let Ok(Progress::Complete(head)) = parse(&head, &mut store, &LIMITS) else {
            panic!("not complete");
        };
        let fields: Vec<_> = head.fields.iter().collect();
        let sent: [(&[u8], &[u8]); 3] = [(b"a", b"1"), (b"B", b"2"), (b"A", b"3")];
        assert_eq!(fields.len(), 4);
        assert!(fields.ends_with(&sent), "{fields:?}");
    }

    #[test]
    fn field_names_mean_the_same_in_any_case() {
        let fields =
            "Host: h\r\nContent-Length: 3\r\nConnection: close\r\nExpect: 100-continue\r\n";
        let cased = [
            fields.to_owned(),
            fields.to_ascii_uppercase(),
            fields.to_ascii_lowercase(),
        ];
        for fields in cased {
            let seen = complete(format!("POST / HTTP/1.1\r\n{fields}\r\n").as_bytes());
            assert_eq!(
                seen.host.map(|host| host.to_ascii_lowercase()),
                Some("h".into())
            );
            assert_eq!(
                (seen.body, seen.flags),
                (BodyLength::Length(3), (false, true, false))
            );
        }
    }

    #[test]
    fn a_store_is_reused_without_traces_of_the_last_head() {
        let mut store = FieldStore::new();
        for (head, fields) in [(GOOD[9], 4), (GOOD[2], 0), (GOOD[0], 1)] {
            let Ok(Progress::Complete(head)) = parse(head, &mut store, &LIMITS) else {
                panic!("not complete");
            };
            assert_eq!(head.fields.iter().count(), fields);
        }
    }

    #[test]
    fn malformed_request_lines_are_refused() {
        use Malformed::*;
        for (line, expected) in [
            ("\r\n\r\nGET / HTTP/1.1\r\n", EmptyLines), // 9112 2.2: one at most
            ("\r\n\n", EmptyLines),
            ("\nGET / HTTP/1.1\r\n", BareLf),
            ("\rGET / HTTP/1.1\r\n", BareCr),
            (" GET / HTTP/1.1\r\n", MethodSyntax),
            ("G(T / HTTP/1.1\r\n", MethodSyntax),
            ("GET\t/ HTTP/1.1\r\n", MethodSyntax),
            ("GET\r\n", MethodSyntax),
            ("\x16\x03\x01", MethodSyntax),        // a TLS handshake
            ("GET  / HTTP/1.1\r\n", TargetSyntax), // 9112 3: single spaces
            ("GET /\r\n", TargetSyntax),           // HTTP/0.9
            ("GET /\tHTTP/1.1\r\n", TargetSyntax),
            ("GET /a\0 HTTP/1.1\r\n", TargetSyntax),
            ("GET /a\x7f HTTP/1.1\r\n", TargetSyntax),
            ("GET http://\u{e9}/ HTTP/1.1\r\n", TargetAuthority),
            ("GET /#a HTTP/1.1\r\n", TargetSyntax), // 9112 3.2: no fragment
            ("GET /  HTTP/1.1\r\n", VersionSyntax),
            ("GET / HTTP/1.1 \r\n", VersionSyntax),
            ("GET / HTTP/1.1\n", BareLf),
            ("GET / HTTP/1.1\r\r", VersionSyntax),
            ("GET / http/1.1\r\n", VersionSyntax), // 9112 2.3: case-sensitive
            ("GET / HTTP/1\r\n", VersionSyntax),
            ("GET / HTTP/11.1\r\n", VersionSyntax),
            ("GET / HTTP/1.10\r\n", VersionSyntax),
            ("GET / HTTP/x.1\r\n", VersionSyntax),
            ("GET / HTTP/2.0\r\n", VersionUnsupported),
            ("GET / HTTP/0.9\r\n", VersionUnsupported),
            ("PRI * HTTP/2.0\r\n", VersionUnsupported), // 9113 3.4
            ("GET * HTTP/1.1\r\n", TargetForm),
            ("GET h:80 HTTP/1.1\r\n", TargetForm),
            ("CONNECT / HTTP/1.1\r\n", TargetForm),
            ("GET http://u@h/ HTTP/1.1\r\n", TargetAuthority),
        ] {
            assert_eq!(see(line.as_bytes()), Err(expected), "{line:?}");
        }
    }

    #[test]
    fn malformed_fields_are_refused() {
        use Malformed::*;
        for (fields, expected) in [
            (": a\r\n", FieldName),
            ("a b: c\r\n", SpaceBeforeColon),
            ("a : b\r\n", SpaceBeforeColon), // 9112 5.1
            ("a\t: b\r\n", SpaceBeforeColon),
            ("a\r\n", FieldName),
            ("a(: b\r\n", FieldName),
            ("a\u{e9}: b\r\n", FieldName),
            (" a: b\r\n", ObsFold), // 9112 5.2
            ("a: b\r\n c\r\n", ObsFold),
            ("a: b\r\n\tc\r\n", ObsFold),
            ("a: b\nc: d\r\n", BareLf),
            ("a\n", BareLf),
            ("\n", BareLf),
            ("a: b\rc: d\r\n", BareCr),
            ("a: b\r\r\n", BareCr),
            ("\rb", BareCr),
            ("a: \tb\0\r\n", FieldValue),
            ("a: b\x0b\r\n", FieldValue),
            ("a: b\x7f\r\n", FieldValue),
            (
                "a: 1234567890123456789\t1234567890123456789\x01\r\n",
                FieldValue,
            ),
        ] {
            assert_eq!(see(&with(fields)), Err(expected), "{fields:?}");
        }
    }

    #[test]
    fn host_is_there_once_and_valid() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", Err(Malformed::HostMissing)), // 9112 3.2
            (
                "GET http://h/ HTTP/1.1\r\n\r\n",
                Err(Malformed::HostMissing),
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
                Err(Malformed::HostRepeated),
            ),
            (
                "GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n",
                Err(Malformed::HostRepeated),
            ),
            (
                "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
                Err(Malformed::HostSyntax),
            ),
            (
                "GET / HTTP/1.1\r\nHost: a,b:c\r\n\r\n",
                Err(Malformed::HostSyntax),
            ),
            (
                "GET / HTTP/1.0\r\nHost: u@a\r\n\r\n",
                Err(Malformed::HostSyntax),
            ),
            ("GET / HTTP/1.0\r\n\r\n", Ok(None)),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Ok(Some(""))),
            ("GET / HTTP/1.1\r\nHost: a:1\r\n\r\n", Ok(Some("a:1"))),
            ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Some("b"))), // 9112 3.2.2
            ("GET http://b/ HTTP/1.0\r\n\r\n", Ok(Some("b"))),
        ] {
            let host = match see(head.as_bytes()) {
                Ok(Progress::Complete(seen)) => Ok(seen.host),
                Ok(Progress::Partial) => panic!("{head:?} is partial"),
                Err(malformed) => Err(malformed),
            };
            assert_eq!(
                host,
                expected.map(|host| host.map(str::to_owned)),
                "{head:?}"
            );
        }
    }

    fn body_with(fields: &str) -> Result<BodyLength, Malformed> {
        match see(&with(fields)) {
            Ok(Progress::Complete(seen)) => Ok(seen.body),
            Ok(Progress::Partial) => panic!("{fields:?} is partial"),
            Err(malformed) => Err(malformed),
        }
    }

    #[test]
    fn content_length_is_digits_and_the_same_every_time() {
        use BodyLength::*;
        use Malformed::*;
        for (fields, expected) in [
            ("", Ok(None)),
            ("Content-Length: 0\r\n", Ok(Length(0))),
            (
                "Content-Length: 18446744073709551615\r\n",
                Ok(Length(u64::MAX)),
            ),
            ("Content-Length: 007\r\n", Ok(Length(7))),
            ("Content-Length: 5,5 , 5\r\n", Ok(Length(5))),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Ok(Length(5))),
            (
                "Content-Length: 18446744073709551616\r\n",
                Err(ContentLengthSyntax),
            ),
            ("Content-Length: \r\n", Err(ContentLengthSyntax)),
            ("Content-Length: +5\r\n", Err(ContentLengthSyntax)),
            ("Content-Length: -0\r\n", Err(ContentLengthSyntax)),
            ("Content-Length: 0x5\r\n", Err(ContentLengthSyntax)),
            ("Content-Length: 5 5\r\n", Err(ContentLengthSyntax)),
            ("Content-Length: 5,\r\n", Err(ContentLengthSyntax)),
            ("Content-Length: 5, 6\r\n", Err(ContentLengthConflict)),
            (
                "Content-Length: 5\r\nContent-Length: 6\r\n",
                Err(ContentLengthConflict),
            ),
        ] {
            assert_eq!(body_with(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn transfer_encoding_is_chunked_alone() {
        use BodyLength::*;
        use Malformed::*;
        for (fields, expected) in [
            ("Transfer-Encoding: chunked\r\n", Ok(Chunked)),
            ("transfer-encoding:\tCHUNKED \r\n", Ok(Chunked)),
            ("Transfer-Encoding: gzip\r\n", Err(TransferCodingUnknown)),
            (
                "Transfer-Encoding: gzip, chunked\r\n",
                Err(TransferCodingUnknown),
            ),
            (
                "Transfer-Encoding: identity\r\n",
                Err(TransferCodingUnknown),
            ),
            (
                "Transfer-Encoding: xchunked\r\n",
                Err(TransferCodingUnknown),
            ),
            (
                "Transfer-Encoding: chunked chunked\r\n",
                Err(TransferCodingUnknown),
            ),
            (
                "Transfer-Encoding: chunked, gzip\r\n",
                Err(TransferEncodingSyntax),
            ),
            (
                "Transfer-Encoding: chunked, chunked\r\n",
                Err(TransferEncodingSyntax),
            ),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                Err(TransferEncodingSyntax),
            ),
            (
                "Transfer-Encoding: chunked;a=b\r\n",
                Err(TransferEncodingSyntax),
            ), // 9112 7.1
            ("Transfer-Encoding: \r\n", Err(TransferEncodingSyntax)),
            (
                "Transfer-Encoding: , chunked\r\n",
                Err(TransferEncodingSyntax),
            ),
            ("Transfer-Encoding: \x0bchunked\r\n", Err(FieldValue)),
            (
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                Err(TransferEncodingWithLength),
            ),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                Err(TransferEncodingWithLength),
            ),
        ] {
            assert_eq!(body_with(fields), expected, "{fields:?}");
        }
        let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(see(old), Err(TransferEncodingInHttp10)); // 9112 6.1
    }

    #[test]
    fn the_connection_persists_as_rfc_9112_9_3_says() {
        for (version, fields, expected) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: foo, CLOSE\r\n", false),
            (
                "1.1",
                "Connection: keep-alive\r\nConnection: close\r\n",
                false,
            ),
            ("1.1", "Connection: close, keep-alive\r\n", false),
            ("1.1", "Connection: closed\r\n", true),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
            ("1.0", "Keep-Alive: 5\r\n", false),
        ] {
            let head = format!("GET / HTTP/{version}\r\nHost: h\r\n{fields}\r\n");
            assert_eq!(complete(head.as_bytes()).flags.0, expected, "{head:?}");
        }
    }

    #[test]
    fn expectations_and_upgrades_count_in_http_1_1_only() {
        let body = "Content-Length: 1\r\n";
        for (version, fields, expected) in [
            (
                "1.1",
                "Expect: 100-CONTINUE\r\nContent-Length: 1\r\n",
                (true, false),
            ),
            ("1.1", "Expect: 100-continue\r\n", (false, false)), // nothing to wait for
            (
                "1.1",
                "Expect: 100-continue\r\nContent-Length: 0\r\n",
                (false, false),
            ),
            (
                "1.0",
                "Expect: 100-continue\r\nContent-Length: 1\r\n",
                (false, false),
            ), // 9110 10.1.1
            (
                "1.1",
                "Connection: upgrade\r\nUpgrade: websocket\r\n",
                (false, true),
            ),
            ("1.1", "Upgrade: websocket\r\n", (false, false)), // 9110 7.8
            (
                "1.0",
                "Connection: upgrade\r\nUpgrade: websocket\r\n",
                (false, false),
            ),
        ] {
            let head = format!("GET / HTTP/{version}\r\nHost: h\r\n{fields}\r\n");
            let (_, expect, upgrade) = complete(head.as_bytes()).flags;
            assert_eq!((expect, upgrade), expected, "{head:?}");
        }
        let other = with(&format!("{body}Expect: 100-continue, x\r\n"));
        assert_eq!(see(&other), Err(Malformed::ExpectationUnknown));
    }

    #[test]
    fn limits_hold_exactly_and_early() {
        let target = |length: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(length - 1));
        assert_eq!(see(target(64).as_bytes()), Ok(Progress::Partial));
        assert_eq!(see(target(65).as_bytes()), Err(Malformed::TargetTooLong));
        assert_eq!(
            see(&target(200).as_bytes()[..69]),
            Err(Malformed::TargetTooLong)
        );
        assert_eq!(see("A".repeat(64).as_bytes()), Ok(Progress::Partial));
        assert_eq!(
            see("A".repeat(65).as_bytes()),
            Err(Malformed::MethodTooLong)
        );
        assert!(see(&with("a:\r\nb:\r\nc:\r\n")).is_ok());
        assert_eq!(
            see(&with("a:\r\nb:\r\nc:\r\nd:\r\n")),
            Err(Malformed::TooManyFields)
        );
        let long = |length: usize| with(&format!("a:{}\r\n", "b".repeat(length - 31)));
        assert_eq!(complete(&long(1024)).length, 1024);
        assert_eq!(see(&long(1025)), Err(Malformed::HeadTooLarge));
        assert_eq!(see(&long(2000)[..1024]), Err(Malformed::HeadTooLarge));
        assert_eq!(see(&long(2000)[..1023]), Ok(Progress::Partial));
    }

    const WORDS: [&[u8]; 30] = [
        b"",
        b" ",
        b"\t",
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\0",
        b"\x7f",
        b"\xff",
        b":",
        b",",
        b"/",
        b"*",
        b"GET",
        b"GET / HTTP/1.1\r\n",
        b"GET http://h/ HTTP/1.0\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\n",
        b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n",
        b"HTTP/1.1",
        b"HTTP/3.0\r\n",
        b"Host: h\r\n",
        b"Host:",
        b"Content-Length: 1\r\n",
        b"Content-Length:",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: x,\r\n",
        b"Connection: close\r\n",
        b"a: 0123456789abcdef0123456789abcdef\r\n",
        b"99999999999999999999\r\n",
    ];

    /// What must hold for any bytes: slices inside the input, and each prefix says the same or less.
    fn check_invariants(bytes: &[u8]) {
        let whole = see(bytes);
        if let Ok(Progress::Complete(seen)) = &whole {
            assert!(seen.length <= bytes.len());
            assert_eq!(see(&bytes[..seen.length]), see(bytes));
            assert!(bytes[..seen.length].ends_with(b"\r\n\r\n"));
        }
        for cut in 0..bytes.len() {
            match see(&bytes[..cut]) {
                Ok(Progress::Partial) => {}
                earlier => assert_eq!(earlier, whole, "{} at {cut}", text(bytes)),
            }
        }
    }

    #[test]
    fn three_nasty_words_keep_the_invariants() {
        for first in WORDS {
            for second in WORDS {
                for third in WORDS {
                    check_invariants(&[first, second, third].concat());
                }
            }
        }
    }

    #[test]
    fn every_byte_at_every_place_keeps_the_invariants() {
        let good = GOOD[8];
        for at in 0..good.len() {
            for byte in 0..=u8::MAX {
                let mut head = good.to_vec();
                head[at] = byte;
                check_invariants(&head);
            }
        }
    }
}
