//! What is no longer kept: it goes, it stays away, and nothing else goes with it.

use serde_json::{Value, json};
use ses_reports::postgres::SchemaName;
use ses_reports::retention::{Error, Retain, Retention};
use time::{Date, Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{Ended, Worker, eventually, run};
use crate::support::queue::Queue;

/// Months before the current one, as the database's clock has it.
struct Calendar(Vec<Date>);

impl Calendar {
    async fn of(database: &Database) -> Self {
        let mut months = Vec::new();
        for ago in 0..12 {
            let sql = format!(
                "SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') - interval '{ago} months')::date"
            );
            months.push(database.one(&sql).await);
        }
        Self(months)
    }

    /// The second day of a month, in the morning.
    fn time(&self, ago: usize) -> Value {
        let month = self.0[ago];
        // The current month may be a day old only.
        let day = u8::from(ago > 0) + 1;
        json!(format!("{}-{:02}-{day:02}T00:00:10Z", month.year(), u8::from(month.month())))
    }

    fn name(&self, ago: usize) -> String {
        format!("{}-{:02}", self.0[ago].year(), u8::from(self.0[ago].month()))
    }

    fn partition(&self, ago: usize) -> String {
        format!("aws_report_detail_{}", self.name(ago).replace('-', "_"))
    }

    /// A mail that was sent in a month.
    fn send(&self, ago: usize, number: u64) -> Value {
        let mut send = event::send(&message_id(number), &["jane@example.com"]);
        send["mail"]["timestamp"] = self.time(ago);
        send
    }

    /// That mail, opened in another month.
    fn open(&self, sent: usize, opened: usize, number: u64) -> Value {
        let time = self.time(opened);
        let time = time.as_str().expect("a text");
        let mut open = event::open(&message_id(number), &["jane@example.com"], time);
        open["mail"]["timestamp"] = self.time(sent);
        open
    }
}

async fn consumed(
    queue: &Queue,
    database: &Database,
    events: &[Value],
    arguments: &[&str],
) -> String {
    queue.send(&events.iter().map(Value::to_string).collect::<Vec<_>>()).await;
    start(database, queue, &[&["--exit-when-idle", "1"], arguments].concat()).ends_well().await
}

/// A worker that writes under its own role, and removes with the owner's rights.
fn start(database: &Database, queue: &Queue, arguments: &[&str]) -> Worker {
    let settings = [
        ("DATABASE_URL", &*database.url_of("worker")),
        ("MIGRATION_DATABASE_URL", &*database.url_of("owner")),
        ("NO_MIGRATE", "true"),
    ];
    Worker::start_with(&settings, &queue.url, arguments)
}

async fn partitions(database: &Database) -> Vec<String> {
    let sql = "SELECT relname FROM pg_class WHERE relname ~ '^aws_report_detail_[0-9]{4}_[0-9]{2}(_[0-9]+)?$' ORDER BY relname";
    let rows = database.rows(sql).await;
    rows.iter().map(|row| row["relname"].as_str().expect("a name").to_owned()).collect()
}

/// Details that have no report.
const ORPHANS: &str = "SELECT count(*) FROM aws_report_detail d WHERE NOT EXISTS (SELECT FROM aws_reports r WHERE r.id = d.report_id)";

#[tokio::test]
pub async fn many_workers_drop_a_month_once_and_late_events_bring_nothing_back() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let calendar = Calendar::of(&database).await;
    let months: Vec<Value> =
        (0_u64..).zip([7, 5, 2, 0]).map(|(number, ago)| calendar.send(ago, number)).collect();
    consumed(&queue, &database, &months, &[]).await;
    let figures = "SELECT day, sent FROM aws_report_daily ORDER BY day";
    assert_eq!(database.rows(figures).await.len(), 4);

    let mut workers: Vec<Worker> =
        (0..3).map(|_| start(&database, &queue, &["--retain-details", "3"])).collect();
    let gone = [calendar.partition(7), calendar.partition(5)];
    eventually("the old months are dropped", || async {
        !partitions(&database).await.iter().any(|name| gone.contains(name))
    })
    .await;

    // Late: of a dropped month, for a report that is kept, in a month that is kept.
    let late = [calendar.send(6, 4), calendar.open(5, 5, 1), calendar.open(5, 0, 1)];
    queue.send(&late.map(|event| event.to_string())).await;
    eventually("late events are acknowledged", || async { queue.counts().await == (0, 0) }).await;
    let mut log = String::new();
    for worker in &mut workers {
        assert!(worker.terminate().await.0.success(), "{}", worker.log());
        log += &worker.log();
    }
    assert_eq!(log.matches("dropped details that are no longer kept").count(), 2, "{log}");
    assert!(!log.contains("WARN"), "{log}");
    let expired: u64 = log
        .split(" details no longer kept")
        .filter_map(|before| before.rsplit(' ').next()?.parse::<u64>().ok())
        .max()
        .unwrap_or(0);
    assert!(expired >= 1, "{log}");

    let left = partitions(&database).await;
    assert!(
        left.contains(&calendar.partition(2)) && left.contains(&calendar.partition(0)),
        "{left:?}"
    );
    assert!(!left.iter().any(|name| *name <= calendar.partition(4)), "{left:?}");
    assert_eq!(
        database
            .rows("SELECT open_count, count(d.id) AS details, count(*) FILTER (WHERE d.event_type = 'Open') AS opens FROM aws_reports r LEFT JOIN aws_report_detail d ON d.report_id = r.id WHERE open_at IS NOT NULL GROUP BY r.id")
            .await,
        [json!({"open_count": 1, "details": 1, "opens": 1})],
        "the report has heard of both opens, and counts the one that is kept"
    );
    assert_eq!(
        database.one::<i64>("SELECT count(*) FROM aws_reports").await,
        5,
        "reports are kept"
    );
    assert_eq!(database.one::<i64>(ORPHANS).await, 0);
    assert_eq!(database.rows(figures).await.len(), 5);
    let url = database.url();
    let verified = run(&[("DATABASE_URL", &*url)], &["migrate", "verify", "--data"]).await;
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
}

