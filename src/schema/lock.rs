//! The lock against concurrent migrators: an advisory lock, which is released when the session ends.

use std::time::{Duration, Instant};

use sqlx::PgConnection;

use super::Error;
use crate::backoff::Backoff;
use crate::postgres::SchemaName;

/// Takes the migrators' lock by asking again and again: a session that *waits* for it would
/// deadlock with a `CREATE INDEX CONCURRENTLY` of the one that holds it.
pub(super) async fn take(
    connection: &mut PgConnection,
    schema: &SchemaName,
    longest: Duration,
) -> Result<(), Error> {
    let started = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2))
        .at_least(Duration::from_millis(50));
    let mut said = false;
    loop {
        let locked: bool = sqlx::query_scalar(
            "-- ses-reports: lock out other migrators
            SELECT pg_try_advisory_lock(hashtext('ses-reports migrate'), hashtext($1))",
        )
        .bind(schema.as_str())
        .fetch_one(&mut *connection)
        .await?;
        if locked {
            return Ok(());
        }
        let holder = holder(connection, schema).await?;
        if started.elapsed() > longest {
            return Err(Error::Locked { holder, waited: started.elapsed().as_secs() });
        }
        if !said {
            tracing::info!("another migration is running (backend {holder}): waiting for it");
            said = true;
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

async fn holder(connection: &mut PgConnection, schema: &SchemaName) -> Result<String, Error> {
    let holder: Option<String> = sqlx::query_scalar(
        "-- ses-reports: find the session that migrates
        SELECT pid || coalesce(', ' || nullif(application_name, ''), '')
            || coalesce(', since ' || date_trunc('second', backend_start), '')
        FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE locktype = 'advisory' AND granted
            AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid = hashtext('ses-reports migrate')::bigint & 4294967295
            AND objid = hashtext($1)::bigint & 4294967295",
    )
    .bind(schema.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(holder.unwrap_or_else(|| "unknown".to_owned()))
}
