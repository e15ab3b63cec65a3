//! What a handler may use and touch: resource limits, niceness and Landlock rulesets. Made by the
//! worker beforehand, applied between clone and exec.

use super::call::{Result, make_in_child};
use super::platform::ResourceNumber;
use super::{fd, file, process};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A limit of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// RLIMIT_CPU, in seconds: SIGXCPU there, SIGKILL a second later.
    Cpu,
    /// RLIMIT_AS, in bytes.
    Memory,
    /// RLIMIT_NOFILE.
    OpenFiles,
    /// RLIMIT_NPROC: of all processes of the user.
    Processes,
    /// RLIMIT_FSIZE, in bytes: SIGXFSZ there.
    FileSize,
    /// RLIMIT_CORE, in bytes.
    Core,
}

impl Resource {
    fn number(self) -> ResourceNumber {
        match self {
            Self::Cpu => libc::RLIMIT_CPU,
            Self::Memory => libc::RLIMIT_AS,
            Self::OpenFiles => libc::RLIMIT_NOFILE,
            Self::Processes => libc::RLIMIT_NPROC,
            Self::FileSize => libc::RLIMIT_FSIZE,
            Self::Core => libc::RLIMIT_CORE,
        }
    }
}

/// Everything between clone and exec that is about limits: one call for each that is set.
pub struct Bounds {
    limits: Vec<(ResourceNumber, libc::rlimit)>,
    /// The niceness to take, or -1.
    nice: i32,
}

impl Default for Bounds {
    /// No limits at all.
    fn default() -> Self {
        let limits = Vec::new();
        Self { limits, nice: -1 }
    }
}

impl Bounds {
    /// Limits a resource for good: soft and hard, as far as this process may go itself.
    pub fn limit(&mut self, resource: Resource, most: u64) -> Result<()> {
        let inherited = process::limit_of(resource.number())?.rlim_max;
        let soft = inherited.min(most as libc::rlim_t);
        let grace = libc::rlim_t::from(resource == Resource::Cpu);
        self.push(resource, soft, inherited.min(soft.saturating_add(grace)));
        Ok(())
    }

    /// Sets the limit that the server had before it changed its own.
    pub fn restore(&mut self, resource: Resource, soft: u64, hard: u64) {
        self.push(resource, soft as libc::rlim_t, hard as libc::rlim_t);
    }

    fn push(&mut self, resource: Resource, rlim_cur: libc::rlim_t, rlim_max: libc::rlim_t) {
        let number = resource.number();
        self.limits.retain(|(other, _)| *other != number);
        let limit = libc::rlimit { rlim_cur, rlim_max };
        self.limits.push((number, limit));
    }

    /// Makes it nicer than this process by so much.
    pub fn nicer(&mut self, by: u64) {
        // SAFETY: takes integers. -1 is an answer too, and 0 then is as good a guess.
        let own = unsafe { libc::getpriority(libc::PRIO_PROCESS as _, 0) };
        self.nice = own.saturating_add(by.min(19) as i32).clamp(0, 19);
    }

    /// Between clone and exec: false on failure, with errno.
    pub(super) fn apply(&self) -> bool {
        for (resource, limit) in &self.limits {
            // SAFETY: the limit is live.
            if !make_in_child("setrlimit", || unsafe { libc::setrlimit(*resource, limit) }) {
                return false;
            }
        }
        // SAFETY: takes integers.
        let be_nice = || unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, self.nice) };
        self.nice < 0 || make_in_child("setpriority", be_nice)
    }
}

/// setrlimit(2) of this process and those that it will start; the hard limit stays.
pub(crate) fn set_soft_limit(resource: Resource, most: u64) -> Result<()> {
    let hard = process::limit_of(resource.number())?.rlim_max as u64;
    process::set_limit(resource.number(), hard.min(most), hard)
}

/// What of a file hierarchy is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read files, list folders and execute.
    Read,
    /// Everything.
    Write,
}

/// A port that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// For connect(2).
    Connect(u16),
    /// For bind(2).
    Bind(u16),
}

/// What a ruleset denies unless a rule allows it: bits of `struct landlock_ruleset_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    files: u64,
    net: u64,
    scoped: u64,
}

