//! Services that go away: PostgreSQL stopped, SQS that refuses, a server that never answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{self, Worker, eventually};
use crate::support::queue::Queue;
use crate::support::server::PostgreSql;

const MESSAGES: u64 = 6_000;
const OUTAGE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_worker_outlives_postgresql_being_stopped_for_30_seconds() {
    let server = PostgreSql::start().await;
    let (queue, database) = (Queue::deploy().await, Database::on(&server.url()).await);
    process::migrate(&database.url()).await;
    let bodies: Vec<String> = (0..MESSAGES)
        .map(|number| {
            event::send(&message_id(number), &[format!("p{number}@example.com").as_str()])
                .to_string()
        })
        .collect();
    queue.send(&bodies).await;
    let mut worker = Worker::start(&database.url(), &queue.url, &["--exit-when-idle", "8"]);
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

/// Answers every request with a refusal, and counts them.
async fn refusing_sqs(first_answers: u32) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let requests = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut request = vec![0; 65_536];
                while let Ok(1..) = stream.read(&mut request).await {
                    let number = counted.fetch_add(1, Ordering::SeqCst);
                    let (status, body) = if number < first_answers {
                        ("200 OK", r#"{"Attributes":{"RedrivePolicy":"{}"}}"#)
                    } else {
                        (
                            "403 Forbidden",
                            r#"{"__type":"com.amazonaws.sqs#AccessDeniedException","message":"no identity-based policy allows it"}"#,
                        )
                    };
                    let answer = format!(
                        "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, requests)
}

#[tokio::test]
async fn a_queue_that_refuses_is_not_asked_hotly() {
    let database = Database::migrated().await;
    let (endpoint, requests) = refusing_sqs(1).await;
    let queue_url = format!("{endpoint}/123456789012/q");
    let settings = [
        ("DATABASE_URL", &*database.url()),
        ("SQS_QUEUE_URL", &queue_url),
        ("AWS_ENDPOINT_URL", &endpoint),
    ];
    let mut worker =
        process::ses_reports(&settings, &["--pollers", "16"]).spawn().expect("it starts");
    eventually("the first refusals", || async { requests.load(Ordering::SeqCst) > 2 }).await;
    let before = requests.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let more = requests.load(Ordering::SeqCst) - before;
    assert!(more <= 6, "{more} requests in 6 s");
    assert!(worker.try_wait().expect("it can be asked").is_none(), "it goes on");
}

#[tokio::test]
async fn a_queue_that_refuses_from_the_start_is_a_clear_line() {
    let database = Database::migrated().await;
    let (endpoint, _) = refusing_sqs(0).await;
    let queue_url = format!("{endpoint}/123456789012/q");
    let settings = [
        ("DATABASE_URL", &*database.url()),
        ("SQS_QUEUE_URL", &queue_url),
        ("AWS_ENDPOINT_URL", &endpoint),
    ];
    let ended = process::run(&settings, &[]).await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("AccessDenied"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let database = Database::migrated().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            silent.push(stream);
        }
    });
    let queue_url = format!("{endpoint}/123456789012/q");
    let settings = [
        ("DATABASE_URL", &*database.url()),
        ("SQS_QUEUE_URL", &queue_url),
        ("AWS_ENDPOINT_URL", &endpoint),
    ];
    let ended = process::run(&settings, &[]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("SQS_QUEUE_URL"), "{}", ended.stderr);
}
