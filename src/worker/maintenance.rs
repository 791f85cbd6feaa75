//! Creates the partitions of the coming months ahead of their first event.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::Shared;
use crate::schema::partitions;

const EVERY: Duration = Duration::from_hours(1);
const AFTER_FAILURE: Duration = Duration::from_mins(1);

/// Looks every hour, until it is aborted. A failure costs nothing yet: the month of an event is
/// also created when it is written.
pub(super) async fn create_ahead(shared: Arc<Shared>) {
    loop {
        let pause = match create(&shared).await {
            Ok(created) => {
                if created > 0 {
                    tracing::info!(created, "created partitions ahead");
                }
                EVERY
            }
            Err(error) => {
                tracing::warn!(
                    error = crate::store::explain(&error),
                    "could not create partitions ahead"
                );
                AFTER_FAILURE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn create(shared: &Shared) -> Result<usize, sqlx::Error> {
    #[expect(clippy::disallowed_methods, reason = "the calendar decides which months come next")]
    let now = OffsetDateTime::now_utc();
    shared.store.create_months(&partitions::months_ahead(now)).await
}
