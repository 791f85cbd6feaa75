//! Keeps `aws_report_daily` fresh: counts the days again whose reports have changed.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::histogram;
use time::Date;
use tokio::time::Instant;

use crate::metrics;
use crate::store::{Error, Store};
use crate::worker::health::Pulse;

/// A day is not counted more often than this, whatever the number of workers.
const EVERY: Duration = Duration::from_secs(5);
/// After each day a worker rests this many times as long as the day took: at most about a tenth of
/// one core of the database goes into counting.
const REST: u32 = 10;
const AFTER_FAILURE: Duration = Duration::from_mins(1);
/// While another worker counts.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Counts what is out of date, the newest days first, until it is aborted.
pub(crate) async fn refresh(store: Arc<Store>, pulse: Pulse) {
    loop {
        let pause = match round(&store, &pulse).await {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::warn!(%error, "could not refresh the daily figures");
                AFTER_FAILURE
            }
        };
        pulse.wait(tokio::time::sleep(pause)).await;
    }
}

async fn round(store: &Store, pulse: &Pulse) -> Result<(), Error> {
    for day in store.stale_days(EVERY).await? {
        let began = Instant::now();
        if !count(store, day).await? {
            // Another worker is doing it.
            return Ok(());
        }
        pulse.wait(tokio::time::sleep(began.elapsed() * REST)).await;
    }
    Ok(())
}

/// Counts, once, every day that is out of date now: all that this worker has written is in the
/// figures afterwards. What others write meanwhile is theirs.
pub(crate) async fn refresh_all(store: &Store) -> Result<(), Error> {
    for day in store.stale_days(Duration::ZERO).await? {
        while !count(store, day).await? {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
    Ok(())
}

async fn count(store: &Store, day: Date) -> Result<bool, Error> {
    let began = Instant::now();
    let done = store.refresh_day(day).await?;
    if done {
        histogram!(metrics::REFRESH_SECONDS).record(began.elapsed());
        tracing::debug!(%day, took_ms = began.elapsed().as_millis(), "refreshed the figures of a day");
    }
    Ok(done)
}
