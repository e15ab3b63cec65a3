//! From the queue to a worker: the oldest client to the newest ready worker. Parent only.

use super::Parent;
use super::canned::Canned;
use super::lot::{End, Id, State};
use super::pool::Duty;
use crate::channel::{self, Order, Serve, Stage};
use crate::scoreboard::{Slot, Spooled};
use crate::sys::{self, Errno, fd::AsFd};

impl Parent {
    /// Hands over as many clients as there are ready workers; who makes the queue too long is
    /// turned away, the last first.
    pub(super) fn dispatch(&mut self) {
        if self.is_bequeathed() {
            return;
        }
        while let Some(id) = self.lot.at(State::Queued, End::Front) {
            let Some(slot) = self.pool.newest_ready() else {
                if self.rouse_one() {
                    continue;
                }
                break;
            };
            if let Err(e) = self.hand_over(id, slot) {
                // It went whole or not at all, so the client keeps its place.
                let log = &self.estate.log;
                log.warn(format_args!("unable to reach worker {}: {e}", slot.0));
                self.kill(slot);
            }
        }
        let most = self.estate.settings.limits.max_queue;
        while self.waiting() > most
            && let Some(id) = self.lot.at(State::Queued, End::Back)
        {
            self.turn_away(id);
        }
    }

    /// Clients that wait for a worker.
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
            self.log().warn(format_args!(
                "no worker in time: turning clients away, {waiting} wait"
            ));
        }
        let retry_after = self.pool.retry_after(waiting);
        self.refuse(id, Canned::Busy(retry_after));
    }

    fn hand_over(&mut self, id: Id, slot: Slot) -> sys::Result<()> {
        let gone = sys::Error {
            call: &"sendmsg",
            errno: Errno::NOTCONN,
        };
        let is_last = self.is_stopping();
        let worker = self.pool.get(slot).ok_or(gone)?;
        let channel = worker.channel.as_ref().ok_or(gone)?;
        let Some(connection) = self.lot.get_mut(id) else {
            return Ok(());
        };
        let queued = self.now.since(connection.woken).as_millis();
        let order = Order::Serve(Serve {
            connection: connection.number,
            stage: connection.stage,
            is_head_resumed: connection.visits > 0,
            is_last,
            listener: connection.listener,
            requests: connection.requests,
            accepted: connection.accepted,
            head_begun: connection.head_begun,
            progress: connection.progress,
            queued_ms: u32::try_from(queued).unwrap_or(u32::MAX),
            peer: connection.peer,
        });
        let client = connection.client.as_fd();
        let spool = connection.spool.as_ref().map(AsFd::as_fd);
        channel::send_order(channel.as_fd(), &order, Some(client), spool)?;
        connection.worker = Some(slot);
        let spooled = connection.spooled;
        if spooled.bytes > 0 {
            self.account(spooled, Spooled::default());
        }
        self.wheel.remove(id.index);
        self.lot.enter(id, State::Serving, End::Back);
        self.pool.assign(slot, Duty::Busy(id), self.now);
        self.watch_soon();
        Ok(())
    }

    /// A worker has left this handler alone: the first that waits for it goes to the front of the
    /// queue. It may wait again if others were faster.
    pub(super) fn release(&mut self, handler: u64) {
        if let Some(id) = self.lot.first_held(handler) {
            self.queue(id, End::Front);
        }
    }
}
