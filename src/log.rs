//! The log: one write(2) per line, `TIME LEVEL [PID] text`. A log that cannot be written never
//! stops a request: what is lost is counted and said with the next line that gets through.

mod sink;

use crate::calendar;
use crate::settings::Level;
use crate::sys::fd::{self, AsFd};
use crate::sys::file::{self, Open};
use crate::sys::{self, process, time};
use sink::Sink;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};
use std::fmt::{self, Write};
use std::os::fd::OwnedFd;

/// The longest line, its newline included; what is longer is cut. It is PIPE_BUF of Linux: a pipe takes a
/// write of at most so many bytes as a whole, so lines of several processes do not mix there.
const LINE_BYTES: usize = 4096;

/// Where the lines of one process go. Every process of the server has its own copy of it.
pub struct Log {
    level: Cell<Level>,
    path: RefCell<CString>,
    file: Sink,
    stderr: Option<Stderr>,
    line: RefCell<Vec<u8>>,
    clock: RefCell<Clock>,
    pid: Cell<Option<process::Pid>>,
}

/// The stderr of this process.
pub struct Stderr(Sink);

impl Stderr {
    /// To be called before the server becomes another user or changes its root: after that the starter's
    /// terminal or pipe may not be opened any more.
    pub fn take() -> Option<Self> {
        let copy = fd::duplicate_above(std::io::stderr().as_fd(), 3).ok()?;
        Some(Self(Sink::of_shared(copy)))
    }
}

impl Log {
    /// Opens the log file, appending. With `stderr` each line goes there too.
    pub fn open(path: CString, level: Level, stderr: Option<Stderr>) -> sys::Result<Self> {
        let file = Sink::of_file(open_own(&path)?);
        Ok(Self {
            level: Cell::new(level),
            path: RefCell::new(path),
            file,
            stderr,
            line: RefCell::new(Vec::with_capacity(LINE_BYTES)),
            clock: RefCell::new(Clock::default()),
            pid: Cell::new(None),
        })
    }

    /// The same log file, for a process that outlives this one.
    ///
    /// # Errors
    /// As `open`.
    pub fn again(&self) -> sys::Result<Self> {
        Self::open(self.path.borrow().clone(), self.level.get(), None)
    }

    /// The descriptors that a forked worker must keep.
    pub fn descriptors(&self) -> Vec<i32> {
        self.sinks().map(Sink::number).collect()
    }

    fn sinks(&self) -> impl Iterator<Item = &Sink> {
        let stderr = self.stderr.as_ref().map(|stderr| &stderr.0);
        [&self.file].into_iter().chain(stderr)
    }

    /// Parent: writes one line to stderr, if it is kept, and none to the log file.
    pub fn tell(&self, text: &str) {
        if let Some(Stderr(sink)) = &self.stderr {
            sink.append(format!("caffeine: {text}\n").as_bytes());
        }
    }

    /// Child, right after its fork: lines bear its own pid from now on.
    pub fn forked(&self) {
        self.pid.set(None);
    }

    fn pid(&self) -> process::Pid {
        let pid = self.pid.get().unwrap_or_else(process::pid);
        self.pid.set(Some(pid));
        pid
    }

    /// Opens the file again under its name, after it was moved away (SIGUSR1). The old one stays
    /// if that fails.
    pub fn reopen(&self) {
        let opened = open_own(&self.path.borrow());
        match opened {
            Ok(file) => self.file.replace(file),
            Err(e) => {
                let path = self.path.borrow();
                self.error(format_args!("unable to reopen the log {path:?}: {e}"));
            }
        }
    }

    /// Parent: other settings hold from now on, also for workers that are forked later.
    pub fn change(&self, path: CString, level: Level) {
        self.level.set(level);
        if *self.path.borrow() != path {
            *self.path.borrow_mut() = path;
            self.reopen();
        }
    }

    /// Whether lines of this level are written: ask before costly arguments.
    pub fn has(&self, level: Level) -> bool {
        level >= self.level.get()
    }

    /// Each dispatch, verdict and launch.
    pub fn debug(&self, text: fmt::Arguments<'_>) {
        self.write(Level::Debug, text);
    }

    /// Start, stop, receipts.
    pub fn info(&self, text: fmt::Arguments<'_>) {
        self.write(Level::Info, text);
    }

    /// What a handler or client did wrong.
    pub fn warn(&self, text: fmt::Arguments<'_>) {
        self.write(Level::Warn, text);
    }

