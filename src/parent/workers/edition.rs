//! Editions: which settings workers were forked with, and after a reload, how many new workers have not replaced an
//! old one yet.

/// The edition that workers are forked with now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Edition {
    /// How many reloads came before.
    pub(super) number: u32,
    /// Workers of this edition that have become ready and have not replaced an older one yet.
    pub(super) credit: usize,
    /// There may be workers of older editions that are to be replaced.
    pub(super) is_mixed: bool,
}

impl Edition {
    /// A worker has become ready.
    pub(super) fn note_ready(&mut self, edition: u32) {
        self.credit += usize::from(self.is_mixed && edition == self.number);
    }
}
