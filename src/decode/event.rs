//! Reads an SES event into rows: one per recipient that it concerns.
//!
//! The shapes are documented in "Contents of event data that Amazon SES publishes to Amazon SNS"
//! and "Amazon SNS notification contents" of the SES developer guide. SES "reserves the right to
//! add additional fields": unknown ones are ignored, every optional one may be missing or null.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Map, Value, json};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::Rules;
use super::address;
use super::identity::{self, Fact};
use super::kind::{self, Kind};
use super::outcome::{Reason, Rejection};
use super::text::{self, shorten};
use super::timestamp;
use crate::row::{Bounce, DetailRow, EventRow, Milestone, ROW_BYTES, ReportRow, ReportType};

/// SES opened on 2011-01-25; an older event has a broken clock.
pub(super) const EARLIEST: OffsetDateTime = datetime!(2011-01-01 00:00:00 UTC);
/// What the rows of one message may hold. SES allows 50 recipients, and an event of some KiB; each
/// recipient's row has its own copy, so a body of 256 KiB could otherwise become gigabytes.
pub(super) const MOST_BYTES: usize = 4 * 1024 * 1024;
/// How far another clock may be ahead of ours.
pub(super) const MOST_AHEAD: Duration = Duration::days(2);

type Object = Map<String, Value>;

/// Reads one event. `now` is the clock that bounds the event's.
pub(super) fn rows(
    event: &Object,
    notification_id: Option<&str>,
    rules: &Rules,
    now: OffsetDateTime,
) -> Result<Vec<EventRow>, Rejection> {
    let event = Event::read(event, now)?;
    let mail = Mail::read(event.mail, rules);
    let Recipients { named, left_over, ambiguous } = event.recipients()?;
    let common_info = event.common_info(&mail, left_over, ambiguous);
    // A single row is not longer than its body.
    if named.len() > 1 {
        let common = serde_json::to_vec(&common_info).map_or(0, |json| json.len());
        let bytes = named.len() * (ROW_BYTES + common);
        if bytes > MOST_BYTES {
            let detail = format!("{} recipients, {} MiB of rows", named.len(), bytes >> 20);
            return Err(Rejection::new(Reason::TooLarge, detail));
        }
    }
    Ok(named
        .into_iter()
        .map(|recipient| row(&event, &mail, recipient, ambiguous, &common_info, notification_id))
        .collect())
}

/// What an event says, whomever it concerns.
struct Event<'a> {
    whole: &'a Object,
    kind: Kind,
    mail: &'a Object,
    message_id: &'a str,
    /// The event's own object and its key, as SES wrote it.
    own: Option<(&'a String, &'a Object)>,
    time: OffsetDateTime,
    sent: Option<OffsetDateTime>,
}

/// Whom an event concerns.
#[derive(Default)]
struct Recipients<'a> {
    /// Each once.
    named: Vec<Recipient<'a>>,
    /// Entries of the event's list that name nobody, or somebody again.
    left_over: Vec<&'a Value>,
    /// Whether the event leaves open which of them it concerns.
    ambiguous: bool,
}

/// A recipient and the entry of the event's list that names it.
struct Recipient<'a> {
    address: String,
    as_sent: &'a str,
    entry: Option<&'a Object>,
}

impl<'a> Event<'a> {
    fn read(event: &'a Object, now: OffsetDateTime) -> Result<Self, Rejection> {
        let name = string(event, "eventType").or_else(|| string(event, "notificationType"));
        let kind = Kind::from_name(name.unwrap_or_default());
        let mail = object(event, "mail")
            .ok_or_else(|| Rejection::new(Reason::NoMessageId, "no mail object"))?;
        let message_id = string(mail, "messageId").ok_or_else(|| {
            Rejection::new(Reason::NoMessageId, "mail.messageId is missing or empty")
        })?;
        let own = own_object(event, &kind);
        let sent = string(mail, "timestamp").and_then(timestamp::parse);
        let own_time = own.and_then(|(_, own)| string(own, "timestamp")).and_then(timestamp::parse);
        let time = if kind.has_clock() { own_time.or(sent) } else { sent.or(own_time) };
        let time = time.ok_or_else(|| {
            Rejection::new(Reason::NoTimestamp, "neither the event nor its mail has one")
        })?;
        if time < EARLIEST {
            return Err(Rejection::new(Reason::Before2011, time.to_string()));
        }
        let latest = now.saturating_add(MOST_AHEAD);
        if time > latest {
            return Err(Rejection::new(Reason::TooFarAhead, time.to_string()));
        }
        // A mail's clock that is broken proves no send.
        let sent = sent.filter(|sent| (EARLIEST..=latest).contains(sent));
        Ok(Self { whole: event, kind, mail, message_id, own, time, sent })
    }

