//! Files: looking handlers up below a folder, spools, and what the instance keeps on disk.

#[cfg(target_os = "linux")]
use super::call::or_else;
use super::call::{Error, Result, once, retry};
use super::errno::Errno;
#[cfg(target_os = "linux")]
use super::process;
use super::{fd, platform};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// What a look-up needs to know of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Device and inode: the file's identity.
    pub identity: (u64, u64),
    /// Bytes.
    pub size: u64,
    /// Type and permission bits.
    mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names that it has.
    pub links: u64,
}

impl Stat {
    /// A regular file.
    pub fn is_file(&self) -> bool {
        self.mode & libc::S_IFMT as u32 == libc::S_IFREG as u32
    }

    /// A directory.
    pub fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT as u32 == libc::S_IFDIR as u32
    }

    /// A Unix domain socket.
    pub fn is_socket(&self) -> bool {
        self.mode & libc::S_IFMT as u32 == libc::S_IFSOCK as u32
    }

    /// A symbolic link.
    pub fn is_link(&self) -> bool {
        self.mode & libc::S_IFMT as u32 == libc::S_IFLNK as u32
    }

    /// Anybody may execute it.
    pub fn has_execute_bit(&self) -> bool {
        self.mode & 0o111 != 0
    }

    /// The permission bits.
    pub fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }
}

/// The fields of stat(2) differ in width between C libraries; as u64 they are one.
fn stat_of(raw: &platform::stat) -> Stat {
    Stat {
        identity: (raw.st_dev as u64, raw.st_ino as u64),
        size: u64::try_from(raw.st_size).unwrap_or(0),
        mode: raw.st_mode as u32,
        uid: raw.st_uid,
        gid: raw.st_gid,
        links: raw.st_nlink as u64,
    }
}

/// fcntl(F_GET_SEALS): whether the file's bytes are kept in memory (a memfd, or on a tmpfs).
#[cfg(target_os = "linux")]
pub(crate) fn is_in_memory(file: BorrowedFd<'_>) -> bool {
    // SAFETY: F_GET_SEALS takes no argument. Other file systems answer EINVAL.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) >= 0 }
}

/// Elsewhere no spool is made in memory.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_in_memory(_: BorrowedFd<'_>) -> bool {
    false
}

/// fstat(2).
pub fn stat(fd: BorrowedFd<'_>) -> Result<Stat> {
    // SAFETY: a zeroed stat is valid.
    let mut raw: platform::stat = unsafe { std::mem::zeroed() };
    // SAFETY: fstat writes one stat.
    once(&"fstat", || unsafe {
        platform::fstat(fd.as_raw_fd(), &raw mut raw)
    })?;
    Ok(stat_of(&raw))
}

/// fstatat(2); with `follow` the link's target.
pub(crate) fn stat_at(dir: BorrowedFd<'_>, path: &CStr, follow: bool) -> Result<Stat> {
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    // SAFETY: a zeroed stat is valid.
    let mut raw: platform::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the path is NUL-terminated; fstatat writes one stat.
    once(&"fstatat", || unsafe {
        platform::fstatat(dir.as_raw_fd(), path.as_ptr(), &raw mut raw, flags)
    })?;
    Ok(stat_of(&raw))
}

/// Whether this process may execute (or search) it.
pub(crate) fn is_executable_at(dir: BorrowedFd<'_>, path: &CStr) -> bool {
    access(dir.as_raw_fd(), path, libc::X_OK).is_ok()
}

/// How `open_at` opens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// A folder, only to look things up in.
    Folder,
    /// A folder, and the last component must not be a link.
    FolderNoFollow,
    /// Anything, to be named in a rule (O_PATH).
    Handle,
    /// For reading.
    Read,
    /// For reading, without waiting for a FIFO's other end.
    Look,
    /// For writing.
    Write,
    /// For appending; created with mode 0640 if missing. A FIFO's reader is not waited for.
    Append,
    /// The same, and it must not be a link.
    AppendNoFollow,
    /// For reading and writing; created with mode 0600, fails if anything is there, follows nothing.
    CreateNew,
    /// For reading and writing; must be there, and must not be a link.
    Existing,
}

