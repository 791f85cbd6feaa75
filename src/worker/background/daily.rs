//! Keeps the figures of each day fresh: adds what has changed, and counts days again whose figures have
//! got another meaning.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::{gauge, histogram};
use time::Date;
use tokio::time::Instant;

use crate::metrics;
use crate::store::{Error, Store};
use crate::worker::health::Pulse;
use crate::worker::log_throttle::LogThrottle;

/// How often changes are added, whatever the number of workers.
const EVERY: Duration = Duration::from_secs(5);
/// The most notes that are added in one transaction.
const MOST_NOTES: i32 = 20_000;
/// After a day that was counted again a worker rests this many times as long as that took: at most about
/// a tenth of one core of the database goes into counting.
const REST: u32 = 10;
const AFTER_FAILURE: Duration = Duration::from_mins(1);
/// While another worker is at it.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Adds and counts until it is aborted.
pub(crate) async fn refresh(store: Arc<Store>, pulse: Pulse) {
    let crowded = LogThrottle::default();
    let mut rested = Instant::now();
    loop {
        let pause = match round(&store, &crowded, &mut rested).await {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::warn!(%error, "could not refresh the daily figures");
                AFTER_FAILURE
            }
        };
        pulse.wait(tokio::time::sleep(pause)).await;
    }
}

/// Adds all that is noted, and counts one day again when it has rested from the last.
async fn round(store: &Store, crowded: &LogThrottle, rested: &mut Instant) -> Result<(), Error> {
    add(store, crowded).await?;
    let age = store.figures_age().await?;
    gauge!(metrics::FIGURES_AGE).set(age.seconds);
    gauge!(metrics::DAYS_TO_COUNT)
        .set(f64::from(u32::try_from(age.days_to_count).unwrap_or(u32::MAX)));
    if age.days_to_count == 0 || *rested > Instant::now() {
        return Ok(());
    }
    // The newest first.
    if let Some(day) = store.stale_days().await?.first() {
        let began = Instant::now();
        count(store, *day).await?;
        *rested = Instant::now() + began.elapsed() * REST;
    }
    Ok(())
}

/// Adds what is noted now; another worker that is at it does the same.
async fn add(store: &Store, crowded: &LogThrottle) -> Result<(), Error> {
    while let Some(added) = store.add_to_figures(MOST_NOTES).await? {
        if added.is_crowded && crowded.add(1).is_some() {
            tracing::warn!(
                "a message tag of REPORT_TAGS has more than 1,000 values in a day; the others are counted together"
            );
        }
        if added.notes < u64::from(MOST_NOTES.unsigned_abs()) {
            break;
        }
    }
    Ok(())
}

/// Adds, once, what is noted now, and counts every day that has to be counted again: all that this worker
/// has written is in the figures afterwards. What others write meanwhile is theirs.
pub(crate) async fn refresh_all(store: &Store) -> Result<(), Error> {
    while store.figures_age().await?.seconds > 0.0 {
        match store.add_to_figures(MOST_NOTES).await? {
            Some(added) if added.notes < u64::from(MOST_NOTES.unsigned_abs()) => break,
            Some(_) => {}
            None => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
    for day in store.stale_days().await? {
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
        tracing::debug!(%day, took_ms = began.elapsed().as_millis(), "counted the figures of a day again");
    }
    Ok(done)
}
