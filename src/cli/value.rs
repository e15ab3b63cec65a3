//! Numbers, sizes, times and addresses: from text and back.
//!
//! Knows no option and no range. Refuses decimals, signs, blanks and anything that overflows.

use crate::settings::{Bind, Ports, TrustedProxy};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// Why text is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is something else.
    Malformed,
    /// It is one, but more than fits.
    Overflow,
}

/// Suffixes of a time with their milliseconds; `ms` first, as it also ends in `s`.
const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// A whole number of decimal digits.
pub(super) fn number(text: &[u8]) -> Result<u64, Fault> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Fault::Malformed);
    }
    text.iter()
        .try_fold(0_u64, |sum, byte| {
            sum.checked_mul(10)?.checked_add(u64::from(byte - b'0'))
        })
        .ok_or(Fault::Overflow)
}

fn scaled(digits: &[u8], factor: u64) -> Result<u64, Fault> {
    number(digits)?.checked_mul(factor).ok_or(Fault::Overflow)
}

/// Bytes: a number, or one with K, M or G (powers of 1024, either case).
pub(super) fn size(text: &[u8]) -> Result<u64, Fault> {
    let (digits, factor) = match text {
        [digits @ .., b'k' | b'K'] => (digits, 1 << 10),
        [digits @ .., b'm' | b'M'] => (digits, 1 << 20),
        [digits @ .., b'g' | b'G'] => (digits, 1 << 30),
        _ => (text, 1),
    };
    scaled(digits, factor)
}

/// Milliseconds of a time: a number of seconds, or one with ms, s, m or h.
pub(super) fn time_ms(text: &[u8]) -> Result<u64, Fault> {
    for (suffix, factor) in TIMES {
        if let Some(digits) = text.strip_suffix(suffix.as_bytes()) {
            return scaled(digits, factor);
        }
    }
    scaled(text, 1000)
}

/// A time in its largest whole unit.
pub(super) fn time_text(ms: u64) -> String {
    match TIMES
        .iter()
        .rev()
        .find(|(_, factor)| ms >= *factor && ms.is_multiple_of(*factor))
    {
        Some((suffix, factor)) => (ms / factor).to_string() + suffix,
        None => ms.to_string(),
    }
}

/// An address to listen on: `v4`, `v4:port`, `v6`, `[v6]`, `[v6]:port`, `unix:path`.
///
/// A `v6:port` without brackets does not exist: its last group could be either.
pub(super) fn address(text: &[u8], longest_unix: usize) -> Option<Bind> {
    use std::os::unix::ffi::OsStrExt;
    if let Some(path) = text.strip_prefix(b"unix:") {
        let fits = (1..=longest_unix).contains(&path.len()) && !path.contains(&0);
        let path = || PathBuf::from(std::ffi::OsStr::from_bytes(path));
        return fits.then(|| Bind::Unix(path()));
    }
    let text = std::str::from_utf8(text).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (addr, after) = rest.split_once(']')?;
        let addr = IpAddr::V6(addr.parse::<Ipv6Addr>().ok()?);
        return with_port(addr, after);
    }
    if let Ok(addr) = text.parse::<Ipv6Addr>() {
        return with_port(IpAddr::V6(addr), "");
    }
    let end = text.find(':').unwrap_or(text.len());
    let (addr, after) = text.split_at_checked(end)?;
    with_port(IpAddr::V4(addr.parse::<Ipv4Addr>().ok()?), after)
}

/// Peers to trust: `unix`, an address, or a network as `address/bits`.
///
/// Bits behind the network's own have to be 0: else it is a mistake, in one or the other.
pub(super) fn proxy(text: &[u8]) -> Option<TrustedProxy> {
    let text = std::str::from_utf8(text).ok()?;
    if text == "unix" {
        return Some(TrustedProxy::Unix);
    }
    let (addr, bits) = match text.split_once('/') {
        Some((addr, bits)) => (addr, Some(number(bits.as_bytes()).ok()?)),
        None => (text, None),
    };
    let (addr, own, host) = match addr.parse::<IpAddr>().ok()? {
        addr @ IpAddr::V4(v4) => (addr, 32, v4.to_bits().trailing_zeros().min(32)),
        addr @ IpAddr::V6(v6) => (addr, 128, v6.to_bits().trailing_zeros().min(128)),
    };
    let bits = u8::try_from(bits.unwrap_or(own)).ok()?;
    let is_network = u64::from(bits) <= own && u64::from(bits) + u64::from(host) >= own;
    is_network.then_some(TrustedProxy::Network(addr, bits))
}

