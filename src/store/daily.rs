//! The figures of each day: adding what has changed, and counting a day again.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use time::Date;

use super::transaction::Limits;
use super::{Error, Store};

/// What changed since, added to the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Added {
    /// Notes of changes that were added.
    pub(crate) notes: u64,
    /// Whether a tag has more values in a day than are counted one by one.
    pub(crate) is_crowded: bool,
}

/// How far the figures are behind the reports.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FiguresAge {
    /// Seconds since the oldest change that is not added.
    pub(crate) seconds: f64,
    /// Days that wait to be counted again.
    pub(crate) days_to_count: i64,
}

/// A day of many millions of reports takes long, and no message waits for it.
pub(crate) const REFRESH_TIMEOUT: Duration = Duration::from_mins(10);

impl Store {
    /// Adds at most this many notes of changes to the figures; `None` if another worker is at it.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or refuses.
    pub(crate) async fn add_to_figures(&self, most: i32) -> Result<Option<Added>, Error> {
        self.limited_transaction(
            "add to the figures",
            Limits::of(REFRESH_TIMEOUT),
            async |connection| {
                let (notes, is_crowded): (Option<i64>, Option<bool>) =
                    sqlx::query_as(AssertSqlSafe(self.statements.add_to_figures.as_str()))
                        .persistent(self.prepared)
                        .bind(most)
                        .fetch_one(connection)
                        .await?;
                Ok(notes.map(|notes| Added {
                    notes: notes.unsigned_abs(),
                    is_crowded: is_crowded.unwrap_or(false),
                }))
            },
        )
        .await
    }

    /// How far the figures are behind.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or refuses.
    pub(crate) async fn figures_age(&self) -> Result<FiguresAge, Error> {
        self.transaction("age of the figures", async |connection| {
            let (seconds, days_to_count) =
                sqlx::query_as(AssertSqlSafe(self.statements.figures_age.as_str()))
                    .persistent(self.prepared)
                    .fetch_one(connection)
                    .await?;
            Ok(FiguresAge { seconds, days_to_count })
        })
        .await
    }

    /// Days whose figures have to be counted again, the newest first.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or refuses.
    pub(crate) async fn stale_days(&self) -> Result<Vec<Date>, Error> {
        self.transaction("find days to count again", async |connection| {
            Ok(sqlx::query_scalar(AssertSqlSafe(self.statements.stale_days.as_str()))
                .persistent(self.prepared)
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
