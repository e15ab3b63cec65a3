//! CGI/1.1 (RFC 3875): meta-variables and the head of a handler's output. Pure.
//!
//! Bytes in, bytes and values out: nothing here opens, reads, writes or logs, and nothing
//! allocates once the buffers are warm. Runs in the worker, and in the fuzz targets.

mod environment;
mod forwarded;
mod line;
mod meta;
mod names;
mod output;

pub(crate) use environment::{Environment, OpenVariable, Refused};
pub(crate) use forwarded::Forwarded;
pub use line::BadOutput;
pub(crate) use line::first_line;
pub(crate) use meta::{CgiRequest, MetaVariables, Scheme, is_variable};
pub use output::{Output, OutputParser};
