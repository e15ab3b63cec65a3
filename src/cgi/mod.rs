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

pub use environment::{Entry, Environment, Refused};
pub use forwarded::Forwarded;
pub use line::{BadOutput, first_line};
pub use meta::{MetaVariables, Request, Scheme, is_variable};
pub use output::{Fields, Kind, Output, OutputParser, Progress};