    /// Whom the event concerns.
    fn recipients(&self) -> Result<Recipients<'a>, Rejection> {
        let own_list = self.kind.recipients_key().map(|key| {
            self.own.and_then(|(_, own)| own.get(key)).map(Recipients::of).unwrap_or_default()
        });
        let found = match own_list {
            Some(own) if !own.named.is_empty() => own,
            own_list => {
                let mail = self.mail.get("destination").map(Recipients::of).unwrap_or_default();
                let names_nobody =
                    matches!(self.kind, Kind::Known(Milestone::Open | Milestone::Click));
                let several = names_nobody && mail.named.len() > 1;
                Recipients {
                    named: mail.named,
                    ambiguous: own_list.is_some() || several,
                    left_over: own_list.unwrap_or_default().left_over,
                }
            }
        };
        if found.named.is_empty() {
            return Err(Rejection::new(
                Reason::NoRecipient,
                "neither the event nor mail.destination names one",
            ));
        }
        Ok(found)
    }

    fn bounce(&self) -> Option<Bounce> {
        if self.kind != Kind::Known(Milestone::Bounce) {
            return None;
        }
        let (_, own) = self.own?;
        Some(Bounce {
            bounce_type: shorten(string(own, "bounceType")?, text::KIND).into_owned(),
            sub_type: string(own, "bounceSubType").map(|sub| shorten(sub, text::KIND).into_owned()),
        })
    }

    fn detail_id(&self, recipient: &str) -> uuid::Uuid {
        let own = |key| self.own.and_then(|(_, own)| string(own, key)).unwrap_or_default();
        let feedback_id = match self.kind {
            Kind::Known(Milestone::Bounce | Milestone::Complaint) => own("feedbackId"),
            _ => "",
        };
        let engaged = matches!(self.kind, Kind::Known(Milestone::Open | Milestone::Click));
        let fact = if feedback_id.is_empty() {
            Fact::Occurrence {
                message_id: self.message_id,
                link: if engaged { own("link") } else { "" },
                ip_address: if engaged { own("ipAddress") } else { "" },
                user_agent: if engaged { own("userAgent") } else { "" },
            }
        } else {
            Fact::Feedback(feedback_id)
        };
        identity::detail_id(self.kind.name(), recipient, self.time, &fact)
    }

    /// The part of `other_info` that is alike for every recipient: all that the event holds but
    /// the mail, and of the mail the tags.
    fn common_info(&self, mail: &Mail<'_>, left_over: Vec<&Value>, ambiguous: bool) -> Object {
        let mut info = Object::new();
        for (key, value) in self.whole {
            if !["eventType", "notificationType", "mail"].contains(&key.as_str()) {
                info.insert(key.clone(), value.clone());
            }
        }
        // Each recipient's row holds its own entry; what is nobody's entry stays.
        if let (Some(list), Some((key, _))) = (self.kind.recipients_key(), self.own)
            && let Some(Value::Object(own)) = info.get_mut(key)
        {
            if left_over.is_empty() {
                own.remove(list);
            } else {
                own.insert(list.to_owned(), left_over.into_iter().cloned().collect());
            }
        }
        if let Some(tags @ Value::Object(_)) = self.mail.get("tags") {
            info.insert("tags".to_owned(), tags.clone());
        }
        if ambiguous {
            info.insert("ambiguous".to_owned(), Value::Bool(true));
        }
        let mut as_sent = mail.as_sent.clone();
        note(
            &mut as_sent,
            "message_id",
            &shorten(self.message_id, text::MESSAGE_ID),
            self.message_id,
        );
        note(&mut as_sent, "event_type", &shorten(self.kind.name(), text::KIND), self.kind.name());
        if !as_sent.is_empty() {
            info.insert("as_sent".to_owned(), Value::Object(as_sent));
        }
        info
    }
}

/// What the mail object says, as the columns hold it.
struct Mail<'a> {
    from: Option<String>,
    subject: Option<Cow<'a, str>>,
    user_id: Option<Cow<'a, str>>,
    report_type: Option<ReportType>,
    /// The values of which the columns hold another form: shortened or normalised.
    as_sent: Object,
}

impl<'a> Mail<'a> {
    fn read(mail: &'a Object, rules: &Rules) -> Self {
        let headers = object(mail, "commonHeaders");
        let source = string(mail, "source")
            .or_else(|| headers.and_then(|headers| first_string(headers.get("from")?)));
        let subject = headers
            .and_then(|headers| string(headers, "subject"))
            .or_else(|| header(mail, "Subject"));
        let tags = object(mail, "tags");
        let tag = |name: &str| tags.and_then(|tags| first_string(tags.get(name)?));
        let user_id = tag(&rules.user_id_tag);
        let report_type = tag(&rules.report_type_tag).or_else(|| tag("ses:configuration-set"));

        let mut as_sent = Object::new();
        let from = source.and_then(|source| {
            let address = address::normalise(source)?;
            let from = shorten(&address, text::ADDRESS).into_owned();
            note(&mut as_sent, "from", &from, source);
            Some(from)
        });
        let mut fitted = |column, value: Option<&'a str>, most| {
            value.map(|value| {
                let short = shorten(value, most);
                note(&mut as_sent, column, &short, value);
                short
            })
        };
        let subject = fitted("subject", subject, text::SUBJECT);
        let user_id = fitted("user_id", user_id, text::LABEL);
        let report_type = fitted("report_type", report_type, text::LABEL);
        Self {
            from,
            subject,
            user_id,
            report_type: report_type.filter(|name| name != "default").map(|name| ReportType {
                id: identity::report_type_id(&name),
                name: name.into_owned(),
            }),
            as_sent,
        }
    }
}

