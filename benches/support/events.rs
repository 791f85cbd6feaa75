//! A stream of events of now, as SES sends them through SNS: about 2.5 KB each in the queue.

use std::mem;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use ses_reports::decode::{Outcome, Rules, decode};
use ses_reports::row::EventRow;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The kinds of mail.
pub const REPORT_TYPES: [&str; 5] = ["invoice", "newsletter", "password", "receipt", "reminder"];

/// A mail whose events are sent one after the other.
#[derive(Debug, Clone)]
pub struct Mail {
    pub message_id: String,
    pub to: String,
    pub from: String,
    pub user_id: String,
    pub report_type: &'static str,
    pub sent: OffsetDateTime,
}

/// Each batch has the Sends of new mail, the Deliveries of the batch before, and what followed those
/// of the batch before that: new reports, and reports that change while they are young.
#[derive(Debug)]
pub struct Stream {
    random: fastrand::Rng,
    now: OffsetDateTime,
    mails: i64,
    sent: Vec<Mail>,
    delivered: Vec<Mail>,
}

impl Stream {
    pub fn new(seed: u64, now: OffsetDateTime) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { random, now, mails: 0, sent: Vec::new(), delivered: Vec::new() }
    }

    /// The rows of three events for each of so many mails.
    pub fn batch(&mut self, mails: usize) -> Result<Vec<EventRow>> {
        rows(&self.events(mails), self.now)
    }

    /// Three events for each of so many mails.
    pub fn events(&mut self, mails: usize) -> Vec<Value> {
        let new: Vec<Mail> = (0..mails).map(|_| self.mail()).collect();
        let delivered = mem::replace(&mut self.sent, new.clone());
        let read = mem::replace(&mut self.delivered, delivered.clone());
        let mut events: Vec<Value> = new.iter().map(|mail| event(mail, "Send", 0)).collect();
        for mail in &delivered {
            let name = if self.random.u32(..100) < 4 { "Bounce" } else { "Delivery" };
            events.push(event(mail, name, 1));
        }
        for mail in &read {
            let name = match self.random.u32(..1_000) {
                0..=199 => "Click",
                200 => "Complaint",
                _ => "Open",
            };
            events.push(event(mail, name, 60));
        }
        events
    }

    fn mail(&mut self) -> Mail {
        self.mails += 1;
        let sent = self.now + time::Duration::milliseconds(self.mails);
        let millis = sent.unix_timestamp_nanos() / 1_000_000;
        let (user, number) = (self.random.u32(..2_000_000), self.mails);
        let random = &mut self.random;
        Mail {
            message_id: format!(
                "0102{millis:012x}-{number:08x}-{:04x}-{:04x}-{:04x}-{:012x}-000000",
                random.u16(..),
                random.u16(..),
                random.u16(..),
                random.u64(..1 << 48)
            ),
            to: format!("user{user}@m{}.example", user % 500),
            from: format!("orders@{}.example", ["shop", "news", "mail", "pay"][random.usize(..4)]),
            user_id: format!("customer-{}", random.u32(..20_000)),
            report_type: REPORT_TYPES[random.usize(..REPORT_TYPES.len())],
            sent,
        }
    }
}

/// What the worker makes of these events.
pub fn rows(events: &[Value], now: OffsetDateTime) -> Result<Vec<EventRow>> {
    let mut rows = Vec::with_capacity(events.len());
    for (number, event) in events.iter().enumerate() {
        match decode(&in_sns(event, number), None, &Rules::default(), now) {
            Outcome::Events(mut more) => rows.append(&mut more),
            other => bail!("{event} is no event: {other:?}"),
        }
    }
    Ok(rows)
}

/// An event as it stands in the queue.
pub fn in_sns(event: &Value, number: usize) -> String {
    json!({
        "Type": "Notification",
        "MessageId": format!("00000000-0000-4000-8000-{number:012x}"),
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:ses-reports-events",
        "Subject": "Amazon SES Email Event Notification",
        // SES ends what it publishes to SNS with a newline.
        "Message": format!("{event}\n"),
        "Timestamp": "2026-11-20T10:00:03.000Z",
        "SignatureVersion": "1",
        "Signature": "QUJD".repeat(86),
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe&SubscriptionArn=arn:aws:sns:eu-west-1:123456789012:ses-reports-events:00000000-0000-4000-8000-000000000000",
    })
    .to_string()
}

/// An event of a mail, some seconds after it was sent.
pub fn event(mail: &Mail, name: &str, seconds: i64) -> Value {
    let at = |time: OffsetDateTime| time.format(&Rfc3339).unwrap_or_default();
    let time = at(mail.sent + time::Duration::seconds(seconds));
    let id = &mail.message_id;
    let (key, own) = match name {
        "Delivery" => (
            "delivery",
            json!({"timestamp": time, "processingTimeMillis": 1377, "recipients": [mail.to], "smtpResponse": "250 2.0.0 OK", "reportingMTA": "a8-50.smtp-out.example"}),
        ),
        "Bounce" => (
            "bounce",
            json!({"timestamp": time, "feedbackId": format!("b-{id}"), "bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": [{"emailAddress": mail.to, "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 unknown user"}]}),
        ),
        "Complaint" => (
            "complaint",
            json!({"timestamp": time, "feedbackId": format!("c-{id}"), "complaintFeedbackType": "abuse", "complainedRecipients": [{"emailAddress": mail.to}]}),
        ),
        "Open" => (
            "open",
            json!({"timestamp": time, "ipAddress": "192.0.2.7", "userAgent": "Mozilla/5.0 (Windows NT 5.1; Gecko) Example/1.0"}),
        ),
        "Click" => (
            "click",
            json!({"timestamp": time, "ipAddress": "192.0.2.7", "userAgent": "Mozilla/5.0 Example/1.0", "link": "https://shop.example/orders"}),
        ),
        _ => ("send", json!({})),
    };
    json!({
        "eventType": name,
        "mail": {
            "timestamp": at(mail.sent),
            "messageId": id,
            "source": mail.from,
            "sourceArn": "arn:aws:ses:eu-west-1:123456789012:identity/shop.example",
            "sendingAccountId": "123456789012",
            "destination": [mail.to],
            "headersTruncated": false,
            "headers": [
                {"name": "From", "value": format!("Example Shop <{}>", mail.from)},
                {"name": "To", "value": mail.to},
                {"name": "Subject", "value": "Your order"},
                {"name": "MIME-Version", "value": "1.0"},
                {"name": "Content-Type", "value": "multipart/alternative;  boundary=\"----=_Part_0_1.2\""},
            ],
            "commonHeaders": {
                "from": [format!("Example Shop <{}>", mail.from)],
                "date": "Fri, 20 Nov 2026 10:00:00 +0000",
                "to": [mail.to],
                "messageId": id,
                "subject": "Your order",
            },
            "tags": {
                "user_id": [mail.user_id],
                "report_type": [mail.report_type],
                "ses:source-tls-version": ["TLSv1.3"],
                "ses:operation": ["SendEmail"],
                "ses:configuration-set": ["ses-reports"],
                "ses:source-ip": ["192.0.2.1"],
                "ses:from-domain": ["shop.example"],
                "ses:caller-identity": ["mailer"],
            },
        },
        key: own,
    })
}
