//! The system as the model has it: atomics and locks are loom's, a process is a thread, a descriptor
//! is what it stands for.

use std::cell::Cell;

/// As the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    CHILD,
    MFILE,
    NOTCONN,
    PIPE,
}

#[derive(Clone, Copy, Debug)]
pub struct Error {
    pub call: &'static &'static str,
    pub errno: Errno,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.call, self.errno)
    }
}

pub type Result<T> = std::result::Result<T, Error>;

/// Death: a worker ends before the step that it was told, wherever that is.
pub mod mortal {
    use super::Cell;
    use loom::thread::{self, ThreadId};

    /// What a worker unwinds with.
    pub struct Died;

    thread_local! {
        static LEFT: Cell<Option<(ThreadId, usize)>> = const { Cell::new(None) };
        /// How often somebody has died, in all worlds.
        static DEATHS: Cell<usize> = const { Cell::new(0) };
    }

    pub fn deaths() -> usize {
        DEATHS.get()
    }

    /// This thread dies after so many steps more, or never.
    pub fn live_for(steps: Option<usize>) {
        LEFT.set(steps.map(|steps| (thread::current().id(), steps)));
    }

    /// Whoever does anything that others can see says so before.
    pub fn step() {
        let Some((who, left)) = LEFT.get() else {
            return;
        };
        if who != thread::current().id() {
            return;
        }
        if left == 0 {
            LEFT.set(None);
            DEATHS.set(DEATHS.get() + 1);
            std::panic::resume_unwind(Box::new(Died));
        }
        LEFT.set(Some((who, left - 1)));
    }
}

pub mod atomic {
    use super::mortal::step;
    use loom::sync::atomic::fence;
    use loom::thread::{self, ThreadId};
    use std::cell::RefCell;
    use std::rc::Rc;
    pub use std::sync::atomic::Ordering;

    type Word = loom::sync::atomic::AtomicU64;

    thread_local! {
        /// Threads of this world that have stored with SeqCst and have had no fence since.
        static UNFENCED: RefCell<Vec<ThreadId>> = RefCell::default();
    }

    /// A word of the scoreboard. loom takes SeqCst accesses for acquire and release ones, and knows
    /// one order of fences alone. So there is a fence between two such accesses of a thread if the first
    /// is a store; and nowhere else, where it would order other accesses too.
    #[derive(Default)]
    pub struct AtomicU64(RefCell<Option<Rc<Word>>>);

    impl AtomicU64 {
        /// In a new world.
        pub fn renew(&self, is_used: bool) {
            self.0.replace(is_used.then(|| Rc::new(Word::new(0))));
            UNFENCED.take();
        }

        fn at(&self, order: Ordering) -> Rc<Word> {
            step();
            if order == Ordering::SeqCst {
                let this = thread::current().id();
                UNFENCED.with_borrow_mut(|all| {
                    all.extract_if(.., |one| *one == this)
                        .for_each(|_| fence(Ordering::SeqCst));
                });
            }
            let word = self.0.borrow();
            Rc::clone(word.as_ref().expect("a word that the model has not"))
        }

        fn note_store(order: Ordering) {
            if order == Ordering::SeqCst {
                UNFENCED.with_borrow_mut(|all| all.push(thread::current().id()));
            }
        }

        pub fn load(&self, order: Ordering) -> u64 {
            self.at(order).load(order)
        }

        pub fn store(&self, value: u64, order: Ordering) {
            self.at(order).store(value, order);
            Self::note_store(order);
        }

        pub fn swap(&self, value: u64, order: Ordering) -> u64 {
            let before = self.at(order).swap(value, order);
            Self::note_store(order);
            before
        }

        pub fn compare_exchange(
            &self,
            from: u64,
            to: u64,
            order: Ordering,
            failed: Ordering,
        ) -> std::result::Result<u64, u64> {
            let exchanged = self.at(order).compare_exchange(from, to, order, failed);
            if exchanged.is_ok() {
                Self::note_store(order);
            }
            exchanged
        }

        pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
            let before = self.at(order).fetch_add(value, order);
            Self::note_store(order);
            before
        }

        pub fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
            let before = self.at(order).fetch_or(value, order);
            Self::note_store(order);
            before
        }

        pub fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
            let before = self.at(order).fetch_max(value, order);
            Self::note_store(order);
            before
        }
    }
}

pub mod memory {
    use super::Result;
    use super::atomic::AtomicU64;
    use std::cell::RefCell;
    use std::collections::HashMap;

    /// More words than these are no workers' slots, and not in the model.
    const MOST: usize = 1000;

    thread_local! {
        static MAPS: RefCell<HashMap<usize, &'static [AtomicU64]>> = RefCell::default();
    }

    /// The same memory for each world, emptied.
    pub fn shared_words(len: usize) -> Result<&'static [AtomicU64]> {
        let words = MAPS.with_borrow_mut(|maps| {
            *maps.entry(len).or_insert_with(|| {
                let words = std::iter::repeat_with(AtomicU64::default).take(len);
                Box::leak(words.collect::<Vec<_>>().into_boxed_slice())
            })
        });
        words.iter().for_each(|word| word.renew(len < MOST));
        Ok(words)
    }
}

pub mod time {
    use std::time::Duration;

    take!("src/sys/time.rs", "pub struct Moment", "impl Moment");

    /// It stands still, late enough for everything to be long ago at first.
    pub fn now() -> Moment {
        Moment::from_micros(1_000_000)
    }
}

pub mod process {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Pid(i32);

