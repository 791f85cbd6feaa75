//! Behind a real `PgBouncer` in transaction mode.

use std::cell::Cell;

use crate::http::{free_address, get};
use crate::stream::MISMATCHED;
use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::generate;
use crate::support::pooler::PgBouncer;
use crate::support::process::{Worker, eventually, run};
use crate::support::queue::Queue;

const UNREACHABLE_QUEUE: &str = "http://127.0.0.1:9/1/q";

fn sends(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers
        .map(|number| event::send(&message_id(number), &["jane@example.com"]).to_string())
        .collect()
}

#[tokio::test]
async fn workers_share_fewer_sessions_than_they_have_writers() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let pooler = PgBouncer::start(&database.url_of("worker"), 2).await;
    let mut bodies = generate::stream(22, 3_000);
    let mut random = fastrand::Rng::with_seed(22);
    bodies.extend_from_within(..600);
    random.shuffle(&mut bodies);
    queue.send(&bodies).await;
    let settings = [
        ("DATABASE_URL", pooler.url()),
        ("NO_MIGRATE", "true"),
        ("PREPARED_STATEMENTS", "false"),
        ("EXIT_WHEN_IDLE", "3"),
    ];
    let start = |writers| {
        let arguments = ["--writers", writers, "--batch-rows", "100"];
        Worker::start_with(&settings, &queue.url, &arguments).ends_well()
    };
    let (first, second) = tokio::join!(start("2"), start("3"));
    for log in [first, second] {
        assert!(!log.contains("could not"), "{log}");
        assert!(!log.contains("received 0 messages"), "both had work:\n{log}");
    }
    let sessions = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'",
        database.role("worker")
    );
    // A session that a worker left in the middle of a transaction is closed by the pooler.
    assert!(database.one::<i64>(&sessions).await <= 2);
    assert_eq!(queue.counts().await, (0, 0));
    assert_eq!(queue.counts_of(&queue.dead_letter_url).await, (0, 0));
    assert_eq!(database.rows(MISMATCHED).await.len(), 0);
    assert!(database.one::<i64>("SELECT count(*) FROM aws_reports").await > 1_000);
    assert!(database.one::<i64>("SELECT count(*) FROM aws_report_dead_letter").await > 0);
    let refused = "SELECT count(*) FROM aws_report_dead_letter WHERE reason LIKE 'refused%'";
    assert_eq!(database.one::<i64>(refused).await, 0, "no message was blamed");
}

#[tokio::test]
async fn a_worker_that_loses_its_prepared_statements_says_what_to_set() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    // One session: the statements of one writer meet those of the other.
    let pooler = PgBouncer::start(&database.url_of("worker"), 1).await;
    queue.send(&sends(0..500)).await;
    let address = free_address();
    let settings = [("DATABASE_URL", pooler.url()), ("NO_MIGRATE", "true")];
    let arguments = ["--batch-rows", "10", "--http-addr", &address];
    let mut worker = Worker::start_with(&settings, &queue.url, &arguments);
    let says = "set PREPARED_STATEMENTS=false";
    eventually("the log says what to set", || async { worker.log().contains(says) }).await;
    // While the writers have work, they meet each other's statements again and again.
    let sent = Cell::new(500);
    eventually("so does /readyz", || async {
        let more = sent.get()..sent.get() + 20;
        sent.set(more.end);
        queue.send(&sends(more)).await;
        get(&address, "/readyz").await.is_some_and(|(code, why)| code == 503 && why.contains(says))
    })
    .await;
    worker.signal("KILL").await;
    worker.wait().await;

    let settings = [settings[0], settings[1], ("PREPARED_STATEMENTS", "false")];
    // Longer than the messages of the first stay hidden.
    let arguments = ["--exit-when-idle", "8"];
    let log = Worker::start_with(&settings, &queue.url, &arguments).ends_well().await;
    assert!(!log.contains("could not"), "{log}");
    let written = database.one::<i64>("SELECT count(*) FROM aws_reports").await;
    assert_eq!(written.cast_unsigned(), sent.get());
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_dead_letter").await, 0);
}

#[tokio::test]
async fn migrations_through_a_pooler_are_refused_in_one_line() {
    let database = Database::empty().await;
    let pooler = PgBouncer::start(&database.url(), 2).await;
    let settings = [("DATABASE_URL", pooler.url()), ("SQS_QUEUE_URL", UNREACHABLE_QUEUE)];
    for arguments in [&["--migrate-only"][..], &[]] {
        let ended = run(&settings, arguments).await;
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("MIGRATION_DATABASE_URL"), "{}", ended.stderr);
    }
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'aws_reports'";
    assert_eq!(database.one::<i64>(schemas).await, 0, "nothing is changed");
    // Reading is no change: the version is compared through the pooler.
    let ended = run(&settings, &["--no-migrate"]).await;
    assert!(ended.stderr.contains("is at version 0"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_pooler_that_hides_itself_is_found_out() {
    let database = Database::empty().await;
    let migrate = async |more: &str| {
        let pooler = PgBouncer::start_with(&database.url(), 2, more).await;
        run(&[("DATABASE_URL", pooler.url())], &["migrate", "up"]).await
    };
    let dropped = migrate("ignore_startup_parameters = options\n").await;
    assert_eq!(dropped.code, Some(2), "{}", dropped.stderr);
    assert!(dropped.stderr.contains("MIGRATION_DATABASE_URL"), "{}", dropped.stderr);
    // Even where the session looks as it was asked for.
    database
        .execute(&format!(
            "ALTER DATABASE {0} SET lock_timeout = '2s';
            SELECT set_config('search_path', '\"aws_reports\",pg_temp', false);
            ALTER DATABASE {0} SET search_path FROM CURRENT",
            database.name
        ))
        .await;
    let looks_right = migrate("ignore_startup_parameters = options\n").await;
    assert_eq!(looks_right.code, Some(2), "{}", looks_right.stderr);
    assert!(looks_right.stderr.contains("a different session"), "{}", looks_right.stderr);
    assert!(database.one::<bool>("SELECT to_regnamespace('aws_reports') IS NULL").await);
    // One that gives each client a session of its own is as good as none.
    let by_session = migrate("ignore_startup_parameters = options\npool_mode = session\n").await;
    assert_eq!(by_session.code, Some(0), "{}", by_session.stderr);
}

#[tokio::test]
async fn a_worker_migrates_past_the_pooler_that_it_writes_through() {
    let (queue, database) = (Queue::in_memory().await, Database::empty().await);
    let pooler = PgBouncer::start(&database.url(), 2).await;
    queue.send(&sends(0..20)).await;
    let settings = [
        ("DATABASE_URL", pooler.url()),
        ("MIGRATION_DATABASE_URL", &database.url()),
        ("PREPARED_STATEMENTS", "false"),
    ];
    let log =
        Worker::start_with(&settings, &queue.url, &["--exit-when-idle", "1"]).ends_well().await;
    assert!(log.contains("applied V0001__content_ids"), "{log}");
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 20);
    let deploy_step = run(&settings[1..2], &["--migrate-only"]).await;
    assert!(deploy_step.stdout.contains("nothing to do"), "{}", deploy_step.stderr);
}
