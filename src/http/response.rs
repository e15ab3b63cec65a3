//! The head of a response (RFC 9112 section 4), appended to a buffer that the caller reuses.
//!
//! Refuses to send anything, and to write a field that could change framing or inject a line.

use super::{Version, is_field_value, is_token};

/// How the end of a response's body is told (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none: 1xx, 204, 304.
    None,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding: chunked; for HTTP/1.1 clients only.
    Chunked,
    /// The end of the connection, which must then be closed.
    Close,
}

/// What the server says at the start of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// Three digits, 100 to 999.
    pub status: u16,
    /// The reason phrase; `None`, or one that may not stand there: the registered one.
    pub reason: Option<&'a [u8]>,
    /// [`super::imf_fixdate`] of now.
    pub date: &'a [u8; 29],
    /// The client's version.
    pub version: Version,
    /// Whether the connection ends after this response.
    pub close: bool,
    /// The body's framing.
    pub framing: Framing,
}

/// A complete short response in the server's own words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorResponse<'a> {
    /// Three digits, 100 to 999.
    pub status: u16,
    /// [`super::imf_fixdate`] of now.
    pub date: &'a [u8; 29],
    /// The client's version; HTTP/1.1 if its head could not be read.
    pub version: Version,
    /// Whether the connection ends after this response.
    pub close: bool,
    /// Seconds after which the client may try again (RFC 9110 section 10.2.3).
    pub retry_after: Option<u32>,
    /// Where the client is sent (RFC 9110 section 10.2.2).
    pub location: Option<&'a [u8]>,
    /// Whether the request was HEAD, so that the body stays away.
    pub head_only: bool,
    /// A page of one's own, with its media type; else the body is the status line's text.
    pub page: Option<(&'a [u8], &'static str)>,
}

/// The framing for a response to a client of `version`, whose `length` is known or not.
///
/// The same for HEAD as for GET: its fields are those of a GET (RFC 9110 section 9.3.2).
#[must_use]
pub(crate) fn frame(version: Version, status: u16, length: Option<u64>) -> Framing {
    match (status, length, version) {
        // RFC 9112 section 6.3: these have no body; RFC 9110 section 8.6 forbids the field in 1xx, 204.
        (100..=199 | 204 | 304, _, _) => Framing::None,
        // RFC 9110 section 15.3.6: no content, but a client expects the framing of any other.
        (205, _, _) => Framing::Length(0),
        (_, Some(length), _) => Framing::Length(length),
        (_, None, Version::Http11) => Framing::Chunked,
        (_, None, Version::Http10) => Framing::Close,
    }
}

/// Whether a body follows the head (RFC 9112 section 6.3, RFC 9110 section 15.3.6).
#[must_use]
pub(crate) fn has_body(head_request: bool, status: u16) -> bool {
    !head_request && !matches!(status, 100..=199 | 204 | 205 | 304)
}

/// Appends status line, Date, Server, Connection and framing fields.
///
/// [`push_field`] adds to them, [`finish`] ends the head.
pub fn begin(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    push_status_line(out, head.status, head.reason);
    push_line(out, b"Date", head.date);
    // No version: it helps nobody but an attacker (RFC 9110 section 10.2.4).
    out.extend_from_slice(b"Server: Caffeine\r\n");
    match (head.close || head.framing == Framing::Close, head.version) {
        (true, _) => push_line(out, b"Connection", b"close"),
        // RFC 9112 appendix C.2.2: an HTTP/1.0 client waits for these words.
        (false, Version::Http10) => push_line(out, b"Connection", b"keep-alive"),
        (false, Version::Http11) => {}
    }
    match head.framing {
        Framing::Length(length) => push_number_line(out, b"Content-Length", length),
        Framing::Chunked => push_line(out, b"Transfer-Encoding", b"chunked"),
        Framing::None | Framing::Close => {}
    }
}

/// Appends one field, unless it is not a field (RFC 9112 section 5) or the server's own
/// (`is_server_controlled`); says whether it did.
pub fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> bool {
    let allowed = is_token(name) && is_field_value(value) && !is_server_controlled(name);
    if allowed {
        push_line(out, name, value);
    }
    allowed
}

