//! The worker: serves one client at a time at full speed and gives it back as soon as the next step depends
//! on the client, or keeps it while there is nothing else to do. No client can hold it; only a handler can.
//!
//! | file | does |
//! |---|---|
//! | `rest` | keeps the client while nobody needs this worker |
//! | `exchange` | serves one request, from its first byte to the verdict on its connection |
//! | `redirect` | the handler of a request, and those that it redirects to |
//! | `call` | one call of a handler: body, launch, relay |
//! | `context` | what a worker keeps from request to request, and answers without a handler |
//! | `ending` | how a response ends |
//! | `relay` | moves the handler's output to the client |
//! | `released` | a handler that runs on after its response |
//! | `detached` | reads what processes print that a handler has left on purpose |
//! | `process_tree` | ends a handler and everything it started |
//! | `plan` | environment, arguments and descriptors of a launch |
//! | `launch_failure` | why a handler was not started |
//! | `confine` | what a handler may use and touch |
//! | `body` | the request's body: in memory, or in a spool |
//! | `large_body` | a large body that arrives without a stop |
//! | `progress` | how far a body has been read, and how the next worker learns of it |
//! | `feed` | the body of a handler that wants a pipe |
//! | `response` | turns the handler's output into an HTTP response |
//! | `answer` | the server's own short responses |
//! | `outlet` | what the client takes now, and the spool for the rest |
//! | `turn` | which workers may spool responses now |
//! | `spool` | a file that holds what the client has not sent or taken yet |
//! | `request`, `input`, `client` | a request, what has arrived of its head, and who has sent it |
//! | `stderr`, `receipt` | the handler's stderr, and the request's line, in the log |
//! | `root` | the folder with the handlers, by its name |

mod answer;
mod body;
mod buffer;
mod call;
mod client;
mod confine;
mod context;
mod date;
mod detached;
mod ending;
mod exchange;
mod feed;
mod input;
mod large_body;
mod launch_failure;
mod outlet;
mod plan;
mod process_tree;
mod progress;
mod receipt;
mod redirect;
mod relay;
mod released;
mod request;
mod response;
mod rest;
mod root;
mod spool;
mod stderr;
mod turn;

use crate::birth::Birth;
use crate::channel::{self, Order, Serve, Stage, Verdict};
use crate::scoreboard::{Entry, Origin, Phase, Report, Spooled};
use crate::sys::fd::AsFd;
use crate::sys::time::{self, Moment};
use crate::sys::{self, Errno, descendants, poll, privilege, process, signal, socket};
use client::{Client, Outcome};
use context::Context;
use exchange::Exchange;
use rest::RestEnd;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// Worker: serves until the parent says otherwise or is gone. The result is the exit status.
pub fn run(birth: &Birth<'_>) -> i32 {
    match serve_until_retired(birth) {
        Ok(()) => 0,
        // The parent died while a verdict was on its way: there is nobody to work for.
        Err(e) if matches!(e.errno, Errno::CONNRESET | Errno::PIPE) => 0,
        Err(e) => {
            birth.log.error(format_args!("unable to work: {e}"));
            1
        }
    }
}

