//! Passing descriptors: one record with its SCM_RIGHTS over a Unix domain socket (unix(7)).

use super::call::{Error, Result, count, retry};
use super::errno::Errno;
use super::socket::empty_message;
use super::{poll, teardown};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Descriptors that one message may carry.
pub(crate) const MAX_PASSED: usize = 2;

/// Room for a control message, aligned as cmsghdr must be.
#[repr(C, align(8))]
struct ControlBuffer<const BYTES: usize>([u8; BYTES]);

/// What `MAX_PASSED` descriptors take.
const SENT: usize = 64;

/// Room for the most that Linux passes at a time (SCM_MAX_FD, 253): the kernel closes what does not fit.
const RECEIVED: usize = 1040;

const _: () = assert!(size_of::<libc::cmsghdr>() + MAX_PASSED * 4 + 8 <= SENT);

/// sendmsg(2) of one record with at most `MAX_PASSED` descriptors, never blocking, no SIGPIPE.
pub(crate) fn send_record(
    socket: BorrowedFd<'_>,
    record: &[u8],
    passed: &[BorrowedFd<'_>],
) -> Result<usize> {
    let mut control = ControlBuffer([0; SENT]);
    let mut piece = libc::iovec {
        iov_base: record.as_ptr().cast_mut().cast(),
        iov_len: record.len(),
    };
    let mut message = empty_message();
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    if !passed.is_empty() {
        let raw: [RawFd; MAX_PASSED] =
            std::array::from_fn(|i| passed.get(i).map_or(-1, AsRawFd::as_raw_fd));
        attach(
            &mut message,
            &mut control,
            &raw,
            passed.len().min(MAX_PASSED),
        );
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    retry(&"sendmsg", || {
        // SAFETY: every pointer in the message is to a live local of this frame.
        unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) }
    })
    .map(count)
}

fn attach(
    message: &mut libc::msghdr,
    control: &mut ControlBuffer<SENT>,
    fds: &[RawFd; MAX_PASSED],
    n: usize,
) {
    let bytes = n * size_of::<RawFd>();
    let payload = u32::try_from(bytes).unwrap_or(0);
    message.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE is arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(payload) }.try_into().unwrap_or(0);
    // SAFETY: the control buffer holds at least one header (asserted above).
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: CMSG_LEN is arithmetic.
    let len = unsafe { libc::CMSG_LEN(payload) };
    // SAFETY: the buffer is zeroed, so the header is a valid cmsghdr, and it is aligned.
    let header_ref = unsafe { &mut *header };
    header_ref.cmsg_level = libc::SOL_SOCKET;
    header_ref.cmsg_type = libc::SCM_RIGHTS;
    header_ref.cmsg_len = len.try_into().unwrap_or(0);
    // SAFETY: the header is valid.
    let place = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: the buffer has room for MAX_PASSED descriptors behind the header (asserted above).
    unsafe { std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), place, bytes) };
}

/// What `receive_record` found.
#[derive(Debug)]
pub(crate) struct ReceivedRecord {
    /// Bytes of the record; 0 means that the peer is gone.
    pub len: usize,
    /// The descriptors, close-on-exec, in order. Surplus ones have been closed.
    pub passed: [Option<OwnedFd>; MAX_PASSED],
}

/// recvmsg(2) of one record. Every descriptor that comes is owned at once, so none can leak.
/// MSG_CTRUNC (the descriptor table is full) is EMFILE: a message without its descriptor must
/// never be taken for one that had none. Never waits.
pub(crate) fn receive_record(socket: BorrowedFd<'_>, record: &mut [u8]) -> Result<ReceivedRecord> {
    let mut control = ControlBuffer([0; RECEIVED]);
    let mut piece = libc::iovec {
        iov_base: record.as_mut_ptr().cast(),
        iov_len: record.len(),
    };
    let mut message = empty_message();
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    {
        message.msg_controllen = RECEIVED.try_into().unwrap_or(0);
    }
    let flags = CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    let len = retry(&"recvmsg", || {
        // SAFETY: every pointer in the message is to a live local or to the caller's buffer.
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) }
    })
    .map(count)?;
    let passed = take_passed(&message);
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(Error::new(&"recvmsg", Errno::MFILE));
    }
    Ok(ReceivedRecord { len, passed })
}

