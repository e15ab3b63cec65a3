//! What a trusted proxy says of the client that it speaks for.
//!
//! Of a list of hosts, ports or schemes only the last entry counts, which the proxy itself has added: the
//! client may have written the others. Rack does so with schemes. uvicorn ignores a list of schemes, so that
//! `https, http` is http there as well. nginx and Apache read addresses only. Who is trusted is said by the
//! list in the settings alone. The field Forwarded (RFC 7239) is not read.

use super::Scheme;
use crate::http;
use crate::settings::TrustedProxy;
use std::net::{IpAddr, SocketAddr};

/// The client behind a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded<'f> {
    /// `X-Forwarded-Proto`.
    pub scheme: Scheme,
    /// `X-Forwarded-For`: the last address that is no trusted proxy's; `None` if it names no address.
    pub client: Option<IpAddr>,
    /// `X-Forwarded-Host`: the host that the client has asked for, perhaps with a port.
    pub host: Option<&'f [u8]>,
    /// `X-Forwarded-Port`: the port that the client has come to.
    pub port: Option<u16>,
    /// The proxy has told scheme or host, so the client has not come to a port of this server.
    pub is_told: bool,
}

impl<'f> Forwarded<'f> {
    /// Nobody is trusted: the peer is the client.
    pub(crate) const NOTHING: Self = Self {
        scheme: Scheme::Http,
        client: None,
        host: None,
        port: None,
        is_told: false,
    };

    /// What the fields of a request from `peer` (`None`: over a Unix domain socket) say, if the
    /// list trusts it.
    pub(crate) fn read(
        trusted: &[TrustedProxy],
        peer: Option<SocketAddr>,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Self {
        let mut said = Self::NOTHING;
        let is_trusted = |peer| trusted.iter().any(|proxy| proxy.is(peer));
        if !is_trusted(peer.map(|peer| peer.ip())) {
            return said;
        }
        for (name, value) in fields {
            let Some((start, end)) = name.split_at_checked(b"x-forwarded-".len()) else {
                continue;
            };
            if !start.eq_ignore_ascii_case(b"x-forwarded-") {
                continue;
            }
            if end.eq_ignore_ascii_case(b"for") {
                said.client = entries(value).fold(said.client, |client, entry| {
                    follow(client, address(entry), |proxy| is_trusted(Some(proxy)))
                });
                continue;
            }
            // RFC 9110 section 5.6.1.2: an empty entry is none.
            let Some(last) = entries(value).rfind(|entry| !entry.is_empty()) else {
                continue;
            };
            if end.eq_ignore_ascii_case(b"proto") {
                said.is_told = true;
                said.scheme = scheme(last);
            } else if end.eq_ignore_ascii_case(b"host") && http::is_authority(last) {
                said.is_told = true;
                said.host = Some(last);
            } else if end.eq_ignore_ascii_case(b"port") {
                let port = std::str::from_utf8(last).ok();
                said.port = port.and_then(|port| port.parse().ok());
            }
        }
        said
    }
}

/// Who the client is once this entry is read too, from left to right: each proxy has added whom it was
/// asked by, so the last one that is no trusted proxy's counts. Behind an entry that is no address nothing
/// is known but by those who follow.
fn follow(
    before: Option<IpAddr>,
    entry: Option<IpAddr>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let entry = entry?;
    match is_trusted(entry) {
        true => before.or(Some(entry)),
        false => Some(entry),
    }
}

/// Some proxies name the scheme of a WebSocket, which comes over TLS as well.
fn scheme(name: &[u8]) -> Scheme {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    match is(b"https") || is(b"wss") {
        true => Scheme::Https,
        false => Scheme::Http,
    }
}

fn entries(list: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
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
    fn the_client_is_the_last_address_that_is_no_proxys() {
        let rows: [(&[&str], Option<&str>); 17] = [
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
            // Chains of the list's own proxies, who stand behind whom they were asked by.
            (&["192.0.2.1, 10.0.0.1"], Some("192.0.2.1")),
            (&["192.0.2.1, 10.0.0.1, 10.9.9.9"], Some("192.0.2.1")),
            (
                &["192.0.2.1", "10.0.0.1", "10.0.0.2, 10.0.0.3:80"],
                Some("192.0.2.1"),
            ),
            // What the client itself has written stands before the address that it came from.
            (
                &["10.0.0.7, 203.0.113.9, 192.0.2.1, 10.0.0.1"],
                Some("192.0.2.1"),
            ),
            (
                &["192.0.2.1, unknown, 10.0.0.2, 10.0.0.1"],
                Some("10.0.0.2"),
            ),
            (&["10.0.0.2, 10.0.0.1"], Some("10.0.0.2")),
            (&["192.0.2.1, ::ffff:10.0.0.1"], Some("192.0.2.1")),
        ];
        for (values, expected) in rows {
            let fields = values
                .iter()
                .map(|v| (&b"x-forwarded-FOR"[..], v.as_bytes()));
            let trusted = [TrustedProxy::Unix, network("10.0.0.0", 8)];
            let said = Forwarded::read(&trusted, None, fields);
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(said.client, expected, "{values:?}");
        }
    }

    #[test]
    fn the_scheme_is_the_last_that_is_named() {
        let rows: [(&[&str], bool); 10] = [
            (&["https"], true),
            (&["HTTPS"], true),
            (&["wss"], true),
            (&["http"], false),
            (&["https, http"], false),
            (&["http, https"], true),
            (&["https", "http"], false),
            (&["https, unknown"], false),
            (&["https, ,"], true),
            (&["https", ""], true),
        ];
        for (values, is_secure) in rows {
            let fields = values
                .iter()
                .map(|v| (&b"X-Forwarded-Proto"[..], v.as_bytes()));
            let said = Forwarded::read(&[TrustedProxy::Unix], None, fields);
            assert!(said.is_told, "{values:?}");
            assert_eq!(said.scheme == Scheme::Https, is_secure, "{values:?}");
        }
    }

    #[test]
    fn host_and_port_are_what_the_proxy_itself_has_said() {
        type Case = (
            &'static str,
            &'static str,
            Option<&'static [u8]>,
            Option<u16>,
            bool,
        );
        let rows: [Case; 12] = [
            (
                "Host",
                "a.example:8443",
                Some(b"a.example:8443"),
                None,
                true,
            ),
            ("host", "evil, b", Some(b"b"), None, true),
            ("Host", "b, ,", Some(b"b"), None, true),
            ("Host", "a b", None, None, false),
            ("Host", "", None, None, false),
            ("Port", "443", None, Some(443), false),
            ("PORT", "1, 8443", None, Some(8443), false),
            ("Port", "8443,", None, Some(8443), false),
            ("Port", "x", None, None, false),
            ("Proto", "http", None, None, true),
            ("Proto", "", None, None, false),
            ("Server", "a", None, None, false),
        ];
        for (name, value, host, port, is_told) in rows {
            let name = format!("X-Forwarded-{name}");
            let fields = [(name.as_bytes(), value.as_bytes())];
            let said = Forwarded::read(&[TrustedProxy::Unix], None, fields.into_iter());
            assert_eq!(
                (said.host, said.port, said.is_told),
                (host, port, is_told),
                "{name} {value}"
            );
            let peer = Some("192.0.2.1:1".parse().unwrap());
            let said = Forwarded::read(&[TrustedProxy::Unix], peer, fields.into_iter());
            assert_eq!(said, Forwarded::NOTHING);
        }
    }
}
