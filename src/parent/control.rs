//! The Unix socket: new workers find their parent there, and its user may ask and stop. Parent only.
//!
//! A conversation is one line in, one line out (`status`: and one per worker), from the same user or
//! root. What changes the server takes a proof: the controller passes an open descriptor of the server's
//! pid file (SCM_RIGHTS), and device and inode are compared. A handler in a sandbox has none, however it
//! connects and whatever becomes of it. Refuses everybody else, and to wait: what does not say its line
//! in time is closed. Many of the same user may hold every place, so a newcomer takes the place of who has said
//! nothing for longest, and nobody but root that of root.

use super::Parent;
use super::house::Burst;
use super::life::LEAVE_GRACE;
use super::lot::Id;
use super::pool::Duty;
use super::token::Token;
use crate::channel;
use crate::scoreboard::Slot;
use crate::sys::fd::AsFd;
use crate::sys::passing::{hang_up, receive_record};
use crate::sys::process::{self, Pid};
use crate::sys::socket::{self, Peer};
use crate::sys::teardown::reset_on_close;
use crate::sys::time::Moment;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Conversations at a time.
const MOST: usize = 8;
/// Bytes of a line in.
const LINE_BYTES: usize = 256;
/// By when the line has to be here.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Who connects in one turn; clients have their turn too.
const ACCEPT_BATCH: usize = 64;

/// One conversation.
struct Conversation {
    peer: OwnedFd,
    generation: u32,
    line: Vec<u8>,
    deadline: Moment,
    peer_is: Peer,
    /// A descriptor of the pid file came along.
    is_proven: bool,
}

/// The place of a newcomer, of places with what holds them (by root? until when?): a free one, else
/// that of the oldest. `None`: root has all.
fn place_for(places: &[Option<(bool, Moment)>], is_root: bool) -> Option<usize> {
    let yields = |place: &Option<(bool, Moment)>| match place {
        None => Some((false, Moment::default())),
        Some(holder) => (is_root || !holder.0).then_some(*holder),
    };
    let candidates = places.iter().map(yields).enumerate();
    let ranked = candidates.filter_map(|(index, rank)| Some((rank?, index)));
    ranked.min().map(|(_, index)| index)
}

/// All conversations.
#[derive(Default)]
pub(super) struct Control {
    places: [Option<Conversation>; MOST],
    generation: u32,
    /// Another user has connected.
    strangers: Burst,
    /// Somebody of this user had no proof.
    unproven: Burst,
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

    /// Where a newcomer will be; what is there has to be ended before.
    fn next_place(&self, is_root: bool) -> Option<Id> {
        let holders = self.places.each_ref();
        let holders = holders.map(|place| place.as_ref().map(|c| (c.peer_is.uid == 0, c.deadline)));
        let index = place_for(&holders, is_root)?;
        let holder = self.places.get(index)?.as_ref();
        Some(Id {
            index: u32::try_from(index).ok()?,
            generation: holder.map_or(0, |c| c.generation),
        })
    }

    fn add(&mut self, peer: OwnedFd, place: Id, peer_is: Peer, deadline: Moment) -> Option<Id> {
        self.generation = (self.generation + 1) & 0x00ff_ffff;
        let generation = self.generation;
        *self.places.get_mut(place.index as usize)? = Some(Conversation {
            peer,
            generation,
            line: Vec::with_capacity(LINE_BYTES),
            deadline,
            peer_is,
            is_proven: false,
        });
        Some(Id {
            generation,
            ..place
        })
    }
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Status,
    Reload,
    Stop,
    Unknown,
}

