//! The control socket, the pid file that proves who may command, and what the service manager is told. One of the
//! parent's five owners.
//!
//! Nothing outside of this folder changes what stands here. New workers connect to the control socket, and the server's
//! user may ask for the status, a reload or the stop there.
//!
//! A conversation is one line in, one line out (`status`: more lines), with the server's user or root. All others are
//! refused. What changes the server takes a proof: the controller passes an open descriptor of the server's pid file
//! (SCM_RIGHTS), and device and inode are compared. A handler in a sandbox has no such descriptor. The parent never
//! waits: a peer that does not say its line in time is closed. Processes of the same user could hold every place, so a
//! newcomer takes the place of the one that has said nothing for longest; nobody but root takes that of root.

mod notify;

pub(in crate::parent) use notify::Notify;

use super::context::{Burst, Context, Id};
use super::token::Token;
use crate::channel;
use crate::instance::{PidFile, UnixSocket};
use crate::scoreboard::Slot;
use crate::sys;
use crate::sys::fd::AsFd;
use crate::sys::passing::{hang_up, receive_record};
use crate::sys::process::{self, Pid};
use crate::sys::socket::{self, Peer};
use crate::sys::teardown::reset_on_close;
use crate::sys::time::Moment;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Conversations at a time.
const MOST: usize = 8;
/// Bytes of a line in.
const LINE_BYTES: usize = 256;
/// How long a peer has to say its line.
const TIMEOUT: Duration = Duration::from_secs(1);

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

/// The place for a newcomer: a free one, else that of the oldest conversation. For each place: is it root's, and until
/// when may it last? `None`: root has all places.
fn place_for(places: &[Option<(bool, Moment)>], is_root: bool) -> Option<usize> {
    let yields = |place: &Option<(bool, Moment)>| match place {
        None => Some((false, Moment::default())),
        Some(holder) => (is_root || !holder.0).then_some(*holder),
    };
    let candidates = places.iter().map(yields).enumerate();
    let ranked = candidates.filter_map(|(index, rank)| Some((rank?, index)));
    ranked.min().map(|(_, index)| index)
}

/// The control socket, the conversations there, the pid file, and the service manager.
pub(in crate::parent) struct Control {
    socket: UnixSocket,
    /// Open for its lock, and removed at the end; `None`: none is wanted, or it could not be made.
    pid_file: Option<PidFile>,
    pub(in crate::parent) notify: Notify,
    conversations: Conversations,
    /// When a connection of another user was last logged.
    strangers: Burst,
    /// When a command without proof was last logged.
    unproven: Burst,
}

impl Control {
    /// At this socket, with this pid file.
    pub(in crate::parent) fn new(
        socket: UnixSocket,
        pid_file: Option<PidFile>,
        notify: Notify,
    ) -> Self {
        Self {
            socket,
            pid_file,
            notify,
            conversations: Conversations::default(),
            strangers: Burst::default(),
            unproven: Burst::default(),
        }
    }

    /// When a conversation has run out of time, or the service manager waits for a sign of life.
    pub(in crate::parent) fn next_deadline(&self) -> Option<Moment> {
        let conversations = self.conversations.next_deadline();
        conversations
            .into_iter()
            .chain(self.notify.next_deadline())
            .min()
    }
}

/// All conversations at the control socket.
#[derive(Default)]
struct Conversations {
    places: [Option<Conversation>; MOST],
    generation: u32,
}

impl Conversations {
    /// When the first of them has run out of time.
    fn next_deadline(&self) -> Option<Moment> {
        self.places.iter().flatten().map(|c| c.deadline).min()
    }

    fn take(&mut self, id: Id) -> Option<Conversation> {
        self.places.get_mut(id.index as usize)?.take()
    }

    fn get_mut(&mut self, id: Id) -> Option<&mut Conversation> {
        let place = self.places.get_mut(id.index as usize)?.as_mut();
        place.filter(|c| c.generation == id.generation)
    }

    /// The place that a newcomer gets; a conversation that has it is to be ended before.
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

/// Who has connected to the control socket.
pub(in crate::parent) enum Caller {
    /// Somebody who may not talk to the server.
    Nobody,
    /// The server's user or root: a new worker, or a controller. The process id, if the kernel says it.
    Somebody(Option<Pid>, OwnedFd, Peer),
}

/// What somebody has said.
pub(in crate::parent) enum Said {
    /// Nothing yet, or nothing that matters outside of this owner.
    Nothing,
    /// The peer is the new worker of this slot.
    Worker(Slot, OwnedFd),
    /// The peer wants this, and may.
    Command(Command),
}

/// What a line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::parent) enum Command {
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

/// Whether a peer may talk to this server.
fn is_trusted(peer: Peer, own_uid: u32) -> bool {
    peer.uid == own_uid || peer.uid == 0
}

impl Control {
    /// Its descriptor.
    pub(in crate::parent) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.listener.as_fd()
    }

