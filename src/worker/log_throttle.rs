//! Throttles log lines that could occur thousands of times to one in ten seconds.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(10);

/// Decides when a line may be logged, and counts what it stands for.
#[derive(Debug, Default)]
pub(super) struct LogThrottle(Mutex<Unlogged>);

#[derive(Debug, Default)]
struct Unlogged {
    count: usize,
    last_line: Option<Instant>,
}

impl LogThrottle {
    /// Counts occurrences. Returns their number since the last line if it is time for the next line.
    pub(super) fn add(&self, count: usize) -> Option<usize> {
        // A panic elsewhere cannot leave it half changed.
        let mut unlogged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unlogged.count += count;
        let now = Instant::now();
        if unlogged.last_line.is_some_and(|last| now < last + EVERY) {
            return None;
        }
        unlogged.last_line = Some(now);
        Some(std::mem::take(&mut unlogged.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_stands_for_all_since_the_last_one() {
        let throttle = LogThrottle::default();
        assert_eq!(throttle.add(1), Some(1));
        assert_eq!((throttle.add(2), throttle.add(3)), (None, None));
        tokio::time::advance(EVERY).await;
        assert_eq!(throttle.add(4), Some(9));
    }
}
