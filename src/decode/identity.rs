//! Ids are computed from content, that is from what an event says, so that replays, duplicates and two workers
//! agree without asking the database.

use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::{Builder, Uuid};

/// The id of the report of one message and one recipient: 48 bits of the millisecond clock in the
/// message id, then SHA-256 bits of both. The SQL function `aws_report_id` computes the same.
///
/// `recipient` is the whole normalised address, `message_id` the whole id, neither shortened.
#[must_use]
pub fn report_id(message_id: &str, recipient: &str) -> Uuid {
    let hash = hash([message_id, recipient]);
    let lead =
        clock_of(message_id).unwrap_or([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5]]);
    uuid(lead, &hash)
}

/// What makes an event *this* event, beside its type and recipient.
#[derive(Debug)]
pub(crate) enum Fact<'a> {
    /// Bounces and complaints: the `feedbackId`, whatever clock the copy shows. Identity feedback
    /// and event publishing report one fact with times that differ below the second.
    Feedback(&'a str),
    /// Anything else: the message, the event's time at full precision, and for opens and clicks
    /// the link, the IP address and the user agent.
    Occurrence {
        /// The whole SES message id.
        message_id: &'a str,
        /// `click.link`.
        link: &'a str,
        /// `ipAddress`.
        ip_address: &'a str,
        /// `userAgent`.
        user_agent: &'a str,
    },
}

/// The id of the detail row of one event and one recipient: 48 bits of the event's time in
/// milliseconds (for feedback in whole seconds), then SHA-256 bits of what makes it this event.
#[must_use]
pub(crate) fn detail_id(
    event_type: &str,
    recipient: &str,
    time: OffsetDateTime,
    fact: &Fact<'_>,
) -> Uuid {
    let micros = time.unix_timestamp_nanos() / 1_000;
    let (millis, hash) = match fact {
        Fact::Feedback(feedback_id) => {
            (i128::from(time.unix_timestamp()) * 1_000, hash([event_type, recipient, feedback_id]))
        }
        Fact::Occurrence { message_id, link, ip_address, user_agent } => (
            micros / 1_000,
            hash([
                event_type,
                recipient,
                message_id,
                &micros.to_string(),
                link,
                ip_address,
                user_agent,
            ]),
        ),
    };
    uuid(lead(millis), &hash)
}

/// The id of a report type: 0 for `default`, else 1 and the first 48 bits of the name's SHA-256,
/// so that of two types the greater id wins and every type beats `default`. The SQL function
/// `aws_report_type_id` computes the same.
#[must_use]
pub fn report_type_id(name: &str) -> i64 {
    if name == "default" {
        return 0;
    }
    let hash = Sha256::digest(name.as_bytes());
    1 + hash.iter().take(6).fold(0, |id, byte| (id << 8) | i64::from(*byte))
}

/// What makes an event about an account *this* event.
#[derive(Debug)]
pub(crate) enum AccountFact<'a> {
    /// The id that EventBridge gave it, which its redeliveries and replays share.
    Event(&'a str),
    /// All that it says.
    Content {
        /// Its `detail-type`.
        detail_type: &'a str,
        /// The AWS account.
        account: &'a str,
        /// The AWS region.
        region: &'a str,
        /// The ARNs, as they are written.
        resources: &'a str,
        /// The detail, as it is written.
        detail: &'a str,
    },
}

/// The id of an event about an account: 48 bits of its time in milliseconds, then SHA-256 bits of what
/// makes it this event.
#[must_use]
pub(crate) fn account_event_id(time: OffsetDateTime, fact: &AccountFact<'_>) -> Uuid {
    let hash = match fact {
        AccountFact::Event(id) => hash(["account event", id]),
        AccountFact::Content { detail_type, account, region, resources, detail } => {
            hash(["account event", "", detail_type, account, region, resources, detail])
        }
    };
    uuid(lead(time.unix_timestamp_nanos() / 1_000_000), &hash)
}

