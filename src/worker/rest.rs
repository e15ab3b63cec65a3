//! Rest: a worker that nobody needs keeps its client, which is the most likely one to speak next.
//! Then one process wakes up for a request in the place of two, and no order or verdict is sent.
//!
//! The parent can take back worker and client by one word of the scoreboard as soon as it needs
//! either, so nobody waits for a client that stays silent. A worker rests with its client only
//! between two requests, never in the middle of one.

use crate::birth::Birth;
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
pub(super) fn rest(birth: &Birth<'_>, channel: BorrowedFd<'_>, client: BorrowedFd<'_>) -> RestEnd {
    let (entry, board) = (birth.entry(), birth.scoreboard);
    if board.needs_workers() || !entry.rest() {
        return RestEnd::Over(Verdict::Keep);
    }
    // Asked again: the parent may have looked for resting workers between the first question and
    // `entry.rest()`.
    let ended = if board.needs_workers() {
        RestEnd::Over(Verdict::Keep)
    } else {
        wait(birth, channel, client)
    };
    if entry.end_rest() {
        ended
    } else {
        RestEnd::Taken
    }
}

fn wait(birth: &Birth<'_>, channel: BorrowedFd<'_>, client: BorrowedFd<'_>) -> RestEnd {
    let mut set = [
        poll::of(channel, poll::READABLE),
        poll::of(client, poll::READABLE),
    ];
    let time = REST.min(birth.settings.limits.keep_alive_timeout);
    if poll::wait_undisturbed(&mut set, Some(time)).is_err() {
        return RestEnd::Over(Verdict::Keep);
    }
    match set.map(|fd| fd.revents) {
        // The client has hung up. The worker gives it back: over a Unix domain socket a request may
        // have come before the end, and the parent looks for it.
        [_, client] if client & poll::HUNG_UP != 0 => RestEnd::Over(Verdict::Keep),
        [0, client] if client != 0 => RestEnd::Spoken,
        _ => RestEnd::Over(Verdict::Keep),
    }
}