/// Waits for a record, by poll(2): a process that waits in recvmsg(2) on a Unix stream is also woken
/// whenever its peer takes what it was sent before, finds nothing and sleeps again. The caller has sent
/// something before, so there is hardly ever a record already.
pub(crate) fn await_record(socket: BorrowedFd<'_>, record: &mut [u8]) -> Result<ReceivedRecord> {
    loop {
        poll::wait_one(socket, poll::READABLE, Duration::MAX)?;
        match receive_record(socket, record) {
            Err(e) if e.is_would_block() => {}
            other => return other,
        }
    }
}

/// Closes a connection on which a stranger may have passed descriptors. A descriptor that was not
/// received is closed with the connection; if it is the last copy of a socket with SO_LINGER, this
/// process would wait for that socket's peer.
pub(crate) fn hang_up(socket: OwnedFd) {
    // Nothing is put in any more.
    let _ = teardown::shutdown(socket.as_fd(), teardown::Direction::Both);
    let mut bytes = [0; 4096];
    while let Ok(ReceivedRecord { len: 1.., passed }) = receive_record(socket.as_fd(), &mut bytes) {
        for fd in passed.iter().flatten() {
            let _ = teardown::reset_on_close(fd.as_fd(), false);
        }
    }
}

#[cfg(target_os = "linux")]
const CMSG_CLOEXEC: i32 = libc::MSG_CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const CMSG_CLOEXEC: i32 = 0;

/// Owns every descriptor of a received message; keeps the first `MAX_PASSED`, closes the rest.
fn take_passed(message: &libc::msghdr) -> [Option<OwnedFd>; MAX_PASSED] {
    let mut passed = [const { None }; MAX_PASSED];
    let mut places = passed.iter_mut();
    // SAFETY: the kernel filled the control buffer that the message points to.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a header inside the buffer.
    while let Some(h) = unsafe { header.as_ref() } {
        if h.cmsg_level == libc::SOL_SOCKET && h.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: CMSG_LEN is arithmetic.
            let head = unsafe { libc::CMSG_LEN(0) } as usize;
            let n = (h.cmsg_len as usize).saturating_sub(head) / size_of::<RawFd>();
            // SAFETY: the header is valid.
            let start = unsafe { libc::CMSG_DATA(header) }.cast::<RawFd>();
            for i in 0..n {
                // SAFETY: the kernel wrote `n` descriptors behind the header.
                let place = unsafe { start.add(i) };
                // SAFETY: one of those; the place need not be aligned.
                let raw = unsafe { place.read_unaligned() };
                // SAFETY: the kernel made this descriptor for this process and nobody else has it.
                let fd = unsafe { OwnedFd::from_raw_fd(raw) };
                match places.next() {
                    Some(place) => *place = Some(fd),
                    // This fails if it is no socket, whose close does not wait anyway.
                    None => drop(teardown::reset_on_close(fd.as_fd(), false)),
                }
            }
        }
        // SAFETY: message and header are those of the kernel's answer.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{fd, socket};

    #[test]
    fn a_record_carries_its_descriptors() {
        let (a, b) = socket::pair().unwrap();
        let (read_end, write_end) = fd::pipe().unwrap();
        send_record(a.as_fd(), b"record", &[write_end.as_fd(), read_end.as_fd()]).unwrap();
        let mut buffer = [0; 16];
        let record = await_record(b.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..record.len], b"record");
        let [Some(got_write), Some(got_read)] = record.passed else {
            panic!("descriptors lost")
        };
        fd::write(got_write.as_fd(), b"x").unwrap();
        assert_eq!(fd::read(got_read.as_fd(), &mut buffer).unwrap(), 1);
    }

    #[test]
    fn the_end_of_the_peer_is_an_empty_record() {
        let (a, b) = socket::pair().unwrap();
        drop(a);
        let record = await_record(b.as_fd(), &mut [0; 4]).unwrap();
        assert_eq!(record.len, 0);
    }
}