/// openat(2), close-on-exec. `None` is the working directory.
pub fn open_at(dir: Option<BorrowedFd<'_>>, path: &CStr, how: Open) -> Result<OwnedFd> {
    let (flags, mode): (i32, libc::c_uint) = match how {
        Open::Folder => (FOLDER, 0),
        Open::FolderNoFollow => (FOLDER | libc::O_NOFOLLOW, 0),
        Open::Handle => (FOLDER & !libc::O_DIRECTORY, 0),
        Open::Read => (libc::O_RDONLY | libc::O_NOCTTY, 0),
        Open::Look => (libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0),
        Open::Write => (libc::O_WRONLY | libc::O_NOCTTY, 0),
        Open::Append => (APPEND, 0o640),
        Open::AppendNoFollow => (APPEND | libc::O_NOFOLLOW, 0o640),
        Open::CreateNew => (
            libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW,
            0o600,
        ),
        Open::Existing => (
            libc::O_RDWR | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY,
            0,
        ),
    };
    let dir = dir.map_or(libc::AT_FDCWD, |d| d.as_raw_fd());
    let opened = retry(&"open", || {
        // SAFETY: the path is NUL-terminated; the mode is used with O_CREAT only.
        unsafe { libc::openat(dir, path.as_ptr(), flags | libc::O_CLOEXEC, mode) }
    })?;
    Ok(fd::own(opened))
}

const APPEND: i32 =
    libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT | libc::O_NOCTTY | libc::O_NONBLOCK;

/// What opens a folder to look things up in.
#[cfg(target_os = "linux")]
pub(super) const FOLDER: i32 = libc::O_PATH | libc::O_DIRECTORY;
#[cfg(not(target_os = "linux"))]
const FOLDER: i32 = libc::O_RDONLY | libc::O_DIRECTORY;

/// memfd_create(2), Linux 3.17: a file that lives in memory.
#[cfg(target_os = "linux")]
pub(crate) fn memory_file() -> Result<OwnedFd> {
    // SAFETY: the name is NUL-terminated.
    let opened = once(&"memfd_create", || unsafe {
        libc::memfd_create(c"spool".as_ptr(), libc::MFD_CLOEXEC)
    })?;
    Ok(fd::own(opened))
}

/// memfd_create(2) is Linux's; a temporary file serves.
#[cfg(not(target_os = "linux"))]
pub(crate) fn memory_file() -> Result<OwnedFd> {
    Err(Error::new(&"memfd_create", Errno::NOSYS))
}

/// A file without a name in `folder`: O_TMPFILE, else mkostemp(3) and unlink (overlayfs before
/// Linux 6.x, jffs2 and NFS lack O_TMPFILE).
pub(crate) fn temporary_file(folder: &CStr) -> Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    {
        let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
        let opened = retry(&"open", || {
            // SAFETY: the path is NUL-terminated.
            unsafe { libc::open(folder.as_ptr(), flags, 0o600) }
        });
        if let Ok(opened) = opened {
            return Ok(fd::own(opened));
        }
    }
    let mut template = folder.to_bytes().to_vec();
    template.extend_from_slice(b"/caffeine-spool-XXXXXX\0");
    // SAFETY: the template is writable, NUL-terminated and ends in six X.
    let opened = once(&"mkostemp", || unsafe {
        platform::mkostemp(template.as_mut_ptr().cast(), libc::O_CLOEXEC)
    })?;
    let file = fd::own(opened);
    // SAFETY: mkostemp left a NUL-terminated path in the template.
    once(&"unlink", || unsafe {
        libc::unlink(template.as_ptr().cast())
    })?;
    Ok(file)
}

/// A second open file description of whatever a descriptor is of, by way of `/proc/self/fd`. ENOENT where
/// /proc is not mounted.
pub(crate) fn reopen(file: BorrowedFd<'_>, how: Open) -> Result<OwnedFd> {
    let mut path = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(file.as_raw_fd()).as_bytes();
    for (place, digit) in path.iter_mut().skip(14).zip(digits) {
        *place = *digit;
    }
    let path =
        CStr::from_bytes_until_nul(&path).map_err(|_| Error::new(&"open", Errno::NAMETOOLONG))?;
    open_at(None, path, how)
}

/// ftruncate(2).
pub(crate) fn truncate(file: BorrowedFd<'_>, bytes: u64) -> Result<()> {
    let bytes = bytes.cast_signed();
    retry(&"ftruncate", || {
        // SAFETY: takes two integers.
        unsafe { platform::ftruncate(file.as_raw_fd(), bytes) }
    })
    .map(drop)
}

/// lseek(2) from the start.
pub(crate) fn seek(file: BorrowedFd<'_>, offset: u64) -> Result<()> {
    let offset = offset.cast_signed();
    // SAFETY: takes integers.
    once(&"lseek", || unsafe {
        platform::lseek(file.as_raw_fd(), offset, libc::SEEK_SET)
    })
    .map(drop)
}

