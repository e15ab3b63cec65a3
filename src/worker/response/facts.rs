//! What the head of a handler's output says about how its response goes on.

use crate::cgi::Output;
use crate::http;

/// What is kept of the head of a handler's output beside its fields.
pub(super) struct OutputFacts {
    pub(super) status: u16,
    pub(super) declared: Option<u64>,
    pub(super) is_chunked: bool,
    pub(super) redirect: Option<Vec<u8>>,
    pub(super) is_bare: bool,
}

impl OutputFacts {
    pub(super) fn of(output: &Output<'_>) -> Self {
        let has = |name: &[u8]| output.fields().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let is_redirect = (300..400).contains(&output.status) && has(b"Location");
        Self {
            is_bare: is_redirect
                && output.content_length.is_none()
                && !output.chunked
                && !has(b"Content-Type"),
            status: output.status,
            declared: output.content_length,
            is_chunked: output.chunked,
            redirect: output.local.map(reference),
        }
    }
}

/// A Location as a client can use it: a client would take a space for the end of the URI.
pub(super) fn reference(location: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(location.len());
    http::push_reference(&mut escaped, location);
    escaped
}
