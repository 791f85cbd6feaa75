//! Services that go away: PostgreSQL stopped, SQS that refuses, a server that never answers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{self, Worker, eventually};
use crate::support::queue::Queue;
use crate::support::server::PostgreSql;
use crate::support::stub::{Answer, Stub};

const MESSAGES: u64 = 6_000;
const OUTAGE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_worker_outlives_postgresql_being_stopped_for_30_seconds() {
    let server = PostgreSql::start().await;
    let (queue, database) = (Queue::deploy().await, Database::migrated_on(&server.url()).await);
    let bodies: Vec<String> = (0..MESSAGES)
        .map(|number| {
            event::send(&message_id(number), &[format!("p{number}@example.com").as_str()])
                .to_string()
        })
        .collect();
    queue.send(&bodies).await;
    let mut worker = Worker::start(&database, &queue.url, &["--exit-when-idle", "8"]);
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
    assert_eq!(
        queue.counts().await,
        at_rest,
        "nothing is received or given back while PostgreSQL is away"
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
    // Held messages stayed hidden, six times their visibility timeout: none came a second time.
    assert!(worker.log().contains("(0 not for the first time)"), "{}", worker.log());
}

#[tokio::test]
async fn the_worker_outlives_a_failover_to_a_read_only_server() {
    let (queue, database) = (Queue::deploy().await, Database::migrated().await);
    // As after a failover: sessions that are open stay read-only, new ones need not be.
    let read_only =
        |sql: &str| format!("BEGIN READ WRITE; ALTER DATABASE {} {sql}; COMMIT", database.name);
    database.execute(&read_only("SET default_transaction_read_only = on")).await;
    queue.send(&[event::send(&message_id(1), &["jane@example.com"]).to_string()]).await;
    let arguments = ["--exit-when-idle", "3"];
    let mut worker = Worker::start(&database, &queue.url, &arguments);
    eventually("the write is refused", || async { worker.log().contains("25006") }).await;
    database.execute(&read_only("RESET default_transaction_read_only")).await;
    assert!(worker.wait().await.success(), "{}", worker.log());
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 1);
}

#[tokio::test]
async fn writes_that_are_given_up_do_not_pile_up_in_postgresql() {
    let (queue, database) = (Queue::deploy().await, Database::migrated().await);
    let lock = database.lock_reports().await;
    queue.send(&[event::send(&message_id(1), &["jane@example.com"]).to_string()]).await;
    let arguments = ["--database-timeout", "1", "--exit-when-idle", "3"];
    let mut worker = Worker::start(&database, &queue.url, &arguments);
    eventually("some writes are given up", || async {
        worker.log().matches("could not write").count() >= 5
    })
    .await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    assert!(database.one::<i64>(waiting).await <= 2, "one a writer at most");
    lock.rollback().await.expect("the lock is given back");
    assert!(worker.wait().await.success(), "{}", worker.log());
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 1);
}

/// A worker on a scripted queue.
fn worker(database: &Database, stub: &Stub, arguments: &[&str]) -> tokio::process::Command {
    let settings = [
        ("DATABASE_URL", &*database.url_of("worker")),
        ("NO_MIGRATE", "true"),
        ("SQS_QUEUE_URL", &*stub.queue_url()),
        ("AWS_ENDPOINT_URL", &*stub.endpoint),
    ];
    process::ses_reports(&settings, arguments)
}

fn attributes() -> Answer {
    Answer::Ok(json!({"Attributes": {"RedrivePolicy": "{}"}}))
}

/// A receive that brings one mail each for the numbers.
fn messages(numbers: std::ops::Range<u64>) -> Answer {
    let message = |number| {
        let body = event::send(&message_id(number), &["jane@example.com"]).to_string();
        json!({"MessageId": format!("m-{number}"), "ReceiptHandle": format!("h-{number}"), "Body": body, "MD5OfBody": ""})
    };
    Answer::Ok(json!({"Messages": numbers.map(message).collect::<Vec<_>>()}))
}

/// The receipt handles of a batch call.
fn handles(call: &Value) -> Vec<&str> {
    let entries = call["Entries"].as_array().expect("entries");
    entries.iter().map(|entry| entry["ReceiptHandle"].as_str().expect("a handle")).collect()
}

