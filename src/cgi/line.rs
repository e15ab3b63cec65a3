//! The lines in the head of a handler's output: which are well formed, and what is wrong with
//! the others.
//!
//! It judges one line at a time and refuses to guess: a line that two programs could read
//! differently is bad. Runs in the worker.

use super::names;
use crate::http::{is_field_value, token_end, trim};
use std::fmt::{self, Display};
use std::ops::Range;

/// Why a handler's output is not a response: the answer is 502. Displays as one line for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadOutput {
    /// End of output before the first byte.
    NoOutput,
    /// End of output before the empty line that ends the head.
    Truncated,
    /// No empty line within the limit.
    TooLong,
    /// The first line is neither a field nor a status line.
    FirstLine,
    /// The first line starts with `HTTP/` and a digit, but is no status line (RFC 9112 4).
    StatusLine,
    /// A later line is no field.
    NotAField,
    /// A line starts with a space or tab: obs-fold (RFC 9112 5.2).
    Folded,
    /// A bare CR, NUL or other control byte.
    Control,
    /// A status that is not a number from 200 to 599.
    Status,
    /// A Status from 100 to 199, which only an nph handler may send.
    Interim,
    /// Status, Location or Content-Type twice, with different values (RFC 3875 6.3).
    Repeated,
    /// Location without a value.
    Location,
    /// Content-Length is no number, or two numbers.
    ContentLength,
    /// Another transfer coding than `chunked`, once, and `identity`.
    TransferEncoding,
    /// No line before the empty one.
    Empty,
}

impl BadOutput {
    /// What an end of output means while the head is partial; `bytes` is all there was.
    pub fn at_end(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            Self::NoOutput
        } else {
            Self::Truncated
        }
    }
}

impl Display for BadOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoOutput => "there was no output",
            Self::Truncated => "the output ended before the empty line behind its head",
            Self::TooLong => "the head is longer than the limit",
            Self::FirstLine => "the first line is neither a field nor a status line",
            Self::StatusLine => "the status line is malformed",
            Self::NotAField => "a line of the head is not a field",
            Self::Folded => "a line of the head starts with a space",
            Self::Control => "the head contains a control byte",
            Self::Status => "the status is not a number from 200 to 599",
            Self::Interim => "a status below 200 is for nph- handlers only",
            Self::Repeated => "Status, Location or Content-Type has two different values",
            Self::Location => "Location is empty",
            Self::ContentLength => "Content-Length is not one number",
            Self::TransferEncoding => "Transfer-Encoding is neither chunked nor identity",
            Self::Empty => "there is no field before the first empty line",
        })
    }
}

impl std::error::Error for BadOutput {}

/// The first line of some output, at most 200 bytes of it, for the log; not yet escaped.
pub(crate) fn first_line(bytes: &[u8]) -> &[u8] {
    let shown = bytes.get(..200).unwrap_or(bytes);
    let end = memchr::memchr(b'\n', shown).unwrap_or(shown.len());
    let line = shown.get(..end).unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// How the first bytes of some output start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// A status line, or the beginning of one.
    StatusLine,
    /// Anything else: a field, or nothing usable.
    Field,
    /// So far a prefix of `HTTP/`, which `HTTP-X: y` is too.
    Undecided,
}

/// Judges the beginning of the first line, which need not be complete. Of any version: `curl -i` says
/// `HTTP/2`.
pub(super) fn opening_of(line: &[u8]) -> Opening {
    const VERSION: &[u8] = b"HTTP/";
    match line.strip_prefix(VERSION) {
        Some([b'0'..=b'9', ..]) => Opening::StatusLine,
        Some([]) => Opening::Undecided,
        None if VERSION.starts_with(line) => Opening::Undecided,
        _ => Opening::Field,
    }
}

/// The length of the field name that `line` starts with; `None` while neither its end nor
/// anything wrong with it has been seen.
pub(super) fn name_length(line: &[u8]) -> Result<Option<usize>, BadOutput> {
    let Some(length) = token_end(line) else {
        return Ok(None);
    };
    match (length, line.get(length)) {
        (0, Some(b' ' | b'\t')) => Err(BadOutput::Folded),
        (1.., Some(b':')) => Ok(Some(length)),
        // Also `Name : value`, from which proxies have smuggled (RFC 9112 5.1).
        _ => Err(BadOutput::NotAField),
    }
}

/// Where the value stands in a complete line with a name of this length.
pub(super) fn value_place(line: &[u8], name: usize) -> Result<Range<usize>, BadOutput> {
    let raw = line.get(name + 1..).unwrap_or_default();
    let value = trim(raw);
    if !is_field_value(value) {
        return Err(BadOutput::Control);
    }
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let start = name + 1 + raw.iter().take_while(is_space).count();
    Ok(start..start + value.len())
}

/// The value of a Status field, or what follows the version of a status line: three digits
/// and, behind a space, a reason.
pub(super) fn parse_status(value: &[u8]) -> Result<(u16, &[u8]), BadOutput> {
    let [a, b, c, rest @ ..] = value else {
        return Err(BadOutput::Status);
    };
    if !matches!(rest, [] | [b' ' | b'\t', ..]) {
        return Err(BadOutput::Status);
    }
    let mut status = 0;
    for digit in [a, b, c] {
        if !digit.is_ascii_digit() {
            return Err(BadOutput::Status);
        }
        status = status * 10 + u16::from(digit - b'0');
    }
    match status {
        100..=599 => Ok((status, trim(rest))),
        _ => Err(BadOutput::Status),
    }
}