// uapi/linux/landlock.h.
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_FOLDER: u64 = 1 << 3;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEVICE: u64 = 1 << 15;
/// The rights that a rule on a file, not a folder, may give.
const OF_A_FILE: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE;
const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 1 << 1;
/// Abstract Unix sockets and signals stay among the sandboxed.
const SCOPES: u64 = 0b11;

impl Denied {
    /// What a kernel with this version of Landlock can deny, of what was asked for.
    pub fn of(version: i32, connect: bool, bind: bool) -> Self {
        let net = if version < 4 {
            0
        } else {
            u64::from(bind) * BIND_TCP + u64::from(connect) * CONNECT_TCP
        };
        Self {
            // 13 rights in the first version; REFER, TRUNCATE and IOCTL_DEV came one by one.
            files: match version {
                ..1 => 0,
                1 => (1 << 13) - 1,
                2 => (1 << 14) - 1,
                3 | 4 => (1 << 15) - 1,
                5.. => (1 << 16) - 1,
            },
            net,
            scoped: if version < 6 { 0 } else { SCOPES },
        }
    }

    /// The least version that denies all of this. Scopes do not count: they are used where the
    /// kernel has them.
    pub fn least_version(connect: bool, bind: bool) -> i32 {
        if connect || bind { 4 } else { 3 }
    }
}

/// A set of rules for `landlock_restrict_self`.
#[derive(Debug)]
pub struct Ruleset {
    fd: OwnedFd,
    denied: Denied,
}

impl Ruleset {
    /// landlock_create_ruleset(2).
    pub fn new(denied: Denied) -> Result<Self> {
        let fd = landlock::create(&denied)?;
        Ok(Self {
            fd: fd::own(fd),
            denied,
        })
    }

    /// landlock_add_rule(2) for what is at and below a file or folder, opened with O_PATH.
    pub fn allow(&self, below: BorrowedFd<'_>, access: Access) -> Result<()> {
        let wanted = match access {
            Access::Read => EXECUTE | READ_FILE | READ_FOLDER,
            Access::Write => u64::MAX,
        };
        let possible = match file::stat(below)?.is_directory() {
            true => u64::MAX,
            false => OF_A_FILE,
        };
        let rights = self.denied.files & wanted & possible;
        landlock::allow_below(self.fd.as_raw_fd(), rights, below.as_raw_fd())
    }

    /// landlock_add_rule(2) for a TCP port.
    pub fn allow_port(&self, port: Port) -> Result<()> {
        let (right, port) = match port {
            Port::Connect(port) => (CONNECT_TCP, port),
            Port::Bind(port) => (BIND_TCP, port),
        };
        if self.denied.net & right == 0 {
            return Ok(()); // Not denied by this kernel, so there is nothing to allow.
        }
        landlock::allow_port(self.fd.as_raw_fd(), right, u64::from(port))
    }

    pub(super) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// The version of Landlock that this kernel speaks. ENOSYS: none, before Linux 5.13 or not built
/// in; EOPNOTSUPP: disabled at boot.
pub(crate) fn landlock_version() -> Result<i32> {
    landlock::version()
}

pub(super) use landlock::restrict_self;

#[cfg(target_os = "linux")]
mod landlock {
    use super::{Denied, Result};
    use crate::sys::call::{CallName, once};
    use libc::{c_int, c_long};

    // The same on every CPU, but counted from elsewhere on MIPS; libc names them on few only.
    const FIRST: c_long = if cfg!(any(target_arch = "mips64", target_arch = "mips64r6")) {
        5444
    } else if cfg!(any(target_arch = "mips", target_arch = "mips32r6")) {
        4444
    } else {
        444
    };
    const CREATE_RULESET: c_long = FIRST;
    const ADD_RULE: c_long = FIRST + 1;
    const RESTRICT_SELF: c_long = FIRST + 2;
    const ASK_VERSION: c_int = 1;

    const PATH_BENEATH: c_int = 1;
    const NET_PORT: c_int = 2;

    #[repr(C, packed)]
    struct PathBeneath {
        rights: u64,
        parent: i32,
    }

    #[repr(C)]
    struct NetPort {
        rights: u64,
        port: u64,
    }

    fn result(call: CallName, f: impl FnOnce() -> c_long) -> Result<i32> {
        once(call, || f() as isize).map(|n| n as i32)
    }

