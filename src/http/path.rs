//! A path decoded for look-up and for PATH_INFO.
//!
//! Decodes exactly once; refuses to touch the file system, to change case and to merge segments.

use super::class::{PATH, find_outside};
use super::{Malformed, hex_value};

/// A decoded path, in buffers that are reused.
///
/// - Dot segments, also encoded ones (`%2e`), are resolved as in RFC 3986 section 5.2.4, except that
///   `..` above the root is an error instead of the root.
/// - Empty segments (`/a//b`) are segments like any other: look-up passes over them, and behind a
///   handler they stay in PATH_INFO. `..` removes one of them.
/// - An encoded slash (`%2F`) stays inside its segment. A segment that holds `/` names no file; in
///   PATH_INFO it is a slash like the others. With a `..` beside it the path is refused.
/// - The path after the last slash is a segment only if it is not empty; `/a/` is the segment `a`
///   and a trailing slash.
#[derive(Debug, Default)]
pub struct DecodedPath {
    /// `/`, then the segments with `/` between, then `/` if there is a trailing one.
    bytes: Vec<u8>,
    /// Where each segment ends in `bytes`; each starts one behind the end of the one before it.
    ends: Vec<usize>,
    trailing_slash: bool,
}

impl DecodedPath {
    /// An empty path; the first `decode` allocates.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces what is here by the decoded `raw`, a path without its query.
    ///
    /// # Errors
    ///
    /// A [`Malformed`] of the `Path` kinds; the path is then empty.
    pub fn decode(&mut self, raw: &[u8]) -> Result<(), Malformed> {
        self.clear();
        let result = self.push_segments(raw);
        if result.is_err() {
            self.clear();
        }
        result
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.trailing_slash = false;
    }

    fn push_segments(&mut self, raw: &[u8]) -> Result<(), Malformed> {
        let Some((b'/', raw)) = raw.split_first() else {
            return Err(Malformed::PathSyntax);
        };
        let mut rest = Some(raw);
        while let Some(raw) = rest {
            let end = memchr::memchr(b'/', raw).unwrap_or(raw.len());
            let (segment, tail) = raw.split_at_checked(end).unwrap_or((raw, b""));
            rest = tail.get(1..);
            self.push_segment(segment, rest.is_none())?;
        }
        if self.trailing_slash {
            self.bytes.push(b'/');
        }
        Ok(())
    }

    /// Appends one raw segment. The last one leaves a trailing slash if nothing of it remains.
    fn push_segment(&mut self, raw: &[u8], last: bool) -> Result<(), Malformed> {
        let start = self.bytes.len();
        self.bytes.push(b'/');
        self.push_decoded(raw)?;
        match self.bytes.get(start + 1..).unwrap_or_default() {
            b"" if last => self.drop_from(start, last),
            b"." => self.drop_from(start, last),
            b".." => {
                self.ends.pop().ok_or(Malformed::PathAboveRoot)?;
                self.drop_from(self.ends.last().copied().unwrap_or(0), last);
            }
            segment if hides_dots(segment) => return Err(Malformed::PathEncodedDots),
            _ => self.ends.push(self.bytes.len()),
        }
        Ok(())
    }

    fn drop_from(&mut self, start: usize, last: bool) {
        self.bytes.truncate(start);
        self.trailing_slash = last;
    }

    /// RFC 3986 section 2.1: each escape is decoded once, its result never looked at again.
    fn push_decoded(&mut self, mut raw: &[u8]) -> Result<(), Malformed> {
        while let Some(end) = find_outside(raw, PATH) {
            let (plain, rest) = raw.split_at_checked(end).unwrap_or((raw, b""));
            self.bytes.extend_from_slice(plain);
            let Some((b'%', rest)) = rest.split_first() else {
                return Err(Malformed::PathSyntax);
            };
            let (digits, rest) = rest.split_first_chunk().ok_or(Malformed::PathEscape)?;
            match decode_escape(*digits).ok_or(Malformed::PathEscape)? {
                0 => return Err(Malformed::PathNul),
                decoded => self.bytes.push(decoded),
            }
            raw = rest;
        }
        self.bytes.extend_from_slice(raw);
        Ok(())
    }

