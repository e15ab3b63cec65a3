//! Sizes and addresses as text, and the hash of a text. Addresses are written without `core::fmt`, whose
//! machinery costs a request more than parsing its head does. Pure.

use std::io::Write;
use std::net::IpAddr;

/// Suffixes of a size with their factor, largest first.
const SIZES: [(&str, u64); 3] = [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];

/// A size in its largest whole unit.
pub(crate) fn size(bytes: u64) -> String {
    match SIZES
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
    {
        Some((suffix, factor)) => (bytes / factor).to_string() + suffix,
        None => bytes.to_string(),
    }
}

/// FNV-1a of 64 bits, for short names. It has no key, so nothing that matters may rest on two hashes
/// being equal.
pub(crate) fn fnv_1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The longest IPv6 address, with an embedded IPv4 one (inet_ntop(3), INET6_ADDRSTRLEN).
const ADDRESS_BYTES: usize = 45;

/// The text of one address, as its `Display` has it.
#[derive(Debug)]
pub(crate) struct AddressText {
    bytes: [u8; ADDRESS_BYTES],
    len: usize,
}

impl AddressText {
    /// Writes it.
    pub(crate) fn new(address: IpAddr) -> Self {
        let mut text = Self {
            bytes: [0; ADDRESS_BYTES],
            len: 0,
        };
        match address {
            IpAddr::V4(address) => {
                let [first, rest @ ..] = address.octets();
                text.push_octet(first);
                for octet in rest {
                    text.push(b'.');
                    text.push_octet(octet);
                }
            }
            IpAddr::V6(address) => {
                let mut room = text.bytes.as_mut_slice();
                // Every address fits.
                let _ = write!(room, "{address}");
                text.len = ADDRESS_BYTES - room.len();
            }
        }
        text
    }

    /// The text.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push_octet(&mut self, octet: u8) {
        if octet > 99 {
            self.push(b'0' + octet / 100);
        }
        if octet > 9 {
            self.push(b'0' + octet / 10 % 10);
        }
        self.push(b'0' + octet % 10);
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the vectors that the algorithm's authors publish.
    #[test]
    fn the_hash_is_fnv_1a() {
        for (text, expected) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(fnv_1a(text.bytes()), expected, "{text}");
        }
    }

    #[test]
    fn an_address_reads_as_its_display_does() {
        for text in [
            "0.0.0.0",
            "127.0.0.1",
            "255.255.255.255",
            "192.0.2.10",
            "::",
            "::1",
            "2001:db8::a:0",
            "::ffff:192.0.2.128",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(AddressText::new(address).as_bytes(), text.as_bytes());
        }
    }
}
