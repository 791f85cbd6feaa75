//! Rows of tables that were created by hand, converted to rows of ses-reports.
//!
//! A row comes as JSON, whatever the types of its columns: numbers, strings and times as PostgreSQL's
//! `to_jsonb` writes them. Times without an offset are UTC.

use std::collections::HashMap;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::event::{EARLIEST, MOST_AHEAD};
use super::identity::{self, Fact};
use super::kind::Kind;
use super::outcome::Outcome;
use super::text::{self, shorten};
use super::{Rules, address, decode, timestamp};
use crate::classify::bounce::{self, Evidence};
use crate::classify::machine::{Interaction, Signals};
use crate::classify::provider;
use crate::row::{
    Bounce, Complaint, DetailRow, EventRow, Milestone, NOT_SPAM, ReportRow, ReportType,
};

/// A row, column by column.
pub(crate) type Row = Map<String, Value>;

/// The names of report types by their id, as text.
pub(crate) type ReportTypes = HashMap<String, String>;

/// Reads a row of `aws_reports`.
///
/// # Errors
/// Why it cannot be told which report it is.
pub(crate) fn report(row: &Row, types: &ReportTypes) -> Result<ReportRow, &'static str> {
    let message_id = text(row, "message_id").ok_or("no message id")?;
    let recipient = text(row, "user_email")
        .and_then(|address| address::normalise(&address))
        .ok_or("no recipient")?;
    let mut report = empty_report(&message_id, &recipient);
    report.report_type = text(row, "report_type")
        .map(|id| types.get(&id).cloned().unwrap_or(id))
        .map(|name| shorten(&name, text::LABEL).into_owned())
        .filter(|name| name != "default")
        .map(|name| ReportType { id: identity::report_type_id(&name), name });
    report.user_id = text(row, "user_id").map(|id| shorten(&id, text::LABEL).into_owned());
    report.source_email = sender(row, "source_email");
    report.subject =
        text(row, "subject").map(|subject| shorten(&subject, text::SUBJECT).into_owned());
    report.send_at = readable(row, "send_at")?;
    for milestone in Milestone::ALL {
        report.first[milestone.index()] = readable(row, milestone.facts().column)?;
    }
    Ok(report)
}

/// When a row of `aws_reports` was made, if it says so.
#[must_use]
pub(crate) fn created_at(row: &Row) -> Option<OffsetDateTime> {
    time(row, "created_at")
}

