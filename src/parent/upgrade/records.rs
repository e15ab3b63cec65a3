//! The records of an upgrade: the messages between two servers. Pure.
//!
//! They have a fixed size, and every field is checked: what arrives is a record or an error. A server that speaks another
//! version is known by its first record.

use crate::channel::{self, ORDER_BYTES, Order};
use crate::parent::connections::State;
pub(crate) use crate::parent::connections::Transfer;
pub(crate) use crate::parent::listeners::Wish;
use crate::sys::process::Pid;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Bytes of a record.
pub const RECORD_BYTES: usize = 128;

/// What a first record begins with; the last byte is the version of everything that follows.
const HELLO: &[u8; 9] = b"caffeine\x05";

/// Old server → new server, but for the last two, which go the other way, and a client that goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// First: how many listeners follow, and how many clients have ever been accepted. Brings the pid
    /// file and the control socket.
    Hello(u16, u64),
    /// Brings a listener: its number and what it was asked for.
    Listener(u8, Option<Wish>),
    /// The new server is in charge.
    Go,
    /// Brings a client, and its spool if it has one.
    Client(Transfer),
    /// Brings the line to the old server's own predecessor, for the time when the old one has gone.
    Before,
    /// The new server has left everything to the server with this process id, or to none after all.
    Follower(Option<Pid>),
    /// The new server was told to stop.
    Stopping,
}

/// The wire form. A path that is too long is cut, and is refused by `decode`; no socket can have such a path.
#[cold]
pub fn encode(record: &Record) -> [u8; RECORD_BYTES] {
    let mut bytes = Vec::with_capacity(RECORD_BYTES);
    match record {
        Record::Hello(listeners, accepted) => {
            bytes.extend_from_slice(HELLO);
            bytes.extend_from_slice(&listeners.to_le_bytes());
            bytes.extend_from_slice(&accepted.to_le_bytes());
        }
        Record::Listener(index, wish) => {
            let (kind, text) = match wish {
                None => (b'g', Vec::new()),
                Some(Wish::Everywhere(port)) => (b'e', port.to_string().into_bytes()),
                Some(Wish::Tcp(address)) => (b't', address.to_string().into_bytes()),
                Some(Wish::Unix(path)) => (b'u', path.as_os_str().as_bytes().to_vec()),
            };
            let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
            bytes.extend_from_slice(&[b'l', *index, kind, length]);
            bytes.extend_from_slice(&text);
        }
        Record::Go => bytes.push(b'g'),
        Record::Before => bytes.push(b'b'),
        Record::Follower(pid) => {
            bytes.push(b'f');
            bytes.extend_from_slice(&pid.map_or(0, Pid::raw).to_le_bytes());
        }
        Record::Stopping => bytes.push(b's'),
        Record::Client(transfer) => {
            bytes.extend_from_slice(&[
                b'p',
                transfer.state as u8,
                transfer.visits,
                u8::from(transfer.has_lost_worker),
                u8::from(transfer.was_held),
                u8::from(transfer.is_copied),
            ]);
            bytes.extend_from_slice(&transfer.mark.to_le_bytes());
            bytes.extend_from_slice(&channel::encode(&Order::Serve(transfer.serve)));
        }
    }
    let mut record = [0; RECORD_BYTES];
    for (place, byte) in record.iter_mut().zip(bytes) {
        *place = byte;
    }
    record
}

/// From the wire form; `None` for anything that `encode` would not have written.
#[cold]
pub fn decode(bytes: &[u8]) -> Option<Record> {
    if bytes.len() != RECORD_BYTES {
        return None;
    }
    let (first, rest) = bytes.split_first()?;
    let record = match first {
        b'c' => {
            let rest = bytes.strip_prefix(HELLO)?;
            let (listeners, rest) = rest.split_first_chunk()?;
            let accepted = rest.first_chunk()?;
            let listeners = u16::from_le_bytes(*listeners);
            Record::Hello(listeners, u64::from_le_bytes(*accepted))
        }
        b'l' => {
            let ([index, kind, length], rest) = rest.split_first_chunk()?;
            let text = rest.get(..usize::from(*length))?;
            Record::Listener(*index, decode_wish(*kind, text)?)
        }
        b'g' => Record::Go,
        b'b' => Record::Before,
        b'f' => Record::Follower(Pid::new(i32::from_le_bytes(*rest.first_chunk()?))),
        b's' => Record::Stopping,
        b'p' => Record::Client(decode_client(rest)?),
        _ => return None,
    };
    // An address in another form, or something behind a record, is of another version.
    (encode(&record) == bytes).then_some(record)
}

