//! An event that any database with this schema accepts. Writing it and rolling back shows whether
//! PostgreSQL refuses a message or refuses everything.

use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::decode::identity::dead_letter_id;
use crate::decode::{Outcome, Rules, decode};
use crate::store::{DeadLetter, Error, Store};

/// Tries to write an event and a dead letter that are as long as their columns allow, and rolls that back.
///
/// # Errors
/// What PostgreSQL says; its text then holds nothing of a message.
pub(crate) async fn probe(store: &Store) -> Result<(), Error> {
    let now = now();
    let body = body(now);
    // A message id of its own, so that the probes of two workers do not wait for each other.
    let Outcome::Events(rows) = decode(&body, None, &Rules::default(), now) else {
        return Ok(());
    };
    let letter = DeadLetter {
        id: dead_letter_id(&body, "probe"),
        body: &body,
        reason: "probe".to_owned(),
        detail: None,
        sqs_message_id: None,
        source: "probe",
        sent_at: None,
        receive_count: None,
    };
    store.try_out(&rows.iter().collect::<Vec<_>>(), &[letter]).await
}

/// The session that holds a lock for which every event waits, where there is one: a lock on a whole table.
pub(crate) async fn lock_holder(store: &Store) -> Option<String> {
    let now = now();
    let Outcome::Events(rows) = decode(&body(now), None, &Rules::default(), now) else {
        return None;
    };
    store.lock_holder(&rows.iter().collect::<Vec<_>>()).await.ok().flatten()
}

/// A delivery of a mail with a name, an address and a subject that fill their columns.
fn body(now: OffsetDateTime) -> String {
    let at = (now - Duration::minutes(1)).format(&Rfc3339).unwrap_or_default();
    let message_id = format!("{:064x}", fastrand::u128(..));
    let recipient = format!("{}@example.invalid", "p".repeat(64));
    json!({
        "eventType": "Delivery",
        "mail": {
            "timestamp": at, "messageId": message_id, "source": recipient, "destination": [recipient],
            "commonHeaders": {"subject": "probe ".repeat(33)},
            "tags": {"report_type": ["ses-reports probe"], "user_id": ["ses-reports probe"]},
        },
        "delivery": {"timestamp": at, "recipients": [recipient]},
    })
    .to_string()
}

#[expect(clippy::disallowed_methods, reason = "here the clock enters: decode takes it as a value")]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_event_of_one_recipient() {
        let Outcome::Events(rows) = decode(&body(now()), None, &Rules::default(), now()) else {
            panic!("it decodes");
        };
        let [row] = &rows[..] else { panic!("it has one recipient") };
        assert_eq!(row.report.message_id.len(), 64);
        assert!(row.report.subject.as_ref().is_some_and(|subject| subject.len() > 190));
    }
}
