//! Migrators at once, killed, and beside a worker that goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::http::{free_address, get};
use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::migrations::{Files, expect, newest};
use crate::support::process::{self, Worker, eventually, ses_reports};
use crate::support::queue::Queue;
use crate::support::server::schema_of;

#[tokio::test]
async fn ten_at_once_apply_everything_once() {
    for _ in 0..20 {
        let database = Database::empty().await;
        let url = database.url();
        let mut migrators = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let url = url.clone();
            migrators.spawn(async move { process::migrate(&url).await });
        }
        let said: Vec<String> =
            migrators.join_all().await.into_iter().map(|ended| ended.stdout).collect();
        for migration in ses_reports::schema::EMBEDDED {
            let line = format!("applied {} ", migration.stem);
            let times = said.iter().filter(|said| said.contains(&line)).count();
            assert_eq!(times, 1, "{line}: {said:?}");
        }
        assert_eq!(
            database.one::<i64>("SELECT count(*) FROM refinery_schema_history").await,
            i64::try_from(newest()).expect("small")
        );
    }
}

/// A database at the version before the indexes, with rows, so that building them takes its time.
async fn half_way() -> Database {
    let database = Database::empty().await;
    expect(&database, 0, &["up", "--to", "6"]).await;
    database
        .execute("SELECT aws_report_detail_ensure(month::date) FROM generate_series(date '2026-01-01', date '2026-12-01', interval '1 month') AS month;
            INSERT INTO aws_reports (id, message_id, user_email, user_id, send_at) SELECT gen_random_uuid(), 'm' || n, 'jane@example.com', n::text, timestamptz '2026-01-01 00:00+00' + n * interval '1 hour' FROM generate_series(1, 5000) AS n")
        .await;
    database
}

#[tokio::test]
async fn killed_at_any_moment_the_next_run_completes() {
    // What an undisturbed run makes, from nothing and from half way.
    let undisturbed = [Database::empty().await, half_way().await];
    let mut expected = Vec::new();
    for database in &undisturbed {
        expect(database, 0, &["up"]).await;
        expect(database, 0, &["verify"]).await;
        expected.push(schema_of(&database.url()).await);
    }
    let mut random = fastrand::Rng::with_seed(50);
    let mut interrupted = 0;
    for round in 0..50 {
        let from = round % 2;
        let database = if from == 0 { Database::empty().await } else { half_way().await };
        let mut killed = ses_reports(&[("DATABASE_URL", &*database.url())], &["migrate", "up"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        // Any moment will do: which one is what the test is about.
        tokio::time::sleep(Duration::from_millis(random.u64(0..500))).await;
        killed.kill().await.expect("it is killed");
        let next = expect(&database, 0, &["up"]).await;
        interrupted += usize::from(next.stdout.contains("applied"));
        // What `verify` would say, at a tenth of its time.
        assert_eq!(schema_of(&database.url()).await, expected[from], "round {round}");
        let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
        assert_eq!(database.one::<i64>(invalid).await, 0, "round {round}");
        if round % 10 == from {
            expect(&database, 0, &["verify"]).await;
        }
    }
    assert!(interrupted > 10, "only {interrupted} were killed in time");
}

#[tokio::test]
async fn a_worker_goes_on_while_a_column_is_added_and_an_index_built() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let files = Files::new();
    files.add(
        "tenant",
        "-- Purpose: a test.\nALTER TABLE aws_reports ADD COLUMN tenant text;",
        "ALTER TABLE aws_reports DROP COLUMN tenant;",
    );
    files.add(
        "by_subject",
        "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS aws_reports_subject ON aws_reports (subject);",
        "-- migrate: no-transaction\nDROP INDEX CONCURRENTLY IF EXISTS aws_reports_subject;",
    );
    // Messages keep coming, so that there is something to write all the time.
    let (sent, enough) = (AtomicU64::new(0), CancellationToken::new());
    let feed = async {
        while !enough.is_cancelled() {
            let first = sent.fetch_add(50, Ordering::AcqRel);
            let bodies = (first..first + 50)
                .map(|number| event::send(&message_id(number), &["jane@example.com"]).to_string());
            queue.send(&bodies.collect::<Vec<_>>()).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let address = free_address();
    let mut worker =
        Worker::start(&database, &queue.url, &["--http-addr", &address, "--batch-rows", "100"]);
    let reports = || async { database.one::<i64>("SELECT count(*) FROM aws_reports").await };
    let migrate = async {
        eventually("it is at work", || async { reports().await > 500 }).await;
        let before = reports().await;
        let applied = expect(&database, 0, &["up", "--migrations", files.path()]).await;
        assert!(applied.stdout.contains("__by_subject"), "{}", applied.stdout);
        let after = reports().await;
        assert!(before < after, "{before}, {after}");
        eventually("it goes on", || async { reports().await > after + 500 }).await;
        enough.cancel();
    };
    tokio::join!(feed, migrate);

    // A reader that does not end keeps the next one out, and nobody else for long.
    files.add(
        "region",
        "-- Purpose: a test.\nALTER TABLE aws_reports ADD COLUMN region text;",
        "ALTER TABLE aws_reports DROP COLUMN region;",
    );
    let mut reader = database.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("SELECT count(*) FROM aws_reports")
        .execute(&mut *reader)
        .await
        .expect("it reads");
    let metrics = get(&address, "/metrics").await.expect("metrics").1;
    expect(&database, 6, &["up", "--migrations", files.path()]).await;
    reader.rollback().await.expect("it ends");
    eventually("all is written", || async { queue.counts().await == (0, 0) }).await;
    assert!(worker.terminate().await.0.success(), "{}", worker.log());

    let value = |line: &str| -> u64 {
        let found = metrics.lines().find_map(|known| known.strip_prefix(line));
        found
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("{line}: {metrics}"))
    };
    let quick = value("ses_reports_commit_seconds_bucket{le=\"2\"}");
    let all = value("ses_reports_commit_seconds_count");
    assert!(all > 10 && quick == all, "{all} commits, {quick} within 2 s");
    let rows = database
        .rows("SELECT (SELECT count(*) FROM aws_reports) AS reports, (SELECT count(*) FROM aws_report_dead_letter) AS dead_letters")
        .await;
    assert_eq!(rows, [json!({"reports": sent.into_inner(), "dead_letters": 0})]);
}
