//! Reads an SES event into rows: one per recipient that it concerns.
//!
//! The shapes are documented in "Contents of event data that Amazon SES publishes to Amazon SNS"
//! and "Amazon SNS notification contents" of the SES developer guide. SES "reserves the right to
//! add additional fields": unknown ones are ignored, every optional one may be missing or null.

use std::borrow::Cow;
use std::collections::HashSet;

use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::Rules;
use super::address;
use super::identity::{self, Fact};
use super::json::{Json, Object, Writer};
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

/// Reads one event. `now` is the clock that bounds the event's.
pub(super) fn rows(
    event: &Object<'_>,
    notification_id: Option<&str>,
    rules: &Rules,
    now: OffsetDateTime,
) -> Result<Vec<EventRow>, Rejection> {
    let event = Event::read(event, now)?;
    let mail = Mail::read(&event.mail, rules);
    let recipients = event.recipients()?;
    let common = CommonInfo::of(&event, &mail, &recipients);
    // A single row is not longer than its body.
    if recipients.named.len() > 1 {
        let bytes = recipients.named.len() * (ROW_BYTES + common.fields.len());
        if bytes > MOST_BYTES {
            let detail =
                format!("{} recipients, {} MiB of rows", recipients.named.len(), bytes >> 20);
            return Err(Rejection::new(Reason::TooLarge, detail));
        }
    }
    let row = |recipient| row(&event, &mail, recipient, &common, notification_id);
    Ok(recipients.named.into_iter().map(row).collect())
}

/// What an event says, whomever it concerns.
struct Event<'a> {
    whole: &'a Object<'a>,
    kind: Kind,
    mail: Object<'a>,
    message_id: Cow<'a, str>,
    own: Option<Own<'a>>,
    time: OffsetDateTime,
    sent: Option<OffsetDateTime>,
}

/// The event's own object and its key, as SES wrote it.
struct Own<'a> {
    key: &'a str,
    fields: Object<'a>,
}

/// Whom an event concerns.
#[derive(Default)]
struct Recipients<'a> {
    /// Each once.
    named: Vec<Recipient<'a>>,
    /// Entries of the event's list that name nobody, or somebody again.
    left_over: Vec<Json<'a>>,
    /// Whether the event leaves open which of them it concerns.
    ambiguous: bool,
}

/// A recipient and the entry of the event's list that names it.
struct Recipient<'a> {
    address: String,
    as_sent: String,
    /// If it is an object.
    entry: Option<Json<'a>>,
}

impl<'a> Event<'a> {
    fn read(event: &'a Object<'a>, now: OffsetDateTime) -> Result<Self, Rejection> {
        let name = event.said("eventType").or_else(|| event.said("notificationType"));
        let kind = Kind::from_name(&name.unwrap_or_default());
        let mail = event
            .object("mail")
            .ok_or_else(|| Rejection::new(Reason::NoMessageId, "no mail object"))?;
        let message_id = mail.said("messageId").ok_or_else(|| {
            Rejection::new(Reason::NoMessageId, "mail.messageId is missing or empty")
        })?;
        let own = Own::of(event, &kind);
        let clock =
            |fields: &Object<'_>| fields.said("timestamp").and_then(|text| timestamp::parse(&text));
        let sent = clock(&mail);
        let own_time = own.as_ref().and_then(|own| clock(&own.fields));
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

    /// A field of the event's own object.
    fn own(&self, key: &str) -> Option<Json<'a>> {
        self.own.as_ref()?.fields.get(key)
    }

