//! Fills a database in the database: months of mail and what became of it, as the worker stores it.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use ses_reports::batch::month_of;
use ses_reports::postgres::SchemaName;
use ses_reports::schema::Schema;
use ses_reports::store::partitions::months_later;
use sqlx::postgres::PgConnectOptions;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, query, query_as,
    query_scalar, raw_sql,
};
use time::{Date, OffsetDateTime};

use super::events::REPORT_TYPES;
use super::say;

pub const MONTHS: i32 = 36;
/// Each mail has a Send, a Delivery or a Bounce, and one more on the average.
pub const EVENTS_OF_A_MAIL: u64 = 3;
/// Their keys are random, so they are built when all rows are there; the others grow at their end.
const BUILT_LATER: [&str; 3] =
    ["aws_reports_user_email", "aws_reports_user_id", "aws_reports_unsent"];

/// Mail at even distances over a span of time: mail N was sent N steps after the start.
#[derive(Debug, Clone, Copy)]
pub struct Mails {
    start: OffsetDateTime,
    end: OffsetDateTime,
    /// Milliseconds.
    step: f64,
    count: u64,
}

impl Mails {
    /// As many as have so many events, over the months until now.
    #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "far below 2^52")]
    pub fn until(now: OffsetDateTime, details: u64) -> Self {
        let start = months_later(month_of(now), 1 - MONTHS).midnight().assume_utc();
        let count = details / EVENTS_OF_A_MAIL;
        let step = (now - start).as_seconds_f64() * 1_000.0 / count as f64;
        Self { start, end: now, step, count }
    }

    /// The first mail that was sent at or after some time.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::as_conversions,
        reason = "the number of a mail is small and positive"
    )]
    fn first_at(&self, time: OffsetDateTime) -> i64 {
        let steps = ((time - self.start).as_seconds_f64() * 1_000.0 / self.step).ceil() as i64;
        steps.clamp(0, self.count.cast_signed())
    }

    /// Writes the mail sent from one time until another, within a month. Returns how many reports and
    /// details.
    pub async fn write(
        &self,
        connection: &mut PgConnection,
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<(u64, u64)> {
        let until = until.min(self.end);
        let start = i64::try_from(self.start.unix_timestamp_nanos() / 1_000_000)?;
        let reports = query(include_str!("reports.sql"))
            .bind(self.first_at(from))
            .bind(self.first_at(until) - 1)
            .bind(start)
            .bind(self.step)
            .bind(until - time::Duration::milliseconds(1))
            .execute(&mut *connection)
            .await?;
        let details = query(include_str!("details.sql"))
            .bind(from)
            .bind(until)
            .execute(&mut *connection)
            .await?;
        Ok((reports.rows_affected(), details.rows_affected()))
    }
}

/// Fills a migrated database, and leaves it as the migrations made it.
pub async fn fill(options: &PgConnectOptions, mails: Mails, loaders: usize) -> Result<()> {
    let mut connection = session(options).await?;
    let months: Vec<Date> =
        (1 - MONTHS..=3).map(|later| months_later(month_of(mails.end), later)).collect();
    prepare(&mut connection, &months).await?;
    let definitions: Vec<String> =
        query_scalar("SELECT pg_get_indexdef(name::regclass) FROM unnest($1::text[]) AS name")
            .bind(BUILT_LATER.map(str::to_owned).to_vec())
            .fetch_all(&mut connection)
            .await?;
    execute(&mut connection, &format!("DROP INDEX {}", BUILT_LATER.join(", "))).await?;

    let (began, written) = (Instant::now(), AtomicU64::new(0));
    share(options, loaders, &months[..usize::try_from(MONTHS)?], async |connection, month| {
        let (reports, details) = load(connection, mails, *month).await?;
        let total = written.fetch_add(details, Ordering::Relaxed) + details;
        let seconds = began.elapsed().as_secs();
        say!("{month}: {reports} reports, {details} details; {total} in all after {seconds} s");
        Ok(())
    })
    .await?;
    say!("building {} indexes", definitions.len());
    share(options, loaders, &definitions, async |connection, definition| {
        execute(connection, definition).await
    })
    .await?;
    say!("vacuuming, {} s since it began", began.elapsed().as_secs());
    let tables: Vec<String> = (std::iter::once("aws_reports".to_owned()))
        .chain(months.iter().copied().map(partition))
        .collect();
    share(options, loaders, &tables, async |connection, table| {
        execute(connection, &format!("VACUUM (FREEZE, ANALYZE) {table}")).await
    })
    .await?;
    let seconds = began.elapsed().as_secs();
    let days = count_days(&mut connection, mails).await?;
    say!("counted {days} days in {} s", began.elapsed().as_secs() - seconds);
    execute(&mut connection, "VACUUM (FREEZE, ANALYZE) aws_report_daily").await?;
    say!("filled in {} s", began.elapsed().as_secs());
    Ok(connection.close().await?)
}

