//! What one running server owns on disk: its pid file, its control socket and other Unix domain sockets, its
//! folders. Parent only.
//!
//! Whatever is in the way is judged before it is touched: only what a dead server of the same user
//! left behind is replaced, and at the end only what is still this server's own is removed.
//! Refuses to log: it returns what is to be said.

mod adopted;
mod fault;
mod folders;
mod holder;

pub(crate) use fault::{Error, Result, unplaced};
pub(crate) use folders::{free_for_spools, open_root, prepare_log};
pub(crate) use holder::held;

use crate::sys::file::{self, Open, Stat};
use crate::sys::process::{self, Pid};
use crate::sys::{self, Errno, fd, socket};
use fault::{failed, foreign, taken};
use std::ffi::CString;
use std::fs::{self, Metadata};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

fn c_path(path: &Path, option: &'static str) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::Foreign {
        path: path.to_path_buf(),
        is: "has a NUL byte in its name",
        option,
    })
}

/// A file's identity; `None` when nothing is there.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

/// A path that this server made, removed when dropped if it still is what was made. A forked
/// child must leave without dropping it.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    identity: (u64, u64),
    /// This process removes it; no predecessor and no successor does.
    is_own: bool,
}

impl Made {
    fn new(path: &Path, identity: (u64, u64), is_own: bool) -> Self {
        Self {
            path: path.to_path_buf(),
            identity,
            is_own,
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.is_own && identity(&self.path) == Some(self.identity) {
            // At the end of the process nobody is left to be told.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What names the pid file.
const PID_FILE: &str = "--pid-file";

/// A pid file is a number and a newline; more is somebody's text.
const PID_FILE_BYTES: usize = 16;

/// The pid file, locked for as long as this lives. The lock, not the number in it, says whether
/// its server lives: numbers are used again.
#[derive(Debug)]
pub(crate) struct PidFile {
    // Removed first, unlocked after: nobody can lock what is about to vanish.
    made: Made,
    file: OwnedFd,
    /// A dead server had left it behind.
    pub was_stale: bool,
}

impl PidFile {
    /// Takes the pid file, or says whose it is. The process id in it is written by `write`.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        let name = c_path(path, PID_FILE)?;
        // Somebody may remove the file between the look and the lock: then look again.
        for _ in 0..8 {
            let (file, is_new) = open_pid_file(path, &name)?;
            if !file::try_lock(file.as_fd()).map_err(|why| failed("lock", path, why, PID_FILE))? {
                return Err(taken(path, owner_in(&file), PID_FILE));
            }
            let found = file::stat(file.as_fd()).map_err(|w| failed("read", path, w, PID_FILE))?;
            // Judged by what was opened: what the name led to a moment before may be gone.
            if let Some(is) = not_own(&found) {
                return Err(foreign(path, is, PID_FILE));
            }
            if identity(path) != Some(found.identity) {
                continue;
            }
            if matches!(content(&file), Content::Text) {
                return Err(foreign(path, "is not a pid file", PID_FILE));
            }
            return Ok(Self {
                made: Made::new(path, found.identity, true),
                file,
                was_stale: !is_new,
            });
        }
        Err(taken(path, None, PID_FILE))
    }

    /// Whether an open descriptor is one of this file that can be written to. Only this user can open it so
    /// (mode 0600), and of his processes none in a sandbox that does not name it: O_PATH, and reading where
    /// all may be read, are not enough.
    pub(crate) fn is_same_as(&self, other: &OwnedFd) -> bool {
        // Asked first, since it waits for no file system.
        fd::is_read_write(other.as_fd())
            && file::stat(other.as_fd()).is_ok_and(|found| found.identity == self.made.identity)
    }

    /// Writes a server's process id. Who reads meanwhile finds it or the one before, never a part.
    pub(crate) fn write(&self, pid: Pid) -> Result<()> {
        let text = format!("{pid}\n");
        let mut bytes = [b'\n'; PID_FILE_BYTES];
        for (place, byte) in bytes.iter_mut().zip(text.bytes()) {
            *place = byte;
        }
        let length = text.len().min(PID_FILE_BYTES) as u64;
        let wrote = fd::pwrite(self.file.as_fd(), &bytes, 0)
            .and_then(|_| file::truncate(self.file.as_fd(), length));
        match wrote {
            Ok(()) => Ok(()),
            Err(why) => Err(failed("write", &self.made.path, why, PID_FILE)),
        }
    }
}

/// Makes the pid file, or opens the one that is there: true if it is new.
fn open_pid_file(path: &Path, name: &CString) -> Result<(OwnedFd, bool)> {
    match file::open_at(None, name, Open::CreateNew) {
        Ok(file) => return Ok((file, true)),
        Err(e) if e.errno == Errno::EXIST => {}
        Err(why) => return Err(failed("create", path, why, PID_FILE)),
    }
    let there = fs::symlink_metadata(path)
        .map_err(|e| failed("read", path, sys::Error::from_io(&"lstat", &e), PID_FILE))?;
    if let Some(is) = not_a_pid_file(&there) {
        return Err(foreign(path, is, PID_FILE));
    }
    file::open_at(None, name, Open::Existing)
        .map(|file| (file, false))
        .map_err(|why| failed("open", path, why, PID_FILE))
}

/// What is wrong with somebody else's file.
const OF_ANOTHER: &str = "belongs to another user";

/// What is wrong with something that stands where the pid file should, before it is opened.
fn not_a_pid_file(there: &Metadata) -> Option<&'static str> {
    let kind = there.file_type();
    if kind.is_symlink() {
        Some("is a symbolic link, not a pid file")
    } else if kind.is_dir() {
        Some("is a folder, not a pid file")
    } else if !kind.is_file() {
        Some("is not a pid file")
    } else if there.uid() != process::effective_uid() {
        Some(OF_ANOTHER)
    } else {
        None
    }
}

/// What is wrong with an open file that this server wants to write to. With a second name it may be
/// anything of this user's that somebody has put here.
fn not_own(found: &Stat) -> Option<&'static str> {
    if !found.is_file() {
        Some("is not a pid file")
    } else if found.uid != process::effective_uid() {
        Some(OF_ANOTHER)
    } else if found.links != 1 {
        Some("is a file with another name too (a hard link)")
    } else {
        None
    }
}

/// What stands in a file.
enum Content {
    /// Nothing: a server had no time to write its number.
    Nothing,
    /// A process id.
    Number(Pid),
    /// Anything else: not ours.
    Text,
}

fn content(file: &OwnedFd) -> Content {
    let mut bytes = [0; PID_FILE_BYTES];
    let n = fd::pread(file.as_fd(), &mut bytes, 0).unwrap_or(PID_FILE_BYTES);
    if n == 0 {
        return Content::Nothing;
    }
    let text = bytes.get(..n).unwrap_or_default().trim_ascii();
    let number = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
    number
        .and_then(Pid::new)
        .map_or(Content::Text, Content::Number)
}

fn owner_in(file: &OwnedFd) -> Option<Pid> {
    match content(file) {
        Content::Number(pid) => Some(pid),
        Content::Nothing | Content::Text => None,
    }
}

/// A listening Unix socket whose file goes when this is dropped.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    /// The listener.
    pub listener: OwnedFd,
    made: Made,
}

