//! What becomes of a connection when its worker has said a verdict. Pure.

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
    /// A worker that says this here can no longer be trusted: it is killed, the connection cut.
    Distrust,
}

/// The fate of a connection that a worker was given at `stage`.
pub(super) fn fate(verdict: Verdict, stage: Stage) -> Fate {
    // The response that is being sent has said `Connection: close`: nothing can follow it.
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
    /// Another worker gets it: nothing was taken from its socket.
    HandOver,
    /// Another worker gets it, and the death does not count: the dead one never saw this client.
    HandOverUnseen,
    /// 503: something was taken, nothing ran.
    Unread,
    /// 502: a handler was started, nothing was sent.
    Lost,
    /// Something may have been sent: the client must be able to tell that it is not whole.
    Cut,
    /// All that it gets was sent.
    Close,
    /// It has cost two workers.
    GiveUp,
}

/// The fate of a client by how far its dead worker said it had come, and whether it had begun this client's
/// order; else what it said is about the one before. (Kept with this one is a verdict.)
///
/// A worker keeps its phase until its verdict is out, so that of an unsaid verdict the same holds as of a
/// death a moment before. Idle, or already further, means that the verdict is lost: a handler may have run,
/// and none is run twice.
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

/// Ticks for which a client stays silent after this many visits to a worker in vain. Two are free
/// (a head in a few segments); then at most ten a second, and less the longer it trickles, so that
/// a client that drips for its whole head-timeout costs some 25 dispatches. (With 4 in the place of 8, a
/// thousand of them came back in bursts long enough to double everybody else's p99.)
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