    impl std::fmt::Display for Pid {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.fmt(f)
        }
    }

    impl Pid {
        pub fn new(number: i32) -> Option<Self> {
            (number > 0).then_some(Self(number))
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Ended {
        Exited(i32),
        Killed(i32),
    }

    pub struct Reaped {
        pub pid: Pid,
        pub ended: Ended,
    }

    /// The model does that itself.
    pub fn reap(_pid: Option<Pid>) -> super::Result<Option<Reaped>> {
        Ok(None)
    }

    pub fn kill(_pid: Pid, _signal: i32) -> super::Result<()> {
        Ok(())
    }
}

pub mod fd {
    use super::mortal::step;
    use crate::channel::Channel;
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;
    use std::rc::Rc;

    /// A copy of a descriptor.
    #[derive(Clone)]
    pub struct OwnedFd(Rc<File>);

    pub type BorrowedFd<'a> = &'a OwnedFd;

    enum File {
        Channel(Channel),
        Socket(Socket),
    }

    impl OwnedFd {
        pub fn of_channel(channel: Channel) -> Self {
            Self(Rc::new(File::Channel(channel)))
        }

        pub fn of_socket(socket: Socket) -> Self {
            Self(Rc::new(File::Socket(socket)))
        }

        pub fn channel(&self) -> &Channel {
            match &*self.0 {
                File::Channel(channel) => channel,
                File::Socket(_) => panic!("a client in the place of a channel"),
            }
        }

        pub fn socket(&self) -> &Socket {
            match &*self.0 {
                File::Socket(socket) => socket,
                File::Channel(_) => panic!("a channel in the place of a client"),
            }
        }
    }

    impl std::fmt::Debug for OwnedFd {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a descriptor")
        }
    }

    pub trait AsFd {
        fn as_fd(&self) -> BorrowedFd<'_>;
    }

    impl AsFd for OwnedFd {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self
        }
    }

    /// What a client does while a worker rests with it. Once there is nothing more it is silent for
    /// ever, and no rest ends by its time limit.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Act {
        Speaks,
        /// Until the rest's time is over.
        IsSilent,
    }

    /// What has really become of a client's request.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
    pub enum Truth {
        /// It lies in the socket.
        Unread,
        Taken,
        Launched,
        /// A part of the response may be sent.
        Answering,
        Answered,
    }

    /// What becomes of a client that the parent has again.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Whereabouts {
        Parked,
        Queued,
        Held,
        Refused,
        Closed,
    }

    /// A client's connection, and what really happens on it.
    pub struct Socket {
        /// Who has the client writes here: loom tells if somebody else does without having been given
        /// the client.
        owner: loom::cell::UnsafeCell<()>,
        pub truth: Cell<Truth>,
        acts: RefCell<VecDeque<Act>>,
        /// What became of it since it was handed over.
        fate: Cell<Option<Whereabouts>>,
        /// Responses that it got as a whole.
        pub answers: Cell<u32>,
    }

    impl Socket {
        /// Its first request is there.
        pub fn new(acts: &[Act]) -> Self {
            Self {
                owner: loom::cell::UnsafeCell::new(()),
                truth: Cell::new(Truth::Unread),
                acts: RefCell::new(acts.iter().copied().collect()),
                fate: Cell::new(None),
                answers: Cell::new(0),
            }
        }

        /// Whoever calls this has the client.
        pub fn touch(&self) {
            self.owner.with_mut(|_| ());
        }

        /// Worker: goes on with the request.
        pub fn go_on(&self, truth: Truth) {
            step();
            self.touch();
            self.truth.set(truth);
            if truth == Truth::Answered {
                self.answers.set(self.answers.get() + 1);
            }
        }

        /// What it does in a rest.
        pub fn act(&self) -> Option<Act> {
            let act = self.acts.borrow_mut().pop_front();
            if act == Some(Act::Speaks) {
                self.truth.set(Truth::Unread);
            }
            act
        }

        /// Parent: gives it away.
        pub fn hand_over(&self) {
            self.touch();
            self.fate.set(None);
        }

        /// Parent: has it again.
        pub fn decide(&self, fate: Whereabouts) {
            self.touch();
            let before = self.fate.replace(Some(fate));
            assert!(before.is_none(), "a client is {before:?} and {fate:?}");
        }

        pub fn fate(&self) -> Option<Whereabouts> {
            self.fate.get()
        }

        /// Parent: the client is in the queue again.
        pub fn requeue(&self) {
            self.touch();
            self.fate.set(Some(Whereabouts::Queued));
        }
    }
}

pub mod signal {
    pub const SIGKILL: i32 = 9;
}

pub mod poll {
    use super::Result;
    use super::fd::{Act, BorrowedFd, OwnedFd};
    use super::mortal::step;
    use std::time::Duration;

    pub const READABLE: i16 = 1;
    pub const HUNG_UP: i16 = 2;

    pub struct PollFd {
        fd: OwnedFd,
        pub revents: i16,
    }

    pub fn of(fd: BorrowedFd<'_>, _events: i16) -> PollFd {
        let fd = fd.clone();
        PollFd { fd, revents: 0 }
    }

    /// Waits for the channel and the client, as a rest does.
    pub fn wait_undisturbed(set: &mut [PollFd; 2], _timeout: Option<Duration>) -> Result<bool> {
        let [channel, client] = set;
        step();
        let act = client.fd.socket().act();
        client.revents = i16::from(act == Some(Act::Speaks));
        let is_ordered = channel.fd.channel().poll(act.is_none());
        channel.revents = i16::from(is_ordered);
        step();
        Ok(channel.revents + client.revents > 0)
    }
}
