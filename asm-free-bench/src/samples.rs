//! Durations of one exchange, round by round, and the loop that takes them.

use crate::failure::Failure;
use std::time::{Duration, Instant};

/// One round. Returns the moment at which what is measured was over; what follows it (the check of
/// the answer) is not counted.
pub(crate) type Round<'a> = &'a mut dyn FnMut() -> Result<Instant, Failure>;

/// Nanoseconds of each round.
pub(crate) struct Samples(Vec<u64>);

impl Samples {
    /// Of durations taken elsewhere.
    pub(crate) fn new(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        Self(nanos)
    }

    /// The value that `percent` of the rounds do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> u64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(0)
    }

    /// The slowest round.
    pub(crate) fn max(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }

    /// Of rounds that each did `times` the work: one of it.
    pub(crate) fn divided_by(&self, times: usize) -> Self {
        let times = u64::try_from(times).unwrap_or(u64::MAX).max(1);
        Self(self.0.iter().map(|nanos| nanos / times).collect())
    }

    /// Rounds per second if one followed the other.
    pub(crate) fn per_second(&self) -> f64 {
        let total: u64 = self.0.iter().sum();
        let rounds = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        f64::from(rounds) / Duration::from_nanos(total.max(1)).as_secs_f64()
    }
}

/// As integer nanoseconds.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Takes `rounds` samples of each, one after the other in turn, so that what disturbs the machine
/// disturbs all alike. A tenth of the rounds warms up.
pub(crate) fn take_in_turn<const N: usize>(
    rounds: usize,
    contenders: [Round<'_>; N],
) -> Result<[Samples; N], Failure> {
    take_apart(rounds, contenders, &mut || Ok(()))
}

/// The same with an untimed gap before every round: whatever still works on the round before would
/// otherwise be charged to the next one, which belongs to somebody else.
pub(crate) fn take_apart<const N: usize>(
    rounds: usize,
    mut contenders: [Round<'_>; N],
    gap: &mut dyn FnMut() -> Result<(), Failure>,
) -> Result<[Samples; N], Failure> {
    let mut taken = [const { Vec::new() }; N];
    for samples in &mut taken {
        samples.reserve_exact(rounds);
    }
    let warm_up = (rounds / 10).max(1);
    for round in 0..warm_up + rounds {
        for (samples, contender) in taken.iter_mut().zip(&mut contenders) {
            gap()?;
            let start = Instant::now();
            let end = contender()?;
            if round >= warm_up {
                samples.push(nanos(end.duration_since(start)));
            }
        }
    }
    Ok(taken.map(Samples::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let samples = Samples::new((1..=200).rev().collect());
        assert_eq!(samples.percentile(50), 100);
        assert_eq!(samples.percentile(99), 198);
        assert_eq!(samples.max(), 200);
        assert_eq!(Samples::new(vec![7]).percentile(99), 7);
    }

    #[test]
    fn warm_up_rounds_leave_no_sample() {
        let mut rounds = 0;
        let mut count = || {
            rounds += 1;
            Ok(Instant::now())
        };
        let [samples] = take_in_turn(100, [&mut count]).unwrap();
        assert_eq!(samples.0.len(), 100);
        assert_eq!(rounds, 110);
    }
}