/// A status line (RFC 9112 4) that starts with `HTTP/` and a digit: status and reason.
pub(super) fn parse_status_line(line: &[u8]) -> Result<(u16, &[u8]), BadOutput> {
    if !is_field_value(line) {
        return Err(BadOutput::Control);
    }
    match line.get(6..) {
        Some([b'.', b'0'..=b'9', b' ', rest @ ..] | [b' ', rest @ ..]) => parse_status(rest),
        _ => Err(BadOutput::StatusLine),
    }
}

/// What a field in a handler's head is to Caffeine.
pub(super) enum Meaning {
    Status,
    Location,
    ContentType,
    ContentLength,
    TransferEncoding,
    Date,
    /// Of one connection only, Connection included.
    Hop,
    Other,
}

impl Meaning {
    pub(super) fn of(name: &[u8]) -> Self {
        match names::lower(name, &mut [0; 32]) {
            b"status" => Self::Status,
            b"location" => Self::Location,
            b"content-type" => Self::ContentType,
            b"content-length" => Self::ContentLength,
            b"transfer-encoding" => Self::TransferEncoding,
            b"date" => Self::Date,
            b"connection"
            | b"keep-alive"
            | b"proxy-connection"
            | b"te"
            | b"trailer"
            | b"upgrade"
            | b"proxy-authenticate"
            | b"proxy-authentication-info"
            | b"proxy-authorization" => Self::Hop,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case<T> = (&'static [u8], Result<T, BadOutput>);
    type Words = &'static [u8];

    #[test]
    fn a_status_is_three_digits_and_perhaps_a_reason() {
        let rows: [Case<(u16, Words)>; 15] = [
            (b"200", Ok((200, b""))),
            (b"200 ", Ok((200, b""))),
            (b"404 Not Found", Ok((404, b"Not Found"))),
            (b"404\tNot  Found", Ok((404, b"Not  Found"))),
            (b"599 \xc3\xa4", Ok((599, b"\xc3\xa4"))),
            (b"600", Err(BadOutput::Status)),
            (b"099", Err(BadOutput::Status)),
            (b"20", Err(BadOutput::Status)),
            (b"2000", Err(BadOutput::Status)),
            (b"200OK", Err(BadOutput::Status)),
            (b"+20 OK", Err(BadOutput::Status)),
            (b"", Err(BadOutput::Status)),
            (b"OK", Err(BadOutput::Status)),
            (b"100 Continue", Ok((100, b"Continue"))),
            (b"099", Err(BadOutput::Status)),
        ];
        for (value, expected) in rows {
            assert_eq!(parse_status(value), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_status_line_is_as_in_rfc_9112_4_but_may_lack_its_reason() {
        let rows: [Case<(u16, Words)>; 12] = [
            (b"HTTP/1.1 200 OK", Ok((200, b"OK"))),
            (b"HTTP/1.0 404", Ok((404, b""))),
            (b"HTTP/1.9 201 ", Ok((201, b""))),
            (b"HTTP/2 200 ", Ok((200, b""))),
            (b"HTTP/3.0 103 x", Ok((103, b"x"))),
            (b"HTTP/1.", Err(BadOutput::StatusLine)),
            (b"HTTP/1.1", Err(BadOutput::StatusLine)),
            (b"HTTP/1.1  200 OK", Err(BadOutput::Status)),
            (b"HTTP/1.11 200 OK", Err(BadOutput::StatusLine)),
            (b"HTTP/1.x 200 OK", Err(BadOutput::StatusLine)),
            (b"HTTP/20 200 OK", Err(BadOutput::StatusLine)),
            (b"HTTP/1.1 200 O\rK", Err(BadOutput::Control)),
        ];
        for (line, expected) in rows {
            assert_eq!(parse_status_line(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_field_is_a_token_a_colon_and_a_value_without_controls() {
        let rows: [Case<(usize, Range<usize>)>; 12] = [
            (b"A:b", Ok((1, 2..3))),
            (b"A: \t b \t", Ok((1, 5..6))),
            (b"A:", Ok((1, 2..2))),
            (b"A:  ", Ok((1, 4..4))),
            (b"A: b\tc", Ok((1, 3..6))),
            (b"A :b", Err(BadOutput::NotAField)),
            (b":b", Err(BadOutput::NotAField)),
            (b"A", Err(BadOutput::NotAField)),
            (b" A: b", Err(BadOutput::Folded)),
            (b"\tA: b", Err(BadOutput::Folded)),
            (b"A: b\rC: d", Err(BadOutput::Control)),
            (b"A: b\x7f", Err(BadOutput::Control)),
        ];
        for (line, expected) in rows {
            let name = name_length(line).and_then(|name| name.ok_or(BadOutput::NotAField));
            let split = name.and_then(|name| Ok((name, value_place(line, name)?)));
            assert_eq!(split, expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn the_line_for_the_log_is_short_and_without_its_end() {
        assert_eq!(first_line(b"<html>\r\n<body>"), b"<html>");
        assert_eq!(first_line(b"\nx"), b"");
        assert_eq!(first_line(b""), b"");
        assert_eq!(first_line(&[b'x'; 5000]).len(), 200);
    }

    #[test]
    fn every_reason_is_one_line() {
        for why in [BadOutput::at_end(b""), BadOutput::at_end(b"x")] {
            assert!(!why.to_string().contains('\n'));
        }
        assert_eq!(BadOutput::at_end(b""), BadOutput::NoOutput);
        assert_eq!(BadOutput::at_end(b"Stat"), BadOutput::Truncated);
    }
}
