//! Talks to running servers through their Unix sockets: `--status`, `--reload`, `--stop`, `--list`.
//! Runs in the command, never in a server.
//!
//! Whom it talks to is known by the kernel's word (SO_PEERCRED), and that it is the server of this
//! pid file by its lock; a number that was read from a file is never sent a signal. Everything that
//! comes back is hostile.

use crate::instance::{self, Holder};
use crate::log::Escaped;
use crate::settings::is_instance;
use crate::sys::fd::AsFd;
use crate::sys::process::{self, Pid};
use crate::sys::socket::{self, Peer};
use crate::sys::time::{self, Moment};
use crate::sys::{self, Errno, file, look, signal};
use std::ffi::OsStr;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A server answers in a turn of its loop. It may be stopped, or on a machine that swaps.
const PATIENCE: Duration = Duration::from_secs(5);

/// An upgrade is through with its names by then.
const FOLLOWING: Duration = Duration::from_millis(500);

/// Between two looks at what says nothing when it changes.
const PAUSE: Duration = Duration::from_millis(20);

/// Bytes of an answer.
const MOST_BYTES: usize = 256 * 1024;

/// The folder of the default sockets, and how their names begin and end.
const FOLDER: &str = "/tmp";
const START: &[u8] = b"webserver";
const END: &[u8] = b".sock";

/// Why a server could not be asked, or did not do what it was asked.
#[derive(Debug)]
pub struct Error {
    /// The socket or pid file that it is about.
    path: PathBuf,
    /// The rest of the line.
    what: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(self.path.as_os_str().as_bytes()).fmt(f)?;
        f.write_str(": ")?;
        f.write_str(&self.what)
    }
}

fn error(path: &Path, what: impl Into<String>) -> Error {
    Error {
        path: path.to_path_buf(),
        what: what.into(),
    }
}

/// What a server has said.
struct Answer {
    text: Vec<u8>,
    pid: Pid,
    holder: Option<Holder>,
}

impl Answer {
    /// A value of its first line, printable.
    fn value(&self, key: &str) -> &str {
        let line = self.text.split(|b| *b == b'\n').next();
        let line = std::str::from_utf8(line.unwrap_or_default()).unwrap_or("");
        let mut words = line.split(|c: char| c == ' ' || c.is_control());
        let value = words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or("?")
    }
}

/// Whether a server of `peer` is one for this user to talk to. Root talks to everybody's: what it
/// says there does no harm, and what it hears is only shown.
fn is_trusted(peer: Peer, own_uid: u32) -> bool {
    peer.uid == own_uid || peer.uid == 0 || own_uid == 0
}

/// Connects, and sees who is there. `None`: too many others wait there.
fn reach(path: &Path) -> Result<Option<(OwnedFd, Pid)>, Error> {
    let call = |why: sys::Error| error(path, format!("unable to ask: {why}"));
    let socket = match socket::connect_unix_at_once(path) {
        Ok(socket) => socket,
        Err(e) if e.is_would_block() => return Ok(None),
        Err(e) if matches!(e.errno, Errno::CONNREFUSED | Errno::NOENT) => {
            let what = "no server runs here; another is chosen with --name, --socket or --config";
            return Err(error(path, what));
        }
        Err(e) if e.errno == Errno::ACCES => {
            return Err(error(path, "this server belongs to another user"));
        }
        Err(why) => return Err(call(why)),
    };
    let peer = socket::peer(socket.as_fd()).map_err(call)?;
    match Pid::new(peer.pid) {
        Some(pid) if is_trusted(peer, process::effective_uid()) => Ok(Some((socket, pid))),
        _ => {
            let what = format!("this server belongs to user {}", peer.uid);
            Err(error(path, what))
        }
    }
}

