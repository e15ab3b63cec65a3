//! Leaving the terminal: double fork, setsid, and the status pipe through which the starting
//! command learns how the start went. How a server is started is not known here.

use super::upgrade::{FAILED, READY};
use crate::sys;
use crate::sys::fd::{self, AsFd};
use crate::sys::file::{self, Open};
use crate::sys::process;
use std::fmt::Display;
use std::io::Write;
use std::os::fd::OwnedFd;

/// Who has started the server and waits until it is ready.
#[derive(Default)]
pub(super) struct Starter {
    is_daemon: bool,
    /// A pipe to the starting command, or the line to the predecessor; `None` once that was told, and in the
    /// foreground, where a person reads stderr.
    waits: Option<OwnedFd>,
}

/// Which side of the forks this is.
pub(super) enum Detached {
    /// The starting command; its exit status.
    Starter(u8),
    /// The server.
    Server(Starter),
}

impl Starter {
    /// The server runs in the terminal's foreground.
    pub(super) fn is_foreground(&self) -> bool {
        !self.is_daemon
    }

    /// The server is ready: lets the starting command go, with the line that it prints.
    pub(super) fn announce(&mut self, line: &str) {
        self.say(READY, line);
    }

    /// The server cannot start: one line for the user; the exit status.
    pub(super) fn refuse(mut self, why: &dyn Display) -> u8 {
        if self.is_foreground() {
            eprintln!("caffeine: {why}");
        }
        self.say(FAILED, &why.to_string());
        1
    }

    fn say(&mut self, outcome: u8, text: &str) {
        if let Some(pipe) = self.waits.take() {
            let mut bytes = vec![outcome];
            bytes.extend_from_slice(text.as_bytes());
            // If the starting command was killed there is nobody to tell.
            let _ = fd::write(pipe.as_fd(), &bytes);
        }
    }
}

/// Goes into the background if that is wanted. A server with a predecessor is where that was already.
pub(super) fn detach(wanted: bool, predecessor: Option<&OwnedFd>) -> Detached {
    if let Some(predecessor) = predecessor {
        return answer_to(predecessor, wanted);
    }
    if !wanted {
        return Detached::Server(Starter::default());
    }
    match fork_twice() {
        Ok(detached) => detached,
        Err(e) => {
            eprintln!("caffeine: unable to go into the background: {e}");
            Detached::Starter(1)
        }
    }
}

/// The predecessor waits for this server. If no copy of the line can be made, it could never be told: then the start
/// fails.
fn answer_to(predecessor: &OwnedFd, is_daemon: bool) -> Detached {
    match fd::duplicate_above(predecessor.as_fd(), 3) {
        Ok(copy) => Detached::Server(Starter {
            is_daemon,
            waits: Some(copy),
        }),
        Err(e) => {
            eprintln!("caffeine: unable to answer the server before: {e}");
            Detached::Starter(1)
        }
    }
}

/// Forks twice: the first child leaves the session of the terminal; the second one leads no session and so can never
/// get a terminal again.
fn fork_twice() -> sys::Result<Detached> {
    let (read_end, write_end) = fd::pipe()?;
    if let Some(child) = process::fork()? {
        drop(write_end);
        // The first child, which leaves at once.
        let _ = process::wait_for(child);
        return Ok(Detached::Starter(hear_from(&read_end)));
    }
    drop(read_end);
    process::new_session()?;
    match process::fork() {
        Ok(None) => {}
        Ok(Some(_)) => process::exit_now(0),
        Err(e) => {
            let starter = Starter {
                is_daemon: true,
                waits: Some(write_end),
            };
            process::exit_now(i32::from(starter.refuse(&e)));
        }
    }
    close_standard()?;
    Ok(Detached::Server(Starter {
        is_daemon: true,
        waits: Some(write_end),
    }))
}

/// A daemon must not keep the terminal, or the pipe that a script reads, open.
fn close_standard() -> sys::Result<()> {
    let null = file::open_at(None, c"/dev/null", Open::Existing)?;
    (0..3).try_for_each(|standard| fd::duplicate_onto(null.as_fd(), standard))
}

/// Starting command: waits for the daemon's word and prints it.
fn hear_from(pipe: &OwnedFd) -> u8 {
    let said = fd::read_all(pipe.as_fd(), usize::MAX).unwrap_or_default();
    let why = match said.split_first() {
        Some((&READY, line)) => {
            // A closed stdout does not make the start a failure.
            let _ = fd::print(&[line, b"\n"].concat());
            return 0;
        }
        Some((_, why)) => why,
        None => b"the daemon ended before it was ready",
    };
    let _ = std::io::stderr().write_all(&[b"caffeine: ", why, b"\n"].concat());
    1
}
