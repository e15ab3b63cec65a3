//! The parent: its books, and what it does with verdicts, rests and deaths, are the source's; what it
//! does with a client that it has is only noted.

use crate::birth::Birth;
use crate::channel::{Channel, Inbox, Incoming, Stage};
use crate::scoreboard::{Phase, Scoreboard, Slot};
use crate::settings::Settings;
use crate::sys::fd::{Act, OwnedFd, Socket, Truth, Whereabouts};
use crate::sys::mortal::{self, Died};
use crate::sys::process::{Ended, Pid, Reaped};
use crate::sys::time;
use crate::worker::work;
use connections::{Connections, State};
use context::{Context, Id, Turnover};
use life::Life;
use loom::thread::JoinHandle;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use workers::{Duty, Workers};

mod life {
    whole!("src/parent/life.rs");
}

mod error {
    pub(super) enum Error {
        Workers(String),
    }
}

mod context {
    use super::Nothing;
    use super::life::Life;
    use crate::channel::Serve;
    use crate::scoreboard::Scoreboard;
    use crate::settings::Settings;
    use crate::sys::fd::BorrowedFd;
    use crate::sys::process::Pid;
    use crate::sys::time::Moment;
    use std::rc::Rc;
    use std::time::Duration;

    take!(
        "src/parent/context.rs",
        "pub(super) struct Id",
        "pub(super) struct Ordered",
        "const BURST_GAP",
        "pub(super) struct Burst",
        "impl Burst",
        "pub(super) struct Demand",
        "pub(super) struct Turnover",
        "impl Turnover",
        "pub(super) type Successors"
    );

    pub(super) struct Context {
        pub(super) settings: Rc<Settings>,
        pub(super) scoreboard: Rc<Scoreboard>,
        pub(super) log: Nothing,
        pub(super) readiness: Nothing,
        pub(super) now: Moment,
        pub(super) life: Life,
        pub(super) turnover: Turnover,
    }

    impl Context {
        take!("src/parent/context.rs", "fn is_stopping");
    }
}

/// What is not in the model: it does nothing.
struct Nothing;

impl Nothing {
    fn remove(&self, _index: u32) {}

    fn forget(&self, _fd: &OwnedFd) -> crate::sys::Result<()> {
        Ok(())
    }

