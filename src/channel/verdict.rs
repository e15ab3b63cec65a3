//! What a worker says, and how it goes over the channel.

use super::{BAD_MESSAGE, Reader, Writer};
use crate::scoreboard::{Report, Slot};
use crate::sys::fd::AsFd;
use crate::sys::{Errno, Result};
use crate::sys::{passing, socket};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Bytes of a verdict on the wire.
pub const VERDICT_BYTES: usize = 30;

/// Worker → parent: this becomes of the client. The worker is free, unless [`Report::is_handler_running`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first message of a new worker, which says that this is its channel. It is not ready yet.
    Born,
    /// Free, with no client: at the start, and when a handler has ended that outlived its response.
    Ready,
    /// Park it as idle.
    Keep,
    /// Park it until more of the head has arrived. May bring a spool.
    Head,
    /// Park it until more of the body has arrived. Brings a spool.
    Body,
    /// Park it until it takes more of the response, then keep it. Brings a spool.
    DrainKeep,
    /// Park it until it takes more of the response, then close it. Brings a spool.
    DrainClose,
    /// Close it.
    Close,
    /// Discard what it still sends until its FIN, then close it.
    Linger,
    /// Its handler is at `max-concurrent`: hand it over again when one of those has ended.
    Retry,
    /// There is no room for (more of) its body: hand it over again when there is. May bring a spool.
    Stall,
}

impl Verdict {
    const ALL: [(Self, u8); 11] = [
        (Self::Born, b'N'),
        (Self::Ready, b'R'),
        (Self::Keep, b'K'),
        (Self::Head, b'H'),
        (Self::Body, b'B'),
        (Self::DrainKeep, b'W'),
        (Self::DrainClose, b'w'),
        (Self::Close, b'C'),
        (Self::Linger, b'L'),
        (Self::Retry, b'Q'),
        (Self::Stall, b'S'),
    ];

    /// The byte on the wire.
    pub fn byte(self) -> u8 {
        Self::ALL
            .iter()
            .find(|(v, _)| *v == self)
            .map_or(b'C', |(_, b)| *b)
    }

    /// From the byte on the wire.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, b)| *b == byte).map(|(v, _)| *v)
    }

    /// This verdict makes no sense without a spool.
    pub fn needs_spool(self) -> bool {
        matches!(self, Self::Body | Self::DrainKeep | Self::DrainClose)
    }
}

/// Worker: says its verdict.
pub fn send_verdict(
    channel: BorrowedFd<'_>,
    verdict: Verdict,
    report: Report,
    spool: Option<&OwnedFd>,
) -> Result<()> {
    let mut writer = Writer {
        bytes: [0; VERDICT_BYTES],
        at: 0,
    };
    writer.put(&[verdict.byte()]);
    writer.put(&report.handler.to_le_bytes());
    writer.put(&report.answered.to_le_bytes());
    writer.put(&report.began.as_micros().to_le_bytes());
    writer.put(&report.ended.as_micros().to_le_bytes());
    writer.put(&[u8::from(report.is_handler_running) | u8::from(report.was_redirected) << 1]);
    match spool {
        Some(spool) => passing::send_record(channel, &writer.bytes, &[spool.as_fd()]),
        None => passing::send_record(channel, &writer.bytes, &[]),
    }
    .map(drop)
}

/// Worker: says which slot this channel belongs to. The secret proves it: only forks of the parent know it.
pub(crate) fn send_birth(channel: BorrowedFd<'_>, secret: u64, slot: Slot) -> Result<()> {
    let report = Report {
        handler: secret,
        answered: u32::try_from(slot.0).unwrap_or(u32::MAX),
        ..Report::default()
    };
    send_verdict(channel, Verdict::Born, report, None)
}

/// Parent: the slot of the worker that has connected, if the first message of `peer` is a birth with the
/// right secret. Any other message stays in the socket.
pub fn receive_birth(peer: BorrowedFd<'_>, secret: u64) -> Option<Slot> {
    let mut letter = [0];
    if socket::peek(peer, &mut letter) != Ok(1) || letter != [Verdict::Born.byte()] {
        return None;
    }
    match receive_verdict(peer) {
        Ok(Incoming::Verdict(Verdict::Born, report, None)) if report.handler == secret => {
            Some(Slot(report.answered as usize))
        }
        _ => None,
    }
}

/// What comes in from a worker.
#[derive(Debug)]
pub enum Incoming {
    /// A verdict, what it is about, and perhaps a spool.
    Verdict(Verdict, Report, Option<OwnedFd>),
    /// Nothing yet.
    Nothing,
    /// The worker is gone.
    Gone,
}

