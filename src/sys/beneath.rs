//! Symbolic links, followed as far as they stay below a folder: openat2(2), else a walk that opens one name after
//! the other. Both answer the same, and neither ever reaches what is outside.

use super::call::{Error, Result};
#[cfg(target_os = "linux")]
use super::call::{count, once, retry};
use super::errno::Errno;
#[cfg(target_os = "linux")]
use super::{fd, file, process, raw};
use std::ffi::CStr;
#[cfg(target_os = "linux")]
use std::ffi::CString;
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, AsRawFd};
use std::os::fd::{BorrowedFd, OwnedFd};

/// What `open_beneath` wants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beneath {
    /// A folder to look things up in.
    Folder,
    /// Anything, as a handle that can be stat'ed but not read (O_PATH).
    Handle,
}

/// Opens what a path below a folder leads to. Nothing outside `dir` is reached, neither by `..` nor by a
/// link, nor by what somebody changes meanwhile: EXDEV. Elsewhere than on Linux it is always ENOSYS.
pub(crate) fn open_beneath(dir: BorrowedFd<'_>, path: &CStr, what: Beneath) -> Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    match by_openat2(dir, path, what) {
        // EAGAIN: something was renamed meanwhile, perhaps elsewhere, so the kernel cannot be sure of a `..`.
        Err(e) if e.is_missing_call() || e.errno == Errno::AGAIN => by_walk(dir, path, what),
        opened => opened,
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (dir, path, what);
        Err(error(Errno::NOSYS))
    }
}

fn error(errno: Errno) -> Error {
    Error::new(&"openat2", errno)
}

/// openat2(2) with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS (Linux 5.6).
#[cfg(target_os = "linux")]
fn by_openat2(dir: BorrowedFd<'_>, path: &CStr, what: Beneath) -> Result<OwnedFd> {
    const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
    const RESOLVE_BENEATH: u64 = 0x08;
    let kind = match what {
        Beneath::Folder => file::FOLDER,
        Beneath::Handle => libc::O_PATH,
    };
    let how = raw::OpenHow {
        flags: u64::from((kind | libc::O_CLOEXEC).cast_unsigned()),
        mode: 0,
        resolve: RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    match raw::openat2(dir.as_raw_fd(), path, &how) as i32 {
        errno @ ..0 => Err(error(Errno::from_raw(-errno))),
        opened => Ok(fd::own(opened)),
    }
}

/// Links that may be followed on one path, as in the kernel.
#[cfg(target_os = "linux")]
const MOST_LINKS: usize = 40;

/// The same by hand. The kernel follows no link here: each name is opened as what it is, and the text of a
/// link takes its place in the path. `..` goes back to the folder that the walk came from, one of those on
/// the way down from `dir`: so the walk never leaves `dir`, whatever is renamed meanwhile.
#[cfg(target_os = "linux")]
fn by_walk(dir: BorrowedFd<'_>, path: &CStr, what: Beneath) -> Result<OwnedFd> {
    let mut rest = path.to_bytes().to_vec();
    let mut way: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    if rest.is_empty() {
        return Err(error(Errno::NOENT));
    }
    loop {
        if rest.first() == Some(&b'/') {
            return Err(error(Errno::XDEV));
        }
        let end = memchr::memchr(b'/', &rest).unwrap_or(rest.len());
        let behind = rest.iter().skip(end).take_while(|byte| **byte == b'/');
        let next = end + behind.count();
        let name: Vec<u8> = rest.drain(..next).take(end).collect();
        match name.as_slice() {
            b"" | b"." => {}
            b".." => drop(way.pop().ok_or(error(Errno::XDEV))?),
            _ => {
                let here = way.last().map_or(dir, |folder| folder.as_fd());
                let name = CString::new(name).map_err(|_| error(Errno::NOENT))?;
                let found = open_itself(here, &name)?;
                let stat = file::stat(found.as_fd())?;
                if stat.is_link() {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(error(Errno::LOOP));
                    }
                    may_follow(here, &stat)?;
                    let mut to = target(&found)?;
                    if next > end {
                        to.push(b'/');
                    }
                    to.append(&mut rest);
                    rest = to;
                    if rest.len() >= libc::PATH_MAX as usize {
                        return Err(error(Errno::NAMETOOLONG));
                    }
                    continue;
                }
                if !stat.is_directory() {
                    return match next == end && what == Beneath::Handle {
                        true => Ok(found),
                        false => Err(error(Errno::NOTDIR)),
                    };
                }
                way.push(found);
            }
        }
        if rest.is_empty() {
            return match way.pop() {
                Some(folder) => Ok(folder),
                None => open_itself(dir, c"."),
            };
        }
    }
}

