//! Command line and configuration file: from words to `Settings`. Pure: nothing here acts.
//!
//! The caller reads the words, the home folder and the file; the order is
//!
//! ```text
//! parse(words, surroundings) -> Parsed      each word checked alone
//! parsed.config_file()                      which file to read, if any
//! combine(&parsed, file)     -> Invocation  file below command line, then checked together
//! ```
//!
//! Siblings use each other in one direction only: `error`, `value`, `kind`, `options`,
//! `suggest`, then `argv`, `config`, `combine`, and beside them `help`, `man`, `completions`.

pub(crate) mod argv;
pub mod combine;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod error;
pub(crate) mod help;
pub(crate) mod kind;
pub(crate) mod man;
pub(crate) mod options;
mod suggest;
mod value;

pub use argv::{Parsed, parse};
pub use combine::combine;
pub use error::UsageError;

use crate::settings::Settings;
use std::ffi::OsStr;
use std::path::PathBuf;

/// The program's version, as `--version` prints it after the name.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What `--version` prints, with its newline.
pub(crate) const VERSION_LINE: &str = concat!("caffeine ", env!("CARGO_PKG_VERSION"), "\n");

/// What the parser may know of the world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// `HOME`, or the home folder of the user database; empty counts as unknown.
    pub home: Option<&'a OsStr>,
}

/// A shell that completions are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// The friendly interactive shell.
    Fish,
}

/// What a running server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// How it is.
    Status,
    /// To take a new configuration.
    Reload,
    /// To end.
    Stop,
}

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// No command word: serve.
    Serve(Box<Settings>),
    /// `--log`: print this log file.
    PrintLog(PathBuf),
    /// `--check`: look at everything; what the file says wrong is known already.
    Check(Box<Settings>, Vec<UsageError>),
    /// `--status`, `--reload`, `--stop`: talk to the server of these settings.
    Control(Ask, Box<Settings>),
    /// `--list`: ask every server of this user.
    List,
    /// `--help`: print `help::text()`.
    Help,
    /// `--version`: print `VERSION_LINE`.
    Version,
    /// `--print-man`: print `man::text()`.
    Man,
    /// `--print-completions`: print `completions::text(shell)`.
    Completions(Shell),
}

/// Appends texts. Not inlined: the three texts that are made of it are large enough.
#[inline(never)]
fn push(text: &mut String, pieces: &[&str]) {
    text.extend(pieces.iter().copied());
}
