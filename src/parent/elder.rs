//! An upgrade, seen from the new server: what it gets from the old one, at its start and once it is
//! ready. Parent only.
//!
//! Refuses to serve before the old server has said so: until then that one serves.

use super::Parent;
use super::account::Account;
use super::handover::{Passenger, RECORD_BYTES, Record, decode, encode};
use super::heir::tell_follower;
use super::life;
use super::listeners::{Listener, Wish, wishes};
use super::lot::{Connection, End, State};
use super::start::{Error, START_TIMEOUT};
use super::token::Token;
use crate::instance::{self, PidFile, UnixSocket};
use crate::settings::Settings;
use crate::sys::fd::AsFd;
use crate::sys::passing::{receive_record, send_record};
use crate::sys::readiness::Interest;
use crate::sys::teardown::{self, Direction};
use crate::sys::{Errno, poll, process};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Clients taken on in one turn.
const BATCH: usize = 128;

/// The old server.
pub(super) struct Elder {
    socket: OwnedFd,
    /// The lines to those before it, the last one first: each is listened to once those behind it have
    /// gone.
    before: Vec<OwnedFd>,
    /// This one has not been started by it, but by one that followed it.
    is_second_hand: bool,
    /// It was told that this one is ready.
    pub(super) has_heard: bool,
    /// It has left the rest to this one.
    pub(super) has_yielded: bool,
}

/// What one server has and no other, unless it is passed on.
pub(super) struct Claims {
    pub(super) pid_file: Option<PidFile>,
    pub(super) meeting: UnixSocket,
    pub(super) listeners: Vec<Listener>,
    /// Where they are bound, by number. An address that nobody can have stands for one that is gone.
    pub(super) addresses: Vec<Option<SocketAddr>>,
    pub(super) accepted: u64,
}

const NO_RECORD: Error = Error::Upgrade("the server before speaks another version");

impl Elder {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            before: Vec::new(),
            is_second_hand: false,
            has_heard: false,
            has_yielded: false,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The lines to it and to those before it.
    pub(super) fn lines(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let all = std::iter::once(&self.socket).chain(&self.before);
        all.map(AsFd::as_fd)
    }

    /// The next record, with what came along.
    #[cold]
    fn receive(&self) -> Result<(Record, [Option<OwnedFd>; 2]), Error> {
        let call = |why| Error::Call("take over from the server before", why);
        if !poll::wait_one(self.socket.as_fd(), poll::READABLE, START_TIMEOUT).map_err(call)? {
            return Err(Error::Upgrade("the server before says nothing"));
        }
        let mut bytes = [0; RECORD_BYTES];
        let received = receive_record(self.socket.as_fd(), &mut bytes).map_err(call)?;
        let record = decode(bytes.get(..received.len).unwrap_or_default());
        Ok((record.ok_or(NO_RECORD)?, received.passed))
    }

    /// Start: takes what it passes on.
    #[cold]
    pub(super) fn claims(&self, settings: &Settings) -> Result<Claims, Error> {
        let (Record::Hello(count, accepted), [Some(first), second]) = self.receive()? else {
            return Err(NO_RECORD);
        };
        let (pid_file, meeting) = match second {
            Some(meeting) => (Some(first), meeting),
            None => (None, first),
        };
        let pid_file = match (&settings.pid_file, pid_file) {
            (Some(path), Some(file)) => Some(PidFile::adopt(path, file)?),
            (None, None) => None,
            // There was no place for it.
            (Some(path), None) if instance::unplaced(path).is_some() => None,
            _ => return Err(Error::Upgrade("pid-file has changed: that takes a restart")),
        };
        let mut claims = Claims {
            pid_file,
            meeting: UnixSocket::adopt(&settings.socket, meeting, "--socket")?,
            listeners: Vec::new(),
            addresses: Vec::new(),
            accepted,
        };
        for _ in 0..count {
            let (Record::Listener(index, wish), [Some(socket), None]) = self.receive()? else {
                return Err(NO_RECORD);
            };
            claims.add(index, wish, socket)?;
        }
        Ok(claims)
    }
}

impl Claims {
    #[cold]
    fn add(&mut self, index: u8, wish: Option<Wish>, socket: OwnedFd) -> Result<(), Error> {
        let listener = Listener::adopt(index, wish, socket)?;
        let place = usize::from(index);
        if self.addresses.len() <= place {
            let gone = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            self.addresses.resize(place + 1, Some(gone));
        }
        if let Some(address) = self.addresses.get_mut(place) {
            *address = listener.address;
        }
        self.listeners.push(listener);
        Ok(())
    }
}

impl Parent {
    /// Whether the old server still has the last word: it is told once that this one is ready.
    pub(super) fn waits_for_elder(&mut self, line: &str) -> bool {
        match &mut self.upgrade.elder {
            Some(elder) if !elder.has_yielded => {
                if !std::mem::replace(&mut elder.has_heard, true) {
                    self.starter.announce(line);
                }
                true
            }
            _ => false,
        }
    }

    /// This is the server now.
    #[cold]
    pub(super) fn take_office(&mut self) {
        self.set_own(true);
        // The one before has done so, unless it died.
        self.write_pid(process::pid());
        let settings = &self.estate.settings;
        let wishes = wishes(&settings.bind, settings.port);
        if let Err(e) = self.change_listeners(wishes) {
            self.log().error(format_args!("{e}"));
        }
    }

