//! The chunked transfer coding of a request body (RFC 9112 section 7.1), decoded without copying.
//!
//! Takes the body in any pieces and gives the same result; refuses to read one byte behind the
//! trailer section, and drops extensions and trailer fields after checking them.

use super::class::{QUOTED, TOKEN, VALUE, is_in};
use super::{Malformed, hex_value};

/// Bytes of chunk extensions in one body. Nobody sends any; unlimited, each byte of body could come
/// with megabytes of them (RFC 9112 section 7.1.1 asks for a limit on the total).
pub(super) const MAX_EXTENSION_BYTES: u32 = 4 * 1024;
/// Bytes of the trailer section, its final empty line not counted.
pub(super) const MAX_TRAILER_BYTES: u32 = 8 * 1024;
/// Bytes of a decoder's stored state.
pub const CHUNKED_BYTES: usize = 19;

/// First byte of a stored state. Its last digit is the version of the layout.
const LAYOUT: u8 = 0xc1;
/// Sixteen digits are 64 bits, so a size cannot overflow.
const MAX_DIGITS: u8 = 16;

/// What one call of [`Chunked::decode`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// Bytes of the input that are dealt with, `data` included.
    pub consumed: usize,
    /// Bytes of the body, a slice of the input; may be empty.
    pub data: &'a [u8],
    /// Whether the body ended, with the last consumed byte.
    pub done: bool,
}

/// What the next byte must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Expected {
    /// A digit of the size; after the first also its end.
    Size,
    /// Bad whitespace was there, so the `;` of an extension.
    ExtensionMark,
    /// The name of an extension, or whitespace before it.
    ExtensionNameStart,
    /// More of the name, `=`, `;`, or the line's end.
    ExtensionName,
    /// `=` or `;`, after whitespace.
    ExtensionNameEnd,
    /// A token or `"`, or whitespace before it.
    ExtensionValueStart,
    /// More of the token, `;`, or the line's end.
    ExtensionValue,
    /// Inside a quoted-string.
    ExtensionQuoted,
    /// The byte behind a backslash.
    ExtensionQuotedPair,
    /// `;` or the line's end, after the closing quote.
    ExtensionQuotedEnd,
    /// The LF of the size line.
    SizeLf,
    /// `remaining` bytes of data.
    Data,
    /// The CR behind the data.
    DataCr,
    /// The LF behind the data.
    DataLf,
    /// A trailer field's name or the CR of the final empty line.
    TrailerStart,
    /// More of the name, or the colon.
    TrailerName,
    /// More of the value, or its line's CR.
    TrailerValue,
    /// The LF of a trailer field.
    TrailerLf,
    /// The LF of the final empty line.
    FinalLf,
    /// Nothing: the body has ended.
    Done,
    /// Nothing: an error was reported.
    Broken,
}

const STORABLE: [Expected; 20] = [
    Expected::Size,
    Expected::ExtensionMark,
    Expected::ExtensionNameStart,
    Expected::ExtensionName,
    Expected::ExtensionNameEnd,
    Expected::ExtensionValueStart,
    Expected::ExtensionValue,
    Expected::ExtensionQuoted,
    Expected::ExtensionQuotedPair,
    Expected::ExtensionQuotedEnd,
    Expected::SizeLf,
    Expected::Data,
    Expected::DataCr,
    Expected::DataLf,
    Expected::TrailerStart,
    Expected::TrailerName,
    Expected::TrailerValue,
    Expected::TrailerLf,
    Expected::FinalLf,
    Expected::Done,
];

/// A decoder between two pieces of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunked {
    state: Expected,
    /// Digits of the size so far, 1 to 16 until its line ends; 0 elsewhere.
    digits: u8,
    /// Until the size line's end the size so far, then what is left of the data.
    remaining: u64,
    extension_bytes: u32,
    trailer_bytes: u32,
}