/// Ends the head.
pub fn finish(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends a complete response: a page of one's own, or the status line's text.
pub(crate) fn error_response(out: &mut Vec<u8>, error: &ErrorResponse<'_>) {
    let reason = status_reason(error.status);
    let (length, kind) = match error.page {
        Some((page, kind)) => (page.len(), kind),
        None => (3 + 1 + reason.len() + 1, "text/plain"),
    };
    let framing = frame(error.version, error.status, Some(length as u64));
    begin(
        out,
        &ResponseHead {
            status: error.status,
            reason: None,
            date: error.date,
            version: error.version,
            close: error.close,
            framing,
        },
    );
    if framing != Framing::None {
        push_line(out, b"Content-Type", kind.as_bytes());
    }
    if let Some(location) = error.location {
        push_line(out, b"Location", location);
    }
    if let Some(seconds) = error.retry_after {
        push_number_line(out, b"Retry-After", u64::from(seconds));
    }
    finish(out);
    if !has_body(error.head_only, error.status) {
        return;
    }
    if let Some((page, _)) = error.page {
        out.extend_from_slice(page);
    } else {
        push_status(out, error.status);
        out.push(b' ');
        out.extend_from_slice(reason.as_bytes());
        out.push(b'\n');
    }
}

/// Whether a handler may not set the field `name`: connection and framing are the server's
/// (RFC 9110 section 7.6.1), and Date and Server are already there.
#[must_use]
pub(super) fn is_server_controlled(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 11] = [
        b"connection",
        b"content-length",
        b"date",
        b"keep-alive",
        b"proxy-connection",
        b"server",
        b"status",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ];
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// RFC 9112 section 4: the server's own version, whatever the client's (RFC 9110 section 2.5).
fn push_status_line(out: &mut Vec<u8>, status: u16, reason: Option<&[u8]>) {
    let reason = reason.filter(|reason| is_field_value(reason));
    out.extend_from_slice(b"HTTP/1.1 ");
    push_status(out, status);
    out.push(b' ');
    out.extend_from_slice(reason.unwrap_or_else(|| status_reason(status).as_bytes()));
    finish(out);
}

/// Exactly three digits (RFC 9110 section 15); a status outside 100 to 999 becomes 500.
fn push_status(out: &mut Vec<u8>, status: u16) {
    let status = if (100..=999).contains(&status) {
        status
    } else {
        500
    };
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
}

fn push_number_line(out: &mut Vec<u8>, name: &[u8], value: u64) {
    push_line(out, name, itoa::Buffer::new().format(value).as_bytes());
}

fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    finish(out);
}

/// The registered reason phrase (IANA HTTP Status Code Registry); `Unknown` for the rest.
#[must_use]
pub(super) fn status_reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300..=399 => redirection_reason(status),
        400..=499 => client_error_reason(status),
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        510 => "Not Extended",
        511 => "Network Authentication Required",
        _ => "Unknown",
    }
}

fn redirection_reason(status: u16) -> &'static str {
    match status {
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        _ => "Unknown",
    }
}

