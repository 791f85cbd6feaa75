//! The same rows whatever the order, the duplicates, and the number of workers.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::database::Database;
use crate::support::generate;
use crate::support::process::Worker;
use crate::support::queue::Queue;

/// Everything that must not depend on the order. Ids of envelopes that SQS gives out anew are left
/// aside, and of the two copies of one bounce or complaint (identity feedback and event
/// publishing) the detail row may be either.
async fn rows(database: &Database) -> (Vec<Value>, Vec<Value>, Vec<Value>, Vec<Value>) {
    (
        database.rows("SELECT * FROM aws_report_type ORDER BY id").await,
        database
            .rows("SELECT r.* FROM (SELECT id, to_jsonb(aws_reports) - 'created_at' - 'updated_at' AS report FROM aws_reports) AS r ORDER BY id")
            .await,
        database
            .rows(
                "SELECT report_id, id, event_type, message_id, \"from\", \"to\",
                    CASE WHEN notification_message_id ~ '^(sns|eb)-' AND NOT feedback THEN 'given' END AS envelope,
                    date_trunc(CASE WHEN feedback THEN 'second' ELSE 'microsecond' END, \"timestamp\") AS time,
                    CASE WHEN NOT feedback THEN subject END AS subject,
                    CASE WHEN NOT feedback THEN other_info END AS other_info
                FROM (SELECT *, event_type IN ('Bounce', 'Complaint') AS feedback FROM aws_report_detail) AS d
                ORDER BY report_id, id",
            )
            .await
            .into_iter()
            .map(without_choice)
            .collect(),
        database.rows("SELECT DISTINCT body, reason FROM aws_report_dead_letter ORDER BY body").await,
    )
}

/// The same event may have come in several envelopes; which came first decides what is kept.
fn without_choice(mut detail: Value) -> Value {
    detail.as_object_mut().expect("a row").remove("envelope");
    detail
}

#[tokio::test]
async fn order_duplicates_and_workers_change_nothing() {
    any_order_gives_the_same(3_000).await;
}

#[tokio::main(flavor = "current_thread")]
pub async fn few_messages_in_any_order() {
    any_order_gives_the_same(600).await;
}

async fn any_order_gives_the_same(messages: usize) {
    let bodies = generate::stream(20_261_121, messages);

    let queue = Queue::in_memory().await;
    let in_order = Database::migrated().await;
    queue.send(&bodies).await;
    let settings = ["--pollers", "1", "--writers", "1", "--batch-rows", "100"];
    Worker::until_idle(&in_order, &queue.url, &settings).await;

    let mut shuffled = bodies.clone();
    let mut random = fastrand::Rng::with_seed(30);
    let again = bodies.iter().filter(|_| random.u32(..100) < 30).cloned().collect::<Vec<_>>();
    shuffled.extend(again);
    random.shuffle(&mut shuffled);
    let any_order = Database::migrated().await;
    queue.send(&shuffled).await;
    tokio::join!(
        Worker::until_idle(&any_order, &queue.url, &["--batch-rows", "37"]),
        Worker::until_idle(&any_order, &queue.url, &["--writers", "3"]),
    );
    assert_eq!(queue.counts().await, (0, 0));

    let (expected, found) = (rows(&in_order).await, rows(&any_order).await);
    assert!(
        expected.1.len() > messages / 3 && expected.2.len() > messages,
        "the stream says something"
    );
    assert_eq!(found.0, expected.0, "report types");
    assert_same(&found.1, &expected.1);
    assert_same(&found.2, &expected.2);
    assert_same(&found.3, &expected.3);
    assert_eq!(
        any_order.rows(MISMATCHED).await,
        Vec::<Value>::new(),
        "reports are the fold of their details"
    );
    let undecodable: BTreeSet<&str> =
        expected.3.iter().filter_map(|letter| letter["body"].as_str()).collect();
    assert!(
        undecodable.iter().all(|body| bodies.iter().any(|sent| sent == body)),
        "dead letters are whole"
    );
}

/// Reports that are not the fold of their details, and details without a report.
pub(crate) const MISMATCHED: &str = r#"
    SELECT r.id FROM aws_reports r
    LEFT JOIN LATERAL (
        SELECT min("timestamp") FILTER (WHERE event_type = 'Delivery') AS delivery_at,
            min("timestamp") FILTER (WHERE event_type = 'Open') AS open_at,
            min("timestamp") FILTER (WHERE event_type = 'Click') AS click_at,
            min("timestamp") FILTER (WHERE event_type = 'Reject') AS reject_at,
            min("timestamp") FILTER (WHERE event_type = 'DeliveryDelay') AS delivery_delay_at,
            min("timestamp") FILTER (WHERE event_type = 'Rendering Failure') AS rendering_failure_at,
            min("timestamp") FILTER (WHERE event_type = 'Subscription') AS subscription_at,
            date_trunc('second', min("timestamp") FILTER (WHERE event_type = 'Bounce')) AS bounce_at,
            date_trunc('second', min("timestamp") FILTER (WHERE event_type = 'Complaint')) AS complaint_at,
            count(*) FILTER (WHERE event_type = 'Open') AS opens,
            count(*) FILTER (WHERE event_type = 'Click') AS clicks,
            count(*) AS details
        FROM aws_report_detail d WHERE d.report_id = r.id
    ) AS fold ON true
    WHERE details = 0 OR (r.delivery_at, r.open_at, r.click_at, r.reject_at, r.delivery_delay_at,
        r.rendering_failure_at, r.subscription_at, date_trunc('second', r.bounce_at),
        date_trunc('second', r.complaint_at), r.open_count, r.click_count)
        IS DISTINCT FROM (fold.delivery_at, fold.open_at, fold.click_at, fold.reject_at,
        fold.delivery_delay_at, fold.rendering_failure_at, fold.subscription_at, fold.bounce_at,
        fold.complaint_at, fold.opens, fold.clicks)
    UNION ALL
    SELECT report_id FROM aws_report_detail d WHERE NOT EXISTS (SELECT FROM aws_reports r WHERE r.id = d.report_id)"#;

fn assert_same(found: &[Value], expected: &[Value]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
}