impl UnixSocket {
    /// Binds it. `private`: only this user may connect (mode 0600). The socket of a dead server of
    /// this user is replaced, whatever else is there is not. `option` is what names it.
    pub(crate) fn bind(path: &Path, private: bool, option: &'static str) -> Result<Self> {
        let refused = |why| failed("bind", path, why, option);
        if socket::is_abstract(path) {
            return match socket::listen_unix(path, private, BACKLOG) {
                Ok(listener) => Ok(Self::nowhere(path, listener)),
                Err(e) if e.errno == Errno::ADDRINUSE => Err(held_by(path, option)),
                Err(why) => Err(refused(why)),
            };
        }
        let listener = match socket::listen_unix(path, private, BACKLOG) {
            Err(e) if e.errno == Errno::ADDRINUSE => {
                make_way(path, option)?;
                socket::listen_unix(path, private, BACKLOG).map_err(refused)?
            }
            other => other.map_err(refused)?,
        };
        // In a folder that is not sticky somebody may have put another one there meanwhile.
        let there = fs::symlink_metadata(path).ok().filter(|there| {
            there.file_type().is_socket() && there.uid() == process::effective_uid()
        });
        let there = there.ok_or_else(|| foreign(path, "was replaced at once", option))?;
        Ok(Self {
            listener,
            made: Made::new(path, (there.dev(), there.ino()), true),
        })
    }

    /// A socket with an abstract name: there is no file to be removed.
    fn nowhere(name: &Path, listener: OwnedFd) -> Self {
        let made = Made::new(name, (0, 0), false);
        Self { listener, made }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.made.path
    }
}

