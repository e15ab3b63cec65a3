//! A handler's stderr: line by line into the log, with its name and pid, up to `max-stderr`.
//!
//! One pipe serves one handler after the other, which saves making and closing one for each. The worker does
//! not wait for the pipe's end: when the next handler starts, all processes of the last one have been ended.

use crate::log::{Escaped, Log};
use crate::sys::process::Pid;
use crate::sys::{self, fd, fd::AsFd};
use std::cell::{Cell, RefCell};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Bytes of one read, and reads in a row: together as much as a pipe holds.
const READ_BYTES: usize = 4096;
const MAX_READS: usize = 16;
/// The longest line that is kept together.
const MAX_LINE: usize = 1024;

/// The pipe: only its read end, which handlers never see, is non-blocking.
pub(super) struct StderrPipe {
    read_end: OwnedFd,
    write_end: OwnedFd,
    /// As the write end was made: status flags, size.
    flags: i32,
    size: usize,
    /// What a read puts its bytes into.
    buffer: RefCell<Box<[u8]>>,
    /// Whether all that the last handler wrote was read.
    is_empty: Cell<bool>,
}

impl StderrPipe {
    pub(super) fn new() -> sys::Result<Self> {
        let (read_end, write_end) = fd::pipe()?;
        fd::set_nonblocking(read_end.as_fd(), true)?;
        let flags = fd::status_flags(write_end.as_fd())?;
        let size = fd::pipe_size(write_end.as_fd())?;
        Ok(Self {
            read_end,
            write_end,
            flags,
            size,
            buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            is_empty: Cell::new(true),
        })
    }

    /// What it is read from.
    pub(super) fn read_end(&self) -> BorrowedFd<'_> {
        self.read_end.as_fd()
    }

    /// What a handler gets.
    pub(super) fn write_end(&self) -> BorrowedFd<'_> {
        self.write_end.as_fd()
    }

    /// Whether the next handler can have this pipe, if no process of the last one is left: the pipe is empty,
    /// and the last handler has changed nothing that all holders of a pipe share (fcntl(2)): its size, or a
    /// flag such as O_NONBLOCK, O_ASYNC or O_DIRECT, which keeps writes apart.
    pub(super) fn is_as_new(&self) -> bool {
        self.is_empty.get()
            && fd::status_flags(self.write_end.as_fd()).is_ok_and(|flags| flags == self.flags)
            && fd::pipe_size(self.write_end.as_fd()).is_ok_and(|size| size == self.size)
    }
}

/// One handler's stderr.
pub(super) struct HandlerStderr<'r> {
    log: &'r Log,
    name: &'r [u8],
    pid: Pid,
    pipe: &'r StderrPipe,
    state: PausedStderr,
}

/// Where one handler's stderr stands, while nobody reads it.
#[derive(Default)]
pub(super) struct PausedStderr {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// Bytes that may still reach the log.
    left: u64,
    is_cut: bool,
}

impl PausedStderr {
    /// Before the first byte of so many that may reach the log.
    pub(super) fn new(left: Option<u64>) -> Self {
        Self {
            left: left.unwrap_or(u64::MAX),
            ..Self::default()
        }
    }
}

impl<'r> HandlerStderr<'r> {
    /// Begins, or goes on where [`pause`](Self::pause) stopped.
    pub(super) fn resume(
        (log, name): (&'r Log, &'r [u8]),
        pid: Pid,
        pipe: &'r StderrPipe,
        state: PausedStderr,
    ) -> Self {
        Self {
            log,
            name,
            pid,
            pipe,
            state,
        }
    }

    /// Stops for a while.
    pub(super) fn pause(self) -> PausedStderr {
        self.state
    }

    /// What to wait for.
    pub(super) fn fd(&self) -> BorrowedFd<'r> {
        self.pipe.read_end.as_fd()
    }

    /// Reads what is there, and says whether that was all. A short read does not say so: with
    /// O_DIRECT each read brings one write. Never waits.
    pub(super) fn read(&mut self) -> bool {
        // Bounded: a handler that floods its stderr must not keep the worker from everything else.
        let mut text = self.pipe.buffer.borrow_mut();
        for _ in 0..MAX_READS {
            let n = fd::read(self.fd(), &mut text).unwrap_or(0);
            for &byte in text.get(..n).unwrap_or_default() {
                self.take(byte);
            }
            if n == 0 {
                return true;
            }
        }
        false
    }

    /// The handler is gone: logs what is left, and a last line without an end.
    pub(super) fn finish(&mut self) {
        // A pipe that the handler has enlarged holds more than one turn reads.
        let is_all = (0..MAX_READS).any(|_| self.read());
        self.pipe.is_empty.set(is_all);
        self.end_line();
    }

    fn take(&mut self, byte: u8) {
        if self.state.is_cut {
            return;
        }
        let Some(left) = self.state.left.checked_sub(1) else {
            self.state.is_cut = true;
            self.end_line();
            self.state
                .line
                .extend_from_slice(b"(max-stderr: the rest is dropped)");
            return self.end_line();
        };
        self.state.left = left;
        if byte != b'\n' {
            self.state.line.push(byte);
        }
        if byte == b'\n' || self.state.line.len() >= MAX_LINE {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        if !self.state.line.is_empty() {
            let (name, line) = (Escaped(self.name), Escaped(&self.state.line));
            self.log
                .warn(format_args!("{name} ({}): stderr: {line}", self.pid));
            self.state.line.clear();
        }
    }
}
