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

pub use chunked::{CHUNKED_BYTES, Chunked, MAX_EXTENSION_BYTES, MAX_TRAILER_BYTES, Step};
pub use class::{hex_value, is_field_value, is_token, token_end, trim};
pub use date::imf_fixdate;
pub use fields::{All, FieldStore, Fields, FieldsIter};
pub use framing::BodyLength;
pub use head::{Head, HeadLimits, MAX_METHOD_BYTES, Progress, Version, parse};
pub use host::{is_authority, split_port};
pub use malformed::Malformed;
pub use path::DecodedPath;
pub use response::{
    ErrorResponse, Framing, ResponseHead, begin, error_response, finish, frame, has_body,
    is_server_controlled, push_field, status_reason,
};
pub use target::{Form, Target, push_path, push_reference, split};
