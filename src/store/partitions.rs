//! Creates the partitions of the detail table that rows need.

use sqlx::{AssertSqlSafe, PgConnection};
use time::{Date, Month, OffsetDateTime};

use crate::batch::month_of;
use crate::postgres::SchemaName;

/// How many months beyond the current one are created ahead.
pub(crate) const MONTHS_AHEAD: u16 = 3;

/// The state of a month after [`ensure`].
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
/// When PostgreSQL cannot be reached, or a lock on the parent cannot be obtained.
pub async fn ensure(
    connection: &mut PgConnection,
    schema: &SchemaName,
    month: Date,
) -> Result<Ensured, sqlx::Error> {
    let sql = format!(
        "-- ses-reports: create the partition of a month\nSELECT {}.aws_report_detail_ensure($1)",
        schema.quoted()
    );
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

/// A month (its first day) and as many after it.
#[must_use]
pub(crate) fn months_from(now: OffsetDateTime, ahead: u16) -> Vec<Date> {
    let month = month_of(now);
    (0..=i32::from(ahead)).map(|later| months_later(month, later)).collect()
}

/// The months that must exist at a time: its own and the next [`MONTHS_AHEAD`].
#[must_use]
pub(crate) fn months_ahead(now: OffsetDateTime) -> Vec<Date> {
    months_from(now, MONTHS_AHEAD)
}

/// The first day of the month this many months later (or earlier), within the limits of the calendar.
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