/// Connections that wait for accept. The kernel caps it at net.core.somaxconn.
pub(crate) const BACKLOG: i32 = 4096;

/// Removes a socket nobody listens on.
fn make_way(path: &Path, option: &'static str) -> Result<()> {
    let there = fs::symlink_metadata(path)
        .map_err(|e| failed("bind", path, sys::Error::from_io(&"lstat", &e), option))?;
    if !there.file_type().is_socket() {
        return Err(foreign(path, "is there and is no socket", option));
    }
    if there.uid() != process::effective_uid() {
        return Err(foreign(path, OF_ANOTHER, option));
    }
    match socket::connect_unix_at_once(path) {
        Err(e) if e.is_would_block() => Err(taken(path, None, option)),
        Ok(connected) => Err(taken_by(path, &connected, option)),
        Err(e) if e.errno == Errno::CONNREFUSED => fs::remove_file(path)
            .map_err(|e| failed("remove", path, sys::Error::from_io(&"unlink", &e), option)),
        Err(why) => Err(failed("bind", path, why, option)),
    }
}

/// The error for a socket on which another process listens; the connection says which one.
fn taken_by(path: &Path, connected: &OwnedFd, option: &'static str) -> Error {
    let owner = socket::peer(connected.as_fd()).ok();
    taken(path, owner.and_then(|peer| Pid::new(peer.pid)), option)
}