fn row(
    event: &Event<'_>,
    mail: &Mail<'_>,
    recipient: Recipient<'_>,
    ambiguous: bool,
    common_info: &Object,
    notification_id: Option<&str>,
) -> EventRow {
    let user_email = shorten(&recipient.address, text::ADDRESS).into_owned();
    let mut info = common_info.clone();
    if let Some(entry) = recipient.entry {
        info.insert("recipient".to_owned(), Value::Object(entry.clone()));
    }
    if user_email != recipient.as_sent {
        let as_sent = info.entry("as_sent").or_insert_with(|| json!({}));
        if let Value::Object(as_sent) = as_sent {
            as_sent.insert("to".to_owned(), Value::from(recipient.as_sent));
        }
    }
    let mut first = [None; Milestone::ALL.len()];
    if let Kind::Known(milestone) = event.kind {
        first[milestone.index()] = Some(event.time);
    }
    EventRow {
        detail: DetailRow {
            id: event.detail_id(&recipient.address),
            notification_message_id: notification_id
                .map(|id| shorten(id, text::MESSAGE_ID).into_owned()),
            event_type: shorten(event.kind.name(), text::KIND).into_owned(),
            timestamp: event.time,
            other_info: Value::Object(info).to_string(),
        },
        report: ReportRow {
            id: identity::report_id(event.message_id, &recipient.address),
            user_email,
            message_id: shorten(event.message_id, text::MESSAGE_ID).into_owned(),
            report_type: mail.report_type.clone(),
            user_id: mail.user_id.as_deref().map(str::to_owned),
            source_email: mail.from.clone(),
            subject: mail.subject.as_deref().map(str::to_owned),
            send_at: event.sent.filter(|_| event.kind.proves_send()),
            first,
            bounce: event.bounce(),
        },
        recipient: recipient.address,
        message_id: event.message_id.to_owned(),
        ambiguous,
    }
}

/// The object that the event is named after; for an unknown type the only one beside `mail`.
fn own_object<'a>(event: &'a Object, kind: &Kind) -> Option<(&'a String, &'a Object)> {
    let wanted = kind.object_key();
    let objects = || {
        event
            .iter()
            .filter(|(key, _)| *key != "mail")
            .filter_map(|(key, value)| Some((key, value.as_object()?)))
    };
    objects().find(|(key, _)| kind::folded(key) == wanted).or_else(|| {
        let mut others = objects();
        let only = others.next()?;
        (matches!(kind, Kind::Other(_)) && others.next().is_none()).then_some(only)
    })
}

impl<'a> Recipients<'a> {
    /// Reads a list: entries are strings or objects with `emailAddress`.
    fn of(list: &'a Value) -> Self {
        let entries = match list {
            Value::Array(entries) => entries.as_slice(),
            single => std::slice::from_ref(single),
        };
        let mut found = Self::default();
        let mut seen = HashSet::new();
        for entry in entries {
            let text = entry.as_str().or_else(|| string(entry.as_object()?, "emailAddress"));
            let mut is_taken = false;
            for as_sent in text.map(address::split).unwrap_or_default() {
                if let Some(address) = address::normalise(as_sent)
                    && seen.insert(address.clone())
                {
                    is_taken = true;
                    let as_sent = as_sent.trim();
                    found.named.push(Recipient { address, as_sent, entry: entry.as_object() });
                }
            }
            if !is_taken && !entry.is_null() {
                found.left_over.push(entry);
            }
        }
        found
    }
}

/// Keeps a value as SES sent it where its column holds another form.
fn note(as_sent: &mut Object, column: &str, held: &str, sent: &str) {
    if held != sent {
        as_sent.insert(column.to_owned(), Value::from(sent));
    }
}

/// A header of `mail.headers` by name.
fn header<'a>(mail: &'a Object, name: &str) -> Option<&'a str> {
    mail.get("headers")?.as_array()?.iter().filter_map(Value::as_object).find_map(|header| {
        string(header, "name")?.eq_ignore_ascii_case(name).then(|| string(header, "value"))?
    })
}

fn object<'a>(map: &'a Object, key: &str) -> Option<&'a Object> {
    map.get(key)?.as_object()
}

/// A string that says something: trimmed, and `None` where nothing is left.
fn string<'a>(map: &'a Object, key: &str) -> Option<&'a str> {
    map.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// A string, or the first of a list: tags are lists of one string.
fn first_string(value: &Value) -> Option<&str> {
    let text = match value {
        Value::Array(items) => items.first()?.as_str()?,
        single => single.as_str()?,
    };
    Some(text.trim()).filter(|text| !text.is_empty())
}
