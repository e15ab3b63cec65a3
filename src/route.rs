//! From a decoded path to the handler that answers it: the longest prefix that names an executable regular
//! file below the root. Never leaves the root, never follows a link out of it, never finds a hidden name.
//! Runs in the worker.

mod writers;

pub(crate) use writers::Stranger;
pub use writers::Writers;

use crate::http::DecodedPath;
use crate::sys::beneath::{self, Beneath};
use crate::sys::fd::AsFd;
use crate::sys::file::{self, Open, Stat};
use crate::sys::{self, Errno};
use crate::text;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// What a path leads to.
#[derive(Debug)]
pub enum Route {
    /// A handler.
    Handler(Handler),
    /// A regular file that nobody may execute.
    NotExecutable,
    /// A handler of this name that somebody else can write.
    Writable(Vec<u8>, Stranger),
    /// Nothing, and why, for the log.
    NotFound(&'static str),
    /// The root itself, where there is no index.
    EmptyRoot,
    /// The look-up failed, so nobody knows what the path leads to; the log says why.
    Failed(sys::Error),
}

/// A handler. Its folder is held open, so that nobody can put another folder in its place any more.
#[derive(Debug)]
pub struct Handler {
    /// Device and inode of its file.
    pub identity: (u64, u64),
    /// Its folder; `None`: the root.
    pub folder: Option<OwnedFd>,
    /// What to execute in that folder: `./name`, and a NUL.
    program: Vec<u8>,
    /// `SCRIPT_NAME`: decoded, starts with a slash.
    pub script_name: Vec<u8>,
    /// Where PATH_INFO begins in the decoded path.
    pub path_info_at: usize,
    /// It is the index of its folder.
    pub is_index: bool,
    hash: u64,
}

impl Handler {
    /// What to execute in its folder: `./name`.
    pub fn program(&self) -> &CStr {
        CStr::from_bytes_with_nul(&self.program).unwrap_or_default()
    }

    /// Its output goes to the client as it is (RFC 3875 section 5).
    pub fn is_nph(&self) -> bool {
        self.program.starts_with(b"./nph-")
    }

    /// Identifies the handler in the scoreboard; never 0.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// What stands for a handler of this name in the scoreboard.
pub(crate) fn hash_of(script_name: &[u8]) -> u64 {
    text::fnv_1a(script_name.iter().copied()).max(1)
}

/// Looks handlers up below one folder.
pub struct Router<'a> {
    root: BorrowedFd<'a>,
    index: Vec<u8>,
    follow_symlinks: bool,
    /// A name that is never found either: the configuration file's.
    hidden: Option<Vec<u8>>,
    writers: Option<Writers>,
    /// The buffers of the last handler, to be used again: `program`, `script_name`.
    spare: (Vec<u8>, Vec<u8>),
}

/// One step of a walk down the path.
enum PathStep {
    Folder(OwnedFd),
    File(Stat),
    /// Nothing that could be run, and why.
    Nothing(&'static str),
}

impl<'a> Router<'a> {
    /// A router below `root`. `hidden` is a name that must never be served; a handler that others than
    /// the `writers` can write is not run, if there are some.
    pub fn new(
        root: BorrowedFd<'a>,
        index: &OsStr,
        follow_symlinks: bool,
        hidden: Option<Vec<u8>>,
        writers: Option<Writers>,
    ) -> Self {
        Self {
            root,
            index: index.as_bytes().to_vec(),
            follow_symlinks,
            hidden,
            writers,
            spare: (Vec::new(), Vec::new()),
        }
    }

    /// Sets the name that is never found, when the root has become another folder.
    pub fn hide(&mut self, hidden: Option<Vec<u8>>) {
        self.hidden = hidden;
    }

    /// Takes back the handler of a request that is over, so that the next one can use its memory.
    pub fn recycle(&mut self, handler: Handler) {
        self.spare = (handler.program, handler.script_name);
    }

    /// Resolves a path. One stat(2) for a handler that lies directly in the root.
    pub fn resolve(&mut self, path: &DecodedPath) -> Route {
        match self.walk(path) {
            Ok(route) => route,
            Err(e) => match absence(e.errno) {
                Some(why) => Route::NotFound(why),
                None => Route::Failed(e),
            },
        }
    }

    fn walk(&mut self, path: &DecodedPath) -> sys::Result<Route> {
        let (mut program, mut script_name) = std::mem::take(&mut self.spare);
        script_name.clear();
        let mut folder: Option<OwnedFd> = None;
        for (depth, segment) in path.segments().enumerate() {
            // `//a` is `/a`, as it is for every file system and elsewhere.
            if segment.is_empty() {
                continue;
            }
            if is_hidden(segment) || self.hidden.as_deref() == Some(segment) {
                return Ok(Route::NotFound("hidden name"));
            }
            set_program(&mut program, segment);
            script_name.push(b'/');
            script_name.extend_from_slice(segment);
            match self.step(folder.as_ref(), &program, &script_name)? {
                PathStep::Folder(next) => folder = Some(next),
                PathStep::File(stat) if stat.has_execute_bit() => {
                    let handler = Handler {
                        identity: stat.identity,
                        folder,
                        program,
                        hash: hash_of(&script_name),
                        script_name,
                        path_info_at: path.offset_after(depth + 1),
                        is_index: false,
                    };
                    return Ok(self.admit(handler, &stat));
                }
                PathStep::File(_) => return Ok(Route::NotExecutable),
                PathStep::Nothing(why) => return Ok(Route::NotFound(why)),
            }
        }
        self.index_of(folder, path, (program, script_name))
    }