/// The id of a dead letter: a redelivery of the same message adds none.
#[must_use]
pub(crate) fn dead_letter_id(body: &str, sqs_message_id: &str) -> Uuid {
    let hash = hash([sqs_message_id, body]);
    uuid([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5]], &hash)
}

/// SHA-256 of the parts with a NUL between each two: no part holds one (see `text::replace_nul`).
fn hash<const N: usize>(parts: [&str; N]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            hasher.update([0]);
        }
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

/// The millisecond clock of an SES message id: the digits 5 to 16 of its first 16 hex digits.
fn clock_of(message_id: &str) -> Option<[u8; 6]> {
    let (head, tail) = message_id.as_bytes().split_at_checked(16)?;
    let looks_like_ses =
        head.iter().all(u8::is_ascii_hexdigit) && matches!(tail.first(), None | Some(b'-'));
    if !looks_like_ses {
        return None;
    }
    let millis = u64::from_str_radix(message_id.get(4..16)?, 16).ok()?.to_be_bytes();
    Some([millis[2], millis[3], millis[4], millis[5], millis[6], millis[7]])
}

/// The 48 bits of a time in milliseconds.
fn lead(millis: i128) -> [u8; 6] {
    let bytes = millis.to_be_bytes();
    [bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]]
}

/// RFC 9562 section 5.8: 48 leading bits that we choose, version 8, then the hash's bytes 6 to 15 less the
/// version and variant bits.
fn uuid(lead: [u8; 6], hash: &[u8; 32]) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&lead);
    bytes[6..].copy_from_slice(&hash[6..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const MESSAGE: &str = "0102018f1e2d3c4b-00112233-4455-6677-8899-aabbccddeeff-000000";

    fn occurrence(link: &str) -> Fact<'_> {
        Fact::Occurrence { message_id: MESSAGE, link, ip_address: "", user_agent: "" }
    }

    #[test]
    fn report_ids_lead_with_the_clock_of_the_message() {
        let id = report_id(MESSAGE, "jane@example.com");
        assert!(id.to_string().starts_with("018f1e2d-3c4b-8"), "{id}");
        assert_ne!(id, report_id(MESSAGE, "joe@example.com"));
    }

    #[test]
    fn other_message_ids_lead_with_hash_bits() {
        for other in ["m-1", "EXAMPLE7c191be45-e9aedb9a", "0102018f1e2d3c4bff-1", ""] {
            let id = report_id(other, "jane@example.com");
            assert_eq!(id.get_version_num(), 8);
            assert_ne!(id, report_id(&format!("{other}x"), "jane@example.com"));
        }
    }

    #[test]
    fn feedback_is_one_fact_whatever_its_milliseconds() {
        let fact = Fact::Feedback("f-1");
        let whole = detail_id("Bounce", "a@example.com", datetime!(2026-01-02 03:04:05 UTC), &fact);
        let precise =
            detail_id("Bounce", "a@example.com", datetime!(2026-01-02 03:04:05.678 UTC), &fact);
        assert_eq!(whole, precise);
        // AWS's own samples share one feedbackId between a bounce and a complaint.
        let complaint =
            detail_id("Complaint", "a@example.com", datetime!(2026-01-02 03:04:05 UTC), &fact);
        assert_ne!(whole, complaint);
    }

    #[test]
    fn occurrences_differ_by_time_and_link() {
        let at = datetime!(2026-01-02 03:04:05.000_001 UTC);
        let click = detail_id("Click", "a@example.com", at, &occurrence("https://a.example"));
        assert_eq!(
            click,
            detail_id("Click", "a@example.com", at, &occurrence("https://a.example"))
        );
        assert_ne!(
            click,
            detail_id("Click", "a@example.com", at, &occurrence("https://b.example"))
        );
        let later = at + time::Duration::MICROSECOND;
        assert_ne!(
            click,
            detail_id("Click", "a@example.com", later, &occurrence("https://a.example"))
        );
    }

    #[test]
    fn the_default_report_type_is_the_least() {
        assert_eq!(report_type_id("default"), 0);
        assert!(report_type_id("newsletter") > 0);
        assert!(report_type_id("") > 0);
    }
}
