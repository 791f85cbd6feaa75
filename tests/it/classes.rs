//! Why mail bounced and whose mailbox it was for, in the tables.

use serde_json::{Value, json};
use ses_reports::classify::bounce::BounceClass;

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::Worker;
use crate::support::queue::Queue;

#[tokio::test]
async fn the_table_of_bounce_classes_is_that_of_the_code() {
    let database = Database::migrated().await;
    let classes = "SELECT class, fault, meaning FROM aws_report_bounce_class ORDER BY class";
    let expected = BounceClass::ALL.map(|class| {
        json!({"class": class.name(), "fault": class.fault().name(), "meaning": class.meaning()})
    });
    let found = database.rows(classes).await;
    assert_eq!(found, expected, "a migration has to change what the code has changed");
}

/// A bounce with the answer of a server.
fn bounce(number: u64, to: &str, bounce_type: &str, says: &str) -> Value {
    let mut bounce = event::bounce(&message_id(number), &[to], to);
    bounce["bounce"]["bounceType"] = json!(bounce_type);
    bounce["bounce"]["feedbackId"] = json!(says);
    bounce["bounce"]["bouncedRecipients"][0] = json!({
        "emailAddress": to, "action": "failed", "status": "5.0.0", "diagnosticCode": says,
    });
    bounce
}

const FULL: &str = "smtp; 452 4.2.2 mailbox full";
const UNKNOWN: &str = "smtp; 550 5.1.1 user unknown";

/// Events of which several say something of one and the same report.
fn events() -> Vec<Value> {
    let (jane, at_google) = (["jane@gmail.com"], ["jim@example.com"]);
    let mut delivery = event::delivery(&message_id(2), &at_google, &at_google);
    delivery["delivery"]["smtpResponse"] = json!("250 2.0.0 OK  1795000000 a1si2.3 - gsmtp");
    vec![
        event::send(&message_id(1), &jane),
        bounce(1, jane[0], "Permanent", UNKNOWN),
        // Weaker than the one before.
        bounce(1, jane[0], "Transient", FULL),
        event::send(&message_id(2), &at_google),
        delivery,
        event::open(&message_id(2), &at_google, "2026-11-20T11:00:00.000Z"),
        bounce(3, "joe@outlook.com", "Transient", FULL),
        bounce(4, "joan@example.com", "Permanent", "smtp; 550 no"),
    ]
}

#[tokio::test]
async fn in_whatever_order_events_arrive_reports_know_the_same_class_and_provider() {
    for is_reversed in [false, true] {
        let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
        let mut events = events();
        if is_reversed {
            events.reverse();
        }
        // Split, so that the table folds them as well as memory, and the first ones again.
        let (first, second) = events.split_at(3);
        for part in [first, &[second, first].concat()] {
            let bodies: Vec<String> = part.iter().map(Value::to_string).collect();
            queue.send(&bodies).await;
            Worker::until_idle(&database, &queue.url, &[]).await;
        }
        let reports = "SELECT user_email, provider, bounce_type, bounce_class FROM aws_reports ORDER BY message_id";
        let report = |email,
                      provider: Option<&str>,
                      bounce_type: Option<&str>,
                      class: Option<&str>| json!({"user_email": email, "provider": provider, "bounce_type": bounce_type, "bounce_class": class});
        assert_eq!(
            database.rows(reports).await,
            [
                report(
                    "jane@gmail.com",
                    Some("gmail"),
                    Some("Permanent"),
                    Some("invalid-recipient")
                ),
                report("jim@example.com", Some("gmail"), None, None),
                report(
                    "joe@outlook.com",
                    Some("microsoft"),
                    Some("Transient"),
                    Some("mailbox-full")
                ),
                report("joan@example.com", None, Some("Permanent"), None),
            ]
        );
        let details = "SELECT class FROM aws_report_detail WHERE event_type = 'Bounce' ORDER BY message_id, class";
        let classes: Vec<Value> =
            database.rows(details).await.iter().map(|row| row["class"].clone()).collect();
        assert_eq!(
            classes,
            [json!("invalid-recipient"), json!("mailbox-full"), json!("mailbox-full"), Value::Null]
        );
    }
}
