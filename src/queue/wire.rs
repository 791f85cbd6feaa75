//! Bodies of the AWS JSON protocol for the calls of the fast path: the fields of the SQS API reference.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{FailedEntry, MOST_PER_CALL, Message};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Receive<'a> {
    queue_url: &'a str,
    max_number_of_messages: usize,
    wait_time_seconds: i32,
    visibility_timeout: i32,
    message_system_attribute_names: [&'static str; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteBatch<'a> {
    queue_url: &'a str,
    entries: Vec<DeleteEntry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteEntry<'a> {
    id: String,
    receipt_handle: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Received<'a> {
    #[serde(borrow)]
    messages: Option<Vec<ReceivedMessage<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReceivedMessage<'a> {
    message_id: Option<String>,
    receipt_handle: Option<String>,
    body: Option<String>,
    #[serde(borrow)]
    attributes: Option<Attributes<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Attributes<'a> {
    #[serde(borrow)]
    approximate_receive_count: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sent_timestamp: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeletedBatch<'a> {
    #[serde(borrow)]
    failed: Option<Vec<NotDeleted<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NotDeleted<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    code: Cow<'a, str>,
}

/// The body of a receive.
pub(super) fn receive(queue_url: &str, wait: i32, visibility: i32) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Receive {
        queue_url,
        max_number_of_messages: MOST_PER_CALL,
        wait_time_seconds: wait,
        visibility_timeout: visibility,
        message_system_attribute_names: ["ApproximateReceiveCount", "SentTimestamp"],
    })
}

/// The body of a delete; each entry's id is its place.
pub(super) fn delete(queue_url: &str, receipt_handles: &[&str]) -> serde_json::Result<Vec<u8>> {
    let entries = receipt_handles
        .iter()
        .enumerate()
        .map(|(index, receipt_handle)| DeleteEntry { id: index.to_string(), receipt_handle })
        .collect();
    serde_json::to_vec(&DeleteBatch { queue_url, entries })
}

/// What a receive brought.
pub(super) fn received(answer: &[u8]) -> serde_json::Result<Vec<Message>> {
    let received: Received<'_> = serde_json::from_slice(answer)?;
    let messages = received.messages.unwrap_or_default().into_iter();
    Ok(messages.filter_map(message).collect())
}

/// What a delete did not do.
pub(super) fn not_deleted(answer: &[u8]) -> serde_json::Result<Vec<FailedEntry>> {
    let deleted: DeletedBatch<'_> = serde_json::from_slice(answer)?;
    let failed = deleted.failed.unwrap_or_default();
    Ok(failed.iter().filter_map(|entry| FailedEntry::of(&entry.id, &entry.code)).collect())
}

/// A message without a handle could never be deleted; SQS sends none such.
fn message(message: ReceivedMessage<'_>) -> Option<Message> {
    let attributes = message.attributes.unwrap_or_default();
    Some(Message {
        id: message.message_id.unwrap_or_default(),
        receipt_handle: message.receipt_handle?,
        body: message.body.unwrap_or_default(),
        sent_at: attributes.sent_timestamp.and_then(|millis| time_of_millis(millis.parse().ok()?)),
        receive_count: attributes.approximate_receive_count.and_then(|count| count.parse().ok()),
    })
}

/// `SentTimestamp` is in milliseconds since 1970.
pub(super) fn time_of_millis(millis: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use time::macros::datetime;

    #[test]
    fn calls_say_what_the_api_reference_asks_for() {
        let body = receive("https://q", 20, 30).expect("JSON");
        assert_eq!(
            serde_json::from_slice::<Value>(&body).expect("JSON"),
            json!({
                "QueueUrl": "https://q", "MaxNumberOfMessages": 10, "WaitTimeSeconds": 20, "VisibilityTimeout": 30,
                "MessageSystemAttributeNames": ["ApproximateReceiveCount", "SentTimestamp"],
            })
        );
        let body = delete("https://q", &["a", "b\""]).expect("JSON");
        assert_eq!(
            serde_json::from_slice::<Value>(&body).expect("JSON"),
            json!({"QueueUrl": "https://q", "Entries": [{"Id": "0", "ReceiptHandle": "a"}, {"Id": "1", "ReceiptHandle": "b\""}]})
        );
    }

    #[test]
    fn answers_are_read_whatever_else_they_hold() {
        let answer = json!({"Messages": [
            {"MessageId": "m", "ReceiptHandle": "r", "Body": "b\n\u{e9}", "MD5OfBody": "x",
             "Attributes": {"SentTimestamp": "1700000000123", "ApproximateReceiveCount": "2", "SenderId": "s"}},
            {"ReceiptHandle": "r2"},
            {"Body": "no handle"},
        ], "New": {}});
        let messages = received(answer.to_string().as_bytes()).expect("an answer");
        assert_eq!(
            messages,
            [
                Message {
                    id: "m".to_owned(),
                    receipt_handle: "r".to_owned(),
                    body: "b\n\u{e9}".to_owned(),
                    sent_at: Some(datetime!(2023-11-14 22:13:20.123 UTC)),
                    receive_count: Some(2),
                },
                Message {
                    id: String::new(),
                    receipt_handle: "r2".to_owned(),
                    body: String::new(),
                    sent_at: None,
                    receive_count: None,
                },
            ]
        );
        for empty in ["{}", r#"{"Messages":null}"#, r#"{"Messages":[]}"#] {
            assert_eq!(received(empty.as_bytes()).expect("an answer"), []);
        }
        assert!(received(b"{\"Messages\":[").is_err());
    }

    #[test]
    fn what_was_not_deleted_is_told_by_its_place() {
        let answer = json!({"Successful": [{"Id": "0"}], "Failed": [
            {"Id": "1", "Code": "ReceiptHandleIsInvalid", "SenderFault": true, "Message": "…"},
            {"Id": "2", "Code": "InternalError", "SenderFault": false},
        ]});
        let failed = not_deleted(answer.to_string().as_bytes()).expect("an answer");
        let told: Vec<_> = failed.iter().map(|entry| (entry.index, entry.is_final)).collect();
        assert_eq!(told, [(1, true), (2, false)]);
        assert_eq!(not_deleted(b"{\"Successful\":[]}").expect("an answer"), []);
    }
}
