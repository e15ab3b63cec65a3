//! The two ends of the command line: what this process was asked to do (its words, its home folder
//! and the configuration file, given to `cli`, which is pure), and what it prints in answer.
//! Refuses to serve.

use crate::cli::error::{Place, Reason};
use crate::cli::{self, Command, Environment, UsageError};
use crate::doctor;
use crate::settings::{ErrorPage, SEARCH_PATH, Settings};
use crate::sys::{self, privilege};
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// More than any configuration file may hold; what reads on for ever is not one.
const CONFIG_BYTES: u64 = 1 << 20;

/// Why a command is not known, or cannot print. `Display` is one line.
#[derive(Debug)]
pub enum Error {
    /// A mistake in words or file.
    Usage(UsageError),
    /// A file cannot be read: the option that names another one.
    File(PathBuf, sys::Error, &'static str),
    /// Nothing can be printed.
    Print(sys::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) => error.fmt(f),
            Self::File(path, why, option) => {
                let path = path.display();
                write!(
                    f,
                    "unable to read {path}: {why}; name another with {option}"
                )
            }
            Self::Print(why) => write!(f, "unable to print: {why}"),
        }
    }
}

/// Reads the command of this process.
///
/// # Errors
/// The first mistake, or a configuration file that was named and cannot be read.
pub fn read() -> Result<Command, Error> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let home = std::env::var_os("HOME").or_else(|| privilege::home_folder().ok());
    let home = home.as_deref();
    let parsed = cli::parse(&words, Environment { home }).map_err(Error::Usage)?;
    let file = match parsed.config_file() {
        Some(file) => read_config(file.path, file.explicit)?,
        None => None,
    };
    let file = file
        .as_ref()
        .map(|(path, bytes)| (path.as_path(), bytes.as_slice()));
    let mut command = cli::combine(&parsed, file).map_err(Error::Usage)?;
    let mut unread = Vec::new();
    if let Command::Serve(settings) | Command::Check(settings, _) = &mut command {
        read_error_pages(settings, &mut unread);
    }
    match &mut command {
        Command::Check(_, mistakes) => mistakes.append(&mut unread),
        _ if unread.is_empty() => {}
        _ => return Err(Error::Usage(unread.swap_remove(0))),
    }
    Ok(command)
}

/// Server: reads its own command again, after its file was changed (reload).
///
/// # Errors
/// One line, as `read`'s.
pub fn reread() -> Result<Settings, String> {
    match read() {
        Ok(Command::Serve(settings)) => Ok(*settings),
        Ok(_) => Err(String::from("it is no server's any more")),
        Err(e) => Err(e.to_string()),
    }
}

/// Reads each page once: workers inherit them, and a file that goes later does no harm.
fn read_error_pages(settings: &mut Settings, mistakes: &mut Vec<UsageError>) {
    let config = settings.config.as_deref().unwrap_or(Path::new(""));
    for page in &mut settings.error_pages {
        match read_error_page(&page.path) {
            Ok(body) => page.body = body,
            Err(why) => mistakes.push(UsageError {
                place: Place::File {
                    path: config.to_path_buf(),
                    line: page.line,
                },
                name: "error-page",
                reason: Reason::Unreadable(page.path.clone(), why),
            }),
        }
    }
}

/// `--check`: prints a line for each fault. The exit status is 1 if there are any.
///
/// # Errors
/// As `print`.
pub fn check(settings: &Settings, mistakes: &[UsageError]) -> Result<u8, Error> {
    let own_path = settings.env.iter().rfind(|(name, _)| name == "PATH");
    let search_path = own_path.map_or(SEARCH_PATH, |(_, path)| path.as_encoded_bytes());
    let findings = doctor::check(settings, search_path);
    let mut text = String::new();
    for mistake in mistakes {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{mistake}");
    }
    text.push_str(&findings.text);
    let is_clean = text.is_empty();
    if is_clean {
        let (handlers, folder) = (findings.handlers, settings.path.display());
        text = format!("no faults in {handlers} handlers below {folder}\n");
    }
    print(&text).map(|()| u8::from(!is_clean))
}

fn read_error_page(path: &Path) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let most = ErrorPage::MAX_BYTES as u64;
    let file = File::open(path);
    match file.and_then(|file| file.take(most + 1).read_to_end(&mut body)) {
        Ok(_) if body.len() > ErrorPage::MAX_BYTES => Err("it is larger than 64K".into()),
        Ok(_) => Ok(body),
        Err(e) => Err(sys::Error::from_io(&"open", &e).to_string()),
    }
}

/// The configuration file with its path; `None` if it is missing and was not asked for by name.
fn read_config(path: PathBuf, is_named: bool) -> Result<Option<(PathBuf, Vec<u8>)>, Error> {
    let mut bytes = Vec::new();
    let file = File::open(&path);
    match file.and_then(|file| file.take(CONFIG_BYTES).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some((path, bytes))),
        Err(e) if e.kind() == ErrorKind::NotFound && !is_named => Ok(None),
        Err(e) => {
            let why = sys::Error::from_io(&"open", &e);
            Err(Error::File(path, why, "--config"))
        }
    }
}

/// Prints a text.
///
/// # Errors
/// stdout cannot be written; that its reader has seen enough is none.
pub fn print(text: &str) -> Result<(), Error> {
    print_from(text.as_bytes())
}

/// Prints the log file (`--log`).
///
/// # Errors
/// It is missing, or as `print`.
pub fn print_log(path: &Path) -> Result<(), Error> {
    let file = File::open(path).map_err(|e| {
        let why = sys::Error::from_io(&"open", &e);
        Error::File(path.to_path_buf(), why, "--log-file")
    })?;
    print_from(file)
}

fn print_from(mut from: impl Read) -> Result<(), Error> {
    let mut out = std::io::stdout();
    match std::io::copy(&mut from, &mut out).and_then(|_| out.flush()) {
        // `caffeine --log | head`
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Error::Print(sys::Error::from_io(&"write", &e)))
        }
        _ => Ok(()),
    }
}