/// lseek(2): where the file's own offset stands.
pub(crate) fn offset(file: BorrowedFd<'_>) -> Result<u64> {
    // SAFETY: takes integers.
    let at = once(&"lseek", || unsafe {
        platform::lseek(file.as_raw_fd(), 0, libc::SEEK_CUR)
    })?;
    Ok(at.unsigned_abs())
}

/// flock(2), exclusive and without waiting; the lock goes with the open file description.
/// False when somebody else holds it.
pub(crate) fn try_lock(file: BorrowedFd<'_>) -> Result<bool> {
    let flags = libc::LOCK_EX | libc::LOCK_NB;
    // SAFETY: takes two integers.
    match retry(&"flock", || unsafe { libc::flock(file.as_raw_fd(), flags) }) {
        Ok(_) => Ok(true),
        Err(e) if e.is_would_block() => Ok(false),
        Err(e) => Err(e),
    }
}

/// fchdir(2).
pub(crate) fn change_folder(dir: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: takes one integer.
    retry(&"fchdir", || unsafe { libc::fchdir(dir.as_raw_fd()) }).map(drop)
}

fn statvfs(file: BorrowedFd<'_>) -> Result<platform::statvfs> {
    // SAFETY: a zeroed statvfs is valid.
    let mut raw: platform::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: fstatvfs writes one statvfs.
    retry(&"fstatvfs", || unsafe {
        platform::fstatvfs(file.as_raw_fd(), &raw mut raw)
    })?;
    Ok(raw)
}

/// fstatvfs(3): bytes that an ordinary user may still write to the file system of a folder.
pub(crate) fn free_space(folder: BorrowedFd<'_>) -> Result<u64> {
    let raw = statvfs(folder)?;
    Ok(u64::from(raw.f_bavail).saturating_mul(u64::from(raw.f_frsize)))
}

/// Whether this process may write to it, and (a folder) make files in it.
pub(crate) fn access_to_write(path: &CStr, is_folder: bool) -> Result<()> {
    let wanted = libc::W_OK | if is_folder { libc::X_OK } else { 0 };
    access(libc::AT_FDCWD, path, wanted)
}

/// faccessat(2) by the effective user. C libraries ask the younger faccessat2(2), and hand on the EPERM of old
/// container profiles; the kernel's own faccessat knows the real user only.
fn access(dir: i32, path: &CStr, wanted: i32) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    let said = once(&"faccessat", || unsafe {
        libc::faccessat(dir, path.as_ptr(), wanted, libc::AT_EACCESS)
    })
    .map(drop);
    #[cfg(target_os = "linux")]
    if process::is_effective_user_real() {
        return or_else(said, || {
            // SAFETY: the path is NUL-terminated.
            once(&"faccessat", || unsafe {
                libc::syscall(libc::SYS_faccessat, dir, path.as_ptr(), wanted)
            })
            .map(drop)
        });
    }
    said
}

/// The names in a folder that are wanted, in order. Each is inserted at its place: a call of the
/// library's sort would add more code than all this, and folders of handlers are small.
pub(crate) fn names_in(path: &Path, is_wanted: fn(&[u8]) -> bool) -> Result<Vec<Vec<u8>>> {
    let folder = std::fs::read_dir(path).map_err(|e| Error::from_io(&"opendir", &e))?;
    let mut names: Vec<Vec<u8>> = Vec::new();
    for entry in folder {
        let entry = entry.map_err(|e| Error::from_io(&"readdir", &e))?;
        let name = entry.file_name().into_vec();
        if is_wanted(&name) {
            let place = names.partition_point(|other| *other < name);
            names.insert(place, name);
        }
    }
    Ok(names)
}

/// fstatvfs(3): whether the file system that a file lies on executes nothing (the `noexec` mount
/// option). False where it cannot be asked.
pub(crate) fn is_on_noexec(file: BorrowedFd<'_>) -> bool {
    #[cfg(target_os = "linux")]
    {
        statvfs(file).is_ok_and(|raw| raw.f_flag as u64 & libc::ST_NOEXEC as u64 != 0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_spool_keeps_what_was_written_and_can_be_read_afresh() {
        for file in [memory_file().unwrap(), temporary_file(c"/tmp").unwrap()] {
            fd::write(file.as_fd(), b"0123456789").unwrap();
            truncate(file.as_fd(), 5).unwrap();
            let copy = reopen(file.as_fd(), Open::Read).unwrap();
            let mut buffer = [0; 16];
            assert_eq!(fd::read(copy.as_fd(), &mut buffer).unwrap(), 5);
            assert!(fd::write(copy.as_fd(), b"x").is_err());
            assert_eq!(stat(file.as_fd()).unwrap().size, 5);
            assert_eq!(offset(file.as_fd()).unwrap(), 10);
        }
    }
}
