//! Caffeine answers each HTTP request by running an executable.
//!
//! > The parent never reads a client's byte. A worker never waits for a client.
//! > A handler never outlives its request.
//!
//! Layers, arrows point down only (`tests/layers.rs` checks it):
//!
//! ```text
//! main.rs      argv in, exit code out
//! command      argv, home folder and configuration file in, texts out
//! controller   talks to running servers
//! cli          option table, argv, configuration file, help, man page, completions   (pure)
//! parent       loop, pool of workers, lot of parked connections
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

pub mod birth;
pub mod calendar;
pub mod cgi;
pub mod channel;
pub mod cli;
pub mod command;
pub mod controller;
pub mod doctor;
pub mod http;
pub mod instance;
pub mod limits;
pub mod log;
pub mod parent;
pub mod program;
pub mod route;
pub mod scoreboard;
pub mod settings;
pub mod text;

#[allow(unsafe_code, reason = "the one layer that makes system calls")]
pub mod sys;
pub mod worker;