    /// What the server could not do.
    pub fn error(&self, text: fmt::Arguments<'_>) {
        self.write(Level::Error, text);
    }

    /// The receipt of a request: a line of level INFO that is put together from bytes, since every
    /// request has one.
    pub fn receipt(&self, put_together: &dyn Fn(&mut Line<'_>)) {
        self.write_line(Level::Info, put_together);
    }

    fn write(&self, level: Level, text: fmt::Arguments<'_>) {
        self.write_line(level, &|line| {
            // Writing to a line cannot fail: it cuts what is too long.
            let _ = line.write_fmt(text);
        });
    }

    fn write_line(&self, level: Level, put_together: &dyn Fn(&mut Line<'_>)) {
        if !self.has(level) {
            return;
        }
        let mut line = self.line.borrow_mut();
        line.clear();
        self.compose(&mut line, level, put_together);
        for sink in self.sinks() {
            if !self.confesses(sink) || !sink.append(&line) {
                sink.lost.set(sink.lost.get() + 1);
            }
        }
    }

    /// Says how many lines were lost there; false if it cannot.
    fn confesses(&self, sink: &Sink) -> bool {
        let lost = sink.lost.get();
        if lost == 0 {
            return true;
        }
        let mut line = Vec::new();
        self.compose(&mut line, Level::Warn, &|line| {
            line.number(lost);
            line.text(b" log lines were lost: the log could not be written");
        });
        let is_there = sink.append(&line);
        if is_there {
            sink.lost.set(0);
        }
        is_there
    }

    fn compose(&self, line: &mut Vec<u8>, level: Level, put_together: &dyn Fn(&mut Line<'_>)) {
        self.clock.borrow_mut().stamp(line, time::unix_ms());
        line.extend_from_slice(match level {
            Level::Debug => b" DEBUG [",
            Level::Info => b" INFO [",
            Level::Warn => b" WARN [",
            Level::Error => b" ERROR [",
        });
        line.extend_from_slice(itoa::Buffer::new().format(self.pid().raw()).as_bytes());
        line.extend_from_slice(b"] ");
        put_together(&mut Line(line));
        line.truncate(LINE_BYTES - 1);
        line.push(b'\n');
    }
}

/// Opens a log file. In a folder where every user may put something (/tmp), only a file of one's own
/// is written to, under its only name and not by way of a link: what another user has put there may
/// lead anywhere. (The kernel's protected_symlinks and protected_hardlinks, if they are on, do too.)
///
/// # Errors
/// EPERM and ELOOP are such a refusal.
pub(crate) fn open_own(path: &CStr) -> sys::Result<OwnedFd> {
    if !is_in_shared_folder(path) {
        return file::open_at(None, path, Open::Append);
    }
    let file = file::open_at(None, path, Open::AppendNoFollow)?;
    let found = file::stat(file.as_fd())?;
    if found.is_file() && found.uid == process::effective_uid() && found.links == 1 {
        return Ok(file);
    }
    Err(sys::Error {
        call: &"open",
        errno: sys::Errno::PERM,
    })
}

fn is_in_shared_folder(path: &CStr) -> bool {
    let slash = path.to_bytes().iter().rposition(|byte| *byte == b'/');
    let folder = slash.and_then(|at| path.to_bytes().get(..=at));
    let folder = CString::new(folder.unwrap_or(b".")).unwrap_or_default();
    let opened = file::open_at(None, &folder, Open::Folder);
    let stat = opened.and_then(|folder| file::stat(folder.as_fd()));
    stat.is_ok_and(|stat| stat.permissions() & 0o002 != 0)
}

/// A line that is being put together. Bytes from outside are cut at `LINE_BYTES`; the server's own few
/// words may exceed it and are cut once the line is complete.
pub struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    /// Appends a few bytes of the server's own.
    pub fn text(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }

    fn fitting<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        let room = (LINE_BYTES - 1).saturating_sub(self.0.len());
        text.get(..room).unwrap_or(text)
    }

    /// Appends a number in decimal.
    pub fn number(&mut self, number: u64) {
        self.text(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Appends bytes from outside, as [`Escaped`] shows them.
    pub fn escaped(&mut self, bytes: &[u8]) {
        let _ = escape(bytes, |part| {
            self.text(self.fitting(part));
            Ok(())
        });
    }
}

/// Control bytes that a caller let through become spaces, so that one line stays one line.
impl fmt::Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let bytes = self.fitting(text.as_bytes());
        self.0
            .extend(bytes.iter().map(|&b| if b < b' ' { b' ' } else { b }));
        Ok(())
    }
}

/// Bytes from outside, printable: `\xNN` for what is not ASCII, `\\` and `\"`.
pub(crate) struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, |part| {
            f.write_str(std::str::from_utf8(part).unwrap_or(""))
        })
    }
}

