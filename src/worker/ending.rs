//! How a response ends: what the handler's exit, its output and the client say together. An
//! incomplete response must never look like a complete one.

use super::launch_failure::NotLaunched;
use super::relay::{Relay, RelayEnd};
use super::response::{Failed, Wrong};
use crate::cgi;
use crate::log::{Escaped, Log};
use crate::sys::process::{Ended, Reaped};
use crate::sys::signal::{SIGKILL, SIGXCPU, SIGXFSZ};
use crate::sys::time::Moment;
use std::fmt::{self, Display};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What becomes of a response whose relay has ended.
#[derive(Debug)]
pub(super) enum ResponseFate {
    /// It is good.
    Complete,
    /// Another path answers in its place.
    Redirect(Vec<u8>),
    /// The handler never ran.
    NotLaunched(NotLaunched),
    /// Nothing was sent: this status instead.
    Replace(u16),
    /// Something was sent already: the connection is cut, so that the client can tell that the rest
    /// is missing.
    Cut,
    /// The client is gone.
    Drop,
}

/// A relay that is over.
pub(super) struct Finished {
    pub(super) fate: ResponseFate,
    pub(super) reaped: Option<Reaped>,
    pub(super) status: u16,
    /// Bytes that went to the client or its spool.
    pub(super) written: u64,
    pub(super) first_byte: Option<Moment>,
    /// What the client has not taken yet.
    pub(super) spool: Option<OwnedFd>,
    pub(super) must_close: bool,
}

/// Judges what the handler did, ends the response accordingly, and logs what was wrong.
pub(super) fn finish(
    relay: &mut Relay<'_, '_>,
    end: RelayEnd,
    failure: Option<NotLaunched>,
) -> Finished {
    let is_nph = relay.has_answered_itself();
    let wrong = if is_nph {
        None
    } else {
        relay.response.judge().err()
    };
    let is_failed = relay.has_failed();
    let mut fate = match failure {
        Some(why) => ResponseFate::NotLaunched(why),
        None => fate_of(end, is_failed, wrong, relay.response.is_unsent() && !is_nph),
    };
    log_ending(relay, end, wrong, &fate);
    if matches!(fate, ResponseFate::Complete) && !is_nph {
        fate = match relay.response.take_redirect() {
            Some(target) => ResponseFate::Redirect(target),
            None => complete(relay),
        };
    }
    Finished {
        fate,
        reaped: relay.reaped,
        status: relay.response.status,
        written: relay.outlet.written,
        first_byte: relay.outlet.first_byte,
        must_close: relay.response.must_close(),
        spool: relay.outlet.take_spool(),
    }
}

fn complete(relay: &mut Relay<'_, '_>) -> ResponseFate {
    match relay.response.complete(&mut relay.outlet) {
        Ok(()) => match relay.deliver_rest() {
            None => ResponseFate::Complete,
            Some(end) => fate_of(end, false, None, false),
        },
        Err(Failed::Blocked(super::outlet::Blocked::Gone)) => ResponseFate::Drop,
        Err(_) => ResponseFate::Cut,
    }
}

/// Decides the end of a response.
fn fate_of(end: RelayEnd, is_failed: bool, wrong: Option<Wrong>, is_unsent: bool) -> ResponseFate {
    let bad = |status| {
        if is_unsent {
            ResponseFate::Replace(status)
        } else {
            ResponseFate::Cut
        }
    };
    match end {
        RelayEnd::ClientGone | RelayEnd::RunsOn | RelayEnd::ParentGone => ResponseFate::Drop,
        RelayEnd::ClientStuck => ResponseFate::Cut,
        RelayEnd::TimedOut => bad(504),
        RelayEnd::TooMuch => bad(502),
        RelayEnd::NoSpool => bad(507),
        RelayEnd::Broken(_) => bad(500),
        RelayEnd::Bad(_) => bad(502),
        RelayEnd::Complete if is_failed || wrong.is_some() => bad(502),
        // The response was complete before: how the handler ends concerns only the log.
        RelayEnd::Complete | RelayEnd::Released => ResponseFate::Complete,
    }
}

