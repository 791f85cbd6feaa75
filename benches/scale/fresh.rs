//! How old the figures are, and what keeping them fresh costs, while people open the mail of a week of large
//! days.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use procfs::process::Process;
use sqlx::postgres::PgConnectOptions;
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, query, query_as, query_scalar, raw_sql,
};

use super::figures::{Figures, Goal};
use super::numbers::{at, millis};
use super::say;

/// Days of mail that people still open.
const DAYS: i64 = 7;
/// A worker adds to the figures this often.
const ADD_EVERY: Duration = Duration::from_secs(5);
/// Opens are written once a second, as a worker writes a batch.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// A third of a million mails opened in one day is 4 a second; a newsletter has its hour.
const OPENS_A_SECOND: i64 = 100;
const FOR: Duration = Duration::from_mins(1);

/// The most that the figures may be behind, in milliseconds.
const OLDEST: f64 = 30_000.0;
/// The most of one core that may go into keeping them fresh, in thousandths.
const MOST_OF_A_CORE: f64 = 100.0;

/// Writes a week of so many mails a day, then opens of them, and measures.
pub async fn measure(
    figures: &mut Figures,
    options: &PgConnectOptions,
    mails_a_day: i64,
) -> Result<()> {
    let mut writer = options.connect().await?;
    let mut adder = options.connect().await?;
    say!("writing {DAYS} days of {mails_a_day} mails");
    fill(&mut writer, mails_a_day).await?;
    let mut recounts = Vec::new();
    for day in 0..DAYS {
        let began = Instant::now();
        query("SELECT aws_report_daily_refresh(((now() AT TIME ZONE 'UTC')::date - $1::int))")
            .bind(i32::try_from(day)?)
            .execute(&mut adder)
            .await?;
        recounts.push(began.elapsed());
    }
    recounts.sort_unstable();
    let day = format!("counting a day of {mails_a_day} mails anew, p50");
    figures.add(&day, "ms", millis(at(&recounts, 50)));

    say!("opening {OPENS_A_SECOND} mails a second of {DAYS} days");
    let noted = Opens::write(&mut writer, &mut adder, mails_a_day, true).await?;
    let plain = Opens::write(&mut writer, &mut adder, mails_a_day, false).await?;
    let line = figures.add(
        "most age of the figures while a week's mail is opened",
        "ms",
        millis(noted.oldest),
    );
    line.goal(Goal::Most(OLDEST));
    // Each report is opened once, so what the two runs differ by is what noting costs.
    let noting = noted.writing.saturating_sub(plain.writing);
    let share = |cpu: Duration| cpu.as_secs_f64() / FOR.as_secs_f64() * 1_000.0;
    figures.add("adding to the figures, thousandths of a core", "", share(noted.adding));
    figures.add("noting what changes, thousandths of a core", "", share(noting));
    let both = figures.add("both", "", share(noted.adding + noting));
    both.goal(Goal::Most(MOST_OF_A_CORE));
    writer.close().await?;
    adder.close().await?;
    Ok(())
}

/// Reports without a trigger: they are counted afterwards.
async fn fill(writer: &mut PgConnection, mails_a_day: i64) -> Result<()> {
    raw_sql("ALTER TABLE aws_reports DISABLE TRIGGER USER").execute(&mut *writer).await?;
    for day in 0..DAYS {
        query(
            "INSERT INTO aws_reports (id, report_type, user_email, message_id, source_email, send_at, delivery_at, counts_message, provider)
            SELECT lpad(to_hex($1 * $2 + n), 32, '0')::uuid, n % 4, 'reader-' || n || '@example.com', 'fresh-' || $1 || '-' || n,
                'news@shop' || n % 3 || '.example', sent_at, sent_at + interval '2 s', true,
                CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN 'microsoft' WHEN 2 THEN 'yahoo' ELSE 'gmail' END
            FROM generate_series(1, $2) AS n
            CROSS JOIN LATERAL (SELECT ((now() AT TIME ZONE 'UTC')::date - $1::int)::timestamp AT TIME ZONE 'UTC'
                + n * interval '86399 s' / $2) AS sent (sent_at)",
        )
        .bind(day)
        .bind(mails_a_day)
        .execute(&mut *writer)
        .await?;
    }
    for sql in
        ["ALTER TABLE aws_reports ENABLE TRIGGER USER", "VACUUM (FREEZE, ANALYZE) aws_reports"]
    {
        raw_sql(sql).execute(&mut *writer).await.context("the week")?;
    }
    Ok(())
}

/// What a minute of opens took.
struct Opens {
    oldest: Duration,
    writing: Duration,
    adding: Duration,
}

impl Opens {
    async fn write(
        writer: &mut PgConnection,
        adder: &mut PgConnection,
        mails_a_day: i64,
        are_noted: bool,
    ) -> Result<Self> {
        let triggers = if are_noted { "ENABLE" } else { "DISABLE" };
        let switch = format!("ALTER TABLE aws_reports {triggers} TRIGGER aws_reports_note_updated");
        raw_sql(sqlx::AssertSqlSafe(switch)).execute(&mut *writer).await?;
        let (writing, adding) = (cpu(writer).await?, cpu(adder).await?);
        let mut random = fastrand::Rng::with_seed(u64::from(are_noted));
        let (began, mut oldest, mut last_added) = (Instant::now(), Duration::ZERO, Instant::now());
        while began.elapsed() < FOR {
            let next = Instant::now() + WRITE_EVERY;
            let mails: Vec<i64> =
                (0..OPENS_A_SECOND).map(|_| random.i64(1..DAYS * mails_a_day)).collect();
            query(
                "UPDATE aws_reports SET open_at = now(), human_open_at = now(), open_count = open_count + 1
                WHERE id = ANY (ARRAY(SELECT lpad(to_hex(n), 32, '0')::uuid FROM unnest($1) AS n)) AND open_at IS NULL",
            )
            .bind(mails)
            .execute(&mut *writer)
            .await?;
            let age: f64 = query_scalar(
                "SELECT extract(epoch FROM age)::float8 FROM aws_report_figures_age()",
            )
            .fetch_one(&mut *writer)
            .await?;
            oldest = oldest.max(Duration::from_secs_f64(age.max(0.0)));
            if last_added.elapsed() >= ADD_EVERY {
                last_added = Instant::now();
                let _: (Option<i64>, Option<bool>) =
                    query_as("SELECT notes, is_crowded FROM aws_report_daily_add(20000)")
                        .fetch_one(&mut *adder)
                        .await?;
            }
            tokio::time::sleep_until(next.into()).await;
        }
        Ok(Self {
            oldest,
            writing: cpu(writer).await?.saturating_sub(writing),
            adding: cpu(adder).await?.saturating_sub(adding),
        })
    }
}

/// The CPU time that the session has taken.
async fn cpu(connection: &mut PgConnection) -> Result<Duration> {
    let pid: i32 = query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await?;
    let stat = Process::new(pid)?.stat()?;
    Ok(Duration::from_millis((stat.utime + stat.stime) * 1_000 / procfs::ticks_per_second().max(1)))
}
