//! What the client does while its handler runs.

use super::{Relay, RelayEnd};
use crate::settings::HalfClose;
use crate::sys::{poll, socket, teardown, time};
use crate::worker::response::Failed;

impl Relay<'_, '_> {
    /// Acts on what the client did: it took some of the response, closed its half, or left.
    pub(super) fn hear_client(&mut self, events: i16) -> Option<RelayEnd> {
        if events & poll::HUNG_UP != 0 {
            // A request that is served to its end is so through a local redirect too. What is written for this
            // client fails later, which ends the relay.
            self.is_client_lost =
                self.half_close() == HalfClose::Serve && self.response.is_unsent() && !self.is_nph;
            return (!self.is_client_lost).then_some(RelayEnd::ClientGone);
        }
        if events & poll::WRITABLE != 0 {
            match self.outlet.drain() {
                Ok(true) => {
                    self.client_progress = self.now;
                    self.quiet_since = self.now;
                }
                Ok(false) => {}
                Err(blocked) => return Some(RelayEnd::from(Failed::Blocked(blocked))),
            }
        }
        if events & poll::PEER_CLOSED != 0 && !self.has_client_fin {
            self.has_client_fin = true;
            return self.judge_fin();
        }
        None
    }

    fn half_close(&self) -> HalfClose {
        let own = self.task.settings.half_close;
        own.unwrap_or(self.task.birth.settings.half_close)
    }

    /// A handler whose client is lost may run to its end if its settings say so
    /// (`half-close = serve`). Nobody gets what it prints then.
    pub(super) fn or_run_on(&mut self, end: RelayEnd) -> RelayEnd {
        // What is no response is of no matter to a client that has left before.
        let is_lost = matches!(end, RelayEnd::ClientGone | RelayEnd::ClientStuck)
            || self.is_client_lost && matches!(end, RelayEnd::Bad(_) | RelayEnd::NoSpool);
        if !is_lost || self.half_close() != HalfClose::Serve {
            return end;
        }
        if end == RelayEnd::ClientStuck {
            // If the client goes on reading, it must not take what it gets for the whole response.
            let _ = teardown::reset_on_close(self.task.client.socket(), true);
        }
        RelayEnd::RunsOn
    }

    /// Waits until the client has taken what a full disk has kept out of the spool, or the spool
    /// has room for it. `Some`: why it did not come to that.
    pub(in crate::worker) fn deliver_rest(&mut self) -> Option<RelayEnd> {
        self.client_progress = self.now;
        while self.outlet.has_rest() {
            // The handler has ended: the client's time limit is the one that counts.
            let until = self.client_deadline();
            self.task.birth.entry().set_deadline(until);
            let mut set = [
                poll::of(self.task.client.socket(), poll::WRITABLE),
                poll::of(self.task.channel, 0),
            ];
            match poll::wait(&mut set, Some(until.since(self.now))) {
                Ok(true) => {}
                Ok(false) => return Some(RelayEnd::ClientStuck),
                Err(e) => return Some(RelayEnd::Broken(e)),
            }
            self.now = time::now();
            let [client, channel] = set.map(|entry| entry.revents);
            if channel != 0 {
                return Some(RelayEnd::ParentGone);
            }
            let end = self.hear_client(client);
            if end.is_some() {
                return end;
            }
        }
        None
    }

    /// A full close and a half-close look the same. A client that is gone answers an interim
    /// response with RST; one that waits for its response ignores it (RFC 9110 section 15.2).
    fn judge_fin(&mut self) -> Option<RelayEnd> {
        match self.half_close() {
            HalfClose::Gone => return Some(RelayEnd::ClientGone),
            HalfClose::Serve => {}
            HalfClose::Probe
                if self.task.can_probe && self.response.is_unsent() && !self.is_nph =>
            {
                let probe = b"HTTP/1.1 100 Continue\r\n\r\n";
                if socket::send(self.task.client.socket(), probe).is_err() {
                    return Some(RelayEnd::ClientGone);
                }
            }
            HalfClose::Probe => {}
        }
        None
    }
}
