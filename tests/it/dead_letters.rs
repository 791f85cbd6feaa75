//! Whatever arrives that is no event: acknowledged, or stored whole with its reason.

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::event;
use crate::support::process::{Worker, eventually};
use crate::support::queue::Queue;

#[tokio::test]
async fn each_ends_as_the_contract_says() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let send = |changes: Value| {
        let mut mail = event::mail("m-1", &["jane@example.com"]);
        for (key, value) in changes.as_object().expect("an object") {
            mail[key] = value.clone();
        }
        event::event("Send", "send", json!({}), mail).to_string()
    };
    let big = format!("{{\"payload\":\"{}\"}}", "é".repeat(100_000));
    let nul = r#"{"subject":"a\u0000b"}"#.to_owned();
    let dead = [
        ("not JSON", "just text".to_owned()),
        ("not JSON", "{\"eventType\": \"Send\",".to_owned()),
        ("not an SES event", "{}".to_owned()),
        ("not an SES event", nul),
        ("not an SES event", big),
        ("not an SES event", event::in_sns(&json!({"some": "thing"}), "n")),
        (
            "not an SES event",
            json!({"source": "aws.ec2", "detail-type": "x", "detail": {}}).to_string(),
        ),
        ("no message id", send(json!({"messageId": null}))),
        ("no recipient", send(json!({"destination": []}))),
        ("no readable timestamp", send(json!({"timestamp": "yesterday"}))),
        ("dated before 2011", send(json!({"timestamp": "2010-06-01T00:00:00Z"}))),
        ("dated more than two days ahead", send(json!({"timestamp": "2099-01-01T00:00:00Z"}))),
    ];
    let validation = "Successfully validated SNS topic for Amazon SES event publishing.";
    let acknowledged = [
        validation.to_owned(),
        json!({"Type": "Notification", "MessageId": "n", "Message": validation}).to_string(),
        json!({"Type": "SubscriptionConfirmation", "SubscribeURL": "https://sns.example/"}).to_string(),
        json!({"Type": "UnsubscribeConfirmation", "SubscribeURL": "https://sns.example/"}).to_string(),
        json!({"notificationType": "AmazonSnsSubscriptionSucceeded", "message": "You have …"}).to_string(),
        json!({"notificationType": "Received", "mail": {"messageId": "in"}, "receipt": {}}).to_string(),
        json!({"source": "aws.ses", "detail-type": "Advisor Recommendation Status Open", "detail": {"data": "x"}}).to_string(),
        json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}).to_string(),
    ];
    let events = [
        send(json!({})),
        event::in_sns(
            &event::event(
                "Teleported",
                "teleported",
                json!({}),
                event::mail("m-2", &["a@example.com", "b@example.com"]),
            ),
            "n",
        ),
        // A month that is long gone, and one that is not there yet.
        event::event(
            "Open",
            "open",
            json!({"timestamp": "2013-02-03T04:05:06Z"}),
            event::mail("m-3", &["jane@example.com"]),
        )
        .to_string(),
    ];
    let bodies: Vec<String> =
        dead.iter().map(|(_, body)| body.clone()).chain(acknowledged).chain(events).collect();
    // Twice, as SQS may.
    queue.send(&bodies).await;
    let log = Worker::until_idle(&database, &queue.url, &[]).await;
    queue.send(&bodies[dead.len()..]).await;
    Worker::until_idle(&database, &queue.url, &[]).await;

    assert_eq!(queue.counts().await, (0, 0), "nothing stays in the queue");
    assert_eq!(
        queue.counts_of(&queue.dead_letter_url).await,
        (0, 0),
        "SQS's own dead-letter queue stays empty"
    );
    let mut stored: Vec<(String, String)> = database
        .rows("SELECT reason, body FROM aws_report_dead_letter")
        .await
        .iter()
        .map(|row| {
            (
                row["reason"].as_str().expect("text").to_owned(),
                row["body"].as_str().expect("text").to_owned(),
            )
        })
        .collect();
    let mut expected: Vec<(String, String)> =
        dead.iter().map(|(reason, body)| ((*reason).to_owned(), body.clone())).collect();
    stored.sort();
    expected.sort();
    assert_eq!(stored, expected);
    let unexplained: i64 = database
        .one("SELECT count(*) FROM aws_report_dead_letter WHERE sqs_message_id IS NULL OR sent_at IS NULL OR receive_count IS NULL")
        .await;
    assert_eq!(unexplained, 0);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail").await, 4);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail_2013_02").await, 1);
    for secret in ["jane@example.com", "just text", "Your order"] {
        assert!(!log.contains(secret), "the log tells {secret:?}:\n{log}");
    }
}

#[tokio::test]
async fn a_message_that_postgresql_refuses_is_found_in_its_batch() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    database.raise("22023", "aws_report_detail", "NEW.subject = 'thirteen'").await;
    let bodies: Vec<String> = (0..60)
        .map(|number| {
            let mut mail =
                event::mail(&event::message_id(number), &["jane@example.com", "joe@example.com"]);
            if number == 13 || number == 37 {
                mail["commonHeaders"] = json!({"subject": "thirteen"});
            }
            event::event("Send", "send", json!({}), mail).to_string()
        })
        .collect();
    queue.send(&bodies).await;
    Worker::until_idle(&database, &queue.url, &["--batch-linger", "1000"]).await;
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail").await, 58 * 2);
    let letters = database.rows("SELECT reason, detail, body FROM aws_report_dead_letter").await;
    assert_eq!(letters.len(), 2);
    for letter in letters {
        assert_eq!(letter["reason"], "refused by PostgreSQL");
        assert!(letter["detail"].as_str().expect("text").contains("22023"), "{letter}");
        assert!([&bodies[13], &bodies[37]].iter().any(|body| **body == letter["body"]));
    }
    assert_eq!(queue.counts().await, (0, 0));
}

#[tokio::test]
async fn a_message_that_postgresql_refuses_in_any_form_stops_nobody() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    database.raise("22023", "aws_report_detail", "NEW.subject = 'thirteen'").await;
    database.raise("22023", "aws_report_dead_letter", "NEW.body LIKE '%thirteen%'").await;
    let mut mail = event::mail(&event::message_id(13), &["jane@example.com"]);
    mail["commonHeaders"] = json!({"subject": "thirteen"});
    queue.send(&[event::event("Send", "send", json!({}), mail).to_string()]).await;
    let mut worker = Worker::start(&database, &queue.url, &[]);
    eventually("it is left to the queue", || async {
        worker.log().contains("leaving the message to the queue")
    })
    .await;
    let good: Vec<String> = (20..40)
        .map(|number| event::send(&event::message_id(number), &["jane@example.com"]).to_string())
        .collect();
    queue.send(&good).await;
    eventually("the others are written", || async {
        database.one::<i64>("SELECT count(*) FROM aws_reports").await == 20
    })
    .await;
    let (status, _) = worker.terminate().await;
    assert!(status.success(), "{}", worker.log());
}
