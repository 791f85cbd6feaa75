//! The schema: the only code that changes it. Migrations are embedded, applied by refinery, and
//! never by two processes at once.

mod driver;
mod embedded;
pub mod files;
pub mod grants;
mod lock;
mod name;
pub mod partitions;

use std::time::Duration;

use refinery::{Migration, Runner};
use refinery_core::traits::r#async::AsyncQuery as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use driver::Driver;
pub use embedded::{EMBEDDED, newest};
pub use name::SchemaName;

/// How long a statement of a migration may wait for a lock, and with it the traffic behind it.
const LOCK_TIMEOUT: &str = "2s";

/// How long PostgreSQL may take to let us in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the schema is not as this binary needs it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file was changed after it had been applied.
    #[error(
        "migration {0} differs from what was applied to this database: an applied migration is never edited; restore it and write a new one"
    )]
    Divergent(String),
    /// A number below the newest applied one was never applied.
    #[error(
        "migration {0} was not applied although later ones were: the history of this database has a gap"
    )]
    OutOfOrder(String),
    /// `--no-migrate` on a schema that this binary cannot work with.
    #[error(
        "schema {schema} is at version {found}, this ses-reports needs {needed}: run `ses-reports --migrate-only` first"
    )]
    Older {
        /// The schema.
        schema: String,
        /// The newest applied migration, 0 for none.
        found: u32,
        /// The newest embedded migration.
        needed: u32,
    },
    /// Another migrator does not end.
    #[error("another migration has been running for {} s (backend {holder}): wait for it or end it", lock::TIMEOUT.as_secs())]
    Locked {
        /// Process id and application name of the session that holds the lock.
        holder: String,
    },
    /// A migration failed; it was rolled back, and those before it stay.
    #[error("{0}")]
    Failed(String),
    /// The database cannot hold every character.
    #[error("the database is in {0}: create one with ENCODING 'UTF8'")]
    Encoding(String),
    /// A session cannot be kept.
    #[error(
        "the URL leads to a connection pooler that gives each transaction another session: set MIGRATION_DATABASE_URL to PostgreSQL itself"
    )]
    Pooler,
    /// PostgreSQL does not answer.
    #[error("no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Unreachable,
    /// PostgreSQL cannot be reached or asked.
    #[error("{}", crate::store::explain(.0))]
    Database(#[from] sqlx::Error),
}

/// A migration that was applied just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its file name without `.sql`.
    pub name: String,
    /// How long it took, waits for locks included.
    pub took: Duration,
}

/// How a database stands to this binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The newest applied version, 0 for none.
    pub version: u32,
    /// Embedded migrations that are not applied.
    pub pending: Vec<String>,
}

impl Status {
    /// Whether a newer binary has migrated this database.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.version > newest()
    }
}

/// Compares the history of a database with the embedded migrations. Needs no right to change
/// anything.
///
/// # Errors
/// [`Error::Divergent`] and [`Error::OutOfOrder`] for a history that is not ours.
pub async fn status(options: &PgConnectOptions, schema: &SchemaName) -> Result<Status, Error> {
    let mut driver = connect_to_read(options).await?;
    let status = read_status(&mut driver, schema).await;
    // What was found out stays true if the farewell fails.
    let _ = driver.connection.close().await;
    status
}

/// Refuses a schema that is older than this binary needs; accepts a newer one (expand first,
/// contract later).
///
/// # Errors
/// [`Error::Older`], and what [`status`] finds.
pub async fn require(options: &PgConnectOptions, schema: &SchemaName) -> Result<Status, Error> {
    let status = status(options, schema).await?;
    if status.pending.is_empty() {
        return Ok(status);
    }
    Err(Error::Older {
        schema: schema.as_str().to_owned(),
        found: status.version,
        needed: newest(),
    })
}

/// Applies what is pending. Where nothing is, it changes nothing and needs no right to.
///
/// One transaction per migration, its history row included. Statements wait at most two seconds
/// for a lock, and the whole migration is then tried again, so that live traffic goes on.
///
/// # Errors
/// The first migration that fails; those before it stay applied.
pub async fn migrate(
    options: &PgConnectOptions,
    schema: &SchemaName,
) -> Result<(Status, Vec<Applied>), Error> {
    let mut driver = connect(options, schema).await?;
    let outcome = migrate_with(&mut driver, schema).await;
    // Closing the session gives the advisory lock back too.
    let _ = driver.connection.close().await;
    outcome
}

async fn migrate_with(
    driver: &mut Driver,
    schema: &SchemaName,
) -> Result<(Status, Vec<Applied>), Error> {
    let status = read_status(driver, schema).await?;
    if status.pending.is_empty() {
        return Ok((status, Vec::new()));
    }
    let encoding: String =
        sqlx::query_scalar("SHOW server_encoding").fetch_one(&mut driver.connection).await?;
    if encoding != "UTF8" {
        return Err(Error::Encoding(encoding));
    }
    lock::take(&mut driver.connection, schema).await?;
    create_schema(&mut driver.connection, schema).await?;
    // What this process waited for may have applied everything.
    let before = read_status(driver, schema).await?;
    let report = Runner::new(&embedded())
        .set_abort_missing(false)
        .run_async(driver)
        .await
        .map_err(|error| failed(&error))?;
    let applied = report
        .applied_migrations()
        .iter()
        .zip(&driver.took)
        .map(|(migration, took)| Applied { name: stem(migration), took: *took })
        .collect();
    let version = before.version.max(newest());
    Ok((Status { version, pending: Vec::new() }, applied))
}

