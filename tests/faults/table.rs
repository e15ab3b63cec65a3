//! The table of `src/sys/fault/table.rs`, seen from the test: which calls were made, and which one is to
//! fail next.

use super::harness::Folder;
use libc::{
    E2BIG, EACCES, EADDRINUSE, EADDRNOTAVAIL, EAGAIN, ECHILD, ECONNABORTED, ECONNREFUSED,
    ECONNRESET, EDQUOT, EFBIG, EINTR, EINVAL, EIO, ELOOP, EMFILE, ENFILE, ENOBUFS, ENOENT, ENOEXEC,
    ENOMEM, ENOSPC, ENOSYS, ENOTCONN, ENOTDIR, EOPNOTSUPP, EPERM, EPIPE, EPROTO, EROFS, ESRCH,
    ETIMEDOUT, ETOOMANYREFS, ETXTBSY,
};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// As in src/sys/fault/table.rs.
const WORDS: usize = 10;
const ROWS: usize = 200;
const NAME: usize = 1;
const KIND: usize = 4;
const USES: usize = 5;
const ERRNO: usize = 6;
const FROM: usize = 7;
const STEP: usize = 8;
const FAILED: usize = 9;
const KINDS: [&str; 5] = ["", "start", "parent", "worker", "handler"];

/// A kind of process with a call that it makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    row: usize,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// How often since the table was cleared.
    pub(crate) uses: u64,
}

/// The table in its file. The kernel shows what is written there to all who have it mapped.
pub(crate) struct Table {
    file: File,
    pub(crate) path: PathBuf,
}

impl Table {
    pub(crate) fn new(folder: &Folder) -> Self {
        let path = folder.at("faults");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(&path);
        let file = file.unwrap();
        file.set_len((WORDS * ROWS * 8) as u64).unwrap();
        Self { file, path }
    }

    fn rows(&self) -> Vec<[u64; WORDS]> {
        let mut bytes = vec![0; WORDS * ROWS * 8];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        let words: Vec<u64> = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|w| u64::from_le_bytes(*w))
            .collect();
        words.as_chunks::<WORDS>().0.to_vec()
    }

    fn set(&self, row: usize, word: usize, value: u64) {
        let at = (row * WORDS + word) * 8;
        let bytes = value.to_le_bytes();
        self.file.write_all_at(&bytes, at as u64).unwrap();
    }

    /// Every call that was made since the table was cleared.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let rows = self.rows().into_iter().enumerate();
        let used = rows.filter(|(_, row)| row[KIND] != 0 && row[USES] > 0);
        used.map(|(number, row)| Call {
            row: number,
            kind: KINDS[usize::try_from(row[KIND]).unwrap()],
            name: name_of(&row),
            uses: row[USES],
        })
        .collect()
    }

    /// Forgets what was counted, and lets nothing fail.
    pub(crate) fn clear(&self) {
        for (row, words) in self.rows().into_iter().enumerate() {
            if words[KIND] != 0 {
                self.set(row, ERRNO, 0);
                self.set(row, USES, 0);
                self.set(row, FAILED, 0);
            }
        }
    }

    /// Lets the `n`th use from now on fail, that one alone.
    pub(crate) fn arm(&self, call: &Call, errno: i32, n: u64) {
        self.set(call.row, USES, 0);
        self.set(call.row, FAILED, 0);
        self.set(call.row, FROM, n);
        self.set(call.row, STEP, 0);
        self.set(call.row, ERRNO, u64::try_from(errno).unwrap());
    }

    /// Lets every use from now on fail.
    pub(crate) fn arm_all(&self, call: &Call, errno: i32) {
        self.arm(call, errno, 1);
        self.set(call.row, STEP, 1);
    }

    /// Ends that; whether it has happened.
    pub(crate) fn disarm(&self, call: &Call) -> bool {
        self.set(call.row, ERRNO, 0);
        self.has_failed(call)
    }

    pub(crate) fn has_failed(&self, call: &Call) -> bool {
        self.rows()[call.row][FAILED] > 0
    }
}

fn name_of(row: &[u64; WORDS]) -> String {
    let bytes: Vec<u8> = row[NAME..KIND]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8(bytes).unwrap()
}

