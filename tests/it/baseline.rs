//! Tables that somebody made by hand become ours: nothing is lost, duplicates meet, counts agree.

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::migrations::{answer, expect};
use crate::support::process::Worker;
use crate::support::queue::Queue;

/// The given columns with plain types, and 40,000 rows: 10,000 reports of which every tenth stands
/// twice, 30,000 details of which every fifteenth does.
const BY_HAND: &str = r#"
CREATE TABLE aws_report_type (id serial PRIMARY KEY, report_name text);
CREATE TABLE aws_reports (
    id serial PRIMARY KEY, report_type int, user_id int, user_email text, message_id text, source_email text, subject text,
    bounce_at timestamp, complaint_at timestamp, delivery_at timestamp, send_at timestamp, reject_at timestamp, open_at timestamp,
    click_at timestamp, rendering_failure_at timestamp, delivery_delay_at timestamp, subscription_at timestamp,
    created_at timestamp, updated_at timestamp);
CREATE TABLE aws_report_detail (
    id serial PRIMARY KEY, notification_message_id text, report_id int REFERENCES aws_reports (id), event_type text, message_id text,
    "timestamp" timestamp, "from" text, "to" text, subject text, other_info text);
INSERT INTO aws_report_type (report_name) VALUES ('default'), ('invoice');
INSERT INTO aws_reports (report_type, user_id, user_email, message_id, source_email, subject, send_at, delivery_at, created_at)
SELECT 1 + n % 2, n % 1000, CASE n % 3 WHEN 0 THEN 'User ' || n || ' <U' || n || '@Example.com>' ELSE 'u' || n || '@example.com' END,
    lpad(to_hex(1767225600000 + n * 60000::bigint), 16, '0') || '-0000-' || n, 'Shop <shop@shop.example>', 'Order ' || n,
    timestamp '2026-01-01' + n * interval '1 minute', timestamp '2026-01-01' + n * interval '1 minute' + interval '3 s', timestamp '2026-01-01' + n * interval '1 minute'
FROM generate_series(1, 9000) AS n;
INSERT INTO aws_reports (report_type, user_id, user_email, message_id, source_email, subject, send_at, open_at, created_at)
SELECT report_type, user_id, upper(user_email), message_id, source_email, subject, send_at, send_at + interval '1 hour', created_at + interval '1 day'
FROM aws_reports WHERE id % 9 = 0;
INSERT INTO aws_report_detail (notification_message_id, report_id, event_type, message_id, "timestamp", "from", "to", subject, other_info)
SELECT 'n-' || r.id || '-' || e.ordinality, r.id, e.event_type, r.message_id, r.send_at + e.ordinality * interval '1 s', r.source_email, r.user_email, r.subject,
    CASE e.event_type WHEN 'bounce' THEN '{"bounce": {"bounceType": "Permanent", "bounceSubType": "General", "feedbackId": "f-' || r.id || '"}}' WHEN 'Open' THEN 'seen' END
FROM (SELECT * FROM aws_reports ORDER BY id LIMIT 9000) AS r,
    unnest(CASE WHEN r.id % 3 = 0 THEN ARRAY['Send', 'bounce', 'DELIVERY_DELAY'] ELSE ARRAY['Send', 'Delivery', 'Open'] END) WITH ORDINALITY AS e (event_type, ordinality);
INSERT INTO aws_report_detail (notification_message_id, report_id, event_type, message_id, "timestamp", "from", "to", subject, other_info)
SELECT notification_message_id || '-again', report_id, event_type, message_id, "timestamp", "from", "to", subject, other_info
FROM aws_report_detail WHERE id % 9 = 0;
"#;

/// What cannot be understood: nobody's report, and a detail of no time.
const ODD: &str = r#"
INSERT INTO aws_reports (user_email, message_id, subject) VALUES (NULL, 'm-1', 'whose?'), ('x@example.com', NULL, 'which?');
INSERT INTO aws_report_detail (event_type, message_id, "to") VALUES ('Send', 'm-2', 'x@example.com');
"#;

async fn by_hand(schema: &str) -> Database {
    let database = Database::empty().await;
    database
        .execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path = {schema}; {BY_HAND} {ODD} RESET search_path"))
        .await;
    database
}

