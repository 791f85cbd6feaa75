//! Signals and crashes in the middle of the work: nothing lost, nothing doubled.

use std::time::Duration;

use crate::stream::MISMATCHED;
use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{Worker, eventually};
use crate::support::queue::Queue;

/// Sends so many messages: a send and a delivery of each mail, in SNS.
async fn fill(queue: &Queue, messages: u64) {
    let bodies: Vec<String> = (0..messages / 2)
        .flat_map(|number| {
            let (id, address) = (message_id(number), format!("p{number}@example.com"));
            let destination = [address.as_str()];
            [
                event::in_sns(&event::send(&id, &destination), &format!("s{number}")),
                event::in_sns(
                    &event::delivery(&id, &destination, &destination),
                    &format!("d{number}"),
                ),
            ]
        })
        .collect();
    queue.send(&bodies).await;
}

async fn some_are_written(database: &Database) {
    eventually("a part of the messages is written", || async {
        database.one::<i64>("SELECT count(*) FROM aws_report_detail").await > 2_000
    })
    .await;
}

/// Every mail has one report, which was sent and delivered once, and the queue is empty.
async fn assert_exactly_right(database: &Database, queue: &Queue, messages: u64) {
    let mails = i64::try_from(messages / 2).expect("few");
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail").await, 2 * mails);
    assert_eq!(
        database.one::<i64>("SELECT count(*) FROM aws_reports WHERE send_at IS NOT NULL AND delivery_at IS NOT NULL").await,
        mails
    );
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, mails);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_dead_letter").await, 0);
    assert_eq!(database.rows(MISMATCHED).await.len(), 0);
    assert_eq!(queue.counts().await, (0, 0));
    assert_eq!(queue.counts_of(&queue.dead_letter_url).await, (0, 0));
}

#[tokio::test]
async fn after_sigterm_a_second_worker_finishes() {
    let (queue, database) = (Queue::deploy().await, Database::migrated().await);
    let messages = 6_000;
    fill(&queue, messages).await;
    let mut worker = Worker::start(&database, &queue.url, &[]);
    some_are_written(&database).await;
    let (status, took) = worker.terminate().await;
    assert!(status.success(), "{}", worker.log());
    assert!(took < Duration::from_secs(25), "it took {took:?}:\n{}", worker.log());
    let (visible, _) = queue.counts().await;
    assert!(visible > 0, "it was stopped in the middle");
    Worker::until_idle_for("7", &database, &queue.url, &[]).await;
    assert_exactly_right(&database, &queue, messages).await;
}

#[tokio::test]
async fn after_kill_9_a_second_worker_finishes() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let messages = 20_000;
    fill(&queue, messages).await;
    let mut worker = Worker::start(&database, &queue.url, &[]);
    some_are_written(&database).await;
    worker.signal("KILL").await;
    assert!(!worker.wait().await.success());
    let (visible, hidden) = queue.counts().await;
    assert!(visible > 0 && hidden > 0, "it died with messages in its hands");
    // Longer than the messages stay hidden.
    Worker::until_idle_for("8", &database, &queue.url, &[]).await;
    assert_exactly_right(&database, &queue, messages).await;
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    // A lock that nobody gives back makes the write, and so the drain, last.
    let _lock = database.lock_reports().await;
    queue.send(&[event::send(&message_id(1), &["jane@example.com"]).to_string()]).await;
    let mut worker = Worker::start(&database, &queue.url, &[]);
    eventually("the write waits for the lock", || async {
        database.one::<i64>("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").await > 0
    })
    .await;
    worker.signal("TERM").await;
    eventually("the worker drains", || async { worker.log().contains("draining") }).await;
    assert!(worker.is_running());
    let (status, took) = worker.terminate().await;
    assert_eq!(status.code(), Some(1));
    assert!(took < Duration::from_secs(5), "it took {took:?}");
}

#[tokio::test]
async fn what_cannot_be_written_before_the_deadline_is_given_back() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let _lock = database.lock_reports().await;
    // More than the worker takes in while nothing can be written.
    let bodies: Vec<String> = (0..2_000)
        .map(|number| event::send(&message_id(number), &["jane@example.com"]).to_string())
        .collect();
    queue.send(&bodies).await;
    let mut worker = Worker::start(
        &database,
        &queue.url,
        &["--visibility-timeout", "3600", "--max-in-flight", "600"],
    );
    eventually("the worker is full", || async {
        let before = queue.counts().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        before.1 > 100 && queue.counts().await == before
    })
    .await;
    let (_, held) = queue.counts().await;
    assert!(held <= 600, "the budget bounds what is held: {held}");
    let (status, took) = worker.terminate().await;
    assert!(status.success(), "{}", worker.log());
    assert!(took < Duration::from_secs(25), "it took {took:?}");
    let (visible, hidden) = queue.counts().await;
    assert_eq!(hidden, 0, "an hour before the visibility timeout ends:\n{}", worker.log());
    assert!(visible >= 2_000, "nothing was deleted before it was written");
}
