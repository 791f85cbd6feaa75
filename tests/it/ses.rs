//! The whole way on LocalStack: SES → SNS → SQS → worker → tables.

use crate::support::database::Database;
use crate::support::process::Worker;
use crate::support::queue::{Queue, python};

#[tokio::test]
async fn the_story_of_the_demo_is_told_right() {
    for raw in [false, true] {
        let arguments: &[&str] = if raw { &["--raw"] } else { &[] };
        let (queue, database) = (Queue::deploy_with(arguments).await, Database::migrated().await);
        let told = python(
            "story.py",
            &["--topic", &queue.topic_arn, "--configuration-set", &queue.configuration_set],
        )
        .await;
        let log = Worker::until_idle(&database.url(), &queue.url, &[]).await;
        let count = |sql: &'static str| {
            let database = &database;
            async move { database.one::<i64>(sql).await }
        };
        assert_eq!(count("SELECT count(*) FROM aws_report_dead_letter").await, 1, "{told}\n{log}");
        assert_eq!(
            count("SELECT count(DISTINCT event_type) FROM aws_report_detail").await,
            10,
            "{told}"
        );
        // Real events of LocalStack's SES, through SNS.
        assert!(
            count("SELECT count(*) FROM aws_report_detail WHERE event_type = 'Send'").await >= 4,
            "{told}"
        );
        assert!(
            count("SELECT count(*) FROM aws_report_detail WHERE event_type = 'Delivery'").await
                >= 4,
            "{told}"
        );
        assert_eq!(count("SELECT count(*) FROM aws_reports WHERE send_at IS NULL AND reject_at IS NULL AND rendering_failure_at IS NULL").await, 0);
        assert_eq!(queue.counts().await, (0, 0));
    }
}
