//! Makes the long changes of many rows that migrations have asked for, beside the work.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::Store;
use crate::worker::health::Pulse;

/// Rows of a batch: a fraction of a second, so that its locks and its snapshot are short.
const ROWS: i32 = 5_000;
/// After each batch it rests so many times as long as that took: about a fifth of one core.
const REST: u32 = 4;
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Looks every minute for a backfill that is not finished, until it is aborted. Of many workers one
/// at a time makes a batch.
pub(crate) async fn run(store: Arc<Store>, pulse: Pulse) {
    loop {
        let began = Instant::now();
        let pause = match store.backfill(ROWS).await {
            Ok(None) => LOOK_EVERY,
            Ok(Some(batch)) => {
                let took = began.elapsed();
                if batch.is_last {
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
            Err(error) => {
                tracing::warn!(%error, "could not backfill");
                LOOK_EVERY
            }
        };
        pulse.wait(tokio::time::sleep(pause)).await;
    }
}
