//! Creates months ahead of time, and reads the dates from which rows are kept.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::store::{Store, partitions};
use crate::worker::health::Pulse;

const MONTHS_EVERY: Duration = Duration::from_hours(1);
const KEPT_EVERY: Duration = Duration::from_mins(1);
const AFTER_FAILURE: Duration = Duration::from_mins(1);

/// Creates the coming months ahead of their first event, until it is aborted. A failure costs
/// nothing yet: the month of an event is also created when it is written.
pub(crate) async fn create_months(store: Arc<Store>, pulse: Pulse) {
    loop {
        let months = partitions::months_ahead(now());
        let pause = match store.create_months(&months).await {
            Ok(created) => {
                if created > 0 {
                    tracing::info!(created, "created partitions ahead");
                }
                MONTHS_EVERY
            }
            Err(error) => {
                tracing::warn!(%error, "could not create partitions ahead");
                AFTER_FAILURE
            }
        };
        pulse.wait(tokio::time::sleep(pause)).await;
    }
}

/// Reads the dates from which rows are kept, until it is aborted. A failure is not worth a line: writing
/// fails too, and says so.
pub(crate) async fn learn_kept(store: Arc<Store>, pulse: Pulse) {
    loop {
        pulse.wait(tokio::time::sleep(KEPT_EVERY)).await;
        if let Err(error) = store.learn_kept().await {
            tracing::debug!(%error, "could not read the dates from which rows are kept");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the calendar decides which months come and go")]
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
