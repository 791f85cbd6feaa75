//! What SQS and the network have in store, fault by fault: everything is written once and deleted,
//! the worker goes on, and its log stays one that a person can read.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqs_stub::{Action, Call, Fault, Profile, Redrive, Refusal, Settings, StaleDelete, Stub};

use crate::stream::MISMATCHED;
use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{self, PATIENCE, Worker, eventually};

const QUEUE: &str = "events";
/// Each is sent, delivered and opened, with two recipients.
const MAILS: u64 = 100;
const RECIPIENTS: i64 = 2;
/// A worker says some ten lines from start to end if all goes well.
const MOST_LINES: usize = 40;

/// A worker on a queue that a script spoils.
struct Scene {
    database: Database,
    stub: Arc<Stub>,
    worker: Worker,
    mails: u64,
}

impl Scene {
    async fn start(script: impl Fn(&Call<'_>) -> Fault + Send + Sync + 'static) -> Self {
        Self::start_with(StaleDelete::default(), &[], script).await
    }

    async fn start_with(
        stale_delete: StaleDelete,
        arguments: &[&str],
        script: impl Fn(&Call<'_>) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let stub = stub(stale_delete).await;
        stub.script(script);
        Self::start_on(stub, MAILS, arguments).await
    }

    async fn start_on(stub: Stub, mails: u64, arguments: &[&str]) -> Self {
        let database = Database::migrated().await;
        stub.put(QUEUE, bodies(mails));
        let settings = settings(&database, &stub);
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (*name, &**value)).collect();
        let worker = Worker::start_with(&settings, &stub.queue_url(QUEUE), arguments);
        Self { database, stub: Arc::new(stub), worker, mails }
    }

    /// All messages are deleted, each row is there once, and the worker has kept its calm.
    async fn ends_well(mut self, most_lines: usize) {
        let Self { database, stub, worker, mails } = &mut self;
        let began = Instant::now();
        while stub.counts(QUEUE).left() > 0 {
            let is_well = worker.is_running() && began.elapsed() < PATIENCE;
            assert!(is_well, "{:?}\n{}", stub.stats(), worker.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let counts = stub.counts(QUEUE);
        assert_eq!(counts.deleted, 3 * *mails, "{counts:?}");

        let mails = i64::try_from(*mails).expect("few");
        let reports = database.rows("SELECT count(*) AS reports, count(send_at) AS sent, count(delivery_at) AS delivered, sum(open_count) AS opens FROM aws_reports").await;
        let each = RECIPIENTS * mails;
        assert_eq!(
            reports,
            [serde_json::json!({"reports": each, "sent": each, "delivered": each, "opens": each})]
        );
        let details = "SELECT count(*) FROM aws_report_detail";
        assert_eq!(database.one::<i64>(details).await, 3 * each);
        let dead_letters = "SELECT count(*) FROM aws_report_dead_letter";
        assert_eq!(database.one::<i64>(dead_letters).await, 0);
        assert_eq!(database.rows(MISMATCHED).await.len(), 0);

        assert!(worker.is_running(), "{}", worker.log());
        let (status, _) = worker.terminate().await;
        let log = worker.log();
        assert!(status.success(), "{log}");
        assert!(log.lines().count() <= most_lines, "it says too much:\n{log}");
        for word in ["@", "eventType", "Your order", "AQEB"] {
            assert!(!log.contains(word), "it says {word}:\n{log}");
        }
    }
}

async fn stub(stale_delete: StaleDelete) -> Stub {
    let stub = Stub::start().await.expect("a port");
    stub.create_queue("dead", Settings::default());
    let redrive = Some(Redrive { dead_letter_queue: "dead".to_owned(), max_receive_count: 1_000 });
    stub.create_queue(QUEUE, Settings { redrive, stale_delete, ..Settings::default() });
    stub
}

/// Messages stay hidden for two seconds only, so that what a fault leaves behind comes again soon.
fn settings(database: &Database, stub: &Stub) -> [(&'static str, String); 4] {
    [
        ("DATABASE_URL", database.url_of("worker")),
        ("NO_MIGRATE", "true".to_owned()),
        ("AWS_ENDPOINT_URL", stub.endpoint().to_owned()),
        ("VISIBILITY_TIMEOUT", "2".to_owned()),
    ]
}

fn bodies(mails: u64) -> Vec<String> {
    let events = |number| {
        let (id, mine) = (message_id(number), format!("p{number}@example.com"));
        let to = [mine.as_str(), "all@example.com"];
        [
            event::send(&id, &to),
            event::delivery(&id, &to, &to),
            event::open(&id, &to, "2026-11-20T11:00:00.000Z"),
        ]
    };
    (0..mails).flat_map(events).map(|event| event.to_string()).collect()
}

/// A command that is not a [`Worker`], because it ends by itself.
fn worker(database: &Database, stub: &Stub, arguments: &[&str]) -> tokio::process::Command {
    let (database_url, queue_url) = (database.url_of("worker"), stub.queue_url(QUEUE));
    let settings = [
        ("DATABASE_URL", &*database_url),
        ("NO_MIGRATE", "true"),
        ("SQS_QUEUE_URL", &*queue_url),
        ("AWS_ENDPOINT_URL", stub.endpoint()),
    ];
    process::ses_reports(&settings, arguments)
}

/// The same for the first calls of receiving and of deleting.
fn at_first(receives: u64, deletes: u64, fault: &Fault) -> impl Fn(&Call<'_>) -> Fault + use<> {
    let fault = fault.clone();
    move |call| {
        let spoiled = match call.action {
            Action::ReceiveMessage => receives,
            Action::DeleteMessageBatch => deletes,
            _ => 0,
        };
        if call.before < spoiled { fault.clone() } else { Fault::None }
    }
}

/// Every second receive hands out messages that the next one hands out again.
fn doubled(call: &Call<'_>) -> Fault {
    if call.action == Action::ReceiveMessage && call.before.is_multiple_of(2) {
        Fault::HideFor(Duration::ZERO)
    } else {
        Fault::None
    }
}

#[tokio::test]
async fn messages_that_come_twice() {
    let scene = Scene::start(doubled).await;
    let stub = Arc::clone(&scene.stub);
    scene.ends_well(MOST_LINES).await;
    assert!(stub.counts(QUEUE).received_again > 0);
}

#[tokio::test]
async fn messages_that_come_in_any_order() {
    Scene::start(|call| Fault::Reorder(call.before)).await.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn stale_handles_whose_delete_succeeds() {
    let scene = Scene::start_with(StaleDelete::Deletes, &[], doubled).await;
    let stub = Arc::clone(&scene.stub);
    scene.ends_well(MOST_LINES).await;
    assert!(stub.counts(QUEUE).deleted_while_stale > 0);
}

#[tokio::test]
async fn stale_handles_whose_delete_fails() {
    let scene = Scene::start_with(StaleDelete::Fails, &[], doubled).await;
    let stub = Arc::clone(&scene.stub);
    scene.ends_well(MOST_LINES).await;
    assert!(stub.counts(QUEUE).stale_deletes_without_effect > 0);
}

#[tokio::test]
async fn handles_that_expire_while_the_database_is_slow() {
    // The worker asks for two seconds and renews after one.
    let scene = Scene::start_with(StaleDelete::default(), &[], |call| match call.action {
        Action::ReceiveMessage => Fault::HideFor(Duration::from_millis(500)),
        _ => Fault::None,
    });
    let scene = scene.await;
    let lock = scene.database.lock_reports().await;
    eventually("some are held", || async { scene.stub.counts(QUEUE).received > 100 }).await;
    // No receive takes what is visible again before its old handle deletes it.
    scene.stub.script(|call| match call.action {
        Action::ReceiveMessage => Fault::Refuse(Refusal::Throttled),
        _ => Fault::None,
    });
    eventually("all that is held is visible again", || async {
        scene.stub.counts(QUEUE).in_flight == 0
    })
    .await;
    lock.rollback().await.expect("the lock is given back");
    eventually("old handles delete", || async { scene.stub.counts(QUEUE).deleted_while_stale > 0 })
        .await;
    scene.stub.clear_script();
    scene.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn renewals_that_fail() {
    let scene = Scene::start(|call| match call.action {
        Action::ChangeMessageVisibilityBatch if call.before % 2 == 0 => {
            Fault::FailEntries(vec![(0, "InternalError"), (1, "ReceiptHandleIsInvalid")])
        }
        Action::ChangeMessageVisibilityBatch => Fault::Refuse(Refusal::AccessDenied),
        _ => Fault::None,
    });
    let scene = scene.await;
    let lock = scene.database.lock_reports().await;
    let renewals = || scene.stub.calls(Action::ChangeMessageVisibilityBatch);
    eventually("renewals fail", || async { renewals() > 10 }).await;
    lock.rollback().await.expect("the lock is given back");
    scene.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn answers_that_come_late() {
    let late = Fault::Delay(Duration::from_millis(2_500));
    // Later than the messages stay hidden.
    let scene = Scene::start(at_first(8, 4, &late)).await;
    scene.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn answers_that_are_lost() {
    let scene = Scene::start(at_first(10, 10, &Fault::LoseAnswer)).await;
    scene.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn answers_that_are_cut() {
    let scene = Scene::start(at_first(10, 10, &Fault::CutBody)).await;
    scene.ends_well(MOST_LINES).await;
}

/// An idle time makes polls short, and so the time after which one is given up: 11 s, not 30.
const SHORT_POLLS: [&str; 2] = ["--exit-when-idle", "600"];

#[tokio::test]
async fn answers_that_stop_half_way() {
    // As many as there are pollers: none is left that could do the work of the others.
    let script = at_first(4, 2, &Fault::StallBody);
    let scene = Scene::start_with(StaleDelete::default(), &SHORT_POLLS, script).await;
    scene.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn calls_that_are_never_answered() {
    let script = at_first(4, 2, &Fault::Silence);
    let scene = Scene::start_with(StaleDelete::default(), &SHORT_POLLS, script).await;
    scene.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn deletes_that_are_partly_refused() {
    let stub = stub(StaleDelete::default()).await;
    stub.script(|call| match call.action {
        Action::DeleteMessageBatch if call.before < 200 => {
            let codes = ["InternalError", "ReceiptHandleIsInvalid"];
            let odd = (1..call.handles.len()).step_by(2);
            Fault::FailEntries(odd.zip(codes.into_iter().cycle()).collect())
        }
        _ => Fault::None,
    });
    Scene::start_on(stub, 3 * MAILS, &[]).await.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn failures_now_and_then() {
    let stub = stub(StaleDelete::default()).await;
    stub.script(|call| match call.action {
        Action::ReceiveMessage if call.before % 3 == 1 => Fault::LoseAnswer,
        Action::DeleteMessageBatch => match call.before % 8 {
            // SDK and all: the first call and its two retries.
            1..=3 => Fault::Refuse(Refusal::InternalFailure),
            _ => Fault::None,
        },
        _ => Fault::None,
    });
    Scene::start_on(stub, 3 * MAILS, &[]).await.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn deletes_that_do_nothing() {
    let scene = Scene::start(at_first(0, 30, &Fault::Ignore)).await;
    let stub = Arc::clone(&scene.stub);
    scene.ends_well(MOST_LINES).await;
    assert!(stub.counts(QUEUE).received_again > 0);
}

#[tokio::test]
async fn refusals_that_end() {
    let refusal = Fault::Refuse(Refusal::AccessDenied);
    Scene::start(at_first(3, 2, &refusal)).await.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn internal_failures() {
    let refusal = Fault::Refuse(Refusal::InternalFailure);
    Scene::start(at_first(6, 6, &refusal)).await.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn throttling() {
    let refusal = Fault::Refuse(Refusal::Throttled);
    Scene::start(at_first(6, 6, &refusal)).await.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn too_many_messages_in_flight() {
    let refusal = Fault::Refuse(Refusal::OverLimit);
    Scene::start(at_first(6, 0, &refusal)).await.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn all_of_it_at_random() {
    let stub = stub(StaleDelete::default()).await;
    let profile = Profile { seed: 20_261_121, rate: 0.1 };
    stub.script(move |call| profile.fault(call));
    Scene::start_on(stub, 700, &SHORT_POLLS).await.ends_well(250).await;
}

/// Here a rate is what is measured: it begins once the first refusals are over.
#[tokio::test]
async fn a_queue_that_refuses_is_not_asked_hotly() {
    let scene =
        Scene::start_with(StaleDelete::default(), &["--pollers", "16"], |call| match call.action {
            Action::ReceiveMessage => Fault::Refuse(Refusal::AccessDenied),
            _ => Fault::None,
        });
    let scene = scene.await;
    let receives = || scene.stub.calls(Action::ReceiveMessage);
    eventually("the first refusals", || async { receives() > 2 }).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = receives();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let more = receives() - before;
    assert!(more <= 10, "{more} requests in 10 s");
    scene.stub.clear_script();
    scene.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn a_queue_that_refuses_deletes_is_not_received_from() {
    let scene = Scene::start(|call| match call.action {
        Action::DeleteMessageBatch => Fault::Refuse(Refusal::AccessDenied),
        _ => Fault::None,
    });
    let scene = scene.await;
    let calls = |action| scene.stub.calls(action);
    eventually("the deletes are refused", || async { calls(Action::DeleteMessageBatch) > 1 }).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = (calls(Action::ReceiveMessage), calls(Action::DeleteMessageBatch));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(calls(Action::ReceiveMessage), before.0, "what comes now could only age");
    let more = calls(Action::DeleteMessageBatch) - before.1;
    assert!(more <= 6, "{more} requests in 6 s");
    scene.stub.clear_script();
    scene.ends_well(MOST_LINES).await;
}

#[tokio::test]
async fn entries_that_sqs_does_not_delete_are_asked_for_again() {
    let (database, stub) = (Database::migrated().await, stub(StaleDelete::default()).await);
    stub.put(QUEUE, bodies(2).into_iter().take(5));
    let deletes: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
    let heard = Arc::clone(&deletes);
    stub.script(move |call| {
        if call.action != Action::DeleteMessageBatch {
            return Fault::None;
        }
        let handles = call.handles.iter().map(|handle| (*handle).to_owned()).collect();
        heard.lock().expect("no test has panicked with it").push(handles);
        match call.before {
            0 => Fault::Refuse(Refusal::InternalFailure),
            // The second entry may be deleted later, the fourth never again.
            1 => Fault::FailEntries(vec![(1, "InternalError"), (3, "ReceiptHandleIsInvalid")]),
            _ => Fault::None,
        }
    });
    let ended = worker(&database, &stub, &["--exit-when-idle", "1", "--pollers", "1"])
        .output()
        .await
        .expect("it ends");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{stderr}");
    let deletes = deletes.lock().expect("no test has panicked with it").clone();
    let [first, second, third] = &deletes[..] else { panic!("{deletes:?}") };
    assert_eq!((first.len(), second), (5, first));
    assert_eq!(third[..], first[1..2]);
    assert!(stderr.contains("deleted 4, 1 not"), "{stderr}");
    assert_eq!(stub.counts(QUEUE).deleted, 4);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail").await, 10);
}

#[tokio::test]
async fn a_queue_that_refuses_from_the_start_is_a_clear_line() {
    let (database, stub) = (Database::migrated().await, stub(StaleDelete::default()).await);
    stub.script(|_| Fault::Refuse(Refusal::AccessDenied));
    let ended = worker(&database, &stub, &[]).output().await.expect("it ends");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("SQS_QUEUE_URL: AccessDeniedException"), "{stderr}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let (database, stub) = (Database::migrated().await, stub(StaleDelete::default()).await);
    stub.script(|_| Fault::Silence);
    let ended = worker(&database, &stub, &[]).output().await.expect("it ends");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("SQS_QUEUE_URL: "), "{stderr}");
}
