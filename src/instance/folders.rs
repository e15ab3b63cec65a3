//! The folders that a server needs: made if they are missing, with the way out if they cannot be had.

use super::{Result, c_path, failed, foreign};
use crate::log;
use crate::sys::file::{self, Open};
use crate::sys::{self, Errno};
use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// The folder with the handlers, made with its parents if it is missing, opened to look things up.
pub(crate) fn open_root(path: &Path) -> Result<OwnedFd> {
    const OPTION: &str = "--path";
    fs::create_dir_all(path).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => foreign(path, "is not a folder", OPTION),
        _ => failed("create", path, sys::Error::from_io(&"mkdir", &e), OPTION),
    })?;
    let root = file::open_at(None, &c_path(path, OPTION)?, Open::Folder)
        .map_err(|why| failed("open", path, why, OPTION))?;
    if file::is_executable_at(root.as_fd(), c".") {
        return Ok(root);
    }
    let why = sys::Error {
        call: &"faccessat",
        errno: Errno::ACCES,
    };
    Err(failed("search", path, why, OPTION))
}

/// Makes the folders above the log file and sees whether it can be appended to; its path for the
/// log to open.
pub(crate) fn prepare_log(path: &Path) -> Result<CString> {
    const OPTION: &str = "--log-file";
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|e| {
            let why = sys::Error::from_io(&"mkdir", &e);
            failed("create", folder, why, OPTION)
        })?;
    }
    let name = c_path(path, OPTION)?;
    log::open_own(&name).map_err(|why| failed("open", path, why, OPTION))?;
    Ok(name)
}

/// Bytes that are free where spools are kept, if that can be asked.
pub(crate) fn free_for_spools() -> Option<u64> {
    let folder = CString::new(std::env::temp_dir().into_os_string().into_vec()).ok()?;
    let folder = file::open_at(None, &folder, Open::Folder).ok()?;
    file::free_space(folder.as_fd()).ok()
}
