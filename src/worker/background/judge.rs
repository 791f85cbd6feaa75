//! Judges the opens and clicks of reports that a batch has noted, with all of them in sight.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::counter;
use tokio::time::Instant;

use crate::metrics;
use crate::store::{Error, Store};
use crate::worker::health::Pulse;

/// Reports of one transaction. It locks their rows for some hundredths of a second, and a writer waits half
/// a second for a lock at most.
const MOST_REPORTS: i32 = 200;
/// Where that many wait, more are judged at once; of fewer, the links of one burst may still arrive.
const ENOUGH: u64 = 100;
const EVERY: Duration = Duration::from_secs(5);
/// After each transaction it rests this many times as long as that took.
const REST: u32 = 2;
const AFTER_FAILURE: Duration = Duration::from_mins(1);

/// Judges what waits for it, until it is aborted. Several workers share the work.
pub(crate) async fn run(store: Arc<Store>, pulse: Pulse) {
    loop {
        let began = Instant::now();
        let pause = match judge(&store).await {
            Ok(reports) if reports >= ENOUGH => began.elapsed() * REST,
            Ok(_) => EVERY,
            Err(error) => {
                tracing::warn!(%error, "could not judge opens and clicks");
                AFTER_FAILURE
            }
        };
        pulse.wait(tokio::time::sleep(pause)).await;
    }
}

/// Judges all that waits now.
pub(crate) async fn judge_all(store: &Store) -> Result<(), Error> {
    while judge(store).await? > 0 {}
    Ok(())
}

/// Judges some reports, and tells how many.
async fn judge(store: &Store) -> Result<u64, Error> {
    let judged = store.judge(MOST_REPORTS).await?;
    counter!(metrics::REPORTS_JUDGED).increment(judged.reports);
    counter!(metrics::EVENTS_RECLASSIFIED).increment(judged.reclassified);
    Ok(judged.reports)
}