fn failed(error: &refinery::Error) -> Error {
    match error.kind() {
        refinery::error::Kind::Connection(what, cause) => Error::Failed(format!("{what}: {cause}")),
        other => Error::Failed(other.to_string()),
    }
}

async fn connect(options: &PgConnectOptions, schema: &SchemaName) -> Result<Driver, Error> {
    // Startup options, not SET: a RESET in a migration returns to them.
    let options = options.clone().application_name("ses-reports migrate").options([
        ("search_path", format!("{},pg_temp", schema.quoted())),
        ("lock_timeout", LOCK_TIMEOUT.to_owned()),
        ("client_min_messages", "warning".to_owned()),
        ("standard_conforming_strings", "on".to_owned()),
    ]);
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, options.connect())
        .await
        .map_err(|_elapsed| Error::Unreachable)?;
    let connection = connected.map_err(|error| match error.as_database_error() {
        Some(refusal) if refusal.message().contains("unsupported startup parameter") => {
            Error::Pooler
        }
        _ => Error::Database(error),
    })?;
    Ok(Driver { connection, took: Vec::new() })
}

/// Connects in a way that a pooler in transaction mode takes too: no startup options, and one
/// transaction, so that all queries meet the same server. It ends with the connection.
async fn connect_to_read(options: &PgConnectOptions) -> Result<Driver, Error> {
    let mut connection = tokio::time::timeout(CONNECT_TIMEOUT, options.connect())
        .await
        .map_err(|_elapsed| Error::Unreachable)??;
    sqlx::raw_sql("BEGIN READ ONLY").execute(&mut connection).await?;
    Ok(Driver { connection, took: Vec::new() })
}

async fn read_status(driver: &mut Driver, schema: &SchemaName) -> Result<Status, Error> {
    let history = format!("{}.refinery_schema_history", schema.quoted());
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .persistent(false)
        .bind(&history)
        .fetch_one(&mut driver.connection)
        .await?;
    let applied = if exists {
        let query =
            format!("SELECT version, name, applied_on, checksum FROM {history} ORDER BY version");
        driver.query(&query).await.map_err(|error| Error::Failed(error.to_string()))?
    } else {
        Vec::new()
    };
    compare(&applied, &embedded())
}

fn compare(applied: &[Migration], embedded: &[Migration]) -> Result<Status, Error> {
    let version = applied.iter().map(version_of).max().unwrap_or(0);
    let mut pending = Vec::new();
    for migration in embedded {
        match applied.iter().find(|applied| applied.version() == migration.version()) {
            Some(applied) if applied != migration => return Err(Error::Divergent(stem(migration))),
            Some(_) => {}
            None if version_of(migration) < version => {
                return Err(Error::OutOfOrder(stem(migration)));
            }
            None => pending.push(stem(migration)),
        }
    }
    Ok(Status { version, pending })
}

/// Asks first: `CREATE SCHEMA IF NOT EXISTS` needs the right to create even where it has nothing
/// to do.
async fn create_schema(connection: &mut PgConnection, schema: &SchemaName) -> Result<(), Error> {
    let exists: bool = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL")
        .bind(schema.quoted())
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        let sql = format!("CREATE SCHEMA {}", schema.quoted());
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    }
    Ok(())
}

fn embedded() -> Vec<Migration> {
    EMBEDDED
        .iter()
        .map(|migration| {
            #[expect(clippy::expect_used, reason = "the build script has checked every name")]
            Migration::unapplied(migration.stem, migration.up)
                .expect("the build script has checked every name")
        })
        .collect()
}

fn version_of(migration: &Migration) -> u32 {
    u32::try_from(migration.version()).unwrap_or(0)
}

fn stem(migration: &Migration) -> String {
    format!("V{:04}__{}", migration.version(), migration.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_migration_is_named() {
        let was = Migration::unapplied("V0001__a", "SELECT 1").expect("a good name");
        let is = Migration::unapplied("V0001__a", "SELECT 2").expect("a good name");
        let error = compare(&[was], &[is]).expect_err("it diverges");
        assert!(error.to_string().contains("V0001__a"), "{error}");
    }

    #[test]
    fn a_newer_database_has_nothing_pending() {
        let known = Migration::unapplied("V0001__a", "SELECT 1").expect("a good name");
        let newer = Migration::unapplied("V9999__z", "SELECT 1").expect("a good name");
        let status = compare(&[known.clone(), newer], &[known]).expect("it is ours");
        assert!(status.is_newer() && status.pending.is_empty());
    }
}