    /// Where the socket is.
    pub(in crate::parent) fn path(&self) -> &Path {
        self.socket.path()
    }

    /// The pid file, if there is one.
    pub(in crate::parent) fn pid_file(&self) -> Option<&PidFile> {
        self.pid_file.as_ref()
    }

    /// Takes another control socket in place of one that has been removed.
    pub(in crate::parent) fn replace_socket(&mut self, socket: UnixSocket) {
        self.socket = socket;
    }

    /// Says whether this server removes socket and pid file at its end.
    #[cold]
    pub(in crate::parent) fn set_own(&mut self, is_own: bool) {
        if let Some(pid_file) = &mut self.pid_file {
            pid_file.set_own(is_own);
        }
        self.socket.set_own(is_own);
    }

    /// Writes into the pid file which process signals are for.
    #[cold]
    pub(in crate::parent) fn write_pid(&self, ctx: &Context, pid: Pid) {
        if let Some(pid_file) = &self.pid_file
            && let Err(e) = pid_file.write(pid)
        {
            ctx.log.error(format_args!("{e}"));
        }
    }

    /// Puts the socket into the readiness set.
    pub(in crate::parent) fn watch(&self, ctx: &Context) {
        if let Err(e) = ctx.readiness.watch(self.fd(), Token::Control.number()) {
            ctx.log
                .error(format_args!("unable to watch the control socket: {e}"));
        }
    }

    /// Takes the socket out of the readiness set.
    pub(in crate::parent) fn unwatch(&self, ctx: &Context) {
        let _ = ctx.readiness.forget(self.fd());
    }

    /// Accepts the next connection.
    pub(in crate::parent) fn accept(&mut self, ctx: &Context) -> sys::Result<Caller> {
        let (peer, _) = socket::accept(self.fd())?;
        let Ok(who) = socket::peer(peer.as_fd()) else {
            return Ok(Caller::Nobody);
        };
        if is_trusted(who, process::effective_uid()) {
            return Ok(Caller::Somebody(Pid::new(who.pid), peer, who));
        }
        if self.strangers.note(ctx.now) {
            ctx.log.warn(format_args!(
                "refused user {} on the control socket",
                who.uid
            ));
        }
        hang_up(peer);
        Ok(Caller::Nobody)
    }

    /// Begins a conversation; returns its place, where its line can be heard. Mostly the line is here already.
    pub(in crate::parent) fn converse(
        &mut self,
        ctx: &Context,
        peer: OwnedFd,
        who: Peer,
    ) -> Option<Id> {
        let Some(place) = self.conversations.next_place(who.uid == 0) else {
            hang_up(peer);
            return None;
        };
        self.end(ctx, place);
        let id = self
            .conversations
            .add(peer, place, who, ctx.now.after(TIMEOUT))?;
        let conversation = self.conversations.get_mut(id)?;
        let token = Token::Conversation(id).number();
        if ctx
            .readiness
            .watch(conversation.peer.as_fd(), token)
            .is_ok()
        {
            return Some(id);
        }
        self.end(ctx, id);
        None
    }

    /// Hears what a peer says.
    pub(in crate::parent) fn hear(&mut self, ctx: &Context, id: Id) -> Said {
        let Some(conversation) = self.conversations.get_mut(id) else {
            return Said::Nothing;
        };
        if let Some(slot) = channel::receive_birth(conversation.peer.as_fd(), ctx.secret) {
            return self.take_worker(ctx, id, slot);
        }
        let Some(line) = self.read_line(ctx, id) else {
            return Said::Nothing;
        };
        let asked = command(&line);
        let is_proven = self.conversations.get_mut(id).is_some_and(|c| c.is_proven);
        if matches!(asked, Command::Reload | Command::Stop) && !is_proven {
            self.refuse_unproven(ctx, id);
            return Said::Nothing;
        }
        Said::Command(asked)
    }

