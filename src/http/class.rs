//! Which bytes may stand where: the character classes of RFC 9110 and RFC 3986.
//!
//! One table and one word-wise scan; refuses to know about lines, fields or messages.

/// `tchar` (RFC 9110 section 5.6.2).
pub(super) const TOKEN: u8 = 1;
/// Bytes of a request target: VCHAR without `#`, since a fragment is never sent (RFC 9112 section 3.2),
/// and obs-text.
///
/// RFC 3986 also excludes `"<>\^{|}`, the backtick and all above 127, but browsers send the former in
/// queries, curl and wget the latter as it was typed; they separate nothing in HTTP, so refusing them
/// would protect nobody.
pub(super) const TARGET: u8 = 2;
/// What stands for itself in a raw path: TARGET without `%` and `?`.
pub(super) const PATH: u8 = 32;
/// `unreserved` and `sub-delims`: a reg-name without its escapes (RFC 3986 section 3.2.2).
pub(super) const REG_NAME: u8 = 4;
/// VCHAR, SP, HTAB and obs-text: a field value (RFC 9110 section 5.5).
pub(super) const VALUE: u8 = 8;
/// `qdtext`: inside a quoted-string, without `"` and `\` (RFC 9110 section 5.6.4).
pub(super) const QUOTED: u8 = 16;

/// VCHAR: what may come through in a URI reference that a handler has printed.
pub(super) const REFERENCE: u8 = 64;
/// `/` and what stands for itself in a segment (`pchar`, RFC 3986 section 3.3).
pub(super) const SEGMENTS: u8 = 128;

static CLASSES: [u8; 256] = class_table();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler only")]
const fn class_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = classes_of(byte);
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

const fn classes_of(byte: u8) -> u8 {
    let mut classes = 0;
    let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
    {
        classes |= TOKEN;
    }
    if matches!(byte, b'!'..=b'~' | 0x80..) && byte != b'#' {
        classes |= TARGET;
        if !matches!(byte, b'%' | b'?') {
            classes |= PATH;
        }
    }
    if unreserved || matches!(byte, b'!' | b'$' | b'&'..=b',' | b';' | b'=') {
        classes |= REG_NAME | SEGMENTS;
    }
    if matches!(byte, b'/' | b':' | b'@') {
        classes |= SEGMENTS;
    }
    if byte.is_ascii_graphic() {
        classes |= REFERENCE;
    }
    if matches!(byte, b'\t' | b' '..=b'~' | 0x80..) {
        classes |= VALUE;
        if !matches!(byte, b'"' | b'\\') {
            classes |= QUOTED;
        }
    }
    classes
}

/// Whether `byte` belongs to one of `classes`.
#[inline]
pub(super) fn is_in(byte: u8, classes: u8) -> bool {
    // The index is a u8, so the bounds check and the fallback vanish.
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0) & classes != 0
}

/// Index of the first byte outside `classes`.
#[inline]
pub(super) fn find_outside(bytes: &[u8], classes: u8) -> Option<usize> {
    let mut rest = bytes;
    // Eight at a time, so that the loop's own cost is shared: most names are short.
    while let Some((block, tail)) = rest.split_first_chunk::<8>() {
        if let Some(run) = block.iter().position(|&byte| !is_in(byte, classes)) {
            return Some(bytes.len() - rest.len() + run);
        }
        rest = tail;
    }
    let run = rest.iter().position(|&byte| !is_in(byte, classes))?;
    Some(bytes.len() - rest.len() + run)
}

/// Index of the first byte that no target holds; long targets sixteen bytes at a time.
#[inline]
pub(super) fn find_target_end(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while let Some((block, tail)) = rest.split_first_chunk::<16>() {
        // The bytes outside TARGET, as the compiler can test them all at once.
        if any(block, |byte| {
            u8::from(byte < b'!') | u8::from(byte == 0x7f) | u8::from(byte == b'#')
        }) {
            break;
        }
        rest = tail;
    }
    Some(bytes.len() - rest.len() + find_outside(rest, TARGET)?)
}

/// Whether `name` is `lower` (letters, digits, `-`) in any case, where `name` holds no control byte
/// but HTAB. Setting one bit maps the two cases of a letter together, and onto the others only
/// themselves and control bytes.
#[inline]
pub(super) fn is_name<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    <&[u8; N]>::try_from(name).is_ok_and(|name| {
        let pairs = name.iter().zip(lower);
        pairs.fold(0, |difference, (byte, expected)| {
            difference | ((byte | 0x20) ^ expected)
        }) == 0
    })
}