/// Reads a row of `aws_report_detail`, with the row of `aws_reports` that it belongs to, if there is
/// one.
///
/// Where `other_info` holds the event as SES sent it, that is read as if it had just arrived, so that
/// a replay meets the same row. Otherwise the columns say what they can.
///
/// # Errors
/// Why it cannot be told which event it is.
pub(crate) fn detail(
    row: &Row,
    report: Option<&Row>,
    rules: &Rules,
    now: OffsetDateTime,
) -> Result<EventRow, &'static str> {
    let of_report = |column: &str| report.and_then(|report| text(report, column));
    let message_id =
        text(row, "message_id").or_else(|| of_report("message_id")).ok_or("no message id")?;
    let recipient = of_report("user_email")
        .or_else(|| text(row, "to"))
        .and_then(|address| address::normalise(&address))
        .ok_or("no recipient")?;
    let info = other_info(row);
    let notification = text(row, "notification_message_id");
    if let Outcome::Events(rows) =
        decode(&Value::Object(info.clone()).to_string(), notification.as_deref(), rules, now)
    {
        let own =
            rows.into_iter().find(|row| row.recipient == recipient && row.message_id == message_id);
        if let Some(own) = own {
            return Ok(own);
        }
    }
    let kind = Kind::from_name(&text(row, "event_type").ok_or("no event type")?);
    let at = time(row, "timestamp").ok_or("no readable timestamp")?;
    if at < EARLIEST || at > now.saturating_add(MOST_AHEAD) {
        return Err("dated before 2011 or in the future");
    }
    let own = info.get(&*kind.object_key()).and_then(Value::as_object).unwrap_or(&info);
    let said = |key: &str| own.get(key).or_else(|| info.get(key)).and_then(Value::as_str);
    let feedback = said("feedbackId").filter(|_| kind.has_feedback());
    let fact = feedback.map_or_else(
        || Fact::Occurrence {
            message_id: &message_id,
            link: said("link").unwrap_or_default(),
            ip_address: said("ipAddress").unwrap_or_default(),
            user_agent: said("userAgent").unwrap_or_default(),
        },
        Fact::Feedback,
    );
    let signals = Signals {
        is_bot_event: said("isBotEvent").unwrap_or_default(),
        user_agent: said("userAgent").unwrap_or_default(),
        ip_address: said("ipAddress").unwrap_or_default(),
    };
    let class = Interaction::of_event_type(kind.name())
        .map(|interaction| rules.machines.classify(interaction, signals));
    let mut of_report = empty_report(&message_id, &recipient);
    of_report.source_email = sender(row, "from");
    of_report.subject =
        text(row, "subject").map(|subject| shorten(&subject, text::SUBJECT).into_owned());
    match &kind {
        Kind::Known(milestone) => of_report.first[milestone.index()] = Some(at),
        Kind::Send => of_report.send_at = Some(at),
        Kind::Other(_) => {}
    }
    let entry = info.get("recipient").and_then(Value::as_object);
    let of_entry = |key: &str| entry.and_then(|entry| entry.get(key)).and_then(Value::as_str);
    let answer = of_entry("diagnosticCode").or_else(|| said("smtpResponse"));
    of_report.provider = provider::of_address(&recipient, None, answer).map(str::to_owned);
    let is_delay = kind == Kind::Known(Milestone::DeliveryDelay);
    let is_classified = is_delay || kind == Kind::Known(Milestone::Bounce);
    let bounce_class = bounce::class(&Evidence {
        bounce_type: said("bounceType"),
        sub_type: said("bounceSubType"),
        delay_type: is_delay.then(|| said("delayType").unwrap_or_default()),
        status: of_entry("status"),
        diagnostic: of_entry("diagnosticCode"),
    });
    let bounce_class = bounce_class.filter(|_| is_classified).map(|class| class.name().to_owned());
    let short = |key| said(key).map(|word| shorten(word, text::KIND).into_owned());
    if kind == Kind::Known(Milestone::Bounce) {
        of_report.bounce = short("bounceType").map(|bounce_type| Bounce {
            bounce_type,
            sub_type: short("bounceSubType"),
            class: bounce_class.clone(),
            counts: true,
        });
    }
    if kind == Kind::Known(Milestone::Complaint) {
        let feedback_type = short("complaintFeedbackType");
        of_report.not_spam_at = (feedback_type.as_deref() == Some(NOT_SPAM)).then_some(at);
        let sub_type = short("complaintSubType");
        of_report.complaint = Some(Complaint { sub_type, feedback_type, counts: true });
    }
    let id = identity::detail_id(kind.name(), &recipient, at, &fact);
    let mut kept = info.clone();
    rules.click_links.apply(&kind, &mut kept);
    Ok(EventRow {
        detail: DetailRow {
            id,
            notification_message_id: notification
                .map(|id| shorten(&id, text::MESSAGE_ID).into_owned()),
            event_type: shorten(kind.name(), text::KIND).into_owned(),
            timestamp: at,
            class: class.map(|class| class.as_str().to_owned()).or(bounce_class),
            other_info: Value::Object(kept).to_string(),
        },
        report: of_report,
        recipient,
        message_id,
        named: None,
        ambiguous: false,
    })
}

fn empty_report(message_id: &str, recipient: &str) -> ReportRow {
    let mut report = ReportRow::new(
        identity::report_id(message_id, recipient),
        shorten(recipient, text::ADDRESS).into_owned(),
        shorten(message_id, text::MESSAGE_ID).into_owned(),
    );
    report.provider = provider::of_address(recipient, None, None).map(str::to_owned);
    report
}

fn sender(row: &Row, column: &str) -> Option<String> {
    let address = address::normalise(&text(row, column)?)?;
    Some(shorten(&address, text::ADDRESS).into_owned())
}

/// A value as text: trimmed, and `None` where nothing is left.
fn text(row: &Row, column: &str) -> Option<String> {
    let text = match row.get(column)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// A time; an error for what is there and is none, such as infinity.
fn readable(row: &Row, column: &str) -> Result<Option<OffsetDateTime>, &'static str> {
    match (text(row, column), time(row, column)) {
        (Some(_), None) => Err("a time that cannot be read"),
        (_, time) => Ok(time),
    }
}

fn time(row: &Row, column: &str) -> Option<OffsetDateTime> {
    timestamp::parse(&text(row, column)?)
}

