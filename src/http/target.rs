//! The request target (RFC 9112 section 3.2): its form and its parts, undecoded.
//!
//! Refuses to decode, normalise or look anything up; [`super::DecodedPath`] decodes. Writes one, too,
//! where a client is sent elsewhere.

use super::class::{REFERENCE, SEGMENTS, is_in};
use super::{Malformed, is_authority, split_port};

/// The four forms of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/path?query`: what clients send to a server.
    Origin,
    /// `http://host/path?query`: what clients send to a proxy, and servers must take.
    Absolute,
    /// `host:port`, for CONNECT only.
    Authority,
    /// `*`, for OPTIONS only.
    Asterisk,
}

/// A target taken apart; every slice points into it (or is a constant).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Its form.
    pub form: Form,
    /// Host and port, in absolute and authority form; valid and not empty.
    pub authority: Option<&'a [u8]>,
    /// The raw path: starts with `/` in origin and absolute form (`/` if that has none), else empty.
    pub path: &'a [u8],
    /// What follows the first `?`, raw; may be empty.
    pub query: Option<&'a [u8]>,
}

/// Takes a target apart.
///
/// Which bytes a target may hold is checked by [`super::parse`] (and for the path by
/// [`super::DecodedPath::decode`]), not here.
///
/// # Errors
///
/// [`Malformed::TargetForm`] where form and method do not fit (RFC 9112 section 3.2.3, 3.2.4),
/// [`Malformed::TargetAuthority`] for a bad host or port or user information.
pub fn split<'a>(method: &[u8], target: &'a [u8]) -> Result<Target<'a>, Malformed> {
    if method == b"CONNECT" {
        return split_authority_form(target);
    }
    match target {
        [b'/', ..] => Ok(split_path(Form::Origin, None, target)),
        b"*" if method == b"OPTIONS" => Ok(Target {
            form: Form::Asterisk,
            authority: None,
            path: b"",
            query: None,
        }),
        _ => split_absolute_form(target),
    }
}

/// RFC 9112 section 3.2.3: host and port, both there.
fn split_authority_form(target: &[u8]) -> Result<Target<'_>, Malformed> {
    if memchr::memchr2(b'/', b'?', target).is_some() || target == b"*" {
        return Err(Malformed::TargetForm);
    }
    if !is_authority(target) || split_port(target).1.is_none_or(<[u8]>::is_empty) {
        return Err(Malformed::TargetAuthority);
    }
    Ok(Target {
        form: Form::Authority,
        authority: Some(target),
        path: b"",
        query: None,
    })
}

/// RFC 9112 section 3.2.2. Only http and https name something that this server could answer for.
fn split_absolute_form(target: &[u8]) -> Result<Target<'_>, Malformed> {
    let rest = strip_scheme(target, b"https://")
        .or_else(|| strip_scheme(target, b"http://"))
        .ok_or(Malformed::TargetForm)?;
    let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end).unwrap_or((rest, b""));
    if !is_authority(authority) {
        return Err(Malformed::TargetAuthority);
    }
    Ok(split_path(Form::Absolute, Some(authority), rest))
}

/// Schemes are compared in any case (RFC 3986 section 3.1).
fn strip_scheme<'a>(target: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = target.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn split_path<'a>(form: Form, authority: Option<&'a [u8]>, rest: &'a [u8]) -> Target<'a> {
    let mark = memchr::memchr(b'?', rest).unwrap_or(rest.len());
    let (path, query) = rest.split_at_checked(mark).unwrap_or((rest, b""));
    Target {
        form,
        authority,
        // RFC 9110 section 4.2.3: an empty path is the same as "/".
        path: if path.is_empty() { b"/" } else { path },
        query: query.get(1..),
    }
}

/// Appends a decoded path as it stands in a URI.
pub fn push_path(out: &mut Vec<u8>, path: &[u8]) {
    push_escaped(out, path, SEGMENTS);
}

/// Appends a URI reference as a handler has printed it: spaces and bytes that are not ASCII are escaped,
/// the rest is left as it is.
pub(crate) fn push_reference(out: &mut Vec<u8>, reference: &[u8]) {
    push_escaped(out, reference, REFERENCE);
}

/// RFC 3986 section 2.1: all bytes outside `class` become `%XX`.
fn push_escaped(out: &mut Vec<u8>, bytes: &[u8], class: u8) {
    for &byte in bytes {
        if is_in(byte, class) {
            out.push(byte);
        } else {
            out.push(b'%');
            for digit in [byte >> 4, byte & 15] {
                out.push(digit + if digit < 10 { b'0' } else { b'A' - 10 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target<'a>(
        form: Form,
        authority: Option<&'a str>,
        path: &'a str,
        query: Option<&'a str>,
    ) -> Result<Target<'a>, Malformed> {
        Ok(Target {
            form,
            authority: authority.map(str::as_bytes),
            path: path.as_bytes(),
            query: query.map(str::as_bytes),
        })
    }

    #[test]
    fn targets_are_taken_apart_as_rfc_9112_3_2_says() {
        use Form::{Absolute, Asterisk, Authority, Origin};
        let form = Err(Malformed::TargetForm);
        let authority = Err(Malformed::TargetAuthority);
        for (method, text, expected) in [
            ("GET", "/", target(Origin, None, "/", None)),
            (
                "GET",
                "/a/b?c=d?e",
                target(Origin, None, "/a/b", Some("c=d?e")),
            ),
            ("GET", "/?", target(Origin, None, "/", Some(""))),
            ("GET", "//h/x", target(Origin, None, "//h/x", None)),
            ("GET", "/a:b@c", target(Origin, None, "/a:b@c", None)),
            ("GET", "http://h", target(Absolute, Some("h"), "/", None)),
            (
                "GET",
                "HTTP://h:8/a?b",
                target(Absolute, Some("h:8"), "/a", Some("b")),
            ),
            (
                "GET",
                "https://[::1]?b",
                target(Absolute, Some("[::1]"), "/", Some("b")),
            ),
            ("OPTIONS", "*", target(Asterisk, None, "", None)),
            (
                "CONNECT",
                "h:443",
                target(Authority, Some("h:443"), "", None),
            ),
            ("GET", "http://", authority), // 9110 4.2.1: an empty host is invalid
            ("GET", "http:///a", authority),
            ("GET", "http://u:p@h/", authority), // 9110 4.2.4
            ("GET", "http://h:x/", authority),
            ("GET", "ftp://h/", form),
            ("GET", "http:/a", form),
            ("GET", "*", form), // 9112 3.2.4
            ("options", "*", form),
            ("OPTIONS", "*a", form),
            ("GET", "h:443", form), // 9112 3.2.3
            ("GET", "a", form),
            ("GET", "", form),
            ("GET", "?a", form),
            ("CONNECT", "/", form),
            ("CONNECT", "http://h:1/", form),
            ("CONNECT", "*", form),
            ("CONNECT", "h", authority),
            ("CONNECT", "h:", authority),
        ] {
            assert_eq!(
                split(method.as_bytes(), text.as_bytes()),
                expected,
                "{method} {text}"
            );
        }
    }

    #[test]
    fn what_no_uri_holds_is_escaped_when_one_is_written() {
        let mut out = Vec::new();
        push_path(&mut out, b"/a b/%?#;\xc3\xbc\"<:@!");
        assert_eq!(out, b"/a%20b/%25%3F%23;%C3%BC%22%3C:@!");
        out.clear();
        push_reference(&mut out, b"//h/a b%20\xc3?q=\"\t<#f");
        assert_eq!(out, b"//h/a%20b%20%C3?q=\"%09<#f");
    }
}
