//! Deadlines of the parked connections: a hashed timing wheel of 100 ms ticks.
//!
//! Insertion, removal and expiry are O(1) and allocate only when an index is seen for the first
//! time; a bitmap finds the next tick that holds something, so that an idle parent sleeps until
//! then. It does not know what expires: it deals in indices of the connection table.

use crate::sys::time::Moment;
use std::time::Duration;

/// Length of a tick. Deadlines are rounded up to it: none fires early.
pub(super) const TICK: Duration = Duration::from_millis(100);
const TICK_MICROS: u64 = 100_000;

/// Ticks once around. What lies beyond (102 s) is put as far ahead as possible and looked at again
/// then; default timeouts all lie within.
const SLOTS: u32 = 1024;
const SLOT_COUNT: usize = 1024;
const BITMAP_WORDS: usize = SLOT_COUNT / 64;

/// No index.
const NONE: u32 = u32::MAX;
/// In no slot.
const NOWHERE: u32 = u32::MAX;

/// One index' place in its slot's list.
#[derive(Clone, Copy)]
struct Link {
    next: u32,
    before: u32,
    slot: u32,
    /// In ticks since the wheel's start; 32 bits of them last for 13 years.
    deadline: u32,
}

const UNLINKED: Link = Link {
    next: NONE,
    before: NONE,
    slot: NOWHERE,
    deadline: 0,
};

/// The wheel.
pub(super) struct Wheel {
    start: Moment,
    /// Every slot up to and with this tick has been emptied.
    tick: u32,
    /// First index of each slot's list.
    heads: Vec<u32>,
    filled: [u64; BITMAP_WORDS],
    links: Vec<Link>,
}

impl Wheel {
    /// An empty wheel that starts now.
    pub(super) fn new(now: Moment) -> Self {
        Self {
            start: now,
            tick: 0,
            heads: vec![NONE; SLOT_COUNT],
            filled: [0; BITMAP_WORDS],
            links: Vec::new(),
        }
    }

    fn micros_since_start(&self, moment: Moment) -> u64 {
        moment.as_micros().saturating_sub(self.start.as_micros())
    }

    /// Whether there is memory for one more index.
    pub(super) fn has_place(&mut self) -> bool {
        self.links.try_reserve(1).is_ok()
    }

    /// Sets the deadline of an index, in place of the one it had.
    pub(super) fn set(&mut self, index: u32, deadline: Moment) {
        self.remove(index);
        let tick = self.micros_since_start(deadline).div_ceil(TICK_MICROS);
        self.insert(index, u32::try_from(tick).unwrap_or(u32::MAX - 1));
    }

    fn insert(&mut self, index: u32, deadline: u32) {
        let place = index as usize;
        if self.links.len() <= place {
            self.links.resize(place + 1, UNLINKED);
        }
        // A deadline that has passed fires with the next tick: its slot is ahead of `tick`.
        let ahead = deadline.saturating_sub(self.tick).clamp(1, SLOTS - 1);
        let slot = (self.tick + ahead) % SLOTS;
        let next = self.head(slot);
        if let Some(link) = self.links.get_mut(place) {
            *link = Link {
                next,
                before: NONE,
                slot,
                deadline,
            };
        }
        if let Some(link) = self.links.get_mut(next as usize) {
            link.before = index;
        }
        self.set_head(slot, index);
    }

    /// Takes an index out, if it is in.
    pub(super) fn remove(&mut self, index: u32) {
        let Some(link) = self.links.get_mut(index as usize) else {
            return;
        };
        let old = std::mem::replace(link, UNLINKED);
        if old.slot == NOWHERE {
            return;
        }
        if let Some(next) = self.links.get_mut(old.next as usize) {
            next.before = old.before;
        }
        match self.links.get_mut(old.before as usize) {
            Some(before) => before.next = old.next,
            None => self.set_head(old.slot, old.next),
        }
    }

    fn head(&self, slot: u32) -> u32 {
        self.heads.get(slot as usize).copied().unwrap_or(NONE)
    }

    fn set_head(&mut self, slot: u32, index: u32) {
        if let Some(head) = self.heads.get_mut(slot as usize) {
            *head = index;
        }
        let bit = 1 << (slot % 64);
        if let Some(word) = self.filled.get_mut((slot / 64) as usize) {
            *word = if index == NONE {
                *word & !bit
            } else {
                *word | bit
            };
        }
    }

