//! Whose fault it is that PostgreSQL does not take a message: only what is really the message's own makes
//! it a dead letter. An operator's constraint, a lock, a database that refuses everything do not.

use serde_json::json;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use sqs_stub::{Settings, Stub};

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{Worker, eventually};

const QUEUE: &str = "events";
const PERSON: &str = "jane@example.com";
/// An operator's, which the tables as we make them do not have.
const ADD_CONSTRAINT: &str =
    "ALTER TABLE aws_report_detail ADD CONSTRAINT no_opens CHECK (event_type <> 'Open')";
const DROP_CONSTRAINT: &str = "ALTER TABLE aws_report_detail DROP CONSTRAINT no_opens";

struct Scene {
    database: Database,
    stub: Stub,
    worker: Worker,
}

impl Scene {
    /// A worker under the worker's role on an empty queue in memory.
    async fn start(database: Database, arguments: &[&str]) -> Self {
        let stub = Stub::start().await.expect("a port");
        let queue_url = stub.create_queue(QUEUE, Settings::default());
        let settings = [
            ("DATABASE_URL", &*database.url_of("worker")),
            ("NO_MIGRATE", "true"),
            ("AWS_ENDPOINT_URL", stub.endpoint()),
        ];
        let worker = Worker::start_with(&settings, &queue_url, arguments);
        Self { database, stub, worker }
    }

    fn put(&self, bodies: &[String]) {
        self.stub.put(QUEUE, bodies);
    }

    async fn details(&self) -> i64 {
        self.database.one("SELECT count(*) FROM aws_report_detail").await
    }

    async fn dead_letters(&self) -> i64 {
        self.database.one("SELECT count(*) FROM aws_report_dead_letter").await
    }

    async fn has(&self, what: &str, details: i64) {
        eventually(what, || async { self.details().await == details }).await;
    }

    /// All is written and deleted, nothing twice, and the worker ends well.
    async fn ends_well(mut self, details: i64, dead_letters: i64) -> String {
        eventually("the queue is empty", || async { self.stub.counts(QUEUE).left() == 0 }).await;
        assert_eq!((self.details().await, self.dead_letters().await), (details, dead_letters));
        let (status, _) = self.worker.terminate().await;
        assert!(status.success(), "{}", self.worker.log());
        self.worker.log()
    }
}

fn sends(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| event::send(&message_id(number), &[PERSON]).to_string()).collect()
}

fn opens(numbers: std::ops::Range<u64>) -> Vec<String> {
    let time = "2026-11-20T11:00:00.000Z";
    numbers.map(|number| event::open(&message_id(number), &[PERSON], time).to_string()).collect()
}

fn with_subject(number: u64, subject: &str) -> String {
    let mut mail = event::mail(&message_id(number), &[PERSON]);
    mail["commonHeaders"] = json!({"subject": subject});
    event::event("Send", "send", json!({}), mail).to_string()
}

/// A session of somebody else's, known by its application name.
async fn somebody_else(database: &Database) -> PgConnection {
    let options = database.options().application_name("crm");
    PgConnection::connect_with(&options).await.expect("it connects")
}

#[tokio::test]
async fn a_column_that_every_row_lacks_holds_everything() {
    let database = Database::migrated().await;
    database.execute("ALTER TABLE aws_report_detail ADD COLUMN audited boolean NOT NULL DEFAULT true; ALTER TABLE aws_report_detail ALTER COLUMN audited DROP DEFAULT").await;
    let scene = Scene::start(database, &[]).await;
    scene.put(&sends(0..300));
    eventually("it says which column", || async {
        let log = scene.worker.log();
        log.contains("audited") && log.contains("23502") && log.contains("not receiving")
    })
    .await;
    scene.database.execute("ALTER TABLE aws_report_detail DROP COLUMN audited").await;
    scene.has("all are written", 300).await;
    let _ = scene.ends_well(300, 0).await;
}

