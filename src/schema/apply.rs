//! Runs one migration, up or down, in one transaction or statement by statement.

use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::statement::{Retries, run_alone};
use super::{Error, Migration, Schema, code, history, progress, session, sql};

#[derive(Debug)]
pub(super) enum Direction<'a> {
    /// Apply it; `record` is refinery's insertion into the history.
    Up { migration: &'a Migration, record: &'a str },
    /// Undo it, and take it out of the history.
    Down { migration: &'a Migration },
}

impl Direction<'_> {
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
/// outside of one is run again from its start by the next attempt, which skips what is done.
pub(super) async fn run(
    connection: &mut PgConnection,
    schema: &Schema,
    direction: &Direction<'_>,
) -> Result<(), Error> {
    // Read before anything is done: a COMMIT in the middle would leave half of it.
    let statements = sql::statements(direction.sql()).map_err(Error::Failed)?;
    let _watch = progress::watch(connection, schema, &direction.migration().stem).await?;
    let started = Instant::now();
    if sql::is_without_transaction(direction.sql()) {
        for statement in statements {
            run_alone(connection, schema, statement).await?;
        }
        if sql::has_code(direction.sql()) {
            code::run(connection, schema, direction.migration()).await?;
        }
        let mut transaction = connection.begin().await?;
        record(&mut transaction, schema, direction, started).await?;
        transaction.commit().await?;
    } else {
        let mut retries = Retries::default();
        while let Err(error) = in_transaction(connection, schema, direction, started).await {
            retries.after(error).await?;
        }
    }
    // What a file has SET must not hold for the next one.
    session::reset(connection).await
}

async fn in_transaction(
    connection: &mut PgConnection,
    schema: &Schema,
    direction: &Direction<'_>,
    started: Instant,
) -> Result<(), Error> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(direction.sql())).execute(&mut *transaction).await?;
    if sql::has_code(direction.sql()) {
        code::run(&mut transaction, schema, direction.migration()).await?;
    }
    record(&mut transaction, schema, direction, started).await?;
    Ok(transaction.commit().await?)
}

async fn record(
    connection: &mut PgConnection,
    schema: &Schema,
    direction: &Direction<'_>,
    started: Instant,
) -> Result<(), sqlx::Error> {
    match direction {
        Direction::Up { migration, record } => {
            sqlx::raw_sql(AssertSqlSafe(*record)).execute(&mut *connection).await?;
            let took_ms = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
            let version = migration.version;
            history::complete(connection, &schema.name, version, &migration.up, took_ms).await
        }
        Direction::Down { migration } => {
            history::forget(connection, &schema.name, migration.version).await
        }
    }
}
