//! What a question costs, asked as `psql` asks: not prepared, planned each time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sqlx::postgres::PgConnectOptions;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _, query_as,
    query_scalar, raw_sql,
};
use time::{Date, OffsetDateTime};

use super::events::{Mail, REPORT_TYPES};
use super::figures::{Figures, Goal};
use super::fill::{self, Mails};
use super::numbers::{at, median, millis};
use super::say;

const TIMELINE: &str = "timeline of a message, asked again";
const TIMELINES: i64 = 300;
const ON_NEW_CONNECTIONS: usize = 30;
const TIMES: usize = 100;
const REFRESHES: usize = 7;
const OLD_MAIL: i64 = 20 * 999;

/// What is asked about, drawn before the server is started anew with an empty cache.
#[derive(Debug)]
pub struct Samples {
    message_ids: Vec<String>,
    user_ids: Vec<String>,
    addresses: Vec<String>,
    /// Of last month, in no order, and not opened.
    pub old_mail: Vec<Mail>,
}

impl Samples {
    /// Draws mail of all ages.
    pub async fn draw(full: &PgConnectOptions) -> Result<Self> {
        let mut connection = full.connect().await?;
        // Random moments, and the first mail after each.
        let drawn: Vec<(String, Option<String>, String)> = query_as(
            "SELECT mail.message_id, mail.user_id, mail.user_email
            FROM (SELECT min(send_at) AS first, max(send_at) - min(send_at) AS span FROM aws_reports) AS ends
            CROSS JOIN (SELECT random() AS part FROM generate_series(1, $1)) AS drawn
            CROSS JOIN LATERAL (
                SELECT * FROM aws_reports WHERE send_at >= first + part * span ORDER BY send_at LIMIT 1
            ) AS mail",
        )
        .bind(TIMELINES)
        .fetch_all(&mut connection)
        .await?;
        let old: Vec<(String, String, String, String, OffsetDateTime)> = query_as(
            "SELECT message_id, user_email, source_email, user_id, send_at
            FROM aws_reports
            WHERE send_at >= date_trunc('month', now()) - interval '1 month'
                AND send_at < date_trunc('month', now()) AND open_at IS NULL AND user_id IS NOT NULL
            ORDER BY md5(message_id) LIMIT $1",
        )
        .bind(OLD_MAIL)
        .fetch_all(&mut connection)
        .await?;
        connection.close().await?;
        let old_mail = (old.into_iter())
            .map(|(message_id, to, from, user_id, sent)| Mail {
                message_id,
                to,
                from,
                user_id,
                report_type: REPORT_TYPES[0],
                sent,
            })
            .collect();
        Ok(Self {
            user_ids: drawn.iter().filter_map(|(_, user_id, _)| user_id.clone()).collect(),
            addresses: drawn.iter().map(|(.., address)| address.clone()).collect(),
            message_ids: drawn.into_iter().map(|(message_id, ..)| message_id).collect(),
            old_mail,
        })
    }
}

fn timeline(message_id: &String) -> String {
    format!(
        "SELECT * FROM aws_report_timeline WHERE message_id = '{message_id}' ORDER BY user_email, \"timestamp\""
    )
}

fn mails_of_customer(user_id: &String) -> String {
    format!(
        "SELECT * FROM aws_report_states WHERE user_id = '{user_id}' ORDER BY send_at DESC LIMIT 50"
    )
}

fn mails_to(address: &String) -> String {
    format!("SELECT * FROM aws_report_states WHERE user_email = '{address}' ORDER BY send_at DESC")
}

/// What a deliverability owner asks, of 90 days.
const RATES: [(&str, &str); 4] = [
    (
        "rates of 90 days",
        "SELECT day, sum(sent) AS sent,
            round(100 * sum(bounced_hard + suppressed_globally) / nullif(sum(sent - bounced_suppressed + suppressed_globally), 0), 2),
            round(100 * sum(complained) / nullif(sum(delivered), 0), 3)
        FROM aws_report_daily WHERE day >= current_date - 90 GROUP BY day ORDER BY day",
    ),
    (
        "rates of 90 days by provider",
        "SELECT provider, sum(sent) AS sent, round(100 * sum(complained) / nullif(sum(delivered), 0), 3)
        FROM aws_report_daily WHERE day >= current_date - 90 GROUP BY provider ORDER BY sent DESC",
    ),
    (
        "rates of 90 days by variant",
        "SELECT value, sum(sent), round(100 * sum(human_clicked) / nullif(sum(messages_delivered), 0), 2)
        FROM aws_report_daily_tag WHERE tag = 'variant' AND day >= current_date - 90 GROUP BY value",
    ),
    (
        "bounces of 90 days by provider and class",
        "SELECT provider, bounce_class, fault, sum(bounced) AS bounced
        FROM aws_report_daily_bounce LEFT JOIN aws_report_bounce_class ON class = bounce_class
        WHERE day >= current_date - 90 GROUP BY provider, bounce_class, fault ORDER BY bounced DESC",
    ),
];

