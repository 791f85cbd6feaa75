//! The monthly partitions of the detail table: which there are, and which are missing.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, Row as _};
use time::{Date, OffsetDateTime};

use super::session;
use crate::postgres::{self, SchemaName, quote_ident};

/// The comment of a partition that is on its way out: a detached table without it was detached by a
/// person, to be kept.
const MARK: &str = "ses-reports: no longer kept, to be dropped";

/// A table that holds details.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// The first day that it holds.
    pub from_day: Date,
    /// The first day after those that it holds.
    pub until_day: Date,
    /// How many rows PostgreSQL thinks it has; `None` until it has looked.
    pub rows: Option<i64>,
    /// What it takes on disk, indexes included.
    pub bytes: i64,
    /// Whether it belongs to the detail table. One that does not was detached to be kept, unless
    /// it is expired.
    pub is_attached: bool,
    /// Whether its detach was begun and interrupted.
    pub is_pending: bool,
    /// Whether it holds no day that is kept, and is to be dropped.
    pub is_expired: bool,
}

impl FromRow<'_, PgRow> for Partition {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            name: row.try_get("name")?,
            from_day: row.try_get("from_day")?,
            until_day: row.try_get("until_day")?,
            rows: row.try_get("rows")?,
            bytes: row.try_get("bytes")?,
            is_attached: row.try_get("is_attached")?,
            is_pending: row.try_get("is_pending")?,
            is_expired: row.try_get("is_expired")?,
        })
    }
}

/// All tables that hold details, the oldest first.
///
/// # Errors
/// When PostgreSQL cannot be reached or asked.
pub(crate) async fn list(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Vec<Partition>, sqlx::Error> {
    let sql = include_str!("partitions.sql").replace("{schema}", &schema.quoted());
    sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(MARK).fetch_all(connection).await
}

/// Finishes a detach that was interrupted, whoever began it: until then no other partition can be
/// detached.
///
/// # Errors
/// When PostgreSQL cannot be reached, or the role does not own the tables.
pub(crate) async fn finish_detach(
    connection: &mut PgConnection,
    partition: &Partition,
) -> Result<(), sqlx::Error> {
    if partition.is_expired {
        mark(connection, partition).await?;
    }
    let name = quote_ident(&partition.name);
    let sql = format!(
        "-- ses-reports: finish the detach of a partition
        ALTER TABLE aws_report_detail DETACH PARTITION {name} FINALIZE"
    );
    ddl(connection, &sql).await
}

/// Detaches a partition, if it is attached, and drops it with its rows. Of the other months no reader
/// or writer waits for it. Interrupted, it leaves a detached table with a mark, which [`list`] says is
/// expired. The `search_path` is the schema, and the session is in no transaction.
///
/// # Errors
/// When PostgreSQL cannot be reached, or the role does not own the tables.
pub(crate) async fn remove(
    connection: &mut PgConnection,
    partition: &Partition,
) -> Result<(), sqlx::Error> {
    let name = quote_ident(&partition.name);
    if partition.is_attached {
        mark(connection, partition).await?;
        let detach = format!(
            "-- ses-reports: detach a partition
            ALTER TABLE aws_report_detail DETACH PARTITION {name} CONCURRENTLY"
        );
        ddl(connection, &detach).await?;
    }
    ddl(connection, &format!("-- ses-reports: drop a partition\nDROP TABLE {name}")).await
}

/// So that a later run which finds it detached knows that it is to be dropped.
async fn mark(connection: &mut PgConnection, partition: &Partition) -> Result<(), sqlx::Error> {
    let name = quote_ident(&partition.name);
    let sql = format!(
        "-- ses-reports: mark a partition as no longer kept
        COMMENT ON TABLE {name} IS '{MARK}'"
    );
    ddl(connection, &sql).await
}

async fn ddl(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
}

/// Months (their first days) that should have a partition and have none: those of the reports'
/// sends, and the current one where there is any partition or report. Months before the first that
/// is kept are not among them.
///
/// # Errors
/// When PostgreSQL cannot be reached or asked.
pub(super) async fn without(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Vec<Date>, sqlx::Error> {
    let sql = include_str!("months_without_partition.sql").replace("{schema}", &schema.quoted());
    let mut transaction = postgres::begin_read_only(connection).await?;
    let details = format!("{}.aws_report_detail", schema.quoted());
    if !session::has_relation(&mut transaction, &details).await? {
        return Ok(Vec::new());
    }
    let adopted = adopted_at(&mut transaction, schema).await?;
    let mut months: Vec<Date> = sqlx::query_scalar(AssertSqlSafe(sql))
        .persistent(false)
        .bind(adopted)
        .fetch_all(&mut *transaction)
        .await?;
    // Older versions of the schema keep everything.
    let retention = format!("{}.aws_report_retention", schema.quoted());
    if session::has_relation(&mut transaction, &retention).await? {
        let sql = format!(
            "-- ses-reports: read the first month to keep
            SELECT kept_from FROM {retention} WHERE what = 'details'"
        );
        let kept_from: Option<Date> = sqlx::query_scalar(AssertSqlSafe(sql))
            .persistent(false)
            .fetch_optional(&mut *transaction)
            .await?;
        months.retain(|month| kept_from.is_none_or(|kept_from| *month >= kept_from));
    }
    transaction.rollback().await?;
    Ok(months)
}

/// When tables that were created by hand were adopted, if they were.
async fn adopted_at(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    let table = format!("{}.aws_report_backfill", schema.quoted());
    if !session::has_relation(connection, &table).await? {
        return Ok(None);
    }
    let sql = format!(
        "-- ses-reports: read when tables were adopted
        SELECT finished_at FROM {table} WHERE name = 'baseline'"
    );
    let at: Option<Option<OffsetDateTime>> =
        sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_optional(connection).await?;
    Ok(at.flatten())
}