fn command(line: &[u8]) -> Command {
    match line.trim_ascii() {
        b"status" => Command::Status,
        b"reload" => Command::Reload,
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
        for _ in 0..ACCEPT_BATCH {
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
            if self.control.strangers.is_new(self.now) {
                self.log()
                    .warn(format_args!("refused user {} on the Unix socket", who.uid));
            }
            return hang_up(peer);
        }
        let slot = Pid::new(who.pid).and_then(|pid| self.pool.find(pid));
        if let Some(slot) = slot.filter(|slot| self.is_expected(*slot)) {
            return self.adopt(slot, peer);
        }
        self.converse(peer, who);
    }

    /// Whether a worker has been forked that has not connected.
    fn is_expected(&self, slot: Slot) -> bool {
        let worker = self.pool.get(slot);
        worker.is_some_and(|w| w.duty == Duty::Starting && w.channel.is_none())
    }

    /// Somebody wants to say a line. Mostly it is here already.
    fn converse(&mut self, peer: OwnedFd, who: Peer) {
        let Some(place) = self.control.next_place(who.uid == 0) else {
            return hang_up(peer);
        };
        self.end_conversation(place);
        let deadline = self.now.after(TIMEOUT);
        let Some(id) = self.control.add(peer, place, who, deadline) else {
            return;
        };
        if let Some(conversation) = self.control.get_mut(id) {
            let token = Token::Control(id).number();
            let watched = self.readiness.watch(conversation.peer.as_fd(), token);
            match watched {
                Ok(()) => self.on_control(id),
                Err(_) => self.end_conversation(id),
            }
        }
    }

    /// A controller has said something.
    pub(super) fn on_control(&mut self, id: Id) {
        let Some(conversation) = self.control.get_mut(id) else {
            return;
        };
        let secret = self.estate.secret;
        if let Some(slot) = channel::receive_birth(conversation.peer.as_fd(), secret) {
            return self.adopt_by_secret(id, slot);
        }
        let mut bytes = [0; LINE_BYTES];
        let received = match receive_record(conversation.peer.as_fd(), &mut bytes) {
            Err(e) if e.is_would_block() => return,
            Ok(received) if received.len > 0 => received,
            _ => return self.end_conversation(id),
        };
        for fd in received.passed.iter().flatten() {
            let own = self.pid_file.as_ref();
            conversation.is_proven |= own.is_some_and(|own| own.is_same_as(fd));
            // Its close waits for nobody, whoever has wanted that.
            let _ = reset_on_close(fd.as_fd(), false);
        }
        let said = bytes.get(..received.len).unwrap_or_default();
        conversation.line.extend_from_slice(said);
        if conversation.line.len() > LINE_BYTES {
            return self.end_conversation(id);
        }
        let line = conversation.line.split(|b| *b == b'\n');
        if let Some(line) = line.clone().next()
            && line.len() < conversation.line.len()
        {
            let asked = command(line);
            let (who, is_proven) = (conversation.peer_is, conversation.is_proven);
            match asked {
                Command::Reload | Command::Stop if !is_proven => self.refuse_unproven(id, who),
                _ => self.answer(id, &asked),
            }
        }
    }

    /// Whoever could not open the pid file for writing is not the server's user, but a handler of the
    /// same uid in a sandbox, or takes another server for this one.
    fn refuse_unproven(&mut self, id: Id, who: Peer) {
        let own = process::pid();
        let why = match &self.pid_file {
            Some(_) => {
                "does not hold this pid file, or it cannot be opened for writing; correct --pid-file or --socket"
            }
            None => "has no pid file, by which it knows its user; send it SIGTERM or SIGHUP",
        };
        self.say(
            id,
            format!("error the server at the socket (pid {own}) {why}"),
        );
        if self.control.unproven.is_new(self.now) {
            let pid = who.pid;
            self.log().warn(format_args!(
                "refused process {pid} on the Unix socket: it has not shown the pid file"
            ));
        }
    }

    /// It is a worker, as what it was born with proves: some systems that do as if they were Linux name
    /// whoever asks, not who has connected (SO_PEERCRED on gVisor).
    #[cold]
    fn adopt_by_secret(&mut self, id: Id, slot: Slot) {
        let place = self.control.places.get_mut(id.index as usize);
        let Some(conversation) = place.and_then(Option::take) else {
            return;
        };
        let _ = self.readiness.forget(conversation.peer.as_fd());
        if self.is_expected(slot) {
            self.adopt(slot, conversation.peer);
        }
    }

    fn answer(&mut self, id: Id, asked: &Command) {
        // The server before would go on.
        let is_between = self.upgrade.is_follower && self.state.is_starting();
        let text = match asked {
            Command::Stop if is_between => String::from("error an upgrade is under way; ask again"),
            Command::Status => self.status(),
            Command::Reload => match self.reload() {
                Ok(()) => String::from("ok reloaded"),
                Err(why) => format!("error {why}"),
            },
            Command::Stop => self.stopping(),
            Command::Unknown => String::from("error unknown command"),
        };
        self.say(id, text);
        if *asked == Command::Stop && !is_between {
            self.drain();
        }
    }

    /// The last word of a conversation.
    fn say(&mut self, id: Id, text: String) {
        if let Some(conversation) = self.control.get_mut(id) {
            let line = text + "\n";
            // An empty socket holds a line; a controller that is gone needs none.
            let _ = socket::send(conversation.peer.as_fd(), line.as_bytes(), false);
        }
        self.end_conversation(id);
    }

    /// What a controller has to know who waits for the end.
    fn stopping(&self) -> String {
        let limits = &self.estate.settings.limits;
        let most = limits.shutdown_grace + limits.kill_grace + 2 * LEAVE_GRACE;
        let ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        format!("ok within_ms={ms}")
    }

    fn end_conversation(&mut self, id: Id) {
        if let Some(conversation) = self.control.get_mut(id) {
            let _ = self.readiness.forget(conversation.peer.as_fd());
        }
        let place = self.control.places.get_mut(id.index as usize);
        if let Some(conversation) = place.and_then(Option::take) {
            hang_up(conversation.peer);
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
    fn a_newcomer_takes_a_free_place_else_that_of_the_oldest_and_never_that_of_root() {
        let user = |at| Some((false, Moment::from_micros(at)));
        let root = |at| Some((true, Moment::from_micros(at)));
        for (places, for_user, for_root) in [
            ([user(3), None, root(1)], Some(1), Some(1)),
            ([user(3), user(2), root(1)], Some(1), Some(1)),
            ([root(3), user(9), root(1)], Some(1), Some(1)),
            ([root(3), root(2), root(9)], None, Some(1)),
        ] {
            assert_eq!(place_for(&places, false), for_user, "{places:?}");
            assert_eq!(place_for(&places, true), for_root, "{places:?}");
        }
    }

    #[test]
    fn places_are_used_again_and_the_old_tenant_is_not_found() {
        let mut control = Control::default();
        let add = |control: &mut Control, at| {
            let place = control.next_place(false)?;
            let (peer, _) = socket::pair().unwrap();
            let who = Peer { pid: 1, uid: 1 };
            control.add(peer, place, who, Moment::from_micros(at))
        };
        let ids: Vec<Id> = (1..=MOST)
            .map(|at| add(&mut control, at as u64).unwrap())
            .collect();
        assert_eq!(control.next_deadline(), Some(Moment::from_micros(1)));
        let again = add(&mut control, 99).unwrap();
        assert_eq!(again.index, ids[0].index);
        assert!(control.get_mut(ids[0]).is_none() && control.get_mut(ids[1]).is_some());
        assert_eq!(control.next_deadline(), Some(Moment::from_micros(2)));
    }
}
