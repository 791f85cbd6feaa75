//! Decode: an SQS body becomes rows, an acknowledgement, or a dead letter. No I/O happens here.
//!
//! `envelope` takes the event out of what carries it, `event`, `mail` and `recipients` read it, and
//! `rows` and `other_info` build what is stored; `account_event` reads events that are about no mail. All of
//! them read `json`, whose values are slices of the body. `kind`, `address`, `domain`, `timestamp`, `text`,
//! `tags`, `links`, `said`, `auto_reply` and `identity` each know one thing about what SES writes, and `meaning` asks
//! `classify` what it means.

mod account_event;
pub mod address;
mod auto_reply;
pub(crate) mod baseline;
mod domain;
mod envelope;
mod event;
pub mod identity;
mod json;
mod kind;
mod links;
mod mail;
mod meaning;
mod other_info;
mod outcome;
mod recipients;
mod rows;
mod said;
mod stored;
mod tags;
pub mod text;
pub(crate) mod timestamp;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use time::OffsetDateTime;

use crate::classify::machine::MachineRules;
use crate::row::{AccountEvent, EventRow};
use envelope::Letter;
pub(crate) use links::ClickLinks;
pub use outcome::Outcome;
pub(crate) use outcome::{Acknowledged, Reason, Rejection};
pub(crate) use said::Said;
pub(crate) use stored::StoredEvent;
pub(crate) use tags::ReportTags;

/// The most that the rows of one body may take in memory, unless it makes one row only, which is not
/// longer than the body. SES allows 50 recipients and an event of some KiB; each recipient's row has
/// a copy of what the event says, so a body of 256 KiB could otherwise become gigabytes.
pub const MOST_BYTES: usize = 4 * 1024 * 1024;

/// What an operator can choose about the reading of events.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The message tag that holds the kind of mail.
    pub(crate) report_type_tag: String,
    /// The message tag that holds the customer.
    pub(crate) user_id_tag: String,
    /// The message tags that reports keep.
    pub(crate) report_tags: ReportTags,
    /// How much of the links of clicks the details keep.
    pub(crate) click_links: ClickLinks,
    /// What tells people from machines: our own rules, until those of a database take their place.
    pub(crate) machines: Arc<MachineRules>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            report_type_tag: "report_type".to_owned(),
            user_id_tag: "user_id".to_owned(),
            report_tags: ReportTags::default(),
            click_links: ClickLinks::default(),
            machines: Arc::default(),
        }
    }
}

impl Rules {
    /// The same with other rules for machines.
    pub(crate) fn with_machines(&self, machines: Arc<MachineRules>) -> Self {
        Self { machines, ..self.clone() }
    }
}

/// Decodes one SQS message body.
///
/// `sqs_message_id` becomes the notification id of events that came without an envelope; `now`
/// bounds the clocks of events. A body with several letters (Lambda and `receive-message`
/// wrappers) is taken whole or not at all: one bad letter makes all of it a dead letter.
#[must_use]
pub fn decode(
    body: &str,
    sqs_message_id: Option<&str>,
    rules: &Rules,
    now: OffsetDateTime,
) -> Outcome {
    match letters(body, sqs_message_id, rules, now) {
        Ok(Letters { rows, account_events: events, .. }) if !events.is_empty() => {
            Outcome::AccountEvents { events, rows }
        }
        Ok(Letters { rows, .. }) if !rows.is_empty() => Outcome::Events(rows),
        Ok(Letters { acknowledged: Some(what), .. }) => Outcome::Acknowledged(what),
        Ok(_) => Outcome::DeadLetter(Reason::NotAnEvent.into()),
        Err(rejection) => Outcome::DeadLetter(rejection),
    }
}

/// The clock that bounds the events of a message: the later of this machine's clock and the time at
/// which SQS received the message (`SentTimestamp`). If this machine's clock is behind, events must not
/// seem to come from the future.
#[must_use]
pub(crate) fn latest_clock(
    local: OffsetDateTime,
    sent_at: Option<OffsetDateTime>,
) -> OffsetDateTime {
    sent_at.map_or(local, |sent_at| local.max(sent_at))
}

/// What the letters of a body become.
#[derive(Default)]
struct Letters {
    rows: Vec<EventRow>,
    account_events: Vec<AccountEvent>,
    /// The last letter with nothing to store.
    acknowledged: Option<Acknowledged>,
}

fn letters(
    body: &str,
    sqs_message_id: Option<&str>,
    rules: &Rules,
    now: OffsetDateTime,
) -> Result<Letters, Rejection> {
    let mut read = Letters::default();
    let mut bytes = 0;
    envelope::open(body, sqs_message_id, |letter| {
        match letter {
            Letter::Event { event, notification_id } => {
                let mut more = rows::of_event(&event, notification_id, rules, now)?;
                bytes += more.iter().map(EventRow::bytes).sum::<usize>();
                // A single event keeps the bound by itself.
                if !read.rows.is_empty() && bytes > MOST_BYTES {
                    return Err(Rejection::new(
                        Reason::TooLarge,
                        "the rows of its events together",
                    ));
                }
                read.rows.append(&mut more);
            }
            Letter::AboutNoMail(event) => match account_event::read(&event, now) {
                Some(event) => read.account_events.push(event),
                None => read.acknowledged = Some(Acknowledged::OtherSesEvent),
            },
            Letter::Acknowledged(what) => read.acknowledged = Some(what),
        }
        Ok(())
    })?;
    Ok(read)
}
