//! The authority: host and port, as in Host and in absolute-form targets.
//!
//! Checks syntax (RFC 3986 section 3.2); refuses to resolve, normalise or compare names.

use super::class::{REG_NAME, find_outside, hex_value};
use std::net::Ipv6Addr;

/// Whether `bytes` is `host [ ":" port ]`: a reg-name, an IPv4 address or `[IPv6]`, and a port of
/// 0 to 65535 or none. An empty host is no authority of an http URI (RFC 9110 section 4.2.1), user
/// information is refused (section 4.2.4). An IPv6 address may have a zone (RFC 6874). Future IP literals (`[v1.x]`) are refused: none exists.
#[must_use]
pub fn is_authority(bytes: &[u8]) -> bool {
    let Some(end) = host_end(bytes) else {
        return false;
    };
    match bytes.get(end..).unwrap_or_default() {
        [] => end > 0,
        [b':', port @ ..] => end > 0 && is_port(port),
        _ => false,
    }
}

/// Host and port of a checked authority; the brackets of an IPv6 address stay with the host.
#[must_use]
pub fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memrchr(b':', authority).and_then(|at| authority.split_at_checked(at)) {
        Some((host, [_, port @ ..])) if !port.contains(&b']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Where the host ends; `None` if it is not one.
fn host_end(bytes: &[u8]) -> Option<usize> {
    if bytes.first() == Some(&b'[') {
        let close = memchr::memchr(b']', bytes)?;
        let address = without_zone(bytes.get(1..close)?)?;
        let address = std::str::from_utf8(address).ok()?;
        return address.parse::<Ipv6Addr>().is_ok().then_some(close + 1);
    }
    let mut at = find_outside(bytes, REG_NAME).unwrap_or(bytes.len());
    while let Some([b'%', high, low, rest @ ..]) = bytes.get(at..) {
        // A name with an encoded control byte would be a header injection for a careless handler.
        let value = hex_value(*high)? << 4 | hex_value(*low)?;
        if value.is_ascii_control() {
            return None;
        }
        at += 3 + find_outside(rest, REG_NAME).unwrap_or(rest.len());
    }
    Some(at)
}

/// An IPv6 address without its zone, `%25` or, as it is typed, `%` and a name (RFC 6874 section 2):
/// which interface of the client's it is means nothing here. `None` if that is no zone.
fn without_zone(literal: &[u8]) -> Option<&[u8]> {
    let Some(mark) = memchr::memchr(b'%', literal) else {
        return Some(literal);
    };
    let (address, zone) = literal.split_at_checked(mark)?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let zone = zone.get(1..)?;
    (!zone.is_empty() && zone != b"25" && zone.iter().all(is_plain)).then_some(address)
}

/// `port = *DIGIT` (RFC 3986 section 3.2.3), so empty is valid; above 65535 is no port of TCP.
fn is_port(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_digit) && (digits.len() < 5 || is_below_65536(digits))
}

fn is_below_65536(digits: &[u8]) -> bool {
    let value = digits.iter().try_fold(0_u16, |value, digit| {
        value.checked_mul(10)?.checked_add(u16::from(digit - b'0'))
    });
    value.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_follow_rfc_3986_3_2() {
        for (authority, valid) in [
            (&b"example.org"[..], true),
            (b"example.org:8080", true),
            (b"example.org:", true), // port = *DIGIT
            (b"127.0.0.1:80", true),
            (b"[::1]", true),
            (b"[::1]:8080", true),
            (b"[::ffff:127.0.0.1]:1", true),
            (b"a_b-c~.local", true),
            (b"ex%41mple", true),
            (b"h:65535", true),
            (b"h:00080", true),
            (b"h:65536", false),
            (b"h:99999999999999999999", false),
            (b"h:+1", false),
            (b"h:80:80", false),
            (b"", false),
            (b":80", false),
            (b"user@host", false),
            (b"a/b", false),
            (b"a b", false),
            (b"a%4", false),
            (b"a%zz", false),
            (b"a%0d", false),
            (b"[::1", false),
            (b"[::1]x", false),
            (b"[]", false),
            (b"[::g]", false),
            (b"[fe80::1%25eth0]", true),    // RFC 6874
            (b"[fe80::1%eth0.5]:80", true), // as browsers and curl send it
            (b"[fe80::1%2]", true),
            (b"[fe80::1%25]", false),
            (b"[fe80::1%]", false),
            (b"[fe80::1%a b]", false),
            (b"[fe80::1%eth0%0d]", false),
            (b"[%25eth0]", false),
            (b"h%25eth0", true), // a name
            (b"[v1.a]", false),
            (b"::1", false),
            (b"h\xc3\xa9", false),
            (b"a,b", true), // sub-delims
            (b"a?b", false),
            (b"a\\b", false),
        ] {
            assert_eq!(
                is_authority(authority),
                valid,
                "{:?}",
                authority.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn the_port_is_split_off_outside_brackets_only() {
        for (authority, host, port) in [
            (&b"h"[..], &b"h"[..], None),
            (b"h:80", b"h", Some(&b"80"[..])),
            (b"h:", b"h", Some(b"")),
            (b"[::1]", b"[::1]", None),
            (b"[::1]:80", b"[::1]", Some(b"80")),
            (b"", b"", None),
        ] {
            assert_eq!(split_port(authority), (host, port));
        }
    }
}
