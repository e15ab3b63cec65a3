//! What a handler may use and touch.

use std::path::PathBuf;
use std::time::Duration;

/// What a handler may use; `None` is not limited by the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// `max-cpu`: CPU time of each of its processes.
    pub cpu: Option<Duration>,
    /// `max-memory`: bytes of each one's address space.
    pub memory: Option<u64>,
    /// `max-open-files`: descriptors of each one.
    pub open_files: Option<u64>,
    /// `max-processes`: how many more the user may have than without handlers. The parent adds
    /// those at start, since the kernel counts all of them.
    pub processes: Option<u64>,
    /// `max-file-size`: bytes of a file that it writes.
    pub file_size: Option<u64>,
    /// `max-core`: bytes of a core file.
    pub core: Option<u64>,
    /// `nice`: how much nicer than the server it is.
    pub nice: Option<u64>,
    /// `oom-score-adj`.
    pub oom_score: Option<u64>,
    /// `max-output`: bytes of its output.
    pub output: Option<u64>,
    /// `max-stderr`: bytes of its stderr that reach the log.
    pub stderr: Option<u64>,
}

impl Allowance {
    /// What is not set here is as in `other`.
    pub fn or(&self, other: &Self) -> Self {
        Self {
            cpu: self.cpu.or(other.cpu),
            memory: self.memory.or(other.memory),
            open_files: self.open_files.or(other.open_files),
            processes: self.processes.or(other.processes),
            file_size: self.file_size.or(other.file_size),
            core: self.core.or(other.core),
            nice: self.nice.or(other.nice),
            oom_score: self.oom_score.or(other.oom_score),
            output: self.output.or(other.output),
            stderr: self.stderr.or(other.stderr),
        }
    }
}

/// What a sandboxed handler may touch. What is not named is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// `read`: files and folders to read and execute.
    pub read: Vec<PathBuf>,
    /// `write`: those to do everything with.
    pub write: Vec<PathBuf>,
    /// `connect`.
    pub connect: Ports,
    /// `bind`.
    pub bind: Ports,
    /// `sandbox = best-effort`: a kernel that cannot deny all of it is no reason not to run.
    pub is_best_effort: bool,
}

/// TCP ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Every port.
    Any,
    /// These.
    Only(Vec<u16>),
}

impl Default for Ports {
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}

impl Ports {
    /// Some are denied.
    pub fn is_limited(&self) -> bool {
        *self != Self::Any
    }

    /// Those that are named.
    pub fn named(&self) -> &[u16] {
        match self {
            Self::Any => &[],
            Self::Only(ports) => ports,
        }
    }
}
