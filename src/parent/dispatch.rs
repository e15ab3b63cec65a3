//! From the queue to a worker: the oldest client to the newest ready worker. Parent only.

use super::Parent;
use super::canned::Canned;
use super::lot::{End, Id, State};
use super::pool::Duty;
use crate::channel::{self, Order, Serve, Stage};
use crate::scoreboard::{Slot, Ticket};
use crate::sys::{self, Errno, fd::AsFd};

/// A worker that cannot be told anything.
const GONE: sys::Error = sys::Error {
    call: &"sendmsg",
    errno: Errno::NOTCONN,
};

impl Parent {
    /// Hands over as many clients as there are ready workers; who makes the queue too long is
    /// turned away, the last first.
    pub(super) fn dispatch(&mut self) {
        if self.is_bequeathed() {
            return;
        }
        while let Some(id) = self.lot.at(State::Queued, End::Front)
            && (self.pool.ready() > 0 || self.rouse_one())
            && let Some(slot) = self.pool.newest_ready()
        {
            if let Err(e) = self.hand_over(id, slot) {
                // An order is sent as a whole or not at all, so the client keeps its place in the queue.
                self.is_out_of_reach(slot, e);
            }
        }
        self.shorten_queues();
    }

    /// Who waits for one handler is not in the way of who waits for any worker, so each queue has its
    /// own bound. Of those who are held, one goes for the handler that most wait for.
    fn shorten_queues(&mut self) {
        let most = self.estate.settings.limits.max_queue;
        while self.lot.count(State::Queued) > most
            && let Some(id) = self.lot.at(State::Queued, End::Back)
        {
            self.turn_away(id);
        }
        while self.lot.count(State::Held) > most
            && let Some(id) = self.lot.last_of_most_held()
        {
            self.turn_away(id);
        }
    }

    /// A worker that cannot be given an order is of no use.
    pub(super) fn is_out_of_reach(&mut self, slot: Slot, why: sys::Error) {
        let log = &self.estate.log;
        log.warn(format_args!("unable to reach worker {}: {why}", slot.0));
        self.kill(slot);
    }

    /// Clients that wait for a worker, or for their handler.
    pub(super) fn waiting(&self) -> usize {
        self.lot.count(State::Queued) + self.lot.count(State::Held)
    }

    /// 503, with the time after which it makes sense to come back.
    pub(super) fn turn_away(&mut self, id: Id) {
        let stage = self.lot.get(id).map(|connection| connection.stage);
        if let Some(Stage::DrainKeep | Stage::DrainClose) = stage {
            // Its response has begun: another one inside it would be taken for a part of it.
            return self.set_aside(id);
        }
        let waiting = self.waiting();
        if self.house.queue.is_new(self.now) {
            let why = match self.lot.state(id) {
                Some(State::Held) => "a handler stays at max-concurrent",
                _ => "no worker in time",
            };
            self.log()
                .warn(format_args!("{why}: turning clients away, {waiting} wait"));
        }
        let retry_after = self.pool.retry_after(waiting);
        self.refuse(id, Canned::Busy(retry_after));
    }

    fn hand_over(&mut self, id: Id, slot: Slot) -> sys::Result<()> {
        // Before the worker counts it too: twice, it would keep itself out.
        self.lend_spool(id);
        let ticket = match self.send(id, slot) {
            Ok(ticket) => ticket,
            Err(e) => {
                self.take_spool_back(id);
                return Err(e);
            }
        };
        let Some(connection) = self.lot.get_mut(id) else {
            return Ok(());
        };
        connection.worker = Some(slot);
        self.wheel.remove(id.index);
        self.lot.enter(id, State::Serving, End::Back);
        if let Some(worker) = self.pool.get_mut(slot) {
            worker.ticket = ticket;
        }
        self.pool.assign(slot, Duty::Busy(id), self.now);
        self.watch_soon();
        Ok(())
    }

    /// Sends a ready worker the order to serve a client.
    fn send(&mut self, id: Id, slot: Slot) -> sys::Result<Ticket> {
        let ticket = self.pool.next_ticket();
        let worker = self.pool.get(slot).ok_or(GONE)?;
        let channel = worker.channel.as_ref().ok_or(GONE)?;
        let connection = self.lot.get(id).ok_or(GONE)?;
        let order = Order::Serve(Serve {
            ticket,
            connection: connection.number,
            stage: connection.stage,
            is_head_resumed: connection.visits > 0,
            is_last: self.is_stopping(),
            listener: connection.listener,
            requests: connection.requests,
            accepted: connection.accepted,
            head_begun: connection.head_begun,
            progress: connection.progress,
            woken: connection.woken,
            peer: connection.peer,
        });
        let client = connection.client.as_fd();
        let spool = connection.spool.as_ref().map(AsFd::as_fd);
        channel::send_order(channel.as_fd(), &order, Some(client), spool)?;
        Ok(ticket)
    }

    /// A worker has left this handler alone: the first that waits for it goes to the front of the
    /// queue. It may wait again if others were faster.
    pub(super) fn release(&mut self, handler: u64) {
        if let Some(id) = self.lot.first_held(handler) {
            self.admit(id, handler, End::Front);
        }
    }

    /// A client that is held goes into the queue: a place of its handler is free.
    pub(super) fn admit(&mut self, id: Id, handler: u64, end: End) {
        if let Some(connection) = self.lot.get_mut(id) {
            connection.admitted = handler;
        }
        self.queue(id, end);
    }

    /// A client leaves, or turns to something else: the place that it was let go for is another one's.
    pub(super) fn pass_on(&mut self, id: Id) {
        let connection = self.lot.get_mut(id);
        let admitted = connection.map_or(0, |c| std::mem::take(&mut c.admitted));
        if admitted != 0 {
            self.release(admitted);
        }
    }
}
