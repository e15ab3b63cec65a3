//! Who connects to the control socket: new workers, and commands of the server's user.

use super::context::Id;
use super::control::{Caller, Command, Said};
use super::life::LEAVE_GRACE;
use super::server::Parent;

/// The most that are accepted in one turn, so that clients have their turn too.
const ACCEPT_BATCH: usize = 64;

impl Parent {
    /// Somebody has connected to the control socket.
    pub(super) fn accept_callers(&mut self) {
        for _ in 0..ACCEPT_BATCH {
            match self.control.accept(&self.ctx) {
                Ok(caller) => self.receive_caller(caller),
                Err(e) if e.is_would_block() => return,
                // A new worker may wait there, and without workers nobody is served.
                Err(e) if e.is_shortage() && (self.make_room() || self.listeners.use_reserve()) => {
                }
                Err(e) => return self.pause_listeners(&e),
            }
        }
    }

    fn receive_caller(&mut self, caller: Caller) {
        let Caller::Somebody(pid, peer, who) = caller else {
            return;
        };
        let slot = pid.and_then(|pid| self.workers.pool().find(pid));
        if let Some(slot) = slot.filter(|slot| self.workers.is_expected(*slot)) {
            return self.workers.adopt(&self.ctx, slot, peer);
        }
        if let Some(id) = self.control.converse(&self.ctx, peer, who) {
            self.hear_caller(id);
        }
    }

    /// Somebody at the control socket has said something.
    pub(super) fn hear_caller(&mut self, id: Id) {
        match self.control.hear(&self.ctx, id) {
            Said::Nothing => {}
            Said::Worker(slot, channel) => {
                if self.workers.is_expected(slot) {
                    self.workers.adopt(&self.ctx, slot, channel);
                }
            }
            Said::Command(command) => self.answer(id, command),
        }
    }

    fn answer(&mut self, id: Id, command: Command) {
        // This server would stop, and its predecessor would go on.
        let is_between = self.upgrade.is_follower() && self.ctx.life.is_starting();
        let text = match command {
            Command::Stop if is_between => String::from("error an upgrade is under way; ask again"),
            Command::Status => self.status(),
            Command::Reload => match self.reload() {
                Ok(()) => String::from("ok reloaded"),
                Err(why) => format!("error {why}"),
            },
            Command::Stop => self.stopping(),
            Command::Unknown => String::from("error unknown command"),
        };
        self.control.say(&self.ctx, id, text);
        if command == Command::Stop && !is_between {
            self.drain();
        }
    }

    /// The answer to `stop`: how long the controller has to wait for the server's end at most.
    fn stopping(&self) -> String {
        let limits = &self.ctx.settings.limits;
        let most = limits.shutdown_grace + limits.kill_grace + 2 * LEAVE_GRACE;
        let ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        format!("ok within_ms={ms}")
    }
}
