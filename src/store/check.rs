//! Checks what is always true of the tables: reports equal the fold of their details, no detail is
//! without its report, and the figures of a day equal a count of its reports. Reads every row, a range of reports at a time.

use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::check_figures::check_figures;
use crate::postgres::{SchemaName, with_fixed_settings};

/// Reports that are checked in one statement.
const CHUNK: i64 = 5_000;
/// How often a long check says where it is.
const EVERY: Duration = Duration::from_secs(5);
/// How many mismatched reports are named.
const NAMED: usize = 100;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// Reports that were looked at.
    pub(crate) reports: u64,
    /// Reports that are not the fold of their details, and details that have no report.
    pub(crate) mismatched: u64,
    /// The first hundred of them.
    pub(crate) first: Vec<Mismatch>,
    /// Days whose figures are not what counting their reports finds.
    pub(crate) days: Vec<String>,
}

/// A report that is not as its details say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Mismatch {
    /// Its id.
    pub(crate) report_id: Uuid,
    /// The columns that differ; `None` for details without a report.
    pub(crate) columns: Option<Vec<String>>,
}

/// Checks all reports and details.
///
/// # Errors
/// When PostgreSQL cannot be reached or asked.
pub(crate) async fn check(
    options: &PgConnectOptions,
    schema: &SchemaName,
) -> Result<Check, sqlx::Error> {
    let mut connection = with_fixed_settings(options).connect().await?;
    let statement = |text: &str| text.replace("{schema}", &schema.quoted());
    let (kept, adopted, is_backfilled): (Option<OffsetDateTime>, Option<OffsetDateTime>, bool) =
        sqlx::query_as(AssertSqlSafe(statement(
            "-- ses-reports: read what a check leaves out
            SELECT (SELECT kept_from::timestamp AT TIME ZONE 'UTC' FROM {schema}.aws_report_retention WHERE what = 'details'),
                (SELECT finished_at FROM {schema}.aws_report_backfill WHERE name = 'baseline'),
                NOT EXISTS (SELECT FROM {schema}.aws_report_backfill WHERE finished_at IS NULL)",
        )))
        .fetch_one(&mut connection)
        .await?;
    let (range, compare) = (
        statement(
            "-- ses-reports: find the next reports to check
            SELECT count(*), (array_agg(id ORDER BY id DESC))[1]
            FROM (SELECT id FROM {schema}.aws_reports WHERE id > $1 ORDER BY id LIMIT $2) AS chunk",
        ),
        statement(&super::statement::check()),
    );
    let (mut check, mut from, mut said) = (Check::default(), Uuid::nil(), Instant::now());
    loop {
        let (count, last): (i64, Option<Uuid>) = sqlx::query_as(AssertSqlSafe(range.as_str()))
            .bind(from)
            .bind(CHUNK)
            .fetch_one(&mut connection)
            .await?;
        // Behind the last report there may still be details.
        let to = last.filter(|_| count == CHUNK).unwrap_or(Uuid::max());
        let mismatches: Vec<(Uuid, Option<Vec<String>>)> =
            sqlx::query_as(AssertSqlSafe(compare.as_str()))
                .bind(from)
                .bind(to)
                .bind(kept)
                .bind(adopted)
                .bind(is_backfilled)
                .fetch_all(&mut connection)
                .await?;
        check.reports += count.unsigned_abs();
        check.mismatched += u64::try_from(mismatches.len()).unwrap_or(u64::MAX);
        let room = NAMED - check.first.len();
        check.first.extend(
            mismatches
                .into_iter()
                .take(room)
                .map(|(report_id, columns)| Mismatch { report_id, columns }),
        );
        if count < CHUNK {
            break;
        }
        if said.elapsed() >= EVERY {
            tracing::info!(
                "checked {} reports, {} mismatched so far",
                check.reports,
                check.mismatched
            );
            said = Instant::now();
        }
        from = to;
    }
    check.days = check_figures(&mut connection, schema).await?;
    let _ = connection.close().await;
    Ok(check)
}
