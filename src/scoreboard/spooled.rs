//! What spools hold, and how much they may: the rules by which workers put bytes into spools and the parent lets bodies
//! go on.
//!
//! A response can wait in its handler, a body cannot. So responses get no more room once they have half of
//! `max-spool-total`, and bodies have at least the other half.

use super::{Entry, IN_MEMORY, OF_RESPONSES, ORIGIN, SPOOLED, Scoreboard};
use crate::settings::{Settings, TrustedProxy};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

/// Bytes in spools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spooled {
    /// All of them.
    pub bytes: u64,
    /// Those that are kept in memory.
    pub in_memory: u64,
    /// Those of responses; all others are of requests.
    pub responses: u64,
}

impl Spooled {
    /// So many bytes in one spool.
    pub fn new(bytes: u64, is_in_memory: bool, is_response: bool) -> Self {
        let if_so = |is_so| if is_so { bytes } else { 0 };
        Self {
            bytes,
            in_memory: if_so(is_in_memory),
            responses: if_so(is_response),
        }
    }

    /// With these too.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            in_memory: self.in_memory.saturating_add(other.in_memory),
            responses: self.responses.saturating_add(other.responses),
        }
    }

    /// Without these.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            in_memory: self.in_memory.saturating_sub(other.in_memory),
            responses: self.responses.saturating_sub(other.responses),
        }
    }

    /// Those of requests.
    fn bodies(self) -> u64 {
        self.bytes.saturating_sub(self.responses)
    }
}

/// What a client's spools are counted by: a number for its address; 0 for clients that are not counted: trusted proxies,
/// loopback and Unix domain sockets (the machine's own programs). Addresses are many and numbers few, so two addresses
/// may have the same number; then both together may have what one may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin(u16);

/// How many there are.
pub(super) const ORIGINS: usize = 1024;

impl Origin {
    /// The origin of a client. An IPv6 host has the whole /64 to choose from.
    pub fn of(peer: Option<SocketAddr>, proxies: &[TrustedProxy]) -> Self {
        let ip = peer.map(|peer| peer.ip().to_canonical());
        let is_proxy = proxies.iter().any(|proxy| proxy.is(ip));
        let bits = match ip {
            _ if is_proxy => return Self(0),
            None => return Self(0),
            Some(ip) if ip.is_loopback() => return Self(0),
            Some(IpAddr::V4(v4)) => u64::from(v4.to_bits()),
            Some(IpAddr::V6(v6)) => u64::try_from(v6.to_bits() >> 64).unwrap_or(0),
        };
        // Fibonacci hashing: neighbours fall far from each other.
        let hash = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let origin = hash % (ORIGINS as u64 - 1) + 1;
        Self(u16::try_from(origin).unwrap_or(0))
    }

    /// Whether clients of this origin are counted together.
    pub fn is_counted(self) -> bool {
        self.0 > 0
    }
}

/// How much may be spooled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// `max-spool-total`.
    pub total: u64,
    /// The largest body that a handler takes.
    largest_body: u64,
}

impl Budget {
    /// What these settings allow.
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            total: settings.limits.max_spool_total.unwrap_or(u64::MAX),
            largest_body: settings.largest_body(),
        }
    }

    /// With this total, and bodies as large as that.
    #[cfg(test)]
    pub(crate) fn new(total: u64, largest_body: u64) -> Self {
        Self {
            total,
            largest_body,
        }
    }

    /// How much room there has to be before a body that waits for room goes on.
    pub(crate) fn step(self) -> u64 {
        (self.total / 8).min(1024 * 1024)
    }

    /// What the responses of one client or address may have.
    pub(crate) fn share(self) -> u64 {
        self.total / 4
    }

    /// Whether `more` bytes of a body may be put into a spool, if all spools hold `all`, and those of its address
    /// `of_address`.
    pub(crate) fn takes_body(self, all: Spooled, of_address: Spooled, more: u64) -> bool {
        let with = |bytes: u64| bytes.saturating_add(more);
        with(of_address.bodies()) <= self.share().max(self.largest_body)
            && (with(all.bytes) <= self.total || with(all.bodies()) <= self.total / 2)
    }

    /// Whether the beginning of a request may be put into a spool so that its client can be parked. That may go a little
    /// beyond the total, since those that wait for room have to be parked too.
    pub(crate) fn takes_waiting(self, all: Spooled) -> bool {
        let more = self.total / 16;
        all.bytes <= self.total.saturating_add(more) || all.bodies() <= self.total / 2
    }

    /// Whether there is no more room for a response, which then has to wait in its handler.
    pub(crate) fn is_full(self, all: Spooled, of_address: Spooled) -> bool {
        all.bytes >= self.total
            || all.responses >= self.total / 2
            || of_address.responses >= self.share()
    }
}

impl Entry<'_> {
    /// Worker: what is in the spools that it holds now.
    pub fn set_spooled(&self, spooled: Spooled) {
        self.words[SPOOLED].store(spooled.bytes, Ordering::Relaxed);
        self.words[IN_MEMORY].store(spooled.in_memory, Ordering::Relaxed);
        self.words[OF_RESPONSES].store(spooled.responses, Ordering::Relaxed);
    }

    /// Worker: what its client's spools are counted by.
    pub fn set_origin(&self, origin: Origin) {
        self.words[ORIGIN].store(origin.0.into(), Ordering::Relaxed);
    }

    /// What its client's spools are counted by.
    pub fn origin(&self) -> Origin {
        Origin(u16::try_from(self.words[ORIGIN].load(Ordering::Relaxed)).unwrap_or(0))
    }

    /// What is in the spools that it holds now.
    pub fn spooled(&self) -> Spooled {
        Spooled {
            bytes: self.words[SPOOLED].load(Ordering::Relaxed),
            in_memory: self.words[IN_MEMORY].load(Ordering::Relaxed),
            responses: self.words[OF_RESPONSES].load(Ordering::Relaxed),
        }
    }
}

