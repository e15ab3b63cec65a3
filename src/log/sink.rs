//! Where lines go: the log file, and the stderr that the server was started with. Refuses to wait for
//! whoever reads there: a pipe that is full, a terminal that was stopped or a socket whose reader sleeps
//! would hold up the parent, and so everybody.

use crate::sys::fd::{self, AsFd};
use crate::sys::file::{self, Open};
use crate::sys::{self, socket};
use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, OwnedFd};

/// How it is written to without waiting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A file, or an open file description of the server's own that never blocks.
    Write,
    /// As a message that does not wait.
    Send,
    /// Each call asks not to wait. O_NONBLOCK would hold for the starter as well, since it shares the open
    /// file description.
    AtOnce,
}

/// One place for lines. It counts those that were lost.
pub(super) struct Sink {
    fd: RefCell<OwnedFd>,
    way: Way,
    pub(super) lost: Cell<u64>,
    /// Only the beginning of the last line got through.
    is_torn: Cell<bool>,
}

impl Sink {
    /// A log file that was opened so that nothing blocks.
    pub(super) fn of_file(file: OwnedFd) -> Self {
        Self::new(file, Way::Write)
    }

    /// A descriptor that other processes write to as well. It is opened once more if that is allowed (it is not
    /// for the pipe or terminal of another user, nor without /proc).
    pub(super) fn of_shared(fd: OwnedFd) -> Self {
        match file::stat(fd.as_fd()) {
            Ok(found) if found.is_socket() => Self::new(fd, Way::Send),
            Ok(found) if found.is_file() => Self::new(fd, Way::Write),
            _ => match file::reopen(fd.as_fd(), Open::Append) {
                Ok(own) => Self::new(own, Way::Write),
                Err(_) => Self::new(fd, Way::AtOnce),
            },
        }
    }

    fn new(fd: OwnedFd, way: Way) -> Self {
        Self {
            fd: RefCell::new(fd),
            way,
            lost: Cell::new(0),
            is_torn: Cell::new(false),
        }
    }

    pub(super) fn number(&self) -> i32 {
        self.fd.borrow().as_raw_fd()
    }

    /// From now on lines go to another file.
    pub(super) fn replace(&self, file: OwnedFd) {
        *self.fd.borrow_mut() = file;
    }

    /// True when all of the line is there. What follows the beginning of one that found no room must
    /// not look like its rest.
    pub(super) fn append(&self, line: &[u8]) -> bool {
        if self.is_torn.get() && self.write(b"\n").is_err() {
            return false;
        }
        let n = self.write(line).unwrap_or(0);
        self.is_torn.set(n > 0 && n < line.len());
        n == line.len()
    }

    fn write(&self, bytes: &[u8]) -> sys::Result<usize> {
        let fd = self.fd.borrow();
        let fd = fd.as_fd();
        match self.way {
            Way::Write => fd::write(fd, bytes),
            Way::Send => socket::send(fd, bytes),
            Way::AtOnce => fd::write_at_once(fd, bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills it, and sees that nobody waits.
    fn fill(sink: &Sink) {
        let line = [b'x'; 4096];
        let mut n = 0;
        while sink.append(&line) {
            n += 1;
        }
        assert!((1..10_000).contains(&n), "{n}");
    }

    #[test]
    fn nobody_waits_for_a_reader_whatever_the_sink_is() {
        let mut bytes = vec![0; 64 * 1024];
        let (read_end, write_end) = fd::pipe().unwrap();
        fd::set_nonblocking(read_end.as_fd(), true).unwrap();
        let flags = fd::status_flags(write_end.as_fd()).unwrap();
        let shared = fd::duplicate_above(write_end.as_fd(), 3).unwrap();
        for sink in [
            Sink::of_shared(fd::duplicate_above(write_end.as_fd(), 3).unwrap()),
            Sink::new(shared, Way::AtOnce),
        ] {
            fill(&sink);
            // The starter's own has not changed.
            assert_eq!(fd::status_flags(write_end.as_fd()).unwrap(), flags);
            while fd::read(read_end.as_fd(), &mut bytes).is_ok() {}
            assert!(sink.append(b"again"));
            fd::read(read_end.as_fd(), &mut bytes).unwrap();
        }
        let (near, far) = socket::pair().unwrap();
        let sink = Sink::of_shared(near);
        assert!(sink.way == Way::Send);
        fill(&sink);
        drop(far);
        assert!(!sink.append(b"again"), "nobody reads");
    }
}
