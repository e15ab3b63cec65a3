//! The connection table: every open connection, in a slab with one list per state.
//!
//! Every operation is O(1). Lists are intrusive and in order of arrival in their state, so that the
//! front of one is who has been in it longest: the next to be served (queued), or the first to go
//! when every place is taken. It does not know of events, deadlines or workers.

use super::account::Account;
use super::state::State;
use crate::channel::Stage;
use crate::parent::context::Id;
use crate::sys::time::Moment;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// What the parent knows of a client.
pub(super) struct Connection {
    /// The client; workers get copies.
    pub(super) client: OwnedFd,
    /// What was read from the client and is not used yet, or what it has not taken of its response.
    pub(super) spool: Option<OwnedFd>,
    /// What is known of the spool.
    pub(super) account: Account,
    /// Number for the log; never used again.
    pub(super) number: u64,
    /// From when `head-timeout` counts: when the present head was first waited for, later by the time that the
    /// server itself took. While it is idle: since when it is.
    pub(super) head_begun: Moment,
    /// When body or response last made progress.
    pub(super) progress: Moment,
    /// When it last asked for a worker.
    pub(super) woken: Moment,
    /// What progress is measured by. Of a body: bytes that have arrived and that no worker has read. Of a response:
    /// bytes that the client has not taken. While lingering: bytes that may still be discarded.
    pub(super) mark: u64,
    /// The handler that it waits for while held.
    pub(super) handler: u64,
    /// The handler that has a free place for this client, since a request of it has ended; 0 for none. If this client
    /// leaves without having used the place, the next one that is held gets it.
    pub(super) admitted: u64,
    /// Requests that were answered.
    pub(super) requests: u32,
    /// What the next worker has to go on with.
    pub(super) stage: Stage,
    /// Its address; `None` on a Unix domain socket.
    pub(super) peer: Option<SocketAddr>,
    /// Which listener it came from.
    pub(super) listener: u8,
    /// Visits to a worker in a row that found no whole head, or next to nothing of a body.
    pub(super) visits: u8,
    /// Copies of its descriptor that workers may still have although the parent has taken it back.
    pub(super) copies: u32,
    /// It is not waited for until its deadline in the wheel: its request trickles.
    pub(super) is_set_aside: bool,
    /// A worker died while it looked at this client.
    pub(super) has_lost_worker: bool,
    /// Its present request was held for its handler before.
    pub(super) was_held: bool,
}

/// No index.
const NONE: u32 = u32::MAX;

/// A list: its ends and its length.
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
    len: usize,
}

const EMPTY: List = List {
    first: NONE,
    last: NONE,
    len: 0,
};

/// One place of the slab.
struct Place {
    connection: Option<Connection>,
    state: State,
    generation: u32,
    next: u32,
    before: u32,
}

// Beside this the timing wheel has 16 bytes per connection: well below 256 together.
const _: () = assert!(size_of::<Place>() <= 224);

/// Which end of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Next in turn.
    Front,
    /// Last in turn.
    Back,
}

/// The table.
pub(super) struct Table {
    places: Vec<Place>,
    vacant: Vec<u32>,
    lists: [List; State::ALL.len()],
    /// The lists of those that are held, by handler. There are at most as many as busy workers.
    held: Vec<(u64, List)>,
    open: usize,
}