impl Scoreboard {
    /// What is in all spools, parked or held by workers.
    pub fn spooled_total(&self) -> Spooled {
        let held = self.workers().map(|entry| entry.spooled());
        held.fold(self.parent().spooled(), Spooled::plus)
    }

    /// What is in all spools, and what of it is of this origin.
    pub fn spooled_with(&self, origin: Origin) -> (Spooled, Spooled) {
        let mut all = self.parent().spooled();
        let mut of_origin = Spooled::default();
        if let Some([requests, responses]) = self.by_origin.get(usize::from(origin.0)) {
            of_origin.responses = responses.load(Ordering::Relaxed);
            of_origin.bytes = requests.load(Ordering::Relaxed) + of_origin.responses;
        }
        for entry in self.workers() {
            let held = entry.spooled();
            all = all.plus(held);
            if origin.is_counted() && entry.origin() == origin {
                of_origin = of_origin.plus(held);
            }
        }
        (all, of_origin)
    }

    /// Parent: what its spools hold of an origin has changed. Nothing is noted for clients that are not counted.
    pub fn note_parked(&self, origin: Origin, before: Spooled, after: Spooled) {
        let words = self.by_origin.get(usize::from(origin.0));
        let Some([requests, responses]) = words.filter(|_| origin.is_counted()) else {
            return;
        };
        for (word, gone, come) in [
            (requests, before.bodies(), after.bodies()),
            (responses, before.responses, after.responses),
        ] {
            let now = word.load(Ordering::Relaxed).saturating_add(come);
            word.store(now.saturating_sub(gone), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Slot;
    use super::*;

    fn spooled(bodies: u64, responses: u64) -> Spooled {
        Spooled {
            bytes: bodies + responses,
            in_memory: 0,
            responses,
        }
    }

    #[test]
    fn responses_leave_bodies_their_half_and_nobody_has_more_than_a_share() {
        let budget = Budget {
            total: 80,
            largest_body: 30,
        };
        let nobody = Spooled::default();
        for (all, of_address, takes_ten_of_body, is_full) in [
            (nobody, nobody, true, false),
            (spooled(0, 39), nobody, true, false),
            (spooled(0, 40), nobody, true, true),
            // Last pieces may bring them beyond their half.
            (spooled(30, 60), nobody, true, true),
            (spooled(31, 60), nobody, false, true),
            // Bodies may have all that is free.
            (spooled(70, 0), nobody, true, false),
            (spooled(71, 0), nobody, false, false),
            (spooled(80, 0), nobody, false, true),
            (spooled(0, 20), spooled(0, 20), true, true),
            // An address has room for the largest body, whatever its responses hold.
            (spooled(20, 20), spooled(20, 20), true, true),
            (spooled(21, 0), spooled(21, 0), false, false),
        ] {
            let case = format!("{all:?} {of_address:?}");
            let takes = budget.takes_body(all, of_address, 10);
            assert_eq!(takes, takes_ten_of_body, "{case}");
            assert_eq!(budget.is_full(all, of_address), is_full, "{case}");
        }
        assert!(budget.takes_waiting(spooled(45, 40)));
        assert!(budget.takes_waiting(spooled(40, 60)));
        assert!(!budget.takes_waiting(spooled(46, 40)));
    }

    #[test]
    fn a_network_of_one_host_has_one_origin_and_proxies_have_none() {
        let proxies = [TrustedProxy::Network("10.0.0.0".parse().unwrap(), 8)];
        let origin = |text: &str| {
            let peer = SocketAddr::new(text.parse().unwrap(), 1);
            Origin::of(Some(peer), &proxies)
        };
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:0:0:2"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert!(origin("192.0.2.1").is_counted());
        for uncounted in [
            origin("127.0.0.9"),
            origin("::1"),
            origin("10.1.2.3"),
            Origin::of(None, &proxies),
        ] {
            assert!(!uncounted.is_counted());
        }
    }

    #[test]
    fn what_one_address_has_spooled_is_counted_wherever_it_is() {
        let board = Scoreboard::new(3).unwrap();
        let [one, other] = [Origin(1), Origin(2)];
        for (slot, origin, bytes, is_response) in
            [(0, one, 1, false), (1, one, 2, true), (2, other, 4, false)]
        {
            board.entry(Slot(slot)).set_origin(origin);
            let held = Spooled::new(bytes, false, is_response);
            board.entry(Slot(slot)).set_spooled(held);
        }
        let none = Spooled::default();
        let parked = [(8, true), (16, false)].map(|(n, of)| Spooled::new(n, false, of));
        for spooled in parked {
            board.note_parked(one, none, spooled);
            board.note_parked(Origin(0), none, spooled);
        }
        board.note_parked(one, parked[1], Spooled::new(32, false, false));
        let of = |origin| board.spooled_with(origin).1;
        assert_eq!((of(one).bytes, of(one).responses), (43, 10));
        assert_eq!((of(other).bytes, of(other).responses), (4, 0));
        assert_eq!(of(Origin(0)), none, "nobody is counted there");
        board.entry(Slot(0)).clear();
        assert_eq!(of(one).bytes, 42);
    }
}
