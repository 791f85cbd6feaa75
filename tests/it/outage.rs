//! PostgreSQL that goes away: stopped, failed over, locked. What SQS does is in `faults.rs`.

use std::time::{Duration, Instant};

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{Worker, eventually};
use crate::support::queue::Queue;
use crate::support::server::PostgreSql;

const MESSAGES: u64 = 6_000;
const OUTAGE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_worker_outlives_postgresql_being_stopped_for_30_seconds() {
    let server = PostgreSql::start().await;
    let (queue, database) = (Queue::in_memory().await, Database::migrated_on(&server.url()).await);
    let bodies: Vec<String> = (0..MESSAGES)
        .map(|number| {
            event::send(&message_id(number), &[format!("p{number}@example.com").as_str()])
                .to_string()
        })
        .collect();
    queue.send(&bodies).await;
    let mut worker = Worker::start(
        &database,
        &queue.url,
        &["--visibility-timeout", "10", "--exit-when-idle", "13"],
    );
    eventually("a part of the messages is written", || async {
        database.one::<i64>("SELECT count(*) FROM aws_report_detail").await > 500
    })
    .await;

    server.stop().await;
    eventually("the worker stops receiving", || async { worker.log().contains("not receiving") })
        .await;
    // Open long polls may still bring something; then the numbers stand still.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let at_rest = queue.counts().await;
    let until = Instant::now() + OUTAGE;
    while Instant::now() < until {
        assert!(worker.is_running(), "{}", worker.log());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Three times their visibility timeout: what was held would be visible again.
    assert_eq!(
        queue.counts().await,
        at_rest,
        "nothing is received or given back while PostgreSQL is away, and what is held stays hidden"
    );
    assert!(at_rest.0 > 0, "the outage came in the middle");
    server.start_again().await;

    assert!(worker.wait().await.success(), "{}", worker.log());
    let written = i64::try_from(MESSAGES).expect("few");
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail").await, written);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, written);
    assert_eq!(queue.counts().await, (0, 0));
    assert_eq!(
        queue.counts_of(&queue.dead_letter_url).await,
        (0, 0),
        "no message reached the redrive limit"
    );
}

#[tokio::test]
async fn the_worker_outlives_a_failover_to_a_read_only_server() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    // As after a failover: sessions that are open stay read-only, new ones need not be.
    let read_only =
        |sql: &str| format!("BEGIN READ WRITE; ALTER DATABASE {} {sql}; COMMIT", database.name);
    database.execute(&read_only("SET default_transaction_read_only = on")).await;
    queue.send(&[event::send(&message_id(1), &["jane@example.com"]).to_string()]).await;
    let arguments = ["--exit-when-idle", "1"];
    let mut worker = Worker::start(&database, &queue.url, &arguments);
    eventually("the write is refused", || async { worker.log().contains("25006") }).await;
    database.execute(&read_only("RESET default_transaction_read_only")).await;
    assert!(worker.wait().await.success(), "{}", worker.log());
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 1);
}

#[tokio::test]
async fn writes_that_are_given_up_do_not_pile_up_in_postgresql() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let lock = database.lock_reports().await;
    queue.send(&[event::send(&message_id(1), &["jane@example.com"]).to_string()]).await;
    let arguments = ["--database-timeout", "1", "--exit-when-idle", "1"];
    let mut worker = Worker::start(&database, &queue.url, &arguments);
    eventually("some writes are given up", || async {
        worker.log().matches("does not accept writes").count() >= 5
    })
    .await;
    eventually("the holder of the lock is named", || async {
        worker.log().contains("every message waits for a lock that another session holds: process")
    })
    .await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    assert!(database.one::<i64>(waiting).await <= 2, "one a writer at most");
    lock.rollback().await.expect("the lock is given back");
    assert!(worker.wait().await.success(), "{}", worker.log());
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 1);
}
