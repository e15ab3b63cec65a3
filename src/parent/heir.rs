//! An upgrade, seen from the old server: SIGUSR2 starts its own program again, which gets copies of
//! all that cannot be had twice, and once it is ready the parked clients too. Parent only.
//!
//! Nothing that is copied is given up before this process leaves, so whatever becomes of the heir,
//! it can all be taken back (`loss`), unless that has an heir of its own by then. Refuses to know what the new program makes of it.

mod loss;

use super::Parent;
use super::elder::Elder;
use super::handover::{Passenger, RECORD_BYTES, Record, decode, encode};
use super::life::State;
use super::lot::{End, Id, State as Parked};
use super::restart::{Command, own_program};
use super::start::START_TIMEOUT;
use super::token::Token;
use crate::sys::fd::AsFd;
use crate::sys::passing::{receive_record, send_record};
use crate::sys::process::{self, Pid};
use crate::sys::readiness::Interest;
use crate::sys::time::Moment;
use crate::sys::{self, Errno, Error, signal, socket};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// First byte of what a server says to who waits for its start, a text follows: it is ready, it cannot
/// start. Once it is in charge it speaks in records.
pub(super) const READY: u8 = b'+';
pub(super) const FAILED: u8 = b'-';

/// How often is looked whether the new server has read all, which nobody is told of.
const READ_PAUSE: Duration = Duration::from_millis(50);

/// The order in which clients go: who waits for something first.
const BOARDING: [Parked; 7] = [
    Parked::Queued,
    Parked::Stalled,
    Parked::Drain,
    Parked::Body,
    Parked::Head,
    Parked::Idle,
    Parked::Linger,
];

/// The new server.
pub(super) struct Heir {
    pid: Pid,
    socket: OwnedFd,
    /// By then it must be ready.
    until: Moment,
    /// It is in charge.
    is_settled: bool,
    /// Somebody was handed on to it.
    has_clients: bool,
    /// Whom it has left everything to itself.
    next: Option<Pid>,
    /// Why it cannot start, in its own words.
    why: String,
}

/// What a server knows of those before and after it.
pub(super) struct Upgrade {
    /// Where this program is found when it has been replaced.
    pub(super) program: PathBuf,
    /// SIGUSR2 came; the last worker that is starting is waited for.
    pub(super) is_due: bool,
    pub(super) heir: Option<Heir>,
    pub(super) elder: Option<Elder>,
    /// This server follows another one.
    pub(super) is_follower: bool,
}

impl Upgrade {
    pub(super) fn new(elder: Option<Elder>) -> Self {
        Self {
            program: own_program(),
            is_due: false,
            heir: None,
            is_follower: elder.is_some(),
            elder,
        }
    }
}

/// Tells the server before who has everything now: should this one be killed, that is its heir.
pub(super) fn tell_follower(elder: Option<&Elder>, follower: Option<Pid>) {
    if let Some(elder) = elder {
        let _ = send_record(elder.fd(), &encode(&Record::Follower(follower)), &[]);
    }
}

impl Parent {
    /// SIGUSR2.
    #[cold]
    pub(super) fn order_upgrade(&mut self) {
        if self.estate.settings.chroot.is_some() {
            // Inside, whoever may write there could have put another program in its place.
            self.log().error(format_args!(
                "unable to upgrade, going on as before: the program is outside of --chroot; restart the server instead"
            ));
        } else if self.state == State::Serving && self.upgrade.heir.is_none() {
            self.upgrade.is_due = true;
        } else {
            self.log().warn(format_args!(
                "this is no time for an upgrade: SIGUSR2 ignored"
            ));
        }
    }

    /// No worker is started meanwhile: the new server would be asked who it is.
    pub(super) fn is_upgrading(&self) -> bool {
        self.upgrade.is_due || self.upgrade.heir.is_some()
    }

    /// Everything is another server's.
    pub(super) fn is_bequeathed(&self) -> bool {
        self.follower().is_some()
    }

    /// Whether this is the new server, or the one that follows it: that is a child of this one as soon
    /// as the one between has gone.
    pub(super) fn is_heir(&self, pid: Pid) -> bool {
        let heir = self.upgrade.heir.as_ref();
        heir.is_some_and(|heir| heir.pid == pid || heir.next == Some(pid))
    }

    /// Who has everything, if not this server.
    pub(super) fn follower(&self) -> Option<Pid> {
        let heir = self.upgrade.heir.as_ref();
        heir.filter(|heir| heir.is_settled).map(|heir| heir.pid)
    }