#[tokio::test]
pub async fn old_reports_go_with_their_details_and_leave_their_figures() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let calendar = Calendar::of(&database).await;
    let mut reject = event::event(
        "Reject",
        "reject",
        json!({"reason": "Bad content"}),
        calendar.send(7, 3)["mail"].clone(),
    );
    reject["mail"]["messageId"] = json!(message_id(3));
    // Sent long ago and opened just now: a detail in a month that is kept.
    let events = [
        calendar.send(7, 1),
        calendar.open(7, 0, 1),
        calendar.send(4, 2),
        reject,
        calendar.send(0, 4),
    ];
    consumed(&queue, &database, &events, &[]).await;
    database
        .execute("INSERT INTO aws_reports (id, user_email, message_id, created_at) VALUES (gen_random_uuid(), 'x@example.com', 'never sent', now() - interval '300 days')")
        .await;
    let figures =
        "SELECT day, sent, opened, rejected, updated_at FROM aws_report_daily ORDER BY day";
    let before = database.rows(figures).await;
    assert_eq!(before.len(), 3);

    let arguments = ["--retain-details", "2", "--retain-reports", "5"];
    // Its polls are short, so that none outlives it and takes what comes next.
    let short = [&arguments[..], &["--exit-when-idle", "600"]].concat();
    let mut worker = start(&database, &queue, &short);
    eventually("old reports are removed", || {
        database.one::<bool>("SELECT count(*) = 2 FROM aws_reports")
    })
    .await;
    assert!(worker.terminate().await.0.success(), "{}", worker.log());
    assert_eq!(database.one::<i64>(ORPHANS).await, 0);
    assert_eq!(
        database
            .rows(
                "SELECT DISTINCT to_char(\"timestamp\", 'YYYY-MM') AS month FROM aws_report_detail"
            )
            .await,
        [json!({"month": calendar.name(0)})],
        "of the mail of 4 months ago the report is kept, and not its details"
    );

    // It is too late for them, whatever the month of the event.
    let log =
        consumed(&queue, &database, &[calendar.open(7, 0, 1), calendar.send(6, 9)], &arguments)
            .await;
    assert!(log.contains("; 2 details no longer kept"), "{log}");
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 2);
    assert_eq!(database.rows(figures).await, before, "what was counted stays counted");
    assert!(
        database
            .one::<bool>("SELECT aws_report_daily_refresh(min(day)) FROM aws_report_daily")
            .await
    );
    assert_eq!(database.rows(figures).await, before, "even if somebody asks for it");
}

