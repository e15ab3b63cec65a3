//! From argv to the exit code: what this process was asked to do (its words, its home folder and the
//! configuration file, given to `cli`, which is pure), who does it, and what is printed in answer.
//! Refuses to serve; the parent does that.

use crate::cli::error::{MistakePlace, Reason};
use crate::cli::{self, Ask, Invocation, Surroundings, UsageError};
use crate::parent::{self, Inheritance};
use crate::settings::{ErrorPage, SEARCH_PATH, Settings};
use crate::sys::fd::{self, AsFd};
use crate::sys::{self, Errno, file, privilege, signal};
use crate::{controller, doctor, worker};
use std::ffi::CString;
use std::fmt::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// More than any configuration file may hold; what reads on for ever is not one.
const CONFIG_BYTES: usize = 1 << 20;

/// Why a command is not known, or cannot print. `Display` is one line.
#[derive(Debug)]
enum Error {
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

/// Runs the whole program: does what its command line asks. The exit code is 0, 1 when the system
/// refused, 2 for a mistake in words or file.
pub fn run() -> ExitCode {
    // First of all, since a number that is not taken is given to what is opened next. The standard
    // library has put /dev/null in the place of closed standard descriptors.
    let inherited = Inheritance::take();
    fd::close_all_but(&inherited.numbers());
    let code = match (signal::reset_inherited(), read()) {
        (Ok(()), Ok(command)) => act(command, inherited),
        (Err(e), _) => failed(1, &e),
        (_, Err(e)) => failed(2, &e),
    };
    ExitCode::from(code)
}

fn failed(code: u8, why: &dyn fmt::Display) -> u8 {
    eprintln!("caffeine: {why}");
    code
}

fn act(command: Invocation, inherited: Inheritance) -> u8 {
    let printed = match command {
        Invocation::Serve(settings) => {
            return parent::serve(*settings, inherited, worker::run, reread);
        }
        Invocation::Check(settings, mistakes) => {
            return check(&settings, &mistakes).unwrap_or_else(|e| failed(1, &e));
        }
        Invocation::Control(ask, settings) => {
            let answer = match ask {
                Ask::Status => controller::status(&settings.socket),
                Ask::Reload => controller::reload(&settings.socket, settings.pid_file.as_deref()),
                Ask::Stop => controller::stop(&settings.socket, settings.pid_file.as_deref()),
            };
            match answer {
                Ok(text) => print(&text),
                Err(e) => return failed(1, &e),
            }
        }
        Invocation::List => print(&controller::list()),
        Invocation::PrintLog(path) => print_log(&path),
        Invocation::Help => print(&cli::help::text()),
        Invocation::Version => print(cli::VERSION_LINE),
        Invocation::Man => print(&cli::man::text()),
        Invocation::Completions(shell) => print(&cli::completions::text(shell)),
    };
    printed.map_or_else(|e| failed(1, &e), |()| 0)
}

/// Reads the command of this process.
///
/// # Errors
/// The first mistake, or a configuration file that was named and cannot be read.
fn read() -> Result<Invocation, Error> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let home = std::env::var_os("HOME").or_else(|| privilege::home_folder().ok());
    let home = home.as_deref();
    let parsed = cli::parse(&words, Surroundings { home }).map_err(Error::Usage)?;
    let file = match parsed.config_file() {
        Some(file) => read_config(file.path, file.explicit)?,
        None => None,
    };
    let file = file
        .as_ref()
        .map(|(path, bytes)| (path.as_path(), bytes.as_slice()));
    let mut command = cli::combine(&parsed, file).map_err(Error::Usage)?;
    let mut unread = Vec::new();
    if let Invocation::Serve(settings) | Invocation::Check(settings, _) = &mut command {
        read_error_pages(settings, &mut unread);
    }
    match &mut command {
        Invocation::Check(_, mistakes) => mistakes.append(&mut unread),
        _ if unread.is_empty() => {}
        _ => return Err(Error::Usage(unread.swap_remove(0))),
    }
    Ok(command)
}

/// Server: reads its own command again, after its file was changed (reload).
///
/// # Errors
/// One line, as `read`'s.
fn reread() -> Result<Settings, String> {
    match read() {
        Ok(Invocation::Serve(settings)) => Ok(*settings),
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
                place: MistakePlace::File {
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
fn check(settings: &Settings, mistakes: &[UsageError]) -> Result<u8, Error> {
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
    match read_file(path, ErrorPage::MAX_BYTES) {
        Ok(body) if body.len() > ErrorPage::MAX_BYTES => Err("it is larger than 64K".into()),
        Ok(body) => Ok(body),
        Err(e) => Err(e.to_string()),
    }
}

/// The configuration file with its path; `None` if it is missing and was not asked for by name.
fn read_config(path: PathBuf, is_named: bool) -> Result<Option<(PathBuf, Vec<u8>)>, Error> {
    match read_file(&path, CONFIG_BYTES) {
        Ok(bytes) => Ok(Some((path, bytes))),
        Err(e) if e.errno == Errno::NOENT && !is_named => Ok(None),
        Err(why) => Err(Error::File(path, why, "--config")),
    }
}

fn open(path: &Path) -> sys::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    file::open_at(None, &name, file::Open::Read)
}

/// All of a file, or more than so many bytes of it.
fn read_file(path: &Path, most: usize) -> sys::Result<Vec<u8>> {
    fd::read_all(open(path)?.as_fd(), most)
}

/// Prints a text.
///
/// # Errors
/// stdout cannot be written; that its reader has seen enough is none.
fn print(text: &str) -> Result<(), Error> {
    printed(fd::print(text.as_bytes()))
}

/// Prints the log file (`--log`).
///
/// # Errors
/// It is missing, or as `print`.
fn print_log(path: &Path) -> Result<(), Error> {
    let file = open(path).map_err(|why| Error::File(path.to_path_buf(), why, "--log-file"))?;
    printed(copy(&file))
}

fn copy(file: &OwnedFd) -> sys::Result<()> {
    let mut piece = vec![0; 1 << 16];
    loop {
        let n = fd::read(file.as_fd(), &mut piece)?;
        if n == 0 {
            return Ok(());
        }
        fd::print(piece.get(..n).unwrap_or_default())?;
    }
}

fn printed(outcome: sys::Result<()>) -> Result<(), Error> {
    match outcome {
        // `caffeine --log | head`
        Err(e) if e.errno != Errno::PIPE => Err(Error::Print(e)),
        _ => Ok(()),
    }
}
