//! One statement of a migration, with what it takes to run it while others use the tables.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};

use super::sql::{self, Concurrent};
use super::{Error, Schema};
use crate::backoff::Backoff;
use crate::postgres::{has_sqlstate, quote_ident, sqlstate};

/// How often a migration that meets `lock_timeout` is tried. Between attempts, the statements that
/// wait behind it can continue.
const LOCK_TRIES: u32 = 5;

/// Runs one statement outside of a transaction; an index that it builds is valid afterwards.
pub(super) async fn run_alone(
    connection: &mut PgConnection,
    schema: &Schema,
    statement: &str,
) -> Result<(), Error> {
    let Some(index) = sql::concurrent_index(statement) else {
        let mut retries = Retries::default();
        loop {
            match execute(connection, statement).await {
                Err(error) => retries.after(error).await?,
                Ok(()) => return Ok(()),
            }
        }
    };
    // A concurrent statement waits for transactions, not in front of them: it may take its time.
    execute(
        connection,
        "-- ses-reports: wait for locks without a limit
        SET lock_timeout = 0",
    )
    .await?;
    let built = async {
        if let Concurrent::Builds(name) = &index {
            drop_invalid(connection, schema, name).await?;
        }
        execute(connection, statement).await?;
        match &index {
            Concurrent::Builds(name)
                if is_valid(connection, schema, name).await? == Some(false) =>
            {
                Err(Error::InvalidIndex(name.clone()))
            }
            Concurrent::Builds(_) | Concurrent::Drops(_) => Ok(()),
        }
    }
    .await;
    // Back to what the session began with; a session that is gone needs none of it.
    let _ = execute(
        connection,
        "-- ses-reports: limit the wait for locks again
        RESET lock_timeout",
    )
    .await;
    built
}

async fn execute(connection: &mut PgConnection, statement: &str) -> Result<(), Error> {
    Ok(sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(|_| ())?)
}

/// Removes what an interrupted build left: `IF NOT EXISTS` would take it for the index.
async fn drop_invalid(
    connection: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<(), Error> {
    if is_valid(connection, schema, name).await? == Some(false) {
        tracing::warn!("index {name} was left invalid by an interrupted build: building it again");
        let index = format!("{}.{}", schema.name.quoted(), quote_ident(name));
        execute(
            connection,
            &format!(
                "-- ses-reports: drop an invalid index
            DROP INDEX CONCURRENTLY {index}"
            ),
        )
        .await?;
    }
    Ok(())
}

/// Whether an index is valid; `None` if there is none.
async fn is_valid(
    connection: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar(
        "-- ses-reports: find out whether an index is valid
        SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)",
    )
    .bind(format!("{}.{}", schema.name.quoted(), quote_ident(name)))
    .fetch_optional(connection)
    .await
}

/// Tries again, a few times, what did not get a lock in time.
#[derive(Debug)]
pub(super) struct Retries {
    attempt: u32,
    backoff: Backoff,
}

impl Default for Retries {
    fn default() -> Self {
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        Self { attempt: 0, backoff }
    }
}

impl Retries {
    /// Waits before the next try, or gives the error back.
    pub(super) async fn after(&mut self, error: Error) -> Result<(), Error> {
        let Error::Database(cause) = &error else { return Err(error) };
        if !has_sqlstate(cause, sqlstate::LOCK_NOT_AVAILABLE) {
            return Err(error);
        }
        self.attempt += 1;
        if self.attempt >= LOCK_TRIES {
            return Err(Error::Blocked);
        }
        let delay = self.backoff.next_delay();
        tracing::warn!(
            attempt = self.attempt,
            delay_ms = delay.as_millis(),
            "the migration did not get a lock; trying again"
        );
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
