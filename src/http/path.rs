//! A path decoded for look-up and for PATH_INFO.
//!
//! Decodes exactly once; refuses to touch the file system, to change case and to merge segments.

use super::class::{PATH, find_outside};
use super::{Malformed, hex_value};

/// A decoded path, in buffers that are reused.
///
/// - Dot segments, also encoded ones (`%2e`), are resolved as in RFC 3986 section 5.2.4, except that
///   `..` above the root is an error instead of the root.
/// - Empty segments (`/a//b`) are segments like any other: look-up finds no file with an empty name,
///   so `//a` never runs `a`, and behind a handler they stay in PATH_INFO. `..` removes one of them.
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

    /// Number of segments.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.ends.len()
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