#[tokio::test]
async fn a_queue_that_refuses_is_not_asked_hotly() {
    let database = Database::migrated().await;
    let stub = Stub::start(|action, _, _| match action {
        "GetQueueAttributes" => attributes(),
        _ => Answer::Error(403, "AccessDeniedException"),
    })
    .await;
    let mut worker = worker(&database, &stub, &["--pollers", "16"]).spawn().expect("it starts");
    let receives = || stub.calls("ReceiveMessage").len();
    eventually("the first refusals", || async { receives() > 2 }).await;
    let before = receives();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let more = receives() - before;
    assert!(more <= 6, "{more} requests in 6 s");
    assert!(worker.try_wait().expect("it can be asked").is_none(), "it goes on");
}

#[tokio::test]
async fn a_queue_that_refuses_from_the_start_is_a_clear_line() {
    let database = Database::migrated().await;
    let stub = Stub::start(|_, _, _| Answer::Error(403, "AccessDeniedException")).await;
    let ended = worker(&database, &stub, &[]).output().await.expect("it ends");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("SQS_QUEUE_URL: AccessDeniedException"), "{stderr}");
}

#[tokio::test]
async fn entries_that_sqs_does_not_delete_are_asked_for_again() {
    let database = Database::migrated().await;
    let failed = |id: &str, code: &str| json!({"Id": id, "Code": code, "SenderFault": false});
    let stub = Stub::start(move |action, call, before| match (action, before) {
        ("GetQueueAttributes", _) => attributes(),
        ("ReceiveMessage", 0) => messages(0..5),
        ("DeleteMessageBatch", 0) => Answer::Error(500, "InternalFailure"),
        // The second entry may be deleted later, the fourth never again.
        ("DeleteMessageBatch", _) if call["Entries"].as_array().is_some_and(|entries| entries.len() == 5) => {
            Answer::Ok(json!({"Successful": [], "Failed": [failed("1", "InternalError"), failed("3", "ReceiptHandleIsInvalid")]}))
        }
        _ => Answer::Ok(json!({})),
    })
    .await;
    let ended = worker(&database, &stub, &["--exit-when-idle", "3", "--pollers", "1"])
        .output()
        .await
        .expect("it ends");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{stderr}");
    let deletes = stub.calls("DeleteMessageBatch");
    let all = ["h-0", "h-1", "h-2", "h-3", "h-4"];
    assert_eq!(deletes.iter().map(handles).collect::<Vec<_>>(), [&all[..], &all, &["h-1"]]);
    assert!(stderr.contains("deleted 4, 1 not"), "{stderr}");
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 5);
}

#[tokio::test]
async fn a_queue_that_refuses_deletes_is_not_received_from() {
    let database = Database::migrated().await;
    let stub = Stub::start(|action, _, before| match action {
        "GetQueueAttributes" => attributes(),
        "ReceiveMessage" => messages(
            u64::try_from(before).expect("few") * 10..u64::try_from(before).expect("few") * 10 + 10,
        ),
        "DeleteMessageBatch" => Answer::Error(403, "AccessDeniedException"),
        _ => Answer::Ok(json!({})),
    })
    .await;
    let mut worker = worker(&database, &stub, &[]).spawn().expect("it starts");
    eventually("the deletes are refused", || async { stub.calls("DeleteMessageBatch").len() > 1 })
        .await;
    let before = stub.calls("ReceiveMessage").len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let more = stub.calls("ReceiveMessage").len() - before;
    assert!(more <= 4, "{more} receives by 4 pollers that were under way");
    assert!(worker.try_wait().expect("it can be asked").is_none(), "it goes on");
}

#[tokio::test]
async fn a_receive_that_is_never_answered_is_given_up() {
    let database = Database::migrated().await;
    let stub = Stub::start(|action, _, before| match (action, before) {
        ("GetQueueAttributes", _) => attributes(),
        ("ReceiveMessage", 0) => Answer::Silence,
        ("ReceiveMessage", 1) => messages(0..1),
        _ => Answer::Ok(json!({})),
    })
    .await;
    let arguments = ["--exit-when-idle", "14", "--pollers", "1"];
    let ended = worker(&database, &stub, &arguments).output().await.expect("it ends");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 1);
    assert_eq!(stub.calls("DeleteMessageBatch").len(), 1);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let database = Database::migrated().await;
    let stub = Stub::start(|_, _, _| Answer::Silence).await;
    let ended = worker(&database, &stub, &[]).output().await.expect("it ends");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("SQS_QUEUE_URL: "), "{stderr}");
}