fn escape(bytes: &[u8], mut put: impl FnMut(&[u8]) -> fmt::Result) -> fmt::Result {
    let mut rest = bytes;
    while !rest.is_empty() {
        let plain = rest.iter().position(|&b| !is_plain(b));
        let plain = plain.unwrap_or(rest.len());
        let (head, tail) = rest.split_at_checked(plain).unwrap_or((rest, &[]));
        put(head)?;
        rest = tail;
        if let Some((&byte, tail)) = rest.split_first() {
            match byte {
                b'\\' => put(b"\\\\")?,
                b'"' => put(b"\\\"")?,
                _ => {
                    put(b"\\x")?;
                    put(hex_digit(byte >> 4))?;
                    put(hex_digit(byte & 15))?;
                }
            }
            rest = tail;
        }
    }
    Ok(())
}

fn hex_digit(value: u8) -> &'static [u8] {
    let at = usize::from(value);
    b"0123456789abcdef".get(at..=at).unwrap_or_default()
}

fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\'
}

/// RFC 3339 time stamps. What does not change within a second is kept.
#[derive(Default)]
struct Clock {
    second: i64,
    text: Vec<u8>,
    zone: Vec<u8>,
}

impl Clock {
    /// Appends `2026-11-23T12:00:00.123+01:00`.
    fn stamp(&mut self, line: &mut Vec<u8>, unix_ms: i64) {
        let second = unix_ms.div_euclid(1000);
        if second != self.second || self.text.is_empty() {
            let offset = time::local_offset(second);
            self.second = second;
            self.text.clear();
            self.zone.clear();
            date_and_time(&mut self.text, second + offset);
            zone(&mut self.zone, offset);
        }
        line.extend_from_slice(&self.text);
        line.push(b'.');
        digits(line, unix_ms.rem_euclid(1000), 3);
        line.extend_from_slice(&self.zone);
    }
}

fn date_and_time(out: &mut Vec<u8>, seconds: i64) {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = calendar::civil(days);
    let parts = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (rest / 3600, 2, b':'),
        (rest / 60 % 60, 2, b':'),
        (rest % 60, 2, 0),
    ];
    for (value, width, end) in parts {
        digits(out, value, width);
        if end != 0 {
            out.push(end);
        }
    }
}

fn zone(out: &mut Vec<u8>, offset: i64) {
    out.push(if offset < 0 { b'-' } else { b'+' });
    let minutes = offset.abs() / 60;
    digits(out, minutes / 60, 2);
    out.push(b':');
    digits(out, minutes % 60, 2);
}

/// Appends a number with leading zeros.
fn digits(out: &mut Vec<u8>, value: i64, width: u32) {
    let mut text = itoa::Buffer::new();
    let text = text.format(value + 10_i64.pow(width));
    out.extend_from_slice(text.as_bytes().get(1..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_right_on_the_days_that_go_wrong() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (1_798_761_599, "2026-12-31T23:59:59"),
            (-1, "1969-12-31T23:59:59"),
        ] {
            let mut text = Vec::new();
            date_and_time(&mut text, seconds);
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }

    #[test]
    fn a_zone_west_of_greenwich_has_a_minus() {
        for (offset, expected) in [(0, "+00:00"), (5400, "+01:30"), (-12_600, "-03:30")] {
            let mut text = Vec::new();
            zone(&mut text, offset);
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }

    #[test]
    fn bytes_from_outside_cannot_end_a_line_or_a_quotation() {
        let hostile = b"a\"b\\c\r\n\x1b[2J\xff";
        assert_eq!(
            Escaped(hostile).to_string(),
            "a\\\"b\\\\c\\x0d\\x0a\\x1b[2J\\xff"
        );
    }

    #[test]
    fn a_line_is_cut_at_its_bound_and_has_no_control_bytes() {
        let mut line = Vec::new();
        let text = "x\n".repeat(LINE_BYTES);
        Line(&mut line).write_str(&text).unwrap();
        assert_eq!(line.len(), LINE_BYTES - 1);
        assert!(line.iter().all(|&b| b >= b' '));
    }
}