#[tokio::test]
async fn forty_thousand_rows_become_ours() {
    let database = by_hand("aws_reports").await;
    let done = answer(&database, 0, &["baseline"]).await;
    assert_eq!(done["legacy"], "aws_reports_legacy");
    assert_eq!(
        done["reports"],
        json!({"read": 10_002, "new": 9_000, "duplicates": 1_000, "dead_letters": 2})
    );
    assert_eq!(
        done["details"],
        json!({"read": 30_001, "new": 27_000, "duplicates": 3_000, "dead_letters": 1})
    );
    let counts = database
        .rows(
            "SELECT (SELECT count(*) FROM aws_reports) AS reports, (SELECT count(*) FROM aws_report_detail) AS details,
                (SELECT count(*) FROM aws_report_dead_letter) AS dead_letters,
                (SELECT count(*) FROM aws_reports_legacy.aws_reports) AS old_reports,
                (SELECT count(*) FROM aws_reports_legacy.aws_report_detail) AS old_details,
                (SELECT count(*) FROM aws_reports WHERE bounce_at IS NOT NULL AND bounce_type = 'Permanent') AS bounced,
                (SELECT count(*) FROM aws_reports WHERE open_at IS NOT NULL) AS opened,
                (SELECT sum(open_count) FROM aws_reports) AS opens,
                (SELECT count(*) FROM aws_reports JOIN aws_report_type t ON t.id = report_type WHERE report_name = 'invoice') AS invoices,
                (SELECT count(DISTINCT user_id) FROM aws_reports) AS customers,
                (SELECT count(*) FROM aws_reports WHERE created_at <> send_at) AS created_later",
        )
        .await;
    assert_eq!(
        counts,
        [
            json!({"reports": 9_000, "details": 27_000, "dead_letters": 3, "old_reports": 10_002, "old_details": 30_001,
            "bounced": 3_000, "opened": 7_000, "opens": 6_000, "invoices": 4_500, "customers": 1_000, "created_later": 0})
        ]
    );
    let lost: i64 = database
        .one(r#"SELECT count(*) FROM aws_reports_legacy.aws_report_detail AS old JOIN aws_reports_legacy.aws_reports AS r ON r.id = old.report_id
            WHERE NOT EXISTS (SELECT FROM aws_report_detail AS d WHERE d.report_id = aws_report_id(r.message_id, r.user_email)
                AND d."timestamp" = old."timestamp" AT TIME ZONE 'UTC' AND replace(lower(d.event_type), ' ', '') = replace(lower(old.event_type), '_', ''))"#)
        .await;
    assert_eq!(lost, 0, "every old detail has its row");
    expect(&database, 0, &["verify", "--data"]).await;

    // Interrupted or not, it is run again, and changes nothing.
    let again = answer(&database, 0, &["baseline"]).await;
    assert_eq!(again["reports"]["new"], 0);
    assert_eq!(again["details"]["new"], 0);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_dead_letter").await, 3);
}

#[tokio::test]
async fn tables_elsewhere_stay_where_they_are_and_new_events_meet_old_rows() {
    let (queue, database) = (Queue::in_memory().await, Database::empty().await);
    let small = BY_HAND.replace("9000", "9");
    database
        .execute(&format!("CREATE SCHEMA mail; SET search_path = mail; {small} RESET search_path"))
        .await;
    let id = message_id(7);
    database
        .execute(&format!("INSERT INTO mail.aws_reports (user_email, message_id, user_id, send_at) VALUES ('Jane@Example.com', '{id}', 77, '2026-11-20 10:00')"))
        .await;
    let done = answer(&database, 0, &["baseline", "--from", "mail"]).await;
    assert_eq!(done["legacy"], "mail");
    assert_eq!(done["reports"]["new"], 10);
    queue
        .send(&[event::delivery(&id, &["jane@example.com"], &["jane@example.com"]).to_string()])
        .await;
    let settings = [("DATABASE_URL", &*database.url()), ("EXIT_WHEN_IDLE", "1")];
    Worker::start_with(&settings, &queue.url, &[]).ends_well().await;
    let met = database
        .rows(&format!("SELECT user_id, delivery_at IS NOT NULL AS delivered FROM aws_reports WHERE message_id = '{id}'"))
        .await;
    assert_eq!(met, [json!({"user_id": "42", "delivered": true})], "the least of both customers");
    assert_eq!(database.one::<i64>("SELECT count(*) FROM mail.aws_reports").await, 11);
}

#[tokio::test]
async fn what_is_not_the_given_tables_is_refused_and_left_alone() {
    let database = Database::empty().await;
    let none = expect(&database, 1, &["baseline"]).await;
    assert!(none.stderr.contains("table aws_reports"), "{}", none.stderr);
    database
        .execute(&format!(
            "CREATE SCHEMA aws_reports; SET search_path = aws_reports; {} RESET search_path",
            BY_HAND.replace("9000", "9")
        ))
        .await;
    database
        .execute("ALTER TABLE aws_reports.aws_reports DROP COLUMN click_at, DROP COLUMN subject")
        .await;
    let lacking = expect(&database, 1, &["baseline"]).await;
    for column in ["aws_reports.click_at", "aws_reports.subject"] {
        assert!(lacking.stderr.contains(column), "{}", lacking.stderr);
    }
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports.aws_reports").await, 10);
    let ours = Database::migrated().await;
    let refused = expect(&ours, 1, &["baseline"]).await;
    assert!(refused.stderr.contains("managed by ses-reports already"), "{}", refused.stderr);
}

#[tokio::test]
async fn mismatched_rows_are_found() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let jane = ["jane@example.com"];
    let events: Vec<String> = (0..3)
        .flat_map(|number| {
            let id = message_id(number);
            [
                event::send(&id, &jane),
                event::delivery(&id, &jane, &jane),
                event::open(&id, &jane, "2026-11-20T11:00:00.000Z"),
            ]
        })
        .map(|event| event.to_string())
        .collect();
    queue.send(&events).await;
    Worker::until_idle(&database, &queue.url, &[]).await;
    let clean = answer(&database, 0, &["verify", "--data"]).await;
    assert_eq!((&clean["data"]["reports"], &clean["data"]["mismatched"]), (&json!(3), &json!(0)));
    assert_eq!(clean["data"]["days"], json!([]));
    let id = |number| {
        format!("(SELECT id FROM aws_reports WHERE message_id = '{}')", message_id(number))
    };
    database.execute(&format!("UPDATE aws_reports SET open_count = 2 WHERE id = {}", id(0))).await;
    database
        .execute(&format!(
            "DELETE FROM aws_report_detail WHERE event_type = 'Delivery' AND report_id = {}",
            id(1)
        ))
        .await;
    database.execute(&format!("DELETE FROM aws_reports WHERE id = {}", id(2))).await;
    let found_drift = answer(&database, 5, &["verify", "--data"]).await;
    assert_eq!(found_drift["data"]["mismatched"], 3, "{found_drift}");
    assert_eq!(found_drift["data"]["days"], json!(["2026-11-20"]), "a report is gone");
    let found: Vec<&Value> = found_drift["data"]["first"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["columns"])
        .collect();
    for columns in [json!(["open_count"]), json!(["delivery_at"]), Value::Null] {
        assert!(found.contains(&&columns), "{columns}: {found:?}");
    }
    let words = expect(&database, 5, &["verify", "--data"]).await;
    assert!(words.stdout.contains("does not match its details: open_count"), "{}", words.stdout);
}

