//! The messages between parent and worker: an order with the client's descriptor, and a verdict.
//!
//! Fixed size, every field checked: what arrives is an order or an error, never a guess. Sends and
//! receives; decides nothing.

mod verdict;

pub use verdict::receive_birth;
pub(crate) use verdict::send_birth;
pub use verdict::{Incoming, VERDICT_BYTES, Verdict, receive_verdict, send_verdict};

use crate::scoreboard::Ticket;
use crate::sys::passing::{self, ReceivedRecord};
use crate::sys::time::Moment;
use crate::sys::{Errno, Error, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Bytes of an order on the wire.
pub const ORDER_BYTES: usize = 72;

/// Parent → worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Serve the client that comes along.
    Serve(Serve),
    /// Exit: the parent has no more work for this worker.
    Retire,
    /// Open the log file again.
    ReopenLog,
    /// The parent has taken back the client that this worker rests with. The worker has nothing else to do: that
    /// something has come ends its rest, and with the rest it closes its copy of the client.
    Release,
}

/// How far a connection has come when it is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A head is expected. A spool, if one comes along, holds what was already read of it.
    Head,
    /// A body is expected; the spool holds head, body so far and the decoder's state.
    Body,
    /// The response is to be sent on from the spool; then the connection is kept.
    DrainKeep,
    /// The response is to be sent on from the spool; then the connection is closed.
    DrainClose,
    /// A request whose head has been looked at, and which has waited: for a place under its handler's
    /// `max-concurrent`, or for room for its body. The spool, if any, holds what is here of the body.
    Retry,
}

/// What the parent knows of the client it hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serve {
    /// Names this order: the worker notes in its slot which order it has begun.
    pub ticket: Ticket,
    /// Connection id, for the log.
    pub connection: u64,
    /// How far it has come.
    pub stage: Stage,
    /// It has been dispatched for this head before, without success.
    pub is_head_resumed: bool,
    /// The server is about to stop: answer with `Connection: close`.
    pub is_last: bool,
    /// Which listener it came from.
    pub listener: u8,
    /// Requests already answered on this connection.
    pub requests: u32,
    /// When the client began to owe this head (accept, or the first byte after idling).
    pub head_begun: Moment,
    /// When the body or the response last made progress.
    pub progress: Moment,
    /// Since when it has waited for a worker.
    pub woken: Moment,
    /// The client's address; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
}

const BAD_MESSAGE: Error = Error {
    call: &"recvmsg",
    errno: Errno::PROTO,
};

/// Parent: sends an order, with the client and its spool. The order either goes whole or not at
/// all: a worker has at most a few unread ones, far less than a socket buffer.
pub fn send_order(
    channel: BorrowedFd<'_>,
    order: &Order,
    client: Option<BorrowedFd<'_>>,
    spool: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let bytes = encode(order);
    let sent = match (client, spool) {
        (Some(client), Some(spool)) => passing::send_record(channel, &bytes, &[client, spool]),
        (Some(client), None) => passing::send_record(channel, &bytes, &[client]),
        _ => passing::send_record(channel, &bytes, &[]),
    }?;
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(Error {
            call: &"sendmsg",
            errno: Errno::MSGSIZE,
        })
    }
}

/// An order with the descriptors that came with it.
#[derive(Debug)]
pub struct Received {
    /// What is to be done.
    pub order: Order,
    /// The client to serve.
    pub client: Option<OwnedFd>,
    /// Its spool.
    pub spool: Option<OwnedFd>,
}

/// Worker: waits for an order. `None`: the parent is gone.
pub fn receive_order(channel: BorrowedFd<'_>) -> Result<Option<Received>> {
    let mut bytes = [0; ORDER_BYTES];
    let ReceivedRecord {
        len,
        passed: [client, spool],
    } = passing::await_record(channel, &mut bytes)?;
    if len == 0 {
        return Ok(None);
    }
    let order = decode(bytes.get(..len).unwrap_or_default()).ok_or(BAD_MESSAGE)?;
    if matches!(order, Order::Serve(_)) != client.is_some() {
        return Err(BAD_MESSAGE);
    }
    Ok(Some(Received {
        order,
        client,
        spool,
    }))
}

/// Writes the fields of a message one behind the other.
struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    fn put(&mut self, field: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(self.at).zip(field) {
            *place = *byte;
        }
        self.at += field.len();
    }
}

/// Reads the fields of a message in the order in which they were written.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn moment(&mut self) -> Option<Moment> {
        self.take()
            .map(|bytes| Moment::from_micros(u64::from_le_bytes(bytes)))
    }
}

const STAGES: [(Stage, u8); 5] = [
    (Stage::Head, 0),
    (Stage::Body, 1),
    (Stage::DrainKeep, 2),
    (Stage::DrainClose, 3),
    (Stage::Retry, 4),
];