/// Parent: takes one verdict if there is one. Half of one, an unknown letter, or one without its
/// spool is an error: that worker can no longer be trusted.
pub fn receive_verdict(channel: BorrowedFd<'_>) -> Result<Incoming> {
    let mut bytes = [0; VERDICT_BYTES];
    let record = match passing::receive_record(channel, &mut bytes) {
        Ok(record) => record,
        Err(e) if e.is_would_block() => return Ok(Incoming::Nothing),
        Err(e) if e.errno == Errno::CONNRESET => return Ok(Incoming::Gone),
        Err(e) => return Err(e),
    };
    let [spool, surplus] = record.passed;
    match record.len {
        0 => Ok(Incoming::Gone),
        VERDICT_BYTES if surplus.is_none() => {
            let (verdict, report) = decode_verdict(&bytes).ok_or(BAD_MESSAGE)?;
            if verdict.needs_spool() && spool.is_none() {
                return Err(BAD_MESSAGE);
            }
            Ok(Incoming::Verdict(verdict, report, spool))
        }
        _ => Err(BAD_MESSAGE),
    }
}

fn decode_verdict(bytes: &[u8]) -> Option<(Verdict, Report)> {
    let mut reader = Reader(bytes);
    let verdict = Verdict::from_byte(reader.byte()?)?;
    let mut report = Report {
        handler: u64::from_le_bytes(reader.take()?),
        answered: u32::from_le_bytes(reader.take()?),
        began: reader.moment()?,
        ended: reader.moment()?,
        ..Report::default()
    };
    let flags = reader.byte()?;
    report.is_handler_running = flags & 1 != 0;
    report.was_redirected = flags & 2 != 0;
    (flags < 4).then_some((verdict, report))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{socket, time::Moment};

    #[test]
    fn every_verdict_survives_the_wire_and_no_other_byte_is_one() {
        let known = Verdict::ALL.map(|(verdict, byte)| {
            assert_eq!(Verdict::from_byte(verdict.byte()), Some(verdict));
            byte
        });
        for byte in 0..=255 {
            assert_eq!(Verdict::from_byte(byte).is_some(), known.contains(&byte));
        }
    }

    #[test]
    fn a_worker_that_says_nonsense_is_an_error() {
        for (letter, len) in [
            (b'x', VERDICT_BYTES),
            (b'K', 1),
            (b'K', VERDICT_BYTES - 1),
            (b'B', VERDICT_BYTES),
            (b'W', VERDICT_BYTES),
        ] {
            let words = vec![letter; len];
            let (parent, worker) = socket::pair().unwrap();
            passing::send_record(worker.as_fd(), &words, &[]).unwrap();
            assert!(receive_verdict(parent.as_fd()).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_worker_is_known_by_what_it_was_born_with() {
        let (parent, worker) = socket::pair().unwrap();
        send_birth(worker.as_fd(), 7, Slot(3)).unwrap();
        send_verdict(worker.as_fd(), Verdict::Ready, Report::default(), None).unwrap();
        assert_eq!(receive_birth(parent.as_fd(), 7), Some(Slot(3)));
        let said = receive_verdict(parent.as_fd()).unwrap();
        assert!(matches!(said, Incoming::Verdict(Verdict::Ready, _, None)));

        send_birth(worker.as_fd(), 8, Slot(3)).unwrap();
        assert_eq!(receive_birth(parent.as_fd(), 7), None);
        for words in [&b"stop\n"[..], b"N", b""] {
            let (parent, other) = socket::pair().unwrap();
            socket::send(other.as_fd(), words).unwrap();
            assert_eq!(receive_birth(parent.as_fd(), 7), None, "{words:?}");
        }
        let (parent, other) = socket::pair().unwrap();
        socket::send(other.as_fd(), b"stop\n").unwrap();
        assert_eq!(receive_birth(parent.as_fd(), 7), None);
        let mut line = [0; 8];
        assert_eq!(
            socket::receive(parent.as_fd(), &mut line),
            Ok(5),
            "it stays"
        );
    }

    #[test]
    fn verdicts_that_wait_together_are_taken_one_by_one() {
        let (parent, worker) = socket::pair().unwrap();
        let report = |handler: u64| Report {
            handler,
            answered: u32::MAX,
            began: Moment::from_micros(3),
            ended: Moment::from_micros(u64::MAX),
            is_handler_running: handler == 7,
            was_redirected: handler != 7,
        };
        let all = [
            (Verdict::Keep, 7, None),
            (Verdict::Body, 8, Some(&worker)),
            (Verdict::Retry, u64::MAX, None),
        ];
        for (verdict, handler, spool) in all {
            send_verdict(worker.as_fd(), verdict, report(handler), spool).unwrap();
        }
        for (verdict, handler, spool) in all {
            let Incoming::Verdict(said, of, came) = receive_verdict(parent.as_fd()).unwrap() else {
                panic!("nothing was said");
            };
            assert_eq!((said, of), (verdict, report(handler)));
            assert_eq!(came.is_some(), spool.is_some());
        }
        assert!(matches!(
            receive_verdict(parent.as_fd()),
            Ok(Incoming::Nothing)
        ));
    }
}
