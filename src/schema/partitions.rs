//! The monthly partitions of the detail table.

use sqlx::{AssertSqlSafe, PgConnection};
use time::{Date, OffsetDateTime};

use super::SchemaName;
use crate::batch::month_of;

/// How many months beyond the current one are created ahead.
pub const MONTHS_AHEAD: usize = 3;

/// Creates the partition of a month (its first day) where there is none; tells whether it did.
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
) -> Result<bool, sqlx::Error> {
    let sql = format!("SELECT {}.aws_report_detail_ensure($1)", schema.quoted());
    // Once a month and process: not worth a prepared statement, which a pooler may not keep.
    sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(month).fetch_one(connection).await
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
    let mut transaction = sqlx::Connection::begin(connection).await?;
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .persistent(false)
        .bind(format!("{}.aws_report_detail", schema.quoted()))
        .fetch_one(&mut *transaction)
        .await?;
    if !exists {
        return Ok(Vec::new());
    }
    let months = sqlx::query_scalar(AssertSqlSafe(sql))
        .persistent(false)
        .bind(current)
        .fetch_all(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    Ok(months)
}

/// The months that must exist at a time: its own and the next [`MONTHS_AHEAD`].
#[must_use]
pub fn months_ahead(now: OffsetDateTime) -> Vec<Date> {
    std::iter::successors(Some(month_of(now)), |month| {
        // The 28th and four days are in the next month, whatever the month.
        month.replace_day(28).ok()?.checked_add(time::Duration::days(4))?.replace_day(1).ok()
    })
    .take(1 + MONTHS_AHEAD)
    .collect()
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
    }
}
