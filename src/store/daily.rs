//! The figures of each day: which are to be counted anew, and counting them.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _};
use time::Date;

use super::Store;

/// The snapshot of each statement must be its own: see `aws_report_daily_refresh`. A day of many
/// millions of reports takes its time, and nobody waits for it.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = '10min'; \
    SET LOCAL idle_in_transaction_session_timeout = '1min'";

impl Store {
    /// Days whose figures are out of date, the newest first, but for those counted less than
    /// `at_most_every` ago.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached.
    pub async fn stale_days(&self, at_most_every: Duration) -> Result<Vec<Date>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = self.begin(&mut connection).await?;
        let days = sqlx::query_scalar(AssertSqlSafe(self.statements.stale_days.as_str()))
            .persistent(self.prepared)
            .bind(at_most_every.as_secs_f64())
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(days)
    }

    /// Counts a day anew; false if another worker is counting one.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached, or it takes more than ten minutes.
    pub async fn refresh_day(&self, day: Date) -> Result<bool, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin_with(BEGIN).await?;
        let done = sqlx::query_scalar(AssertSqlSafe(self.statements.refresh_day.as_str()))
            .persistent(self.prepared)
            .bind(day)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(done)
    }
}