    /// The old server has said something.
    #[cold]
    pub(super) fn on_elder(&mut self) {
        if matches!(self.state, life::State::Draining { until, .. } if until <= self.now) {
            // Who is not taken yet goes back in this turn.
            return;
        }
        for _ in 0..BATCH {
            let Some(elder) = &mut self.upgrade.elder else {
                return;
            };
            let mut bytes = [0; RECORD_BYTES];
            let received = match receive_record(elder.socket.as_fd(), &mut bytes) {
                Ok(received) if received.len > 0 => received,
                Err(e) if e.is_would_block() => return,
                Err(e) if e.errno == Errno::MFILE => {
                    self.log()
                        .error(format_args!("unable to take a client on: {e}"));
                    self.make_room();
                    continue;
                }
                _ => return self.next_elder(),
            };
            match (decode(&bytes), received.passed) {
                (Some(Record::Go), _) => elder.has_yielded = true,
                (Some(Record::Before), [Some(line), _]) => elder.before.push(line),
                (Some(Record::Client(passenger)), [Some(client), spool])
                    if spool.is_some() || !passenger.needs_spool() =>
                {
                    self.take_on(&passenger, client, spool);
                }
                _ => {
                    self.log()
                        .error(format_args!("the server before says nonsense"));
                    return self.bury_elder();
                }
            }
        }
    }

    /// The old server has gone. Whoever it followed itself may still have clients; if this one was not in
    /// charge yet, that one has everything back or says that it is.
    #[cold]
    fn next_elder(&mut self) {
        let Some(mut elder) = self.upgrade.elder.take() else {
            return;
        };
        let _ = self.readiness.forget(elder.socket.as_fd());
        if elder.before.is_empty() {
            if elder.is_second_hand && !elder.has_yielded {
                self.failure
                    .get_or_insert(Error::Upgrade("the server before is gone"));
            }
            return;
        }
        elder.socket = elder.before.remove(0);
        elder.is_second_hand = true;
        let token = Token::Elder.number();
        if let Err(e) = self.readiness.watch(elder.fd(), token) {
            self.log()
                .error(format_args!("unable to take clients on: {e}"));
            return;
        }
        if self.is_bequeathed() {
            tell_follower(Some(&elder), self.follower());
        }
        self.upgrade.elder = Some(elder);
    }

    /// Takes nothing more from the old server.
    pub(super) fn bury_elder(&mut self) {
        if let Some(elder) = self.upgrade.elder.take() {
            let _ = self.readiness.forget(elder.socket.as_fd());
        }
    }

    /// This server stops, so nobody would serve whom the old one still sends: it keeps them, and gets
    /// those back that this one has not taken yet. Should it have gone, they are cut with the others.
    #[cold]
    pub(super) fn give_back(&mut self) {
        // A successor has the line too.
        let is_last = !self.is_bequeathed();
        if let Some(elder) = self.upgrade.elder.as_ref().filter(|_| is_last) {
            let _ = teardown::shutdown(elder.fd(), Direction::Read);
        }
        while is_last && let Some(elder) = &self.upgrade.elder {
            let mut bytes = [0; RECORD_BYTES];
            let received = receive_record(elder.fd(), &mut bytes);
            let Some(received) = received.ok().filter(|received| received.len > 0) else {
                break;
            };
            let passed: Vec<BorrowedFd<'_>> =
                received.passed.iter().flatten().map(AsFd::as_fd).collect();
            if send_record(elder.fd(), &bytes, &passed).is_err()
                && let Some(Record::Client(passenger)) = decode(&bytes)
                && let [Some(client), spool] = received.passed
            {
                self.take_on(&passenger, client, spool);
            }
        }
        self.bury_elder();
    }

    /// The old server stops too.
    pub(super) fn tell_elder_to_stop(&self) {
        if let Some(elder) = &self.upgrade.elder {
            let _ = send_record(elder.fd(), &encode(&Record::Stopping), &[]);
        }
    }

    /// A client of the old server is this one's from now on.
    #[cold]
    pub(super) fn take_on(
        &mut self,
        passenger: &Passenger,
        client: OwnedFd,
        spool: Option<OwnedFd>,
    ) {
        let serve = &passenger.serve;
        self.house.enter_again(serve.peer);
        let id = self.lot.add(Connection {
            client,
            spool: None,
            account: Account::of(serve.peer, &self.estate.settings.trusted_proxies),
            number: serve.connection,
            accepted: serve.accepted,
            head_begun: serve.head_begun,
            progress: serve.progress,
            woken: serve.woken,
            mark: passenger.mark,
            handler: 0,
            admitted: 0,
            requests: serve.requests,
            stage: serve.stage,
            peer: serve.peer,
            listener: serve.listener,
            visits: passenger.visits,
            is_set_aside: false,
            has_lost_worker: passenger.has_lost_worker,
            was_held: passenger.was_held,
            // The old one's worker does not say when it has closed it.
            copies: passenger.is_copied.into(),
            worker: None,
        });
        self.set_spool(id, spool);
        let interest = match passenger.state {
            State::Drain => Interest::Write,
            _ => Interest::Read,
        };
        let token = Token::Client(id).number();
        let parked = match self.lot.get(id) {
            Some(c) => self.readiness.park(c.client.as_fd(), token, interest),
            None => Ok(()),
        };
        if let Err(e) = parked {
            self.log()
                .error(format_args!("unable to park a client: {e}"));
            return self.close(id);
        }
        match passenger.state {
            State::Queued | State::Held | State::Stalled => self.queue(id, End::Back),
            state => {
                self.lot.enter(id, state, End::Back);
                self.set_deadline(id, state);
            }
        }
        if self.lot.len() > self.house.most {
            self.make_room();
        }
    }
}
