//! Keeps `aws_report_daily` fresh by counting the days anew whose reports have changed.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::histogram;
use time::Date;
use tokio::time::Instant;

use crate::metrics;
use crate::postgres::explain;
use crate::worker::Shared;

/// A day is counted no more often than that, however many workers there are.
const EVERY: Duration = Duration::from_secs(5);
/// After each day a worker rests so many times as long as that day took: at most about a tenth of
/// one core of the database goes into counting.
const REST: u32 = 10;
const AFTER_FAILURE: Duration = Duration::from_mins(1);
/// While another worker counts.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Counts what is out of date, the newest days first, until it is aborted.
pub(crate) async fn refresh(shared: Arc<Shared>) {
    loop {
        let pause = match round(&shared).await {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::warn!(error = explain(&error), "could not count the daily figures anew");
                AFTER_FAILURE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn round(shared: &Shared) -> Result<(), sqlx::Error> {
    for day in shared.store.stale_days(EVERY).await? {
        let began = Instant::now();
        if !count(shared, day).await? {
            // Another worker is at it.
            return Ok(());
        }
        tokio::time::sleep(began.elapsed() * REST).await;
    }
    Ok(())
}

/// Counts, once, every day that is out of date now: all that this worker has written is in the
/// figures afterwards. What others write meanwhile is theirs.
pub(crate) async fn refresh_all(shared: &Shared) -> Result<(), sqlx::Error> {
    for day in shared.store.stale_days(Duration::ZERO).await? {
        while !count(shared, day).await? {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
    Ok(())
}

async fn count(shared: &Shared, day: Date) -> Result<bool, sqlx::Error> {
    let began = Instant::now();
    let done = shared.store.refresh_day(day).await?;
    if done {
        histogram!(metrics::REFRESH_SECONDS).record(began.elapsed());
        tracing::debug!(%day, took_ms = began.elapsed().as_millis(), "counted a day anew");
    }
    Ok(done)
}