/// With what a call can fail on a healthy machine that has run out of something, or an old one.
/// Those of sigaction, sigprocmask and clock_gettime mean wrong arguments only.
const PLAUSIBLE: &[(&[&str], &[i32])] = &[
    (
        &["accept4"],
        &[
            EINTR,
            EAGAIN,
            EMFILE,
            ENFILE,
            ENOMEM,
            ENOBUFS,
            ECONNABORTED,
            EPERM,
            EPROTO,
        ],
    ),
    (&["recv"], &[EINTR, EAGAIN, ECONNRESET, ETIMEDOUT, ENOMEM]),
    (
        &["send"],
        &[EINTR, EAGAIN, EPIPE, ECONNRESET, ENOBUFS, ENOMEM],
    ),
    (
        &["sendmsg"],
        &[
            EINTR,
            EAGAIN,
            EPIPE,
            ECONNRESET,
            ENOBUFS,
            ENOMEM,
            ETOOMANYREFS,
        ],
    ),
    (&["recvmsg"], &[EINTR, EAGAIN, EMFILE, ENOMEM, ECONNRESET]),
    (&["read"], &[EINTR, EIO, ENOMEM]),
    (&["pwritev2"], &[EAGAIN, EOPNOTSUPP, ENOSYS, EPERM, EPIPE]),
    (
        &["write"],
        // Not EPIPE: a handler that stops reading its body is in its right.
        &[EINTR, EAGAIN, ENOSPC, EDQUOT, EFBIG, EIO],
    ),
    (&["pread"], &[EINTR, EIO, ENOMEM]),
    (&["pwrite"], &[EINTR, ENOSPC, EDQUOT, EFBIG, EIO]),
    (&["pipe2"], &[EMFILE, ENFILE]),
    (&["fcntl"], &[EMFILE, EPERM, ENOMEM, EINVAL]),
    (&["dup2"], &[EINTR, EMFILE]),
    (&["ioctl"], &[EINVAL]),
    (&["epoll_ctl"], &[ENOMEM, ENOSPC]),
    (&["epoll_wait"], &[EINTR]),
    (&["poll", "ppoll"], &[EINTR, ENOMEM]),
    (
        &["open"],
        &[EINTR, EMFILE, ENFILE, ENOMEM, EACCES, ENOENT, ENOSPC, EIO],
    ),
    (&["pwritev2"], &[ENOSYS, EPERM, EINVAL, EAGAIN, EIO]),
    (
        &["openat2"],
        &[
            ENOSYS, EPERM, EAGAIN, EMFILE, ENFILE, ENOMEM, EACCES, ENOENT, ELOOP,
        ],
    ),
    (&["fstat"], &[EIO, ENOMEM]),
    (&["fstatat"], &[EIO, ENOMEM, EACCES, ENOENT]),
    (&["faccessat"], &[EACCES, EIO]),
    (&["memfd_create"], &[ENOSYS, EMFILE, ENFILE, ENOMEM]),
    (&["ftruncate"], &[EINTR, EIO]),
    (&["lseek"], &[EIO]),
    (
        &["sendfile"],
        &[EINTR, EAGAIN, EPIPE, ECONNRESET, EIO, ENOMEM],
    ),
    (&["wait4"], &[EINTR, ECHILD]),
    (&["clone", "fork"], &[EAGAIN, ENOMEM]),
    (&["kill"], &[ESRCH, EPERM]),
    (&["getpgid"], &[ESRCH]),
    (&["shutdown"], &[ENOTCONN]),
    (&["setsockopt"], &[ENOBUFS, ENOMEM, EINVAL]),
    (&["getsockopt"], &[ENOBUFS]),
    (&["socket"], &[EMFILE, ENFILE, ENOBUFS, ENOMEM]),
    (&["connect"], &[EINTR, EAGAIN, ECONNREFUSED, ENOMEM]),
    (&["close_range", "children"], &[ENOSYS]),
    (&["mmap"], &[ENOMEM]),
    (&["vmsplice"], &[EINTR, EAGAIN, ENOMEM]),
    (&["sched_setscheduler"], &[EPERM, ENOSYS]),
    (&["sched_getaffinity"], &[EINVAL, EPERM, ENOSYS]),
    (&["sysconf"], &[EINVAL]),
    (&["prctl"], &[EINVAL]),
    (&["setrlimit", "getrlimit"], &[EPERM]),
    (&["setpgid"], &[EPERM, EACCES]),
    (&["fchdir"], &[EACCES, ENOTDIR, EIO]),
    (
        &["execve"],
        &[
            E2BIG, EACCES, EIO, ELOOP, EMFILE, ENOENT, ENOEXEC, ENOMEM, EPERM, ETXTBSY, EAGAIN,
        ],
    ),
    (
        &["landlock_create_ruleset"],
        &[ENOSYS, EOPNOTSUPP, EMFILE, ENFILE, ENOMEM],
    ),
    (&["landlock_add_rule"], &[ENOMEM]),
    (&["landlock_restrict_self"], &[E2BIG, ENOMEM]),
    (
        &["bind"],
        &[EACCES, EADDRINUSE, EADDRNOTAVAIL, ENOMEM, EROFS, ENOSPC],
    ),
    (&["listen"], &[EADDRINUSE, ENOBUFS]),
    (&["getsockname"], &[ENOBUFS]),
    (&["socketpair"], &[EMFILE, ENFILE, ENOMEM]),
    (&["epoll_create1"], &[EMFILE, ENFILE, ENOMEM]),
    (&["fstatvfs"], &[EINTR, EIO, ENOSYS]),
    (&["sigaction", "sigprocmask", "clock_gettime"], &[]),
];

/// The errnos of a call. One that is not listed fails the test: nobody forgets a new one.
pub(crate) fn errnos(call: &str) -> &'static [i32] {
    let known = PLAUSIBLE.iter().find(|(calls, _)| calls.contains(&call));
    known
        .unwrap_or_else(|| panic!("no errno is known for {call}"))
        .1
}