    pub(super) fn version() -> Result<i32> {
        // SAFETY: a null pointer of size 0 asks for the version.
        result(&"landlock_create_ruleset", || unsafe {
            libc::syscall(CREATE_RULESET, 0_usize, 0_usize, ASK_VERSION)
        })
    }

    pub(super) fn create(denied: &Denied) -> Result<i32> {
        // An older kernel accepts fields that it does not know as long as they are 0.
        let bytes = size_of::<Denied>();
        // SAFETY: the attribute is live for its size. The descriptor is close-on-exec.
        result(&"landlock_create_ruleset", || unsafe {
            libc::syscall(CREATE_RULESET, std::ptr::from_ref(denied), bytes, 0)
        })
    }

    pub(super) fn allow_below(ruleset: i32, rights: u64, parent: i32) -> Result<()> {
        let rule = PathBeneath { rights, parent };
        let rule = &raw const rule;
        // SAFETY: the rule is live and has the layout of its type.
        let add = || unsafe { libc::syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, 0) };
        result(&"landlock_add_rule", add).map(drop)
    }

    pub(super) fn allow_port(ruleset: i32, rights: u64, port: u64) -> Result<()> {
        let rule = NetPort { rights, port };
        let rule = &raw const rule;
        // SAFETY: the rule is live and has the layout of its type.
        let add = || unsafe { libc::syscall(ADD_RULE, ruleset, NET_PORT, rule, 0) };
        result(&"landlock_add_rule", add).map(drop)
    }

    /// Between clone and exec: no new privileges, then the rules; negative on failure, with errno.
    pub(in crate::sys) fn restrict_self(ruleset: i32) -> i32 {
        // SAFETY: takes integers.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } < 0 {
            return -1;
        }
        // SAFETY: takes integers.
        (unsafe { libc::syscall(RESTRICT_SELF, ruleset, 0) }) as i32
    }
}

/// Landlock is Linux's.
#[cfg(not(target_os = "linux"))]
mod landlock {
    use super::Denied;
    use crate::sys::call::{Error, Result};
    use crate::sys::errno::Errno;

    const NONE: Error = Error::new(&"landlock_create_ruleset", Errno::NOSYS);

    pub(super) fn version() -> Result<i32> {
        Err(NONE)
    }

    pub(super) fn create(_: &Denied) -> Result<i32> {
        Err(NONE)
    }

    pub(super) fn allow_below(_: i32, _: u64, _: i32) -> Result<()> {
        Err(NONE)
    }

    pub(super) fn allow_port(_: i32, _: u64, _: u64) -> Result<()> {
        Err(NONE)
    }

    pub(in crate::sys) fn restrict_self(_: i32) -> i32 {
        -1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_kernel_is_asked_for_nothing_that_it_does_not_know() {
        for (version, files, net, scoped) in [
            (0, 0, 0, 0),
            (1, 0x1fff, 0, 0),
            (2, 0x3fff, 0, 0),
            (3, 0x7fff, 0, 0),
            (4, 0x7fff, 3, 0),
            (5, 0xffff, 3, 0),
            (6, 0xffff, 3, 3),
            (9, 0xffff, 3, 3),
        ] {
            let expected = Denied { files, net, scoped };
            assert_eq!(Denied::of(version, true, true), expected, "{version}");
        }
        assert_eq!(Denied::of(7, true, false).net, CONNECT_TCP);
        assert_eq!(Denied::of(7, false, true).net, BIND_TCP);
    }

    #[test]
    fn a_limit_never_goes_beyond_what_was_inherited_and_the_last_word_counts() {
        let mut bounds = Bounds::default();
        let most = process::limit_of(libc::RLIMIT_NOFILE).unwrap().rlim_max;
        bounds.limit(Resource::OpenFiles, u64::MAX).unwrap();
        bounds.limit(Resource::Cpu, 3).unwrap();
        bounds.restore(Resource::OpenFiles, 7, 9);
        bounds.limit(Resource::OpenFiles, u64::MAX).unwrap();
        let all: Vec<_> = bounds
            .limits
            .iter()
            .map(|(_, limit)| (limit.rlim_cur, limit.rlim_max))
            .collect();
        assert_eq!(all, [(3, 4), (most, most)]);
    }
}
