//! Removes rows that are no longer kept, if the operator has set for how long to keep them.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use super::months::now;
use tokio_util::sync::CancellationToken;

use crate::postgres::SchemaName;
use crate::retention::{Error, Retain, Retention};
use crate::worker::health::Pulse;

const EVERY: Duration = Duration::from_hours(1);
const AFTER_FAILURE: Duration = Duration::from_mins(1);

/// What retention needs beside the store: the rights of the schema's owner.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    /// How to connect.
    pub(crate) options: PgConnectOptions,
    /// The schema that holds the tables.
    pub(crate) schema: SchemaName,
}

/// Looks every hour, until it is aborted. Of many workers one at a time does it.
pub(crate) async fn remove_expired(
    owner: Owner,
    retain: Retain,
    stop: CancellationToken,
    pulse: Pulse,
) {
    let mut has_warned = false;
    loop {
        let pause = match pulse.wait(remove(&owner, retain, &stop)).await {
            Ok(()) => {
                has_warned = false;
                EVERY
            }
            Err(Error::Busy) => EVERY,
            Err(Error::Rights(refusal)) => {
                if !has_warned {
                    tracing::warn!(
                        refusal,
                        "rows should be removed after some time (RETAIN_DETAILS, RETAIN_REPORTS, RETAIN_DEAD_LETTERS), but only the owner of the schema may do that: set MIGRATION_DATABASE_URL to connect as the owner, or run `ses-reports partitions drop`; consuming continues"
                    );
                    has_warned = true;
                }
                EVERY
            }
            Err(error @ Error::Clocks(_)) => {
                tracing::warn!(%error, "nothing is removed until the clocks agree; consuming continues");
                EVERY
            }
            Err(error) => {
                tracing::warn!(%error, "could not remove rows that are no longer kept");
                AFTER_FAILURE
            }
        };
        pulse.wait(tokio::time::sleep(pause)).await;
    }
}

async fn remove(owner: &Owner, retain: Retain, stop: &CancellationToken) -> Result<(), Error> {
    let mut retention = Retention::begin(&owner.options, &owner.schema).await?;
    let outcome = retention.apply(retain, now(), stop).await;
    retention.end().await;
    outcome
}