    /// A handler that somebody else can write is not run, since he could make it any program.
    fn admit(&self, handler: Handler, stat: &Stat) -> Route {
        match self.writers.and_then(|writers| writers.stranger(stat)) {
            Some(stranger) => Route::Writable(handler.script_name, stranger),
            None => Route::Handler(handler),
        }
    }

    /// A folder is answered by its index.
    fn index_of(
        &self,
        folder: Option<OwnedFd>,
        path: &DecodedPath,
        (mut program, mut script_name): (Vec<u8>, Vec<u8>),
    ) -> sys::Result<Route> {
        let is_root = folder.is_none();
        script_name.push(b'/');
        script_name.extend_from_slice(&self.index);
        set_program(&mut program, &self.index);
        let found = match self.step(folder.as_ref(), &program, &script_name) {
            Err(e) if e.errno == Errno::NOENT => PathStep::Nothing("no index"),
            found => found?,
        };
        Ok(match found {
            PathStep::File(stat) if stat.has_execute_bit() => {
                let handler = Handler {
                    identity: stat.identity,
                    folder,
                    program,
                    hash: hash_of(&script_name),
                    script_name,
                    path_info_at: path.bytes().len(),
                    is_index: true,
                };
                self.admit(handler, &stat)
            }
            PathStep::File(_) => Route::NotExecutable,
            _ if is_root => Route::EmptyRoot,
            PathStep::Nothing(why) => Route::NotFound(why),
            PathStep::Folder(_) => Route::NotFound("no index"),
        })
    }

    /// One name in one folder. `path` is the whole path up to this name, from the root, with a slash
    /// before it: a link is resolved from there, so that it may lead anywhere inside the root and
    /// nowhere else.
    fn step(&self, folder: Option<&OwnedFd>, program: &[u8], path: &[u8]) -> sys::Result<PathStep> {
        let name = program.get(2..).unwrap_or_default();
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            return Ok(PathStep::Nothing(NO_FILE));
        };
        let here = folder.map_or(self.root, |f| f.as_fd());
        let stat = file::stat_at(here, name, self.follow_symlinks)?;
        if stat.is_directory() {
            let how = if self.follow_symlinks {
                Open::Folder
            } else {
                Open::FolderNoFollow
            };
            return file::open_at(Some(here), name, how).map(PathStep::Folder);
        }
        if stat.is_file() {
            return Ok(PathStep::File(stat));
        }
        if !stat.is_link() {
            return Ok(PathStep::Nothing(NO_FILE));
        }
        let Ok(below) = CString::new(path.get(1..).unwrap_or_default()) else {
            return Ok(PathStep::Nothing(NO_FILE));
        };
        let target = match beneath::open_beneath(self.root, &below, Beneath::Handle) {
            Ok(target) => target,
            // The link leads out of the root. On other systems than Linux no link is followed.
            Err(e) if matches!(e.errno, Errno::NOSYS | Errno::XDEV) => {
                return Ok(PathStep::Nothing(LEADS_OUT));
            }
            Err(e) => return Err(e),
        };
        let stat = file::stat(target.as_fd())?;
        if stat.is_directory() {
            return beneath::open_beneath(self.root, &below, Beneath::Folder).map(PathStep::Folder);
        }
        Ok(if stat.is_file() {
            PathStep::File(stat)
        } else {
            PathStep::Nothing(NO_FILE)
        })
    }
}

/// `./NAME` and a NUL: to be executed, and from its third byte on to be looked up.
fn set_program(program: &mut Vec<u8>, name: &[u8]) {
    program.clear();
    program.extend_from_slice(b"./");
    program.extend_from_slice(name);
    program.push(0);
}

/// These errors only say that there is nothing to be found: in words for the log.
fn absence(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => Some("no such name"),
        Errno::LOOP => Some("link in a circle"),
        Errno::XDEV => Some(LEADS_OUT),
        Errno::ACCES => Some("no permission to search its folder"),
        _ => None,
    }
}

const NO_FILE: &str = "not a file";
const LEADS_OUT: &str = "link that leads out of --path";

/// Whether there is a file that this SCRIPT_NAME can stand for.
pub(crate) fn names_file(root: BorrowedFd<'_>, script_name: &[u8]) -> bool {
    let below = script_name.get(1..).unwrap_or_default();
    let mut segments = below.split(|byte| *byte == b'/');
    let name = CString::new(below).unwrap_or_default();
    !segments.any(|name| name.is_empty() || is_hidden(name))
        && file::stat_at(root, &name, true).is_ok_and(|stat| stat.is_file())
}

