//! Bodies for a benchmark: each message an event of its own.

use std::io::{self, BufRead as _};
use std::path::Path;

/// What is replaced by the message's number, as eight hexadecimal digits, in bodies from a file.
pub const PLACEHOLDER: &str = "{{number}}";

/// Where bodies come from.
#[derive(Debug, Clone)]
pub enum Bodies {
    /// A delivery in the envelope of SNS, of about so many bytes.
    Delivery(usize),
    /// These in turn, their [`PLACEHOLDER`]s filled in.
    Mix(Vec<String>),
}

impl Bodies {
    /// Reads bodies from a file, one a line.
    ///
    /// # Errors
    /// When the file cannot be read, or has no line.
    pub fn read(path: &Path) -> io::Result<Self> {
        let lines = io::BufReader::new(std::fs::File::open(path)?).lines();
        let bodies: Vec<String> = lines
            .filter(|line| line.as_ref().map_or(true, |line| !line.is_empty()))
            .collect::<Result<_, _>>()?;
        if bodies.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file holds no body"));
        }
        Ok(Self::Mix(bodies))
    }

    /// The body of the message with this number.
    #[must_use]
    pub fn body(&self, number: usize) -> String {
        let digits = format!("{number:08x}");
        match self {
            Self::Delivery(bytes) => delivery(&digits, *bytes),
            Self::Mix(bodies) => bodies
                .get(number % bodies.len().max(1))
                .map(|body| body.replace(PLACEHOLDER, &digits))
                .unwrap_or_default(),
        }
    }
}

/// A delivery of a mail with this number, padded by a header that nobody keeps.
fn delivery(digits: &str, bytes: usize) -> String {
    let with_padding = |padding: &str| {
        let event = serde_json::json!({
            "eventType": "Delivery",
            "mail": {
                "timestamp": "2026-11-20T10:00:00.123Z",
                "messageId": format!("0102019a9f3c4{}-{digits}-1111-2222-3333-444444444444-000000", &digits[5..]),
                "source": "Shop <orders@shop.example>",
                "sourceArn": "arn:aws:ses:eu-west-1:123456789012:identity/shop.example",
                "sendingAccountId": "123456789012",
                "destination": [format!("p{digits}@example.com")],
                "headersTruncated": false,
                "headers": [{"name": "From", "value": "Shop <orders@shop.example>"}, {"name": "X-Padding", "value": padding}],
                "commonHeaders": {"from": ["Shop <orders@shop.example>"], "subject": "Your order"},
                "tags": {"ses:configuration-set": ["main"], "user_id": ["42"]},
            },
            "delivery": {
                "timestamp": "2026-11-20T10:00:01.500Z",
                "processingTimeMillis": 1377,
                "recipients": [format!("p{digits}@example.com")],
                "smtpResponse": "250 ok",
                "reportingMTA": "a1.smtp-out.example",
            },
        });
        serde_json::json!({
            "Type": "Notification",
            "MessageId": format!("{digits}-0000-4000-8000-000000000000"),
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
    };
    let bare = with_padding("");
    with_padding(&"x".repeat(bytes.saturating_sub(bare.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_delivery_has_the_size_that_was_asked_for() {
        let bodies = Bodies::Delivery(2_500);
        assert_eq!(bodies.body(7).len(), 2_500);
        let distinct: HashSet<String> = (0..300).map(|number| bodies.body(number)).collect();
        assert_eq!(distinct.len(), 300);
    }

    #[test]
    fn a_mix_is_gone_through_in_turn() {
        let bodies = Bodies::Mix(vec!["a {{number}}".to_owned(), "b".to_owned()]);
        assert_eq!([0, 1, 2].map(|number| bodies.body(number)), ["a 00000000", "b", "a 00000002"]);
    }
}
