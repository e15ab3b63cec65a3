//! The Unix socket: new workers find their parent there, and its user may ask and stop. Parent only.
//!
//! A conversation is one line in, one line out, from the same user or root. Refuses everybody else,
//! and to wait: what does not say its line in time is closed.

use super::Parent;
use super::lot::{Id, State};
use super::pool::Duty;
use super::token::Token;
use crate::sys::fd::AsFd;
use crate::sys::process::{self, Pid};
use crate::sys::socket::{self, Peer};
use crate::sys::time::Moment;
use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Conversations at a time.
const MOST: usize = 8;
/// Bytes of a line in.
const LINE_BYTES: usize = 256;
/// By when the line has to be here.
const TIMEOUT: Duration = Duration::from_secs(1);

/// One conversation.
struct Conversation {
    peer: OwnedFd,
    generation: u32,
    line: Vec<u8>,
    deadline: Moment,
}

/// All conversations.
#[derive(Default)]
pub(super) struct Control {
    places: [Option<Conversation>; MOST],
    generation: u32,
}

impl Control {
    /// When the first of them has run out of time.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.places.iter().flatten().map(|c| c.deadline).min()
    }

    fn get_mut(&mut self, id: Id) -> Option<&mut Conversation> {
        let place = self.places.get_mut(id.index as usize)?.as_mut();
        place.filter(|c| c.generation == id.generation)
    }

    fn add(&mut self, peer: OwnedFd, deadline: Moment) -> Option<Id> {
        let index = self.places.iter().position(Option::is_none)?;
        self.generation = (self.generation + 1) & 0x00ff_ffff;
        let generation = self.generation;
        *self.places.get_mut(index)? = Some(Conversation {
            peer,
            generation,
            line: Vec::with_capacity(LINE_BYTES),
            deadline,
        });
        Some(Id {
            index: u32::try_from(index).ok()?,
            generation,
        })
    }
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Status,
    Stop,
    Unknown,
}

fn command(line: &[u8]) -> Command {
    match line.trim_ascii() {
        b"status" => Command::Status,
        b"stop" => Command::Stop,
        _ => Command::Unknown,
    }
}

/// Whether somebody may talk to this server.
fn is_trusted(peer: Peer, own_uid: u32) -> bool {
    peer.uid == own_uid || peer.uid == 0
}

impl Parent {
    /// Somebody has connected to the Unix socket.
    pub(super) fn on_meeting(&mut self) {
        loop {
            match socket::accept(self.meeting.listener.as_fd()) {
                Ok((peer, _)) => self.meet(peer),
                Err(e) if e.is_would_block() => return,
                // A worker may be waiting there, and without workers nothing goes on.
                Err(e) if e.is_shortage() && (self.make_room() || self.house.use_reserve()) => {}
                Err(e) => return self.pause_listeners(&e.to_string()),
            }
        }
    }

    fn meet(&mut self, peer: OwnedFd) {
        let Ok(who) = socket::peer(peer.as_fd()) else {
            return;
        };
        if !is_trusted(who, process::effective_uid()) {
            self.log()
                .warn(format_args!("refused user {} on the Unix socket", who.uid));
            return;
        }
        let slot = Pid::new(who.pid).and_then(|pid| self.pool.find(pid));
        let expected = slot.filter(|slot| {
            self.pool
                .get(*slot)
                .is_some_and(|w| w.duty == Duty::Starting && w.channel.is_none())
        });
        if let Some(slot) = expected {
            return self.adopt(slot, peer);
        }
        let deadline = self.now.after(TIMEOUT);
        if let Some(id) = self.control.add(peer, deadline)
            && let Some(conversation) = self.control.get_mut(id)
        {
            let token = Token::Control(id).number();
            let peer = conversation.peer.as_fd();
            if self.readiness.watch(peer, token).is_err() {
                self.end_conversation(id);
            }
        }
    }

