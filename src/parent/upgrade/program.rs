//! Starting the server's own program again, for an upgrade; `Command::run` is the child's.
//!
//! It gets the same words, the same environment and one more variable. What it is started for is not decided here.

use crate::parent::inheritance::{SUCCESSOR_FD, SUCCESSOR_VARIABLE};
use crate::sys::exec;
use crate::sys::fd::{self, AsFd};
use crate::sys::process::{self, DescriptorLimit};
use std::ffi::{CString, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The path of this program, where a new version is put: the name that it was started by, or else where the kernel
/// found it.
#[cold]
pub(super) fn own_program() -> PathBuf {
    let named = std::env::args_os().next().map(PathBuf::from);
    let with_folder = named.filter(|name| name.as_os_str().as_encoded_bytes().contains(&b'/'));
    with_folder
        .and_then(|name| std::path::absolute(name).ok())
        .or_else(|| std::env::current_exe().ok())
        .unwrap_or_default()
}

/// Everything that the forked child needs, made before the fork.
pub(super) struct Command {
    program: CString,
    argv: Vec<CString>,
}

impl Command {
    #[cold]
    pub(super) fn new(program: &Path) -> Self {
        let text = |text: OsString| CString::new(text.into_vec()).unwrap_or_default();
        let program = text(program.as_os_str().to_owned());
        let words = std::env::args_os().skip(1).map(text);
        Self {
            argv: std::iter::once(program.clone()).chain(words).collect(),
            program,
        }
    }

    /// Forked child: becomes the new program, or says why not.
    #[cold]
    pub(super) fn run(
        &self,
        folder: &Path,
        limit: Option<DescriptorLimit>,
        predecessor: &OwnedFd,
    ) -> ! {
        // First to a higher number: dup2 of a descriptor onto its own number would leave it close-on-exec.
        let why = match fd::duplicate_above(predecessor.as_fd(), SUCCESSOR_FD + 1)
            .and_then(|copy| fd::duplicate_onto(copy.as_fd(), SUCCESSOR_FD))
        {
            Ok(()) => {
                // Relative names on the command line begin in this folder.
                let _ = std::env::set_current_dir(folder);
                if let Some(limit) = limit {
                    let _ = process::set_descriptor_limit(limit);
                }
                exec::set_variable(SUCCESSOR_VARIABLE, "1");
                exec::replace(&self.program, &self.argv)
            }
            Err(e) => Some(e),
        };
        if let Some(why) = why {
            let program = self.program.to_string_lossy();
            let text = format!("-unable to run {program}: {why}");
            let _ = fd::write(predecessor.as_fd(), text.as_bytes());
        }
        process::exit_now(1)
    }
}
