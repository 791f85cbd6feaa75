//! Checks that the figures of each day, with what is noted and not yet added, are what counting the day
//! again finds.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgConnection};
use time::Date;

use crate::postgres::SchemaName;

/// How often a long check says where it is.
const EVERY: Duration = Duration::from_secs(5);

/// The days whose figures differ. Days that wait to be counted again, and those whose reports retention
/// has removed, are left out.
///
/// # Errors
/// When PostgreSQL cannot be reached or asked.
pub(super) async fn check_figures(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Vec<String>, sqlx::Error> {
    let statement = |text: &str| text.replace("{schema}", &schema.quoted());
    let figures: Vec<String> = sqlx::query_scalar(
        "-- ses-reports: read which figures there are
        SELECT quote_ident(figure.attname) FROM pg_attribute AS figure
        JOIN pg_attribute AS noted ON noted.attname = figure.attname
            AND noted.attrelid = format('%I.aws_report_daily_note', $1)::regclass
        WHERE figure.attrelid = format('%I.aws_report_daily', $1)::regclass AND figure.attnum > 0
            AND figure.attname NOT IN ('day', 'source_domain', 'report_type', 'provider')
        ORDER BY 1",
    )
    .persistent(false)
    .bind(schema.as_str())
    .fetch_all(&mut *connection)
    .await?;
    let list = |of: &dyn Fn(&String) -> String, separator: &str| {
        figures.iter().map(of).collect::<Vec<_>>().join(separator)
    };
    let compare = statement(include_str!("check_figures.sql"))
        .replace("{counted}", &list(&|name| format!("f.{name}::bigint AS {name}"), ", "))
        .replace("{held}", &list(&|name| format!("-{name}"), ", "))
        .replace("{differs}", &list(&|name| format!("sum({name}) <> 0"), " OR "));
    let days: Vec<Date> = sqlx::query_scalar(AssertSqlSafe(statement(
        "-- ses-reports: find the days to check
        SELECT series.day::date FROM (
            SELECT least((SELECT min(day) FROM {schema}.aws_report_daily), (
                    SELECT min(send_at AT TIME ZONE 'UTC')::date FROM {schema}.aws_reports
                    WHERE send_at >= '2000-01-01 00:00:00+00')),
                greatest((SELECT max(day) FROM {schema}.aws_report_daily), (
                    SELECT max(send_at AT TIME ZONE 'UTC')::date FROM {schema}.aws_reports
                    WHERE send_at < '3000-01-01 00:00:00+00'))
        ) AS ends (first, last), generate_series(first, last, interval '1 day') AS series (day)
        WHERE NOT EXISTS (SELECT FROM {schema}.aws_report_stale_day AS stale WHERE stale.day = series.day::date)
            AND NOT EXISTS (SELECT FROM {schema}.aws_report_retention WHERE what = 'reports' AND series.day < kept_from)
        ORDER BY 1",
    )))
    .persistent(false)
    .fetch_all(&mut *connection)
    .await?;
    let (mut differing, mut said) = (Vec::new(), Instant::now());
    for (checked, day) in days.iter().enumerate() {
        let differs: bool = sqlx::query_scalar(AssertSqlSafe(compare.as_str()))
            .persistent(false)
            .bind(day)
            .fetch_one(&mut *connection)
            .await?;
        if differs {
            differing.push(day.to_string());
        }
        if said.elapsed() >= EVERY {
            tracing::info!("checked the figures of {checked} of {} days", days.len());
            said = Instant::now();
        }
    }
    Ok(differing)
}