    /// Whom the event concerns.
    fn recipients(&self) -> Result<Recipients<'a>, Rejection> {
        let own_list = self
            .kind
            .recipients_key()
            .map(|key| self.own(key).map(Recipients::of).unwrap_or_default());
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
        let kind = |key| Some(shorten(&self.own(key)?.said()?, text::KIND).into_owned());
        Some(Bounce { bounce_type: kind("bounceType")?, sub_type: kind("bounceSubType") })
    }

    fn detail_id(&self, recipient: &str) -> uuid::Uuid {
        let own = |key| self.own(key).and_then(Json::said).unwrap_or_default();
        let feedback_id = if self.kind.has_feedback() { own("feedbackId") } else { Cow::default() };
        let (mut link, mut ip_address, mut user_agent) =
            <(Cow<'_, _>, Cow<'_, _>, Cow<'_, _>)>::default();
        if matches!(self.kind, Kind::Known(Milestone::Open | Milestone::Click)) {
            (link, ip_address, user_agent) = (own("link"), own("ipAddress"), own("userAgent"));
        }
        let fact = if feedback_id.is_empty() {
            Fact::Occurrence {
                message_id: &self.message_id,
                link: &link,
                ip_address: &ip_address,
                user_agent: &user_agent,
            }
        } else {
            Fact::Feedback(&feedback_id)
        };
        identity::detail_id(self.kind.name(), recipient, self.time, &fact)
    }
}

impl<'a> Own<'a> {
    /// The object that the event is named after; for an unknown type the only one beside `mail`.
    fn of(event: &'a Object<'a>, kind: &Kind) -> Option<Self> {
        let wanted = kind.object_key();
        let objects = || event.iter().filter(|(key, value)| *key != "mail" && value.is_object());
        // Of several spellings the first by name, wherever it stands.
        let named =
            objects().filter(|(key, _)| kind::folded(key) == wanted).min_by_key(|(key, _)| *key);
        let (key, _) = named.or_else(|| {
            let mut others = objects();
            let only = others.next()?;
            (matches!(kind, Kind::Other(_)) && others.next().is_none()).then_some(only)
        })?;
        Some(Self { key, fields: event.object(key)? })
    }
}

/// The part of `other_info` that is alike for every recipient: all that the event holds but the mail,
/// and of the mail the tags.
struct CommonInfo<'a> {
    /// Without the closing brace.
    fields: Writer,
    /// The values of which the columns hold another form: shortened or normalised.
    as_sent: Vec<(&'static str, Cow<'a, str>)>,
    ambiguous: bool,
}

impl<'a> CommonInfo<'a> {
    fn of(event: &Event<'a>, mail: &Mail<'a>, recipients: &Recipients<'a>) -> Self {
        let bytes: usize = event
            .whole
            .iter()
            .filter(|(key, _)| *key != "mail")
            .map(|(key, value)| key.len() + value.as_written().len() + 4)
            .sum();
        let mut fields = Writer::with_capacity(bytes + 512);
        let own = event.own.as_ref();
        for (key, value) in event.whole.iter() {
            if ["eventType", "notificationType", "mail"].contains(&key) {
                continue;
            }
            match (own, event.kind.recipients_key()) {
                // Each recipient's row holds its own entry; what is nobody's entry stays.
                (Some(own), Some(list)) if own.key == key => fields.object(key, |inner| {
                    for (key, value) in own.fields.iter().filter(|(key, _)| *key != list) {
                        inner.field(key, value);
                    }
                    if !recipients.left_over.is_empty() {
                        inner.list(list, recipients.left_over.iter().copied());
                    }
                }),
                _ => fields.field(key, value),
            }
        }
        if let Some(tags) = event.mail.get("tags").filter(|tags| tags.is_object()) {
            fields.field("tags", tags);
        }
        if recipients.ambiguous {
            fields.yes("ambiguous");
        }
        let mut as_sent = mail.as_sent.clone();
        for (column, held, sent) in [
            ("message_id", shorten(&event.message_id, text::MESSAGE_ID), &*event.message_id),
            ("event_type", shorten(event.kind.name(), text::KIND), event.kind.name()),
        ] {
            if held != sent {
                as_sent.push((column, Cow::Owned(sent.to_owned())));
            }
        }
        Self { fields, as_sent, ambiguous: recipients.ambiguous }
    }

    /// The whole for one recipient.
    fn with(&self, recipient: &Recipient<'_>, user_email: &str) -> String {
        let mut info = self.fields.clone();
        if let Some(entry) = recipient.entry {
            info.field("recipient", entry);
        }
        let to = (user_email != recipient.as_sent).then_some(("to", &*recipient.as_sent));
        if !self.as_sent.is_empty() || to.is_some() {
            info.object("as_sent", |inner| {
                let common = self.as_sent.iter().map(|(column, sent)| (*column, &**sent));
                for (column, sent) in common.chain(to) {
                    inner.string(column, sent);
                }
            });
        }
        info.end()
    }
}

