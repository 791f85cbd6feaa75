//! SQS's own dead-letter queue, drained on the way of events.

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{Ended, run};
use crate::support::queue::Queue;

async fn redrive(database: &Database, queue: &Queue, from: &str) -> Ended {
    let settings =
        [("DATABASE_URL", &*database.url_of("worker")), ("SQS_QUEUE_URL", queue.url.as_str())];
    run(&settings, &["redrive", "--from", from, "--json"]).await
}

#[tokio::test]
async fn what_is_in_the_dead_letter_queue_is_written_and_deleted() {
    let (queue, database) = (Queue::deploy().await, Database::migrated().await);
    let mut bodies: Vec<String> = (0..40)
        .map(|number| event::send(&message_id(number), &["jane@example.com"]).to_string())
        .collect();
    bodies.push(bodies[0].clone());
    bodies.push("still no event".to_owned());
    bodies.push("Successfully validated SNS topic for Amazon SES event publishing.".to_owned());
    let dead_letter_url = queue.dead_letter_url.clone();
    queue.send_to(&dead_letter_url, &bodies).await;

    let ended = redrive(&database, &queue, &dead_letter_url).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(
        said,
        json!({"read": 43, "with_events": 41, "acknowledged": 1, "dead_letters": 1, "new_events": 40,
            "known_events": 1, "expired_events": 0, "deleted": 43, "left": 0})
    );
    assert_eq!(queue.counts_of(&dead_letter_url).await, (0, 0));
    let letter = database.rows("SELECT body, source FROM aws_report_dead_letter").await;
    let name = dead_letter_url.rsplit('/').next().expect("a name");
    assert_eq!(letter, [json!({"body": "still no event", "source": format!("sqs:{name}")})]);
}

#[tokio::test]
async fn the_queue_of_the_workers_is_refused() {
    let (queue, database) = (Queue::deploy().await, Database::migrated().await);
    for (from, says) in
        [(&*queue.url, "SQS_QUEUE_URL"), ("arn:aws:sqs:eu-west-1:1:q", "must start with https://")]
    {
        let ended = redrive(&database, &queue, from).await;
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
    }
    let gone = format!("{}-none", queue.dead_letter_url);
    let ended = redrive(&database, &queue, &gone).await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("--from: "), "{}", ended.stderr);
}
