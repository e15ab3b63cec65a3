//! `http::split` and `http::DecodedPath` on any bytes, against a decoder written for clarity.

#![no_main]

use caffeine::testing::http::{DecodedPath, Form, is_authority, push_path, split, split_port};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|target: &[u8]| {
    for method in [&b"GET"[..], b"OPTIONS", b"CONNECT"] {
        check_split(method, target);
    }
    check_path(target);
    check_path(&[b"/", target].concat());
});

fn check_split(method: &[u8], target: &[u8]) {
    let Ok(parts) = split(method, target) else {
        return;
    };
    assert_eq!(parts.form == Form::Authority, method == b"CONNECT");
    assert_eq!(parts.form == Form::Asterisk, target == b"*");
    assert!(parts.authority.is_none_or(is_authority));
    if let Some(authority) = parts.authority {
        let (host, port) = split_port(authority);
        assert!(!host.is_empty() && port.is_none_or(|port| port.iter().all(u8::is_ascii_digit)));
    }
    if matches!(parts.form, Form::Origin | Form::Absolute) {
        assert!(parts.path.starts_with(b"/") && !parts.path.contains(&b'?'));
        let query = parts
            .query
            .map_or(Vec::new(), |query| [b"?", query].concat());
        let tail = [parts.path, &query].concat();
        assert!(target.ends_with(&tail) || target.ends_with(&query) && parts.path == b"/");
        check_path(parts.path);
    }
}

fn check_path(raw: &[u8]) {
    let mut path = DecodedPath::new();
    let decoded = path.decode(raw).is_ok();
    let reference = decode_plainly(raw);
    assert_eq!(decoded, reference.is_some());
    let Some((segments, slash)) = reference else {
        assert_eq!((path.bytes(), path.segments().count()), (&b""[..], 0));
        return;
    };
    assert_eq!(path.segments().collect::<Vec<_>>(), segments);
    assert_eq!(path.trailing_slash(), slash);
    let mut bytes = Vec::new();
    for (count, segment) in segments.iter().enumerate() {
        assert_eq!(path.offset_after(count), bytes.len());
        bytes.extend([b"/", &segment[..]].concat());
    }
    assert_eq!(path.offset_after(segments.len()), bytes.len());
    bytes.extend_from_slice(if slash { b"/" } else { b"" });
    assert_eq!(path.bytes(), bytes);
    check_safe(&path);
    // What is written for a client's eyes is a path that means the same.
    let mut written = Vec::new();
    push_path(&mut written, path.bytes());
    assert!(written.iter().all(u8::is_ascii_graphic));
    if !segments.iter().any(|segment| segment.contains(&b'/')) {
        let mut again = DecodedPath::new();
        again.decode(&written).expect("a written path");
        assert_eq!(again.bytes(), path.bytes());
    }
    // Encoding the result again and decoding that changes nothing.
    let mut again = DecodedPath::new();
    again
        .decode(&encode(&segments, slash))
        .expect("an encoded path");
    assert_eq!(again.bytes(), path.bytes());
}

/// No NUL, and no way up for whoever joins the path to a folder.
fn check_safe(path: &DecodedPath) {
    assert!(path.bytes().starts_with(b"/") && !path.bytes().contains(&0));
    assert!(
        path.bytes()
            .split(|&byte| byte == b'/')
            .all(|part| part != b"..")
    );
    assert!(path.segments().all(|segment| segment != b"."));
}

/// The documented rules, one after the other.
fn decode_plainly(raw: &[u8]) -> Option<(Vec<Vec<u8>>, bool)> {
    let mut segments: Vec<Vec<u8>> = Vec::new();
    let mut slash = false;
    let raw_segments: Vec<&[u8]> = raw
        .strip_prefix(b"/")?
        .split(|&byte| byte == b'/')
        .collect();
    for (index, raw) in raw_segments.iter().enumerate() {
        let last = index + 1 == raw_segments.len();
        let segment = decode_segment(raw)?;
        slash = last && matches!(&segment[..], b"" | b"." | b"..");
        match &segment[..] {
            b"" if last => {}
            b"." => {}
            b".." => drop(segments.pop()?),
            _ if segment.contains(&b'/') && segment.split(|&b| b == b'/').any(|p| p == b"..") => {
                return None;
            }
            _ => segments.push(segment),
        }
    }
    Some((segments, slash))
}

fn decode_segment(raw: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        if byte <= b' ' || matches!(byte, 0x7f | b'?' | b'#') {
            return None;
        }
        let mut digit = || char::from(*bytes.next()?).to_digit(16);
        let byte = match byte {
            b'%' => u8::try_from(digit()? * 16 + digit()?)
                .ok()
                .filter(|&byte| byte != 0)?,
            _ => byte,
        };
        decoded.push(byte);
    }
    Some(decoded)
}

fn encode(segments: &[Vec<u8>], slash: bool) -> Vec<u8> {
    let mut raw = Vec::new();
    for segment in segments {
        raw.push(b'/');
        for byte in segment {
            raw.extend(format!("%{byte:02x}").into_bytes());
        }
    }
    if slash {
        raw.push(b'/');
    }
    raw
}
