//! What the fields that govern the message mean: framing, connection, host, expectation.
//!
//! Takes one field at a time, in order; refuses to look at any other field.

use super::class::is_name;
use super::{Malformed, Version, is_authority, trim};

/// How the request's body is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// Neither Content-Length nor Transfer-Encoding: no body.
    None,
    /// Content-Length, in bytes.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

/// What has been learnt from the fields so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Governing<'a> {
    version: Version,
    pub(super) host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    expect_continue: bool,
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    upgrade_field: bool,
}

impl<'a> Governing<'a> {
    pub(super) fn new(version: Version) -> Self {
        Self {
            version,
            host: None,
            length: None,
            chunked: false,
            expect_continue: false,
            close: false,
            keep_alive: false,
            upgrade_option: false,
            upgrade_field: false,
        }
    }

    /// Learns from one field. Length and first letter rule out nearly every other name.
    #[inline]
    pub(super) fn learn(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Malformed> {
        let first = name.first().map_or(0, |byte| byte | 0x20);
        match (name.len(), first) {
            (4, b'h') if is_name(name, b"host") => self.learn_host(value),
            (6, b'e') if is_name(name, b"expect") => self.learn_expect(value),
            (7, b'u') if is_name(name, b"upgrade") => {
                self.upgrade_field = true;
                Ok(())
            }
            (10, b'c') if is_name(name, b"connection") => {
                self.learn_connection(value);
                Ok(())
            }
            (14, b'c') if is_name(name, b"content-length") => self.learn_length(value),
            (17, b't') if is_name(name, b"transfer-encoding") => self.learn_coding(value),
            _ => Ok(()),
        }
    }

    /// RFC 9112 section 3.2: at most one Host, and valid. Empty is what a client sends whose target
    /// has no authority (RFC 9110 section 7.2).
    fn learn_host(&mut self, value: &'a [u8]) -> Result<(), Malformed> {
        if self.host.is_some() {
            return Err(Malformed::HostRepeated);
        }
        if !value.is_empty() && !is_authority(value) {
            return Err(Malformed::HostSyntax);
        }
        self.host = Some(value);
        Ok(())
    }

    /// RFC 9112 section 6.3: a list of equal valid values may be folded, everything else is refused.
    fn learn_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        for element in value.split(|&byte| byte == b',') {
            let length = parse_length(trim(element)).ok_or(Malformed::ContentLengthSyntax)?;
            if self.length.is_some_and(|known| known != length) {
                return Err(Malformed::ContentLengthConflict);
            }
            self.length = Some(length);
        }
        Ok(())
    }

    /// RFC 9112 section 6.1: chunked, once and alone. Empty list elements are refused as well,
    /// although RFC 9110 section 5.6.1 would skip them: proxies differ on them.
    fn learn_coding(&mut self, value: &[u8]) -> Result<(), Malformed> {
        if self.version == Version::Http10 {
            return Err(Malformed::TransferEncodingInHttp10);
        }
        for element in value.split(|&byte| byte == b',') {
            let element = trim(element);
            let coding = element
                .split(|&byte| byte == b';')
                .next()
                .unwrap_or_default();
            if self.chunked || coding.is_empty() {
                return Err(Malformed::TransferEncodingSyntax);
            }
            if !is_name(trim(coding), b"chunked") {
                return Err(Malformed::TransferCodingUnknown);
            }
            // Chunked has no parameters; their presence is an error (RFC 9112 section 7.1).
            if coding.len() != element.len() {
                return Err(Malformed::TransferEncodingSyntax);
            }
            self.chunked = true;
        }
        Ok(())
    }

    /// RFC 9112 section 9.3, 9.6: options are tokens in any case; unknown ones name other fields.
    fn learn_connection(&mut self, value: &[u8]) {
        // Nearly every Connection field has one option.
        if self.learn_option(value) {
            return;
        }
        for element in value.split(|&byte| byte == b',') {
            self.learn_option(trim(element));
        }
    }

    fn learn_option(&mut self, option: &[u8]) -> bool {
        let known = match option.len() {
            5 if is_name(option, b"close") => &mut self.close,
            7 if is_name(option, b"upgrade") => &mut self.upgrade_option,
            10 if is_name(option, b"keep-alive") => &mut self.keep_alive,
            _ => return false,
        };
        *known = true;
        true
    }

    /// RFC 9110 section 10.1.1: only `100-continue` is known, and HTTP/1.0's is ignored.
    fn learn_expect(&mut self, value: &[u8]) -> Result<(), Malformed> {
        for element in value.split(|&byte| byte == b',') {
            let expectation = trim(element);
            if is_name(expectation, b"100-continue") {
                self.expect_continue = self.version == Version::Http11;
            } else if !expectation.is_empty() {
                return Err(Malformed::ExpectationUnknown);
            }
        }
        Ok(())
    }

    /// RFC 9112 section 3.2, 6.3: what can be judged only after the last field.
    pub(super) fn body(&self) -> Result<BodyLength, Malformed> {
        if self.host.is_none() && self.version == Version::Http11 {
            return Err(Malformed::HostMissing);
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Malformed::TransferEncodingWithLength),
            (true, None) => Ok(BodyLength::Chunked),
            (false, Some(length)) => Ok(BodyLength::Length(length)),
            (false, None) => Ok(BodyLength::None),
        }
    }

    /// RFC 9112 section 9.3: `close` wins; HTTP/1.1 persists, HTTP/1.0 only when asked to.
    pub(super) fn keep_alive(&self) -> bool {
        !self.close && (self.version == Version::Http11 || self.keep_alive)
    }

    /// Whether the client waits for 100 before a body that is still to come.
    pub(super) fn expect_continue(&self) -> bool {
        self.expect_continue && (self.chunked || self.length.is_some_and(|length| length > 0))
    }

    /// RFC 9110 section 7.8: both fields are needed, and HTTP/1.0's Upgrade is ignored.
    pub(super) fn upgrade(&self) -> bool {
        self.upgrade_field && self.upgrade_option && self.version == Version::Http11
    }
}

/// The value of Content-Length: `1*DIGIT` (RFC 9110 section 8.6), no list, no sign, at most 2^64 - 1.
pub(crate) fn parse_length(digits: &[u8]) -> Option<u64> {
    let mut length = 0_u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        length = length
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    (!digits.is_empty()).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_length_is_digits_only_as_in_rfc_9110_8_6() {
        let rows: [(&[u8], Option<u64>); 10] = [
            (b"0", Some(0)),
            (b"007", Some(7)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"", None),
            (b"-1", None),
            (b"+1", None),
            (b"1 ", None),
            (b"5, 5", None),
            (b"0x10", None),
        ];
        for (value, expected) in rows {
            assert_eq!(parse_length(value), expected);
        }
    }
}
