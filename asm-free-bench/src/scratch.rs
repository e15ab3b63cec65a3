//! A folder of this run's own, which goes with it.

use crate::failure::Failure;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The folder; removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes it, open to nobody else: Caffeine refuses handlers that others can write.
    pub(crate) fn new() -> Result<Self, Failure> {
        let name = format!("caffeine-bench-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| Failure::unable(&format!("create {}", path.display()), e))?;
        Ok(Self(path))
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.0) {
            eprintln!("asm-free-bench: unable to remove {}: {e}", self.0.display());
        }
    }
}
