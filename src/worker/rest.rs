//! Rest: a worker that nobody needs keeps its client, which is the most likely one to speak next.
//! Then one process wakes up for a request in the place of two, and no order or verdict is sent.
//!
//! Nobody waits for that client: the parent takes both back by one word of the scoreboard as soon as
//! it needs either. Refuses to keep a client that owes anything or is owed something.

use super::exchange::Exchange;
use crate::channel::Verdict;
use crate::scoreboard::REST;
use crate::sys::poll;
use std::os::fd::BorrowedFd;

/// How a rest has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RestEnd {
    /// The client speaks.
    Spoken,
    /// The parent has the client, so there is nothing to say of it.
    Taken,
    /// The worker has the client and gives it back.
    Over(Verdict),
}

/// Worker: keeps its client until that speaks, somebody needs one of them, or it has been silent for
/// a second.
pub(super) fn rest(
    exchange: &Exchange<'_>,
    channel: BorrowedFd<'_>,
    client: BorrowedFd<'_>,
) -> RestEnd {
    let (entry, board) = (exchange.entry(), exchange.scoreboard());
    if board.needs_workers() || !entry.rest() {
        return RestEnd::Over(Verdict::Keep);
    }
    // Once more: the parent may have looked for resting workers between the two.
    let ended = if board.needs_workers() {
        RestEnd::Over(Verdict::Keep)
    } else {
        wait(exchange, channel, client)
    };
    if entry.end_rest() {
        ended
    } else {
        RestEnd::Taken
    }
}

fn wait(exchange: &Exchange<'_>, channel: BorrowedFd<'_>, client: BorrowedFd<'_>) -> RestEnd {
    let mut set = [
        poll::of(channel, poll::READABLE),
        poll::of(client, poll::READABLE),
    ];
    let time = REST.min(exchange.keep_alive_timeout());
    if poll::wait_undisturbed(&mut set, Some(time)).is_err() {
        return RestEnd::Over(Verdict::Keep);
    }
    match set.map(|fd| fd.revents) {
        // The parent knows what that means: over a Unix domain socket a request may come with it.
        [_, client] if client & poll::HUNG_UP != 0 => RestEnd::Over(Verdict::Keep),
        [0, client] if client != 0 => RestEnd::Spoken,
        _ => RestEnd::Over(Verdict::Keep),
    }
}
