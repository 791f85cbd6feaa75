//! Delays between attempts: exponential, with full jitter.

use std::time::Duration;

/// Delays that double from a first ceiling to a last one. Each delay is drawn between the floor and
/// the ceiling of its turn ("full jitter"), so that many workers do not come back at once.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    floor: Duration,
    first: Duration,
    last: Duration,
    turn: u32,
}

impl Backoff {
    /// Delays between zero and a ceiling that doubles from `first` to `last`.
    #[must_use]
    pub(crate) fn new(first: Duration, last: Duration) -> Self {
        Self { floor: Duration::ZERO, first, last, turn: 0 }
    }

    /// The same, but never shorter than `floor`.
    #[must_use]
    pub(crate) fn at_least(self, floor: Duration) -> Self {
        Self { floor, ..self }
    }

    /// The next delay.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let ceiling = self.first.saturating_mul(1 << self.turn.min(20)).min(self.last);
        self.turn = self.turn.saturating_add(1);
        self.floor.max(ceiling.mul_f64(fastrand::f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delays_stay_between_floor_and_ceiling(turns in 1_usize..200) {
            let (floor, last) = (Duration::from_secs(1), Duration::from_secs(30));
            let mut backoff = Backoff::new(Duration::from_secs(2), last).at_least(floor);
            for _ in 0..turns {
                let delay = backoff.next_delay();
                prop_assert!(floor <= delay && delay <= last);
            }
        }
    }
}