impl Table {
    /// An empty table.
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            vacant: Vec::new(),
            lists: [EMPTY; State::ALL.len()],
            held: Vec::new(),
            open: 0,
        }
    }

    /// Open connections.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// Connections in a state.
    pub(super) fn count(&self, state: State) -> usize {
        self.lists.get(state as usize).map_or(0, |list| list.len)
    }

    /// Whether there is memory for one more connection. To be asked before it is accepted: an
    /// allocation that fails ends the process.
    pub(super) fn has_place(&mut self) -> bool {
        // Every place may be vacant at some time, and then `vacant` has to hold them all.
        let all = self.places.len() + 1;
        !self.vacant.is_empty()
            || self.places.try_reserve(1).is_ok() && self.vacant.try_reserve(all).is_ok()
    }

    /// Takes a new connection in, as head.
    pub(super) fn add(&mut self, connection: Connection) -> Id {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.places.push(Place {
                connection: None,
                state: State::Head,
                generation: 0,
                next: NONE,
                before: NONE,
            });
            u32::try_from(self.places.len() - 1).unwrap_or(NONE)
        });
        let mut generation = 0;
        if let Some(place) = self.places.get_mut(index as usize) {
            place.connection = Some(connection);
            place.state = State::Head;
            generation = place.generation;
        }
        self.open += 1;
        self.link(index, End::Back);
        Id { index, generation }
    }

    /// Takes a connection out for good.
    pub(super) fn remove(&mut self, id: Id) -> Option<Connection> {
        self.get(id)?;
        self.unlink(id.index);
        let place = self.places.get_mut(id.index as usize)?;
        place.generation = (place.generation + 1) & 0x00ff_ffff;
        self.vacant.push(id.index);
        self.open -= 1;
        place.connection.take()
    }

    /// A connection, unless it has ended and another one has its place.
    pub(super) fn get(&self, id: Id) -> Option<&Connection> {
        let place = self.places.get(id.index as usize)?;
        place
            .connection
            .as_ref()
            .filter(|_| place.generation == id.generation)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Connection> {
        let place = self.places.get_mut(id.index as usize)?;
        place
            .connection
            .as_mut()
            .filter(|_| place.generation == id.generation)
    }

    /// The state of a connection, unless it has ended.
    pub(super) fn state(&self, id: Id) -> Option<State> {
        self.get(id)?;
        self.places.get(id.index as usize).map(|place| place.state)
    }

    /// The connection that has this index now.
    pub(super) fn id(&self, index: u32) -> Option<Id> {
        let place = self.places.get(index as usize)?;
        place.connection.as_ref().map(|_| Id {
            index,
            generation: place.generation,
        })
    }

    /// Moves a connection to one end of a state's list; one that is held to the list of its handler.
    pub(super) fn enter(&mut self, id: Id, state: State, end: End) {
        if self.get(id).is_none() {
            return;
        }
        self.unlink(id.index);
        if let Some(place) = self.places.get_mut(id.index as usize) {
            place.state = state;
        }
        self.link(id.index, end);
    }

    /// The connection that has been in a state longest (front) or shortest (back). Those that are held have no
    /// common order.
    pub(super) fn at(&self, state: State, end: End) -> Option<Id> {
        let list = self.lists.get(state as usize)?;
        self.id(if end == End::Front {
            list.first
        } else {
            list.last
        })
    }

    /// The first that waits for a handler.
    pub(super) fn first_held(&self, handler: u64) -> Option<Id> {
        let (_, list) = self.held.iter().find(|(of, _)| *of == handler)?;
        self.id(list.first)
    }

    /// The last one that waits for the handler that most wait for.
    pub(super) fn last_of_most_held(&self) -> Option<Id> {
        let (_, list) = self.held.iter().max_by_key(|(_, list)| list.len)?;
        self.id(list.last)
    }

    /// The handlers for which some connection is held.
    pub(super) fn held_handlers(&self) -> Vec<u64> {
        self.held.iter().map(|(handler, _)| *handler).collect()
    }

    /// All connections in a state, for the life cycle's rare events.
    pub(super) fn all(&self, state: State) -> Vec<Id> {
        (0..self.places.len())
            .filter_map(|index| self.id(u32::try_from(index).ok()?))
            .filter(|id| self.state(*id) == Some(state))
            .collect()
    }

    /// Whether a connection is open that came from this listener.
    pub(super) fn is_from(&self, listener: u8) -> bool {
        let mut open = self.places.iter().filter_map(|p| p.connection.as_ref());
        open.any(|connection| connection.listener == listener)
    }

    /// Changes the list that a place belongs to: that of its state, or of its handler if it is held. The state's
    /// count has those that are held too.
    fn with_list(&mut self, index: u32, change: impl FnOnce(&mut List, &mut Vec<Place>)) {
        let Some(place) = self.places.get(index as usize) else {
            return;
        };
        let (state, handler) = (
            place.state,
            place.connection.as_ref().map_or(0, |c| c.handler),
        );
        if state != State::Held {
            if let Some(list) = self.lists.get_mut(state as usize) {
                change(list, &mut self.places);
            }
            return;
        }
        let known = self.held.iter().position(|(of, _)| *of == handler);
        let at = known.unwrap_or_else(|| {
            self.held.push((handler, EMPTY));
            self.held.len() - 1
        });
        let Some((_, list)) = self.held.get_mut(at) else {
            return;
        };
        let before = list.len;
        change(list, &mut self.places);
        let after = list.len;
        if after == 0 {
            self.held.swap_remove(at);
        }
        if let Some(all) = self.lists.get_mut(State::Held as usize) {
            all.len = (all.len + after).saturating_sub(before);
        }
    }

    fn link(&mut self, index: u32, end: End) {
        self.with_list(index, |list, places| {
            let (next, before) = match end {
                End::Front => (list.first, NONE),
                End::Back => (NONE, list.last),
            };
            if let Some(place) = places.get_mut(index as usize) {
                (place.next, place.before) = (next, before);
            }
            match places.get_mut(before as usize) {
                Some(before) => before.next = index,
                None => list.first = index,
            }
            match places.get_mut(next as usize) {
                Some(next) => next.before = index,
                None => list.last = index,
            }
            list.len += 1;
        });
    }

    fn unlink(&mut self, index: u32) {
        self.with_list(index, |list, places| {
            let Some((next, before)) = places.get(index as usize).map(|p| (p.next, p.before))
            else {
                return;
            };
            match places.get_mut(before as usize) {
                Some(place) => place.next = next,
                None => list.first = next,
            }
            match places.get_mut(next as usize) {
                Some(place) => place.before = before,
                None => list.last = before,
            }
            list.len -= 1;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::{self, Open};

    fn connection(number: u64) -> Connection {
        let now = Moment::from_micros(number);
        Connection {
            client: file::open_at(None, c"/dev/null", Open::Read).unwrap(),
            spool: None,
            account: Account::of(None, &[]),
            number,
            head_begun: now,
            progress: now,
            woken: now,
            mark: 0,
            handler: 0,
            admitted: 0,
            requests: 0,
            stage: Stage::Head,
            peer: None,
            listener: 0,
            visits: 0,
            copies: 0,
            is_set_aside: false,
            has_lost_worker: false,
            was_held: false,
        }
    }

    fn numbers(table: &mut Table, state: State) -> Vec<u64> {
        let mut found = Vec::new();
        while let Some(id) = table.at(state, End::Front) {
            found.push(table.remove(id).unwrap().number);
        }
        found
    }

    #[test]
    fn the_front_of_a_list_is_who_came_first_unless_put_there() {
        let mut table = Table::new();
        let ids: Vec<Id> = (0..5).map(|n| table.add(connection(n))).collect();
        for id in &ids[..3] {
            table.enter(*id, State::Queued, End::Back);
        }
        table.enter(ids[4], State::Queued, End::Front);
        table.enter(ids[1], State::Queued, End::Back);
        assert_eq!(
            (table.count(State::Queued), table.count(State::Head)),
            (4, 1)
        );
        assert_eq!(
            table
                .get(table.at(State::Queued, End::Back).unwrap())
                .unwrap()
                .number,
            1
        );
        assert_eq!(numbers(&mut table, State::Queued), [4, 0, 2, 1]);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn an_old_id_does_not_reach_the_next_tenant() {
        let mut table = Table::new();
        let old = table.add(connection(1));
        assert!(table.remove(old).is_some());
        let new = table.add(connection(2));
        assert_eq!(old.index, new.index);
        assert!(table.get(old).is_none() && table.remove(old).is_none());
        table.enter(old, State::Idle, End::Back);
        assert_eq!(table.state(new), Some(State::Head));
    }

    #[test]
    fn those_who_wait_for_one_handler_are_not_those_of_another() {
        let mut table = Table::new();
        for (number, handler) in [(1, 7), (2, 8), (3, 7)] {
            let id = table.add(connection(number));
            table.get_mut(id).unwrap().handler = handler;
            table.enter(id, State::Held, End::Back);
        }
        assert_eq!(table.count(State::Held), 3);
        let first = table.first_held(7).unwrap();
        assert_eq!(table.get(first).unwrap().number, 1);
        table.enter(first, State::Queued, End::Front);
        assert_eq!(table.get(table.first_held(7).unwrap()).unwrap().number, 3);
        assert_eq!(table.count(State::Held), 2);
        table.remove(table.first_held(8).unwrap());
        assert!(table.first_held(8).is_none());
        assert_eq!(table.all(State::Held).len(), 1);
    }
}
