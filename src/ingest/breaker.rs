//! Tells a bad message from a database that refuses many alike. Pure: the clock is passed in.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Messages that may become dead letters for the same SQLSTATE while its refusals keep coming. Beyond
/// that the cause is more likely a trigger or a changed column than that many bad messages.
const MOST_ALIKE: usize = 20;
/// After that long without a refusal the next one is a new matter.
const QUIET: Duration = Duration::from_mins(10);

/// Counts the dead letters that refusals of PostgreSQL have made, by SQLSTATE.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<HashMap<String, Refusals>>);

/// Refusals with one SQLSTATE, none of them [`QUIET`] after the one before.
#[derive(Debug)]
struct Refusals {
    dead_letters: usize,
    last: Instant,
}

impl Breaker {
    /// Whether one more message that PostgreSQL refuses with this SQLSTATE may become a dead letter. If so
    /// it is counted. A message that is held and refused again keeps the refusals coming.
    pub(crate) fn allows(&self, code: &str, now: Instant) -> bool {
        let mut by_code = self.lock();
        by_code.retain(|_, refusals| now.duration_since(refusals.last) < QUIET);
        let new = || Refusals { dead_letters: 0, last: now };
        let refusals = by_code.entry(code.to_owned()).or_insert_with(new);
        refusals.last = now;
        let allowed = refusals.dead_letters < MOST_ALIKE;
        refusals.dead_letters += usize::from(allowed);
        allowed
    }

    /// PostgreSQL has accepted what it refused with this SQLSTATE, so the cause is gone.
    pub(crate) fn forget(&self, code: &str) {
        self.lock().remove(code);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Refusals>> {
        // A panic elsewhere cannot leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    /// How many of that many refusals, one each `every`, make a dead letter.
    fn dead_letters(breaker: &Breaker, refusals: u32, every: Duration) -> usize {
        let began = Instant::now();
        (0..refusals).filter(|nth| breaker.allows("22012", began + every * *nth)).count()
    }

    #[test]
    fn many_refusals_alike_are_no_fault_of_the_messages() {
        let breaker = Breaker::default();
        assert_eq!(dead_letters(&breaker, 100, Duration::ZERO), MOST_ALIKE);
        assert!(breaker.allows("22P05", Instant::now()), "each SQLSTATE has its own count");
    }

    #[test]
    fn a_refusal_every_minute_for_a_day_makes_no_more_than_twenty_dead_letters() {
        assert_eq!(dead_letters(&Breaker::default(), 24 * 60, MINUTE), MOST_ALIKE);
    }

    #[test]
    fn refusals_are_forgotten_when_none_has_come_for_a_while() {
        assert_eq!(
            dead_letters(&Breaker::default(), 100, QUIET),
            100,
            "a bad message now and then"
        );
        let breaker = Breaker::default();
        let began = Instant::now();
        for _ in 0..100 {
            breaker.allows("22012", began);
        }
        assert!(!breaker.allows("22012", began + QUIET - MINUTE));
        assert!(!breaker.allows("22012", began + QUIET), "the last one was a minute ago");
        assert!(breaker.allows("22012", began + QUIET + QUIET));
    }

    #[test]
    fn refusals_are_forgotten_when_what_was_refused_is_accepted() {
        let breaker = Breaker::default();
        assert_eq!(dead_letters(&breaker, 100, Duration::ZERO), MOST_ALIKE);
        breaker.forget("22012");
        assert_eq!(dead_letters(&breaker, 100, Duration::ZERO), MOST_ALIKE);
    }
}
