//! What the old server says to the new one, and hears from it.

use super::owner::Upgrade;
use super::predecessor::Predecessor;
use super::program::Command;
use super::records::{Record, encode};
use super::successor::{FAILED, FromSuccessor, READY, Successor};
use crate::parent::connections::Transfer;
use crate::parent::context::Context;
use crate::parent::life::START_TIMEOUT;
use crate::parent::listeners::Listener;
use crate::parent::token::Token;
use crate::sys::fd::AsFd;
use crate::sys::passing::send_record;
use crate::sys::process::{self, Pid};
use crate::sys::readiness::Interest;
use crate::sys::time::Moment;
use crate::sys::{self, Errno, Error, signal, socket};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

/// How often to look whether the new server has read all that was sent, since it does not say so.
const READ_PAUSE: Duration = Duration::from_millis(50);

/// What cannot be had twice: locks, sockets.
pub(in crate::parent) struct Possessions<'a> {
    /// The folder in which relative names on the command line begin.
    pub(in crate::parent) folder: &'a Path,
    pub(in crate::parent) pid_file: Option<BorrowedFd<'a>>,
    pub(in crate::parent) control: BorrowedFd<'a>,
    pub(in crate::parent) listeners: &'a [Listener],
    /// Connections ever accepted.
    pub(in crate::parent) accepted: u64,
}

/// What an upgrade needs next.
pub(in crate::parent) enum Step {
    /// Nothing.
    None,
    /// To be begun.
    Begin,
    /// Clients go to the new server.
    HandOver,
    /// The new server is not ready in time.
    Late,
}

/// What the end of a new server means.
pub(in crate::parent) enum End {
    /// Nothing: it was not this server's successor.
    OfAnother,
    /// `was` has ended. Its own successor `now` serves on, and is this server's successor from now on.
    Followed { was: Pid, now: Pid },
    /// It had everything.
    Settled { pid: Pid },
    /// It never became ready; `why`: its own words on that.
    Early { pid: Pid, why: String },
}

impl Upgrade {
    /// When an upgrade has to be looked at again. `is_empty`: there is no connection.
    pub(in crate::parent) fn next_deadline(&self, ctx: &Context, is_empty: bool) -> Option<Moment> {
        let successor = self.successor.as_ref()?;
        if !successor.is_settled {
            return Some(successor.until);
        }
        (is_empty && !self.has_read_all()).then(|| ctx.now.after(READ_PAUSE))
    }

    /// The next step, once per turn. `is_calm`: no worker is starting.
    pub(in crate::parent) fn next_step(&mut self, ctx: &Context, is_calm: bool) -> Step {
        if self.is_due && is_calm {
            self.is_due = false;
            return Step::Begin;
        }
        match &self.successor {
            Some(successor) if successor.is_settled => Step::HandOver,
            Some(successor) if successor.until <= ctx.now => Step::Late,
            _ => Step::None,
        }
    }

    /// Starts the new server; false if that is not possible.
    #[cold]
    pub(in crate::parent) fn begin(&mut self, ctx: &Context, has: &Possessions<'_>) -> bool {
        match self.start(ctx, has) {
            Ok(successor) => {
                let pid = successor.pid;
                ctx.log.info(format_args!(
                    "upgrading: started {pid}, {}",
                    self.program.display()
                ));
                self.successor = Some(successor);
                true
            }
            Err(e) => {
                ctx.log.error(format_args!("unable to upgrade: {e}"));
                false
            }
        }
    }

    #[cold]
    fn start(&self, ctx: &Context, has: &Possessions<'_>) -> sys::Result<Successor> {
        let (own, other) = socket::pair()?;
        let command = Command::new(&self.program);
        ctx.readiness
            .park(own.as_fd(), Token::Successor.number(), Interest::Read)?;
        // Until the child has its own signal handlers, its signals would go into the parent's self-pipe.
        let mask = signal::block_all();
        let forked = process::fork();
        if let Ok(None) = forked {
            command.run(has.folder, ctx.handler_descriptor_limit, &other);
        }
        if let Ok(mask) = mask {
            let _ = signal::restore(&mask);
        }
        let sent = forked.and_then(|pid| {
            let pid = pid.ok_or(Error {
                call: &"fork",
                errno: Errno::SRCH,
            })?;
            // A new server that gets nothing ends.
            self.pass_on(own.as_fd(), has).map(|()| pid)
        });
        match sent {
            Ok(pid) => Ok(Successor {
                pid,
                socket: own,
                until: ctx.now.after(START_TIMEOUT),
                is_settled: false,
                has_clients: false,
                next: None,
                why: String::new(),
            }),
            Err(e) => {
                let _ = ctx.readiness.forget(own.as_fd());
                Err(e)
            }
        }
    }