/// openat(2) of what has this name, even a link.
#[cfg(target_os = "linux")]
fn open_itself(here: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    retry(&"open", || {
        // SAFETY: the name is NUL-terminated.
        unsafe { libc::openat(here.as_raw_fd(), name.as_ptr(), flags) }
    })
    .map(fd::own)
}

/// readlinkat(2) of an open link, even if another file has its name by now.
#[cfg(target_os = "linux")]
fn target(link: &OwnedFd) -> Result<Vec<u8>> {
    let mut text = vec![0; libc::PATH_MAX as usize];
    let (to, room) = (text.as_mut_ptr().cast(), text.len());
    // SAFETY: the name is NUL-terminated; the buffer is writable for its length.
    let len = once(&"readlink", || unsafe {
        libc::readlinkat(link.as_raw_fd(), c"".as_ptr(), to, room)
    })?;
    text.truncate(count(len));
    match text.is_empty() {
        true => Err(error(Errno::NOENT)),
        false => Ok(text),
    }
}

/// In a sticky folder that everybody may write to, nobody follows a link of another user, as with
/// fs.protected_symlinks (proc(5)).
#[cfg(target_os = "linux")]
fn may_follow(here: BorrowedFd<'_>, link: &file::Stat) -> Result<()> {
    const OPEN_TO_ALL: u32 = 0o1002;
    let folder = file::stat(here)?;
    let is_open = folder.permissions() & OPEN_TO_ALL == OPEN_TO_ALL;
    match is_open && ![process::effective_uid(), folder.uid].contains(&link.uid) {
        true => Err(error(Errno::ACCES)),
        false => Ok(()),
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::sys::file::{Open, open_at, stat, stat_at};
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let name = format!("caffeine-beneath-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join("root/sub/deep")).unwrap();
            Self(path)
        }

        fn root(&self) -> OwnedFd {
            let root = CString::new(self.0.join("root").as_os_str().as_bytes()).unwrap();
            open_at(None, &root, Open::Folder).unwrap()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Device and inode, or why not.
    type Found = std::result::Result<(u64, u64), Errno>;

    fn found(opened: Result<OwnedFd>) -> Found {
        opened
            .and_then(|fd| stat(fd.as_fd()))
            .map(|stat| stat.identity)
            .map_err(|e| e.errno)
    }

    fn links(tree: &Tree) {
        let root = tree.0.join("root");
        fs::write(tree.0.join("outside"), "").unwrap();
        fs::write(root.join("file"), "").unwrap();
        fs::write(root.join("sub/inner"), "").unwrap();
        let long = "x/".repeat(2000);
        let absolute = root.join("file");
        for (to, name) in [
            ("file", "link"),
            ("./file", "dotted"),
            ("file/", "file_slash"),
            ("sub", "folder"),
            ("sub/", "folder_slash"),
            ("sub//deep", "deep"),
            ("sub/inner", "inner"),
            ("../file", "sub/up"),
            ("../../outside", "sub/out"),
            ("../sub/../file", "sub/around"),
            ("..", "parent"),
            ("../root/file", "out_and_in"),
            ("../outside", "escape"),
            (absolute.to_str().unwrap(), "absolute"),
            ("/etc/passwd", "passwd"),
            ("/proc/self/root", "magic"),
            ("loop", "loop"),
            ("missing", "broken"),
            ("folder/up", "chain"),
            (".", "here"),
            ("", "empty"),
            (&long, "long"),
        ] {
            // The kernel makes none without a text.
            let _ = symlink(to, root.join(name));
        }
        for n in 0..45 {
            let to = if n == 0 {
                "file".into()
            } else {
                format!("step{}", n - 1)
            };
            symlink(to, root.join(format!("step{n}"))).unwrap();
        }
    }

    /// Paths, and what below the root they lead to.
    const PATHS: &[(&CStr, std::result::Result<&CStr, Errno>)] = &[
        (c"file", Ok(c"file")),
        (c"link", Ok(c"file")),
        (c"dotted", Ok(c"file")),
        (c"./link", Ok(c"file")),
        (c"link/", Err(Errno::NOTDIR)),
        (c"file/", Err(Errno::NOTDIR)),
        (c"file_slash", Err(Errno::NOTDIR)),
        (c"link/x", Err(Errno::NOTDIR)),
        (c"folder", Ok(c"sub")),
        (c"folder/", Ok(c"sub")),
        (c"folder//.", Ok(c"sub")),
        (c"folder_slash", Ok(c"sub")),
        (c"folder_slash/inner", Ok(c"sub/inner")),
        (c"deep", Ok(c"sub/deep")),
        (c"deep/../inner", Ok(c"sub/inner")),
        (c"inner", Ok(c"sub/inner")),
        (c"folder/inner", Ok(c"sub/inner")),
        (c"sub/up", Ok(c"file")),
        (c"folder/up", Ok(c"file")),
        (c"sub/around", Ok(c"file")),
        (c"chain", Ok(c"file")),
        (c"here/here/link", Ok(c"file")),
        (c".", Ok(c".")),
        (c"sub/..", Ok(c".")),
        (c"sub/../folder", Ok(c"sub")),
        (c"sub/out", Err(Errno::XDEV)),
        (c"parent", Err(Errno::XDEV)),
        (c"parent/root/file", Err(Errno::XDEV)),
        (c"out_and_in", Err(Errno::XDEV)),
        (c"escape", Err(Errno::XDEV)),
        (c"absolute", Err(Errno::XDEV)),
        (c"passwd", Err(Errno::XDEV)),
        (c"magic", Err(Errno::XDEV)),
        (c"magic/etc/passwd", Err(Errno::XDEV)),
        (c"..", Err(Errno::XDEV)),
        (c"/file", Err(Errno::XDEV)),
        (c"/", Err(Errno::XDEV)),
        (c"sub/../../outside", Err(Errno::XDEV)),
        (c"loop", Err(Errno::LOOP)),
        (c"loop/x", Err(Errno::LOOP)),
        (c"step39", Ok(c"file")),
        (c"step40", Err(Errno::LOOP)),
        (c"broken", Err(Errno::NOENT)),
        (c"missing", Err(Errno::NOENT)),
        (c"missing/..", Err(Errno::NOENT)),
        (c"", Err(Errno::NOENT)),
        (c"long", Err(Errno::NOENT)),
    ];

    /// A rename anywhere on the machine is enough for EAGAIN, and a test here makes some.
    fn ask_kernel(root: BorrowedFd<'_>, path: &CStr, what: Beneath) -> Result<OwnedFd> {
        loop {
            match by_openat2(root, path, what) {
                Err(e) if e.errno == Errno::AGAIN => {}
                known => return known,
            }
        }
    }

    #[test]
    fn both_ways_answer_the_same() {
        let tree = Tree::new("same");
        links(&tree);
        let root = tree.root();
        for (path, to) in PATHS {
            let to = to.map(|to| stat_at(root.as_fd(), to, true).unwrap());
            for what in [Beneath::Handle, Beneath::Folder] {
                let expected = match to {
                    Ok(to) if what == Beneath::Folder && to.is_file() => Err(Errno::NOTDIR),
                    to => to.map(|to| to.identity),
                };
                let walked = found(by_walk(root.as_fd(), path, what));
                assert_eq!(walked, expected, "walk {path:?}");
                let by_kernel = ask_kernel(root.as_fd(), path, what);
                // Before Linux 5.6, or where a sandbox forbids it.
                if !by_kernel.as_ref().is_err_and(|e| e.is_missing_call()) {
                    assert_eq!(found(by_kernel), expected, "openat2 {path:?}");
                }
                let best = found(open_beneath(root.as_fd(), path, what));
                assert_eq!(best, expected, "{path:?}");
            }
        }
    }

    /// Turns a folder into a link out of the root and back, and moves one out of it and back.
    fn attack(top: &Path, is_over: &AtomicBool) -> u32 {
        let mut rounds = 0;
        let root = top.join("root");
        while !is_over.load(Ordering::Relaxed) {
            for (from, to) in [
                ("sub", "kept"),
                ("bait", "sub"),
                ("sub", "bait"),
                ("kept", "sub"),
                ("sub/deep", "../deep"),
                ("../deep", "sub/deep"),
            ] {
                let _ = fs::rename(root.join(from), root.join(to));
            }
            rounds += 1;
        }
        rounds
    }

    #[test]
    fn whatever_is_renamed_meanwhile_nothing_outside_is_reached() {
        let tree = Tree::new("race");
        let root = tree.0.join("root");
        fs::create_dir_all(tree.0.join("secret/deep")).unwrap();
        for place in [
            "secret/file",
            "secret/deep/file",
            "root/sub/file",
            "root/file",
        ] {
            fs::write(tree.0.join(place), "").unwrap();
        }
        fs::write(root.join("sub/deep/file"), "").unwrap();
        symlink("../../secret", root.join("sub/way")).unwrap();
        symlink("../secret", root.join("bait")).unwrap();
        symlink("sub/deep/../../file", root.join("back")).unwrap();
        let dir = tree.root();
        let outside: Vec<_> = [
            "",
            "secret",
            "secret/file",
            "secret/deep",
            "secret/deep/file",
        ]
        .iter()
        .map(|name| identity(&tree.0.join(name)))
        .collect();
        let is_over = AtomicBool::new(false);
        let rounds = std::thread::scope(|scope| {
            let attacker = scope.spawn(|| attack(&tree.0, &is_over));
            let mut reached = 0;
            for _ in 0..4_000 {
                for path in [
                    c"sub/file",
                    c"sub/deep/file",
                    c"back",
                    c"sub/deep/../file",
                    c"sub/way/file",
                ] {
                    if let Ok(found) = found(by_walk(dir.as_fd(), path, Beneath::Handle)) {
                        assert!(!outside.contains(&found), "{path:?}");
                        reached += 1;
                    }
                }
            }
            is_over.store(true, Ordering::Relaxed);
            assert!(reached > 0, "the attacker has left nothing to find");
            attacker.join().unwrap()
        });
        assert!(rounds > 0, "there was no attack");
    }

    fn identity(path: &Path) -> (u64, u64) {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::metadata(path).unwrap();
        (meta.dev(), meta.ino())
    }

    #[test]
    fn a_strangers_link_in_a_folder_for_all_is_not_followed() {
        if process::effective_uid() != 0 {
            return; // Only root can make one.
        }
        use std::os::unix::fs::{PermissionsExt, lchown};
        let tree = Tree::new("sticky");
        let shared = tree.0.join("root/shared");
        fs::create_dir(&shared).unwrap();
        fs::write(tree.0.join("root/file"), "").unwrap();
        for (name, owner) in [("own", 0), ("strange", 12345)] {
            symlink("../file", shared.join(name)).unwrap();
            lchown(shared.join(name), Some(owner), None).unwrap();
        }
        let root = tree.root();
        for (mode, strange) in [
            (0o1777, Err(Errno::ACCES)),
            (0o755, Ok(identity(&tree.0.join("root/file")))),
        ] {
            fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).unwrap();
            let walk = |path| found(by_walk(root.as_fd(), path, Beneath::Handle));
            assert!(walk(c"shared/own").is_ok());
            assert_eq!(walk(c"shared/strange"), strange, "{mode:o}");
        }
    }
}
