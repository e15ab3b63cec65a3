//! How a response ends: what the handler's exit, its output and the client say together. An
//! incomplete response must never look like a complete one.

use super::launch_failure::NotLaunched;
use super::relay::{End, Relay};
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
pub(super) enum Fate {
    /// It is good.
    Complete,
    /// Another path answers in its place.
    Redirect(Vec<u8>),
    /// The handler never ran.
    NotLaunched(NotLaunched),
    /// Nothing was sent: this status instead.
    Replace(u16),
    /// Something was sent: the client must be able to tell that the rest is missing.
    Cut,
    /// Nobody is there to be told.
    Drop,
}

/// A relay that is over.
pub(super) struct Finished {
    pub(super) fate: Fate,
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
    end: End,
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
        Some(why) => Fate::NotLaunched(why),
        None => fate_of(end, is_failed, wrong, relay.response.is_unsent() && !is_nph),
    };
    log_ending(relay, end, wrong, &fate);
    if matches!(fate, Fate::Complete) && !is_nph {
        fate = match relay.response.take_redirect() {
            Some(target) => Fate::Redirect(target),
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

fn complete(relay: &mut Relay<'_, '_>) -> Fate {
    match relay.response.complete(&mut relay.outlet) {
        Ok(()) => match relay.deliver_rest() {
            None => Fate::Complete,
            Some(end) => fate_of(end, false, None, false),
        },
        Err(Failed::Blocked(super::outlet::Blocked::Gone)) => Fate::Drop,
        Err(_) => Fate::Cut,
    }
}

/// Decides the end of a response.
fn fate_of(end: End, is_failed: bool, wrong: Option<Wrong>, is_unsent: bool) -> Fate {
    let bad = |status| {
        if is_unsent {
            Fate::Replace(status)
        } else {
            Fate::Cut
        }
    };
    match end {
        End::ClientGone | End::Unheard | End::ParentGone => Fate::Drop,
        End::ClientStuck => Fate::Cut,
        End::TimedOut => bad(504),
        End::TooMuch => bad(502),
        End::NoSpool => bad(507),
        End::Broken(_) => bad(500),
        End::Bad(_) => bad(502),
        End::Complete if is_failed || wrong.is_some() => bad(502),
        // How the handler ends is nobody's business any more but the log's.
        End::Complete | End::Released => Fate::Complete,
    }
}

/// Says once why a response is not what its handler meant it to be.
fn log_ending(relay: &Relay<'_, '_>, end: End, wrong: Option<Wrong>, fate: &Fate) {
    let log = relay.log();
    let name = Escaped(relay.name());
    let bad = match (end, wrong) {
        (End::Bad(bad), _) | (End::Complete, Some(Wrong::Bad(bad))) => Some(bad),
        _ => None,
    };
    let status = Status(relay.reaped, relay.most_cpu());
    match (end, fate) {
        (_, Fate::NotLaunched(_)) => {}
        (_, Fate::Replace(_) | Fate::Cut) if bad.is_some() => {
            let first = Escaped(cgi::first_line(relay.response.raw()));
            let why = bad.map(|bad| bad.to_string()).unwrap_or_default();
            match end {
                // We ended it ourselves then.
                End::Bad(_) => {
                    log.warn(format_args!("{name}: not a response: {why} (\"{first}\")"));
                }
                _ => log.warn(format_args!(
                    "{name}: not a response: {why} (\"{first}\"), {status}"
                )),
            }
        }
        (End::TimedOut, _) => {
            log.warn(format_args!("{name}: over its time limit, ended; {status}"));
        }
        (End::TooMuch, _) => log.warn(format_args!("{name}: printed more than max-output, ended")),
        (End::NoSpool, _) => log.error(format_args!("{name}: no room to spool its response")),
        (End::ClientStuck, _) => {
            log.info(format_args!("{name}: the client took nothing for too long"));
        }
        (End::Broken(e), _) => log.error(format_args!("{name}: unable to relay: {e}")),
        (End::Complete, Fate::Replace(_) | Fate::Cut) if wrong.is_none() => {
            log.warn(format_args!("{name}: failed after its response: {status}"));
        }
        (End::Complete, Fate::Replace(_) | Fate::Cut) => {
            log.warn(format_args!("{name}: its response is incomplete; {status}"));
        }
        _ => log_oddities(relay),
    }
}

/// How a handler ended, in words; and the CPU time that it might have.
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

/// A good response with something to say about it.
fn log_oddities(relay: &Relay<'_, '_>) {
    let name = Escaped(relay.name());
    if relay.response.is_overlong {
        relay.log().warn(format_args!(
            "{name}: printed more than its Content-Length, cut there"
        ));
    }
    log_late_end(relay.log(), relay.name(), relay.reaped);
}

/// A handler has ended after a good response: what of that is worth a line.
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
            (End::Complete, false, None, "Complete", "Complete"),
            (End::Complete, true, None, "Replace(502)", "Cut"),
            (End::Released, true, None, "Complete", "Complete"),
            (End::Complete, false, short, "Replace(502)", "Cut"),
            (
                End::Bad(BadOutput::FirstLine),
                false,
                None,
                "Replace(502)",
                "Cut",
            ),
            (End::TimedOut, true, short, "Replace(504)", "Cut"),
            (End::TooMuch, true, short, "Replace(502)", "Cut"),
            (End::NoSpool, true, short, "Replace(507)", "Cut"),
            (End::ClientGone, true, short, "Drop", "Drop"),
            (End::ClientStuck, true, short, "Cut", "Cut"),
            (End::ParentGone, true, short, "Drop", "Drop"),
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