    /// When an upgrade has to be looked at again.
    pub(super) fn heir_deadline(&self) -> Option<Moment> {
        let heir = self.upgrade.heir.as_ref()?;
        if !heir.is_settled {
            return Some(heir.until);
        }
        (self.lot.len() == 0 && !self.has_read_all()).then(|| self.now.after(READ_PAUSE))
    }

    /// The next steps of an upgrade, once per turn.
    pub(super) fn upgrade(&mut self) {
        if self.upgrade.is_due && self.pool.starting() == 0 {
            self.upgrade.is_due = false;
            self.begin_upgrade();
        }
        match &self.upgrade.heir {
            Some(heir) if heir.is_settled => self.bequeath(),
            Some(heir) if heir.until <= self.now => {
                let seconds = START_TIMEOUT.as_secs();
                self.take_back(&format!("the new server was not ready within {seconds} s"));
            }
            _ => {}
        }
    }

    #[cold]
    fn begin_upgrade(&mut self) {
        match self.start_heir() {
            Ok(heir) => {
                // The new server's workers connect there.
                let _ = self.readiness.forget(self.meeting.listener.as_fd());
                let pid = heir.pid;
                self.log().info(format_args!(
                    "upgrading: started {pid}, {}",
                    self.upgrade.program.display()
                ));
                self.upgrade.heir = Some(heir);
            }
            Err(e) => self.log().error(format_args!("unable to upgrade: {e}")),
        }
    }

    #[cold]
    fn start_heir(&mut self) -> sys::Result<Heir> {
        let (own, other) = socket::pair()?;
        let command = Command::new(&self.upgrade.program);
        self.readiness
            .park(own.as_fd(), Token::Heir.number(), Interest::Read)?;
        // Until the child has its own dispositions, a signal would be noted in the parent's pipe.
        let mask = signal::block_all();
        let forked = process::fork();
        if let Ok(None) = forked {
            command.run(&self.folder, self.estate.handler_descriptor_limit, &other);
        }
        if let Ok(mask) = mask {
            let _ = signal::restore(&mask);
        }
        let sent = forked.and_then(|pid| {
            let pid = pid.ok_or(Error {
                call: &"fork",
                errno: Errno::SRCH,
            })?;
            // If it hears nothing it ends.
            self.send_estate(own.as_fd()).map(|()| pid)
        });
        match sent {
            Ok(pid) => Ok(Heir {
                pid,
                socket: own,
                until: self.now.after(START_TIMEOUT),
                is_settled: false,
                has_clients: false,
                next: None,
                why: String::new(),
            }),
            Err(e) => {
                let _ = self.readiness.forget(own.as_fd());
                Err(e)
            }
        }
    }

    /// What cannot be had twice: locks, sockets.
    #[cold]
    fn send_estate(&self, heir: BorrowedFd<'_>) -> sys::Result<()> {
        let count = u16::try_from(self.listeners.len()).unwrap_or(u16::MAX);
        let hello = encode(&Record::Hello(count, self.accepted));
        let pid_file = self
            .pid_file
            .as_ref()
            .map(|pid_file| pid_file.file().as_fd());
        let files: Vec<_> = pid_file
            .into_iter()
            .chain([self.meeting.listener.as_fd()])
            .collect();
        send_record(heir, &hello, &files)?;
        for listener in &self.listeners {
            let record = encode(&Record::Listener(listener.index, listener.wish.clone()));
            send_record(heir, &record, &[listener.fd()])?;
        }
        for elder in self.upgrade.elder.iter().flat_map(Elder::lines) {
            send_record(heir, &encode(&Record::Before), &[elder])?;
        }
        Ok(())
    }

    /// The new server has said something, or has room for more clients.
    #[cold]
    pub(super) fn on_heir(&mut self) {
        while let Some(heir) = &mut self.upgrade.heir {
            if heir.is_settled {
                return self.hear_heir();
            }
            let mut bytes = [0; 512];
            let said = match socket::receive(heir.socket.as_fd(), &mut bytes) {
                Ok(n) => bytes.get(..n).unwrap_or_default(),
                // An error is told once: what it has said, or its end, comes next.
                Err(_) => return self.arm_heir(Interest::Read),
            };
            match said.split_first() {
                // Its end comes by SIGCHLD.
                None => return,
                Some((&READY, _)) => self.give_way(),
                Some((&FAILED, why)) => heir.why = String::from_utf8_lossy(why).into_owned(),
                Some(_) => {}
            }
        }
    }