/// `none`, or absolute paths of at most so many bytes each, separated by commas.
pub(super) fn paths(text: &[u8], longest: usize) -> Option<Vec<PathBuf>> {
    use std::os::unix::ffi::OsStrExt;
    if text == b"none" {
        return Some(Vec::new());
    }
    let path = |part: &[u8]| {
        let part = part.trim_ascii();
        let is_path = part.starts_with(b"/") && part.len() <= longest && !part.contains(&0);
        is_path.then(|| PathBuf::from(std::ffi::OsStr::from_bytes(part)))
    };
    text.split(|byte| *byte == b',').map(path).collect()
}

/// `none`, `any`, or TCP ports separated by commas.
pub(super) fn ports(text: &[u8]) -> Option<Ports> {
    match text {
        b"none" => return Some(Ports::default()),
        b"any" => return Some(Ports::Any),
        _ => {}
    }
    let port = |part: &[u8]| u16::try_from(number(part.trim_ascii()).ok()?).ok();
    let ports: Option<_> = text.split(|byte| *byte == b',').map(port).collect();
    ports.map(Ports::Only)
}

fn with_port(addr: IpAddr, after: &str) -> Option<Bind> {
    if after.is_empty() {
        return Some(Bind::Tcp { addr, port: None });
    }
    let port = number(after.strip_prefix(':')?.as_bytes()).ok()?;
    let port = Some(u16::try_from(port).ok()?);
    Some(Bind::Tcp { addr, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_binary_suffixes_of_either_case() {
        let rows = [
            ("0", 0),
            ("1000", 1000),
            ("1k", 1024),
            ("1K", 1024),
            ("16m", 16 << 20),
            ("2G", 2 << 30),
            ("0G", 0),
            ("18446744073709551615", u64::MAX),
            ("17179869183G", 17_179_869_183 << 30),
        ];
        for (text, bytes) in rows {
            assert_eq!(size(text.as_bytes()), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn times_are_seconds_unless_they_say_otherwise() {
        let rows = [
            ("0", 0),
            ("10", 10_000),
            ("10s", 10_000),
            ("10ms", 10),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("18446744073709551615ms", u64::MAX),
        ];
        for (text, ms) in rows {
            assert_eq!(time_ms(text.as_bytes()), Ok(ms), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_whole_number_is_malformed() {
        for text in [
            "", "K", "ms", "s", "m", "x", "1.5", "-1", "+1", " 1", "1 ", "0x10", "1h", "1KK",
            "1KB", "1 K", "1S", "\u{661}",
        ] {
            assert_eq!(
                size(text.as_bytes()).err(),
                Some(Fault::Malformed),
                "{text}"
            );
            assert_eq!(number(text.as_bytes()), Err(Fault::Malformed), "{text}");
        }
        for text in [
            "", "s", "ms", "m", "h", "1.5s", "-1s", "1M", "1S", "1H", "1d", "1K", "1 s", "1mss",
        ] {
            assert_eq!(time_ms(text.as_bytes()), Err(Fault::Malformed), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_overflows_instead_of_wrapping() {
        for text in [
            "18446744073709551616",
            "99999999999999999999999",
            "17179869184G",
            "18014398509481984K",
        ] {
            assert_eq!(size(text.as_bytes()), Err(Fault::Overflow), "{text}");
        }
        for text in [
            "18446744073709551616ms",
            "18446744073709552",
            "18446744073709552s",
            "307445734561826m",
        ] {
            assert_eq!(time_ms(text.as_bytes()), Err(Fault::Overflow), "{text}");
        }
    }

    #[test]
    fn text_and_value_are_each_other_s_inverse() {
        for bytes in [
            0,
            1,
            256,
            1023,
            1024,
            1025,
            16 << 10,
            1 << 20,
            3 << 30,
            u64::MAX,
        ] {
            assert_eq!(size(crate::text::size(bytes).as_bytes()), Ok(bytes));
        }
        for ms in [0, 1, 200, 999, 1000, 1001, 60_000, 61_000, u64::MAX] {
            let text = time_text(ms);
            let expected = if ms == 0 { "0" } else { &text };
            assert_eq!(
                (time_ms(text.as_bytes()), text.as_str()),
                (Ok(ms), expected)
            );
        }
        assert_eq!(
            (crate::text::size(16 << 10), time_text(120_000)),
            ("16K".into(), "2m".into())
        );
    }

    fn tcp(addr: &str, port: Option<u16>) -> Option<Bind> {
        let addr = addr.parse().unwrap();
        Some(Bind::Tcp { addr, port })
    }

    #[test]
    fn addresses_of_every_form_are_understood() {
        let rows = [
            ("127.0.0.1", tcp("127.0.0.1", None)),
            ("127.0.0.1:80", tcp("127.0.0.1", Some(80))),
            ("0.0.0.0:0", tcp("0.0.0.0", Some(0))),
            ("::", tcp("::", None)),
            ("::1", tcp("::1", None)),
            ("::1:80", tcp("::1:80", None)),
            ("[::1]", tcp("::1", None)),
            ("[::1]:65535", tcp("::1", Some(65535))),
            ("::ffff:1.2.3.4", tcp("::ffff:1.2.3.4", None)),
            ("unix:/run/a", Some(Bind::Unix("/run/a".into()))),
            ("unix:a:80", Some(Bind::Unix("a:80".into()))),
        ];
        for (text, bind) in rows {
            assert_eq!(address(text.as_bytes(), 10), bind, "{text}");
        }
    }

    fn network(addr: &str, bits: u8) -> Option<TrustedProxy> {
        Some(TrustedProxy::Network(addr.parse().unwrap(), bits))
    }

    #[test]
    fn a_proxy_is_an_address_a_network_or_unix() {
        for (text, expected) in [
            ("unix", Some(TrustedProxy::Unix)),
            ("127.0.0.1", network("127.0.0.1", 32)),
            ("10.0.0.0/8", network("10.0.0.0", 8)),
            ("0.0.0.0/0", network("0.0.0.0", 0)),
            ("::1", network("::1", 128)),
            ("fd00::/8", network("fd00::", 8)),
            ("10.0.0.1/8", None),
            ("10.0.0.0/33", None),
            ("::/129", None),
            ("10.0.0.0/", None),
            ("10.0.0.0/-1", None),
            ("10.0.0.0/8/8", None),
            ("10.0.0.0:80", None),
            ("[::1]", None),
            ("localhost", None),
            ("unix:/a", None),
            ("", None),
        ] {
            assert_eq!(proxy(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn paths_and_ports_are_lists_or_words() {
        let list = |paths: &[&str]| Some(paths.iter().map(PathBuf::from).collect());
        for (text, expected) in [
            ("none", list(&[])),
            ("/usr", list(&["/usr"])),
            ("/usr, /etc/ssl ,/a b", list(&["/usr", "/etc/ssl", "/a b"])),
            ("/12345678", None),
            ("usr", None),
            ("/usr,", None),
            ("/usr,none", None),
            ("/\0", None),
            ("", None),
        ] {
            assert_eq!(paths(text.as_bytes(), 8), expected, "{text}");
        }
        for (text, expected) in [
            ("none", Some(Ports::Only(Vec::new()))),
            ("any", Some(Ports::Any)),
            ("443", Some(Ports::Only(vec![443]))),
            ("80 , 65535", Some(Ports::Only(vec![80, 65535]))),
            ("65536", None),
            ("80,", None),
            ("80,any", None),
            ("http", None),
            ("", None),
        ] {
            assert_eq!(ports(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "x",
            "localhost",
            "80",
            ":80",
            "*",
            "*:80",
            "1.2.3",
            "1.2.3.4:",
            "1.2.3.4:x",
            "1.2.3.4:65536",
            "1.2.3.4:-1",
            "1.2.3.4:80:80",
            "[",
            "[]",
            "[::1",
            "[::1]80",
            "[::1]:",
            "[1.2.3.4]",
            "::1]:80",
            "fe80::1%eth0",
            "unix:",
            "unix",
            "unix:/too/long/a/path",
            "UNIX:/a",
            "1.2.3.4 ",
        ] {
            assert_eq!(address(text.as_bytes(), 10), None, "{text}");
        }
        assert_eq!(address(b"\xff", 10), None);
        assert_eq!(address(b"unix:a\0", 10), None);
    }
}
