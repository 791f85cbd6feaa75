//! Runs the backfills of migrations: changes of many rows, in batches, in the background.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::Store;
use crate::worker::health::Pulse;

/// The most rows of a batch: a fraction of a second, so that its locks and its snapshot are short.
const MOST_ROWS: i32 = 5_000;
/// After each batch it rests this many times as long as the batch took: about a fifth of one core.
const REST: u32 = 4;
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// After a batch that took too long; the next is half as big.
const AFTER_TIMEOUT: Duration = Duration::from_secs(5);

/// How many rows the next batch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BatchSize(i32);

impl BatchSize {
    /// A batch that took too long would do so for ever.
    fn halve(&mut self) {
        self.0 = (self.0 / 2).max(1);
    }

    /// By a tenth: what made rows slow may have passed.
    fn grow(&mut self) {
        self.0 = (self.0 + self.0 / 10 + 1).min(MOST_ROWS);
    }
}

/// Looks every minute for a backfill that is not finished, until it is aborted. Of many workers one
/// at a time makes a batch.
pub(crate) async fn run(store: Arc<Store>, pulse: Pulse) {
    let mut size = BatchSize(MOST_ROWS);
    loop {
        let began = Instant::now();
        let pause = match store.backfill(size.0).await {
            Ok(None) => LOOK_EVERY,
            Ok(Some(batch)) => {
                let took = began.elapsed();
                size.grow();
                if batch.is_last {
                    size = BatchSize(MOST_ROWS);
                    tracing::info!(backfill = batch.name, "backfill finished");
                } else {
                    tracing::debug!(
                        backfill = batch.name,
                        rows = batch.rows,
                        took_ms = took.as_millis(),
                        "backfilled"
                    );
                }
                took * REST
            }
            Err(error) if error.source.is_timeout() && size.0 > 1 => {
                tracing::warn!(%error, rows = size.0, "a batch of a backfill took too long: the next is half as big");
                size.halve();
                AFTER_TIMEOUT
            }
            Err(error) => {
                tracing::warn!(%error, "could not backfill");
                LOOK_EVERY
            }
        };
        pulse.wait(tokio::time::sleep(pause)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_halves_at_once_and_grows_slowly() {
        let mut size = BatchSize(MOST_ROWS);
        size.grow();
        assert_eq!(size.0, MOST_ROWS);
        size.halve();
        assert_eq!(size.0, 2_500);
        size.grow();
        assert_eq!(size.0, 2_751);
        for _ in 0..20 {
            size.halve();
        }
        assert_eq!(size.0, 1);
        size.grow();
        assert_eq!(size.0, 2);
    }
}
