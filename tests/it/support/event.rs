//! Events as SES writes them, made by hand with made-up addresses.

use serde_json::{Value, json};

/// An SES message id whose clock is some milliseconds after a day in November 2026.
pub fn message_id(number: u64) -> String {
    let millis = 1_795_000_000_000_u64 + number * 1_000;
    format!("0102{millis:012x}-{number:08x}-1111-2222-3333-444444444444-000000")
}

/// A `mail` object.
pub fn mail(message_id: &str, destination: &[&str]) -> Value {
    json!({
        "timestamp": "2026-11-20T10:00:00.123Z",
        "messageId": message_id,
        "source": "Shop <orders@shop.example>",
        "sourceArn": "arn:aws:ses:eu-west-1:123456789012:identity/shop.example",
        "sendingAccountId": "123456789012",
        "destination": destination,
        "headersTruncated": false,
        "headers": [{"name": "From", "value": "Shop <orders@shop.example>"}],
        "commonHeaders": {"from": ["Shop <orders@shop.example>"], "subject": "Your order"},
        "tags": {"ses:configuration-set": ["main"], "ses:source-ip": ["192.0.2.1"], "user_id": ["42"]},
    })
}

/// An event as event publishing writes it.
#[expect(clippy::needless_pass_by_value, reason = "json! makes values")]
pub fn event(name: &str, key: &str, own: Value, mail: Value) -> Value {
    json!({"eventType": name, "mail": mail, key: own})
}

pub fn send(message_id: &str, destination: &[&str]) -> Value {
    event("Send", "send", json!({}), mail(message_id, destination))
}

pub fn delivery(message_id: &str, destination: &[&str], recipients: &[&str]) -> Value {
    let own = json!({"timestamp": "2026-11-20T10:00:01.500Z", "processingTimeMillis": 1377, "recipients": recipients, "smtpResponse": "250 ok", "reportingMTA": "a1.smtp-out.example"});
    event("Delivery", "delivery", own, mail(message_id, destination))
}

pub fn bounce(message_id: &str, destination: &[&str], recipient: &str) -> Value {
    let own = json!({"timestamp": "2026-11-20T10:00:02.250Z", "feedbackId": format!("f-{message_id}"), "bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": [{"emailAddress": recipient, "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 unknown user"}]});
    event("Bounce", "bounce", own, mail(message_id, destination))
}

pub fn complaint(message_id: &str, destination: &[&str], recipient: &str) -> Value {
    let own = json!({"timestamp": "2026-11-20T12:00:00.000Z", "feedbackId": format!("c-{message_id}"), "complaintFeedbackType": "abuse", "complaintSubType": null, "complainedRecipients": [{"emailAddress": recipient}]});
    event("Complaint", "complaint", own, mail(message_id, destination))
}

pub fn open(message_id: &str, destination: &[&str], time: &str) -> Value {
    let own = json!({"timestamp": time, "ipAddress": "192.0.2.7", "userAgent": "Mail/1.0"});
    event("Open", "open", own, mail(message_id, destination))
}

/// In the envelope of SNS, with the newline that SES ends its events with.
pub fn in_sns(event: &Value, id: &str) -> String {
    json!({
        "Type": "Notification",
        "MessageId": id,
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:ses-reports-events",
        "Subject": "Amazon SES Email Event Notification",
        "Message": format!("{event}\n"),
        "Timestamp": "2026-11-20T10:00:03.000Z",
        "SignatureVersion": "1",
        "Signature": "c2lnbmF0dXJl",
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/cert.pem",
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
    })
    .to_string()
}
