//! What the worker tells an orchestrator and Prometheus.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use sqs_stub::{Settings, Stub};

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{Worker, eventually, run};
use crate::support::queue::Queue;

/// The status and the body of a GET; `None` while nobody listens.
pub async fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[tokio::test]
async fn it_tells_whether_it_works_and_what_it_did() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let address = free_address();
    let mut worker = Worker::start(&database, &queue.url, &["--http-addr", &address]);
    let send = event::send(&message_id(1), &["jane@example.com"]).to_string();
    // As SES sends it to a topic that it is given.
    let validation = "Successfully validated SNS topic for Amazon SES event publishing.";
    queue.send(&[send.clone(), "poison".to_owned(), validation.to_owned()]).await;
    let shows = async |line: &str| {
        let metrics = get(&address, "/metrics").await.map(|(_, body)| body).unwrap_or_default();
        metrics.lines().any(|found| found == line)
    };
    eventually("the message is counted", || shows("ses_reports_details_new_total 1")).await;
    eventually("the deletes are counted", || shows("ses_reports_messages_deleted_total 3")).await;
    assert!(shows("ses_reports_dead_letters_total{reason=\"not JSON\"} 1").await);
    assert!(shows("ses_reports_messages_acknowledged_total{kind=\"topic validation\"} 1").await);
    assert!(shows("ses_reports_messages_held 0").await);
    assert!(shows("ses_reports_queue_seconds_count 3").await);
    assert_eq!(get(&address, "/livez").await.map(|(status, _)| status), Some(200));
    assert_eq!(get(&address, "/readyz").await.map(|(status, _)| status), Some(200));
    assert_eq!(get(&address, "/").await.map(|(status, _)| status), Some(404));

    database.execute("ALTER TABLE aws_reports RENAME TO away").await;
    queue.send(&[event::send(&message_id(2), &["jane@example.com"]).to_string()]).await;
    let waits = || async {
        get(&address, "/readyz").await.is_some_and(|(status, says)| {
            status == 503 && says.starts_with("PostgreSQL does not accept writes: ")
        })
    };
    eventually("it says what it waits for", waits).await;
    assert_eq!(
        get(&address, "/livez").await.map(|(status, _)| status),
        Some(200),
        "a restart would not help"
    );
    database.execute("ALTER TABLE away RENAME TO aws_reports").await;
    eventually("it works again", || async {
        get(&address, "/readyz").await.map(|(status, _)| status) == Some(200)
    })
    .await;
    let (status, _) = worker.terminate().await;
    assert!(status.success(), "{}", worker.log());
}

#[tokio::test]
async fn an_address_that_is_taken_or_wrong_is_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    for (address, says) in [(taken.as_str(), "in use"), ("9090", "not an address with a port")] {
        let holder = std::net::TcpListener::bind(&taken);
        let settings = [
            ("DATABASE_URL", "postgres://u@127.0.0.1:9/d"),
            ("SQS_QUEUE_URL", "http://127.0.0.1:9/1/q"),
            ("HTTP_ADDR", address),
        ];
        let ended = run(&settings, &[]).await;
        drop(holder);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("HTTP_ADDR") && ended.stderr.contains(says),
            "{}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn it_answers_from_the_first_moment_to_the_last() {
    let database = Database::empty().await;
    let stub = Stub::start().await.expect("a port");
    let queue = stub.create_queue("events", Settings::default());
    let (address, url) = (free_address(), database.url());
    let settings =
        [("DATABASE_URL", &*url), ("AWS_ENDPOINT_URL", stub.endpoint()), ("HTTP_ADDR", &*address)];
    // Another migrator is at work.
    let mut migrator = database.pool.acquire().await.expect("a connection");
    sqlx::raw_sql(
        "SELECT pg_advisory_lock(hashtext('ses-reports migrate'), hashtext('aws_reports'))",
    )
    .execute(&mut *migrator)
    .await
    .expect("the lock");
    let mut worker = Worker::start_with(&settings, &queue, &["worker"]);
    let is = async |path: &str, status: u16, says: &str| {
        get(&address, path).await == Some((status, says.to_owned()))
    };
    eventually("it says that it migrates", || is("/readyz", 503, "starting: migrating the schema"))
        .await;
    assert!(is("/livez", 200, "alive\n").await);
    let metrics = get(&address, "/metrics").await.expect("an answer");
    assert_eq!(metrics.0, 200);
    let asked = [("HTTP_ADDR", &*address)];
    let ready = run(&asked, &["health", "--ready"]).await;
    assert_eq!(ready.code, Some(1));
    let line = format!(
        "ses-reports: http://{address}/readyz answers 503: starting: migrating the schema\n"
    );
    assert_eq!(ready.stderr, line);
    drop(migrator.detach());
    eventually("it works", || is("/readyz", 200, "working\n")).await;
    let ready = run(&asked, &["health", "--ready"]).await;
    assert_eq!((ready.code, &*ready.stdout), (Some(0), "working\n"), "{}", ready.stderr);

    // A batch that waits for a lock keeps the drain from its end.
    let mut holder = database.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("LOCK TABLE aws_reports IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *holder)
        .await
        .expect("the lock");
    stub.put("events", [event::send(&message_id(1), &["jane@example.com"]).to_string()]);
    let waits =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'aws_reports'::regclass";
    eventually("a batch waits", || async { database.one::<i64>(waits).await > 0 }).await;
    worker.signal("TERM").await;
    eventually("it drains", || is("/readyz", 503, "draining")).await;
    assert!(is("/livez", 200, "alive\n").await);
    let url = format!("http://{address}");
    let alive = run(&[], &["health", &url]).await;
    assert_eq!((alive.code, &*alive.stdout), (Some(0), "alive\n"), "{}", alive.stderr);
    holder.rollback().await.expect("it ends");
    assert!(worker.wait().await.success(), "{}", worker.log());
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 1);
    let gone = run(&[], &["health", &url]).await;
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr.contains(&url) && gone.stderr.lines().count() == 1, "{}", gone.stderr);
}