fn client_error_reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

    fn head(status: u16, version: Version, close: bool, framing: Framing) -> ResponseHead<'static> {
        ResponseHead {
            status,
            reason: None,
            date: DATE,
            version,
            close,
            framing,
        }
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap().replace("\r\n", "|")
    }

    const START: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT|Server: Caffeine|";

    #[test]
    fn a_head_has_the_connection_and_framing_that_its_client_needs() {
        use Framing::*;
        use Version::*;
        for (version, close, framing, expected) in [
            (Http11, false, Length(5), "Content-Length: 5|"),
            (
                Http11,
                true,
                Length(0),
                "Connection: close|Content-Length: 0|",
            ),
            (Http11, false, Chunked, "Transfer-Encoding: chunked|"),
            (Http11, false, Close, "Connection: close|"),
            (Http11, false, None, ""),
            (
                Http10,
                false,
                Length(5),
                "Connection: keep-alive|Content-Length: 5|",
            ), // 9112 C.2.2
            (
                Http10,
                true,
                Length(5),
                "Connection: close|Content-Length: 5|",
            ),
            (Http10, false, Close, "Connection: close|"),
        ] {
            let written = text(|out| begin(out, &head(200, version, close, framing)));
            assert_eq!(written, format!("HTTP/1.1 200 OK|{START}{expected}"));
        }
    }

    #[test]
    fn a_reason_is_passed_on_unless_it_could_inject_a_line() {
        for (status, reason, expected) in [
            (404, None, "HTTP/1.1 404 Not Found|"),
            (404, Some(&b"Nope"[..]), "HTTP/1.1 404 Nope|"),
            (404, Some(b""), "HTTP/1.1 404 |"), // 9112 4: the space stays
            (404, Some(b"a\r\nb: c"), "HTTP/1.1 404 Not Found|"),
            (599, None, "HTTP/1.1 599 Unknown|"),
            (42, None, "HTTP/1.1 500 Unknown|"),
        ] {
            let response = ResponseHead {
                reason,
                ..head(status, Version::Http11, false, Framing::None)
            };
            let written = text(|out| begin(out, &response));
            assert!(written.starts_with(expected), "{written}");
        }
    }

    #[test]
    fn fields_that_inject_or_reframe_are_left_out() {
        for (name, value, written) in [
            (&b"X-A"[..], &b"b c"[..], true),
            (b"Set-Cookie", b"", true),
            (b"X", b"a\tb\xff", true),
            (b"X", b"a\r\nB: c", false),
            (b"X", b"a\n", false),
            (b"X", b"\0", false),
            (b"", b"a", false),
            (b"X ", b"a", false),
            (b"X:", b"a", false),
            (b"Connection", b"close", false),
            (b"content-length", b"5", false),
            (b"TRANSFER-ENCODING", b"chunked", false),
            (b"Date", b"", false),
            (b"Status", b"200", false),
        ] {
            let mut out = Vec::new();
            assert_eq!(push_field(&mut out, name, value), written);
            let expected = [name, b": ", value, b"\r\n"].concat();
            assert_eq!(out, if written { expected } else { Vec::new() });
        }
    }

    #[test]
    fn framing_follows_version_and_status() {
        use Version::*;
        for (version, status, length, expected) in [
            (Http11, 200, Some(5), Framing::Length(5)),
            (Http11, 200, None, Framing::Chunked),
            (Http10, 200, None, Framing::Close),
            (Http11, 204, Some(5), Framing::None),
            (Http11, 304, None, Framing::None),
            (Http11, 103, None, Framing::None),
            (Http11, 205, Some(5), Framing::Length(0)), // 9110 15.3.6
            (Http10, 205, None, Framing::Length(0)),
        ] {
            assert_eq!(frame(version, status, length), expected);
        }
        for (head_request, status, expected) in [
            (false, 200, true),
            (true, 200, false),
            (false, 204, false),
            (false, 205, false),
            (false, 304, false),
        ] {
            assert_eq!(has_body(head_request, status), expected);
        }
    }

    #[test]
    fn errors_are_complete_responses_without_a_client_byte() {
        let error = ErrorResponse {
            status: 503,
            date: DATE,
            version: Version::Http11,
            close: true,
            retry_after: Some(7),
            location: None,
            head_only: false,
            page: None,
        };
        let fields =
            "Connection: close|Content-Length: 24|Content-Type: text/plain|Retry-After: 7||";
        let expected = format!("HTTP/1.1 503 Service Unavailable|{START}{fields}");
        let body = "503 Service Unavailable\n";
        assert_eq!(body.len(), 24);
        assert_eq!(
            text(|out| error_response(out, &error)),
            format!("{expected}{body}")
        );
        let for_head = ErrorResponse {
            head_only: true,
            ..error
        };
        assert_eq!(text(|out| error_response(out, &for_head)), expected);
        let elsewhere = ErrorResponse {
            location: Some(b"/a/"),
            ..for_head
        };
        let retry = "Retry-After: 7||";
        assert_eq!(
            text(|out| error_response(out, &elsewhere)),
            expected.replace(retry, &format!("Location: /a/|{retry}"))
        );
        let of_its_own = ErrorResponse {
            page: Some((b"<p>later", "text/html")),
            ..error
        };
        let fields = "Connection: close|Content-Length: 8|Content-Type: text/html|Retry-After: 7||";
        let head = format!("HTTP/1.1 503 Service Unavailable|{START}{fields}");
        assert_eq!(
            text(|out| error_response(out, &of_its_own)),
            format!("{head}<p>later")
        );
    }

    #[test]
    fn every_status_of_a_malformed_request_has_a_reason() {
        for status in [
            400, 408, 413, 414, 417, 431, 500, 501, 502, 503, 504, 505, 507,
        ] {
            assert_ne!(status_reason(status), "Unknown", "{status}");
        }
    }
}