    /// Ticks from the present one to the next slot that holds something.
    fn next_filled(&self) -> Option<u32> {
        let first = (self.tick + 1) % SLOTS;
        let first_word = (first / 64) as usize;
        for step in 0..=BITMAP_WORDS {
            let at = (first_word + step) % BITMAP_WORDS;
            let word = self.filled.get(at).copied().unwrap_or(0);
            let word = match step {
                0 => word & (u64::MAX << (first % 64)),
                BITMAP_WORDS => word & !(u64::MAX << (first % 64)),
                _ => word,
            };
            if word != 0 {
                let slot = u32::try_from(at * 64).unwrap_or(0) + word.trailing_zeros();
                return Some((slot + SLOTS - first) % SLOTS + 1);
            }
        }
        None
    }

    /// When the parent has to look again; `None` while the wheel is empty.
    pub(super) fn next(&self) -> Option<Moment> {
        let ahead = self.next_filled()?;
        let micros = u64::from(self.tick + ahead) * TICK_MICROS;
        Some(Moment::from_micros(self.start.as_micros() + micros))
    }

    /// Takes out one index whose deadline has come; `None` when there is no more.
    pub(super) fn expired(&mut self, now: Moment) -> Option<u32> {
        let until = u32::try_from(self.micros_since_start(now) / TICK_MICROS).unwrap_or(u32::MAX);
        while let Some(ahead) = self.next_filled()
            && self.tick + ahead <= until
        {
            let slot = (self.tick + ahead) % SLOTS;
            let index = self.head(slot);
            let deadline = self.links.get(index as usize).map_or(0, |l| l.deadline);
            self.remove(index);
            // Advancing to just before the slot keeps the rest of its list ahead.
            self.tick += ahead - 1;
            if deadline <= until {
                return Some(index);
            }
            self.insert(index, deadline);
        }
        self.tick = self.tick.max(until);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn at_ms(ms: u64) -> Moment {
        Moment::from_micros(1_000_000 + ms * 1000)
    }

    /// xorshift: repeatable, and good enough to mix cases.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }
    }

    #[test]
    fn an_empty_wheel_never_wakes_the_parent() {
        let mut wheel = Wheel::new(at_ms(0));
        assert_eq!(wheel.next(), None);
        wheel.set(3, at_ms(50));
        wheel.remove(3);
        assert_eq!(wheel.next(), None);
        assert_eq!(wheel.expired(at_ms(1_000_000)), None);
    }

    #[test]
    fn no_deadline_fires_early_and_each_within_a_tick() {
        for ms in [
            0, 1, 99, 100, 101, 10_000, 102_299, 102_300, 102_400, 500_001,
        ] {
            let mut wheel = Wheel::new(at_ms(0));
            wheel.set(0, at_ms(ms));
            let mut now = 0;
            while wheel.expired(at_ms(now)).is_none() {
                let next = wheel.next().unwrap().as_micros() / 1000 - 1000;
                assert!(next > now, "{ms}: {next} after {now}");
                now = next;
            }
            assert!(now >= ms && now <= ms.max(1) + 100, "{ms}: fired at {now}");
        }
    }

    #[test]
    fn a_deadline_that_has_passed_fires_with_the_next_tick() {
        let mut wheel = Wheel::new(at_ms(0));
        assert_eq!(wheel.expired(at_ms(5_000)), None);
        wheel.set(1, at_ms(10));
        assert_eq!(wheel.expired(at_ms(5_000)), None);
        assert_eq!(wheel.expired(at_ms(5_100)), Some(1));
    }

    #[test]
    fn it_does_what_a_sorted_map_does() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut wheel = Wheel::new(at_ms(0));
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let mut now = 0;
        for _ in 0..200_000 {
            let index = u32::try_from(random.below(300)).unwrap();
            match random.below(10) {
                0..=4 => {
                    let horizon = [300, 20_000, 400_000][usize::try_from(random.below(3)).unwrap()];
                    let deadline = now + random.below(horizon);
                    wheel.set(index, at_ms(deadline));
                    model.insert(index, deadline);
                }
                5..=6 => {
                    wheel.remove(index);
                    model.remove(&index);
                }
                _ => {
                    now += random.below(3_000);
                    while let Some(index) = wheel.expired(at_ms(now)) {
                        let deadline = model.remove(&index).expect("it was in");
                        assert!(deadline <= now, "{deadline} fired at {now}");
                    }
                    let late = model.values().find(|d| **d + 200 <= now);
                    assert_eq!(late, None, "not fired at {now}");
                    assert_eq!(wheel.next().is_none(), model.is_empty());
                }
            }
        }
    }
}