/// The error for an abstract name that another process has bound.
fn held_by(name: &Path, option: &'static str) -> Error {
    match socket::connect_unix_at_once(name) {
        Ok(connected) => taken_by(name, &connected, option),
        Err(_) => taken(name, None, option),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A folder of its own for one test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("caffeine-{name}-{}", process::pid()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_pid_file_is_written_held_and_removed() {
        let folder = Folder::new("pid");
        let path = folder.at("pid");
        let held = PidFile::take(&path).unwrap();
        held.write(process::pid()).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", process::pid())
        );
        let second = PidFile::take(&path).unwrap_err().to_string();
        assert!(
            second.contains(&format!("(pid {})", process::pid())),
            "{second}"
        );
        assert!(second.contains("--pid-file"), "{second}");
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_pid_file_is_taken_over_and_a_replaced_one_is_left() {
        let folder = Folder::new("stale");
        let path = folder.at("pid");
        for left_behind in ["1\n", "", "2147483647\n"] {
            fs::write(&path, left_behind).unwrap();
            let held = PidFile::take(&path).unwrap();
            assert!(held.was_stale);
        }
        let held = PidFile::take(&path).unwrap();
        assert!(!held.was_stale);
        fs::rename(&path, folder.at("moved")).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(held);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
    }

    #[test]
    fn a_file_with_a_second_name_is_nobodys_pid_file() {
        let folder = Folder::new("second");
        fs::write(folder.at("precious"), "").unwrap();
        fs::hard_link(folder.at("precious"), folder.at("pid")).unwrap();
        let said = PidFile::take(&folder.at("pid")).unwrap_err().to_string();
        assert!(said.contains("hard link"), "{said}");
        fs::remove_file(folder.at("precious")).unwrap();
        assert!(PidFile::take(&folder.at("pid")).unwrap().was_stale);
    }

    #[test]
    fn who_holds_a_pid_file_is_known_by_its_lock() {
        let folder = Folder::new("holder");
        let path = folder.at("pid");
        let own = process::effective_uid();
        assert!(held(&path, own).is_none());
        fs::write(&path, "1\n").unwrap();
        assert!(held(&path, own).is_none(), "nobody has locked it");
        let taken = PidFile::take(&path).unwrap();
        assert!(held(&path, own).is_some());
        assert!(held(&path, own + 1).is_none(), "another user's server");
        drop(taken);
        assert!(held(&path, own).is_none());
        assert!(held(&folder.0, own).is_none());
    }

    #[test]
    fn only_a_descriptor_that_can_write_to_the_pid_file_proves_anything() {
        let folder = Folder::new("proof");
        let path = folder.at("pid");
        let taken = PidFile::take(&path).unwrap();
        let open = |at: &Path, how| {
            let name = c_path(at, PID_FILE).unwrap();
            file::open_at(None, &name, how).unwrap()
        };
        assert!(taken.is_same_as(&open(&path, Open::Existing)));
        for how in [Open::Read, Open::Write, Open::Handle] {
            assert!(!taken.is_same_as(&open(&path, how)));
        }
        fs::write(folder.at("other"), "").unwrap();
        assert!(!taken.is_same_as(&open(&folder.at("other"), Open::Existing)));
    }

    #[test]
    fn what_is_no_pid_file_is_left_alone() {
        let folder = Folder::new("foreign");
        fs::write(folder.at("text"), "dear diary").unwrap();
        fs::write(folder.at("long"), "1".repeat(40)).unwrap();
        fs::write(folder.at("blank"), "\n").unwrap();
        std::os::unix::fs::symlink(folder.at("text"), folder.at("link")).unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.at("dangling")).unwrap();
        fs::create_dir(folder.at("folder")).unwrap();
        for (name, words) in [
            ("text", "is not a pid file"),
            ("long", "is not a pid file"),
            ("blank", "is not a pid file"),
            ("link", "is a symbolic link"),
            ("dangling", "is a symbolic link"),
            ("folder", "is a folder"),
            ("missing/pid", "unable to create"),
        ] {
            let said = PidFile::take(&folder.at(name)).unwrap_err().to_string();
            assert!(
                said.contains(words) && said.contains("--pid-file"),
                "{said}"
            );
            assert!(
                !said.contains("remove") && !said.contains("--name"),
                "{said}"
            );
        }
        assert_eq!(fs::read_to_string(folder.at("text")).unwrap(), "dear diary");
        let said = PidFile::take(Path::new("/dev/null"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            said,
            "/dev/null is not a pid file; choose another with --pid-file, or none"
        );
    }

    #[test]
    fn who_finds_the_place_of_all_users_taken_is_pointed_to_a_name() {
        for path in [
            "/tmp/caffeine.pid",
            "/tmp/webserver.sock",
            "/tmp/caffeine-a.pid",
        ] {
            let said = foreign(Path::new(path), OF_ANOTHER, PID_FILE).to_string();
            assert_eq!(
                said,
                format!(
                    "{path} belongs to another user; choose another with --pid-file, or none, \
                     or give this server a --name"
                )
            );
        }
        for path in ["/tmp/a/caffeine.pid", "/tmp/mine", "/run/caffeine.pid"] {
            let said = taken(Path::new(path), None, PID_FILE).to_string();
            assert!(!said.contains("--name"), "{said}");
        }
    }

    #[test]
    fn a_socket_is_private_and_goes_with_its_server() {
        let folder = Folder::new("socket");
        let path = folder.at("s");
        let bound = UnixSocket::bind(&path, true, "--socket").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let second = UnixSocket::bind(&path, true, "--socket").unwrap_err();
        let said = second.to_string();
        assert!(
            said.contains(&format!("(pid {})", process::pid())),
            "{said}"
        );
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_else_is() {
        let folder = Folder::new("replace");
        let path = folder.at("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(UnixSocket::bind(&path, true, "--socket").unwrap());
        fs::write(&path, "mine").unwrap();
        let said = UnixSocket::bind(&path, true, "--socket")
            .unwrap_err()
            .to_string();
        assert!(said.contains("is no socket"), "{said}");
        let long = folder.at(&"x".repeat(120));
        let said = UnixSocket::bind(&long, true, "--socket")
            .unwrap_err()
            .to_string();
        assert!(said.contains("ENAMETOOLONG"), "{said}");
    }

    #[test]
    fn folders_are_made_and_a_file_is_no_folder() {
        let folder = Folder::new("root");
        open_root(&folder.at("a/b/c")).unwrap();
        fs::write(folder.at("file"), "").unwrap();
        let said = open_root(&folder.at("file")).unwrap_err().to_string();
        assert!(
            said.contains("is not a folder; ") && said.contains("--path"),
            "{said}"
        );
        let said = open_root(&folder.at("file/below")).unwrap_err().to_string();
        assert!(said.contains("ENOTDIR"), "{said}");
        prepare_log(&folder.at("log/deep/x.log")).unwrap();
        assert!(prepare_log(&folder.at("file/x.log")).is_err());
        let mode = fs::Permissions::from_mode(0o644);
        fs::create_dir(folder.at("closed")).unwrap();
        fs::set_permissions(folder.at("closed"), mode).unwrap();
        // Root may search everything.
        assert_eq!(
            open_root(&folder.at("closed")).is_ok(),
            process::effective_uid() == 0
        );
    }
}
