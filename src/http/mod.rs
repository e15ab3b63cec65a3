//! HTTP/1.x (RFC 9110, 9112): parsing and building heads. Pure, zero-copy.
//!
//! Refuses to read or write a socket, to allocate per request (buffers are the caller's, reused),
//! and to guess: what RFC 9112 does not allow is a [`Malformed`], never repaired.

mod chunked;
mod class;
mod date;
mod fields;
mod framing;
mod head;
mod host;
mod malformed;
mod path;
mod response;
mod target;

pub use chunked::{CHUNKED_BYTES, Chunked};
pub(crate) use class::{hex_value, token_end};
pub use class::{is_field_value, is_token, trim};
pub use date::imf_fixdate;
pub use fields::FieldStore;
pub(crate) use fields::Fields;
pub(crate) use framing::{BodyLength, parse_length};
pub use head::{Head, HeadLimits, Progress, Version, parse};
pub use host::{is_authority, split_port};
pub use malformed::Malformed;
pub use path::DecodedPath;
pub(crate) use response::{ErrorResponse, error_response, frame, has_body};
pub use response::{Framing, ResponseHead, begin, finish, push_field};
pub(crate) use target::push_reference;
pub use target::{Form, push_path, split};
