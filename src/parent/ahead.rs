//! Orders that are sent ahead: while clients wait and requests are short, a busy worker has its next
//! order before it is free, and goes on without a word to and fro. Parent only.
//!
//! Nobody is bound to that worker: until it takes the order (by a word of the scoreboard) the parent
//! takes it back when another one is ready, or when that one turns out to be slow.

use super::Parent;
use super::life::State as Life;
use super::lot::{End, Id, State};
use super::pool::{Ahead, Duty};
use crate::channel::Stage;
use crate::scoreboard::Slot;

impl Parent {
    /// Clients that wait for any worker.
    pub(super) fn queued(&self) -> usize {
        self.lot.count(State::Queued) + self.lot.count(State::Ahead)
    }

    /// Gives busy workers their next orders, when no worker is ready.
    pub(super) fn send_ahead(&mut self) {
        if self.state != Life::Serving || self.is_upgrading() {
            // Who is served from now on has to be told that it is the last time, or moves.
            while let Some(id) = self.lot.at(State::Ahead, End::Back) {
                self.withdraw(id);
            }
            return;
        }
        if !self.pool.is_quick() {
            return;
        }
        // Those who have not taken the order before yet.
        let mut late = Vec::new();
        while self.has_next()
            && let Some(slot) = self.pool.next_alone(self.now)
        {
            if self.estate.scoreboard.entry(slot).is_late() {
                late.push(slot);
                continue;
            }
            let Some((id, end)) = self.next_for_ahead() else {
                late.push(slot);
                break;
            };
            let ticket = match self.send(id, slot) {
                Ok(Some(ticket)) => ticket,
                Ok(None) => {
                    late.push(slot);
                    continue;
                }
                // It may just be leaving: if it is not well, others will find out.
                Err(_) => break,
            };
            if let Some(worker) = self.pool.get_mut(slot) {
                worker.ahead = Some(Ahead { id, ticket });
            }
            if let Some(connection) = self.lot.get_mut(id) {
                connection.worker = Some(slot);
            }
            self.lot.enter(id, State::Ahead, end);
        }
        for slot in late {
            self.pool.is_alone(slot);
        }
    }

    fn has_next(&self) -> bool {
        self.lot.count(State::Queued) > 0 || self.longest_behind_slow().is_some()
    }

    /// Who gets the next order ahead: who waits behind a slow worker, or the first in the queue, if
    /// it is no more than a descriptor; and its place among those who are ahead.
    fn next_for_ahead(&mut self) -> Option<(Id, End)> {
        while let Some(id) = self.longest_behind_slow() {
            if self.withdraw(id) {
                return Some((id, End::Front));
            }
        }
        let id = self.lot.at(State::Queued, End::Front)?;
        let connection = self.lot.get(id)?;
        let is_new =
            connection.stage == Stage::Head && connection.visits == 0 && connection.spool.is_none();
        is_new.then_some((id, End::Back))
    }

    fn longest_behind_slow(&self) -> Option<Id> {
        let id = self.lot.at(State::Ahead, End::Front)?;
        let slot = self.lot.get(id)?.worker?;
        self.pool.is_stuck(slot, self.now).then_some(id)
    }

    /// Takes an order back: its client is first in the queue again. False if its worker has it
    /// already, and serves it.
    pub(super) fn withdraw(&mut self, id: Id) -> bool {
        let slot = self.lot.get(id).and_then(|connection| connection.worker);
        let worker = slot.and_then(|slot| self.pool.get(slot).map(|w| (slot, w)));
        let Some((slot, ahead)) = worker.and_then(|(slot, w)| Some((slot, w.ahead?))) else {
            self.call_back(id);
            return true;
        };
        if !self.estate.scoreboard.entry(slot).take(ahead.ticket) {
            // It has said its verdict on the one before, which is still to be heard.
            self.wheel.remove(id.index);
            self.lot.enter(id, State::Serving, End::Back);
            return false;
        }
        if let Some(worker) = self.pool.get_mut(slot) {
            worker.ahead = None;
        }
        self.note_copy(id, slot, ahead.ticket);
        self.call_back(id);
        true
    }

    /// A client whose order will not be taken is first in the queue.
    pub(super) fn call_back(&mut self, id: Id) {
        if let Some(connection) = self.lot.get_mut(id) {
            connection.worker = None;
        }
        self.queue(id, End::Front);
    }

    /// A worker goes on with the order that was sent ahead.
    pub(super) fn go_on(&mut self, slot: Slot, ahead: Ahead) {
        if let Some(worker) = self.pool.get_mut(slot) {
            worker.ahead = None;
            worker.ticket = ahead.ticket;
        }
        self.wheel.remove(ahead.id.index);
        self.lot.enter(ahead.id, State::Serving, End::Back);
        self.pool.assign(slot, Duty::Busy(ahead.id), self.now);
        if self.pool.get(slot).is_some_and(|w| w.is_dismissed) {
            self.must_speak(slot);
        }
        self.watch_soon();
    }

    /// A busy worker is to leave: it may not rest once it is done.
    pub(super) fn must_speak(&mut self, slot: Slot) {
        if let Some(ahead) = self.pool.get(slot).and_then(|w| w.ahead) {
            self.withdraw(ahead.id);
        }
        loop {
            let board = &self.estate.scoreboard;
            if board.entry(slot).must_speak() || self.rouse(slot) {
                return;
            }
            // Else its present order stands there, if it has not just been taken.
            // One without a channel has died: it is reaped soon.
            let able = self.pool.get(slot).filter(|w| w.channel.is_some());
            let Some((Duty::Busy(id), ticket)) = able.map(|w| (w.duty, w.ticket)) else {
                return;
            };
            if self.estate.scoreboard.entry(slot).take(ticket) {
                self.is_free(slot);
                self.note_copy(id, slot, ticket);
                return self.hand_over_again(id, false);
            }
        }
    }
}