    /// What a server says that is in charge.
    fn hear_heir(&mut self) {
        while let Some(heir) = &mut self.upgrade.heir {
            let mut bytes = [0; RECORD_BYTES];
            let received = match receive_record(heir.socket.as_fd(), &mut bytes) {
                Ok(received) if received.len > 0 => received,
                Ok(_) => return,
                Err(_) => return self.arm_heir(Interest::Read),
            };
            match (decode(&bytes), received.passed) {
                (Some(Record::Stopping), _) => self.drain(),
                (Some(Record::Follower(next)), _) => heir.next = next,
                // It leaves, and had not read of it yet.
                (Some(Record::Client(passenger)), [Some(client), spool]) => {
                    self.take_on(&passenger, client, spool);
                }
                _ => {}
            }
        }
    }

    fn arm_heir(&mut self, interest: Interest) {
        if let Some(heir) = &self.upgrade.heir {
            let token = Token::Heir.number();
            let _ = self.readiness.rearm(heir.socket.as_fd(), token, interest);
        }
    }

    /// The new server is ready: from now on it accepts, and this one only finishes what it has begun.
    #[cold]
    fn give_way(&mut self) {
        let Some(heir) = &mut self.upgrade.heir else {
            return;
        };
        let pid = heir.pid;
        // First: should this server be killed between the two, the new one has everything.
        tell_follower(self.upgrade.elder.as_ref(), Some(pid));
        if send_record(heir.socket.as_fd(), &encode(&Record::Go), &[]).is_err() {
            // It has died just now.
            return;
        }
        heir.is_settled = true;
        self.set_own(false);
        self.write_pid(pid);
        self.notify.say(&format!("MAINPID={pid}"));
        let (clients, busy) = (self.lot.len(), self.pool.busy());
        self.log().info(format_args!(
            "upgraded: {pid} serves now; of {clients} connections it gets all but {busy}, which are served here first"
        ));
        for listener in &self.listeners {
            // Already out during a pause.
            let _ = self.readiness.forget(listener.fd());
        }
        self.state = State::HandingOver;
        let slots: Vec<_> = self.pool.workers().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.dismiss(slot);
        }
    }

    /// Hands every client on that no worker has, until the new server has to catch its breath.
    fn bequeath(&mut self) {
        let held = if self.lot.count(Parked::Held) > 0 {
            self.lot.all(Parked::Held)
        } else {
            Vec::new()
        };
        for id in held {
            if !self.hand_on(id) {
                return;
            }
        }
        for state in BOARDING {
            while let Some(id) = self.lot.at(state, End::Front) {
                if !self.hand_on(id) {
                    return;
                }
            }
        }
    }

    /// False if there is no room for it now.
    #[cold]
    fn hand_on(&mut self, id: Id) -> bool {
        let (Some(heir), Some(state), Some(connection)) =
            (&mut self.upgrade.heir, self.lot.state(id), self.lot.get(id))
        else {
            return false;
        };
        let record = encode(&Record::Client(Passenger::of(connection, state)));
        let client = connection.client.as_fd();
        heir.has_clients = true;
        let heir = heir.socket.as_fd();
        let sent = match &connection.spool {
            Some(spool) => send_record(heir, &record, &[client, spool.as_fd()]),
            None => send_record(heir, &record, &[client]),
        };
        match sent {
            Ok(_) => self.forget(id),
            // It takes nobody any more, and is about to end. Armed, its socket would wake this server
            // for ever.
            Err(e) if e.errno == Errno::PIPE => {}
            Err(_) => self.arm_heir(Interest::Write),
        }
        sent.is_ok()
    }

    /// Says whom signals are for.
    #[cold]
    pub(super) fn write_pid(&self, pid: Pid) {
        if let Some(pid_file) = &self.pid_file
            && let Err(e) = pid_file.write(pid)
        {
            self.log().error(format_args!("{e}"));
        }
    }

    /// Whether what others know the server by goes with this one.
    #[cold]
    pub(super) fn set_own(&mut self, is_own: bool) {
        if let Some(pid_file) = &mut self.pid_file {
            pid_file.set_own(is_own);
        }
        self.meeting.set_own(is_own);
        for listener in &mut self.listeners {
            listener.set_own(is_own);
        }
    }
}
