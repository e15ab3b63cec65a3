//! What spools hold.

/// Bytes in spools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spooled {
    /// All of them.
    pub bytes: u64,
    /// Those that are kept in memory.
    pub in_memory: u64,
}

impl Spooled {
    /// So many bytes in one spool.
    pub fn new(bytes: u64, is_in_memory: bool) -> Self {
        let in_memory = if is_in_memory { bytes } else { 0 };
        Self { bytes, in_memory }
    }

    /// With these too.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            in_memory: self.in_memory.saturating_add(other.in_memory),
        }
    }

    /// Without these.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            in_memory: self.in_memory.saturating_sub(other.in_memory),
        }
    }
}
