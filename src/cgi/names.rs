//! Field names: which become variables, which are equal, which a Connection field nominates.
//!
//! It keeps no names, only their hashes, so that a list of thousands of nominations costs a
//! sort and not a product. It decides nothing about single fields: `meta` does for requests
//! and `output` for responses. Runs in the worker.

use crate::http::trim;
use crate::text;
use memchr::memchr;

/// Letters, digits and `-` only, as Apache: `_` would collide with `-`, so that a client could
/// pass for a proxy that sets `X-Real-IP` by sending `X_Real_IP`; other bytes make names that
/// shells cannot use.
static IN_VARIABLE: [u8; 256] = variable_table();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler only")]
const fn variable_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    while byte < u8::MAX {
        if byte == b'-' {
            table[byte as usize] = b'_';
        } else if byte.is_ascii_alphanumeric() {
            table[byte as usize] = byte.to_ascii_uppercase();
        }
        byte += 1;
    }
    table
}

/// What a byte of a field's name becomes in the name of its variable (RFC 3875 4.1.18): upper-cased,
/// `-` becomes `_`. 0: fields with such a byte are not passed.
#[inline]
pub(super) fn in_variable(byte: u8) -> u8 {
    // The index is a u8, so the bounds check and the fallback vanish.
    IN_VARIABLE.get(usize::from(byte)).copied().unwrap_or(0)
}

/// `name` in lower case, to be matched with the names that are known; of one that is longer than them
/// all, nothing.
pub(super) fn lower<'a>(name: &[u8], room: &'a mut [u8; 32]) -> &'a [u8] {
    let Some(lower) = room.get_mut(..name.len()) else {
        return b"";
    };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    lower
}

/// Whether `name` is one of `list`, which is in lower case.
pub(super) fn is_one_of(name: &[u8], list: &[&[u8]]) -> bool {
    list.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// The same for names that differ in case only, never 0.
pub(super) fn hash(name: &[u8]) -> u64 {
    // The bit that tells a letter's cases apart.
    text::fnv_1a(name.iter().map(|byte| byte | 0x20)) | 1
}

/// The names that Connection fields list, which are therefore hop-by-hop (RFC 9110 7.6.1).
///
/// A name whose hash collides with a listed one counts as listed. Whoever could bring that
/// about could as well have listed the name itself.
#[derive(Debug, Default)]
pub(super) struct Nominated {
    hashes: Vec<u64>,
}

impl Nominated {
    pub(super) const fn new() -> Self {
        Self { hashes: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.hashes.clear();
    }

    /// Adds the options of one Connection field; [`seal`](Self::seal) comes after the last.
    pub(super) fn add(&mut self, mut value: &[u8]) {
        while !value.is_empty() {
            let comma = memchr(b',', value).unwrap_or(value.len());
            let (option, rest) = value.split_at(comma);
            let option = trim(option);
            if !option.is_empty() {
                self.hashes.push(hash(option));
            }
            value = rest.get(1..).unwrap_or_default();
        }
    }

    pub(super) fn seal(&mut self) {
        self.hashes.sort_unstable();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether a name with this hash was listed.
    pub(super) fn has(&self, hash: u64) -> bool {
        self.hashes.binary_search(&hash).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_digits_and_the_hyphen_stand_in_variables() {
        for byte in 0..=u8::MAX {
            let expected = match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => byte.to_ascii_uppercase(),
                b'-' => b'_',
                _ => 0,
            };
            assert_eq!(in_variable(byte), expected, "{byte:#04x}");
        }
    }

    #[test]
    fn hashes_ignore_case_and_are_never_zero() {
        assert_eq!(hash(b"X-Request-Id"), hash(b"x-rEQUEST-iD"));
        assert_ne!(hash(b"X-A"), hash(b"X-B"));
        assert_ne!(hash(b""), 0);
    }

    #[test]
    fn connection_options_are_split_at_commas_and_trimmed() {
        let rows: [(&[u8], &[&[u8]]); 6] = [
            (b"close", &[b"close"]),
            (b"keep-alive, X-Hop", &[b"KEEP-ALIVE", b"x-hop"]),
            (b" ,, a ,\tb,", &[b"a", b"b"]),
            (b"", &[]),
            (b",", &[]),
            (b"a b", &[b"a b"]),
        ];
        for (value, names) in rows {
            let mut nominated = Nominated::new();
            nominated.add(value);
            nominated.seal();
            assert_eq!(nominated.hashes.len(), names.len(), "{value:?}");
            assert!(names.iter().all(|name| nominated.has(hash(name))));
            assert!(!nominated.has(hash(b"other")));
        }
    }
}
