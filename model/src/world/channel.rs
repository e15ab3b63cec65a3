//! The channel: two queues. What is said wakes up who waits for it.

use crate::scoreboard::{Report, Slot, Ticket};
use crate::sys::fd::{BorrowedFd, OwnedFd};
use crate::sys::mortal::step;
use crate::sys::time::Moment;
use crate::sys::{Errno, Error, Result};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, Thread};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

take!(
    "src/channel.rs",
    "pub enum Order",
    "pub enum Stage",
    "pub struct Serve",
    "pub struct Received"
);
take!(
    "src/channel/verdict.rs",
    "pub enum Verdict",
    "pub enum Incoming"
);

/// Messages for one thread. Each call is one step, as it is in the kernel.
struct Queue<T> {
    /// Orders the calls: what follows it happens before anybody else's turn.
    gate: AtomicUsize,
    messages: RefCell<VecDeque<T>>,
    waits: RefCell<Option<Thread>>,
    /// Nobody will read it any more.
    is_closed: Cell<bool>,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self {
            gate: AtomicUsize::new(0),
            messages: RefCell::default(),
            waits: RefCell::default(),
            is_closed: Cell::new(false),
        }
    }

    fn close(&self) {
        self.gate.fetch_add(1, Ordering::AcqRel);
        self.is_closed.set(true);
    }

    /// False if nobody will read it.
    fn put(&self, message: T) -> bool {
        self.gate.fetch_add(1, Ordering::AcqRel);
        if self.is_closed.get() {
            return false;
        }
        self.messages.borrow_mut().push_back(message);
        if let Some(thread) = self.waits.take() {
            thread.unpark();
        }
        true
    }

    /// Looks for a message, once or for as long as it takes.
    fn look<F>(&self, waits: bool, find: impl Fn(&mut VecDeque<T>) -> Option<F>) -> Option<F> {
        loop {
            self.gate.fetch_add(1, Ordering::AcqRel);
            let found = find(&mut self.messages.borrow_mut());
            if found.is_some() || !waits {
                return found;
            }
            self.waits.replace(Some(thread::current()));
            thread::park();
        }
    }
}

/// What the parent waits for.
#[derive(Clone)]
pub struct Inbox {
    said: Rc<Queue<(Slot, Incoming)>>,
    /// Whether the model's parent is told of a worker that rests for ever. In truth nobody is, but
    /// without a word it cannot see that a worker has done what it was to do.
    notes_rests: bool,
}

impl Inbox {
    pub fn new(notes_rests: bool) -> Self {
        let said = Rc::new(Queue::new());
        Self { said, notes_rests }
    }

    /// Parent: waits for the next word; an end before all else if `ends_first`.
    pub fn next(&self, ends_first: bool) -> (Slot, Incoming) {
        let is_end = |(_, said): &(Slot, Incoming)| matches!(said, Incoming::Gone);
        let found = self.said.look(true, |words| {
            let end = words.iter().position(is_end).filter(|_| ends_first);
            words.remove(end.unwrap_or(0))
        });
        found.unwrap()
    }
}

/// The worker's end, and the parent's.
#[derive(Clone)]
pub struct Channel {
    slot: Slot,
    orders: Rc<Queue<Option<(Order, Option<OwnedFd>)>>>,
    inbox: Inbox,
}

impl Channel {
    pub fn new(slot: Slot, inbox: &Inbox) -> Self {
        Self {
            slot,
            orders: Rc::new(Queue::new()),
            inbox: inbox.clone(),
        }
    }

    /// Worker: whether there is an order; waits for one if it is to.
    pub fn poll(&self, waits: bool) -> bool {
        if waits && self.inbox.notes_rests {
            self.inbox.said.put((self.slot, Incoming::Nothing));
        }
        let found = self.orders.look(waits, |orders| orders.front().map(|_| ()));
        found.is_some()
    }

    /// The kernel: the worker is dead.
    pub fn close(&self) {
        self.orders.close();
        self.inbox.said.put((self.slot, Incoming::Gone));
    }

    /// The parent is gone.
    pub fn hang_up(&self) {
        self.orders.put(None);
    }
}

pub fn send_order(
    channel: BorrowedFd<'_>,
    order: &Order,
    client: Option<BorrowedFd<'_>>,
    _spool: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let channel = channel.channel();
    if channel.orders.put(Some((*order, client.cloned()))) {
        return Ok(());
    }
    Err(Error {
        call: &"sendmsg",
        errno: Errno::PIPE,
    })
}

pub fn receive_order(channel: BorrowedFd<'_>) -> Result<Option<Received>> {
    step();
    let found = channel.channel().orders.look(true, VecDeque::pop_front);
    Ok(found.unwrap().map(|(order, client)| Received {
        order,
        client,
        spool: None,
    }))
}

pub fn send_verdict(
    channel: BorrowedFd<'_>,
    verdict: Verdict,
    report: Report,
    _spool: Option<&OwnedFd>,
) -> Result<()> {
    step();
    let channel = channel.channel();
    let said = Incoming::Verdict(verdict, report, None);
    channel.inbox.said.put((channel.slot, said));
    Ok(())
}

pub fn receive_verdict(channel: BorrowedFd<'_>) -> Result<Incoming> {
    let channel = channel.channel();
    let found = channel.inbox.said.look(false, |words| {
        let at = words.iter().position(|(of, _)| *of == channel.slot)?;
        words.remove(at)
    });
    Ok(found.map_or(Incoming::Nothing, |(_, said)| said))
}
