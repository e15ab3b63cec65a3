//! An heir that is lost: it never became ready, or it has ended before the server that it follows. Parent
//! only.
//!
//! If the heir had one of its own, that is this server's heir from then on. Else a server that only
//! finishes what it has begun serves again, and one that was told to stop goes on stopping. Refuses to
//! try once more.

use super::tell_follower;
use crate::instance::UnixSocket;
use crate::parent::Parent;
use crate::parent::handover::{Record, encode};
use crate::parent::life::State;
use crate::parent::workers::How;
use crate::sys::fd::AsFd;
use crate::sys::passing::send_record;
use crate::sys::process::{self, Ended, Pid};
use crate::sys::readiness::Interest;
use crate::sys::socket;

impl Parent {
    /// Whether the new server has taken all who were handed on. One that takes nobody any more (EPIPE) has
    /// read of the others to give them back, which has come by its end.
    pub(in crate::parent) fn has_read_all(&self) -> bool {
        let heir = self.upgrade.heir.as_ref();
        heir.is_none_or(|heir| {
            let line = heir.socket.as_fd();
            // In this order: it says so before it reads on.
            !heir.has_clients
                || socket::bytes_unsent(line).unwrap_or(0) == 0
                    && socket::send(line, &[], false).is_ok()
        })
    }

    /// The new server has ended, or the one that follows it.
    #[cold]
    pub(in crate::parent) fn heir_has_ended(&mut self, pid: Pid, ended: Ended) {
        // Its last words may have come together with the signal.
        self.on_heir();
        let Some(heir) = &mut self.upgrade.heir else {
            return;
        };
        let next = heir.next.take();
        if heir.pid != pid {
            return;
        }
        if let Some(next) = next {
            return self.follow(next, ended);
        }
        let is_settled = heir.is_settled;
        let (pid, how, said) = (heir.pid, How(ended), heir.why.as_str());
        let when = if is_settled {
            ""
        } else {
            " before it was ready"
        };
        let why = match said {
            "" => format!("the new server ({pid}) {how}{when}"),
            why => format!("the new server ({pid}) {how}{when}: {why}"),
        };
        // A new server that leaves in good order was told to stop, so nobody is to serve.
        if is_settled && (ended == Ended::Exited(0) || self.is_stopping()) {
            return self.outlive_heir(ended);
        }
        self.take_back(&why);
    }

    /// The new server has gone, and had left everything to one that is this one's heir now. That has a copy
    /// of the line, and so what was sent and not read.
    #[cold]
    fn follow(&mut self, next: Pid, ended: Ended) {
        let Some(heir) = &mut self.upgrade.heir else {
            return;
        };
        let pid = std::mem::replace(&mut heir.pid, next);
        // It may not have heard it yet.
        let _ = send_record(heir.socket.as_fd(), &encode(&Record::Go), &[]);
        self.log().warn(format_args!(
            "the new server ({pid}) {}: its successor ({next}) serves on",
            How(ended)
        ));
        tell_follower(self.upgrade.elder.as_ref(), Some(next));
        self.arm_heir(Interest::Read);
        self.end_what_is_left(ended);
    }

    /// What a server leaves behind that has ended becomes this one's.
    fn end_what_is_left(&mut self, ended: Ended) {
        match ended {
            // It has ended all but what may stay.
            Ended::Exited(0) => self.adopt_detached(None),
            _ => self.end_orphans(None),
        }
    }

    /// The upgrade has failed: on as before.
    #[cold]
    pub(in crate::parent) fn take_back(&mut self, why: &str) {
        let Some(heir) = self.upgrade.heir.take() else {
            return;
        };
        let _ = self.readiness.forget(heir.socket.as_fd());
        self.log()
            .error(format_args!("unable to upgrade, going on as before: {why}"));
        let has_given_way = self.state == State::HandingOver;
        tell_follower(self.upgrade.elder.as_ref(), None);
        if has_given_way {
            self.state = State::Serving;
            self.set_own(true);
            self.write_pid(process::pid());
            self.notify_ready();
        }
        if self.house.paused_until().is_none() {
            self.watch_meeting();
            if has_given_way {
                self.watch_listeners();
            }
        }
        // It and what was its own, or what it leaves when it dies.
        self.end_orphans(None);
    }

    /// The server is to stop, and the new one has gone first: whom it has not got is served here.
    #[cold]
    fn outlive_heir(&mut self, ended: Ended) {
        self.drain();
        let Some(heir) = self.upgrade.heir.take() else {
            return;
        };
        let _ = self.readiness.forget(heir.socket.as_fd());
        self.end_what_is_left(ended);
        let (own, clients) = (process::pid(), self.lot.len());
        if ended != Ended::Exited(0) {
            self.set_own(true);
            self.write_pid(own);
        } else if !self.state.is_leaving()
            // It has removed its files, and workers find their parent by one. If that is there after all
            // it is a successor's, or could not be removed and still leads here.
            && let Ok(meeting) = UnixSocket::bind(self.meeting.path(), true, "--socket")
        {
            self.meeting = meeting;
        }
        if self.house.paused_until().is_none() {
            self.watch_meeting();
        }
        self.notify.say(&format!(
            "MAINPID={own}\nSTOPPING=1\nSTATUS=finishing requests"
        ));
        self.log().warn(format_args!(
            "the new server ({}) {}: {clients} connections are served here to the end",
            heir.pid,
            How(ended)
        ));
    }
}