/// Index of the first control byte (0-31 or 127).
///
/// Field values are most of a head, and a table costs three instructions a byte; a block of sixteen
/// costs twelve.
#[inline]
pub(super) fn find_control(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while let Some((block, tail)) = rest.split_first_chunk::<16>() {
        if any(block, |byte| u8::from(byte < 0x20) | u8::from(byte == 0x7f)) {
            break;
        }
        rest = tail;
    }
    let mut at = bytes.len() - rest.len();
    while let Some((block, tail)) = rest.split_first_chunk::<8>() {
        let hits = control_bits(*block);
        if hits != 0 {
            return Some(at + (hits.trailing_zeros() >> 3) as usize);
        }
        (rest, at) = (tail, at + 8);
    }
    Some(at + rest.iter().position(u8::is_ascii_control)?)
}

/// Whether `test` gives 1 for any byte. Integers instead of `bool`s and no early end: only so does
/// the compiler test all bytes at once.
#[inline]
fn any(block: &[u8; 16], test: impl Fn(u8) -> u8) -> bool {
    block.iter().fold(0, |found, &byte| found | test(byte)) != 0
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES * 0x80;

/// The high bit of each byte that is a control byte, the first byte lowest; exact up to the first.
///
/// Per byte below 128, the high bit of b - 32 is set for b < 32 and that of b + 1 for 127. A borrow
/// reaches later bytes only.
#[inline]
fn control_bits(block: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(block);
    let low = word.wrapping_sub(ONES * 0x20);
    let delete = (word & !HIGH).wrapping_add(ONES);
    (low | delete) & !word & HIGH
}

/// Where the token (RFC 9110 section 5.6.2) that `bytes` start with ends; `None`: not before they do.
#[must_use]
pub(crate) fn token_end(bytes: &[u8]) -> Option<usize> {
    find_outside(bytes, TOKEN)
}

/// Whether `bytes` is a token: not empty, only `tchar`.
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && token_end(bytes).is_none()
}

/// Whether `bytes` may stand as a field value (RFC 9110 section 5.5): no control byte but HTAB.
#[must_use]
pub fn is_field_value(bytes: &[u8]) -> bool {
    find_outside(bytes, VALUE).is_none()
}

/// `bytes` without optional whitespace (SP, HTAB; RFC 9110 section 5.6.3) around it.
#[must_use]
pub fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

#[inline]
pub(super) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

#[inline]
pub(super) fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Value of one hexadecimal digit, 0 to 15; `None` for anything else.
#[must_use]
pub(crate) fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_77_characters_of_rfc_9110_5_6_2() {
        let listed = b"!#$%&'*+-.^_`|~";
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || listed.contains(&byte);
            assert_eq!(is_in(byte, TOKEN), expected, "{byte:#04x}");
        }
    }

    #[test]
    fn reg_names_are_unreserved_and_sub_delims_of_rfc_3986() {
        let listed = b"-._~!$&'()*+,;=";
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || listed.contains(&byte);
            assert_eq!(is_in(byte, REG_NAME), expected, "{byte:#04x}");
        }
    }

    #[test]
    fn values_exclude_control_bytes_but_tab() {
        for byte in 0..=u8::MAX {
            let expected = byte == b'\t' || !byte.is_ascii_control();
            assert_eq!(is_in(byte, VALUE), expected, "{byte:#04x}");
        }
    }

    #[test]
    fn the_word_scan_agrees_with_the_byte_scan() {
        for byte in 0..=u8::MAX {
            for neighbour in [b' ', b'~', b'a', 0x80, 0xff] {
                for at in 0..36 {
                    let mut bytes = [neighbour; 36];
                    bytes[at] = byte;
                    let expected = bytes.iter().position(u8::is_ascii_control);
                    assert_eq!(find_control(&bytes), expected, "{byte:#04x} at {at}");
                }
            }
        }
    }

    #[test]
    fn a_target_ends_at_the_same_byte_in_words_and_alone() {
        for byte in 0..=u8::MAX {
            let ends = byte <= b' ' || byte == 0x7f || byte == b'#';
            for at in 0..36 {
                let mut bytes = [b'a'; 36];
                bytes[at] = byte;
                assert_eq!(find_target_end(&bytes), ends.then_some(at), "{byte:#04x}");
            }
        }
    }

    #[test]
    fn trimming_takes_spaces_and_tabs_off_both_ends_only() {
        for (bytes, expected) in [
            (&b" \t a b\t "[..], &b"a b"[..]),
            (b"", b""),
            (b" \t", b""),
            (b"\x0ba", b"\x0ba"),
        ] {
            assert_eq!(trim(bytes), expected);
        }
    }
}