    /// A controller has said something.
    pub(super) fn on_control(&mut self, id: Id) {
        let Some(conversation) = self.control.get_mut(id) else {
            return;
        };
        let mut bytes = [0; LINE_BYTES];
        let said = match socket::receive(conversation.peer.as_fd(), &mut bytes) {
            Err(e) if e.is_would_block() => return,
            Ok(n) if n > 0 => bytes.get(..n).unwrap_or_default(),
            _ => return self.end_conversation(id),
        };
        conversation.line.extend_from_slice(said);
        if conversation.line.len() > LINE_BYTES {
            return self.end_conversation(id);
        }
        let line = conversation.line.split(|b| *b == b'\n');
        if let Some(line) = line.clone().next()
            && line.len() < conversation.line.len()
        {
            let asked = command(line);
            self.answer(id, &asked);
        }
    }

    fn answer(&mut self, id: Id, asked: &Command) {
        let text = match asked {
            Command::Status => self.status(),
            Command::Stop => String::from("ok stopping"),
            Command::Unknown => String::from("error unknown command"),
        };
        if let Some(conversation) = self.control.get_mut(id) {
            let line = text + "\n";
            // An empty socket holds a line; a controller that is gone needs none.
            let _ = socket::send(conversation.peer.as_fd(), line.as_bytes(), false);
        }
        self.end_conversation(id);
        if *asked == Command::Stop {
            self.drain();
        }
    }

    fn end_conversation(&mut self, id: Id) {
        if let Some(conversation) = self.control.get_mut(id) {
            let _ = self.readiness.forget(conversation.peer.as_fd());
        }
        if let Some(place) = self.control.places.get_mut(id.index as usize) {
            *place = None;
        }
    }

    /// Ends conversations that have run out of time.
    pub(super) fn end_late_conversations(&mut self) {
        let now = self.now;
        let late: Vec<Id> = (0..)
            .zip(&self.control.places)
            .filter_map(|(index, place)| {
                let conversation = place.as_ref().filter(|c| c.deadline <= now)?;
                Some(Id {
                    index,
                    generation: conversation.generation,
                })
            })
            .collect();
        for id in late {
            self.end_conversation(id);
        }
    }

    /// One line of key=value.
    fn status(&self) -> String {
        let board = &self.estate.scoreboard;
        let sum = |of: fn(&crate::scoreboard::Entry<'_>) -> u64| -> u64 {
            board.workers().map(|entry| of(&entry)).sum()
        };
        let mut line = format!(
            "state={} pid={} uptime={} workers={} ready={} busy={} connections={} accepted={}",
            self.state.name(),
            process::pid(),
            self.now.since(self.started).as_secs(),
            self.pool.living(),
            self.pool.ready(),
            self.pool.busy(),
            self.lot.len(),
            self.accepted,
        );
        for state in State::ALL {
            // Writing to a String cannot fail.
            let _ = write!(line, " {}={}", state.name(), self.lot.count(state));
        }
        let _ = write!(
            line,
            " requests={} spooled={} client_waits={} longest_hold_us={}",
            sum(|entry| entry.requests()),
            board.spooled_total().bytes,
            sum(|entry| entry.client_waits()),
            board
                .workers()
                .map(|entry| entry.longest_hold_us())
                .max()
                .unwrap_or(0),
        );
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_command_or_unknown() {
        for (line, expected) in [
            (&b"status"[..], Command::Status),
            (b" stop \r", Command::Stop),
            (b"", Command::Unknown),
            (b"STATUS", Command::Unknown),
            (b"\xff", Command::Unknown),
        ] {
            assert_eq!(command(line), expected);
        }
    }

    #[test]
    fn only_the_same_user_and_root_are_heard() {
        for (uid, expected) in [(1000, true), (0, true), (1001, false)] {
            assert_eq!(is_trusted(Peer { pid: 1, uid }, 1000), expected);
        }
    }

    #[test]
    fn no_more_than_eight_talk_and_places_are_used_again() {
        let mut control = Control::default();
        let pair = || socket::pair().unwrap().0;
        let ids: Vec<Id> = (0..MOST)
            .map(|_| control.add(pair(), Moment::default()).unwrap())
            .collect();
        assert!(control.add(pair(), Moment::default()).is_none());
        control.places[3] = None;
        let again = control.add(pair(), Moment::from_micros(1)).unwrap();
        assert_eq!(again.index, 3);
        assert!(control.get_mut(ids[3]).is_none());
        assert_eq!(control.next_deadline(), Some(Moment::default()));
    }
}
