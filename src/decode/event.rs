//! What an SES event says: when, about which mail, whom it concerns.
//!
//! The shapes are documented in "Contents of event data that Amazon SES publishes to Amazon SNS"
//! and "Amazon SNS notification contents" of the SES developer guide. SES "reserves the right to
//! add additional fields": unknown ones are ignored, every optional one may be missing or null.

use std::borrow::Cow;

use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::auto_reply::is_auto_reply;
use super::identity::{self, Fact};
use super::json::{Json, Object};
use super::kind::{self, Kind};
use super::outcome::{Reason, Rejection};
use super::recipients::{Recipient, Recipients};
use super::said::Said;
use super::text::{self, shorten};
use super::{Rules, timestamp};
use crate::classify::machine::{Class, Interaction};
use crate::row::{AUTO_REPLY, Bounce, Complaint, Milestone, NOT_SPAM};

/// SES opened on 2011-01-25; an older event has a broken clock.
pub(super) const EARLIEST: OffsetDateTime = datetime!(2011-01-01 00:00:00 UTC);
/// How far another clock may be ahead of the clock of this machine.
pub(super) const MOST_AHEAD: Duration = Duration::days(2);

/// What an event says, for all of its recipients.
pub(super) struct Event<'a> {
    pub(super) whole: &'a Object<'a>,
    pub(super) kind: Kind,
    pub(super) mail: Object<'a>,
    pub(super) message_id: Cow<'a, str>,
    pub(super) own: Option<Own<'a>>,
    pub(super) time: OffsetDateTime,
    pub(super) sent: Option<OffsetDateTime>,
}

/// The event's own object and its key, as SES wrote it.
pub(super) struct Own<'a> {
    pub(super) key: &'a str,
    pub(super) fields: Object<'a>,
}

impl<'a> Event<'a> {
    pub(super) fn read(event: &'a Object<'a>, now: OffsetDateTime) -> Result<Self, Rejection> {
        let name =
            event.non_empty_str("eventType").or_else(|| event.non_empty_str("notificationType"));
        let kind = Kind::from_name(&name.unwrap_or_default());
        let mail = event
            .object("mail")
            .ok_or_else(|| Rejection::new(Reason::NoMessageId, "no mail object"))?;
        let message_id = mail.non_empty_str("messageId").ok_or_else(|| {
            Rejection::new(Reason::NoMessageId, "mail.messageId is missing or empty")
        })?;
        let own = Own::of(event, &kind);
        let clock = |fields: &Object<'_>| {
            fields.non_empty_str("timestamp").and_then(|text| timestamp::parse(&text))
        };
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
    pub(super) fn own(&self, key: &str) -> Option<Json<'a>> {
        self.own.as_ref()?.fields.get(key)
    }

    /// Whom the event concerns.
    pub(super) fn recipients(&self) -> Result<Recipients<'a>, Rejection> {
        let list = self.kind.recipients_key().and_then(|key| self.own(key));
        let found = Recipients::of_event(&self.kind, list, self.mail.get("destination"))?;
        if found.named.is_empty() {
            return Err(Rejection::new(
                Reason::NoRecipient,
                "neither the event nor mail.destination names one",
            ));
        }
        Ok(found)
    }
}

impl<'a> Own<'a> {
    /// The object that the event is named after; for an unknown type the only one beside `mail`.
    fn of(event: &'a Object<'a>, kind: &Kind) -> Option<Self> {
        let wanted = kind.object_key();
        let objects = || event.iter().filter(|(key, value)| *key != "mail" && value.is_object());
        // Of several spellings, the first in alphabetical order, wherever it is in the list.
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

/// What the event's own object says, read once for all recipients.
pub(super) struct Facts<'a> {
    feedback_id: Cow<'a, str>,
    said: Said<'a>,
    /// Who made an open or a click.
    class: Option<Class>,
    bounce: Option<Bounce>,
    complaint: Option<Complaint>,
    /// Whether no server reported the bounce: then it may be an auto-reply.
    is_unreported: bool,
}

impl<'a> Facts<'a> {
    pub(super) fn of(event: &Event<'a>, rules: &Rules) -> Self {
        let own = |is_asked: bool, key| {
            let value = event.own(key).filter(|_| is_asked);
            value.and_then(Json::non_empty_str).unwrap_or_default()
        };
        let interaction = Interaction::of_event_type(event.kind.name());
        let own_fields = event.own.as_ref().map(|own| &own.fields);
        let said = own_fields.filter(|_| interaction.is_some()).map(Said::of).unwrap_or_default();
        let class = interaction.map(|kind| rules.machines.classify(kind, said.signals()));
        let is_bounce = event.kind == Kind::Known(Milestone::Bounce);
        let is_complaint = event.kind == Kind::Known(Milestone::Complaint);
        let word = |is_asked, key| {
            Some(own(is_asked, key))
                .filter(|word| !word.is_empty())
                .map(|word| shorten(&word, text::KIND).into_owned())
        };
        Self {
            feedback_id: own(event.kind.has_feedback(), "feedbackId"),
            said,
            class,
            bounce: word(is_bounce, "bounceType").map(|bounce_type| Bounce {
                bounce_type,
                sub_type: word(is_bounce, "bounceSubType"),
                class: None,
                counts: true,
            }),
            complaint: is_complaint.then(|| Complaint {
                sub_type: word(is_complaint, "complaintSubType"),
                feedback_type: word(is_complaint, "complaintFeedbackType"),
                counts: true,
            }),
            is_unreported: is_bounce && own(is_bounce, "reportingMTA").is_empty(),
        }
    }

    /// The bounce of a recipient.
    pub(super) fn bounce_of(&self, recipient: &Recipient<'_>) -> Option<Bounce> {
        let mut bounce = self.bounce.clone()?;
        let is_unreported = || self.is_unreported && recipient.has_no_report();
        if is_auto_reply(&bounce.bounce_type, bounce.sub_type.as_deref(), is_unreported) {
            AUTO_REPLY.clone_into(&mut bounce.bounce_type);
        }
        bounce.counts = recipient.counts_event;
        Some(bounce)
    }

    /// The complaint of a recipient.
    pub(super) fn complaint_of(&self, recipient: &Recipient<'_>) -> Option<Complaint> {
        Some(Complaint { counts: recipient.counts_event, ..self.complaint.clone()? })
    }

    /// Whether the recipient says that the mail is no spam.
    pub(super) fn is_not_spam(&self) -> bool {
        let feedback_type = self.complaint.as_ref().and_then(|said| said.feedback_type.as_deref());
        feedback_type == Some(NOT_SPAM)
    }

    /// The class of the event by our rules.
    pub(super) fn class(&self) -> Option<String> {
        self.class.map(|class| class.as_str().to_owned())
    }

    pub(super) fn detail_id(&self, event: &Event<'_>, recipient: &str) -> uuid::Uuid {
        let fact = if self.feedback_id.is_empty() {
            Fact::Occurrence {
                message_id: &event.message_id,
                link: &self.said.link,
                ip_address: &self.said.ip_address,
                user_agent: &self.said.user_agent,
            }
        } else {
            Fact::Feedback(&self.feedback_id)
        };
        identity::detail_id(event.kind.name(), recipient, event.time, &fact)
    }
}