/// Says once why a response is not what its handler meant it to be.
fn log_ending(relay: &Relay<'_, '_>, end: RelayEnd, wrong: Option<Wrong>, fate: &ResponseFate) {
    let log = relay.task.birth.log;
    let name = Escaped(relay.task.name);
    let bad = match (end, wrong) {
        (RelayEnd::Bad(bad), _) | (RelayEnd::Complete, Some(Wrong::Bad(bad))) => Some(bad),
        _ => None,
    };
    let status = Status(relay.reaped, relay.task.settings.allowance.cpu);
    match (end, fate) {
        (_, ResponseFate::NotLaunched(_)) => {}
        (_, ResponseFate::Replace(_) | ResponseFate::Cut) if bad.is_some() => {
            let first = Escaped(cgi::first_line(relay.response.raw()));
            let why = bad.map(|bad| bad.to_string()).unwrap_or_default();
            match end {
                // The worker has ended the handler itself, so how it ended says nothing.
                RelayEnd::Bad(_) => {
                    log.warn(format_args!("{name}: not a response: {why} (\"{first}\")"));
                }
                _ => log.warn(format_args!(
                    "{name}: not a response: {why} (\"{first}\"), {status}"
                )),
            }
        }
        (RelayEnd::TimedOut, _) => {
            log.warn(format_args!("{name}: over its time limit, ended; {status}"));
        }
        (RelayEnd::TooMuch, _) => {
            log.warn(format_args!("{name}: printed more than max-output, ended"));
        }
        (RelayEnd::NoSpool, _) => log.error(format_args!("{name}: no room to spool its response")),
        (RelayEnd::ClientStuck, _) => {
            log.info(format_args!("{name}: the client took nothing for too long"));
        }
        (RelayEnd::Broken(e), _) => log.error(format_args!("{name}: unable to relay: {e}")),
        (RelayEnd::Complete, ResponseFate::Replace(_) | ResponseFate::Cut) if wrong.is_none() => {
            log.warn(format_args!("{name}: failed after its response: {status}"));
        }
        (RelayEnd::Complete, ResponseFate::Replace(_) | ResponseFate::Cut) => {
            log.warn(format_args!("{name}: its response is incomplete; {status}"));
        }
        _ => log_oddities(relay),
    }
}

/// How a handler ended, in words. With the CPU time that it was allowed, if that was limited.
struct Status(Option<Reaped>, Option<Duration>);

impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(reaped) = self.0 else {
            return f.write_str("not reaped");
        };
        match reaped.ended {
            Ended::Killed(signal) => {
                write!(f, "killed by signal {signal}")?;
                let used = reaped.usage.user + reaped.usage.system;
                f.write_str(limit_behind(
                    signal,
                    self.1.is_some_and(|most| used >= most),
                ))
            }
            Ended::Exited(status) => write!(f, "exit status {status}"),
        }
    }
}

/// The limit that a signal stands for.
fn limit_behind(signal: i32, is_cpu_used_up: bool) -> &'static str {
    match signal {
        SIGXCPU => " (over max-cpu)",
        SIGKILL if is_cpu_used_up => " (over max-cpu)",
        SIGXFSZ => " (over max-file-size)",
        _ => "",
    }
}

/// Logs what is odd about a good response.
fn log_oddities(relay: &Relay<'_, '_>) {
    let name = Escaped(relay.task.name);
    if relay.response.is_overlong {
        relay.task.birth.log.warn(format_args!(
            "{name}: printed more than its Content-Length, cut there"
        ));
    }
    log_late_end(relay.task.birth.log, relay.task.name, relay.reaped);
}

/// Logs how a handler ended after a good response, if not by exit status 0.
pub(super) fn log_late_end(log: &Log, name: &[u8], reaped: Option<Reaped>) {
    let is_clean = |reaped: Reaped| reaped.ended == Ended::Exited(0);
    if reaped.is_some_and(|reaped| !is_clean(reaped)) {
        let (name, status) = (Escaped(name), Status(reaped, None));
        log.warn(format_args!("{name}: {status} after its response"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgi::BadOutput;

    #[test]
    fn a_signal_that_stands_for_a_limit_is_told_with_it() {
        for (signal, is_cpu_used_up, expected) in [
            (SIGXCPU, false, " (over max-cpu)"),
            (SIGKILL, true, " (over max-cpu)"),
            (SIGKILL, false, ""),
            (SIGXFSZ, false, " (over max-file-size)"),
            (15, true, ""),
        ] {
            assert_eq!(limit_behind(signal, is_cpu_used_up), expected, "{signal}");
        }
    }

    #[test]
    fn what_was_not_sent_is_replaced_and_what_was_sent_is_cut() {
        let short = Some(Wrong::Short);
        for (end, is_failed, wrong, unsent, sent) in [
            (RelayEnd::Complete, false, None, "Complete", "Complete"),
            (RelayEnd::Complete, true, None, "Replace(502)", "Cut"),
            (RelayEnd::Released, true, None, "Complete", "Complete"),
            (RelayEnd::Complete, false, short, "Replace(502)", "Cut"),
            (
                RelayEnd::Bad(BadOutput::FirstLine),
                false,
                None,
                "Replace(502)",
                "Cut",
            ),
            (RelayEnd::TimedOut, true, short, "Replace(504)", "Cut"),
            (RelayEnd::TooMuch, true, short, "Replace(502)", "Cut"),
            (RelayEnd::NoSpool, true, short, "Replace(507)", "Cut"),
            (RelayEnd::ClientGone, true, short, "Drop", "Drop"),
            (RelayEnd::ClientStuck, true, short, "Cut", "Cut"),
            (RelayEnd::ParentGone, true, short, "Drop", "Drop"),
        ] {
            assert_eq!(
                format!("{:?}", fate_of(end, is_failed, wrong, true)),
                unsent,
                "{end:?}"
            );
            assert_eq!(
                format!("{:?}", fate_of(end, is_failed, wrong, false)),
                sent,
                "{end:?}"
            );
        }
    }
}
