//! A folder of its own for each test.

use super::os;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held while a program file is open for writing and while a process is started: a child between
/// fork and exec would hold the file open too, and execve(2) then fails with ETXTBSY.
static FORKS: Mutex<()> = Mutex::new(());

pub(super) fn no_forks() -> MutexGuard<'static, ()> {
    FORKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder. Whatever still runs in it is killed when it is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Short, since a socket's path may have 107 bytes only.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("caffeine-bb-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("root")).unwrap();
        Self(path.canonicalize().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, with its folders.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _lock = no_forks();
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&path)
            .unwrap();
        file.write_all(bytes.as_ref()).unwrap();
        file.set_permissions(fs::Permissions::from_mode(mode))
            .unwrap();
        path
    }

    /// The text of a file; empty if there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.at(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The processes that run here. Server, workers and handlers never leave it; only a daemon
    /// does, which its pid file names.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut pids = os::processes_in(&self.0);
        let daemon = self.read("pid").trim().parse().ok();
        let is_ours = |pid: &u32| {
            let program = fs::read_link(format!("/proc/{pid}/exe"));
            program.is_ok_and(|program| program == Path::new(env!("CARGO_BIN_EXE_caffeine")))
        };
        pids.extend(daemon.filter(|pid| !pids.contains(pid) && is_ours(pid)));
        pids
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A worker may be about to start another handler: until nobody is left, but not for ever.
        for _ in 0..50 {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            for pid in left {
                os::kill(pid, os::KILL);
            }
            super::watch_for(std::time::Duration::from_millis(2));
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}
