//! Calls that any descriptor takes: read, write, pipe, fcntl, and closing what was inherited.

use super::call::{Error, Result, count, once, retry};
use super::errno::Errno;
#[cfg(target_os = "linux")]
use super::{call::or_else, raw};
use super::{platform, poll, process};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

pub use std::os::fd::AsFd;

/// read(2). 0 is the end of the file or the other end's close.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    retry(&"read", || {
        // SAFETY: the buffer is writable for its own length.
        unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) }
    })
    .map(count)
}

/// read(2) until the end, or until there are more than so many bytes.
pub(crate) fn read_all(fd: BorrowedFd<'_>, most: usize) -> Result<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        match read(fd, &mut piece)? {
            n if n > 0 && all.len() <= most => {
                all.extend_from_slice(piece.get(..n).unwrap_or_default());
            }
            _ => return Ok(all),
        }
    }
}

/// pread(2).
pub(crate) fn pread(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let offset = offset.cast_signed();
    retry(&"pread", || {
        // SAFETY: the buffer is writable for its own length.
        unsafe {
            platform::pread(
                fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                offset,
            )
        }
    })
    .map(count)
}

/// write(2); may write less than it was given.
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    retry(&"write", || {
        // SAFETY: the bytes are readable for their own length.
        unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) }
    })
    .map(count)
}

/// write(2) that does not wait for a slow reader, though the descriptor may block: pwritev2(2) with
/// RWF_NOWAIT (pipes since Linux 6.4). Without that call, a write if poll(2) has just said that the
/// descriptor is writable: a pipe then has room for PIPE_BUF bytes, unless another writer is faster.
pub(crate) fn write_at_once(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    #[cfg(target_os = "linux")]
    match raw::write_at_once(fd.as_raw_fd(), bytes) {
        n if n >= 0 => return Ok(n.unsigned_abs()),
        negated => {
            let errno = Errno::from_raw(i32::try_from(-negated).unwrap_or(0));
            if [Errno::AGAIN, Errno::PIPE].contains(&errno) {
                return Err(Error::new(&"pwritev2", errno));
            }
        }
    }
    if poll::wait_one(fd, poll::WRITABLE, std::time::Duration::ZERO)? {
        return write(fd, bytes);
    }
    Err(Error::new(&"write", Errno::AGAIN))
}

/// write(2) of everything to stdout.
pub(crate) fn print(mut bytes: &[u8]) -> Result<()> {
    // SAFETY: the standard library has seen to it that stdout is open, and nobody closes it.
    let stdout = unsafe { BorrowedFd::borrow_raw(libc::STDOUT_FILENO) };
    while !bytes.is_empty() {
        let n = write(stdout, bytes)?;
        bytes = bytes.get(n..).unwrap_or_default();
    }
    Ok(())
}

/// pwrite(2).
pub(crate) fn pwrite(fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize> {
    let offset = offset.cast_signed();
    retry(&"pwrite", || {
        // SAFETY: the bytes are readable for their own length.
        unsafe { platform::pwrite(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), offset) }
    })
    .map(count)
}

/// pipe2(2): (read end, write end), both blocking and close-on-exec.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: pipe2 writes two descriptors into an array of two.
    once(&"pipe2", || unsafe {
        platform::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC)
    })?;
    let [read_end, write_end] = ends;
    Ok((own(read_end), own(write_end)))
}

/// Takes ownership of a descriptor that a call has just returned.
pub(super) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: every caller passes a descriptor that the kernel returned to it and to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Start of the program: a descriptor that the starter left open for this process, close-on-exec
/// from now on. EBADF if there is none.
///
/// Nothing else may own it: ask once for each number, before anything is opened.
pub(crate) fn adopt(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_SETFD takes an integer.
    once(&"fcntl", || unsafe {
        libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC)
    })?;
    Ok(own(number))
}

