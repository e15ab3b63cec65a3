//! The fields of a head: where each name and value stands.
//!
//! Spans into the caller's buffer; refuses to interpret, join or copy a value.

/// Where one field stands in the head. Offsets are below `max-head`, which is clamped to 32 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) name: u32,
    pub(super) name_end: u32,
    pub(super) value: u32,
    pub(super) value_end: u32,
}

/// Reusable room for the spans of one head; grows to the most fields seen and stays there.
#[derive(Debug, Default)]
pub struct FieldStore {
    pub(super) spans: Vec<Span>,
}

impl FieldStore {
    /// An empty store; the first head allocates.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// The fields of one head in their order of arrival; borrows the head's bytes and the store.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Self { bytes, spans }
    }

    /// `(name, value)` of each field; names as sent, values without whitespace around them.
    #[must_use]
    pub fn iter(&self) -> FieldsIter<'a> {
        FieldsIter {
            bytes: self.bytes,
            spans: self.spans.iter(),
        }
    }
}

impl std::fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let escaped = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let fields = self.iter();
        f.debug_map()
            .entries(fields.map(|(name, value)| (escaped(name), escaped(value))))
            .finish()
    }
}

impl<'a> IntoIterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = FieldsIter<'a>;

    fn into_iter(self) -> FieldsIter<'a> {
        self.iter()
    }
}

/// Iterator of [`Fields::iter`].
#[derive(Clone, Debug)]
pub struct FieldsIter<'a> {
    bytes: &'a [u8],
    spans: std::slice::Iter<'a, Span>,
}

impl<'a> Iterator for FieldsIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let span = self.spans.next()?;
        let slice = |from: u32, to: u32| self.bytes.get(from as usize..to as usize);
        Some((
            slice(span.name, span.name_end)?,
            slice(span.value, span.value_end)?,
        ))
    }
}