/// The wire form of an order.
pub fn encode(order: &Order) -> [u8; ORDER_BYTES] {
    let mut writer = Writer {
        bytes: [0; ORDER_BYTES],
        at: 0,
    };
    match order {
        Order::Retire => writer.put(b"r"),
        Order::ReopenLog => writer.put(b"l"),
        Order::Release => writer.put(b"f"),
        Order::Serve(serve) => {
            writer.put(b"s");
            let stage = STAGES
                .iter()
                .find(|(s, _)| *s == serve.stage)
                .map_or(0, |(_, n)| *n);
            writer.put(&[
                stage,
                u8::from(serve.is_head_resumed),
                u8::from(serve.is_last),
                serve.listener,
            ]);
            writer.put(&serve.ticket.number().to_le_bytes());
            writer.put(&serve.connection.to_le_bytes());
            writer.put(&serve.requests.to_le_bytes());
            for moment in [serve.head_begun, serve.progress, serve.woken] {
                writer.put(&moment.as_micros().to_le_bytes());
            }
            encode_peer(&mut writer, serve.peer);
        }
    }
    writer.bytes
}

fn encode_peer(writer: &mut Writer<ORDER_BYTES>, peer: Option<SocketAddr>) {
    match peer {
        None => writer.put(&[0]),
        Some(SocketAddr::V4(v4)) => {
            writer.put(&[4]);
            writer.put(&v4.ip().octets());
            writer.put(&v4.port().to_le_bytes());
        }
        Some(SocketAddr::V6(v6)) => {
            writer.put(&[6]);
            writer.put(&v6.ip().octets());
            writer.put(&v6.port().to_le_bytes());
        }
    }
}

/// From the wire form; `None` for anything that `encode` would not have written.
pub fn decode(bytes: &[u8]) -> Option<Order> {
    if bytes.len() != ORDER_BYTES {
        return None;
    }
    let mut reader = Reader(bytes);
    let order = match reader.byte()? {
        b'r' => Order::Retire,
        b'l' => Order::ReopenLog,
        b'f' => Order::Release,
        b's' => Order::Serve(decode_serve(&mut reader)?),
        _ => return None,
    };
    reader.0.iter().all(|&byte| byte == 0).then_some(order)
}

fn decode_serve(reader: &mut Reader<'_>) -> Option<Serve> {
    let stage = reader.byte()?;
    Some(Serve {
        stage: STAGES.iter().find(|(_, n)| *n == stage).map(|(s, _)| *s)?,
        is_head_resumed: reader.flag()?,
        is_last: reader.flag()?,
        listener: reader.byte()?,
        ticket: Ticket::from_number(u64::from_le_bytes(reader.take()?))?,
        connection: u64::from_le_bytes(reader.take()?),
        requests: u32::from_le_bytes(reader.take()?),
        head_begun: reader.moment()?,
        progress: reader.moment()?,
        woken: reader.moment()?,
        peer: match reader.byte()? {
            0 => None,
            4 => Some(decode_address(
                Ipv4Addr::from(reader.take::<4>()?).into(),
                reader,
            )?),
            6 => Some(decode_address(
                Ipv6Addr::from(reader.take::<16>()?).into(),
                reader,
            )?),
            _ => return None,
        },
    })
}

fn decode_address(ip: IpAddr, reader: &mut Reader<'_>) -> Option<SocketAddr> {
    Some(SocketAddr::new(ip, u16::from_le_bytes(reader.take()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{fd::AsFd, socket};

    fn serve(peer: Option<&str>) -> Order {
        Order::Serve(Serve {
            ticket: Ticket::new(11),
            connection: 0x0102_0304_0506_0708,
            stage: Stage::Body,
            is_head_resumed: true,
            is_last: true,
            listener: 3,
            requests: 17,
            head_begun: Moment::from_micros(u64::MAX),
            progress: Moment::from_micros(9),
            woken: Moment::from_micros(8),
            peer: peer.map(|p| p.parse().unwrap()),
        })
    }

    #[test]
    fn every_order_survives_the_wire() {
        for order in [
            Order::Retire,
            Order::ReopenLog,
            Order::Release,
            serve(None),
            serve(Some("127.0.0.1:80")),
            serve(Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")),
        ] {
            assert_eq!(decode(&encode(&order)), Some(order));
        }
    }

    #[test]
    fn what_encode_would_not_write_is_no_order() {
        let good = encode(&serve(Some("127.0.0.1:80")));
        for len in 0..ORDER_BYTES {
            assert_eq!(decode(&good[..len]), None, "cut at {len}");
        }
        for place in [0, 1, 2, 3, 49, ORDER_BYTES - 1] {
            let mut bad = good;
            bad[place] = 0xee;
            assert_eq!(decode(&bad), None, "byte {place}");
        }
    }

    #[test]
    fn an_order_to_serve_without_a_client_is_an_error() {
        let (parent, worker) = socket::pair().unwrap();
        send_order(parent.as_fd(), &serve(None), None, None).unwrap();
        assert_eq!(receive_order(worker.as_fd()).unwrap_err(), BAD_MESSAGE);
    }

    #[test]
    fn the_end_of_either_side_is_seen() {
        let (parent, worker) = socket::pair().unwrap();
        assert!(matches!(
            receive_verdict(parent.as_fd()),
            Ok(Incoming::Nothing)
        ));
        drop(worker);
        assert!(matches!(
            receive_verdict(parent.as_fd()),
            Ok(Incoming::Gone)
        ));
        let (parent, worker) = socket::pair().unwrap();
        drop(parent);
        assert!(receive_order(worker.as_fd()).unwrap().is_none());
    }
}
