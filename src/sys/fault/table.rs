//! Which calls are to fail. They stand in a table in shared memory, one row per kind of process and
//! call, so that all processes count together: "the third accept" happens once, however many
//! workers are forked afterwards. Allocates nothing after its first use, so that it may be asked
//! between clone and exec too.
//!
//! | environment variable | |
//! |---|---|
//! | `CAFFEINE_FAULT` | `KIND:CALL:ERRNO:WHEN`, several with commas between them |
//! | `CAFFEINE_FAULT_TABLE` | a file of `BYTES` bytes to keep the table in: a test reads there which calls are made, and arms faults in a server that runs |
//!
//! KIND is `start` (before the parent is set up), `parent`, `worker` or `handler` (between clone
//! and exec). CALL is the call's name as in errors, ERRNO a name like `EMFILE`. WHEN: `3` is the
//! third use alone, `3+` that and every later one, `%3` every third one. In the place of an errno,
//! `SIGKILL` and `SIGSTOP` are sent to the process itself just before the call, which is then made.

use crate::sys::errno::Errno;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A kind of process, with its number in a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ProcessKind {
    Start = 1,
    Parent,
    Worker,
    Handler,
}

const KINDS: [(&str, ProcessKind); 4] = [
    ("start", ProcessKind::Start),
    ("parent", ProcessKind::Parent),
    ("worker", ProcessKind::Worker),
    ("handler", ProcessKind::Handler),
];

/// The kind of this process. Between clone and exec a handler shares the worker's memory, and so
/// this number.
static KIND: AtomicU64 = AtomicU64::new(ProcessKind::Start as u64);

/// Words of a row, and rows of the table. tests/faults knows this layout.
const WORDS: usize = 10;
const ROWS: usize = 200;
/// Bytes of the table.
const BYTES: usize = WORDS * ROWS * 8;

/// The hash of kind and call, 0 while the row is free; then the name in three words, the kind,
/// uses since it was armed, the errno (0 for none), the first use that fails, the step from there
/// to the next one (0 for none), and how often it has failed.
const NAME: usize = 1;
const KIND_OF: usize = 4;
const USES: usize = 5;
const ERRNO: usize = 6;
const FROM: usize = 7;
const STEP: usize = 8;
const FAILED: usize = 9;

/// Numbers from here on stand for signals.
const SIGNALS: u64 = 1000;

type TableRow = [AtomicU64; WORDS];

static TABLE: OnceLock<&'static [TableRow]> = OnceLock::new();

/// This process is the parent from now on.
pub(in crate::sys) fn become_parent() {
    KIND.store(ProcessKind::Parent as u64, Ordering::Relaxed);
}

/// Right after a fork, in the child: whom the parent forks is a worker.
pub(in crate::sys) fn become_worker() {
    if KIND.load(Ordering::Relaxed) == ProcessKind::Parent as u64 {
        KIND.store(ProcessKind::Worker as u64, Ordering::Relaxed);
    }
}

/// Counts one use of a call. `Some`: it is to fail with this errno.
pub(in crate::sys) fn due(call: &'static str) -> Option<Errno> {
    due_in(KIND.load(Ordering::Relaxed), call)
}

/// Between clone and exec: counts one use of a call; true, with errno set, if it is to fail.
pub(in crate::sys) fn due_in_child(call: &'static str) -> bool {
    let errno = due_in(ProcessKind::Handler as u64, call);
    if let Some(errno) = errno {
        errno.set();
    }
    errno.is_some()
}

fn due_in(kind: u64, call: &str) -> Option<Errno> {
    count(row(TABLE.get_or_init(begin), kind, call)?)
}

/// One more use; the errno if it is one that fails.
fn count(row: &TableRow) -> Option<Errno> {
    let word = |n: usize| row.get(n);
    let errno = word(ERRNO)?.load(Ordering::Acquire);
    let used = word(USES)?.fetch_add(1, Ordering::Relaxed) + 1;
    let (from, step) = (
        word(FROM)?.load(Ordering::Relaxed),
        word(STEP)?.load(Ordering::Relaxed),
    );
    let is_due = match step {
        0 => used == from,
        _ => used >= from && (used - from) % step == 0,
    };
    if errno == 0 || !is_due {
        return None;
    }
    word(FAILED)?.fetch_add(1, Ordering::Relaxed);
    if let Some(signal) = errno.checked_sub(SIGNALS) {
        let signal = i32::try_from(signal).unwrap_or(0);
        // SAFETY: takes numbers only.
        let own = unsafe { libc::getpid() };
        // SAFETY: the same.
        unsafe { libc::kill(own, signal) };
        return None;
    }
    Some(errno_of(errno))
}

fn errno_of(number: u64) -> Errno {
    Errno::from_raw(i32::try_from(number).unwrap_or(0))
}

