//! Whose messages are written: LocalStack's SNS really signs, and others only say so.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::http::{free_address, get};
use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{Worker, eventually, run};
use crate::support::queue::Queue;
use crate::support::sns::{self, Signer, Trap};

/// The reasons of the dead letters, in order.
async fn reasons(database: &Database) -> Vec<String> {
    let rows = database.rows("SELECT reason FROM aws_report_dead_letter ORDER BY reason").await;
    rows.iter().map(|row| row["reason"].as_str().expect("text").to_owned()).collect()
}

async fn reports(database: &Database) -> i64 {
    database.one("SELECT count(*) FROM aws_reports").await
}

fn send(number: u64) -> Value {
    event::send(&message_id(number), &["jane@example.com"])
}

#[tokio::test]
async fn what_sns_signed_becomes_rows_and_what_was_forged_does_not() {
    let (queue, signer, trap) = (Queue::deploy().await, Signer::start().await, Trap::set());
    // What SES sent to the topic when the configuration set was made.
    sns::take(&queue).await;
    sns::publish(&queue, &send(0)).await;
    let real = sns::take(&queue).await;
    assert!(real.contains("jane@example.com") && real.contains(&sns::certificates()), "{real}");
    let url = |body: &str| {
        let body: Value = serde_json::from_str(body).expect("an envelope");
        body["SigningCertURL"].as_str().expect("a URL").to_owned()
    };
    let altered = real.replace("jane@example.com", "joan@example.com");
    let forged = [
        altered.clone(),
        signer.sign(&altered, &url(&real)),
        signer.sign(&altered, &format!("{}a.pem", trap.url())),
        event::in_sns(&send(1), "n"),
        send(2).to_string(),
    ];
    let with = |mode| ["--verify-sns", mode, "--sns-cert-url-prefix"];
    let prefix = sns::certificates();

    let database = Database::migrated().await;
    for version in ["1", "2"] {
        sns::sign_as_version(&queue, version).await;
        for number in 0..3 {
            let number = if version == "1" { 10 + number } else { 20 + number };
            sns::publish(&queue, &send(number)).await;
        }
    }
    queue.send(&forged).await;
    let arguments = [&with("enforce")[..], &[prefix.as_str()]].concat();
    let log = Worker::until_idle_for("3", &database, &queue.url, &arguments).await;
    assert_eq!(reports(&database).await, 6, "{log}");
    let (forgery, unverifiable) = ("forged or altered SNS message", "unverifiable SNS message");
    let refused = [forgery, forgery, "not signed by SNS", unverifiable, unverifiable];
    assert_eq!(reasons(&database).await, refused);
    assert!(log.contains("accepted without verification"), "{log}");
    let whole: i64 = database
        .one("SELECT count(*) FROM aws_report_dead_letter WHERE body LIKE '%joan@example.com%' AND detail IS NOT NULL")
        .await;
    assert_eq!(whole, 3, "dead letters are whole, and say why");

    let database = Database::migrated().await;
    queue.send(&forged).await;
    let arguments = [&with("warn")[..], &[prefix.as_str()]].concat();
    let log = Worker::until_idle_for("3", &database, &queue.url, &arguments).await;
    assert_eq!(reports(&database).await, 3, "three forgeries are about one mail: {log}");
    assert_eq!(reasons(&database).await, [""; 0]);
    // They come at once, so one line is logged for all of them.
    let is_logged =
        |reason: &&str| log.contains(&format!("accepted although verification failed: {reason}"));
    assert!(refused.iter().any(is_logged), "{log}");
    assert!(!log.contains("@example.com"), "{log}");
    assert!(trap.is_untouched(), "only SNS's own certificates are asked for");
    assert_eq!(queue.counts().await, (0, 0));
}

#[tokio::test]
async fn only_listed_topics_may_send() {
    let (queue, database) = (Queue::deploy().await, Database::migrated().await);
    sns::publish(&queue, &send(1)).await;
    queue.send(&[event::in_sns(&send(2), "n"), send(3).to_string()]).await;
    let list =
        format!("arn:aws:sns:eu-west-1:123456789012:another, {}", queue.pipeline().topic_arn);
    let log =
        Worker::until_idle_for("3", &database, &queue.url, &["--sns-topic-arns", &list]).await;
    assert_eq!(reports(&database).await, 1, "{log}");
    assert_eq!(reasons(&database).await, ["from a topic that is not allowed", "names no topic"]);
}

