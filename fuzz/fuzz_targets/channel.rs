//! A hostile peer on the channel: any bytes with any number of descriptors over a real socket.
//!
//! Oracles: orders and verdicts or an error, never a panic; what is accepted is encoded to the same
//! bytes again; whatever is sent along, no descriptor is left.

#![no_main]

use caffeine::testing::channel::{self, Incoming, ORDER_BYTES, Order, VERDICT_BYTES, Verdict};
use caffeine::testing::sys::socket;
use libfuzzer_sys::fuzz_target;
use std::cell::Cell;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;

/// More than the control buffer takes, so that truncation is met too.
const MOST_PASSED: u8 = 20;
/// Runs between two counts of the descriptors.
const COUNT_EVERY: u32 = 64;

// Messages, each with two bytes before it: how many descriptors, how many bytes.
fuzz_target!(|bytes: &[u8]| {
    check_codec(bytes);
    let Some((&side, messages)) = bytes.split_first() else {
        return;
    };
    null();
    let before = open_descriptors();
    let (peer, own) = socket::pair().expect("a pair");
    let sent = send_all(&peer, messages);
    drop(peer);
    if side % 2 == 0 {
        hear_orders(own.as_fd(), &sent);
    } else {
        hear_verdicts(own.as_fd(), &sent);
    }
    drop(own);
    if let Some(before) = before {
        assert_eq!(count_descriptors(), before, "open descriptors");
    }
});

/// The decoder alone, on bytes that start as an order does.
fn check_codec(bytes: &[u8]) {
    let mut wire = [0; ORDER_BYTES];
    for (place, byte) in wire.iter_mut().zip(bytes) {
        *place = *byte;
    }
    if let Some(order) = channel::decode(&wire) {
        assert_eq!(channel::encode(&order), wire);
    }
    assert!(bytes.len() == ORDER_BYTES || channel::decode(bytes).is_none());
}

fn send_all(peer: &OwnedFd, mut messages: &[u8]) -> Vec<u8> {
    let mut sent = Vec::new();
    while let Some((&[passed, length], rest)) = messages.split_first_chunk() {
        let (message, rest) = rest.split_at(rest.len().min(usize::from(length)));
        messages = rest;
        if message.is_empty() || !send(peer, message, passed % (MOST_PASSED + 1)) {
            break;
        }
        sent.extend_from_slice(message);
    }
    sent
}

/// What is passed.
fn null() -> &'static fs::File {
    static NULL: OnceLock<fs::File> = OnceLock::new();
    NULL.get_or_init(|| fs::File::open("/dev/null").expect("/dev/null"))
}

/// sendmsg(2), as `sys` would never do it.
fn send(peer: &OwnedFd, message: &[u8], passed: u8) -> bool {
    let passed = usize::from(passed);
    let mut piece = libc::iovec {
        iov_base: message.as_ptr().cast_mut().cast(),
        iov_len: message.len(),
    };
    let mut control = [0_u64; 32];
    // SAFETY: all zeroes are a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    if passed > 0 {
        let bytes = u32::try_from(passed * size_of::<RawFd>()).expect("few");
        header.msg_control = control.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE is arithmetic.
        header.msg_controllen = unsafe { libc::CMSG_SPACE(bytes) } as usize;
        assert!(header.msg_controllen <= size_of_val(&control));
        // SAFETY: the buffer is zeroed, aligned, and holds one header with its descriptors.
        unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(bytes) as usize;
            let place = libc::CMSG_DATA(first).cast::<RawFd>();
            for index in 0..passed {
                place.add(index).write_unaligned(null().as_raw_fd());
            }
        }
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: every pointer in the message is to a live local of this frame.
    unsafe { libc::sendmsg(peer.as_raw_fd(), &raw const header, flags) >= 0 }
}

/// As the worker does: until the end or the first error. Each order was sent as it is.
fn hear_orders(own: BorrowedFd<'_>, sent: &[u8]) {
    let mut at = 0;
    while let Ok(Some(received)) = channel::receive_order(own) {
        let wire = channel::encode(&received.order);
        assert_eq!(sent.get(at..at + ORDER_BYTES), Some(&wire[..]));
        at += ORDER_BYTES;
        assert_eq!(
            matches!(received.order, Order::Serve(_)),
            received.client.is_some()
        );
        assert!(received.client.is_some() || received.spool.is_none());
    }
}

/// As the parent does.
fn hear_verdicts(own: BorrowedFd<'_>, sent: &[u8]) {
    let mut at = 0;
    loop {
        match channel::receive_verdict(own) {
            Ok(Incoming::Verdict(verdict, report, spool)) => {
                assert_eq!(sent.get(at), Some(&verdict.byte()));
                let of = sent.get(at + 1..at + 9);
                assert_eq!(of, Some(&report.handler.to_le_bytes()[..]));
                assert_eq!(Verdict::from_byte(verdict.byte()), Some(verdict));
                assert!(spool.is_some() || !verdict.needs_spool());
                at += VERDICT_BYTES;
            }
            Ok(Incoming::Nothing) => panic!("the peer is gone, and is not seen to be"),
            Ok(Incoming::Gone) | Err(_) => return,
        }
    }
}

/// How many descriptors are open, in every so many runs. (Compared within a run: the fuzzer opens some of
/// its own between two.)
fn open_descriptors() -> Option<usize> {
    thread_local! {
        static RUNS: Cell<u32> = const { Cell::new(0) };
    }
    let run = RUNS.replace(RUNS.get().wrapping_add(1));
    run.is_multiple_of(COUNT_EVERY).then(count_descriptors)
}

fn count_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