    /// The decoded segments in order.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 1;
        self.ends.iter().map(move |&end| {
            let segment = self.bytes.get(start..end).unwrap_or_default();
            start = end + 1;
            segment
        })
    }

    /// The whole decoded path: starts with `/`, holds no NUL; empty before the first `decode`.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Offset in [`Self::bytes`] behind the first `segments` segments: what follows is PATH_INFO.
    #[must_use]
    pub fn offset_after(&self, segments: usize) -> usize {
        match segments.checked_sub(1) {
            None => 0,
            Some(last) => self.ends.get(last).copied().unwrap_or(self.bytes.len()),
        }
    }

    /// Whether the path ends in a slash, also by a dot segment (`/a/.`); true for the root.
    #[must_use]
    pub fn trailing_slash(&self) -> bool {
        self.trailing_slash
    }
}

fn decode_escape([high, low]: [u8; 2]) -> Option<u8> {
    Some(hex_value(high)? << 4 | hex_value(low)?)
}

/// Whether an encoded slash in `segment` makes a dot segment that resolution did not see: a handler
/// that joins PATH_INFO to a folder would climb out of it.
fn hides_dots(segment: &[u8]) -> bool {
    segment.contains(&b'/')
        && segment
            .split(|&byte| byte == b'/')
            .any(|part| part == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(raw: &str) -> Result<(String, Vec<String>, bool), Malformed> {
        let mut path = DecodedPath::new();
        path.decode(raw.as_bytes())?;
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let segments: Vec<_> = path.segments().map(text).collect();
        Ok((text(path.bytes()), segments, path.trailing_slash()))
    }

    #[test]
    fn paths_are_decoded_once_and_dot_segments_resolved() {
        for (raw, bytes, segments, slash) in [
            ("/", "/", &[][..], true),
            ("/a", "/a", &["a"], false),
            ("/a/", "/a/", &["a"], true),
            ("/a/b/c", "/a/b/c", &["a", "b", "c"], false),
            ("/A%20b%2B+", "/A b++", &["A b++"], false),
            ("/%61%2541", "/a%41", &["a%41"], false), // once
            ("/%C3%a9", "/\\xc3\\xa9", &["\\xc3\\xa9"], false),
            ("/\u{e9}", "/\\xc3\\xa9", &["\\xc3\\xa9"], false), // as curl sends it
            (
                "/a;b=c:@!$&'()*,",
                "/a;b=c:@!$&\\'()*,",
                &["a;b=c:@!$&\\'()*,"],
                false,
            ),
            // RFC 3986 5.2.4
            ("/./a/./b/.", "/a/b/", &["a", "b"], true),
            ("/a/b/../c", "/a/c", &["a", "c"], false),
            ("/a/b/..", "/a/", &["a"], true),
            ("/a/..", "/", &[], true),
            ("/a/../b/", "/b/", &["b"], true),
            ("/a/%2e/b/%2E%2e/c", "/a/c", &["a", "c"], false),
            ("/a/.%2e/b", "/b", &["b"], false),
            ("/a/.../b", "/a/.../b", &["a", "...", "b"], false),
            // empty segments stay
            ("//", "//", &[""], true),
            ("//a", "//a", &["", "a"], false),
            ("/a//b", "/a//b", &["a", "", "b"], false),
            ("/a//", "/a//", &["a", ""], true),
            ("/a//..", "/a/", &["a"], true),
            ("/a//../b", "/a/b", &["a", "b"], false),
            // encoded slashes stay inside their segment
            ("/a%2Fb/c", "/a/b/c", &["a/b", "c"], false),
            ("/a%2f", "/a/", &["a/"], false),
            ("/%2f/a", "///a", &["/", "a"], false),
            ("/a%2Fb/../c", "/c", &["c"], false),
        ] {
            let segments: Vec<String> = segments.iter().map(|&s| s.to_owned()).collect();
            assert_eq!(
                decode(raw),
                Ok((bytes.to_owned(), segments, slash)),
                "{raw}"
            );
        }
    }

    #[test]
    fn paths_that_decode_to_danger_are_refused() {
        for (raw, expected) in [
            ("", Malformed::PathSyntax),
            ("a", Malformed::PathSyntax),
            ("*", Malformed::PathSyntax),
            ("/a b", Malformed::PathSyntax),
            ("/a\nb", Malformed::PathSyntax),
            ("/a?b", Malformed::PathSyntax),
            ("/a#b", Malformed::PathSyntax),
            ("/a\u{7f}", Malformed::PathSyntax),
            ("/%", Malformed::PathEscape),
            ("/%4", Malformed::PathEscape),
            ("/%4/1", Malformed::PathEscape),
            ("/%4g", Malformed::PathEscape),
            ("/%%41", Malformed::PathEscape),
            ("/a%00b", Malformed::PathNul),
            ("/..", Malformed::PathAboveRoot),
            ("/../a", Malformed::PathAboveRoot),
            ("/a/../..", Malformed::PathAboveRoot),
            ("/%2e%2e/a", Malformed::PathAboveRoot),
            ("/a/%2e%2e%2fb", Malformed::PathEncodedDots),
            ("/a/b%2f..", Malformed::PathEncodedDots),
            ("/a/..%2f..%2fetc", Malformed::PathEncodedDots),
        ] {
            assert_eq!(decode(raw), Err(expected), "{raw:?}");
        }
    }

    #[test]
    fn what_follows_a_number_of_segments_is_path_info() {
        let mut path = DecodedPath::new();
        for (raw, segments, path_info) in [
            ("/a/b/c", 0, "/a/b/c"),
            ("/a/b/c", 1, "/b/c"),
            ("/a/b/c", 2, "/c"),
            ("/a/b/c", 3, ""),
            ("/a/b/c", 9, ""),
            ("/a/", 1, "/"),
            ("/a//b", 1, "//b"),
            ("/a/x%2fy", 1, "/x/y"),
            ("/", 0, "/"),
        ] {
            path.decode(raw.as_bytes()).unwrap();
            let rest = &path.bytes()[path.offset_after(segments)..];
            assert_eq!(rest, path_info.as_bytes(), "{raw} {segments}");
        }
    }

    #[test]
    fn a_refused_path_leaves_nothing_behind() {
        let mut path = DecodedPath::new();
        path.decode(b"/a/").unwrap();
        assert!(path.decode(b"/b/%").is_err());
        assert_eq!(
            (path.bytes(), path.segments().count(), path.trailing_slash()),
            (&b""[..], 0, false)
        );
    }

    #[test]
    fn no_sequence_of_nasty_words_leaves_a_dot_segment() {
        let words = [
            "/", "//", ".", "..", "%2e", "%2E.", "%2f", "%5c", "a", "%", "%00", "%25", "?",
        ];
        let mut path = DecodedPath::new();
        let choices = words.len().pow(4);
        for choice in 0..choices {
            let raw = (0..4).fold("/".to_owned(), |raw, place| {
                raw + words[choice / words.len().pow(place) % words.len()]
            });
            if path.decode(raw.as_bytes()).is_err() {
                continue;
            }
            assert!(
                path.segments()
                    .all(|segment| segment != b"." && segment != b".."),
                "{raw}"
            );
            let mut parts = path.bytes().split(|&byte| byte == b'/');
            assert!(parts.all(|part| part != b".."), "{raw}");
            assert!(
                path.bytes().starts_with(b"/") && !path.bytes().contains(&0),
                "{raw}"
            );
            let joined: Vec<u8> = path.segments().flat_map(|s| [b"/", s].concat()).collect();
            let end: &[u8] = if path.trailing_slash() { b"/" } else { b"" };
            assert_eq!(path.bytes(), [&joined, end].concat(), "{raw}");
        }
    }
}