impl Default for Chunked {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunked {
    /// At the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Expected::Size,
            digits: 0,
            remaining: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
        }
    }

    /// Decodes up to the end of the next piece of data. Call it again with what was not consumed,
    /// until `done` or until `consumed` is the whole input; more input may then come in any pieces.
    ///
    /// # Errors
    ///
    /// [`Malformed`] of the chunk and trailer kinds; every later call fails too.
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<'a>, Malformed> {
        let mut consumed = 0;
        for &byte in input {
            match self.state {
                Expected::Data => return Ok(self.take_data(input, consumed)),
                Expected::Done => break,
                _ => self.advance(byte)?,
            }
            consumed += 1;
        }
        match self.state {
            Expected::Broken => Err(Malformed::ChunkSize),
            state => Ok(Decoded {
                consumed,
                data: &[],
                done: state == Expected::Done,
            }),
        }
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == Expected::Done
    }

    /// The least number of bytes that must still come before the body can end; 0 once it has.
    #[must_use]
    pub fn missing(&self) -> u64 {
        // CRLF behind the data, then "0", CRLF, CRLF.
        match self.state {
            Expected::Done | Expected::Broken => 0,
            Expected::Data => self.remaining.saturating_add(7),
            Expected::DataCr => 7,
            Expected::DataLf => 6,
            Expected::TrailerLf => 3,
            Expected::TrailerStart => 2,
            _ => 1,
        }
    }

    /// The data of the current chunk that has been announced and is still to come.
    #[must_use]
    pub fn announced(&self) -> u64 {
        match self.state {
            Expected::Data => self.remaining,
            _ => 0,
        }
    }

    fn take_data<'a>(&mut self, input: &'a [u8], consumed: usize) -> Decoded<'a> {
        let rest = input.get(consumed..).unwrap_or_default();
        let wanted = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        let data = rest.get(..wanted).unwrap_or(rest);
        self.remaining -= data.len() as u64;
        if self.remaining == 0 {
            self.state = Expected::DataCr;
        }
        Decoded {
            consumed: consumed + data.len(),
            data,
            done: false,
        }
    }

    fn advance(&mut self, byte: u8) -> Result<(), Malformed> {
        let next = match self.state {
            Expected::Size => self.advance_size(byte),
            Expected::SizeLf => self.end_size(byte),
            Expected::DataCr | Expected::DataLf => self.advance_data_end(byte),
            Expected::TrailerStart
            | Expected::TrailerName
            | Expected::TrailerValue
            | Expected::TrailerLf
            | Expected::FinalLf => self.advance_trailer(byte),
            Expected::Data | Expected::Done | Expected::Broken => Err(Malformed::ChunkSize),
            _ => self.advance_extension(byte),
        };
        self.state = *next.as_ref().unwrap_or(&Expected::Broken);
        next.map(|_| ())
    }

    /// `1*HEXDIG`; no sign, no prefix, no whitespace before it.
    fn advance_size(&mut self, byte: u8) -> Result<Expected, Malformed> {
        if let Some(digit) = hex_value(byte) {
            if self.digits == MAX_DIGITS {
                return Err(Malformed::ChunkSize);
            }
            self.digits += 1;
            self.remaining = self.remaining << 4 | u64::from(digit);
            return Ok(Expected::Size);
        }
        if self.digits == 0 {
            return Err(Malformed::ChunkSize);
        }
        match byte {
            b'\r' => Ok(Expected::SizeLf),
            b';' | b' ' | b'\t' => self.advance_extension(byte),
            _ => Err(Malformed::ChunkSize),
        }
    }

    /// `*( BWS ";" BWS name [ BWS "=" BWS value ] )` (RFC 9112 section 7.1.1). Whitespace is allowed
    /// only where that grammar has it, so not at the line's end.
    fn advance_extension(&mut self, byte: u8) -> Result<Expected, Malformed> {
        use Expected::*;
        self.extension_bytes += 1;
        if self.extension_bytes > MAX_EXTENSION_BYTES {
            return Err(Malformed::ChunkExtensionTooLong);
        }
        let token = is_in(byte, TOKEN);
        Ok(match (self.state, byte) {
            (ExtensionQuoted, b'"') => ExtensionQuotedEnd,
            (ExtensionQuoted, b'\\') => ExtensionQuotedPair,
            (ExtensionQuoted, _) if is_in(byte, QUOTED) => ExtensionQuoted,
            (ExtensionQuotedPair, _) if is_in(byte, VALUE) => ExtensionQuoted,
            (ExtensionNameStart, b' ' | b'\t') => ExtensionNameStart,
            (ExtensionNameStart | ExtensionName, _) if token => ExtensionName,
            (ExtensionName | ExtensionNameEnd, b'=') => ExtensionValueStart,
            (ExtensionName | ExtensionNameEnd, b' ' | b'\t') => ExtensionNameEnd,
            (ExtensionValueStart, b' ' | b'\t') => ExtensionValueStart,
            (ExtensionValueStart, b'"') => ExtensionQuoted,
            (ExtensionValueStart | ExtensionValue, _) if token => ExtensionValue,
            (Size | ExtensionMark | ExtensionValue | ExtensionQuotedEnd, b' ' | b'\t') => {
                ExtensionMark
            }
            (
                Size | ExtensionMark | ExtensionName | ExtensionNameEnd | ExtensionValue
                | ExtensionQuotedEnd,
                b';',
            ) => ExtensionNameStart,
            (ExtensionName | ExtensionValue | ExtensionQuotedEnd, b'\r') => SizeLf,
            _ => return Err(Malformed::ChunkExtension),
        })
    }

    fn end_size(&mut self, byte: u8) -> Result<Expected, Malformed> {
        if byte != b'\n' {
            return Err(Malformed::BareCr);
        }
        self.digits = 0;
        Ok(match self.remaining {
            0 => Expected::TrailerStart,
            _ => Expected::Data,
        })
    }

    fn advance_data_end(&mut self, byte: u8) -> Result<Expected, Malformed> {
        match (self.state, byte) {
            (Expected::DataCr, b'\r') => Ok(Expected::DataLf),
            (Expected::DataLf, b'\n') => Ok(Expected::Size),
            _ => Err(Malformed::ChunkEnd),
        }
    }

    /// Field lines as in the head, then an empty line (RFC 9112 section 7.1.2). They are dropped:
    /// CGI has no place for them, and merging them into the head is forbidden (section 7.1.2).
    fn advance_trailer(&mut self, byte: u8) -> Result<Expected, Malformed> {
        use Expected::*;
        if self.state == FinalLf {
            return if byte == b'\n' {
                Ok(Done)
            } else {
                Err(Malformed::BareCr)
            };
        }
        if (self.state, byte) == (TrailerStart, b'\r') {
            return Ok(FinalLf);
        }
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_TRAILER_BYTES {
            return Err(Malformed::TrailerTooLong);
        }
        Ok(match (self.state, byte) {
            (TrailerStart | TrailerName, _) if is_in(byte, TOKEN) => TrailerName,
            (TrailerName, b':') => TrailerValue,
            (TrailerValue, _) if is_in(byte, VALUE) => TrailerValue,
            (TrailerValue, b'\r') => TrailerLf,
            (TrailerLf, b'\n') => TrailerStart,
            (TrailerLf, _) => return Err(Malformed::BareCr),
            _ => return Err(Malformed::TrailerSyntax),
        })
    }

    /// The state for storage: layout, state, digits, then little-endian remaining, extension and
    /// trailer bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; CHUNKED_BYTES] {
        let mut bytes = [0; CHUNKED_BYTES];
        let parts = [LAYOUT, self.state as u8, self.digits]
            .into_iter()
            .chain(self.remaining.to_le_bytes())
            .chain(self.extension_bytes.to_le_bytes())
            .chain(self.trailer_bytes.to_le_bytes());
        for (place, part) in bytes.iter_mut().zip(parts) {
            *place = part;
        }
        bytes
    }

    /// The decoder stored in `bytes`; `None` unless a decoder that has not failed could have been.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; CHUNKED_BYTES]) -> Option<Self> {
        let (&[layout, state, digits], rest) = bytes.split_first_chunk()?;
        let (remaining, rest) = rest.split_first_chunk()?;
        let (extension_bytes, rest) = rest.split_first_chunk()?;
        let (trailer_bytes, _) = rest.split_first_chunk()?;
        let stored = Self {
            state: *STORABLE.get(usize::from(state))?,
            digits,
            remaining: u64::from_le_bytes(*remaining),
            extension_bytes: u32::from_le_bytes(*extension_bytes),
            trailer_bytes: u32::from_le_bytes(*trailer_bytes),
        };
        (layout == LAYOUT && stored.is_consistent()).then_some(stored)
    }

    fn is_consistent(&self) -> bool {
        let in_size_line = (self.state as u8) <= Expected::SizeLf as u8;
        let in_trailer = (self.state as u8) >= Expected::TrailerStart as u8;
        let fits_digits = match self.digits {
            MAX_DIGITS => true,
            digits @ 0..MAX_DIGITS => self.remaining >> (4 * digits) == 0,
            _ => false,
        };
        self.extension_bytes <= MAX_EXTENSION_BYTES
            && self.trailer_bytes <= MAX_TRAILER_BYTES
            && (in_trailer || self.trailer_bytes == 0)
            && match self.state {
                Expected::Size => fits_digits,
                Expected::Data => self.digits == 0 && self.remaining > 0,
                _ if in_size_line => self.digits > 0 && fits_digits,
                _ => self.digits == 0 && self.remaining == 0,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Body, consumed bytes and whether it ended, fed in pieces that end at the given cuts; the
    /// state is stored and loaded between them.
    fn decode_cut(input: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let mut decoder = Chunked::new();
        let (mut body, mut consumed) = (Vec::new(), 0);
        for &end in cuts.iter().chain([&input.len()]) {
            while consumed < end && !decoder.is_done() {
                let step = decoder.decode(&input[consumed..end])?;
                assert!(step.consumed > 0 && step.consumed <= end - consumed);
                assert_eq!(step.done, decoder.is_done());
                body.extend_from_slice(step.data);
                consumed += step.consumed;
            }
            decoder = Chunked::from_bytes(&decoder.to_bytes()).unwrap();
        }
        Ok((body, consumed, decoder.is_done()))
    }

    fn decode(input: &[u8]) -> Result<(Vec<u8>, usize, bool), Malformed> {
        decode_cut(input, &[])
    }

    const GOOD: [(&[u8], &[u8]); 9] = [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (
            b"1\r\na\r\n00A\r\n0123456789\r\n000\r\n\r\n",
            b"a0123456789",
        ),
        (b"0000000000000001\r\n\r\r\n0\r\n\r\n", b"\r"),
        (b"2;a\r\n\r\n\r\n0;b=c\r\n\r\n", b"\r\n"),
        (b"1 ; a = b\t;c=\"d;\\\" \xff\";e\r\nx\r\n0\r\n\r\n", b"x"),
        (b"1;a=\"\"\r\nx\r\n0\r\nA: b\r\nC:\r\n\r\n", b"x"),
        (b"1;a=\"b\" ;c\r\nx\r\n0\r\nA: \t\xff\r\n\r\n", b"x"),
        (
            b"e\r\n0\r\n\r\n4\r\nabcd\r\n\r\n0\r\n\r\n",
            b"0\r\n\r\n4\r\nabcd\r\n",
        ),
    ];

    #[test]
    fn good_bodies_are_decoded_to_their_last_byte_and_no_further() {
        for (input, body) in GOOD {
            assert_eq!(decode(input), Ok((body.to_vec(), input.len(), true)));
            let followed = [input, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(decode(&followed), Ok((body.to_vec(), input.len(), true)));
            for cut in 0..input.len() {
                assert!(
                    matches!(decode(&input[..cut]), Ok((_, consumed, false)) if consumed == cut)
                );
            }
        }
    }

    #[test]
    fn every_two_cuts_give_the_same_result() {
        for (input, _) in GOOD {
            for first in 0..input.len() {
                for second in first..input.len() {
                    assert_eq!(decode_cut(input, &[first, second]), decode(input));
                }
            }
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        use Malformed::*;
        for (input, expected) in [
            (&b"\r\n"[..], ChunkSize), // RFC 9112 7.1: 1*HEXDIG
            (b" 1\r\n", ChunkSize),
            (b"+1\r\n", ChunkSize),
            (b"-1\r\n", ChunkSize),
            (b"0x1\r\n", ChunkSize),
            (b"g\r\n", ChunkSize),
            (b"1_0\r\n", ChunkSize),
            (b";a\r\n", ChunkSize),
            (b"00000000000000001\r\n", ChunkSize),
            (b"10000000000000000\r\n", ChunkSize),
            (b"1\n", ChunkSize), // bare LF
            (b"1\0", ChunkSize),
            (b"1\rx", BareCr),
            (b"1 \r\n", ChunkExtension), // BWS only before ";"
            (b"1 2\r\n", ChunkExtension),
            (b"1;\r\n", ChunkExtension),
            (b"1;;a\r\n", ChunkExtension),
            (b"1;a=\r\n", ChunkExtension),
            (b"1;a=;\r\n", ChunkExtension),
            (b"1;a b\r\n", ChunkExtension),
            (b"1;a \r\n", ChunkExtension),
            (b"1;a=b c\r\n", ChunkExtension),
            (b"1;a=\"b\"c\r\n", ChunkExtension),
            (b"1;a=\"b\r\n", ChunkExtension),
            (b"1;a=\"b\n", ChunkExtension),
            (b"1;a=\"\\\r", ChunkExtension),
            (b"1;a\n", ChunkExtension),
            (b"1;a\0", ChunkExtension),
            (b"1;a\rb", BareCr),
            (b"1\r\nab", ChunkEnd),
            (b"1\r\na\n", ChunkEnd),
            (b"1\r\na\rb", ChunkEnd),
            (b"0\r\n\n", TrailerSyntax),
            (b"0\r\n\rx", BareCr),
            (b"0\r\n a: b\r\n", TrailerSyntax),
            (b"0\r\n: b\r\n", TrailerSyntax),
            (b"0\r\na : b\r\n", TrailerSyntax),
            (b"0\r\na\r\n", TrailerSyntax),
            (b"0\r\na: b\n", TrailerSyntax),
            (b"0\r\na: \0", TrailerSyntax),
            (b"0\r\na: b\rc", BareCr),
            (b"0\r\na: b\r\n c\r\n", TrailerSyntax), // obs-fold
        ] {
            let name = input.escape_ascii().to_string();
            assert_eq!(decode(input), Err(expected), "{name}");
            let cuts: Vec<usize> = (0..input.len()).collect();
            assert_eq!(decode_cut(input, &cuts), Err(expected), "{name}");
            assert!(
                decode(&input[..input.len() - 1]).is_ok()
                    || decode(&input[..input.len() - 1]) == Err(expected),
                "{name}"
            );
        }
    }

    #[test]
    fn sizes_up_to_64_bits_are_taken() {
        let mut decoder = Chunked::new();
        let step = decoder.decode(b"FFFFFFFFFFFFFFFF\r\nab").unwrap();
        assert_eq!((step.consumed, step.data), (20, &b"ab"[..]));
        assert_eq!(decoder.missing(), u64::MAX);
        assert_eq!(decoder.announced(), u64::MAX - 2);
        assert_eq!(Chunked::from_bytes(&decoder.to_bytes()), Some(decoder));
    }

    #[test]
    fn extensions_and_trailers_are_limited_over_the_whole_body() {
        let extensions = |bytes: usize| {
            let half = format!("1;{}\r\nx\r\n", "a".repeat(bytes / 2 - 2)); // ";" and CR count
            format!("{half}{half}0\r\n\r\n").into_bytes()
        };
        assert!(matches!(decode(&extensions(4096)), Ok((_, _, true))));
        assert_eq!(
            decode(&extensions(4098)),
            Err(Malformed::ChunkExtensionTooLong)
        );
        let trailer =
            |bytes: usize| format!("0\r\na:{}\r\n\r\n", "b".repeat(bytes - 4)).into_bytes();
        assert!(matches!(decode(&trailer(8192)), Ok((_, _, true))));
        assert_eq!(decode(&trailer(8193)), Err(Malformed::TrailerTooLong));
    }

    #[test]
    fn a_failed_decoder_stays_failed_and_cannot_be_stored() {
        let mut decoder = Chunked::new();
        assert!(decoder.decode(b"x").is_err());
        assert!(decoder.decode(b"0\r\n\r\n").is_err());
        assert!(decoder.decode(b"").is_err());
        assert_eq!(Chunked::from_bytes(&decoder.to_bytes()), None);
    }

    #[test]
    fn stored_garbage_is_refused() {
        let good = Chunked::new().to_bytes();
        assert_eq!(Chunked::from_bytes(&good), Some(Chunked::new()));
        for (at, byte) in [
            (0, 0),                      // layout
            (1, 20),                     // state
            (1, 255),                    // state
            (1, Expected::Data as u8),   // nothing remains
            (1, Expected::SizeLf as u8), // no digits
            (2, 17),                     // digits
            (3, 1),                      // a size without digits
            (12, 0xff),                  // extension bytes
            (16, 1),                     // trailer bytes before the trailer
        ] {
            let mut bytes = good;
            bytes[at] = byte;
            assert_eq!(Chunked::from_bytes(&bytes), None, "{at} {byte}");
        }
    }

    #[test]
    fn what_is_missing_is_never_more_than_what_comes() {
        for (input, _) in GOOD {
            for cut in 0..=input.len() {
                let mut decoder = Chunked::new();
                let mut consumed = 0;
                while consumed < cut {
                    consumed += decoder.decode(&input[consumed..cut]).unwrap().consumed;
                }
                assert!(decoder.missing() <= (input.len() - cut) as u64);
                assert_eq!(decoder.missing() == 0, cut == input.len());
            }
        }
    }

    #[test]
    fn three_nasty_words_give_the_same_in_one_piece_and_in_bytes() {
        let words: [&[u8]; 20] = [
            b"",
            b"0",
            b"1",
            b"a",
            b"\r",
            b"\n",
            b"\r\n",
            b";",
            b"=",
            b"\"",
            b"\\",
            b" ",
            b"\t",
            b":",
            b"0\r\n",
            b"1\r\na\r\n",
            b"5\r\nhello\r\n",
            b"1;a=\"b\"",
            b"A: b\r\n",
            b"FFFFFFFFFFFFFFFF",
        ];
        for first in words {
            for second in words {
                for third in words {
                    let input = [first, second, third].concat();
                    let cuts: Vec<usize> = (0..input.len()).collect();
                    assert_eq!(decode_cut(&input, &cuts), decode(&input));
                }
            }
        }
    }
}
