//! Admission: the limits on clients, in all and by address.
//!
//! Keeps counts; refuses to close anybody (`ending` does, in the order that stands there).

use crate::limits::Limits;
use crate::settings::TrustedProxy;
use crate::sys::random;
use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::net::{IpAddr, SocketAddr};

/// How many clients may be connected, in all and of one address.
pub(super) struct Admission {
    /// `max-connections`.
    pub(super) most: usize,
    most_per_address: u32,
    /// `max-connections-per-address` does not hold for these: many clients come through each of them.
    proxies: Vec<TrustedProxy>,
    by_address: HashMap<u128, u32, Keyed>,
}

impl Admission {
    /// No client is connected yet; the limits have been resolved.
    pub(super) fn new(limits: &Limits, proxies: &[TrustedProxy]) -> Self {
        let mut admission = Self {
            most: 0,
            most_per_address: 0,
            proxies: Vec::new(),
            by_address: HashMap::with_hasher(Keyed(random::number())),
        };
        admission.set_limits(limits, proxies);
        admission
    }

    /// Other limits. Clients that are connected stay.
    pub(super) fn set_limits(&mut self, limits: &Limits, proxies: &[TrustedProxy]) {
        let per_address = limits.max_connections_per_address.unwrap_or(usize::MAX);
        self.most = limits.max_connections.unwrap_or(1);
        self.proxies = proxies.to_vec();
        self.most_per_address = u32::try_from(per_address).unwrap_or(u32::MAX);
    }

    /// Whether there is memory for one more address.
    pub(super) fn has_place(&mut self) -> bool {
        self.by_address.try_reserve(1).is_ok()
    }

    /// Counts a client in; false if its address has too many already. Connections of a trusted proxy are counted too,
    /// since a reload may make it an ordinary client, and the other way round.
    pub(super) fn enter(&mut self, peer: Option<SocketAddr>) -> bool {
        let Some(key) = peer.and_then(address_key) else {
            return true;
        };
        let count = self.by_address.entry(key).or_insert(0);
        let address = peer.map(|peer| peer.ip());
        if *count >= self.most_per_address && !self.proxies.iter().any(|p| p.is(address)) {
            return false;
        }
        *count += 1;
        true
    }

    /// Counts a client in that a predecessor had, whatever the limit says.
    pub(super) fn enter_again(&mut self, peer: Option<SocketAddr>) {
        if let Some(key) = peer.and_then(address_key) {
            *self.by_address.entry(key).or_insert(0) += 1;
        }
    }

    /// Counts a client out.
    pub(super) fn leave(&mut self, peer: Option<SocketAddr>) {
        let Some(key) = peer.and_then(address_key) else {
            return;
        };
        if let Some(count) = self.by_address.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&key);
            }
        }
    }
}

/// Hashes with a key that nobody outside knows, or clients could choose addresses that fall together.
/// (`RandomState` does the same, and reads its key with the whole of std's files.)
struct Keyed(u64);

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// What connections are counted by: an IPv4 address, the /64 of an IPv6 one (a host has a whole /64
/// to choose from). Nothing for loopback: those are proxies and the machine's own programs.
fn address_key(peer: SocketAddr) -> Option<u128> {
    match peer.ip().to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V4(v4) => Some(u128::from(v4.to_bits())),
        IpAddr::V6(v6) => Some(v6.to_bits() >> 64 << 64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_fall_elsewhere_with_another_key() {
        let hash = |key| Keyed(key).hash_one(7_u128);
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
    }

    fn peer(text: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(text.parse().unwrap(), 1))
    }

    #[test]
    fn an_address_has_its_share_and_loopback_and_unix_clients_are_not_counted() {
        let limits = Limits {
            max_connections_per_address: Some(2),
            ..Limits::default()
        };
        let mut admission = Admission::new(&limits, &[]);
        for (client, expected) in [
            (peer("192.0.2.1"), true),
            (peer("192.0.2.1"), true),
            (peer("192.0.2.1"), false),
            (peer("192.0.2.2"), true),
            (peer("2001:db8::1"), true),
            (peer("2001:db8::ffff:0:0:2"), true),
            (peer("2001:db8::3"), false),
            (peer("2001:db8:0:1::1"), true),
        ] {
            assert_eq!(admission.enter(client), expected, "{client:?}");
        }
        for _ in 0..5 {
            assert!(
                admission.enter(None)
                    && admission.enter(peer("127.0.0.9"))
                    && admission.enter(peer("::1"))
            );
        }
        admission.leave(peer("192.0.2.1"));
        assert!(admission.enter(peer("192.0.2.1")));
        admission.leave(peer("192.0.2.2"));
        assert_eq!(admission.by_address.len(), 3);
    }

    #[test]
    fn a_trusted_proxy_may_have_any_number_until_it_is_none_any_more() {
        let limits = Limits {
            max_connections_per_address: Some(2),
            ..Limits::default()
        };
        let proxies = [TrustedProxy::Network("192.0.2.0".parse().unwrap(), 24)];
        let mut admission = Admission::new(&limits, &proxies);
        for client in [peer("192.0.2.1"), peer("::ffff:192.0.2.1")] {
            for _ in 0..3 {
                assert!(admission.enter(client));
            }
        }
        admission.set_limits(&limits, &[]);
        assert!(!admission.enter(peer("192.0.2.1")));
        for _ in 0..5 {
            admission.leave(peer("192.0.2.1"));
        }
        assert!(admission.enter(peer("192.0.2.1")));
        assert!(!admission.enter(peer("192.0.2.1")));
        admission.leave(peer("192.0.2.1"));
        admission.leave(peer("192.0.2.1"));
        assert!(admission.by_address.is_empty());
    }
}
