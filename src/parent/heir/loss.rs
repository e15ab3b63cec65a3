//! An heir that is lost: it never became ready, or it has ended before the server that it follows. Parent
//! only.
//!
//! A server that only finishes what it has begun serves again, one that was told to stop goes on
//! stopping. Refuses to try once more.

use crate::instance::UnixSocket;
use crate::parent::Parent;
use crate::parent::life::State;
use crate::parent::workers::How;
use crate::sys::fd::AsFd;
use crate::sys::process::{self, Ended};

impl Parent {
    /// The new server has ended.
    #[cold]
    pub(in crate::parent) fn heir_has_ended(&mut self, ended: Ended) {
        // Its last words may have come together with the signal.
        self.on_heir();
        let Some(heir) = &self.upgrade.heir else {
            return;
        };
        // A new server that leaves in good order was told to stop, so nobody is to serve.
        if heir.is_settled && (ended == Ended::Exited(0) || self.is_stopping()) {
            return self.outlive_heir(ended);
        }
        let (pid, how) = (heir.pid, How(ended));
        let when = if heir.is_settled {
            ""
        } else {
            " before it was ready"
        };
        let why = match heir.why.as_str() {
            "" => format!("the new server ({pid}) {how}{when}"),
            why => format!("the new server ({pid}) {how}{when}: {why}"),
        };
        self.take_back(&why);
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
        if has_given_way {
            let _ = process::set_subreaper(true);
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
        let _ = process::set_subreaper(true);
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