fn decode_wish(kind: u8, text: &[u8]) -> Option<Option<Wish>> {
    let words = || std::str::from_utf8(text).ok();
    Some(match kind {
        b'g' if text.is_empty() => None,
        b'e' => Some(Wish::Everywhere(words()?.parse().ok()?)),
        b't' => Some(Wish::Tcp(words()?.parse().ok()?)),
        b'u' if text.first() == Some(&b'/') && !text.contains(&0) => {
            Some(Wish::Unix(PathBuf::from(OsStr::from_bytes(text))))
        }
        _ => return None,
    })
}

fn decode_client(bytes: &[u8]) -> Option<Transfer> {
    let ([state, visits, lost, held, copied], bytes) = bytes.split_first_chunk()?;
    let (mark, bytes) = bytes.split_first_chunk()?;
    let Order::Serve(serve) = channel::decode(bytes.get(..ORDER_BYTES)?)? else {
        return None;
    };
    let flag = |byte: u8| (byte < 2).then_some(byte == 1);
    let transfer = Transfer {
        state: *State::ALL.get(usize::from(*state))?,
        serve,
        mark: u64::from_le_bytes(*mark),
        visits: *visits,
        has_lost_worker: flag(*lost)?,
        was_held: flag(*held)?,
        is_copied: flag(*copied)?,
    };
    transfer.is_possible().then_some(transfer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Serve, Stage};
    use crate::scoreboard::Ticket;
    use crate::sys::time::Moment;

    fn client(state: State, stage: Stage) -> Record {
        Record::Client(Transfer {
            state,
            serve: Serve {
                connection: u64::MAX - 1,
                stage,
                is_head_resumed: false,
                is_last: false,
                listener: 255,
                requests: 17,
                head_begun: Moment::from_micros(2),
                progress: Moment::from_micros(u64::MAX),
                ticket: Ticket::new(0),
                woken: Moment::from_micros(3),
                peer: Some("[ffff::1]:65535".parse().unwrap()),
            },
            mark: u64::MAX,
            visits: 9,
            has_lost_worker: true,
            was_held: false,
            is_copied: true,
        })
    }

    fn records() -> Vec<Record> {
        let longest = format!("/{}", "x".repeat(107));
        vec![
            Record::Hello(300, u64::MAX),
            Record::Listener(0, None),
            Record::Listener(255, Some(Wish::Everywhere(0))),
            Record::Listener(1, Some(Wish::Tcp("[::1]:65535".parse().unwrap()))),
            Record::Listener(2, Some(Wish::Unix(PathBuf::from(longest)))),
            Record::Go,
            Record::Before,
            Record::Follower(None),
            Record::Follower(Pid::new(i32::MAX)),
            Record::Stopping,
            client(State::Idle, Stage::Head),
            client(State::Drain, Stage::DrainClose),
            client(State::Held, Stage::Retry),
        ]
    }

    #[test]
    fn every_record_survives_the_wire() {
        for record in records() {
            assert_eq!(decode(&encode(&record)), Some(record));
        }
    }

    #[test]
    fn what_encode_would_not_write_is_no_record() {
        for record in records() {
            let good = encode(&record);
            for len in 0..RECORD_BYTES {
                assert_eq!(decode(&good[..len]), None, "{record:?} cut at {len}");
            }
            let mut bad = good;
            bad[RECORD_BYTES - 1] = 1;
            assert_eq!(decode(&bad), None, "{record:?} and more");
            // Whatever one byte says: a record that is written like that, or none.
            for place in 0..RECORD_BYTES {
                for byte in [0, 1, 2, 0x30, 0x7f, 0x80, 0xff] {
                    let mut bytes = good;
                    bytes[place] = byte;
                    if let Some(read) = decode(&bytes) {
                        assert_eq!(encode(&read), bytes, "{read:?}");
                    }
                }
            }
        }
        for (state, stage) in [
            (State::Serving, Stage::Head),
            (State::Idle, Stage::Body),
            (State::Body, Stage::Head),
            (State::Drain, Stage::Retry),
        ] {
            assert_eq!(decode(&encode(&client(state, stage))), None, "{state:?}");
        }
    }

    /// Found by fuzzing: `[::0]:80` was read as `[::]:80`, which is written another way.
    #[test]
    fn an_address_in_another_form_is_no_record() {
        for (kind, text) in [
            (b't', "[::0]:80"),
            (b't', "[::1]:080"),
            (b't', "[::FFFF]:80"),
            (b'e', "080"),
            (b'e', "+80"),
        ] {
            let mut bytes = [0; RECORD_BYTES];
            let words = [
                &[b'l', 0, kind, u8::try_from(text.len()).unwrap()],
                text.as_bytes(),
            ]
            .concat();
            bytes[..words.len()].copy_from_slice(&words);
            assert_eq!(decode(&bytes), None, "{text}");
        }
    }

    #[test]
    fn another_version_says_so_in_its_first_record() {
        let mut hello = encode(&Record::Hello(1, 2));
        hello[8] += 1;
        assert_eq!(decode(&hello), None);
    }
}
