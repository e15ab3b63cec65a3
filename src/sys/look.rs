//! Looking at files without opening or changing them: for `--check` and `--list`.

use super::{Error, Result, once};
#[cfg(target_os = "linux")]
use super::{process, retry, wide};
use std::ffi::CStr;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Whether this process may write to it, and (a folder) make files in it.
pub fn access_to_write(path: &CStr, is_folder: bool) -> Result<()> {
    let wanted = libc::W_OK | if is_folder { libc::X_OK } else { 0 };
    access(libc::AT_FDCWD, path, wanted)
}

/// faccessat(2) by the effective user. C libraries ask the younger faccessat2(2), and hand on the EPERM of old
/// container profiles; the kernel's own faccessat knows the real user only.
pub(super) fn access(dir: i32, path: &CStr, wanted: i32) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    let said = once(&"faccessat", || unsafe {
        libc::faccessat(dir, path.as_ptr(), wanted, libc::AT_EACCESS)
    })
    .map(drop);
    #[cfg(target_os = "linux")]
    if process::is_effective_user_real() {
        return super::or_else(said, || {
            // SAFETY: the path is NUL-terminated.
            once(&"faccessat", || unsafe {
                libc::syscall(libc::SYS_faccessat, dir, path.as_ptr(), wanted)
            })
            .map(drop)
        });
    }
    said
}

/// The names in a folder that are wanted, in order. Each is put into its place: a sort of its own
/// would be larger than all the rest, and folders of handlers are small.
pub fn names_in(path: &Path, is_wanted: fn(&[u8]) -> bool) -> Result<Vec<Vec<u8>>> {
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
pub fn is_on_noexec(file: BorrowedFd<'_>) -> bool {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: a zeroed statvfs is valid.
        let mut raw: wide::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: fstatvfs writes one statvfs.
        let asked = retry(&"fstatvfs", || unsafe {
            wide::fstatvfs(file.as_raw_fd(), &raw mut raw)
        });
        asked.is_ok() && raw.f_flag as u64 & libc::ST_NOEXEC as u64 != 0
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        false
    }
}