#[tokio::test]
async fn a_certificate_that_is_away_costs_no_message() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let signer = Signer::start().await;
    let url = format!("{}a.pem", signer.certificates());
    let bodies: Vec<String> =
        (0..30).map(|number| signer.sign(&event::in_sns(&send(number), "n"), &url)).collect();
    let prefix = signer.certificates();
    let arguments = ["--verify-sns", "enforce", "--sns-cert-url-prefix", &prefix];

    signer.is_up.store(false, Ordering::Release);
    queue.send(&bodies).await;
    let mut worker = Worker::start(&database, &queue.url, &arguments);
    eventually("all are held", || async { queue.counts().await == (0, 30) }).await;
    eventually("the worker says so", || async {
        worker.log().contains("holding the messages that it has signed")
    })
    .await;
    let (status, _) = worker.terminate().await;
    assert!(status.success(), "{}", worker.log());
    assert_eq!(queue.counts().await, (30, 0), "a worker that stops gives back what it holds");

    let address = free_address();
    let arguments = [&arguments[..], &["--exit-when-idle", "1", "--http-addr", &address]].concat();
    let worker = Worker::start(&database, &queue.url, &arguments);
    // Longer than a message stays hidden, unless the worker keeps it hidden.
    eventually("some tries fail", || async {
        worker.log().matches("holding the messages").count() >= 4
    })
    .await;
    assert_eq!(queue.counts().await, (0, 30));
    let (_, metrics) = get(&address, "/metrics").await.expect("the worker answers");
    assert!(metrics.contains("ses_reports_messages_awaiting_certificate 30\n"), "{metrics}");
    assert_eq!((reports(&database).await, reasons(&database).await.len()), (0, 0));
    let asked = signer.asked.load(Ordering::Acquire);
    signer.is_up.store(true, Ordering::Release);
    let log = worker.ends_well().await;
    assert!(log.contains("can be fetched again") && log.contains("received 30 messages"), "{log}");
    assert_eq!((reports(&database).await, reasons(&database).await.len()), (30, 0));
    assert_eq!(signer.asked.load(Ordering::Acquire), asked + 1, "one fetch for all of them");
    assert_eq!(queue.counts().await, (0, 0));
}

#[tokio::test]
async fn what_cannot_be_told_holds_up_nobody_else() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let signer = Signer::start().await;
    let prefix = signer.certificates();
    let bodies: Vec<String> = (0..20)
        .map(|number| {
            let file = if number % 10 == 3 { "never.pem" } else { "a.pem" };
            signer.sign(&event::in_sns(&send(number), "n"), &format!("{prefix}{file}"))
        })
        .collect();
    queue.send(&bodies).await;
    let arguments = ["--verify-sns", "enforce", "--sns-cert-url-prefix", &prefix];
    let mut worker = Worker::start(&database, &queue.url, &arguments);
    eventually("the others are written and deleted", || async {
        reports(&database).await == 18 && queue.counts().await == (0, 2)
    })
    .await;
    let (status, _) = worker.terminate().await;
    assert!(status.success(), "{}", worker.log());
    assert_eq!(queue.counts().await, (2, 0));
    assert_eq!(reasons(&database).await, [""; 0]);

    let arguments = ["--verify-sns", "warn", "--sns-cert-url-prefix", &prefix];
    let log = Worker::until_idle(&database, &queue.url, &arguments).await;
    assert_eq!(reports(&database).await, 20, "a warning waits for nothing: {log}");
    let line = "accepted although verification failed: unverifiable SNS message";
    assert_eq!(log.matches(line).count(), 1, "one line for both, since they come at once: {log}");
}

#[tokio::test]
async fn no_url_of_a_message_is_visited() {
    let (queue, trap) = (Queue::in_memory().await, Trap::set());
    let mut body = json!({
        "Type": "SubscriptionConfirmation", "MessageId": "n", "TopicArn": "arn:aws:sns:eu-west-1:123456789012:events",
        "Message": "You have chosen …", "Token": "t", "Timestamp": "2026-11-20T10:00:03.000Z",
        "SubscribeURL": format!("{}?Action=ConfirmSubscription", trap.url()),
        "UnsubscribeURL": format!("{}?Action=Unsubscribe", trap.url()),
        "SignatureVersion": "2", "Signature": "c2lnbmF0dXJl",
        "SigningCertURL": format!("{}a.pem", trap.url()),
    });
    for mode in ["off", "warn", "enforce"] {
        let database = Database::migrated().await;
        let bodies: Vec<String> =
            ["SubscriptionConfirmation", "UnsubscribeConfirmation", "Notification"]
                .map(|kind| {
                    body["Type"] = json!(kind);
                    body.to_string()
                })
                .into();
        queue.send(&bodies).await;
        let log = Worker::until_idle(&database, &queue.url, &["--verify-sns", mode]).await;
        assert!(trap.is_untouched(), "{mode}: {log}");
        let is_strict = mode == "enforce";
        assert_eq!(
            reasons(&database).await.contains(&"unverifiable SNS message".to_owned()),
            is_strict
        );
    }
}

#[tokio::test]
async fn a_setting_that_cannot_be_meant_is_one_line() {
    for (variable, value) in [
        ("SNS_TOPIC_ARNS", "arn:aws:sqs:eu-west-1:123456789012:queue"),
        ("SNS_TOPIC_ARNS", "events"),
        ("SNS_TOPIC_ARNS", ","),
        ("SNS_CERT_URL_PREFIX", "localhost"),
        ("VERIFY_SNS", "maybe"),
    ] {
        let settings = [
            ("DATABASE_URL", "postgres://u@127.0.0.1:9/d"),
            ("SQS_QUEUE_URL", "http://127.0.0.1:9/1/q"),
            (variable, value),
        ];
        let ended = run(&settings, &[]).await;
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{}", ended.stderr);
        let flag = format!("--{}", variable.to_lowercase().replace('_', "-"));
        assert!(
            ended.stderr.contains(variable) || ended.stderr.contains(&flag),
            "{}",
            ended.stderr
        );
    }
}
