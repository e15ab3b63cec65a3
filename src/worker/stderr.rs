//! A handler's stderr: line by line into the log, with its name and pid, and not without end.

use crate::log::{Escaped, Log};
use crate::sys::process::Pid;
use crate::sys::{fd, fd::AsFd, signal};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// Bytes that reach the log, for one request.
const MAX_BYTES: usize = 64 * 1024;
/// Reads in a row: as much as a pipe holds.
const MAX_READS: usize = 16;
/// The longest line that is kept together.
const MAX_LINE: usize = 1024;

/// One handler's stderr.
pub(super) struct Stderr<'r> {
    log: &'r Log,
    name: &'r [u8],
    pid: Pid,
    pipe: Option<OwnedFd>,
    line: Vec<u8>,
    bytes: usize,
}

impl<'r> Stderr<'r> {
    pub(super) fn new(log: &'r Log, name: &'r [u8], pid: Pid, pipe: OwnedFd) -> Self {
        Self {
            log,
            name,
            pid,
            pipe: Some(pipe),
            line: Vec::new(),
            bytes: 0,
        }
    }

    /// What to wait for, until its end.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(|pipe| pipe.as_fd())
    }

    /// ppoll said these events. Never waits.
    pub(super) fn hear(&mut self, events: i16) {
        if events & signal::READABLE == 0 {
            self.pipe = None; // its end, with nothing left to read
        }
        self.read();
    }

    fn read(&mut self) {
        // Bounded: who floods it must not keep the worker from everything else.
        for _ in 0..MAX_READS {
            let Some(pipe) = &self.pipe else { return };
            if fd::bytes_readable(pipe.as_fd()).unwrap_or(0) == 0 {
                // Nothing to read: is it the end, or only a pause?
                let is_over = signal::wait_one(pipe.as_fd(), 0, Duration::ZERO).unwrap_or(true);
                if is_over {
                    self.pipe = None;
                }
                return;
            }
            let mut text = [0; 4096];
            let n = fd::read(pipe.as_fd(), &mut text).unwrap_or(0);
            for &byte in text.get(..n).unwrap_or_default() {
                self.take(byte);
            }
        }
    }

    /// The handler is gone: what is left, and the line that it did not end.
    pub(super) fn finish(&mut self) {
        self.read();
        self.end_line();
    }

    fn take(&mut self, byte: u8) {
        self.bytes = self.bytes.saturating_add(1);
        if self.bytes == MAX_BYTES {
            self.end_line();
            self.line
                .extend_from_slice(b"(more than 64K: the rest is dropped)");
            return self.end_line();
        }
        if self.bytes > MAX_BYTES {
            return;
        }
        if byte != b'\n' {
            self.line.push(byte);
        }
        if byte == b'\n' || self.line.len() >= MAX_LINE {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            let (name, line) = (Escaped(self.name), Escaped(&self.line));
            self.log
                .warn(format_args!("{name} ({}): stderr: {line}", self.pid));
            self.line.clear();
        }
    }
}
