//! What a trusted proxy says of the client that it speaks for.
//!
//! Two fields, of which only the last entry counts: the one that the proxy itself has added. What
//! stands before it the client may have written. Decides nothing about whom to trust but by the list.

use super::Scheme;
use crate::settings::TrustedProxy;
use std::net::{IpAddr, SocketAddr};

/// The client behind a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// `X-Forwarded-Proto`.
    pub scheme: Scheme,
    /// `X-Forwarded-For`; `None` if it names no address.
    pub client: Option<IpAddr>,
}

impl Forwarded {
    /// Nobody is trusted: the peer is the client.
    pub const NOTHING: Self = Self {
        scheme: Scheme::Http,
        client: None,
    };

    /// What the fields of a request from `peer` (`None`: over a Unix domain socket) say, if the
    /// list trusts it.
    pub fn read<'f>(
        trusted: &[TrustedProxy],
        peer: Option<SocketAddr>,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Self {
        let peer = peer.map(|peer| peer.ip().to_canonical());
        let mut said = Self::NOTHING;
        if !trusted.iter().any(|proxy| is_peer(proxy, peer)) {
            return said;
        }
        for (name, value) in fields {
            if name.eq_ignore_ascii_case(b"x-forwarded-for") {
                said.client = address(last_of(value));
            } else if name.eq_ignore_ascii_case(b"x-forwarded-proto") {
                said.scheme = match last_of(value).eq_ignore_ascii_case(b"https") {
                    true => Scheme::Https,
                    false => Scheme::Http,
                };
            }
        }
        said
    }
}

fn is_peer(proxy: &TrustedProxy, peer: Option<IpAddr>) -> bool {
    match (proxy, peer) {
        (TrustedProxy::Unix, None) => true,
        (TrustedProxy::Network(IpAddr::V4(network), bits), Some(IpAddr::V4(peer))) => {
            let differing = (network.to_bits() ^ peer.to_bits()).leading_zeros();
            differing >= u32::from(*bits)
        }
        (TrustedProxy::Network(IpAddr::V6(network), bits), Some(IpAddr::V6(peer))) => {
            let differing = (network.to_bits() ^ peer.to_bits()).leading_zeros();
            differing >= u32::from(*bits)
        }
        _ => false,
    }
}

fn last_of(list: &[u8]) -> &[u8] {
    let last = list.rsplit(|&byte| byte == b',').next();
    last.unwrap_or_default().trim_ascii()
}

/// An address, alone or with a port; an IPv6 one perhaps in brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let alone = bare.parse().ok();
    let address = alone.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str, bits: u8) -> TrustedProxy {
        TrustedProxy::Network(address.parse().unwrap(), bits)
    }

    #[test]
    fn only_those_on_the_list_are_believed() {
        let list = [network("192.0.2.0", 24), network("2001:db8::1", 128)];
        let all = [network("0.0.0.0", 0)];
        let unix = [TrustedProxy::Unix];
        for (trusted, peer, expected) in [
            (&list[..], Some("192.0.2.255:1"), true),
            (&list, Some("192.0.3.0:1"), false),
            (&list, Some("[::ffff:192.0.2.1]:1"), true),
            (&list, Some("[2001:db8::1]:1"), true),
            (&list, Some("[2001:db8::2]:1"), false),
            (&list, None, false),
            (&all, Some("203.0.113.1:1"), true),
            (&all, Some("[2001:db8::1]:1"), false),
            (&unix, None, true),
            (&unix, Some("127.0.0.1:1"), false),
            (&[], Some("127.0.0.1:1"), false),
            (&[], None, false),
        ] {
            let fields: [(&[u8], &[u8]); 1] = [(b"X-Forwarded-Proto", b"https")];
            let peer = peer.map(|peer| peer.parse().unwrap());
            let said = Forwarded::read(trusted, peer, fields.into_iter());
            assert_eq!(
                said.scheme == Scheme::Https,
                expected,
                "{trusted:?} {peer:?}"
            );
        }
    }

    #[test]
    fn only_the_last_entry_counts() {
        let rows: [(&[&str], Option<&str>); 10] = [
            (&["192.0.2.1"], Some("192.0.2.1")),
            (&["10.0.0.1, 192.0.2.1"], Some("192.0.2.1")),
            (&["10.0.0.1", "192.0.2.1"], Some("192.0.2.1")),
            (&["192.0.2.1:80"], Some("192.0.2.1")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["[2001:db8::1]:80"], Some("2001:db8::1")),
            (&["192.0.2.1, unknown"], None),
            (&["192.0.2.1,"], None),
            (&["192.0.2.1", ""], None),
        ];
        for (values, expected) in rows {
            let fields = values
                .iter()
                .map(|v| (&b"x-forwarded-FOR"[..], v.as_bytes()));
            let said = Forwarded::read(&[TrustedProxy::Unix], None, fields);
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(said.client, expected, "{values:?}");
        }
    }
}