/// fcntl(F_DUPFD_CLOEXEC): a copy whose number is at least `lowest`.
pub(crate) fn duplicate_above(fd: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an integer.
    let copy = once(&"fcntl", || unsafe {
        libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest)
    })?;
    Ok(own(copy))
}

/// dup2(2) onto one of the three standard descriptors, which then survives exec.
pub fn duplicate_onto(fd: BorrowedFd<'_>, standard: RawFd) -> Result<()> {
    // SAFETY: dup2 takes two integers; what `standard` named before is closed by the kernel.
    retry(&"dup2", || unsafe { libc::dup2(fd.as_raw_fd(), standard) }).map(drop)
}

/// dup3(2): `place` keeps its number and is a copy of `by` from now on.
pub(crate) fn replace(place: BorrowedFd<'_>, by: BorrowedFd<'_>) -> Result<()> {
    let (by, place) = (by.as_raw_fd(), place.as_raw_fd());
    // SAFETY: takes integers; `place` is an open descriptor before and after.
    #[cfg(target_os = "linux")]
    let replaced = retry(&"dup3", || unsafe {
        libc::dup3(by, place, libc::O_CLOEXEC)
    });
    // SAFETY: the same.
    #[cfg(not(target_os = "linux"))]
    let replaced = retry(&"dup2", || unsafe { libc::dup2(by, place) }).and_then(|_| {
        // SAFETY: takes integers.
        once(&"fcntl", || unsafe {
            libc::fcntl(place, libc::F_SETFD, libc::FD_CLOEXEC)
        })
    });
    replaced.map(drop)
}

/// fcntl(F_GETFL): whether it was opened for reading and writing; an O_PATH descriptor was for neither.
pub(crate) fn is_read_write(fd: BorrowedFd<'_>) -> bool {
    status_flags(fd).is_ok_and(|flags| flags & libc::O_ACCMODE == libc::O_RDWR)
}

/// fcntl(F_SETFL): sets or clears O_NONBLOCK of the open file description, which is shared by all
/// its descriptors in all processes.
pub fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    let flags = status_flags(fd)?;
    let flags = if on {
        flags | libc::O_NONBLOCK
    } else {
        flags & !libc::O_NONBLOCK
    };
    // SAFETY: F_SETFL takes an integer.
    once(&"fcntl", || unsafe {
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags)
    })
    .map(drop)
}

/// fcntl(F_GETFL): access mode and status flags of the open file description, as one number.
pub(crate) fn status_flags(fd: BorrowedFd<'_>) -> Result<i32> {
    // SAFETY: F_GETFL takes no argument.
    once(&"fcntl", || unsafe {
        libc::fcntl(fd.as_raw_fd(), libc::F_GETFL)
    })
}

/// fcntl(F_GETPIPE_SZ): bytes that a pipe holds. Unprivileged users fall to 8 KiB or less once
/// they own many pipes (pipe(7)), so this must be asked, not assumed.
#[cfg(target_os = "linux")]
pub(crate) fn pipe_size(fd: BorrowedFd<'_>) -> Result<usize> {
    // SAFETY: F_GETPIPE_SZ takes no argument.
    let size = once(&"fcntl", || unsafe {
        libc::fcntl(fd.as_raw_fd(), libc::F_GETPIPE_SZ)
    });
    or_else(size.map(count), || Ok(PIPE_BUF))
}

/// What POSIX promises of every pipe.
const PIPE_BUF: usize = 512;

/// Elsewhere nobody can tell.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pipe_size(_: BorrowedFd<'_>) -> Result<usize> {
    Ok(PIPE_BUF)
}

/// fcntl(F_SETPIPE_SZ).
#[cfg(target_os = "linux")]
pub(crate) fn set_pipe_size(fd: BorrowedFd<'_>, bytes: i32) -> Result<()> {
    // SAFETY: F_SETPIPE_SZ takes an integer.
    once(&"fcntl", || unsafe {
        libc::fcntl(fd.as_raw_fd(), libc::F_SETPIPE_SZ, bytes)
    })
    .map(drop)
}

