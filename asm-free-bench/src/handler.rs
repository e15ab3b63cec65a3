//! The handler that everything launches: as small as the machine can make it.

use crate::failure::Failure;
use crate::scratch::Scratch;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The name under which the server finds it.
pub(crate) const NAME: &str = "hello";
/// The body of its answer.
pub(crate) const BODY: &[u8] = b"hello\n";
/// All that it prints.
pub(crate) const OUTPUT: &[u8] = b"Content-Type: text/plain\nContent-Length: 6\n\nhello\n";

const C: &str = r#"#include <unistd.h>
static const char output[] = "Content-Type: text/plain\nContent-Length: 6\n\nhello\n";
int main(void)
{
    return write(1, output, sizeof output - 1) != sizeof output - 1;
}
"#;

const SH: &str = r"#!/bin/sh
printf 'Content-Type: text/plain\nContent-Length: 6\n\nhello\n'
";

/// A way to compile the source.
struct Compiler {
    program: &'static str,
    flags: &'static [&'static str],
    shown: &'static str,
}

/// The smallest result first: exec maps and the C library's start touches what is linked.
const COMPILERS: [Compiler; 3] = [
    Compiler {
        program: "musl-gcc",
        flags: &["-static"],
        shown: "C, static with musl",
    },
    Compiler {
        program: "cc",
        flags: &["-static"],
        shown: "C, static",
    },
    Compiler {
        program: "cc",
        flags: &[],
        shown: "C, dynamic",
    },
];

impl Compiler {
    fn compile(&self, source: &Path, program: &Path) -> bool {
        Command::new(self.program)
            .args(["-O2", "-s"])
            .args(self.flags)
            .arg("-o")
            .args([program, source])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// Where it is, and what it was made of.
pub(crate) struct Handler {
    path: PathBuf,
    kind: &'static str,
}

impl Handler {
    /// Puts it into the `root` of the scratch folder.
    pub(crate) fn install(scratch: &Scratch) -> Result<Self, Failure> {
        let root = scratch.path("root");
        fs::create_dir(&root).map_err(|e| Failure::unable("create the server's folder", e))?;
        let path = root.join(NAME);
        let source = scratch.path("hello.c");
        fs::write(&source, C).map_err(|e| Failure::unable("write the handler's source", e))?;
        let kind = match COMPILERS.iter().find(|way| way.compile(&source, &path)) {
            Some(way) => way.shown,
            None => {
                fs::write(&path, SH).map_err(|e| Failure::unable("write the handler", e))?;
                "sh (no C compiler)"
            }
        };
        // Whatever the umask made of it: others must not be able to write.
        fs::set_permissions(&path, Permissions::from_mode(0o755))
            .map_err(|e| Failure::unable("make the handler executable", e))?;
        Ok(Self { path, kind })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it was made of.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }
}