    /// The line, once it is whole.
    fn read_line(&mut self, ctx: &Context, id: Id) -> Option<Vec<u8>> {
        let conversation = self.conversations.get_mut(id)?;
        let mut bytes = [0; LINE_BYTES];
        let received = match receive_record(conversation.peer.as_fd(), &mut bytes) {
            Err(e) if e.is_would_block() => return None,
            Ok(received) if received.len > 0 => received,
            _ => {
                self.end(ctx, id);
                return None;
            }
        };
        for fd in received.passed.iter().flatten() {
            let own = self.pid_file.as_ref();
            conversation.is_proven |= own.is_some_and(|own| own.is_same_as(fd));
            // Its close must not wait, although whoever has passed it may have set SO_LINGER.
            let _ = reset_on_close(fd.as_fd(), false);
        }
        let said = bytes.get(..received.len).unwrap_or_default();
        conversation.line.extend_from_slice(said);
        if conversation.line.len() > LINE_BYTES {
            self.end(ctx, id);
            return None;
        }
        let end = conversation.line.iter().position(|b| *b == b'\n')?;
        conversation.line.get(..end).map(<[u8]>::to_vec)
    }

    /// Refuses a command without proof. A process of this uid that cannot open the pid file for writing is a handler in a
    /// sandbox, or means another server.
    fn refuse_unproven(&mut self, ctx: &Context, id: Id) {
        let own = process::pid();
        let why = match &self.pid_file {
            Some(_) => {
                "does not hold this pid file, or it cannot be opened for writing; correct --pid-file or --socket"
            }
            None => "has no pid file, by which it knows its user; send it SIGTERM or SIGHUP",
        };
        let who = self.conversations.get_mut(id).map_or(0, |c| c.peer_is.pid);
        self.say(
            ctx,
            id,
            format!("error the server at the socket (pid {own}) {why}"),
        );
        if self.unproven.note(ctx.now) {
            ctx.log.warn(format_args!(
                "refused process {who} on the control socket: it has not shown the pid file"
            ));
        }
    }

    /// A peer has proved by the server's secret that it is a worker. The kernel did not say so: on gVisor SO_PEERCRED
    /// names the process that asks, not the one that has connected.
    #[cold]
    fn take_worker(&mut self, ctx: &Context, id: Id, slot: Slot) -> Said {
        match self.conversations.take(id) {
            Some(conversation) => {
                let _ = ctx.readiness.forget(conversation.peer.as_fd());
                Said::Worker(slot, conversation.peer)
            }
            None => Said::Nothing,
        }
    }

    /// The last word of a conversation.
    pub(in crate::parent) fn say(&mut self, ctx: &Context, id: Id, text: String) {
        if let Some(conversation) = self.conversations.get_mut(id) {
            let line = text + "\n";
            // The socket is empty and has room for the answer. A controller that is gone needs none.
            let _ = socket::send(conversation.peer.as_fd(), line.as_bytes());
        }
        self.end(ctx, id);
    }

    fn end(&mut self, ctx: &Context, id: Id) {
        if let Some(conversation) = self.conversations.get_mut(id) {
            let _ = ctx.readiness.forget(conversation.peer.as_fd());
        }
        if let Some(conversation) = self.conversations.take(id) {
            hang_up(conversation.peer);
        }
    }

    /// Ends conversations that have run out of time, and gives the service manager a sign of life when it is
    /// due.
    pub(in crate::parent) fn live(&mut self, ctx: &Context) {
        self.notify.live(ctx.now);
        let late: Vec<Id> = (0..)
            .zip(&self.conversations.places)
            .filter_map(|(index, place)| {
                let conversation = place.as_ref().filter(|c| c.deadline <= ctx.now)?;
                Some(Id {
                    index,
                    generation: conversation.generation,
                })
            })
            .collect();
        for id in late {
            self.end(ctx, id);
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
        let mut all = Conversations::default();
        let add = |all: &mut Conversations, at| {
            let place = all.next_place(false)?;
            let (peer, _) = socket::pair().unwrap();
            let who = Peer { pid: 1, uid: 1 };
            all.add(peer, place, who, Moment::from_micros(at))
        };
        let ids: Vec<Id> = (1..=MOST)
            .map(|at| add(&mut all, at as u64).unwrap())
            .collect();
        assert_eq!(all.next_deadline(), Some(Moment::from_micros(1)));
        let again = add(&mut all, 99).unwrap();
        assert_eq!(again.index, ids[0].index);
        assert!(all.get_mut(ids[0]).is_none() && all.get_mut(ids[1]).is_some());
        assert_eq!(all.next_deadline(), Some(Moment::from_micros(2)));
    }
}