/// `json`, `jsonb`, or JSON in a text column; anything else is kept under `legacy`.
fn other_info(row: &Row) -> Map<String, Value> {
    let value = match row.get("other_info") {
        Some(Value::String(text)) => {
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
        }
        Some(value) => value.clone(),
        None => Value::Null,
    };
    match value {
        Value::Object(object) => object,
        Value::Null => Map::new(),
        other => Map::from_iter([("legacy".to_owned(), other)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    const MESSAGE: &str = "0102018f1e2d3c4b-00112233-4455-6677-8899-aabbccddeeff-000000";
    const NOW: OffsetDateTime = datetime!(2026-11-21 00:00 UTC);

    fn row(value: Value) -> Row {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn a_report_is_read_whatever_the_types_of_its_columns() {
        let types = ReportTypes::from([("3".to_owned(), "invoice".to_owned())]);
        let read = report(
            &row(json!({
                "id": 7, "report_type": 3, "user_id": 42, "user_email": " Jane <JANE@example.com> ",
                "message_id": MESSAGE, "send_at": "2026-01-02T03:04:05", "delivery_at": "2026-01-02 03:04:06.5+00",
            })),
            &types,
        )
        .expect("a report");
        assert_eq!(read.id, identity::report_id(MESSAGE, "jane@example.com"));
        assert_eq!(read.report_type.map(|kind| kind.name).as_deref(), Some("invoice"));
        assert_eq!(read.user_id.as_deref(), Some("42"));
        assert_eq!(read.send_at, Some(datetime!(2026-01-02 03:04:05 UTC)));
        assert_eq!(
            read.first[Milestone::Delivery.index()],
            Some(datetime!(2026-01-02 03:04:06.5 UTC))
        );
        assert_eq!(
            report(&row(json!({ "user_email": "a@example.com" })), &types),
            Err("no message id")
        );
        assert_eq!(
            report(&row(json!({ "message_id": "m", "user_email": " " })), &types),
            Err("no recipient")
        );
        let endless =
            json!({ "message_id": "m", "user_email": "a@example.com", "send_at": "infinity" });
        assert_eq!(report(&row(endless), &types), Err("a time that cannot be read"));
    }

    #[test]
    fn a_detail_that_holds_the_event_meets_its_replay() {
        let event = json!({
            "eventType": "Open",
            "mail": { "messageId": MESSAGE, "timestamp": "2026-01-02T03:04:05.000Z", "destination": ["jane@example.com"] },
            "open": { "timestamp": "2026-01-02T04:00:00.123Z", "ipAddress": "192.0.2.1", "userAgent": "x" },
        });
        let Outcome::Events(replayed) = decode(&event.to_string(), None, &Rules::default(), NOW)
        else {
            panic!("it is an event");
        };
        let read = detail(
            &row(
                json!({ "event_type": "open", "message_id": MESSAGE, "to": "jane@example.com", "timestamp": "2026-01-02T04:00:00", "other_info": event.to_string() }),
            ),
            None,
            &Rules::default(),
            NOW,
        );
        assert_eq!(read.expect("a detail").detail.id, replayed[0].detail.id);
    }

    #[test]
    fn a_bare_bounce_is_classified_like_a_new_one() {
        let bare = json!({
            "event_type": "Bounce", "message_id": MESSAGE, "to": "jane@example.com", "timestamp": "2026-01-02T04:00:00Z",
            "other_info": {
                "bounce": {"bounceType": "Permanent", "bounceSubType": "General"},
                "recipient": {"status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 No such user a1si2.3 - gsmtp"},
            },
        });
        let read = detail(&row(bare), None, &Rules::default(), NOW).expect("a detail");
        assert_eq!(read.detail.class.as_deref(), Some("invalid-recipient"));
        assert_eq!(read.report.bounce.expect("a bounce").class, read.detail.class);
        assert_eq!(read.report.provider.as_deref(), Some("gmail"));
    }

    #[test]
    fn a_bare_detail_has_the_identity_of_what_its_columns_say() {
        let parent = row(json!({ "message_id": MESSAGE, "user_email": "jane@example.com" }));
        let bare = json!({ "event_type": "DELIVERY", "timestamp": "2026-01-02T04:00:00.123Z", "report_id": 1, "other_info": "250 ok" });
        let read = detail(&row(bare), Some(&parent), &Rules::default(), NOW).expect("a detail");
        assert_eq!(read.detail.event_type, "Delivery");
        assert_eq!(read.detail.other_info, r#"{"legacy":"250 ok"}"#);
        let fact =
            Fact::Occurrence { message_id: MESSAGE, link: "", ip_address: "", user_agent: "" };
        let at = datetime!(2026-01-02 04:00:00.123 UTC);
        assert_eq!(read.detail.id, identity::detail_id("Delivery", "jane@example.com", at, &fact));
        assert_eq!(read.report.first[Milestone::Delivery.index()], Some(at));
    }
}