async fn begin(database: &Database) -> Retention {
    let schema = SchemaName::new("aws_reports").expect("a good name");
    Retention::begin(&database.options(), &schema).await.expect("nobody else does it")
}

#[tokio::test]
pub async fn what_was_interrupted_is_finished() {
    let database = Database::migrated().await;
    let calendar = Calendar::of(&database).await;
    for ago in [9, 8, 7, 6, 1, 0] {
        database.execute(&format!("SELECT aws_report_detail_ensure('{}')", calendar.0[ago])).await;
    }
    // A second partition of one month: the first was detached by a person, to be kept.
    let kept = calendar.partition(9);
    database.execute(&format!("ALTER TABLE aws_report_detail DETACH PARTITION {kept}")).await;
    database.execute(&format!("SELECT aws_report_detail_ensure('{}')", calendar.0[9])).await;
    // Retention died between detaching and dropping.
    let detached = calendar.partition(8);
    database
        .execute(&format!("COMMENT ON TABLE {detached} IS 'ses-reports: no longer kept, to be dropped'; ALTER TABLE aws_report_detail DETACH PARTITION {detached}"))
        .await;
    // Another died while it waited for a reader.
    let half = calendar.partition(7);
    let mut reader = database.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("SELECT count(*) FROM aws_report_detail")
        .execute(&mut *reader)
        .await
        .expect("it reads");
    let detach = format!("ALTER TABLE aws_report_detail DETACH PARTITION {half} CONCURRENTLY");
    let pool = database.pool.clone();
    let detaching = tokio::spawn(async move {
        sqlx::raw_sql(sqlx::AssertSqlSafe(detach)).execute(&pool).await.map(|_| ())
    });
    let pending = "SELECT count(*) = 1 FROM pg_inherits WHERE inhdetachpending";
    eventually("it is half detached", || database.one::<bool>(pending)).await;
    database
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE%CONCURRENTLY' AND datname = current_database()")
        .await;
    detaching.await.expect("it ends").expect_err("it was interrupted");
    reader.rollback().await.expect("it ends");
    assert!(database.one::<bool>(pending).await);

    let mut retention = begin(&database).await;
    let kept_from = retention.keep_details_from(calendar.0[2]).await.expect("it is written down");
    assert_eq!(kept_from, calendar.0[2]);
    let dropped = retention.drop_expired(&CancellationToken::new()).await.expect("it drops");
    let dropped: Vec<String> = dropped.into_iter().map(|partition| partition.name).collect();
    let second = format!("{kept}_2");
    assert_eq!(dropped, [second, detached, half, calendar.partition(6)], "the oldest first");
    assert_eq!(partitions(&database).await, [kept, calendar.partition(1), calendar.partition(0)]);

    // It never goes back, and the months that it passed are not made again.
    let again = retention.keep_details_from(calendar.0[5]).await.expect("it is asked");
    assert_eq!(again, calendar.0[2]);
    retention.end().await;
    for (ago, ensured) in [(3, Value::Null), (9, Value::Null), (2, json!(true)), (1, json!(false))]
    {
        let sql = format!("SELECT aws_report_detail_ensure('{}') AS made", calendar.0[ago]);
        assert_eq!(database.rows(&sql).await, [json!({"made": ensured})], "{ago} months ago");
    }
}

