//! Talks to running servers through their control sockets: `--status`, `--reload`, `--stop`, `--list`.
//! Runs in the command, never in a server.
//!
//! Whom it talks to is known by the kernel's word (SO_PEERCRED). What changes the server takes a proof: an
//! open descriptor of the pid file goes along with the word, and the server compares it with its own. A
//! number that was read from a file is never sent a signal. Everything that comes back is hostile.

use crate::instance;
use crate::log::Escaped;
use crate::settings::is_instance;
use crate::sys::fd::{self, AsFd};
use crate::sys::passing::send_record;
use crate::sys::socket::{self, Peer};
use crate::sys::time::{self, Moment};
use crate::sys::{self, Errno, file, poll, process};
use std::ffi::OsStr;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a server is waited for. It answers within one turn of its loop, unless it is stopped (SIGSTOP)
/// or its machine swaps.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two attempts, where there is no event to wait for.
const PAUSE: Duration = Duration::from_millis(20);

/// Bytes of an answer.
const MOST_BYTES: usize = 256 * 1024;

/// The folder of the default sockets, and how their names begin and end.
const FOLDER: &str = "/tmp";
const START: &[u8] = b"webserver";
const END: &[u8] = b".sock";

/// Why a server could not be asked, or did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Error {
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
    pid: i32,
    /// The pid file, if it is the server's.
    pid_file: Option<OwnedFd>,
}

impl Answer {
    /// Why it was refused, printable.
    fn refusal(&self) -> Option<String> {
        let why = self.text.strip_prefix(b"error ")?;
        Some(Escaped(why.trim_ascii_end()).to_string())
    }

    /// A value of its first line, printable.
    fn value(&self, key: &str) -> &str {
        let line = self.text.split(|b| *b == b'\n').next();
        let line = std::str::from_utf8(line.unwrap_or_default()).unwrap_or("");
        let mut words = line.split(|c: char| c == ' ' || c.is_control());
        let value = words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or("?")
    }
}

/// The end of a message: how another server is chosen.
const ANOTHER: &str = "; another is chosen with --name, --socket or --config";

/// Whether a server of `peer` is one for this user to talk to. Root talks to everybody's: what it
/// says there does no harm, and what it hears is only shown.
fn is_trusted(peer: Peer, own_uid: u32) -> bool {
    peer.uid == own_uid || peer.uid == 0 || own_uid == 0
}

/// Connects, and sees who is there. `None`: too many others wait there.
fn reach(path: &Path) -> Result<Option<(OwnedFd, Peer)>, Error> {
    let call = |why: sys::Error| error(path, format!("unable to ask: {why}"));
    let connected = match (socket::connect_unix_at_once(path), instance::unplaced(path)) {
        (Err(e), Some(name)) if e.errno == Errno::NOENT => socket::connect_unix_at_once(&name),
        (connected, _) => connected,
    };
    let socket = match connected {
        Ok(socket) => socket,
        Err(e) if e.is_would_block() => return Ok(None),
        Err(e) if matches!(e.errno, Errno::CONNREFUSED | Errno::NOENT) => {
            return Err(error(path, ["no server runs here", ANOTHER].concat()));
        }
        Err(e) if e.errno == Errno::ACCES => {
            let what = ["this server belongs to another user", ANOTHER].concat();
            return Err(error(path, what));
        }
        Err(why) => return Err(call(why)),
    };
    let peer = socket::peer(socket.as_fd()).map_err(call)?;
    if is_trusted(peer, process::effective_uid()) {
        return Ok(Some((socket, peer)));
    }
    let what = format!("this server belongs to user {}{ANOTHER}", peer.uid);
    Err(error(path, what))
}

/// Says a word to the server at a socket, with `pid_file` as proof, and hears the answer. A server that is
/// overrun by others may hang up without one: then again. A file of another user than the server's is
/// not passed on: it proves nothing there.
fn ask(
    path: &Path,
    pid_file: Option<&Path>,
    word: &[u8],
    patience: Duration,
) -> Result<Answer, Error> {
    let deadline = time::now().after(patience);
    loop {
        if let Some((socket, Peer { pid, uid })) = reach(path)? {
            let pid_file = pid_file.and_then(|file| instance::held(file, uid));
            let text = converse(&socket, word, pid_file.as_ref(), deadline);
            let begins = |with: &&[u8]| text.starts_with(with);
            if [&b"state="[..], b"ok", b"error "].iter().any(begins) {
                return Ok(Answer {
                    text,
                    pid,
                    pid_file,
                });
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

/// Sends a word and reads the answer until the server hangs up or the deadline has passed. Empty: none came.
fn converse(socket: &OwnedFd, word: &[u8], proof: Option<&OwnedFd>, deadline: Moment) -> Vec<u8> {
    let mut text = Vec::new();
    let proof = proof.map(AsFd::as_fd);
    // If the server has hung up, the next call fails.
    let _ = send_record(socket.as_fd(), word, proof.as_slice());
    let mut bytes = [0; 4096];
    while text.len() < MOST_BYTES {
        let left = deadline.since(time::now());
        if !matches!(
            poll::wait_one(socket.as_fd(), poll::READABLE, left),
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
pub(crate) fn status(socket: &Path) -> Result<String, Error> {
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
pub(crate) fn reload(socket: &Path, pid_file: Option<&Path>) -> Result<String, Error> {
    let answer = ask(socket, pid_file, b"reload\n", 2 * PATIENCE)?;
    match answer.refusal() {
        None => Ok(format!("reloaded (pid {})\n", answer.pid)),
        Some(why) => Err(error(
            socket,
            format!("the old configuration stays in force: {why}"),
        )),
    }
}

/// `--stop`: the text to print, once the server is gone.
///
/// # Errors
/// No server, or it is still there after all its graces.
pub(crate) fn stop(socket: &Path, pid_file: Option<&Path>) -> Result<String, Error> {
    let answer = ask(socket, pid_file, b"stop\n", PATIENCE)?;
    if let Some(why) = answer.refusal() {
        return Err(error(socket, why));
    }
    let grace = answer.value("within_ms").parse().unwrap_or(0);
    let grace = Duration::from_millis(grace) + PATIENCE;
    let deadline = time::now().after(grace);
    // The kernel releases the lock when the process ends, however it ends.
    while let Some(file) = &answer.pid_file
        && !file::try_lock(file.as_fd()).unwrap_or(false)
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
pub(crate) fn list() -> String {
    let names = file::names_in(Path::new(FOLDER), |name| instance_of(name).is_some());
    let mut names = names.unwrap_or_default();
    // Those for which there was no place in the folder. Each client's end bears the name, too.
    let all = file::open_at(None, c"/proc/net/unix", file::Open::Read);
    let all = all.and_then(|all| fd::read_all(all.as_fd(), usize::MAX));
    let all = all.unwrap_or_default();
    for line in all.split(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b'@').next_back();
        let name = name.and_then(|path| path.strip_prefix(b"/tmp/"));
        if let Some(name) = name.filter(|name| instance_of(name).is_some())
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_vec());
        }
    }
    let mut text = String::from("NAME PID PORT WORKERS UPTIME REQUESTS\n");
    for name in names {
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
            pid: 7,
            pid_file: None,
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
