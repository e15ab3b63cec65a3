//! From Starting to the end: signals, readiness, draining. Parent only.

use super::Parent;
use super::lot::State as Parked;
use super::pool::Duty;
use super::start::{self, say_first_words, start_line};
use crate::channel::Order;
use crate::settings::Level;
use crate::sys::fd::{self, AsFd};
use crate::sys::signal::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use crate::sys::time::Moment;
use std::time::Duration;

/// Idle connections are closed this long after the order to stop: a request that is on its way is
/// still answered.
pub(super) const IDLE_GRACE: Duration = Duration::from_secs(1);

/// Between the order to leave and the last SIGKILL, on top of the handlers' own grace.
pub(super) const LEAVE_GRACE: Duration = Duration::from_secs(1);

/// More clients than this are not accepted once the order to stop has come.
pub(super) const LAST_ACCEPTS: usize = 65_536;

/// The server's state; each leads only to those below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Listeners are bound, workers are not ready; by this moment they must be.
    Starting(Moment),
    /// Clients are accepted.
    Serving,
    /// Another server has everything but the requests in flight. Should it fail, this one is Serving
    /// again.
    HandingOver,
    /// No more clients are accepted; those that are here are answered.
    Draining {
        /// From then on idle connections are closed.
        idle_until: Moment,
        /// By then the rest is.
        until: Moment,
        /// They have been.
        is_idle_closed: bool,
        /// A second SIGINT ends the wait.
        is_interrupted: bool,
    },
    /// Workers leave; by this moment they are killed.
    Stopping(Moment),
    /// Nobody is left.
    Over,
}

impl State {
    /// Before the first client.
    pub(super) fn is_starting(self) -> bool {
        matches!(self, Self::Starting(_))
    }

    /// No worker is started any more.
    pub(super) fn is_leaving(self) -> bool {
        matches!(self, Self::Stopping(_) | Self::Over)
    }

    /// Its word in the status.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Starting(_) => "starting",
            Self::Serving => "serving",
            Self::HandingOver => "upgrading",
            Self::Draining { .. } => "draining",
            Self::Stopping(_) | Self::Over => "stopping",
        }
    }

    /// When the state has to be looked at again.
    pub(super) fn next_deadline(self, now: Moment) -> Option<Moment> {
        match self {
            Self::Starting(until) | Self::Stopping(until) => Some(until),
            Self::Serving | Self::HandingOver | Self::Over => None,
            Self::Draining {
                idle_until, until, ..
            } if idle_until > now => Some(idle_until.min(until)),
            Self::Draining { until, .. } => Some(until),
        }
    }
}

impl Parent {
    /// The self-pipe holds one byte per signal.
    pub(super) fn on_signals(&mut self) {
        let mut bytes = [0; 64];
        while let Ok(n) = fd::read(self.signals.as_fd(), &mut bytes)
            && n > 0
        {
            for byte in bytes.get(..n).unwrap_or_default() {
                self.on_signal(i32::from(*byte));
            }
        }
    }

    fn on_signal(&mut self, signal: i32) {
        match signal {
            SIGCHLD => self.reap(),
            // SIGQUIT is the graceful stop of other servers, and so of their images and scripts.
            SIGTERM | SIGQUIT => self.drain(),
            SIGINT => self.interrupt(),
            SIGUSR1 => {
                self.estate.log.reopen();
                self.log_reopened = self.now;
                self.tell_all(Order::ReopenLog);
                self.log().info(format_args!("log opened again"));
            }
            SIGUSR2 => self.order_upgrade(),
            SIGHUP => {
                // What went wrong is in the log.
                let _ = self.reload();
            }
            _ => {}
        }
    }

    fn interrupt(&mut self) {
        match &mut self.state {
            State::Draining { is_interrupted, .. } if *is_interrupted => self.stop_at_once(),
            State::Draining { is_interrupted, .. } => *is_interrupted = true,
            State::Stopping(_) => self.stop_at_once(),
            _ => {
                self.drain();
                if let State::Draining { is_interrupted, .. } = &mut self.state {
                    *is_interrupted = true;
                }
            }
        }
    }

    /// The order to stop has come.
    pub(super) fn is_stopping(&self) -> bool {
        !matches!(
            self.state,
            State::Starting(_) | State::Serving | State::HandingOver
        )
    }

    /// Whether a connection that becomes idle now is closed at once.
    pub(super) fn closes_idle(&self) -> bool {
        match self.state {
            State::Starting(_) | State::Serving | State::HandingOver => false,
            State::Draining { idle_until, .. } => idle_until <= self.now,
            State::Stopping(_) | State::Over => true,
        }
    }

    /// True once, when idle connections are to be closed.
    fn is_time_for_idle(&mut self) -> bool {
        match &mut self.state {
            State::Draining {
                idle_until,
                is_idle_closed,
                ..
            } if *idle_until <= self.now => !std::mem::replace(is_idle_closed, true),
            _ => false,
        }
    }