/// What is not as the migrations made it, or is not as the worker would have written it.
pub async fn verify(options: &PgConnectOptions, schema: &SchemaName) -> Result<()> {
    let drift = Schema::new(options.clone(), schema.clone()).verify().await?;
    ensure!(drift.differences.is_empty(), "not as the migrations made it: {drift:?}");
    let mut connection = session(options).await?;
    let (ids, daily): (bool, bool) = query_as(
        "SELECT
            (SELECT every(id = aws_report_id(message_id, user_email))
            FROM aws_reports TABLESAMPLE SYSTEM (0.1)) IS NOT false,
            (SELECT sum(sent) FROM aws_report_daily) = (SELECT count(*) FROM aws_reports)",
    )
    .fetch_one(&mut connection)
    .await?;
    ensure!(ids, "the ids of reports are not aws_report_id()");
    ensure!(daily, "the figures of the days do not add up to the reports");
    Ok(connection.close().await?)
}

/// Triggers do not fire, and no plan looks at a whole table.
pub async fn session(options: &PgConnectOptions) -> Result<PgConnection> {
    let settings = [
        ("search_path", "aws_reports"),
        ("session_replication_role", "replica"),
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("enable_memoize", "off"),
        ("max_parallel_maintenance_workers", "0"),
        ("client_min_messages", "warning"),
    ];
    Ok(options.clone().options(settings).connect().await?)
}

/// The months and the kinds of mail.
pub async fn prepare(connection: &mut PgConnection, months: &[Date]) -> Result<()> {
    for month in months {
        query("SELECT aws_report_detail_ensure($1)").bind(month).execute(&mut *connection).await?;
    }
    query(
        "INSERT INTO aws_report_type (id, report_name)
        SELECT aws_report_type_id(name), name FROM unnest($1::text[]) AS name ON CONFLICT DO NOTHING",
    )
    .bind(REPORT_TYPES.map(str::to_owned).to_vec())
    .execute(connection)
    .await?;
    Ok(())
}

async fn load(connection: &mut PgConnection, mails: Mails, month: Date) -> Result<(u64, u64)> {
    let mut transaction = connection.begin().await?;
    // What is written to a table that this transaction has emptied needs no WAL.
    execute(&mut transaction, &format!("TRUNCATE {}", partition(month))).await?;
    let from = month.midnight().assume_utc();
    let until = months_later(month, 1).midnight().assume_utc();
    let written = mails.write(&mut transaction, from, until).await?;
    transaction.commit().await?;
    Ok(written)
}

async fn count_days(connection: &mut PgConnection, mails: Mails) -> Result<u64> {
    let (mut day, mut days) = (mails.start.date(), 0);
    while day <= mails.end.date() {
        query("SELECT aws_report_daily_refresh($1)").bind(day).execute(&mut *connection).await?;
        (day, days) = (day.next_day().unwrap_or(Date::MAX), days + 1);
    }
    Ok(days)
}

/// Does all jobs in so many sessions.
async fn share<J>(
    options: &PgConnectOptions,
    loaders: usize,
    jobs: &[J],
    work: impl AsyncFn(&mut PgConnection, &J) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let loader = async || {
        let mut connection = session(options).await?;
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(&mut connection, job).await?;
        }
        Ok(connection.close().await?)
    };
    at_once(loaders, &loader).await
}

fn at_once<'w, W>(times: usize, work: &'w W) -> Pin<Box<dyn Future<Output = Result<()>> + 'w>>
where
    W: AsyncFn() -> Result<()>,
{
    Box::pin(async move {
        if times < 2 {
            return work().await;
        }
        tokio::try_join!(at_once(times / 2, work), at_once(times - times / 2, work)).map(|_| ())
    })
}

async fn execute(connection: &mut PgConnection, sql: &str) -> Result<()> {
    raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// The name of the partition of a month.
fn partition(month: Date) -> String {
    format!("aws_report_detail_{:04}_{:02}", month.year(), u8::from(month.month()))
}