/// Names that are never found: hidden files, editors' backups, what a configuration file of this server
/// is called, and a segment with an encoded slash in it, which names no file.
pub(crate) fn is_hidden(segment: &[u8]) -> bool {
    segment.starts_with(b".")
        || segment.ends_with(b"~")
        || segment.ends_with(b".bak")
        || segment.ends_with(b".orig")
        || segment.starts_with(b"caffeine") && segment.ends_with(b".conf")
        || memchr::memchr(b'/', segment).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::{Path, PathBuf};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("caffeine-route-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join("root/sub/deep")).unwrap();
            let folder = Self(path);
            for (file, mode) in [
                ("root/hello", 0o755),
                ("root/plain", 0o644),
                ("root/.secret", 0o755),
                ("root/old~", 0o755),
                ("root/old.bak", 0o755),
                ("root/caffeine.conf", 0o755),
                ("root/sub/caffeine.conf", 0o755),
                ("root/sub/deep/caffeine-two.conf", 0o755),
                ("root/sub/own", 0o755),
                ("root/sub/index", 0o755),
                ("root/sub/deep/run", 0o755),
                ("root/sub/nph-raw", 0o755),
                ("outside", 0o755),
            ] {
                let file = folder.0.join(file);
                fs::write(&file, "#!/bin/sh\n").unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            }
            symlink("hello", folder.0.join("root/link")).unwrap();
            symlink("sub/deep", folder.0.join("root/linked")).unwrap();
            symlink("../outside", folder.0.join("root/escape")).unwrap();
            symlink("..", folder.0.join("root/up")).unwrap();
            symlink("/etc", folder.0.join("root/etc")).unwrap();
            symlink("loop", folder.0.join("root/loop")).unwrap();
            folder
        }

        fn resolve(&self, path: &str, follow: bool) -> String {
            let root = CString::new(self.0.join("root").as_os_str().as_bytes()).unwrap();
            let root = file::open_at(None, &root, Open::Folder).unwrap();
            let hidden = Some(b"own".to_vec());
            let mut router = Router::new(root.as_fd(), OsStr::new("index"), follow, hidden, None);
            let mut decoded = DecodedPath::new();
            decoded.decode(path.as_bytes()).unwrap();
            match router.resolve(&decoded) {
                Route::Handler(h) => {
                    let info = &decoded.bytes()[h.path_info_at..];
                    let nph = if h.is_nph() { " nph" } else { "" };
                    format!(
                        "{}|{}{nph}",
                        String::from_utf8_lossy(&h.script_name),
                        String::from_utf8_lossy(info)
                    )
                }
                Route::NotExecutable | Route::Writable(..) => "403".into(),
                Route::NotFound(_) => "404".into(),
                Route::EmptyRoot => "welcome".into(),
                Route::Failed(e) => e.to_string(),
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(Path::new(&self.0));
        }
    }

    #[test]
    fn a_path_runs_the_longest_prefix_that_names_a_handler() {
        let folder = Folder::new("prefix");
        for (path, expected) in [
            ("/hello", "/hello|"),
            ("/hello/", "/hello|/"),
            ("/hello/a//b/", "/hello|/a//b/"),
            ("/hello%2Fa", "404"),
            ("/sub", "/sub/index|"),
            ("/sub/", "/sub/index|"),
            ("/sub/index/x", "/sub/index|/x"),
            ("/sub/nothing", "404"),
            ("/sub/deep/run/x", "/sub/deep/run|/x"),
            ("/sub/deep", "404"),
            ("/sub/nph-raw", "/sub/nph-raw| nph"),
            ("/sub/../hello", "/hello|"),
            ("//hello", "/hello|"),
            ("//sub//deep///run//x", "/sub/deep/run|//x"),
            ("//sub", "/sub/index|"),
            ("/sub//", "/sub/index|"),
            ("//", "welcome"),
            ("//etc", "404"),
            ("/", "welcome"),
            ("/plain", "403"),
            ("/plain/x", "403"),
            ("/Hello", "404"),
        ] {
            assert_eq!(folder.resolve(path, false), expected, "{path}");
        }
    }

    #[test]
    fn hidden_names_and_the_configuration_are_never_found() {
        let folder = Folder::new("hidden");
        for path in [
            "/.secret",
            "/%2esecret",
            "/old~",
            "/old.bak",
            "/caffeine.conf",
            "//caffeine.conf",
            "//.secret",
            "/sub/.x",
        ] {
            assert_eq!(folder.resolve(path, false), "404", "{path}");
        }
    }

    #[test]
    fn links_are_followed_inside_the_root_only() {
        let folder = Folder::new("links");
        for (path, expected) in [
            ("/link", "/link|"),
            ("/linked/run", "/linked/run|"),
            ("/escape", "404"),
            ("/up/outside", "404"),
            ("/etc/passwd", "404"),
            ("/loop", "404"),
        ] {
            assert_eq!(folder.resolve(path, false), expected, "{path}");
        }
        assert_eq!(folder.resolve("/escape", true), "/escape|");
        assert_eq!(folder.resolve("/up/outside", true), "/up/outside|");
        assert_eq!(folder.resolve("/etc/passwd", true), "403");
    }
}
