//! Reads what the processes print that a handler has left behind on purpose (`detach = yes`), in a
//! process of its own, until they are gone. Without a reader the first word that they print would
//! end them (SIGPIPE); with a reader that stops reading they would wait for ever.
//!
//! Their stderr goes to the log as the handler's own, within the rest of its `max-stderr`; their stdout
//! was the response, which is over, and goes nowhere.

use super::released::RelayParts;
use super::stderr::{HandlerStderr, StderrPipe};
use crate::log::{Escaped, Log};
use crate::sys::fd::{self, AsFd};
use crate::sys::file::{self, Open};
use crate::sys::{poll, process, signal};
use std::os::fd::AsRawFd;

/// Worker: forks the process that listens. The parent finds it as it finds the processes it listens
/// to: by the worker's mark.
pub(super) fn listen(log: &Log, name: &[u8], pipe: &StderrPipe, parts: RelayParts) {
    match process::fork() {
        Ok(Some(_)) => {}
        // Nothing that the worker owns is dropped in the child: most of these descriptors are
        // closed, and their numbers may belong to others by now.
        Ok(None) => {
            if let Ok(log) = become_listener(log, pipe, &parts) {
                hear(&log, name, pipe, parts);
            }
            process::exit_now(0);
        }
        Err(e) => log.error(format_args!(
            "{}: unable to listen to what it has left: {e}",
            Escaped(name)
        )),
    }
}

/// Child: keeps the log and the two pipes, and leaves the terminal. It has a log of its own, so
/// that it neither holds the server's stderr open nor loses a line.
fn become_listener(log: &Log, pipe: &StderrPipe, parts: &RelayParts) -> crate::sys::Result<Log> {
    let log = log.again()?;
    let mut keep = log.descriptors();
    keep.push(pipe.read_end().as_raw_fd());
    keep.extend(parts.stdout.as_ref().map(AsRawFd::as_raw_fd));
    fd::close_all_but(&keep);
    process::set_name(c"caffeine-detach");
    process::new_session()?;
    signal::reset_inherited()?;
    let null = file::open_at(None, c"/dev/null", Open::Existing)?;
    (0..3).try_for_each(|standard| fd::duplicate_onto(null.as_fd(), standard))?;
    Ok(log)
}

/// Child: reads until both pipes have lost their last writer.
fn hear(log: &Log, name: &[u8], pipe: &StderrPipe, parts: RelayParts) {
    let mut stdout = parts.stdout;
    let mut stderr = HandlerStderr::resume((log, name), parts.pid, pipe, parts.stderr);
    let (mut is_open, mut bytes) = (true, [0; 4096]);
    while is_open || stdout.is_some() {
        let mut set = [
            poll::of_any(stdout.as_ref().map(AsFd::as_fd), poll::READABLE),
            poll::of_any(is_open.then_some(stderr.fd()), poll::READABLE),
        ];
        if poll::wait(&mut set, None).is_err() {
            return;
        }
        let [of_stdout, of_stderr] = set.map(|entry| entry.revents);
        if of_stderr & poll::HUNG_UP != 0 {
            is_open = false;
            stderr.finish();
        } else if of_stderr != 0 {
            stderr.read();
        }
        let has_read = |pipe: &std::os::fd::OwnedFd| {
            of_stdout == 0 || fd::read(pipe.as_fd(), &mut bytes).is_ok_and(|n| n > 0)
        };
        stdout = stdout.filter(has_read);
    }
}
