//! Distinguishes one bad message from a database that refuses many for the same reason. Pure: the clock is passed in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Messages that may become dead letters for the same SQLSTATE within [`WINDOW`]. Beyond that the cause
/// is more likely a trigger or a changed column than that many bad messages.
const MOST_ALIKE: usize = 20;
const WINDOW: Duration = Duration::from_mins(10);

/// Counts the dead letters that refusals of PostgreSQL have made lately, by SQLSTATE.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<HashMap<String, Vec<Instant>>>);

impl Breaker {
    /// Whether one more message that PostgreSQL refuses with this SQLSTATE may become a dead letter. If so
    /// it is counted.
    pub(crate) fn allows(&self, code: &str, now: Instant) -> bool {
        // A panic elsewhere cannot leave it half changed.
        let mut by_code = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = by_code.entry(code.to_owned()).or_default();
        lately.retain(|at| now.duration_since(*at) < WINDOW);
        let allowed = lately.len() < MOST_ALIKE;
        if allowed {
            lately.push(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_refusals_alike_are_no_fault_of_the_messages() {
        let (breaker, began) = (Breaker::default(), Instant::now());
        for _ in 0..MOST_ALIKE {
            assert!(breaker.allows("22012", began));
        }
        assert!(!breaker.allows("22012", began + WINDOW / 2));
        assert!(breaker.allows("22P05", began), "each SQLSTATE has its own count");
        assert!(breaker.allows("22012", began + WINDOW), "they are forgotten after a while");
    }
}
