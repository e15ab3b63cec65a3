//! Copies of clients that workers may still have although the parent has taken those back: the clients that
//! they rested with, and those of orders that were withdrawn. Parent only.
//!
//! As long as there is one, the close of the parent's descriptor is not the connection's end. A worker
//! receives its orders one after the other, and each closes what came before: when it has said its verdict
//! on one, it has no copy from an earlier one.

use super::Parent;
use super::lot::{Id, Lot};
use super::pool::Worker;
use crate::scoreboard::{Slot, Ticket};

impl Parent {
    /// A client was taken back that a worker has got, or will get, with this order.
    pub(super) fn note_copy(&mut self, id: Id, slot: Slot, order: Ticket) {
        if let Some(connection) = self.lot.get_mut(id)
            && let Some(worker) = self.pool.get_mut(slot)
        {
            connection.copies += 1;
            worker.copies.push((order, id));
        }
    }

    /// A worker has said its verdict on its present order.
    pub(super) fn forget_copies(&mut self, slot: Slot) {
        if let Some(worker) = self.pool.get_mut(slot) {
            let present = worker.ticket;
            let copies = worker.copies.extract_if(.., |(order, _)| *order < present);
            copies.for_each(|(_, id)| forget(&mut self.lot, id));
        }
    }

    /// A worker is dead.
    pub(super) fn forget_copies_of(&mut self, worker: &Worker) {
        for (_, id) in &worker.copies {
            forget(&mut self.lot, *id);
        }
    }
}

fn forget(lot: &mut Lot, id: Id) {
    if let Some(connection) = lot.get_mut(id) {
        connection.copies = connection.copies.saturating_sub(1);
    }
}
