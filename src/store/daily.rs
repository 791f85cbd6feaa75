//! The figures of each day: which have to be counted again, and counting them.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use time::Date;

use super::transaction::Limits;
use super::{Error, Store};

/// A day of many millions of reports takes long, and no message waits for it.
pub(crate) const REFRESH_TIMEOUT: Duration = Duration::from_mins(10);

impl Store {
    /// Days whose figures are out of date, the newest first, but for those counted less than
    /// `at_most_every` ago.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or refuses.
    pub(crate) async fn stale_days(&self, at_most_every: Duration) -> Result<Vec<Date>, Error> {
        self.transaction("find days to count again", async |connection| {
            Ok(sqlx::query_scalar(AssertSqlSafe(self.statements.stale_days.as_str()))
                .persistent(self.prepared)
                .bind(at_most_every.as_secs_f64())
                .fetch_all(connection)
                .await?)
        })
        .await
    }

    /// Counts a day again; false if another worker is counting one.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or refuses, or it takes more than ten minutes.
    pub(crate) async fn refresh_day(&self, day: Date) -> Result<bool, Error> {
        // The snapshot of each statement must be its own: see `aws_report_daily_refresh`.
        self.limited_transaction(
            "count a day again",
            Limits::of(REFRESH_TIMEOUT),
            async |connection| {
                Ok(sqlx::query_scalar(AssertSqlSafe(self.statements.refresh_day.as_str()))
                    .persistent(self.prepared)
                    .bind(day)
                    .fetch_one(connection)
                    .await?)
            },
        )
        .await
    }
}
