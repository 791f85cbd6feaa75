//! The whole way on LocalStack: SES → SNS → SQS → worker → tables.

use serde_json::Value;

use crate::support::database::Database;
use crate::support::process::Worker;
use crate::support::queue::{Queue, python};

/// What the story says of each recipient: the columns that it must set, `send_at` among them.
const FATES: [(&str, &str); 12] = [
    ("alice@example.com", "send delivery open click"),
    ("bob@example.com", "send bounce"),
    ("carol@example.com", "send bounce"),
    ("dave@example.com", "send delivery complaint"),
    ("erin@example.com", "send delivery delivery_delay"),
    ("frank@example.com", "send delivery open"),
    ("grace@example.com", "send bounce open"),
    ("heidi@example.com", "send delivery complaint open"),
    ("ivan@example.com", "reject"),
    ("judy@example.com", "rendering_failure"),
    ("kim@example.com", "send delivery subscription"),
    ("lou@example.com", "send delivery bounce"),
];

const COLUMNS: [&str; 10] = [
    "send",
    "delivery",
    "delivery_delay",
    "bounce",
    "complaint",
    "open",
    "click",
    "reject",
    "rendering_failure",
    "subscription",
];

#[tokio::test]
async fn the_story_of_the_demo_is_told_right() {
    for raw in [false, true] {
        let arguments: &[&str] = if raw { &["--raw"] } else { &[] };
        let (queue, database) = (Queue::deploy_with(arguments).await, Database::migrated().await);
        let story = [
            "--topic",
            &queue.pipeline().topic_arn,
            "--configuration-set",
            &queue.pipeline().configuration_set,
        ];
        python("story.py", &story).await;
        let log = Worker::until_idle_for("3", &database, &queue.url, &[]).await;

        let reports = database.rows("SELECT * FROM aws_reports ORDER BY user_email").await;
        let fates: Vec<(&str, String)> = reports.iter().map(fate).collect();
        let expected = FATES.map(|(address, columns)| (address, sorted(columns)));
        assert_eq!(fates, expected, "{log}");
        let alice = &reports[0];
        assert_eq!((&alice["open_count"], &alice["click_count"]), (&2.into(), &1.into()));
        assert_eq!(alice["subject"], "Your invoice");
        let types: i64 =
            database.one("SELECT count(DISTINCT event_type) FROM aws_report_detail").await;
        assert_eq!(types, 10);
        let letters = database.rows("SELECT reason, body FROM aws_report_dead_letter").await;
        assert_eq!(letters.len(), 1);
        assert!(letters[0]["body"].as_str().is_some_and(|body| body.contains("test message")));
        assert_eq!(queue.counts().await, (0, 0));
    }
}

fn fate(report: &Value) -> (&str, String) {
    let set = COLUMNS.into_iter().filter(|column| !report[format!("{column}_at")].is_null());
    let address = report["user_email"].as_str().expect("an address");
    (address, sorted(&set.collect::<Vec<_>>().join(" ")))
}

fn sorted(words: &str) -> String {
    let mut words: Vec<&str> = words.split(' ').collect();
    words.sort_unstable();
    words.join(" ")
}