    fn error(&self, _text: std::fmt::Arguments<'_>) {}

    fn warn(&self, _text: std::fmt::Arguments<'_>) {}

    fn debug(&self, _text: std::fmt::Arguments<'_>) {}

    fn has_handed_over(&self) -> bool {
        false
    }

    fn is_under_way(&self) -> bool {
        false
    }

    fn successors(&self) -> context::Successors {
        [None; 2]
    }
}

mod workers {
    mod death {
        whole!("src/parent/workers/death.rs");
    }
    mod duty {
        whole!("src/parent/workers/duty.rs");
    }
    mod edition {
        whole!("src/parent/workers/edition.rs");
    }
    mod pace {
        whole!("src/parent/workers/pace.rs");
    }
    mod pool {
        whole!("src/parent/workers/pool.rs");
    }
    mod rest {
        whole!("src/parent/workers/rest.rs");
    }
    mod owner {
        use super::duty::Duty;
        use super::pool::Pool;
        use crate::channel::{self, Channel, Inbox, Incoming, Order, Verdict};
        use crate::parent::context::{Context, Id, Ordered, Successors};
        use crate::scoreboard::{Report, Slot, Ticket};
        use crate::sys::fd::{AsFd, OwnedFd};
        use crate::sys::process::{self, Pid};
        use crate::sys::time::Moment;
        use crate::sys::{Errno, Error, signal};
        use std::fmt::Display;

        /// The error of an order to a worker that has no channel.
        const GONE: Error = Error {
            call: &"sendmsg",
            errno: Errno::NOTCONN,
        };

        pub(in crate::parent) struct Workers {
            pub(super) pool: Pool,
            pub(super) rest: Rest,
        }

        take!(
            "src/parent/workers/owner.rs",
            "pub(super) struct Rest",
            "pub(in crate::parent) struct Finished",
            "pub(in crate::parent) enum Heard"
        );

        impl Workers {
            take!(
                "src/parent/workers/owner.rs",
                "fn next_ticket",
                "fn pool",
                "fn send",
                "fn hear",
                "fn lose_spool",
                "fn judge",
                "fn let_go",
                "fn set_free",
                "fn give_up",
                "fn hang_up",
                "fn drop_channel",
                "fn retire",
                "fn dismiss",
                "fn kill"
            );

            /// Distrust is a rule that is broken: nobody here says what he may not.
            pub(in crate::parent) fn distrust(
                &mut self,
                _: &Context,
                slot: Slot,
                why: &dyn Display,
            ) {
                panic!("worker {} is distrusted: {why}", slot.0);
            }

            fn watch_soon(&mut self, _ctx: &Context) {}

            pub(in crate::parent) fn adopt_detached(
                &mut self,
                _: &Context,
                _: Successors,
                _: Option<Pid>,
            ) {
            }

            pub(in crate::parent) fn end_orphans(
                &mut self,
                _: &Context,
                _: Successors,
                _: Option<Pid>,
            ) {
            }

            pub(in crate::parent) fn new(most: usize) -> Self {
                Self {
                    pool: Pool::new(most),
                    rest: Rest::default(),
                }
            }

            /// A new worker that is ready.
            pub(in crate::parent) fn add(&mut self, inbox: &Inbox, now: Moment) -> Slot {
                let slot = self.pool.vacant().unwrap();
                let pid = Pid::new(1 + i32::try_from(slot.0).unwrap()).unwrap();
                self.pool.add(slot, pid, now);
                let channel = OwnedFd::of_channel(Channel::new(slot, inbox));
                self.pool.get_mut(slot).unwrap().channel = Some(channel);
                self.pool.assign(slot, Duty::Ready, now);
                slot
            }

            /// Its channel, while the worker lives.
            pub(in crate::parent) fn channel(&self, slot: Slot) -> Option<OwnedFd> {
                self.pool.get(slot).and_then(|w| w.channel.clone())
            }

            pub(in crate::parent) fn pid(&self, slot: Slot) -> Pid {
                self.pool.get(slot).unwrap().pid
            }

            /// What a worker has said.
            pub(in crate::parent) fn hear_of(
                &mut self,
                ctx: &Context,
                slot: Slot,
                said: Incoming,
            ) -> Heard {
                self.hear(ctx, slot, Ok(said))
            }
        }
    }

    pub(in crate::parent) use duty::Duty;
    pub(in crate::parent) use owner::{Finished, Heard, Workers};
}

mod connections {
    mod account {
        whole!("src/parent/connections/account.rs");
    }
    mod fate {
        whole!("src/parent/connections/fate.rs");
    }
    mod state {
        whole!("src/parent/connections/state.rs");
    }
    mod table {
        whole!("src/parent/connections/table.rs");
    }
    mod verdicts {
        whole!("src/parent/connections/verdicts.rs");
    }
    mod canned {
        #[derive(Clone, Copy)]
        pub(super) enum Canned {
            Busy(u32),
            Unread,
            Lost,
        }
    }
    mod transfer {
        use super::table::Connection;
        use crate::channel::Serve;
        use crate::scoreboard::Ticket;

        impl Connection {
            take!("src/parent/connections/transfer.rs", "fn serve");
        }
    }
    mod queue {
        whole!("src/parent/connections/queue.rs");
    }
    mod owner {
        use super::account::Account;
        use super::canned::Canned;
        use super::state::State;
        use super::table::{Connection, End, Table};
        use crate::channel::Stage;
        use crate::parent::Nothing;
        use crate::parent::context::{Burst, Context, Id};
        use crate::sys::fd::{OwnedFd, Truth, Whereabouts};

        pub(in crate::parent) struct Connections {
            pub(super) table: Table,
            pub(super) wheel: Nothing,
            pub(super) said: Said,
        }

        take!("src/parent/connections/owner.rs", "pub(super) struct Said");

        // What becomes of a client.
        impl Connections {
            take!("src/parent/connections/owner.rs", "fn count");

            pub(super) fn park(
                &mut self,
                _: &Context,
                id: Id,
                to: (State, Stage),
                _: Option<OwnedFd>,
            ) {
                let (state, stage) = to;
                if let Some(connection) = self.table.get_mut(id) {
                    connection.stage = stage;
                    connection.requests += u32::from(state == State::Idle);
                    let socket = connection.client.socket();
                    socket.decide(Whereabouts::Parked);
                    let is_between = matches!(socket.truth.get(), Truth::Unread | Truth::Answered);
                    assert!(is_between, "{:?}, and parked", socket.truth.get());
                }
                self.table.enter(id, state, End::Back);
            }

            pub(super) fn set_deadline(&mut self, _: &Context, id: Id, state: State) {
                if state == State::Held
                    && let Some(connection) = self.table.get(id)
                {
                    connection.client.socket().decide(Whereabouts::Held);
                }
            }

            fn end(&mut self, ctx: &Context, id: Id, how: Whereabouts) {
                self.pass_on(ctx, id);
                if let Some(connection) = self.table.remove(id) {
                    connection.client.socket().decide(how);
                }
            }

            pub(super) fn refuse(&mut self, ctx: &Context, id: Id, _: Canned) {
                self.end(ctx, id, Whereabouts::Refused);
            }

            pub(in crate::parent) fn reset(&mut self, ctx: &Context, id: Id) {
                self.end(ctx, id, Whereabouts::Closed);
            }

            pub(super) fn close(&mut self, ctx: &Context, id: Id) {
                self.end(ctx, id, Whereabouts::Closed);
            }

            pub(super) fn close_gently(&mut self, ctx: &Context, id: Id) {
                self.end(ctx, id, Whereabouts::Closed);
            }

            pub(super) fn linger(&mut self, ctx: &Context, id: Id) {
                self.end(ctx, id, Whereabouts::Closed);
            }

            pub(super) fn lend_spool(&mut self, _: &Context, id: Id) {
                if let Some(connection) = self.table.get(id) {
                    connection.client.socket().hand_over();
                }
            }

            pub(in crate::parent) fn take_spool_back(&mut self, _: &Context, id: Id) {
                if let Some(connection) = self.table.get(id) {
                    connection.client.socket().requeue();
                }
            }

            pub(super) fn set_spool(&mut self, _: &Context, _: Id, _: Option<OwnedFd>) {}

            pub(super) fn note_heavy(&self, _: &Context, _: u64, _: Option<&OwnedFd>) {}

            pub(super) fn set_aside(&mut self, _: &Context, _: Id) {}
        }

        // What the rules do with it.
        impl Connections {
            pub(in crate::parent) fn new() -> Self {
                Self {
                    table: Table::new(),
                    wheel: Nothing,
                    said: Said::default(),
                }
            }

            /// A new client is in the queue.
            pub(in crate::parent) fn add(&mut self, ctx: &Context, client: OwnedFd) -> Id {
                let id = self.table.add(Connection {
                    client,
                    spool: None,
                    account: Account::of(None, &[]),
                    number: 0,
                    head_begun: ctx.now,
                    progress: ctx.now,
                    woken: ctx.now,
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
                });
                self.queue(ctx, id, End::Back);
                id
            }

            pub(in crate::parent) fn state(&self, id: Id) -> Option<State> {
                self.table.state(id)
            }
        }
    }

    pub(in crate::parent) use fate::Fate;
    pub(in crate::parent) use owner::Connections;
    pub(in crate::parent) use state::State;
    pub(in crate::parent) use verdicts::Visit;
}

/// The parent.
pub struct Parent {
    ctx: Context,
    connections: Connections,
    workers: Workers,
    upgrade: Nothing,
    failure: Option<error::Error>,
    inbox: Inbox,
    threads: Vec<Option<JoinHandle<Ended>>>,
    /// Everybody that ever came, and their sockets.
    clients: Vec<(Id, OwnedFd)>,
    /// A worker's end is seen before its last words are, and acted on at once; else after them, and a turn
    /// later.
    pub ends_first: bool,
}

mod serving {
    use super::Parent;
    use super::connections::{Fate, State, Visit};
    use super::error::Error;
    use super::life::Life;
    use super::workers::{Duty, Finished, Heard};
    use crate::scoreboard::Slot;
    use crate::sys;
    use crate::sys::process::Reaped;

    impl Parent {
        take!(
            "src/parent/serving.rs",
            "fn dispatch",
            "fn hand_over",
            "fn act_on_heard",
            "fn settle",
            "fn rouse",
            "fn rouse_longest",
            "fn rouse_one",
            "fn need_workers",
            "fn let_rest",
            "fn dismiss"
        );

        take!("src/parent/serving.rs", "fn bury");

        /// What `reap` does with a worker.
        pub(super) fn bury_reaped(&mut self, slot: Slot, reaped: Reaped) {
            self.bury(slot, reaped);
        }

        fn make_room(&mut self) {}
    }
}

// What the rules do with it.
impl Parent {
    /// A parent without workers; one with a limit learns of rests, see [`Inbox::new`].
    pub fn new(max_concurrent: Option<usize>) -> Self {
        let mut settings = Settings::default();
        settings.limits.max_concurrent = max_concurrent;
        settings.limits.max_queue = 2;
        settings.workers = 2;
        Self {
            ctx: Context {
                settings: Rc::new(settings),
                scoreboard: Rc::new(Scoreboard::new(2).unwrap()),
                log: Nothing,
                readiness: Nothing,
                now: time::now(),
                life: Life::Serving,
                turnover: Turnover::default(),
            },
            connections: Connections::new(),
            workers: Workers::new(2),
            upgrade: Nothing,
            failure: None,
            inbox: Inbox::new(max_concurrent.is_some()),
            threads: Vec::new(),
            clients: Vec::new(),
            ends_first: false,
        }
    }

    /// A new worker that is ready; [`Self::run`] lets it begin.
    pub fn add_worker(&mut self) -> Slot {
        self.threads.push(None);
        self.workers.add(&self.inbox, self.ctx.now)
    }

    /// The worker begins, and dies after so many steps, if at all.
    pub fn run(&mut self, slot: Slot, life: Option<usize>) {
        let scoreboard = Rc::clone(&self.ctx.scoreboard);
        let settings = Rc::clone(&self.ctx.settings);
        let channel = self.workers.channel(slot).unwrap();
        self.threads[slot.0] = Some(loom::thread::spawn(move || {
            let birth = Birth {
                slot,
                settings: &settings,
                scoreboard: &scoreboard,
            };
            if life.is_some() {
                mortal::live_for(life);
            }
            let worked = catch_unwind(AssertUnwindSafe(|| work(&birth, &channel)));
            if life.is_some() {
                mortal::live_for(None);
            }
            let ended = match worked {
                Ok(worked) => worked.map(|()| Ended::Exited(0)).unwrap(),
                Err(why) if why.is::<Died>() => Ended::Killed(9),
                Err(why) => resume_unwind(why),
            };
            channel.channel().close();
            ended
        }));
    }

    /// A client with a request comes into the queue. Its number.
    pub fn accept(&mut self, acts: &[Act]) -> usize {
        let client = OwnedFd::of_socket(Socket::new(acts));
        let id = self.connections.add(&self.ctx, client.clone());
        self.clients.push((id, client));
        self.clients.len() - 1
    }

    /// The end of a turn.
    pub fn end_turn(&mut self) {
        self.dispatch();
        self.let_rest();
    }

    /// A turn: waits for a worker's word, and acts on it. The end of a worker is one too.
    pub fn turn(&mut self) {
        let (slot, said) = self.inbox.next(self.ends_first);
        if matches!(said, Incoming::Nothing) {
            // In truth it would not have been awakened.
            return;
        }
        if !matches!(said, Incoming::Gone) {
            let heard = self.workers.hear_of(&self.ctx, slot, said);
            self.act_on_heard(heard);
            return self.end_turn();
        }
        if !self.ends_first {
            let heard = self.workers.hear_of(&self.ctx, slot, said);
            self.act_on_heard(heard);
            self.end_turn();
        }
        let ended = self.threads[slot.0].take().unwrap().join().unwrap();
        let pid = self.workers.pid(slot);
        self.check_salvage(slot, |parent| {
            parent.bury_reaped(slot, Reaped { pid, ended })
        });
        self.end_turn();
    }

    /// Whether all workers have ended.
    pub fn is_alone(&self) -> bool {
        self.workers.pool().total() == 0
    }

    /// Whether a client is parked, between two requests.
    pub fn is_idle(&self, client: usize) -> bool {
        let (id, _) = self.clients[client];
        self.connections.state(id) == Some(State::Idle)
    }

    /// Whether a client waits for a worker.
    pub fn is_queued(&self, client: usize) -> bool {
        let (id, _) = self.clients[client];
        self.connections.state(id) == Some(State::Queued)
    }

    /// Whether all clients have got a response, or are gone.
    pub fn is_done(&self) -> bool {
        let is_done = |(id, client): &(Id, OwnedFd)| {
            client.socket().answers.get() > 0 || self.connections.state(*id).is_none()
        };
        self.clients.iter().all(is_done)
    }

    /// Every client has exactly one place, which is what was decided last.
    pub fn check_owners(&self) {
        for (id, client) in &self.clients {
            let (state, fate) = (self.connections.state(*id), client.socket().fate());
            let is_right = match state {
                Some(State::Idle) => fate == Some(Whereabouts::Parked),
                // Or it was never handed over.
                Some(State::Queued) => matches!(fate, None | Some(Whereabouts::Queued)),
                Some(_) => false,
                None => matches!(fate, Some(Whereabouts::Refused | Whereabouts::Closed)),
            };
            assert!(is_right, "a client is {state:?} and {fate:?}");
        }
    }

    /// The parent's ends of all channels are closed, so that workers leave.
    pub fn hang_up(&self) {
        for slot in self.workers.pool().slots() {
            if let Some(channel) = self.workers.channel(slot) {
                channel.channel().hang_up();
            }
        }
    }

    /// The parent ends, and so do its workers.
    pub fn finish(mut self) {
        self.hang_up();
        for thread in self.threads.drain(..).flatten() {
            thread.join().unwrap();
        }
    }

    /// Tells a worker to leave, as soon as it is free.
    pub fn tell_to_leave(&mut self, slot: Slot) {
        self.dismiss(slot);
    }

    /// Takes a client back from whoever rests.
    pub fn take_one_back(&mut self) -> bool {
        self.rouse_longest()
    }

    /// A worker is buried: is what becomes of its client right, by what had really happened?
    fn check_salvage(&mut self, slot: Slot, bury: impl FnOnce(&mut Self)) {
        let phase = self.ctx.scoreboard.entry(slot).phase();
        let duty = self.workers.pool().duty(slot);
        let of_worker = self
            .clients
            .iter()
            .find(|(id, _)| duty == Some(Duty::Busy(*id)));
        let found = of_worker.map(|(id, client)| (*id, client.clone()));
        let truth = found
            .as_ref()
            .map(|(_, client)| client.socket().truth.get());
        bury(self);
        let (Some((id, client)), Some(truth)) = (found, truth) else {
            return;
        };
        let fate = client.socket().fate();
        // A phase is said before what it stands for is done.
        let is_right = match fate {
            None => false,
            Some(Whereabouts::Parked) => matches!(truth, Truth::Unread | Truth::Answered),
            Some(Whereabouts::Queued) => truth == Truth::Unread,
            Some(Whereabouts::Held) => truth == Truth::Unread,
            Some(Whereabouts::Refused) => {
                matches!(phase, Phase::Reading | Phase::Launched) && truth < Truth::Answering
            }
            Some(Whereabouts::Closed) => phase == Phase::Answering,
        };
        assert!(
            is_right,
            "{truth:?} in {phase:?}, and the client is {fate:?}"
        );
        assert_ne!(
            self.connections.state(id),
            Some(State::Serving),
            "the dead serve"
        );
    }
}