fn serve_until_retired(birth: &Birth<'_>) -> sys::Result<()> {
    birth.log.forked();
    signal::to_interrupts()?;
    // Where the system has no such call, the parent has warned at its start.
    let _ = process::become_subreaper();
    // If the parent dies while this worker is stopped, the signal wakes the worker, which then
    // finds its channel closed and leaves.
    let _ = process::signal_with_parent(signal::SIGCONT);
    if birth.settings.no_new_privs {
        privilege::renounce_new_privileges().inspect_err(|e| {
            let what = "unable to keep set-user-id programs from raising handlers";
            let log = birth.log;
            log.error(format_args!("{what}: {e}; allow it with --no-new-privs=no"));
        })?;
    }
    // Without the mark the parent knows this worker's processes by their process groups.
    let _ = descendants::mark();
    // A worker cannot serve without ppoll(2): it is called once here, so that its lack is known at the start.
    poll::wait_undisturbed(&mut [], Some(Duration::ZERO))?;
    process::work_in_batches();
    crate::sys::file::change_folder(birth.root)?;
    let channel = find_parent(birth)?;
    let mut exchange = Exchange::new(birth)?;
    channel::send_verdict(channel.as_fd(), Verdict::Ready, Report::default(), None)?;
    while let Some(received) = channel::receive_order(channel.as_fd())? {
        match received.order {
            Order::Retire => return Ok(()),
            Order::ReopenLog => birth.log.reopen(),
            Order::Release => {}
            Order::Serve(serve) => {
                let Some(fd) = received.client else {
                    return Ok(());
                };
                let (client, channel) = (Client::new(fd, serve), channel.as_fd());
                if let Some(outcome) = serve_client(&mut exchange, channel, client, received.spool)
                {
                    give_verdict(&mut exchange.context, channel, &outcome)?;
                }
                if exchange.context.must_retire {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Sends the verdict. If a handler runs on after its response, the worker stays with it, and tells
/// the parent that it is free when that handler has ended.
fn give_verdict(
    context: &mut Context<'_>,
    channel: BorrowedFd<'_>,
    outcome: &Outcome,
) -> sys::Result<()> {
    let entry = context.birth.entry();
    let released = context.released.take();
    let report = Report {
        is_handler_running: released.is_some(),
        ..entry.report()
    };
    channel::send_verdict(channel, outcome.verdict, report, outcome.spool.as_ref())?;
    if let Some(released) = released {
        context.stay_with(released, channel);
        release_slot(entry, None);
        if !context.must_retire {
            channel::send_verdict(channel, Verdict::Ready, entry.report(), None)?;
        }
    }
    // Only now: if this worker dies before its verdict is sent, the parent decides by this phase
    // what the client gets.
    entry.set_phase(Phase::Idle);
    Ok(())
}

/// Frees what a request has claimed in the worker's slot. `phase`: what the parent goes by if this
/// worker dies before its verdict is sent.
fn release_slot(entry: Entry<'_>, phase: Option<Phase>) {
    // The beat comes first: the parent takes a worker without a deadline for stuck if its last beat
    // is too long ago.
    entry.beat(time::now());
    if let Some(phase) = phase {
        entry.set_phase(phase);
    }
    entry.set_spooled(Spooled::default());
    entry.set_deadline(Moment::default());
    entry.set_claim(0);
}

/// Connects to the parent. In a folder that is not sticky another user may have put a socket of his
/// own in the place of the parent's: the worker takes no orders from another user.
fn find_parent(birth: &Birth<'_>) -> sys::Result<OwnedFd> {
    let channel = socket::connect_unix(&birth.settings.socket)?;
    if socket::peer(channel.as_fd())?.uid == process::effective_uid() {
        channel::send_birth(channel.as_fd(), birth.secret, birth.slot)?;
        return Ok(channel);
    }
    Err(sys::Error::new(&"connect", Errno::PERM))
}

/// Serves a client, and goes on with it for as long as nobody else needs this worker. `None`: the
/// parent has taken it back, so there is no verdict. The client is taken by value: its copy here has to be closed
/// before the verdict is said, or the parent's close would not end the connection.
fn serve_client(
    exchange: &mut Exchange<'_>,
    channel: BorrowedFd<'_>,
    mut client: Client,
    mut spool: Option<OwnedFd>,
) -> Option<Outcome> {
    loop {
        // What came in pieces is given back: its client is slow, and not the one to rest with.
        let came_at_once = client.serve.stage == Stage::Head && !client.serve.is_head_resumed;
        let outcome = serve_request(exchange, channel, &client, spool.take());
        let is_done = outcome.verdict == Verdict::Keep && exchange.context.released.is_none();
        if !is_done || !came_at_once || exchange.context.must_retire {
            return Some(outcome);
        }
        match rest::rest(exchange.context.birth, channel, client.socket()) {
            RestEnd::Spoken => client.begin_next(),
            RestEnd::Taken => return None,
            RestEnd::Over(verdict) => return Some(Outcome::of(verdict)),
        }
    }
}

fn serve_request(
    exchange: &mut Exchange<'_>,
    channel: BorrowedFd<'_>,
    client: &Client,
    spool: Option<OwnedFd>,
) -> Outcome {
    let birth = exchange.context.birth;
    let entry = birth.entry();
    let Serve {
        ticket, requests, ..
    } = client.serve;
    let proxies = &birth.settings.trusted_proxies;
    entry.set_origin(Origin::of(client.serve.peer, proxies));
    entry.begin(ticket, requests, client.received);
    let outcome = exchange.serve(client, channel, spool);
    if exchange.context.released.is_some() {
        // The handler that runs on keeps its deadline and its claim.
        entry.beat(time::now());
        entry.set_spooled(Spooled::default());
        return outcome;
    }
    let phase = match outcome.verdict {
        Verdict::Keep => Some(Phase::Kept),
        Verdict::Close | Verdict::Linger => Some(Phase::Closing),
        _ => None,
    };
    release_slot(entry, phase);
    outcome
}
