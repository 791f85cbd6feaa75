//! Long changes of many rows: in batches, resumed where they were interrupted, each row once.

use serde_json::Value;

use crate::support::database::Database;
use crate::support::process::{Worker, eventually, run};
use crate::support::queue::Queue;

/// A backfill as a migration would ask for it: adds an x to each subject.
const ASKED_FOR: &str = "
    CREATE FUNCTION aws_report_backfill_mark(from_position text, batch integer, OUT next_position text, OUT rows_done bigint)
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
        WITH batch AS (
            SELECT id FROM aws_reports WHERE id > coalesce(from_position, '00000000-0000-0000-0000-000000000000')::uuid
            ORDER BY id LIMIT batch
        ), done AS (
            UPDATE aws_reports SET subject = subject || 'x' FROM batch WHERE batch.id = aws_reports.id RETURNING aws_reports.id
        )
        SELECT CASE WHEN count(*) = batch THEN (array_agg(id ORDER BY id DESC))[1]::text END, count(*) FROM done
    $$;
    INSERT INTO aws_report_backfill (name) VALUES ('mark')";

async fn status(database: &Database) -> Value {
    let settings = [("DATABASE_URL", &*database.url())];
    let ended = run(&settings, &["migrate", "status", "--json"]).await;
    serde_json::from_str(&ended.stdout).expect("JSON")
}

#[tokio::test]
async fn a_backfill_goes_on_where_a_killed_worker_left_it() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    database
        .execute("INSERT INTO aws_reports (id, message_id, user_email, subject) SELECT gen_random_uuid(), 'm' || n, 'jane@example.com', 's' FROM generate_series(1, 40000) AS n")
        .await;
    database.execute(&format!("SET search_path = aws_reports, pg_temp; {ASKED_FOR}")).await;
    database.execute("SET search_path = aws_reports").await;
    let worker = Worker::start(&database, &queue.url, &[]);
    eventually("it has begun", || {
        database.one("SELECT rows_done > 0 FROM aws_report_backfill WHERE name = 'mark'")
    })
    .await;
    worker.signal("KILL").await;
    drop(worker);
    let begun = status(&database).await;
    assert_eq!(begun["backfills"][0]["name"], "mark");

    let mut workers = [(); 2].map(|()| Worker::start(&database, &queue.url, &[]));
    eventually("it is finished", || {
        database.one("SELECT finished_at IS NOT NULL FROM aws_report_backfill WHERE name = 'mark'")
    })
    .await;
    for worker in &mut workers {
        assert!(worker.terminate().await.0.success(), "{}", worker.log());
    }
    assert_eq!(
        database.one::<i64>("SELECT count(*) FROM aws_reports WHERE subject = 'sx'").await,
        40_000,
        "each row once"
    );
    let done = status(&database).await;
    assert_eq!(done["backfills"][0]["rows_done"], 40_000);
    assert_eq!(done["backfills"][0]["finished"], true);
}

#[tokio::test]
async fn a_backfill_that_fails_says_why_and_stops_nobody() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let fails = ASKED_FOR.replace("subject || 'x'", "repeat('x', 999)");
    database.execute(&format!("SET search_path = aws_reports, pg_temp; {fails}")).await;
    database
        .execute("INSERT INTO aws_reports.aws_reports (id, message_id, user_email) VALUES (gen_random_uuid(), 'm', 'jane@example.com')")
        .await;
    let log = Worker::until_idle(&database, &queue.url, &[]).await;
    assert!(log.contains("backfill mark") && log.contains("could not backfill"), "{log}");
    let told = status(&database).await;
    assert_eq!(told["backfills"][0]["last_error"], "SQLSTATE 22001");
}

#[tokio::test]
async fn a_batch_that_takes_too_long_is_made_smaller() {
    let (queue, database) = (Queue::deploy().await, Database::migrated().await);
    // 0.4 ms a row: 5,000 rows need 2 s, more than there is; 2,500 need 1 s, and 1,250 half of one.
    let slow = ASKED_FOR.replace("AS $$", "AS $$ SELECT pg_sleep(batch * 0.0004);");
    database
        .execute("INSERT INTO aws_reports (id, message_id, user_email, subject) SELECT gen_random_uuid(), 'm' || n, 'jane@example.com', 's' FROM generate_series(1, 3000) AS n")
        .await;
    database.execute(&format!("SET search_path = aws_reports, pg_temp; {slow}")).await;
    database.execute("SET search_path = aws_reports").await;
    let mut worker = Worker::start(&database, &queue.url, &["--database-timeout", "1"]);
    eventually("it is finished", || {
        database.one("SELECT finished_at IS NOT NULL FROM aws_report_backfill WHERE name = 'mark'")
    })
    .await;
    assert!(worker.terminate().await.0.success(), "{}", worker.log());
    assert!(worker.log().contains("the next is half as big"), "{}", worker.log());
    let once = "SELECT count(*) FROM aws_reports WHERE subject = 'sx'";
    assert_eq!(database.one::<i64>(once).await, 3_000, "each row once");
}