#[tokio::test]
pub async fn a_report_that_is_being_written_is_left_for_the_next_time() {
    let database = Database::migrated().await;
    let calendar = Calendar::of(&database).await;
    database.execute(&format!("SELECT aws_report_detail_ensure('{}')", calendar.0[0])).await;
    database
        .execute("INSERT INTO aws_reports (id, user_email, message_id, send_at) SELECT gen_random_uuid(), 'x@example.com', n, now() - interval '400 days' FROM generate_series(1, 7) AS n")
        .await;
    let mut writer = database.pool.begin().await.expect("a transaction");
    sqlx::raw_sql(
        "INSERT INTO aws_report_detail (id, report_id, event_type, message_id, \"timestamp\", \"to\") SELECT gen_random_uuid(), id, 'Open', 'm', now(), 'x@example.com' FROM aws_reports WHERE message_id = '3';
        UPDATE aws_reports SET open_count = 1 WHERE message_id = '3'",
    )
    .execute(&mut *writer)
    .await
    .expect("it writes");
    let mut retention = begin(&database).await;
    let mut remove = async || {
        let removed = retention.remove_reports(calendar.0[5], &CancellationToken::new()).await;
        let removed = removed.expect("nobody is in the way");
        (removed.reports, removed.details)
    };
    assert_eq!(remove().await, (6, 0));
    writer.commit().await.expect("it commits");
    assert_eq!(remove().await, (1, 1));
    assert_eq!(database.one::<i64>(ORPHANS).await, 0);
}

#[tokio::test]
async fn a_worker_that_may_not_drop_says_so_once_and_goes_on() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let calendar = Calendar::of(&database).await;
    queue.send(&[calendar.send(7, 1).to_string()]).await;
    let log = Worker::until_idle(&database, &queue.url, &["--retain-details", "3"]).await;
    assert_eq!(log.matches("MIGRATION_DATABASE_URL").count(), 1, "{log}");
    assert!(log.contains("ses-reports partitions drop"), "{log}");
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail").await, 1);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_retention").await, 0);
    assert_eq!(database.one::<i64>("SELECT sum(sent)::bigint FROM aws_report_daily").await, 1);
}

/// What a command prints, as JSON.
async fn command(database: &Database, arguments: &[&str]) -> Value {
    let ended = partitions_command(database, &[arguments, &["--json"]].concat()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("JSON")
}

async fn partitions_command(database: &Database, arguments: &[&str]) -> Ended {
    // The settings of a worker do not matter here, even wrong ones.
    let settings = [("DATABASE_URL", &*database.url()), ("POLLERS", "many")];
    run(&settings, &[&["partitions"], arguments].concat()).await
}

#[tokio::test]
async fn months_can_be_listed_created_and_dropped_by_hand() {
    let database = Database::migrated().await;
    let calendar = Calendar::of(&database).await;
    for ago in [8, 7] {
        database.execute(&format!("SELECT aws_report_detail_ensure('{}')", calendar.0[ago])).await;
    }
    let created = command(&database, &["create", "--months", "1"]).await;
    assert_eq!(created["created"].as_array().map(Vec::len), Some(2));
    assert_eq!(created["created"][0], calendar.name(0));
    assert_eq!(command(&database, &["create", "--months", "1"]).await, json!({"created": []}));

    let listed = command(&database, &["list"]).await;
    let names: Vec<&Value> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|partition| &partition["partition"])
        .collect();
    assert_eq!(names.len(), 4);
    assert_eq!(*names[0], calendar.partition(8));
    assert_eq!(
        (&listed[0]["month"], &listed[0]["attached"], &listed[0]["expired"]),
        (&json!(calendar.name(8)), &json!(true), &json!(false))
    );
    assert!(listed[0]["bytes"].as_i64() > Some(0));

    let drop = ["drop", "--before", &*calendar.name(7)];
    let would = command(&database, &[&drop[..], &["--dry-run"]].concat()).await;
    assert_eq!(would["dropped"][0]["partition"], calendar.partition(8));
    assert_eq!(partitions(&database).await.len(), 4, "nothing was done");
    let done = command(&database, &drop).await;
    assert_eq!(
        (&done["dropped"], &done["kept_from"]),
        (&would["dropped"], &json!(calendar.name(7)))
    );
    assert_eq!(command(&database, &drop).await["dropped"], json!([]));
    assert_eq!(partitions(&database).await.len(), 3);

    // For people.
    let table = partitions_command(&database, &["list"]).await.stdout;
    assert!(table.contains(&calendar.partition(7)) && table.contains("attached"), "{table}");
    let ended = partitions_command(&database, &["drop", "--before", "2062-01"]).await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);

    // One at a time.
    let retention = begin(&database).await;
    let ended = partitions_command(&database, &drop).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("another process"), "{}", ended.stderr);
    retention.end().await;
}

