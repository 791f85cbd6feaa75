//! What events become in the tables.

use serde_json::{Value, json};
use ses_reports::store::Error;
use sqlx::ConnectOptions as _;

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::Worker;
use crate::support::queue::Queue;

async fn consumed(queue: &Queue, database: &Database, events: &[Value]) {
    let bodies: Vec<String> = events.iter().map(Value::to_string).collect();
    queue.send(&bodies).await;
    Worker::until_idle(database, &queue.url, &[]).await;
}

#[tokio::test]
async fn three_recipients_with_three_fates_are_three_reports() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let id = message_id(1);
    let all = ["a@example.com", "b@example.com", "c@example.com"];
    consumed(
        &queue,
        &database,
        &[
            event::send(&id, &all),
            event::bounce(&id, &all, "A@Example.com"),
            event::delivery(&id, &all, &["b@example.com"]),
            event::delivery(&id, &all, &["c@example.com"]),
            event::complaint(&id, &all, "<c@example.com>"),
        ],
    )
    .await;
    let reports = database
        .rows(
            "SELECT user_email, send_at IS NOT NULL AS sent, delivery_at IS NOT NULL AS delivered,
                bounce_at IS NOT NULL AS bounced, complaint_at IS NOT NULL AS complained, bounce_type
            FROM aws_reports WHERE message_id = (SELECT max(message_id) FROM aws_reports) ORDER BY user_email",
        )
        .await;
    let report = |email, delivered, bounced, complained, bounce_type: Value| json!({"user_email": email, "sent": true, "delivered": delivered, "bounced": bounced, "complained": complained, "bounce_type": bounce_type});
    assert_eq!(
        reports,
        [
            report("a@example.com", false, true, false, json!("Permanent")),
            report("b@example.com", true, false, false, Value::Null),
            report("c@example.com", true, false, true, Value::Null),
        ]
    );
    assert_eq!(
        database.one::<String>("SELECT bounce_at::timestamptz AT TIME ZONE 'UTC' || '' FROM aws_reports WHERE bounce_at IS NOT NULL").await,
        "2026-11-20 10:00:02.25",
        "times are the event's own"
    );
}

#[tokio::test]
async fn the_same_again_changes_no_row() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let (id, jane) = (message_id(2), ["jane@example.com"]);
    let events = [
        event::send(&id, &jane),
        event::delivery(&id, &jane, &jane),
        event::open(&id, &jane, "2026-11-20T11:00:00.000Z"),
        event::open(&id, &jane, "2026-11-20T11:00:01.000Z"),
        event::bounce(&id, &jane, jane[0]),
    ];
    consumed(&queue, &database, &events).await;
    // xmin is the transaction that wrote the row version: it changes with any update.
    let versions = "SELECT xmin::text AS version, id, open_count, updated_at FROM aws_reports";
    let before = database.rows(versions).await;
    assert_eq!(before[0]["open_count"], 2);
    let details: i64 = database.one("SELECT count(*) FROM aws_report_detail").await;
    consumed(&queue, &database, &events).await;
    assert_eq!(database.rows(versions).await, before);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail").await, details);
}

#[tokio::test]
async fn identity_feedback_and_event_publishing_of_one_bounce_count_once() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let (id, jane) = (message_id(3), ["jane@example.com"]);
    let published = event::bounce(&id, &jane, jane[0]);
    let mut feedback = published.clone();
    let name = feedback.as_object_mut().expect("an object").remove("eventType").expect("a type");
    feedback["notificationType"] = name;
    feedback["bounce"]["timestamp"] = json!("2026-11-20T10:00:02.000Z");
    feedback["mail"]["tags"] = Value::Null;
    // In one batch, and in two.
    consumed(&queue, &database, &[published.clone(), feedback.clone()]).await;
    consumed(&queue, &database, &[feedback]).await;
    consumed(&queue, &database, &[published]).await;
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail").await, 1);
    assert_eq!(
        database.rows("SELECT user_id, date_trunc('milliseconds', bounce_at) = '2026-11-20T10:00:02Z' AS earliest FROM aws_reports").await,
        [json!({"user_id": "42", "earliest": true})],
        "the report has merged both copies"
    );
}

#[tokio::test]
async fn events_meet_the_row_that_the_sender_made() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let id = message_id(4);
    database
        .execute(&format!(
            "INSERT INTO aws_report_type VALUES (aws_report_type_id('invoice'), 'invoice');
            INSERT INTO aws_reports (id, message_id, user_email, user_id, report_type)
            VALUES (aws_report_id('{id}', 'Jane <JANE@example.com>'), '{id}', aws_report_address('Jane <JANE@example.com>'), 'c-7', aws_report_type_id('invoice'))"
        ))
        .await;
    let mut send = event::send(&id, &["jane@example.com"]);
    send["mail"]["tags"] = json!({});
    consumed(&queue, &database, &[send]).await;
    let rows = database
        .rows("SELECT user_id, report_name, send_at IS NOT NULL AS sent, updated_at > created_at AS touched FROM aws_reports r JOIN aws_report_type t ON t.id = r.report_type")
        .await;
    assert_eq!(
        rows,
        [json!({"user_id": "c-7", "report_name": "invoice", "sent": true, "touched": true})]
    );
}

/// Told by SQLSTATE and place: the message is in the server's language.
#[tokio::test]
async fn a_statement_that_a_pooler_has_mixed_up_is_known() {
    let database = Database::empty().await;
    let ask = async |between: &'static str| {
        let mut connection = database.options().connect().await.expect("a connection");
        let question = "SELECT $1::int";
        sqlx::query(question).bind(1).execute(&mut connection).await.expect("it is prepared");
        sqlx::raw_sql(between).execute(&mut connection).await.expect("another client");
        let error = sqlx::query(question).bind(1).execute(&mut connection).await;
        Error::from(error.expect_err("it is another's by now"))
    };
    // Other parameters, and none at all.
    for between in
        ["DEALLOCATE ALL; PREPARE sqlx_s_1 (int, int) AS SELECT $1 + $2", "DEALLOCATE ALL"]
    {
        let error = ask(between).await;
        assert!(matches!(error, Error::Pooler(_)), "{between}: {error:?}");
    }
    let mut connection = database.options().connect().await.expect("a connection");
    sqlx::raw_sql("PREPARE sqlx_s_1 AS SELECT 1").execute(&mut connection).await.expect("it runs");
    let error = sqlx::query("SELECT 2").execute(&mut connection).await.expect_err("it is taken");
    assert!(matches!(Error::from(error), Error::Pooler(_)));
}