pub async fn measure(
    figures: &mut Figures,
    full: &PgConnectOptions,
    samples: &Samples,
) -> Result<()> {
    let mut connection = full.connect().await?;
    say!("asking for {} timelines, mail of customers and addresses, and rates", TIMELINES);
    let timelines: Vec<String> = samples.message_ids.iter().map(timeline).collect();
    let times = ask_each(&mut connection, &timelines).await?;
    figures.add_times("timeline of a message that nobody asked for yet", times, Some(5.0));
    let times = ask_each(&mut connection, &timelines).await?;
    figures.add_times(TIMELINE, times, Some(5.0));
    let mut first = Vec::new();
    for question in timelines.iter().take(ON_NEW_CONNECTIONS) {
        let mut new = full.connect().await?;
        first.push(ask(&mut new, question).await?);
        new.close().await?;
    }
    figures.add_times("the same as the first question of a session", first, None);
    let of_customers: Vec<String> = samples.user_ids.iter().map(mails_of_customer).collect();
    let times = ask_each(&mut connection, &of_customers).await?;
    figures.add_times("a customer's last 50 mails", times, None);
    let to_addresses: Vec<String> = samples.addresses.iter().map(mails_to).collect();
    let times = ask_each(&mut connection, &to_addresses).await?;
    figures.add_times("all mail to an address", times, None);
    for (what, question) in RATES {
        let times = ask_each(&mut connection, &vec![question.to_owned(); TIMES]).await?;
        figures.add_times(what, times, Some(50.0));
        figures.plans.push(plan(&mut connection, question).await?);
    }
    for questions in [&timelines, &of_customers, &to_addresses] {
        let question = questions.first().context("there is mail")?;
        figures.plans.push(plan(&mut connection, question).await?);
    }
    Ok(connection.close().await?)
}

/// For comparison, of mail that was just written to the other database.
pub async fn timeline_of_new_mail(figures: &mut Figures, empty: &PgConnectOptions) -> Result<()> {
    let mut connection = empty.connect().await?;
    let sql = "SELECT message_id FROM aws_reports ORDER BY md5(message_id) LIMIT $1";
    let ids: Vec<String> = query_scalar(sql).bind(TIMELINES).fetch_all(&mut connection).await?;
    let timelines: Vec<String> = ids.iter().map(timeline).collect();
    let mut times = ask_each(&mut connection, &timelines).await?;
    times.sort_unstable();
    let lines = figures.lines.iter_mut().filter(|line| line.what.starts_with(TIMELINE));
    for (percent, line) in [50, 99].into_iter().zip(lines) {
        line.beside(millis(at(&times, percent)));
    }
    Ok(connection.close().await?)
}

/// Counts the busiest day anew, and the same day in a database that has no other.
pub async fn refresh(
    figures: &mut Figures,
    full: &PgConnectOptions,
    empty: &PgConnectOptions,
    mails: Mails,
) -> Result<()> {
    let mut in_full = full.connect().await?;
    let (day, sent): (Date, i64) = query_as(
        "SELECT day, sum(sent)::bigint AS sent FROM aws_report_daily
        WHERE day < current_date AND day >= current_date - 90
        GROUP BY day ORDER BY sent DESC, day DESC LIMIT 1",
    )
    .fetch_one(&mut in_full)
    .await?;
    say!("counting {day} with its {sent} reports anew, here and in a database without other days");
    let mut loader = fill::session(empty).await?;
    fill::prepare(&mut loader, &[day.replace_day(1)?]).await?;
    let from = day.midnight().assume_utc();
    mails.write(&mut loader, from, from + time::Duration::DAY).await?;
    loader.close().await?;
    let mut in_empty = empty.connect().await?;
    raw_sql("VACUUM (ANALYZE)").execute(&mut in_empty).await?;
    let refresh = format!("SELECT aws_report_daily_refresh('{day}')");
    let (mut times, mut empty_times) = (Vec::new(), Vec::new());
    for _ in 0..REFRESHES {
        times.push(millis(ask(&mut in_full, &refresh).await?));
        empty_times.push(millis(ask(&mut in_empty, &refresh).await?));
    }
    let line = figures.add(&format!("counting a day of {sent} reports anew"), "ms", median(times));
    line.beside(median(empty_times)).goal(Goal::Ratio(1.5));
    in_full.close().await?;
    Ok(in_empty.close().await?)
}

async fn ask_each(connection: &mut PgConnection, questions: &[String]) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(questions.len());
    for question in questions {
        times.push(ask(connection, question).await?);
    }
    Ok(times)
}

async fn ask(connection: &mut PgConnection, question: &str) -> Result<Duration> {
    let began = Instant::now();
    raw_sql(AssertSqlSafe(question)).fetch_all(connection).await?;
    Ok(began.elapsed())
}

async fn plan(connection: &mut PgConnection, question: &str) -> Result<String> {
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS) {question}");
    let lines = raw_sql(AssertSqlSafe(explain)).fetch_all(connection).await?;
    let lines: Result<Vec<String>, _> = lines.iter().map(|line| line.try_get(0)).collect();
    Ok(lines?.join("\n"))
}