#[tokio::test]
async fn a_month_that_is_yet_to_come_cannot_be_given_up() {
    let database = Database::migrated().await;
    let next: Date = database
        .one("SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month')::date")
        .await;
    let mut retention = begin(&database).await;
    let error = retention.keep_details_from(next).await.expect_err("it is refused");
    assert!(error.to_string().contains("yet to come"), "{error}");
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_retention").await, 0);
}

#[tokio::test]
async fn a_wrong_clock_drops_nothing() {
    let database = Database::migrated().await;
    let calendar = Calendar::of(&database).await;
    for ago in [9, 4, 3, 0] {
        database.execute(&format!("SELECT aws_report_detail_ensure('{}')", calendar.0[ago])).await;
    }
    database
        .execute("INSERT INTO aws_reports (id, user_email, message_id, send_at) VALUES (gen_random_uuid(), 'x@example.com', 'm', now() - interval '400 days')")
        .await;
    let now: OffsetDateTime = database.one("SELECT now()").await;
    let retain = Retain { details: Some(3), reports: Some(3), dead_letters: None };
    let mut retention = begin(&database).await;
    let stop = CancellationToken::new();
    // A year ahead it would drop what is kept, a year behind keep what is to go: neither is believed.
    for skew in [Duration::days(366), Duration::days(-366), Duration::minutes(65)] {
        let error = retention.apply(retain, now + skew, &stop).await.expect_err("it is refused");
        assert!(matches!(error, Error::Clocks(_)), "{error}");
        assert!(error.to_string().contains("min apart"), "{error}");
    }
    assert_eq!(partitions(&database).await.len(), 4);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_retention").await, 0);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 1);

    // Clocks differ a little, and the month is that of the database.
    retention.apply(retain, now + Duration::minutes(50), &stop).await.expect("it drops");
    assert_eq!(
        partitions(&database).await,
        [3, 0].map(|ago| calendar.partition(ago)),
        "three whole months before the current one"
    );
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 0);
    retention.end().await;
}

#[tokio::test]
async fn old_dead_letters_and_finished_replays_go() {
    let (queue, database) = (Queue::deploy().await, Database::migrated().await);
    database
        .execute(
            "INSERT INTO aws_report_dead_letter (id, body, reason, received_at)
                SELECT gen_random_uuid(), 'jane@example.com', 'not JSON', now() - make_interval(days => n)
                FROM generate_series(1, 40) AS n, generate_series(1, 60);
            INSERT INTO aws_report_replay (id, source, run, started_at, finished_at) VALUES
                (gen_random_uuid(), 'old', gen_random_uuid(), now() - interval '50 days', now() - interval '40 days'),
                (gen_random_uuid(), 'new', gen_random_uuid(), now() - interval '50 days', now() - interval '20 days'),
                (gen_random_uuid(), 'unfinished', gen_random_uuid(), now() - interval '50 days', NULL)",
        )
        .await;
    // One is being retried.
    let mut retry = database.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("SELECT FROM aws_report_dead_letter ORDER BY received_at LIMIT 1 FOR UPDATE")
        .execute(&mut *retry)
        .await
        .expect("it locks");
    let mut worker = start(&database, &queue, &["--retain-dead-letters", "30"]);
    let old = "SELECT count(*) FROM aws_report_dead_letter WHERE received_at < now() - interval '30 days'";
    eventually("they are removed", || async {
        database.one::<i64>(old).await == 1
            && database.one::<i64>("SELECT count(*) FROM aws_report_replay").await == 2
    })
    .await;
    assert!(worker.terminate().await.0.success(), "{}", worker.log());
    assert!(!worker.log().contains("example.com"), "{}", worker.log());
    retry.rollback().await.expect("it ends");
    let left = "SELECT count(*) FROM aws_report_dead_letter WHERE received_at >= now() - interval '30 days'";
    assert!(database.one::<i64>(left).await >= 29 * 60, "what is younger is kept");
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_retention").await, 0);
    let names = "SELECT source FROM aws_report_replay WHERE finished_at IS NULL";
    assert_eq!(database.one::<String>(names).await, "unfinished");
}
