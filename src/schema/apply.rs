//! Runs one migration, up or down, in one transaction or statement by statement.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::sql::{self, Concurrent};
use super::{Error, Migration, Schema, code, history, progress};
use crate::backoff::Backoff;

/// How often a migration that meets `lock_timeout` is tried. Between tries the traffic that waits
/// behind it goes on.
const LOCK_TRIES: u32 = 5;
/// SQLSTATE `lock_not_available`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Which way.
#[derive(Debug)]
pub(super) enum Way<'a> {
    /// Apply it; `record` is refinery's insertion into the history.
    Up { migration: &'a Migration, record: &'a str },
    /// Undo it, and take it out of the history.
    Down { migration: &'a Migration },
}

impl Way<'_> {
    fn migration(&self) -> &Migration {
        match self {
            Self::Up { migration, .. } | Self::Down { migration } => migration,
        }
    }

    fn sql(&self) -> &str {
        match self {
            Self::Up { migration, .. } => &migration.up,
            Self::Down { migration } => &migration.down,
        }
    }
}

/// Runs a migration and keeps the history. What fails in a transaction changes nothing; what fails
/// outside of one is run again from its start by the next try, which passes over what is there.
pub(super) async fn run(
    connection: &mut PgConnection,
    schema: &Schema,
    way: &Way<'_>,
) -> Result<(), Error> {
    // Read before anything is done: a COMMIT in the middle would leave half of it.
    let statements = sql::statements(way.sql()).map_err(Error::Failed)?;
    let _watch = progress::watch(connection, schema, &way.migration().stem).await?;
    let started = Instant::now();
    if sql::is_without_transaction(way.sql()) {
        for statement in statements {
            run_alone(connection, schema, statement).await?;
        }
        if sql::has_code(way.sql()) {
            code::run(connection, schema, way.migration()).await?;
        }
        let mut transaction = connection.begin().await?;
        record(&mut transaction, schema, way, started).await?;
        transaction.commit().await?;
    } else {
        let mut retries = Retries::default();
        while let Err(error) = in_transaction(connection, schema, way, started).await {
            retries.after(error).await?;
        }
    }
    // What a file has SET must not hold for the next one.
    execute(connection, "RESET ALL").await
}

async fn in_transaction(
    connection: &mut PgConnection,
    schema: &Schema,
    way: &Way<'_>,
    started: Instant,
) -> Result<(), Error> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(way.sql())).execute(&mut *transaction).await?;
    if sql::has_code(way.sql()) {
        code::run(&mut transaction, schema, way.migration()).await?;
    }
    record(&mut transaction, schema, way, started).await?;
    Ok(transaction.commit().await?)
}

async fn record(
    connection: &mut PgConnection,
    schema: &Schema,
    way: &Way<'_>,
    started: Instant,
) -> Result<(), sqlx::Error> {
    match way {
        Way::Up { migration, record } => {
            sqlx::raw_sql(AssertSqlSafe(*record)).execute(&mut *connection).await?;
            let took_ms = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
            let version = migration.version;
            history::complete(connection, &schema.name, version, &migration.up, took_ms).await
        }
        Way::Down { migration } => {
            history::forget(connection, &schema.name, migration.version).await
        }
    }
}

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
    execute(connection, "SET lock_timeout = 0").await?;
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
    let _ = execute(connection, "RESET lock_timeout").await;
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
        tracing::warn!("index {name} was left invalid by an interrupted build: building it anew");
        let index = format!("{}.{}", schema.name.quoted(), quoted(name));
        execute(connection, &format!("DROP INDEX CONCURRENTLY {index}")).await?;
    }
    Ok(())
}

/// A name as SQL takes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether an index is valid; `None` if there is none.
async fn is_valid(
    connection: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)")
        .bind(format!("{}.{}", schema.name.quoted(), quoted(name)))
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
        if !is_lock_timeout(cause) {
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

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == LOCK_NOT_AVAILABLE)
}
