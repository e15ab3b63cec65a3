//! The server's life from Starting to Over: what signals, ready workers and deadlines change. `life` has the states.

use super::error::Error;
use super::life::{IDLE_GRACE, LEAVE_GRACE, Life, START_TIMEOUT};
use super::server::Parent;
use super::start::{say_first_words, start_line};
use crate::settings::Level;
use crate::sys::fd::{self, AsFd};
use crate::sys::signal::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

/// The most clients that are accepted of a listener before it is closed for good.
pub(super) const LAST_ACCEPTS: usize = 65_536;

impl Parent {
    /// Takes the signals that have come: the self-pipe holds one byte for each.
    pub(super) fn take_signals(&mut self) {
        let mut bytes = [0; 64];
        while let Ok(n) = fd::read(self.signals.as_fd(), &mut bytes)
            && n > 0
        {
            for byte in bytes.get(..n).unwrap_or_default() {
                self.act_on_signal(i32::from(*byte));
            }
        }
    }

    fn act_on_signal(&mut self, signal: i32) {
        match signal {
            SIGCHLD => self.reap(),
            // SIGQUIT is the graceful stop of other servers, and so of their images and scripts.
            SIGTERM | SIGQUIT => self.drain(),
            SIGINT => self.interrupt(),
            SIGUSR1 => {
                self.ctx.log.reopen();
                self.workers.reopen_log(&self.ctx);
                self.ctx.log.info(format_args!("log opened again"));
            }
            SIGUSR2 => {
                let can_begin = self.ctx.life == Life::Serving;
                self.upgrade.order(&self.ctx, can_begin);
            }
            SIGHUP => {
                // What went wrong is in the log.
                let _ = self.reload();
            }
            _ => {}
        }
    }

    fn interrupt(&mut self) {
        if self.ctx.life.note_interrupt() {
            return self.stop_at_once();
        }
        self.drain();
        self.ctx.life.note_interrupt();
    }

    /// Begins to stop: no client is accepted any more, and those who are connected are answered.
    #[cold]
    pub(super) fn drain(&mut self) {
        match self.ctx.life {
            Life::Starting(_) => {
                if !self.become_server_if_due() {
                    return self.stop();
                }
            }
            Life::Serving | Life::HandingOver => {}
            _ => return,
        }
        self.upgrade.stop();
        if !self.upgrade.has_handed_over() {
            self.take_back("the server was told to stop");
        }
        // Closing first would reset clients that are connected and wait for accept.
        for index in self.listeners.numbers() {
            self.accept_from(index, LAST_ACCEPTS);
        }
        self.listeners.close(&self.ctx);
        let clients = self.connections.open();
        self.ctx
            .log
            .info(format_args!("stopping: {clients} connections are open"));
        if !self.upgrade.has_handed_over() {
            let notify = &self.control.notify;
            notify.say("STOPPING=1\nSTATUS=finishing requests");
        }
        let (now, grace) = (self.ctx.now, self.ctx.settings.limits.shutdown_grace);
        self.ctx.life = Life::Draining {
            idle_until: now.after(IDLE_GRACE),
            until: now.after(grace),
            is_idle_closed: false,
            is_interrupted: false,
        };
    }

    /// Whether no client is left and none can come. A predecessor may still hand clients on to this server, and a
    /// successor may give one back.
    fn is_done(&self) -> bool {
        self.connections.open() == 0
            && !self.upgrade.has_predecessor()
            && !self.workers.pool().is_finishing()
            && self.upgrade.has_read_all()
    }

    /// Cuts the clients that are left and tells the workers to leave.
    #[cold]
    fn stop(&mut self) {
        for (transfer, client, spool) in self.upgrade.give_back(&self.ctx) {
            self.connections
                .take_on(&self.ctx, &transfer, client, spool);
        }
        let cut = self.connections.open();
        if cut > 0 {
            self.ctx
                .log
                .warn(format_args!("cutting {cut} connections off"));
        }
        self.connections.cut_all(&self.ctx);
        self.listeners.close(&self.ctx);
        let grace = self.ctx.settings.limits.kill_grace;
        self.ctx.life = Life::Stopping(self.ctx.now.after(grace + LEAVE_GRACE));
        self.workers.end(&self.ctx);
    }

    /// Ends everything now: workers are killed.
    #[cold]
    pub(super) fn stop_at_once(&mut self) {
        if !self.ctx.life.is_leaving() {
            self.stop();
        }
        self.workers.kill_all(&self.ctx);
        if self.ctx.life != Life::Over {
            self.ctx.life = Life::Stopping(self.ctx.now);
        }
    }

    /// Steps of the life cycle, once per turn.
    pub(super) fn live(&mut self) {
        self.control.live(&self.ctx);
        self.end_pause();
        self.go_on_with_upgrade();
        let now = self.ctx.now;
        match self.ctx.life {
            Life::Starting(_) => self.start_up(),
            Life::HandingOver if self.is_done() => self.stop(),
            Life::Draining { until, .. } => {
                if self.ctx.life.begin_to_close_idle(now) {
                    self.connections.close_idle(&self.ctx);
                }
                if self.is_done() || until <= now {
                    self.stop();
                }
            }
            Life::Stopping(until) if until <= now && self.workers.pool().total() > 0 => {
                self.workers.kill_all(&self.ctx);
                // SIGCHLD says when they have ended; should one be lost, the parent looks again.
                self.ctx.life = Life::Stopping(now.after(LEAVE_GRACE));
                self.reap();
            }
            _ => {}
        }
        if self.ctx.life.is_leaving() && self.workers.pool().total() == 0 {
            self.ctx.life = Life::Over;
        }
    }

    /// While the server starts: accepts clients once every worker is ready. If one cannot start, neither can the server.
    pub(super) fn start_up(&mut self) {
        if matches!(self.ctx.life, Life::Starting(until) if until <= self.ctx.now) {
            let seconds = START_TIMEOUT.as_secs();
            let how = format!("they were not ready within {seconds} s");
            self.failure.get_or_insert(Error::Workers(how));
        }
        if self.failure.is_some() {
            // A worker that cannot start ends the server while it starts.
            return self.stop_at_once();
        }
        // A worker may be busy with a client of the predecessor already.
        if self.workers.pool().ready() + self.workers.pool().busy() < self.ctx.settings.workers {
            return;
        }
        let line = start_line(self);
        if self.waits_for_predecessor(&line) {
            return;
        }
        self.ctx.life = Life::Serving;
        self.listeners.watch(&self.ctx);
        if self.upgrade.is_follower() {
            self.take_charge();
        }
        if std::mem::take(&mut self.is_reload_due) {
            let _ = self.reload();
        }
        say_first_words(self);
        self.ctx.log.info(format_args!("{line}"));
        if self.starter.is_foreground() && !self.ctx.log.has(Level::Info) {
            self.ctx.log.tell(&line);
        }
        self.starter.announce(&line);
        self.control.notify.ready(self.workers.pool().living());
    }
}
