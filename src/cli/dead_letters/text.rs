//! What `dead-letters` prints, for people and for programs.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::cli::printable::printable;
use crate::dead_letters::{Became, Summary};
use crate::store::{Letter, Line};

pub(super) fn line(line: &Line) -> String {
    format!(
        "{}  {}  {:>8} bytes  {:<30}  {}",
        line.id,
        rfc3339(line.received_at),
        line.bytes,
        printable(&line.reason),
        printable(&line.source)
    )
}

pub(super) fn line_as_json(line: &Line) -> Value {
    json!({
        "id": line.id,
        "received_at": rfc3339(line.received_at),
        "reason": line.reason,
        "source": line.source,
        "bytes": line.bytes,
    })
}

/// What is known of a letter beside its body.
pub(super) fn about(letter: &Letter) -> String {
    let mut says = format!(
        "{}  {}  {}  {}",
        letter.id,
        rfc3339(letter.received_at),
        printable(&letter.reason),
        printable(&letter.source)
    );
    if let Some(detail) = &letter.detail {
        says = format!("{says}\n  {}", printable(detail));
    }
    says
}

pub(super) fn letter_as_json(letter: &Letter) -> Value {
    json!({
        "id": letter.id,
        "received_at": rfc3339(letter.received_at),
        "reason": letter.reason,
        "detail": letter.detail,
        "source": letter.source,
        "sqs_message_id": letter.sqs_message_id,
        "sent_at": letter.sent_at.map(rfc3339),
        "receive_count": letter.receive_count,
        "body": letter.body,
    })
}

pub(super) fn told(id: Uuid, became: &Became, json: bool) -> String {
    if json {
        let (outcome, reason, events) = match became {
            Became::Events(events) => ("events", None, *events),
            Became::Acknowledged(what) => ("acknowledged", Some(what.to_string()), 0),
            Became::DeadLetter(reason) => ("dead_letter", Some(reason.clone()), 0),
            Became::Elsewhere => ("elsewhere", None, 0),
        };
        return json!({"id": id, "outcome": outcome, "reason": reason, "events": events})
            .to_string();
    }
    match became {
        Became::Events(events) => format!("{id}  became {events} events"),
        Became::Acknowledged(what) => {
            format!("{id}  acknowledged: {}", printable(&what.to_string()))
        }
        Became::DeadLetter(reason) => format!("{id}  still a dead letter: {}", printable(reason)),
        Became::Elsewhere => format!("{id}  taken by another retry, or deleted"),
    }
}

pub(super) fn summed(summary: &Summary, json: bool) -> String {
    let Summary {
        read,
        with_events,
        acknowledged,
        dead_letters,
        elsewhere,
        new_events,
        known_events,
        expired_events,
    } = summary;
    if json {
        return json!({
            "read": read,
            "with_events": with_events,
            "acknowledged": acknowledged,
            "dead_letters": dead_letters,
            "elsewhere": elsewhere,
            "new_events": new_events,
            "known_events": known_events,
            "expired_events": expired_events,
        })
        .to_string();
    }
    let elsewhere = match elsewhere {
        0 => String::new(),
        elsewhere => format!(", {elsewhere} taken by another retry or deleted"),
    };
    let events = new_events + known_events + expired_events;
    format!(
        "read {read} dead letters: {with_events} became events, {acknowledged} acknowledged, {dead_letters} still dead letters{elsewhere}\n{events} events: {new_events} new, {known_events} already known, {expired_events} no longer kept"
    )
}

fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}
