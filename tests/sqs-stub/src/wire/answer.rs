//! Answers, written as bytes: a receive of ten bodies costs no tree of values.

use std::collections::BTreeMap;
use std::io::Write as _;

use super::error::FailedEntry;
use super::parameters::Parameters;
use crate::queue::Delivery;

/// The answer of a receive. Attributes come only when they are asked for.
pub(crate) fn messages(deliveries: &[Delivery], parameters: &Parameters) -> Vec<u8> {
    if deliveries.is_empty() {
        return b"{}".to_vec();
    }
    let bodies: usize = deliveries.iter().map(|delivery| delivery.body.json().len()).sum();
    let mut json = Vec::with_capacity(bodies + deliveries.len() * 320);
    json.extend_from_slice(br#"{"Messages":["#);
    for (index, delivery) in deliveries.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        // Writing to a Vec cannot fail.
        let _ = write!(
            json,
            r#"{{"MessageId":"{}","ReceiptHandle":"{}","MD5OfBody":"{}","Body":"#,
            delivery.message_id,
            delivery.receipt_handle,
            delivery.body.md5()
        );
        json.extend_from_slice(delivery.body.json());
        write_attributes(&mut json, delivery, parameters);
        json.push(b'}');
    }
    json.extend_from_slice(b"]}");
    json
}

fn write_attributes(json: &mut Vec<u8>, delivery: &Delivery, parameters: &Parameters) {
    let attributes = [
        ("SentTimestamp", delivery.sent_at.as_millis()),
        ("ApproximateReceiveCount", u128::from(delivery.receive_count)),
        ("ApproximateFirstReceiveTimestamp", delivery.first_received_at.as_millis()),
    ];
    let mut is_first = true;
    for (name, value) in attributes {
        if parameters.wants(name) {
            let before = if is_first { r#","Attributes":{"# } else { "," };
            let _ = write!(json, r#"{before}"{name}":"{value}""#);
            is_first = false;
        }
    }
    if !is_first {
        json.push(b'}');
    }
}

/// The answer of `SendMessage`.
pub(crate) fn md5_of_body(message_id: &str, md5: &str) -> Vec<u8> {
    format!(r#"{{"MessageId":"{message_id}","MD5OfMessageBody":"{md5}"}}"#).into_bytes()
}

/// The answer of `CreateQueue` and `GetQueueUrl`.
pub(crate) fn queue_url(url: &str) -> Vec<u8> {
    serde_json::json!({ "QueueUrl": url }).to_string().into_bytes()
}

/// The answer of `GetQueueAttributes`.
pub(crate) fn attributes(attributes: &BTreeMap<&str, String>) -> Vec<u8> {
    if attributes.is_empty() {
        return b"{}".to_vec();
    }
    serde_json::json!({ "Attributes": attributes }).to_string().into_bytes()
}

/// The answer of a batch, entry by entry. Ids are of letters that JSON does not escape.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    successful: Vec<u8>,
    failed: Vec<u8>,
}

impl Batch {
    pub(crate) fn succeeded(&mut self, id: &str) {
        self.add(id, "");
    }

    pub(crate) fn sent(&mut self, id: &str, message_id: &str, md5: &str) {
        self.add(id, &format!(r#","MessageId":"{message_id}","MD5OfMessageBody":"{md5}""#));
    }

    fn add(&mut self, id: &str, more: &str) {
        separate(&mut self.successful);
        let _ = write!(self.successful, r#"{{"Id":"{id}"{more}}}"#);
    }

    pub(crate) fn failed(&mut self, id: &str, FailedEntry { code, message }: FailedEntry) {
        separate(&mut self.failed);
        let is_senders = !code.contains("Internal");
        let _ = write!(
            self.failed,
            r#"{{"Id":"{id}","Code":"{code}","Message":"{message}","SenderFault":{is_senders}}}"#
        );
    }

    pub(crate) fn into_json(self) -> Vec<u8> {
        let mut json = Vec::with_capacity(self.successful.len() + self.failed.len() + 32);
        json.extend_from_slice(br#"{"Successful":["#);
        json.extend_from_slice(&self.successful);
        json.push(b']');
        // As SQS and LocalStack do it: no list where nothing failed.
        if !self.failed.is_empty() {
            json.extend_from_slice(br#","Failed":["#);
            json.extend_from_slice(&self.failed);
            json.push(b']');
        }
        json.push(b'}');
        json
    }
}

fn separate(json: &mut Vec<u8>) {
    if !json.is_empty() {
        json.push(b',');
    }
}
