//! The rows of an event: one per recipient that it concerns. The memory of each is counted before it is
//! created.

use time::OffsetDateTime;

use super::event::{Event, Facts};
use super::json::Object;
use super::kind::Kind;
use super::mail::Mail;
use super::meaning::Meaning;
use super::other_info::CommonInfo;
use super::outcome::{Reason, Rejection};
use super::recipients::Recipient;
use super::text::{self, shorten};
use super::{MOST_BYTES, Rules, identity};
use crate::row::{DetailRow, EventRow, Milestone, ReportRow, Tags};

/// More than the columns of a row take that are cut to their length.
const MOST_COLUMN_BYTES: usize = 8 * 1024;

/// Reads one event. `now` is the clock that bounds the event's.
pub(super) fn of_event(
    event: &Object<'_>,
    notification_id: Option<&str>,
    rules: &Rules,
    now: OffsetDateTime,
) -> Result<Vec<EventRow>, Rejection> {
    let event = Event::read(event, now)?;
    let mail = Mail::read(&event.mail, rules);
    let recipients = event.recipients()?;
    let common = CommonInfo::of(&event, &mail, &recipients, rules.click_links);
    let facts = Facts::of(&event, rules);
    let mut meaning = Meaning::of(&event, &mail);
    let several = recipients.named.len();
    let mut rows: Vec<EventRow> = Vec::with_capacity(several);
    let mut bytes = 0;
    for recipient in recipients.named {
        // Counted before the row is made: each one may be as large as the body.
        let next = size_of::<EventRow>()
            + MOST_COLUMN_BYTES
            + mail.tags.as_ref().map_or(0, Tags::bytes)
            + event.message_id.len()
            + recipient.address.len()
            + recipient.named.as_ref().map_or(0, |named| named.len())
            + common.bytes_with(&recipient);
        if several > 1 && bytes + next > MOST_BYTES {
            let largest = common.largest(&recipient);
            let detail = format!("the rows of {several} recipients, each with {largest}");
            return Err(Rejection::new(Reason::TooLarge, detail));
        }
        let row = row(&event, &mail, recipient, &common, &facts, &mut meaning, notification_id);
        bytes += row.bytes();
        rows.push(row);
    }
    Ok(rows)
}

fn row<'a>(
    event: &Event<'_>,
    mail: &Mail<'_>,
    recipient: Recipient<'a>,
    common: &CommonInfo<'_>,
    facts: &Facts<'_>,
    meaning: &mut Meaning<'_, 'a>,
    notification_id: Option<&str>,
) -> EventRow {
    let user_email = shorten(&recipient.address, text::ADDRESS).into_owned();
    let mut first = [None; Milestone::ALL.len()];
    if let Kind::Known(milestone) = event.kind {
        first[milestone.index()] = Some(event.time);
    }
    let mut bounce = facts.bounce_of(&recipient);
    let bounce_class = meaning.class(&recipient, bounce.as_ref());
    let bounce_class = bounce_class.map(|class| class.name().to_owned());
    if let Some(bounce) = &mut bounce {
        bounce.class.clone_from(&bounce_class);
    }
    EventRow {
        detail: DetailRow {
            id: facts.detail_id(event, &recipient.address),
            notification_message_id: notification_id
                .map(|id| shorten(id, text::MESSAGE_ID).into_owned()),
            event_type: shorten(event.kind.name(), text::KIND).into_owned(),
            timestamp: event.time,
            class: facts.class().or(bounce_class),
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
            bounce,
            complaint: facts.complaint_of(&recipient),
            not_spam_at: facts.is_not_spam().then_some(event.time),
            counts_message: recipient.counts_message,
            provider: meaning.provider(&recipient).map(str::to_owned),
            tags: mail.tags.clone(),
        },
        ambiguous: recipient.ambiguous,
        named: recipient.named.as_deref().map(str::to_owned),
        recipient: recipient.address,
        message_id: event.message_id.clone().into_owned(),
    }
}