/// Text where others have times, json with NUL escapes, an id that stands twice, a partitioned table.
const STRANGE: &str = r#"
CREATE SCHEMA aws_reports; SET search_path = aws_reports;
CREATE TABLE aws_report_type (id text, report_name text);
CREATE TABLE aws_reports (id text, report_type text, user_id text, user_email text, message_id text, source_email text, subject text,
    bounce_at text, complaint_at text, delivery_at text, send_at text, reject_at text, open_at text, click_at text,
    rendering_failure_at text, delivery_delay_at text, subscription_at text, created_at text, updated_at text);
CREATE TABLE aws_report_detail (id text, notification_message_id text, report_id text, event_type text, message_id text,
    "timestamp" timestamptz, "from" text, "to" text, subject text, other_info json) PARTITION BY RANGE ("timestamp");
CREATE TABLE aws_report_detail_2026_10 PARTITION OF aws_report_detail FOR VALUES FROM ('2026-10-01') TO ('2026-11-01');
INSERT INTO aws_reports (id, report_type, user_email, message_id, send_at, created_at) VALUES
    ('a', 'invoice', 'a@example.com', 'm-1', '2026-10-02 10:00:00', 'the day before yesterday'),
    ('a', 'invoice', 'a@example.com', 'm-1', '2026-10-02 10:00:00', ''),
    ('b', NULL, 'b@example.com', 'm-2', 'infinity', NULL);
INSERT INTO aws_report_detail VALUES
    ('1', NULL, 'a', 'Delivery', 'm-1', '2026-10-02 10:00:01+00', NULL, NULL, NULL, '{"says": "\u0000"}'),
    ('2', NULL, 'gone', 'Send', 'm-3', '2026-10-02 10:00:01+00', NULL, 'c@example.com', NULL, '[1]');
RESET search_path;
"#;

#[tokio::test]
async fn strange_rows_are_converted_or_kept_as_dead_letters() {
    let database = Database::empty().await;
    database.execute(STRANGE).await;
    database
        .execute(&format!("ALTER DATABASE {} SET statement_timeout = '1s'; CREATE VIEW aws_reports.aws_report_states AS SELECT 1 AS mine", database.name))
        .await;
    let refused = expect(&database, 1, &["baseline"]).await;
    assert!(refused.stderr.contains("aws_report_states"), "{}", refused.stderr);
    database.execute("DROP VIEW aws_reports.aws_report_states").await;
    let done = answer(&database, 0, &["baseline"]).await;
    assert_eq!(done["reports"], json!({"read": 3, "new": 1, "duplicates": 1, "dead_letters": 1}));
    assert_eq!(done["details"], json!({"read": 2, "new": 2, "duplicates": 0, "dead_letters": 0}));
    let report = database
        .rows("SELECT report_name, delivery_at IS NOT NULL AS delivered FROM aws_reports JOIN aws_report_type t ON t.id = report_type WHERE message_id = 'm-1'")
        .await;
    assert_eq!(report, [json!({"report_name": "invoice", "delivered": true})]);
    assert_eq!(
        database.one::<String>("SELECT detail FROM aws_report_dead_letter").await,
        "a time that cannot be read"
    );
    assert_eq!(
        database
            .one::<i64>("SELECT count(*) FROM aws_reports_legacy.aws_report_detail_2026_10")
            .await,
        2
    );
    expect(&database, 0, &["verify", "--data"]).await;
}
