//! Log lines that could come thousands of times come once in ten seconds.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(10);

/// Says when it is time for a line, and how much it stands for.
#[derive(Debug, Default)]
pub(super) struct Sparingly(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    count: usize,
    last_told: Option<Instant>,
}

impl Sparingly {
    /// Adds what a line would tell of; the sum since the last line, if it is time for the next.
    pub(super) fn tell(&self, count: usize) -> Option<usize> {
        // A panic elsewhere cannot leave it half changed.
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        untold.count += count;
        let now = Instant::now();
        if untold.last_told.is_some_and(|last| now < last + EVERY) {
            return None;
        }
        untold.last_told = Some(now);
        Some(std::mem::take(&mut untold.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_stands_for_all_since_the_last_one() {
        let sparingly = Sparingly::default();
        assert_eq!(sparingly.tell(1), Some(1));
        assert_eq!((sparingly.tell(2), sparingly.tell(3)), (None, None));
        tokio::time::advance(EVERY).await;
        assert_eq!(sparingly.tell(4), Some(9));
    }
}
