//! What becomes of a connection when its worker has said a verdict, or has died. Pure.

use super::state::State;
use crate::channel::{Stage, Verdict};
use crate::scoreboard::Phase;

/// What the parent does with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::parent) enum Fate {
    /// Parks it; at its next event a worker goes on with this stage.
    Park(State, Stage),
    /// Discards what it still sends, then closes it.
    Linger,
    /// Closes it.
    Close,
    /// Keeps it until its handler is free.
    Hold,
    /// A worker that says this here can no longer be trusted: it is killed, and its client is treated as that of
    /// any worker that dies.
    Distrust,
}

/// The fate of a connection that a worker was given at `stage`.
pub(super) fn fate(verdict: Verdict, stage: Stage) -> Fate {
    // The response that is being sent says `Connection: close`: no request can follow it.
    let is_closing = stage == Stage::DrainClose;
    match verdict {
        Verdict::Born | Verdict::Ready => Fate::Distrust,
        Verdict::Close => Fate::Close,
        Verdict::Linger => Fate::Linger,
        Verdict::DrainClose => Fate::Park(State::Drain, Stage::DrainClose),
        _ if is_closing => Fate::Distrust,
        Verdict::Keep => Fate::Park(State::Idle, Stage::Head),
        Verdict::Head => Fate::Park(State::Head, Stage::Head),
        Verdict::Body => Fate::Park(State::Body, Stage::Body),
        Verdict::DrainKeep => Fate::Park(State::Drain, Stage::DrainKeep),
        Verdict::Retry => Fate::Hold,
        Verdict::Stall => Fate::Park(State::Stalled, Stage::Retry),
    }
}

/// What becomes of a client whose worker has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Salvage {
    /// Another worker gets the client: nothing was taken from its socket.
    HandOver,
    /// Another worker gets the client, and the death does not count: the dead worker never saw it.
    HandOverUnseen,
    /// 503: something was taken, nothing ran.
    Unread,
    /// 502: a handler was started, nothing was sent.
    Lost,
    /// Something may have been sent: the client must be able to tell that it is not whole.
    Cut,
    /// All that the client gets was sent.
    Close,
    /// The client has cost two workers.
    GiveUp,
}

/// What becomes of a dead worker's client, by the phase in the worker's slot. `has_begun`: the slot has the order
/// for this client; otherwise what stands there is about the client before. (Kept, with this client's order, is
/// the verdict *keep*, which `Workers::unsaid` takes before this is asked.)
///
/// A worker does not become Idle before its verdict is out. So if it dies with the verdict unsaid, the client is treated as
/// after a death a moment before. Idle, with this client's order, means that the verdict was said and is lost: a
/// handler may have run, and no handler is run twice.
pub(super) fn salvage(phase: Phase, has_begun: bool, has_lost_worker: bool) -> Salvage {
    match phase {
        _ if !has_begun => Salvage::HandOverUnseen,
        Phase::Idle | Phase::Kept => Salvage::Cut,
        Phase::Looking if has_lost_worker => Salvage::GiveUp,
        Phase::Looking => Salvage::HandOver,
        Phase::Reading => Salvage::Unread,
        Phase::Launched => Salvage::Lost,
        Phase::Answering => Salvage::Cut,
        Phase::Closing => Salvage::Close,
    }
}

/// For how many ticks a client is not waited for after this many visits to a worker in vain. Two visits are free
/// (a head may come in a few segments). Then there are at most ten a second, and fewer the longer it trickles, so a
/// client that drips for its whole head-timeout costs some 25 visits. (With 4 ticks in place of 8, a thousand such
/// clients came back in bursts long enough to double everybody else's p99.)
pub(super) fn ticks_aside(visits: u8) -> Option<u32> {
    match visits {
        0..=2 => None,
        3..=7 => Some(1),
        8..=12 => Some(2),
        _ => Some(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_has_its_fate() {
        use Stage::{Body, DrainClose, DrainKeep, Head, Retry};
        for (verdict, stage, expected) in [
            (Verdict::Keep, Head, Fate::Park(State::Idle, Head)),
            (Verdict::Keep, DrainKeep, Fate::Park(State::Idle, Head)),
            (Verdict::Head, Head, Fate::Park(State::Head, Head)),
            (Verdict::Body, Head, Fate::Park(State::Body, Body)),
            (Verdict::Body, Body, Fate::Park(State::Body, Body)),
            (
                Verdict::DrainKeep,
                Retry,
                Fate::Park(State::Drain, DrainKeep),
            ),
            (
                Verdict::DrainClose,
                Head,
                Fate::Park(State::Drain, DrainClose),
            ),
            (Verdict::Close, DrainClose, Fate::Close),
            (Verdict::Linger, Body, Fate::Linger),
            (Verdict::Retry, Body, Fate::Hold),
            (Verdict::Stall, Body, Fate::Park(State::Stalled, Retry)),
            (Verdict::Keep, DrainClose, Fate::Distrust),
            (Verdict::Ready, Head, Fate::Distrust),
        ] {
            assert_eq!(fate(verdict, stage), expected, "{verdict:?} at {stage:?}");
        }
    }

    #[test]
    fn no_client_is_handed_over_when_a_handler_may_have_run() {
        for (phase, has_begun, lost, expected) in [
            (Phase::Idle, false, false, Salvage::HandOverUnseen),
            (Phase::Kept, false, true, Salvage::HandOverUnseen),
            (Phase::Looking, false, true, Salvage::HandOverUnseen),
            (Phase::Idle, true, false, Salvage::Cut),
            (Phase::Kept, true, false, Salvage::Cut),
            (Phase::Looking, true, false, Salvage::HandOver),
            (Phase::Looking, true, true, Salvage::GiveUp),
            (Phase::Reading, true, false, Salvage::Unread),
            (Phase::Launched, true, false, Salvage::Lost),
            (Phase::Answering, true, true, Salvage::Cut),
            (Phase::Closing, true, true, Salvage::Close),
            (Phase::Closing, false, false, Salvage::HandOverUnseen),
        ] {
            assert_eq!(
                salvage(phase, has_begun, lost),
                expected,
                "{phase:?} {has_begun}"
            );
        }
    }

    #[test]
    fn a_trickling_head_is_looked_at_less_and_less() {
        let mut ticks = 0;
        let mut looks = 0_u8;
        while ticks < 100 {
            looks += 1;
            ticks += ticks_aside(looks).unwrap_or(0);
        }
        assert!((20..=40).contains(&looks), "{looks}");
    }
}
