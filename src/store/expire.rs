//! Removes rows that are no longer kept: reports with what is left of their details, and dead letters.

use sqlx::{Connection as _, PgConnection};
use time::Date;
use uuid::Uuid;

/// By the indexes `aws_reports_send_at` and `aws_reports_unsent`, the oldest first. A row that a
/// writer holds is left for the next time: there is no waiting, so there are no deadlocks.
const OF_SENT: &str = "-- ses-reports: find the oldest reports of sent mail
    SELECT id FROM aws_reports
    WHERE send_at < $1::timestamp AT TIME ZONE 'UTC'
    ORDER BY send_at LIMIT $2 FOR UPDATE SKIP LOCKED";
const OF_UNSENT: &str = "-- ses-reports: find the oldest reports of unsent mail
    SELECT id FROM aws_reports
    WHERE send_at IS NULL
        AND coalesce(reject_at, rendering_failure_at, created_at) < $1::timestamp AT TIME ZONE 'UTC'
    ORDER BY coalesce(reject_at, rendering_failure_at, created_at)
    LIMIT $2 FOR UPDATE SKIP LOCKED";

/// The host of a worker may disappear without closing its connections, and its transaction would keep the locks of these
/// rows for hours.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '30s'";

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Rows of `aws_reports`.
    pub reports: u64,
    /// Rows of `aws_report_detail`.
    pub details: u64,
}

/// Removes at most `most` reports of mail from before a day, in one transaction, on a connection
/// whose `search_path` is the schema and whose role may delete. Nothing is left when it removes none.
///
/// The rows are locked before their details are looked for: a writer that added one has committed
/// it by then, and one that comes later finds no report and makes another. So no detail is left
/// without its report.
///
/// # Errors
/// When PostgreSQL cannot be reached or refuses; then nothing of the batch is removed.
pub(crate) async fn remove_reports(
    connection: &mut PgConnection,
    before: Date,
    most: u32,
) -> Result<Removed, sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let mut reports: Vec<Uuid> = Vec::new();
    for select in [OF_SENT, OF_UNSENT] {
        if reports.is_empty() {
            reports = sqlx::query_scalar(select)
                .bind(before)
                .bind(i64::from(most))
                .fetch_all(&mut *transaction)
                .await?;
        }
    }
    if reports.is_empty() {
        return Ok(Removed::default());
    }
    let details = sqlx::query(
        "-- ses-reports: remove details of old reports
DELETE FROM aws_report_detail WHERE report_id = ANY($1)",
    )
    .bind(&reports)
    .execute(&mut *transaction)
    .await?;
    let removed = sqlx::query(
        "-- ses-reports: remove old reports
DELETE FROM aws_reports WHERE id = ANY($1)",
    )
    .bind(&reports)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Removed { reports: removed.rows_affected(), details: details.rows_affected() })
}

/// Removes at most `most` dead letters that were stored more than some days ago, the oldest first, as
/// [`remove_reports`] does; returns how many. One that is being retried is left for the next time.
///
/// # Errors
/// When PostgreSQL cannot be reached or refuses; then nothing of the batch is removed.
pub(crate) async fn remove_dead_letters(
    connection: &mut PgConnection,
    days: u16,
    most: u32,
) -> Result<u64, sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let removed = sqlx::query(
        "-- ses-reports: remove old dead letters
        DELETE FROM aws_report_dead_letter WHERE id IN (
            SELECT id FROM aws_report_dead_letter WHERE received_at < now() - make_interval(days => $1)
            ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(i32::from(days))
    .bind(i64::from(most))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(removed.rows_affected())
}

/// Removes the records of replays that were finished more than some days ago; returns how many. Such an
/// archive is read from its start if it is replayed again, which changes no report.
///
/// # Errors
/// When PostgreSQL cannot be reached or refuses.
pub(crate) async fn remove_replays(
    connection: &mut PgConnection,
    days: u16,
) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query(
        "-- ses-reports: remove old replays
        WITH old AS (
            DELETE FROM aws_report_replay WHERE finished_at < now() - make_interval(days => $1) RETURNING id
        ), parts AS (
            DELETE FROM aws_report_replay_part WHERE replay_id IN (SELECT id FROM old)
        )
        SELECT FROM old",
    )
    .bind(i32::from(days))
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}