    #[cold]
    fn pass_on(&self, successor: BorrowedFd<'_>, has: &Possessions<'_>) -> sys::Result<()> {
        let count = u16::try_from(has.listeners.len()).unwrap_or(u16::MAX);
        let hello = encode(&Record::Hello(count, has.accepted));
        let files: Vec<_> = has.pid_file.into_iter().chain([has.control]).collect();
        send_record(successor, &hello, &files)?;
        for listener in has.listeners {
            let record = encode(&Record::Listener(listener.index, listener.wish.clone()));
            send_record(successor, &record, &[listener.fd()])?;
        }
        for line in self.predecessor.iter().flat_map(Predecessor::lines) {
            send_record(successor, &encode(&Record::Before), &[line])?;
        }
        Ok(())
    }

    /// The next thing that the new server has said; `None`: nothing more now.
    #[cold]
    pub(in crate::parent) fn hear_successor(&mut self, ctx: &Context) -> Option<FromSuccessor> {
        loop {
            let successor = self.successor.as_mut()?;
            if successor.is_settled {
                return successor.hear_record(ctx);
            }
            let mut bytes = [0; 512];
            let said = match socket::receive(successor.socket.as_fd(), &mut bytes) {
                Ok(n) => bytes.get(..n).unwrap_or_default(),
                // The kernel reports an error once. What the new server has said, or its end, comes next.
                Err(_) => {
                    successor.arm(ctx, Interest::Read);
                    return None;
                }
            };
            // Its end comes by SIGCHLD.
            let (first, why) = said.split_first()?;
            match *first {
                READY => return Some(FromSuccessor::Ready),
                FAILED => successor.why = String::from_utf8_lossy(why).into_owned(),
                _ => {}
            }
        }
    }

    /// Tells the new server that it is in charge; returns its process id if that could be sent.
    #[cold]
    pub(in crate::parent) fn settle(&mut self) -> Option<Pid> {
        let pid = self.successor.as_ref()?.pid;
        // First tell the predecessor: should this server be killed between the two messages, the new one has
        // everything.
        self.tell_follower(Some(pid));
        let successor = self.successor.as_mut()?;
        // It cannot be sent if the new server has just died.
        send_record(successor.socket.as_fd(), &encode(&Record::Go), &[]).ok()?;
        successor.is_settled = true;
        Some(pid)
    }

    /// Hands a client on to the new server: false if its socket has no room now.
    #[cold]
    pub(in crate::parent) fn hand_on(
        &mut self,
        ctx: &Context,
        (transfer, client, spool): (Transfer, BorrowedFd<'_>, Option<BorrowedFd<'_>>),
    ) -> bool {
        let Some(successor) = &mut self.successor else {
            return false;
        };
        let record = encode(&Record::Client(transfer));
        successor.has_clients = true;
        let line = successor.socket.as_fd();
        let sent = match spool {
            Some(spool) => send_record(line, &record, &[client, spool]),
            None => send_record(line, &record, &[client]),
        };
        match sent {
            Ok(_) => return true,
            // The new server takes no client any more, and is about to end. If its socket were armed it would wake
            // this server without end.
            Err(e) if e.errno == Errno::PIPE => {}
            Err(_) => successor.arm(ctx, Interest::Write),
        }
        false
    }

    /// Whether the new server has taken all clients that were handed on. If it takes none any more (EPIPE), it reads the
    /// rest to give them back: those have come by the time that it ends.
    pub(in crate::parent) fn has_read_all(&self) -> bool {
        let successor = self.successor.as_ref();
        successor.is_none_or(|successor| {
            let line = successor.socket.as_fd();
            // In this order: the new server shuts its side down before it reads the rest.
            !successor.has_clients
                || socket::bytes_unsent(line).unwrap_or(0) == 0 && socket::send(line, &[]).is_ok()
        })
    }

    /// A new server has ended.
    #[cold]
    pub(in crate::parent) fn note_end(&mut self, ctx: &Context, pid: Pid) -> End {
        let Some(successor) = &mut self.successor else {
            return End::OfAnother;
        };
        let next = successor.next.take();
        if successor.pid != pid {
            return End::OfAnother;
        }
        let Some(next) = next else {
            return if successor.is_settled {
                End::Settled { pid }
            } else {
                let why = successor.why.clone();
                End::Early { pid, why }
            };
        };
        // The one that has ended had left everything to `next`, which is this server's successor now. That has a
        // copy of the line, and so reads what was sent and not read. It may not have been told *go* yet.
        successor.pid = next;
        let _ = send_record(successor.socket.as_fd(), &encode(&Record::Go), &[]);
        successor.arm(ctx, Interest::Read);
        self.tell_follower(Some(next));
        End::Followed {
            was: pid,
            now: next,
        }
    }

    /// Forgets the new server; returns its process id.
    #[cold]
    pub(in crate::parent) fn drop_successor(&mut self, ctx: &Context) -> Option<Pid> {
        let successor = self.successor.take()?;
        let _ = ctx.readiness.forget(successor.socket.as_fd());
        Some(successor.pid)
    }

    /// The upgrade has failed: tells the predecessor that this server has no successor.
    #[cold]
    pub(in crate::parent) fn note_failure(&self) {
        self.tell_follower(None);
    }
}