#[tokio::test]
async fn a_constraint_of_an_operator_makes_no_dead_letters() {
    let database = Database::migrated().await;
    database.execute(ADD_CONSTRAINT).await;
    let scene = Scene::start(database, &[]).await;
    scene.put(&opens(0..50));
    scene.put(&sends(0..100));
    scene.has("the others are written", 100).await;
    eventually("it says which constraint", || async { scene.worker.log().contains("no_opens") })
        .await;
    assert_eq!(scene.dead_letters().await, 0);
    scene.database.execute(DROP_CONSTRAINT).await;
    scene.has("those are written too", 150).await;
    let log = scene.ends_well(150, 0).await;
    assert!(!log.contains(PERSON), "{log}");
}

#[tokio::test]
async fn many_that_a_constraint_refuses_stop_the_receiving() {
    let database = Database::migrated().await;
    database.execute(ADD_CONSTRAINT).await;
    let scene = Scene::start(database, &[]).await;
    scene.put(&opens(0..400));
    eventually("it stops receiving", || async {
        scene.worker.log().contains("refuses many messages for one reason")
    })
    .await;
    scene.database.execute(DROP_CONSTRAINT).await;
    scene.has("all are written", 400).await;
    let _ = scene.ends_well(400, 0).await;
}

#[tokio::test]
async fn a_trigger_that_refuses_many_alike_makes_few_dead_letters() {
    let database = Database::migrated().await;
    database.raise("22012", "aws_report_detail", "NEW.event_type = 'Open'").await;
    let scene = Scene::start(database, &[]).await;
    scene.put(&opens(0..60));
    scene.put(&sends(0..60));
    scene.has("the others are written", 60).await;
    eventually("it suspects a trigger", || async { scene.worker.log().contains("trigger") }).await;
    scene.database.raise_no_more("aws_report_detail").await;
    eventually("the rest is written", || async { scene.stub.counts(QUEUE).left() == 0 }).await;
    let letters = scene.dead_letters().await;
    assert!((1..=20).contains(&letters), "{letters}");
    let _ = scene.ends_well(120 - letters, letters).await;
}

/// It is held with those that only the trigger refused, and must not be held for ever.
#[tokio::test]
async fn a_bad_message_among_those_becomes_a_dead_letter_when_the_trigger_is_gone() {
    let database = Database::migrated().await;
    let bad = "NEW.subject = 'bad'";
    database
        .raise("22012", "aws_report_detail", &format!("NEW.event_type = 'Open' OR {bad}"))
        .await;
    let scene = Scene::start(database, &[]).await;
    scene.put(&opens(0..40));
    eventually("it suspects a trigger", || async { scene.worker.log().contains("trigger") }).await;
    scene.put(&[with_subject(99, "bad")]);
    eventually("it has received that", || async { scene.stub.counts(QUEUE).visible == 0 }).await;
    scene.database.raise("22012", "aws_report_detail", bad).await;
    eventually("nothing is held", || async { scene.stub.counts(QUEUE).left() == 0 }).await;
    let letters = scene.dead_letters().await;
    assert!((1..=21).contains(&letters), "{letters}");
    let is_written = "SELECT count(*) FROM aws_report_detail WHERE subject = 'bad'";
    assert_eq!(scene.database.one::<i64>(is_written).await, 0);
    let _ = scene.ends_well(41 - letters, letters).await;
}

#[tokio::test]
async fn a_message_that_fails_in_another_way_is_isolated_too() {
    let database = Database::migrated().await;
    database.raise("XX000", "aws_report_detail", "NEW.subject = 'poison'").await;
    let scene = Scene::start(database, &["--writers", "1"]).await;
    let mut bodies = sends(0..40);
    bodies.insert(13, with_subject(99, "poison"));
    scene.put(&bodies);
    scene.has("the others are written", 40).await;
    let log = scene.ends_well(40, 1).await;
    assert!(!log.contains("not receiving"), "the others are not held up: {log}");
}

#[tokio::test]
async fn a_message_that_takes_too_long_is_isolated_too() {
    let database = Database::migrated().await;
    database
        .raise("22023", "aws_report_detail", "NEW.subject = 'slow' AND pg_sleep(60) IS NULL")
        .await;
    let scene = Scene::start(database, &["--database-timeout", "2"]).await;
    let mut bodies = sends(0..40);
    bodies.insert(13, with_subject(99, "slow"));
    scene.put(&bodies);
    let _ = scene.ends_well(40, 1).await;
}