/// Says a word to the server at a socket, which with `pid_file` has to be its holder, and hears the
/// answer. A server that is overrun by others may hang up: then again.
fn ask(
    path: &Path,
    pid_file: Option<&Path>,
    word: &[u8],
    patience: Duration,
) -> Result<Answer, Error> {
    let start = time::now();
    let deadline = start.after(patience);
    loop {
        if let Some((socket, pid)) = reach(path)? {
            let holder = pid_file.and_then(instance::holder);
            if let Some(file) = pid_file
                && holder.as_ref().and_then(|holder| holder.pid) != Some(pid)
            {
                // While one server follows another, the two may be told apart for a moment.
                if time::now().since(start) < FOLLOWING {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                let what = format!(
                    "the server at the socket (pid {pid}) does not hold this pid file; correct --pid-file or --socket"
                );
                return Err(error(file, what));
            }
            let text = converse(&socket, word, deadline);
            let begins = |with: &&[u8]| text.starts_with(with);
            if [&b"state="[..], b"ok", b"error "].iter().any(begins) {
                return Ok(Answer { text, pid, holder });
            }
            if !text.is_empty() {
                return Err(error(path, "this is the socket of another program"));
            }
        }
        if time::now() >= deadline {
            let what = format!("no answer within {} s", patience.as_secs());
            return Err(error(path, what));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Nothing is an answer too: none.
fn converse(socket: &OwnedFd, word: &[u8], deadline: Moment) -> Vec<u8> {
    let mut text = Vec::new();
    // What was hung up says so at the next call.
    let _ = socket::send(socket.as_fd(), word, false);
    let mut bytes = [0; 4096];
    while text.len() < MOST_BYTES {
        let left = deadline.since(time::now());
        if !matches!(
            signal::wait_one(socket.as_fd(), signal::READABLE, left),
            Ok(true)
        ) {
            break;
        }
        match socket::receive(socket.as_fd(), &mut bytes) {
            Ok(n) if n > 0 => text.extend_from_slice(bytes.get(..n).unwrap_or_default()),
            Err(e) if e.is_would_block() => {}
            _ => break,
        }
    }
    text
}

/// `--status`: the text to print.
///
/// # Errors
/// No server, or not one of this user's.
pub fn status(socket: &Path) -> Result<String, Error> {
    let answer = ask(socket, None, b"status\n", PATIENCE)?;
    let mut text = String::new();
    let mut is_first = true;
    // The first line is for programs: its words become lines.
    for byte in answer.text {
        match byte {
            b'\n' => {
                is_first = false;
                text.push('\n');
            }
            b' ' if is_first => text.push('\n'),
            b'=' if is_first => text.push_str(": "),
            b'_' if is_first => text.push(' '),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push('?'),
        }
    }
    Ok(text)
}

/// `--reload`: the text to print.
///
/// # Errors
/// No server, or it keeps its configuration: why.
pub fn reload(socket: &Path, pid_file: &Path) -> Result<String, Error> {
    let answer = ask(socket, Some(pid_file), b"reload\n", 2 * PATIENCE)?;
    if answer.text.starts_with(b"ok") {
        return Ok(format!("reloaded (pid {})\n", answer.pid));
    }
    let line = answer.text.strip_prefix(b"error ").unwrap_or_default();
    let why = Escaped(line.trim_ascii_end());
    Err(error(
        socket,
        format!("the old configuration stays in force: {why}"),
    ))
}

/// `--stop`: the text to print, once the server is gone.
///
/// # Errors
/// No server, or it is still there after all its graces.
pub fn stop(socket: &Path, pid_file: &Path) -> Result<String, Error> {
    let answer = ask(socket, Some(pid_file), b"stop\n", PATIENCE)?;
    let grace = answer.value("within_ms").parse().unwrap_or(0);
    let grace = Duration::from_millis(grace) + PATIENCE;
    let deadline = time::now().after(grace);
    // The lock goes with the process, whatever its end.
    while let Some(holder) = &answer.holder
        && !file::try_lock(holder.file.as_fd()).unwrap_or(false)
    {
        if time::now() >= deadline {
            let (pid, seconds) = (answer.pid, grace.as_secs());
            let what = format!(
                "the server (pid {pid}) is still there after {seconds} s; its log may say why"
            );
            return Err(error(socket, what));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(format!("stopped (pid {})\n", answer.pid))
}

/// `--list`: the text to print. Sockets are looked for where they are by default; what does not
/// answer, or is not this user's, is not listed.
pub fn list() -> String {
    let names = look::names_in(Path::new(FOLDER), |name| instance_of(name).is_some());
    let mut text = String::from("NAME PID PORT WORKERS UPTIME REQUESTS\n");
    for name in names.unwrap_or_default() {
        let path = Path::new(FOLDER).join(OsStr::from_bytes(&name));
        if let Ok(answer) = ask(&path, None, b"status\n", Duration::from_secs(1)) {
            let name = instance_of(&name).and_then(|name| std::str::from_utf8(name).ok());
            text.push_str(&row(name.unwrap_or("-"), &answer));
        }
    }
    text
}

/// The instance of a socket's name, as `--name` takes it; `-` for the one without.
fn instance_of(name: &[u8]) -> Option<&[u8]> {
    let between = name.strip_prefix(START)?.strip_suffix(END)?;
    match between {
        [] => Some(b"-"),
        [b'-', instance @ ..] if is_instance(instance) => Some(instance),
        _ => None,
    }
}

fn row(name: &str, answer: &Answer) -> String {
    let mut text = format!("{name} {}", answer.pid);
    for key in ["ports", "workers", "uptime", "requests"] {
        text.push(' ');
        text.push_str(answer.value(key));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        Answer {
            text: text.into(),
            pid: Pid::new(7).unwrap(),
            holder: None,
        }
    }

    #[test]
    fn a_row_has_every_column_whatever_is_missing() {
        let whole = "state=serving ports=80,unix workers=4 uptime=5 requests=6\nworkers=9\n";
        assert_eq!(row("a", &answer(whole)), "a 7 80,unix 4 5 6\n");
        let hostile = "ports= uptime=\x1b[2J workers=a\tb\n";
        assert_eq!(row("-", &answer(hostile)), "- 7  a  ?\n");
        assert_eq!(row("-", &answer("\u{80}")), "- 7 ? ? ? ?\n");
    }

    #[test]
    fn sockets_are_known_by_their_names() {
        for (name, expected) in [
            ("webserver.sock", Some("-")),
            ("webserver-two.sock", Some("two")),
            ("webserver-.sock", None),
            ("webservertwo.sock", None),
            ("webserver-two.pid", None),
            ("webserver-a b.sock", None),
            ("webserver-..sock", None),
            ("other.sock", None),
        ] {
            let found = instance_of(name.as_bytes());
            assert_eq!(found, expected.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn one_talks_to_ones_own_servers_and_to_roots_and_root_to_all() {
        for (uid, own, expected) in [
            (1000, 1000, true),
            (0, 1000, true),
            (1001, 1000, false),
            (1001, 0, true),
        ] {
            assert_eq!(is_trusted(Peer { pid: 1, uid }, own), expected);
        }
    }
}
