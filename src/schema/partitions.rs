//! The monthly partitions of the detail table.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, Row as _};
use time::{Date, Month, OffsetDateTime};

use super::SchemaName;
use crate::batch::month_of;

/// How many months beyond the current one are created ahead.
pub const MONTHS_AHEAD: u16 = 3;

/// How a month stands after [`ensure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It has a partition now.
    Created,
    /// It had one.
    Present,
    /// It is no longer kept, and gets none.
    Expired,
}

/// Creates the partition of a month (its first day) where there is none.
///
/// The DDL is in the function `aws_report_detail_ensure`, which runs with the rights of the
/// schema's owner and takes no lock that a reader or a writer waits for.
///
/// # Errors
/// When PostgreSQL cannot be reached, or a lock on the parent is not to be had.
pub async fn ensure(
    connection: &mut PgConnection,
    schema: &SchemaName,
    month: Date,
) -> Result<Ensured, sqlx::Error> {
    let sql = format!("SELECT {}.aws_report_detail_ensure($1)", schema.quoted());
    // Once a month and process: not worth a prepared statement, which a pooler may not keep.
    let created: Option<bool> = sqlx::query_scalar(AssertSqlSafe(sql))
        .persistent(false)
        .bind(month)
        .fetch_one(connection)
        .await?;
    Ok(match created {
        Some(true) => Ensured::Created,
        Some(false) => Ensured::Present,
        None => Ensured::Expired,
    })
}

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
pub async fn list(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Vec<Partition>, sqlx::Error> {
    let sql = include_str!("partitions.sql").replace("{schema}", &schema.quoted());
    sqlx::query_as(AssertSqlSafe(sql))
        .persistent(false)
        .bind(super::retention::MARK)
        .fetch_all(connection)
        .await
}

/// A month (its first day) and as many after it.
#[must_use]
pub fn months_from(now: OffsetDateTime, ahead: u16) -> Vec<Date> {
    let month = month_of(now);
    (0..=i32::from(ahead)).map(|later| months_later(month, later)).collect()
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
    current: Date,
) -> Result<Vec<Date>, sqlx::Error> {
    let sql = include_str!("months_without_partition.sql").replace("{schema}", &schema.quoted());
    let mut transaction = super::session::reading(connection).await?;
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .persistent(false)
        .bind(format!("{}.aws_report_detail", schema.quoted()))
        .fetch_one(&mut *transaction)
        .await?;
    if !exists {
        return Ok(Vec::new());
    }
    let adopted = adopted_at(&mut transaction, schema).await?;
    let mut months: Vec<Date> = sqlx::query_scalar(AssertSqlSafe(sql))
        .persistent(false)
        .bind(current)
        .bind(adopted)
        .fetch_all(&mut *transaction)
        .await?;
    // Older versions of the schema keep everything.
    let retention = format!("{}.aws_report_retention", schema.quoted());
    let has_retention: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .persistent(false)
        .bind(&retention)
        .fetch_one(&mut *transaction)
        .await?;
    if has_retention {
        let sql = format!("SELECT kept_from FROM {retention} WHERE what = 'details'");
        let kept_from: Option<Date> = sqlx::query_scalar(AssertSqlSafe(sql))
            .persistent(false)
            .fetch_optional(&mut *transaction)
            .await?;
        months.retain(|month| kept_from.is_none_or(|kept_from| *month >= kept_from));
    }
    transaction.rollback().await?;
    Ok(months)
}

/// When tables that were made by hand were adopted, if they were.
async fn adopted_at(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    let table = format!("{}.aws_report_backfill", schema.quoted());
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .persistent(false)
        .bind(&table)
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(None);
    }
    let sql = format!("SELECT finished_at FROM {table} WHERE name = 'baseline'");
    let at: Option<Option<OffsetDateTime>> =
        sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_optional(connection).await?;
    Ok(at.flatten())
}

/// The months that must exist at a time: its own and the next [`MONTHS_AHEAD`].
#[must_use]
pub fn months_ahead(now: OffsetDateTime) -> Vec<Date> {
    months_from(now, MONTHS_AHEAD)
}

/// The first day of a month that is so many later, or earlier. It stops where the calendar does.
#[must_use]
pub fn months_later(month: Date, later: i32) -> Date {
    let months = month.year() * 12 + i32::from(u8::from(month.month())) - 1 + later;
    u8::try_from(months.rem_euclid(12) + 1)
        .ok()
        .and_then(|number| Month::try_from(number).ok())
        .and_then(|name| Date::from_calendar_date(months.div_euclid(12), name, 1).ok())
        .unwrap_or(month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::{date, datetime};

    #[test]
    fn the_year_turns() {
        assert_eq!(
            months_ahead(datetime!(2026-11-30 23:59:59 UTC)),
            [
                date!(2026 - 11 - 01),
                date!(2026 - 12 - 01),
                date!(2027 - 01 - 01),
                date!(2027 - 02 - 01)
            ]
        );
        assert_eq!(months_later(date!(2026 - 01 - 01), -1), date!(2025 - 12 - 01));
        assert_eq!(months_later(date!(2026 - 11 - 01), -25), date!(2024 - 10 - 01));
    }
}