/// While somebody else holds a lock, a message that needs it waits, and 199 others are written.
async fn holds_up_one_message_only(lock: &'static str, waits: String) {
    let scene = Scene::start(Database::migrated().await, &[]).await;
    scene.put(&sends(0..1));
    scene.has("the first mail", 1).await;
    let mut other = somebody_else(&scene.database).await;
    let mut transaction = other.begin().await.expect("it begins");
    sqlx::query(lock).execute(&mut *transaction).await.expect("locked");

    scene.put(&[waits]);
    scene.put(&sends(1..200));
    scene.has("the others are written", 200).await;
    eventually("it names the holder", || async { scene.worker.log().contains("crm") }).await;
    assert!(!scene.worker.log().contains("not receiving"), "{}", scene.worker.log());
    transaction.rollback().await.expect("rolled back");
    let log = scene.ends_well(201, 0).await;
    assert!(log.lines().count() < 40, "{log}");
}

#[tokio::test]
async fn a_locked_report_holds_up_its_own_messages_only() {
    let [waits] = &opens(0..1)[..] else { panic!("one") };
    holds_up_one_message_only("SELECT FROM aws_reports.aws_reports FOR UPDATE", waits.clone())
        .await;
}

/// `ANALYZE` and `VACUUM` take that lock.
#[tokio::test]
async fn a_lock_on_the_details_holds_up_only_what_needs_a_new_month() {
    let lock = "LOCK TABLE aws_reports.aws_report_detail IN SHARE UPDATE EXCLUSIVE MODE";
    let old = event::open(&message_id(0), &[PERSON], "2014-03-01T11:00:00.000Z");
    holds_up_one_message_only(lock, old.to_string()).await;
}

/// As the README has applications do it when they send.
#[tokio::test]
async fn a_sender_that_has_not_committed_holds_up_its_own_mail_only() {
    let scene = Scene::start(Database::migrated().await, &[]).await;
    let mut other = somebody_else(&scene.database).await;
    let mut open = other.begin().await.expect("it begins");
    let id = message_id(0);
    let insert = format!(
        "INSERT INTO aws_reports.aws_reports (id, message_id, user_email, user_id) VALUES
            (aws_reports.aws_report_id('{id}', '{PERSON}'), '{id}', '{PERSON}', '07')"
    );
    sqlx::query(sqlx::AssertSqlSafe(insert)).execute(&mut *open).await.expect("inserted");

    scene.put(&sends(0..100));
    scene.has("the others are written", 99).await;
    open.commit().await.expect("committed");
    scene.has("the sender's mail is written", 100).await;
    let user = format!("SELECT user_id FROM aws_reports WHERE message_id = '{id}'");
    assert_eq!(scene.database.one::<String>(&user).await, "07");
    let _ = scene.ends_well(100, 0).await;
}

/// Otherwise a crash of PostgreSQL would lose what is deleted from the queue already.
#[tokio::test]
async fn commits_wait_for_the_disk_whatever_the_role_says() {
    let database = Database::migrated().await;
    let role = database.role("worker");
    database
        .execute(&format!(
            "ALTER ROLE {role} SET synchronous_commit = off;
            ALTER ROLE {role} SET default_transaction_isolation = 'serializable';
            CREATE TABLE settings (name text, value text);
            GRANT ALL ON settings TO {role};
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO aws_reports.settings
                SELECT name, current_setting(name) FROM UNNEST(ARRAY['synchronous_commit', 'transaction_isolation']) AS name;
                RETURN NULL;
            END $$;
            CREATE TRIGGER note AFTER INSERT ON aws_report_detail FOR EACH STATEMENT EXECUTE FUNCTION note()"
        ))
        .await;
    let scene = Scene::start(database, &[]).await;
    scene.put(&sends(0..10));
    scene.has("they are written", 10).await;
    let settings =
        scene.database.rows("SELECT DISTINCT name, value FROM settings ORDER BY 1").await;
    assert_eq!(
        settings,
        [
            json!({"name": "synchronous_commit", "value": "on"}),
            json!({"name": "transaction_isolation", "value": "read committed"})
        ]
    );
    let _ = scene.ends_well(10, 0).await;
}
