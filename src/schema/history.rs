//! The history of a database: refinery's table, with additional columns that its own tools ignore.

use sqlx::{AssertSqlSafe, FromRow, PgConnection};

use super::session;
use crate::postgres::SchemaName;

/// A migration that was applied, as the history has it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub(super) struct Record {
    /// Its number.
    pub(crate) version: i32,
    /// Its name without the number.
    pub(crate) name: String,
    /// When, RFC 3339.
    pub(crate) applied_on: String,
    /// refinery's checksum: `SipHash` of name, number and SQL.
    pub(crate) checksum: String,
    /// The role that applied it. `None` for one applied by another tool.
    pub(crate) applied_by: Option<String>,
    /// The program that applied it, with its version.
    pub(crate) applied_with: Option<String>,
    /// How long it took, in milliseconds, waits for locks included.
    pub(crate) took_ms: Option<i64>,
    /// The SQL as it was applied: what a changed file is compared with.
    pub(crate) sql: Option<String>,
}

impl Record {
    /// The name of its file without `.sql`.
    #[must_use]
    pub(super) fn stem(&self) -> String {
        format!("V{:04}__{}", self.version, self.name)
    }
}

/// The history table, qualified.
pub(super) fn table(schema: &SchemaName) -> String {
    format!("{}.refinery_schema_history", schema.quoted())
}

/// Everything in the history, in order; nothing where there is none. Needs SELECT only.
pub(super) async fn read(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Vec<Record>, sqlx::Error> {
    if !session::has_relation(connection, &table(schema)).await? {
        return Ok(Vec::new());
    }
    // Through JSON, because another tool's history has only refinery's four columns.
    let sql = format!(
        "-- ses-reports: read the migration history
        SELECT r.* FROM {} AS h, jsonb_to_record(to_jsonb(h)) AS r (version int, name text,
            applied_on text, checksum text, applied_by text, applied_with text, took_ms bigint, sql text)
        ORDER BY r.version",
        table(schema)
    );
    sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await
}

/// Makes the table and our columns where they are missing.
pub(super) async fn prepare(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<(), sqlx::Error> {
    let table = table(schema);
    let sql = format!(
        "-- ses-reports: create the migration history
        CREATE TABLE IF NOT EXISTS {table} (
            version int PRIMARY KEY, name varchar(255), applied_on varchar(255), checksum varchar(255));
        ALTER TABLE {table}
            ADD COLUMN IF NOT EXISTS applied_by text, ADD COLUMN IF NOT EXISTS applied_with text,
            ADD COLUMN IF NOT EXISTS took_ms bigint, ADD COLUMN IF NOT EXISTS sql text"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
}

/// Adds to refinery's row of a migration who applied it, with what, in what time, and its SQL.
pub(super) async fn complete(
    connection: &mut PgConnection,
    schema: &SchemaName,
    version: u32,
    sql: &str,
    took_ms: i64,
) -> Result<(), sqlx::Error> {
    let update = format!(
        "-- ses-reports: complete the record of a migration
        UPDATE {} SET applied_by = session_user, applied_with = $2, took_ms = $3, sql = $4
        WHERE version = $1",
        table(schema)
    );
    sqlx::query(AssertSqlSafe(update))
        .bind(i64::from(version))
        .bind(concat!("ses-reports ", env!("CARGO_PKG_VERSION")))
        .bind(took_ms)
        .bind(sql)
        .execute(connection)
        .await
        .map(|_| ())
}

/// Records the SQL of a migration that an earlier version applied without recording it. The SQL is
/// known if the checksum is that of the embedded file.
pub(super) async fn record_sql(
    connection: &mut PgConnection,
    schema: &SchemaName,
    version: i32,
    checksum: &str,
    sql: &str,
) -> Result<(), sqlx::Error> {
    let update = format!(
        "-- ses-reports: record the text of a migration
        UPDATE {} SET sql = $3 WHERE version = $1 AND checksum = $2 AND sql IS NULL",
        table(schema)
    );
    sqlx::query(AssertSqlSafe(update))
        .bind(version)
        .bind(checksum)
        .bind(sql)
        .execute(connection)
        .await
        .map(|_| ())
}

/// Takes a migration out of the history.
pub(super) async fn forget(
    connection: &mut PgConnection,
    schema: &SchemaName,
    version: u32,
) -> Result<(), sqlx::Error> {
    let delete = format!(
        "-- ses-reports: remove a migration from the history
        DELETE FROM {} WHERE version = $1",
        table(schema)
    );
    sqlx::query(AssertSqlSafe(delete))
        .bind(i64::from(version))
        .execute(connection)
        .await
        .map(|_| ())
}
