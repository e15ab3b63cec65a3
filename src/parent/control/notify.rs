//! What the service manager is told (sd_notify(3)), and the sign of life that it waits for.
//!
//! Without NOTIFY_SOCKET nothing is said. A manager that does not read is not waited for.

use crate::log::Log;
use crate::sys::exec::take_variable;
use crate::sys::fd::AsFd;
use crate::sys::socket::connect_notify;
use crate::sys::time::Moment;
use crate::sys::{process, socket};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// The service manager's socket.
#[derive(Default)]
pub(in crate::parent) struct Notify {
    manager: Option<OwnedFd>,
    /// How often it wants to hear that the server lives, and when next.
    watchdog: Option<(Duration, Moment)>,
}

impl Notify {
    /// Reads the environment. The variables stay there for a successor, but for WATCHDOG_PID, which names this process.
    /// Handlers get another environment.
    #[cold]
    pub(in crate::parent) fn new(now: Moment, log: &Log) -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let is_for_us = take_variable("WATCHDOG_PID").is_none_or(|pid| {
            let pid = pid.to_str().and_then(|text| text.parse().ok());
            pid == Some(process::pid().raw())
        });
        let time = std::env::var_os("WATCHDOG_USEC").filter(|_| is_for_us);
        let manager = connect_notify(name.as_bytes());
        if let Err(e) = &manager {
            log.warn(format_args!("unable to reach the service manager: {e}"));
        }
        Self {
            manager: manager.ok(),
            watchdog: half_of(time.as_deref().and_then(|text| text.to_str()))
                .map(|half| (half, now)),
        }
    }

    /// Sends a message to the service manager, if there is one.
    #[cold]
    pub(in crate::parent) fn say(&self, text: &str) {
        if let Some(manager) = &self.manager {
            let _ = socket::send(manager.as_fd(), text.as_bytes());
        }
    }

    /// Says that clients are accepted, and that every worker has the present settings.
    #[cold]
    pub(in crate::parent) fn ready(&self, workers: usize) {
        let pid = process::pid();
        self.say(&format!(
            "READY=1\nMAINPID={pid}\nSTATUS=serving with {workers} workers"
        ));
    }

    /// Says that a reload has begun; READY=1 ends it.
    #[cold]
    pub(in crate::parent) fn reloading(&self, now: Moment) {
        let now = now.as_micros();
        self.say(&format!(
            "RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reloading"
        ));
    }

    /// When the next sign of life is due.
    pub(in crate::parent) fn next_deadline(&self) -> Option<Moment> {
        self.watchdog.map(|(_, due)| due)
    }

    /// Gives the sign of life when it is due.
    pub(in crate::parent) fn live(&mut self, now: Moment) {
        if let Some((half, due)) = &mut self.watchdog
            && *due <= now
        {
            *due = now.after(*half);
            self.say("WATCHDOG=1");
        }
    }
}

/// Half of a time in microseconds; nothing for none.
fn half_of(usec: Option<&str>) -> Option<Duration> {
    let usec: u64 = usec?.parse().ok()?;
    (usec > 0).then(|| Duration::from_micros(usec / 2).max(Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_comes_twice_as_often_as_it_must() {
        let ms = Duration::from_millis;
        for (usec, expected) in [
            (None, None),
            (Some("0"), None),
            (Some("x"), None),
            (Some("-5"), None),
            (Some("30000000"), Some(ms(15_000))),
            (Some("1"), Some(ms(1))),
        ] {
            assert_eq!(half_of(usec), expected, "{usec:?}");
        }
    }
}