/// Elsewhere a pipe is as large as it is.
#[cfg(not(target_os = "linux"))]
pub(crate) fn set_pipe_size(_: BorrowedFd<'_>, _: i32) -> Result<()> {
    Err(Error::new(&"fcntl", Errno::NOSYS))
}

/// vmsplice(2): puts bytes into a pipe as references to their pages, without a copy; never waits. A
/// body of 16 MiB took 13.1 ms this way, and 18.0 ms by write(2). The bytes must not change until
/// the pipe's reader is gone. Where the call is missing, as in the containers of Docker, Podman and
/// gVisor: write(2), to a pipe that does not block.
#[cfg(target_os = "linux")]
pub(crate) fn vmsplice(pipe: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    let piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let moved = retry(&"vmsplice", || {
        // SAFETY: the piece is live and readable for its length; the kernel only reads it.
        unsafe {
            libc::vmsplice(
                pipe.as_raw_fd(),
                &raw const piece,
                1,
                libc::SPLICE_F_NONBLOCK,
            )
        }
    });
    or_else(moved.map(count), || write(pipe, bytes))
}

/// Elsewhere: write(2), to a pipe that does not block.
#[cfg(not(target_os = "linux"))]
pub(crate) fn vmsplice(pipe: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    write(pipe, bytes)
}

/// ioctl(2) with a request that writes one number.
pub(super) fn ask_number(fd: BorrowedFd<'_>, request: u64) -> Result<usize> {
    let mut n: libc::c_int = 0;
    // SAFETY: the caller's request writes one int.
    once(&"ioctl", || unsafe {
        libc::ioctl(fd.as_raw_fd(), request as _, &raw mut n)
    })?;
    Ok(count(n))
}

/// FIONREAD: bytes that a read would find now. Reads nothing.
pub(crate) fn bytes_readable(fd: BorrowedFd<'_>) -> Result<usize> {
    ask_number(fd, libc::FIONREAD as u64)
}

/// Forked child, or start of the program: closes every descriptor from 3 up but those in `keep`
/// (ascending or not). Falls back to a walk over the whole table where close_range(2) is missing.
///
/// Nothing may use the owners of the closed descriptors any more: a forked worker forgets the
/// parent's owners before, and at the start of the program there are none.
pub fn close_all_but(keep: &[RawFd]) {
    let mut first: RawFd = 3;
    // Finds the lowest kept descriptor from `first` on: a search for each costs less code than a sort.
    while let Some(&kept) = keep.iter().filter(|&&fd| fd >= first).min() {
        if kept > first {
            close_span(first, kept - 1);
        }
        first = kept + 1;
    }
    close_span(first, RawFd::MAX);
}

/// Closes `first..=last`.
fn close_span(first: RawFd, last: RawFd) {
    #[cfg(target_os = "linux")]
    if raw::close_range(first.cast_unsigned(), last.cast_unsigned()) == 0 {
        return;
    }
    // Before Linux 5.9: one by one, up to the highest number that can be in use.
    let table_end = process::descriptor_limit().map_or(1024, |limit| limit.highest_possible());
    for fd in first..=last.min(table_end) {
        // SAFETY: closing a number that is not open only fails; see the function's contract.
        unsafe { libc::close(fd) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_carries_bytes_and_says_how_many_wait() {
        let (read_end, write_end) = pipe().unwrap();
        assert_eq!(write(write_end.as_fd(), b"hello").unwrap(), 5);
        assert_eq!(bytes_readable(read_end.as_fd()).unwrap(), 5);
        let mut buffer = [0; 16];
        assert_eq!(read(read_end.as_fd(), &mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"hello");
        drop(write_end);
        assert_eq!(read(read_end.as_fd(), &mut buffer).unwrap(), 0);
    }
}
