//! What holds of whatever decode makes of whatever arrives. Shared by the fuzz targets and by the
//! test that needs no fuzzer.

use serde_json::json;
use ses_reports::decode::{MOST_BYTES, Outcome, Rules, decode};
use ses_reports::row::EventRow;
use ses_reports::row::columns::{DETAIL, Get, LABEL, REPORT};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2026-11-21 12:00:00 UTC);

/// Decodes a body and panics where a property does not hold; tells what it became.
pub fn hold(body: &str) -> &'static str {
    let outcome = decode(body, Some("sqs-message"), &Rules::default(), NOW);
    assert_eq!(outcome, decode(body, Some("sqs-message"), &Rules::default(), NOW), "it is pure");
    match outcome {
        Outcome::Events(rows) => {
            assert!(!rows.is_empty());
            // Time is bounded by size, for decode walks over what it reads and writes only.
            let bytes: usize = rows.iter().map(EventRow::bytes).sum();
            assert!(
                bytes <= MOST_BYTES.max(4 * body.len() + 2048),
                "{bytes} bytes of {}",
                body.len()
            );
            rows.iter().for_each(can_be_stored);
            "events"
        }
        Outcome::AccountEvents { events, rows } => {
            assert!(!events.is_empty());
            rows.iter().for_each(can_be_stored);
            "account events"
        }
        Outcome::Acknowledged(_) => "acknowledged",
        Outcome::DeadLetter(rejection) => {
            assert!(!rejection.reason.to_string().is_empty());
            "dead letter"
        }
    }
}

/// Every value fits its column, and PostgreSQL takes it.
fn can_be_stored(row: &EventRow) {
    let (detail, report) = (&row.detail, &row.report);
    for column in DETAIL {
        fits(&column.get, row);
    }
    for column in REPORT {
        fits(&column.get, report);
    }
    let type_name = report.report_type.as_ref().map(|report_type| report_type.name.as_str());
    text_fits(type_name, LABEL);
    for needed in [&report.user_email, &report.message_id, &detail.event_type] {
        assert!(!needed.is_empty());
    }
    for id in [detail.id, report.id] {
        assert_eq!(id.get_version_num(), 8);
    }
    is_jsonb(&detail.other_info);
}

fn fits<R>(get: &Get<R>, row: &R) {
    match get {
        Get::Text(of, most) => text_fits(of(row), *most),
        Get::Time(of) => {
            let sensible = datetime!(2011-01-01 00:00:00 UTC)..=NOW + Duration::days(2);
            assert!(of(row).is_none_or(|time| sensible.contains(&time)), "{:?}", of(row));
        }
        Get::Tags(of) => of(row).iter().for_each(|tags| is_jsonb(&tags.to_json())),
        Get::Uuid(_) | Get::Number(_) | Get::Json(_) | Get::Flag(_) => {}
    }
}

fn text_fits(text: Option<&str>, most: usize) {
    let text = text.unwrap_or_default();
    assert!(text.chars().count() <= most, "{text:?} is longer than {most}");
    assert!(!text.contains('\0'), "{text:?}");
}

/// An object without U+0000 and without half a surrogate pair: strict readers refuse both.
fn is_jsonb(text: &str) {
    let whole: Result<&serde_json::value::RawValue, _> = serde_json::from_str(text);
    assert!(whole.is_ok() && text.starts_with('{'), "{text}");
    let mut rest = text;
    let mut is_low_due = false;
    while let Some(at) = rest.find('\\') {
        let escape = &rest[at..];
        let unit = escape.strip_prefix("\\u").and_then(|digits| digits.get(..4));
        let unit = unit.map(|digits| u16::from_str_radix(digits, 16).expect("four digits"));
        assert_ne!(unit, Some(0), "{text}");
        let is_low = matches!(unit, Some(0xdc00..=0xdfff));
        assert_eq!(is_low, is_low_due && at == 0, "half a pair: {text}");
        is_low_due = matches!(unit, Some(0xd800..=0xdbff));
        rest = &escape[if unit.is_some() { 6 } else { 2 }..];
        assert!(!is_low_due || rest.starts_with("\\u"), "half a pair: {text}");
    }
}

/// An event whose values are parts of a text, in the envelope of SNS.
pub fn event_of(text: &str) -> String {
    let mut parts = text.split('\u{1f}').chain(std::iter::repeat(""));
    let mut part = || parts.next().unwrap_or_default();
    let name = match part() {
        "" => "Click",
        name => name,
    };
    let key = name.to_lowercase();
    let event = json!({
        "eventType": name,
        "mail": {
            "messageId": format!("m{}", part()), "timestamp": "2026-11-20T10:00:00.123Z",
            "source": part(), "destination": ["a@example.com", part(), part()],
            "commonHeaders": {"subject": part(), "from": [part()]},
            "tags": {"user_id": [part()], "report_type": [part()], part(): [part()]},
        },
        key: {
            "timestamp": part(), "feedbackId": part(), "link": part(), "userAgent": part(),
            "bounceType": part(), "bounceSubType": part(), "recipients": [part()],
            "bouncedRecipients": [{"emailAddress": part(), "diagnosticCode": part()}],
            part(): part(),
        },
    });
    json!({"Type": "Notification", "MessageId": part(), "Message": event.to_string()}).to_string()
}
