//! What an event of the readiness set is about, in 64 bits: kind, generation, index.

use super::context::Id;
use crate::scoreboard::Slot;

/// The source of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The self-pipe of the signals.
    Signals,
    /// A worker's channel, with the generation of its worker.
    Channel(Slot, u32),
    /// The control socket, where workers connect too.
    Control,
    /// Somebody at the control socket, with a generation.
    Conversation(Id),
    /// A parked client.
    Client(Id),
    /// A listener, by its number.
    Listener(u8),
    /// The line to the successor.
    Successor,
    /// The line to the predecessor.
    Predecessor,
}

const SIGNALS: u64 = 0;
const CHANNEL: u64 = 1;
const CONTROL: u64 = 2;
const CONVERSATION: u64 = 3;
const CLIENT: u64 = 4;
const LISTENER: u64 = 5;
const SUCCESSOR: u64 = 6;
const PREDECESSOR: u64 = 7;

impl Token {
    /// The number that the kernel keeps.
    pub(super) fn number(self) -> u64 {
        let (kind, index, generation) = match self {
            Self::Signals => (SIGNALS, 0, 0),
            Self::Channel(slot, generation) => (
                CHANNEL,
                u32::try_from(slot.0).unwrap_or(u32::MAX),
                generation,
            ),
            Self::Control => (CONTROL, 0, 0),
            Self::Conversation(id) => (CONVERSATION, id.index, id.generation),
            Self::Client(id) => (CLIENT, id.index, id.generation),
            Self::Listener(index) => (LISTENER, u32::from(index), 0),
            Self::Successor => (SUCCESSOR, 0, 0),
            Self::Predecessor => (PREDECESSOR, 0, 0),
        };
        kind << 56 | u64::from(generation & 0x00ff_ffff) << 32 | u64::from(index)
    }

    /// What a number stands for.
    pub(super) fn of(number: u64) -> Option<Self> {
        let [kind, g2, g1, g0, i3, i2, i1, i0] = number.to_be_bytes();
        let index = u32::from_be_bytes([i3, i2, i1, i0]);
        let generation = u32::from_be_bytes([0, g2, g1, g0]);
        let id = Id { index, generation };
        match u64::from(kind) {
            SIGNALS => Some(Self::Signals),
            CHANNEL => Some(Self::Channel(Slot(index as usize), generation)),
            CONTROL => Some(Self::Control),
            CONVERSATION => Some(Self::Conversation(id)),
            CLIENT => Some(Self::Client(id)),
            LISTENER => Some(Self::Listener(i0)),
            SUCCESSOR => Some(Self::Successor),
            PREDECESSOR => Some(Self::Predecessor),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went() {
        let id = Id {
            index: u32::MAX - 1,
            generation: 0x00ab_cdef,
        };
        for token in [
            Token::Signals,
            Token::Channel(Slot(4095), 0x00ff_ffff),
            Token::Control,
            Token::Conversation(id),
            Token::Client(id),
            Token::Listener(255),
            Token::Successor,
            Token::Predecessor,
        ] {
            assert_eq!(Token::of(token.number()), Some(token));
        }
        assert_eq!(Token::of(u64::MAX), None);
    }
}