/// The row of a call, taken if there is none.
fn row<'a>(table: &'a [TableRow], kind: u64, call: &str) -> Option<&'a TableRow> {
    let key = key(kind, call);
    for row in table {
        let [place, ..] = row;
        match place.compare_exchange(0, key, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                name(row, kind, call);
                return Some(row);
            }
            Err(found) if found == key => return Some(row),
            Err(_) => {}
        }
    }
    None
}

/// FNV-1a of kind and name.
fn key(kind: u64, call: &str) -> u64 {
    let step = |hash: u64, byte: u64| (hash ^ byte).wrapping_mul(0x100_0000_01b3);
    let start = step(0xcbf2_9ce4_8422_2325, kind);
    call.bytes().fold(start, |hash, b| step(hash, b.into()))
}

fn name(row: &TableRow, kind: u64, call: &str) {
    let words = row.iter().skip(NAME).zip(call.as_bytes().chunks(8));
    for (word, part) in words.take(KIND_OF - NAME) {
        let mut bytes = [0; 8];
        for (place, byte) in bytes.iter_mut().zip(part) {
            *place = *byte;
        }
        word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
    }
    if let Some(word) = row.get(KIND_OF) {
        word.store(kind, Ordering::Relaxed);
    }
}

/// The first call of the program: maps the table and reads the plan.
fn begin() -> &'static [TableRow] {
    let table = map(std::env::var_os("CAFFEINE_FAULT_TABLE"));
    let plan = std::env::var("CAFFEINE_FAULT").unwrap_or_default();
    for fault in plan.split(',').filter(|fault| !fault.is_empty()) {
        if arm(table, fault).is_none() {
            give_up(&format!("not a fault: {fault}"));
        }
    }
    table
}

fn give_up(why: &str) -> ! {
    eprintln!("fault injection: {why}");
    std::process::exit(2)
}

fn map(path: Option<std::ffi::OsString>) -> &'static [TableRow] {
    use std::os::fd::AsRawFd;
    let mut options = std::fs::OpenOptions::new();
    let file = path.map(|path| options.read(true).write(true).open(path));
    let (flags, fd) = match &file {
        Some(Ok(file)) => (libc::MAP_SHARED, file.as_raw_fd()),
        Some(Err(e)) => give_up(&format!("CAFFEINE_FAULT_TABLE: {e}")),
        None => (libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1),
    };
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), BYTES, access, flags, fd, 0) };
    if start == libc::MAP_FAILED {
        give_up("no table");
    }
    // SAFETY: the mapping holds the rows, page-aligned, and is never unmapped; all atomics.
    unsafe { std::slice::from_raw_parts(start.cast::<TableRow>(), ROWS) }
}

/// Puts one fault of the plan into the table.
fn arm(table: &[TableRow], fault: &str) -> Option<()> {
    let mut words = fault.split(':');
    let (kind, call, errno, when) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (_, kind) = KINDS.iter().find(|(name, _)| *name == kind)?;
    let errno = match errno {
        "SIGKILL" => SIGNALS + libc::SIGKILL.unsigned_abs() as u64,
        "SIGSTOP" => SIGNALS + libc::SIGSTOP.unsigned_abs() as u64,
        name => (1..200).find(|n| errno_of(*n).name() == Some(name))?,
    };
    let (from, step) = match (when.strip_prefix('%'), when.strip_suffix('+')) {
        (Some(every), _) => (every.parse().ok()?, every.parse().ok()?),
        (_, Some(from)) => (from.parse().ok()?, 1),
        _ => (when.parse::<u64>().ok()?, 0),
    };
    let row = row(table, *kind as u64, call)?;
    row.get(FROM)?.store(from, Ordering::Relaxed);
    row.get(STEP)?.store(step, Ordering::Relaxed);
    row.get(ERRNO)?.store(errno, Ordering::Release);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The uses, of eight, that fail.
    fn failing(when: &str) -> Vec<usize> {
        let table = map(None);
        arm(table, &format!("worker:read:EIO:{when}")).unwrap();
        let row = row(table, ProcessKind::Worker as u64, "read").unwrap();
        (1..=8).filter(|_| count(row) == Some(Errno::IO)).collect()
    }

    #[test]
    fn a_fault_happens_once_or_from_then_on_or_every_few_times() {
        assert_eq!(failing("3"), [3]);
        assert_eq!(failing("6+"), [6, 7, 8]);
        assert_eq!(failing("%3"), [3, 6]);
    }

    #[test]
    fn what_is_no_fault_is_refused() {
        let table = map(None);
        for bad in [
            "",
            "worker:read:EIO",
            "nobody:read:EIO:1",
            "worker:read:EWHAT:1",
            "worker:read:EIO:x",
        ] {
            assert!(arm(table, bad).is_none(), "{bad}");
        }
    }
}
