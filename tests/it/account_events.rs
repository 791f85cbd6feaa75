//! Events of SES about an account or a tenant and about no mail.

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::event::{self, in_sns, message_id};
use crate::support::process::{Worker, run};
use crate::support::queue::Queue;

/// As EventBridge sends it to a queue.
fn bridged(id: Option<&str>, detail_type: &str, time: &str, detail: &Value) -> Value {
    let mut event = json!({
        "version": "0", "detail-type": detail_type, "source": "aws.ses", "account": "123456789012",
        "time": time, "region": "eu-west-1",
        "resources": ["arn:aws:ses:eu-west-1:123456789012:tenant/shop/tn-1"], "detail": detail,
    });
    if let Some(id) = id {
        event["id"] = json!(id);
    }
    event
}

fn paused() -> Value {
    let record = json!({"status": "DISABLED", "cause": "bounce rate", "lastUpdatedTimestamp": [1]});
    let detail = json!({"version": "1.0.0", "data": {"origin": "AWS_MANAGED", "record": record}});
    bridged(Some("eb-1"), "Sending Status Disabled", "2026-11-20T10:00:00Z", &detail)
}

fn found() -> Value {
    let metadata = json!({"impact": "HIGH", "type": "BOUNCE"});
    let detail =
        json!({"version": "1.0.0", "data": "The bounce rate exceeded 15.0%", "metadata": metadata});
    bridged(None, "Advisor Recommendation Status Open", "2026-11-20T09:00:00Z", &detail)
}

fn resumed() -> Value {
    let detail = json!({"version": "1.0.0", "data": "x"});
    bridged(Some("eb-2"), "Sending Status Enabled", "2026-11-20T11:00:00Z", &detail)
}

const EVENTS: &str = "SELECT occurred_at AT TIME ZONE 'UTC' AS at, detail_type, account, region, tenant, resources, detail
    FROM aws_report_account_event ORDER BY occurred_at";

fn expected(events: &[Value]) -> Vec<Value> {
    let row = |event: &Value| {
        json!({
            "at": event["time"].as_str().expect("a time").trim_end_matches('Z'),
            "detail_type": event["detail-type"], "account": "123456789012", "region": "eu-west-1",
            "tenant": "shop", "resources": event["resources"], "detail": event["detail"],
        })
    };
    events.iter().map(row).collect()
}

/// Four bodies: three events about an account, one of them together with a mail, and another mail.
fn bodies() -> Vec<String> {
    let send = event::send(&message_id(1), &["jane@example.com"]);
    let together = json!({"Messages": [
        {"MessageId": "m-1", "Body": event::send(&message_id(2), &["joe@example.com"]).to_string()},
        {"MessageId": "m-2", "Body": resumed().to_string()},
    ]});
    vec![paused().to_string(), send.to_string(), in_sns(&found(), "sns-1"), together.to_string()]
}

#[tokio::test]
async fn they_are_rows_beside_those_of_mails_and_once() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let call =
        bridged(Some("eb-3"), "AWS API Call via CloudTrail", "2026-11-20T10:00:00Z", &json!({}));
    for rows in ["500", "1"] {
        queue.send(&[bodies(), bodies(), vec![call.to_string()]].concat()).await;
        let log = Worker::until_idle(&database, &queue.url, &["--batch-rows", rows]).await;
        assert!(log.contains("5 acknowledged, 0 dead letters; deleted 9"), "{log}");
        assert_eq!(database.rows(EVENTS).await, expected(&[found(), paused(), resumed()]));
        assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail").await, 2);
    }

    let archive = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(archive.path(), bodies().join("\n")).expect("the archive is written");
    let path = archive.path().to_str().expect("a path");
    let settings = [("DATABASE_URL", &*database.url_of("operator"))];
    let replay = async || {
        let ended = run(&settings, &["replay", path, "--json", "--from-start"]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let said: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        ["read", "with_events", "acknowledged", "dead_letters"].map(|key| said[key].clone())
    };
    assert_eq!(replay().await, [4, 2, 2, 0].map(Value::from));
    assert_eq!(database.rows(EVENTS).await, expected(&[found(), paused(), resumed()]));
    database.execute("TRUNCATE aws_report_account_event, aws_report_detail, aws_reports").await;
    assert_eq!(replay().await, [4, 2, 2, 0].map(Value::from));
    assert_eq!(database.rows(EVENTS).await, expected(&[found(), paused(), resumed()]));
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail").await, 2);
}

#[tokio::test]
async fn one_that_is_refused_is_a_dead_letter_and_a_retry_writes_it() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    database.raise("22023", "aws_report_account_event", "NEW.detail_type LIKE '%Disabled'").await;
    queue.send(&bodies()).await;
    Worker::until_idle(&database, &queue.url, &[]).await;
    assert_eq!(database.rows(EVENTS).await, expected(&[found(), resumed()]));
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail").await, 2);
    let letter = database.rows("SELECT body FROM aws_report_dead_letter").await;
    assert_eq!(letter, [json!({"body": paused().to_string()})]);

    database.raise_no_more("aws_report_account_event").await;
    let settings = [("DATABASE_URL", &*database.url_of("operator"))];
    let ended = run(&settings, &["dead-letters", "retry", "--all", "--json"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told: Value =
        serde_json::from_str(ended.stdout.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        (&told["outcome"], &told["reason"]),
        (&json!("acknowledged"), &json!("account event"))
    );
    assert_eq!(database.rows(EVENTS).await, expected(&[found(), paused(), resumed()]));
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_dead_letter").await, 0);
}

#[tokio::test]
async fn decode_shows_them() {
    let pretty = serde_json::to_string_pretty(&paused()).expect("JSON");
    let files: Vec<_> = ([pretty].into_iter().chain(bodies().into_iter().skip(1)))
        .map(|body| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), body).expect("the body is written");
            file
        })
        .collect();
    let paths = files.iter().map(|file| file.path().to_str().expect("a path"));
    let ended = run(&[], &["decode"].into_iter().chain(paths).collect::<Vec<_>>()).await;
    let lines: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told = |line: &Value| {
        let types = line["account_events"].as_array().map(|events| {
            events.iter().map(|event| event["detail_type"].clone()).collect::<Vec<_>>()
        });
        json!([line["outcome"], line["reason"], line["events"].as_array().map(Vec::len), types])
    };
    assert_eq!(
        lines.iter().map(told).collect::<Vec<_>>(),
        [
            json!(["acknowledged", "account event", 0, ["Sending Status Disabled"]]),
            json!(["events", null, 1, null]),
            json!(["acknowledged", "account event", 0, ["Advisor Recommendation Status Open"]]),
            json!(["events", null, 1, ["Sending Status Enabled"]]),
        ]
    );
    let first = &lines[0]["account_events"][0];
    assert_eq!(first["detail"], paused()["detail"]);
    assert_eq!(first["resources"], paused()["resources"]);
    assert_eq!(
        (&first["tenant"], &first["occurred_at"]),
        (&json!("shop"), &json!("2026-11-20T10:00:00Z"))
    );
}
