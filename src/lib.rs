//! Caffeine answers each HTTP request by running an executable.
//!
//! > The parent never reads a client's byte. A worker never waits for a client.
//! > A handler never outlives its request.
//!
//! Layers, arrows point down only (`tests/layers.rs` checks it):
//!
//! ```text
//! main.rs      calls `run`
//! command      argv in, exit code out: reads what is asked, and has it done
//! controller   talks to running servers
//! cli          option table, argv, configuration file, help, man page, completions   (pure)
//! parent       loop, connections, workers, upgrade
//! worker       one exchange: launch plan, relay, spool
//! birth        what a worker is born with
//! doctor       what is wrong with a handler, and what to do
//! channel      the messages between parent and worker
//! route        from a path to its handler
//! cgi          meta-variables, handler output head                                    (pure)
//! http         head parser, target, chunked decoder, response head, date              (pure)
//! instance     pid file, sockets and folders of one running server
//! log scoreboard
//! settings limits calendar program text                                               (pure)
//! sys          every system call
//! ```
//!
//! Outside the crate there is only [`run`]; `testing` is for benchmarks, fuzz targets and one test.

// With clippy.toml: whatever another module may use says what it is.
#![warn(clippy::missing_docs_in_private_items)]

mod birth;
mod calendar;
mod cgi;
mod channel;
mod cli;
mod command;
mod controller;
mod doctor;
mod http;
mod instance;
mod limits;
mod log;
mod parent;
mod program;
mod route;
mod scoreboard;
mod settings;
#[doc(hidden)]
pub mod testing;
mod text;

#[allow(unsafe_code, reason = "the one layer that makes system calls")]
mod sys;
mod worker;

pub use command::run;