    /// Starts to stop: nobody else is let in, who is here is answered.
    #[cold]
    pub(super) fn drain(&mut self) {
        let state = self.state;
        match state {
            State::Starting(until) if !self.is_server_already(until) => return self.stop(),
            State::Starting(_) | State::Serving | State::HandingOver => {}
            _ => return,
        }
        self.tell_elder_to_stop();
        self.upgrade.is_due = false;
        if !self.is_bequeathed() {
            self.take_back("the server was told to stop");
        }
        self.leave_listeners();
        let clients = self.lot.len();
        self.log()
            .info(format_args!("stopping: {clients} connections are open"));
        if !self.is_bequeathed() {
            self.notify.say("STOPPING=1\nSTATUS=finishing requests");
        }
        let grace = self.estate.settings.limits.shutdown_grace;
        self.state = State::Draining {
            idle_until: self.now.after(IDLE_GRACE),
            until: self.now.after(grace),
            is_idle_closed: false,
            is_interrupted: false,
        };
    }

    /// Closing first would reset clients that are connected and wait for accept.
    #[cold]
    fn leave_listeners(&mut self) {
        let indices: Vec<u8> = self.listeners.iter().map(|l| l.index).collect();
        for index in indices {
            self.accept_from(index, LAST_ACCEPTS);
        }
        for listener in &self.listeners {
            // Already out during a pause.
            let _ = self.readiness.forget(listener.fd());
        }
        self.listeners.clear();
    }

    /// Nobody is left, and nobody comes: who was before this one may still send clients, and who was sent
    /// one may give it back.
    fn is_done(&self) -> bool {
        self.lot.len() == 0
            && self.upgrade.elder.is_none()
            && !self.pool.is_finishing()
            && self.has_read_all()
    }

    /// Cuts who is left and tells the workers to leave.
    #[cold]
    fn stop(&mut self) {
        self.give_back();
        let cut = self.lot.len();
        if cut > 0 {
            self.log()
                .warn(format_args!("cutting {cut} connections off"));
        }
        for state in Parked::ALL {
            for id in self.lot.all(state) {
                self.reset(id);
            }
        }
        self.listeners.clear();
        let grace = self.estate.settings.limits.kill_grace;
        self.state = State::Stopping(self.now.after(grace + LEAVE_GRACE));
        let slots: Vec<_> = self
            .pool
            .workers()
            .map(|(slot, w)| (slot, w.duty))
            .collect();
        for (slot, duty) in slots {
            match duty {
                Duty::Ready => self.retire(slot),
                // The end of its channel makes a worker end its handler's tree, then leave.
                Duty::Busy(_) | Duty::Finishing => {
                    self.drop_channel(slot);
                    self.pool.assign(slot, Duty::Retiring, self.now);
                }
                Duty::Starting => self.kill(slot),
                Duty::Retiring => {}
            }
        }
    }

    /// Ends everything now.
    #[cold]
    pub(super) fn stop_at_once(&mut self) {
        if !self.state.is_leaving() {
            self.stop();
        }
        self.kill_all();
        if self.state != State::Over {
            self.state = State::Stopping(self.now);
        }
    }

    /// Steps of the life cycle, once per turn.
    pub(super) fn live(&mut self) {
        self.notify.live(self.now);
        self.end_late_conversations();
        if self.house.ends_pause(self.now) {
            self.end_pause();
        }
        self.upgrade();
        match self.state {
            State::Starting(until) => self.start_up(until),
            State::HandingOver if self.is_done() => self.stop(),
            State::Draining { until, .. } => {
                if self.is_time_for_idle() {
                    self.close_idle();
                }
                if self.is_done() || until <= self.now {
                    self.stop();
                }
            }
            State::Stopping(until) if until <= self.now && self.pool.total() > 0 => {
                self.kill_all();
                // SIGCHLD brings the rest; should one be lost, look again.
                self.state = State::Stopping(self.now.after(LEAVE_GRACE));
                self.reap();
            }
            _ => {}
        }
        if self.state.is_leaving() && self.pool.total() == 0 {
            self.state = State::Over;
        }
    }

    /// While it starts: whether the server before has given way, and not been heard yet. What it has sent
    /// since then is this one's to answer and to remove, also if it is to stop now.
    #[cold]
    fn is_server_already(&mut self, until: Moment) -> bool {
        if !self.upgrade.is_follower {
            return false;
        }
        self.on_elder();
        let elder = self.upgrade.elder.as_ref();
        if elder.is_none_or(|elder| elder.has_yielded) {
            self.start_up(until);
        }
        self.state == State::Serving
    }

    /// Opens the house once every worker is ready.
    fn start_up(&mut self, until: Moment) {
        if until <= self.now {
            let seconds = start::START_TIMEOUT.as_secs();
            let how = format!("they were not ready within {seconds} s");
            self.failure.get_or_insert(start::Error::Workers(how));
        }
        if self.has_failed_to_start() {
            return self.stop_at_once();
        }
        // Clients of the server before may keep them busy already.
        if self.pool.ready() + self.pool.busy() < self.estate.settings.workers {
            return;
        }
        let line = start_line(self);
        if self.waits_for_elder(&line) {
            return;
        }
        self.state = State::Serving;
        self.watch_listeners();
        if self.upgrade.is_follower {
            self.take_office();
        }
        if std::mem::take(&mut self.is_reload_due) {
            let _ = self.reload();
        }
        say_first_words(self);
        self.log().info(format_args!("{line}"));
        if self.starter.is_foreground() && !self.log().has(Level::Info) {
            self.log().tell(&line);
        }
        self.starter.announce(&line);
        self.notify_ready();
    }
}