/// What the mail object says, as the columns hold it.
struct Mail<'a> {
    from: Option<String>,
    subject: Option<String>,
    user_id: Option<String>,
    report_type: Option<ReportType>,
    /// The values of which the columns hold another form: shortened or normalised.
    as_sent: Vec<(&'static str, Cow<'a, str>)>,
}

impl<'a> Mail<'a> {
    fn read(mail: &Object<'a>, rules: &Rules) -> Self {
        let headers = mail.object("commonHeaders");
        let headers = headers.as_ref();
        let source = mail
            .said("source")
            .or_else(|| headers.and_then(|headers| headers.get("from")?.first_said()));
        let subject =
            headers.and_then(|headers| headers.said("subject")).or_else(|| header(mail, "Subject"));
        let tags = mail.object("tags");
        let tag = |name: &str| tags.as_ref().and_then(|tags| tags.get(name)?.first_said());
        let user_id = tag(&rules.user_id_tag);
        let report_type = tag(&rules.report_type_tag).or_else(|| tag("ses:configuration-set"));

        let mut as_sent = Vec::new();
        let from = source.and_then(|source| {
            let address = address::normalise(&source)?;
            let from = shorten(&address, text::ADDRESS).into_owned();
            if from != source {
                as_sent.push(("from", source));
            }
            Some(from)
        });
        let mut fitted = |column, value: Option<Cow<'a, str>>, most| {
            value.map(|value| {
                let short = shorten(&value, most).into_owned();
                if short != value {
                    as_sent.push((column, value));
                }
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
            report_type: report_type
                .filter(|name| name != "default")
                .map(|name| ReportType { id: identity::report_type_id(&name), name }),
            as_sent,
        }
    }
}

fn row(
    event: &Event<'_>,
    mail: &Mail<'_>,
    recipient: Recipient<'_>,
    common: &CommonInfo<'_>,
    notification_id: Option<&str>,
) -> EventRow {
    let user_email = shorten(&recipient.address, text::ADDRESS).into_owned();
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
            other_info: common.with(&recipient, &user_email),
        },
        report: ReportRow {
            id: identity::report_id(&event.message_id, &recipient.address),
            user_email,
            message_id: shorten(&event.message_id, text::MESSAGE_ID).into_owned(),
            report_type: mail.report_type.clone(),
            user_id: mail.user_id.clone(),
            source_email: mail.from.clone(),
            subject: mail.subject.clone(),
            send_at: event.sent.filter(|_| event.kind.proves_send()),
            first,
            bounce: event.bounce(),
        },
        recipient: recipient.address,
        message_id: event.message_id.clone().into_owned(),
        ambiguous: common.ambiguous,
    }
}

impl<'a> Recipients<'a> {
    /// Reads a list: entries are strings or objects with `emailAddress`.
    fn of(list: Json<'a>) -> Self {
        let entries = list.as_array().unwrap_or_else(|| vec![list]);
        let mut found = Self::default();
        let mut seen = HashSet::new();
        for entry in entries {
            let text = entry
                .as_object()
                .map_or_else(|| entry.as_str(), |fields| fields.said("emailAddress"));
            let mut is_taken = false;
            for as_sent in text.as_deref().map(address::split).unwrap_or_default() {
                if let Some(address) = address::normalise(as_sent)
                    && seen.insert(address.clone())
                {
                    is_taken = true;
                    found.named.push(Recipient {
                        address,
                        as_sent: as_sent.trim().to_owned(),
                        entry: Some(entry).filter(|entry| entry.is_object()),
                    });
                }
            }
            if !is_taken && !entry.is_null() {
                found.left_over.push(entry);
            }
        }
        found
    }
}

/// A header of `mail.headers` by name.
fn header<'a>(mail: &Object<'a>, name: &str) -> Option<Cow<'a, str>> {
    mail.get("headers")?.as_array()?.into_iter().filter_map(Json::as_object).find_map(|header| {
        header.said("name")?.eq_ignore_ascii_case(name).then(|| header.said("value"))?
    })
}
