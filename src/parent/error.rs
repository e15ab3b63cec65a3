//! Why the server cannot start, or take over, or reload.

use crate::instance;
use crate::sys::{self, Errno};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// Why the server cannot start; one line.
#[derive(Debug)]
pub(super) enum Error {
    /// What it owns on disk.
    Instance(instance::Error),
    /// A listener: its address as it was given.
    Listen(String, sys::Error),
    /// A call that needs no object: what was to be done.
    Call(&'static str, sys::Error),
    /// The descriptor limit is below what the server needs for itself.
    FewDescriptors(u64),
    /// A descriptor of the service manager: its place, and what is wrong with it.
    Given(usize, &'static str),
    /// The predecessor and this server do not agree.
    Upgrade(&'static str),
    /// More than a number per listener allows.
    ManyListeners,
    /// A user of this name.
    User(OsString, sys::Error),
    /// A call with a path: what was to be done with it.
    File(&'static str, PathBuf, sys::Error),
    /// Workers: how the first one that failed ended.
    Workers(String),
}

impl From<instance::Error> for Error {
    fn from(error: instance::Error) -> Self {
        Self::Instance(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(error) => error.fmt(f),
            Self::Listen(address, why) => {
                let way_out = way_out(why.errno);
                write!(f, "unable to listen on {address}: {why}; {way_out}")
            }
            Self::Call(what, why) => write!(f, "unable to {what}: {why}"),
            Self::User(name, why) => {
                let name = name.display();
                write!(
                    f,
                    "unable to find user {name}: {why}; give USER:GROUP in numbers"
                )
            }
            Self::File(what, path, why) => write!(f, "unable to {what} {}: {why}", path.display()),
            Self::FewDescriptors(limit) => write!(
                f,
                "unable to serve with a descriptor limit of {limit}; raise it with ulimit -n"
            ),
            Self::Given(place, is) => write!(f, "descriptor {place} of LISTEN_FDS is {is}"),
            Self::Upgrade(why) => write!(f, "unable to take over: {why}"),
            Self::ManyListeners => f.write_str("unable to listen on more than 256 addresses"),
            Self::Workers(how) => write!(f, "unable to start workers: {how}"),
        }
    }
}

/// For a call that needs no object: what was to be done.
pub(super) fn call(what: &'static str) -> impl Fn(sys::Error) -> Error {
    move |why| Error::Call(what, why)
}

/// What to do about a listener that cannot be had.
fn way_out(errno: Errno) -> &'static str {
    match errno {
        Errno::ADDRINUSE => "stop who listens there or choose another --port",
        Errno::ACCES => "choose a --port of 1024 or more",
        Errno::ADDRNOTAVAIL => "choose a --bind address that this machine has",
        _ => "choose another --bind or --port",
    }
}
