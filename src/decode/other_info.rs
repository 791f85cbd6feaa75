//! `other_info`: what an event says beyond the columns, as SES wrote it.

use std::borrow::Cow;

use super::event::Event;
use super::json::{Json, Object, Writer, quoted_len};
use super::links::ClickLinks;
use super::mail::Mail;
use super::recipients::{Recipient, Recipients};
use super::text::{self, shorten};

/// Room for the keys and braces that a row adds to what it quotes.
const PUNCTUATION: usize = 64;

/// The parts of `other_info` that are alike for every recipient: all that the event holds but the
/// mail, the tags of the mail, and the values of which the columns hold another form.
pub(super) struct CommonInfo<'a> {
    /// Without the closing brace.
    fields: Writer,
    /// The values of which the columns hold another form, shortened or normalised; without the
    /// closing brace.
    as_sent: Writer,
    /// What the parts take, to name the largest.
    parts: Vec<(Cow<'a, str>, usize)>,
}

impl<'a> CommonInfo<'a> {
    pub(super) fn of(
        event: &Event<'a>,
        mail: &Mail<'a>,
        recipients: &Recipients<'a>,
        links: ClickLinks,
    ) -> Self {
        let mut info = Self {
            fields: Writer::with_capacity(capacity(event.whole)),
            as_sent: Writer::with_capacity(0),
            parts: Vec::new(),
        };
        for (key, value) in event.whole.iter() {
            if !["eventType", "notificationType", "mail"].contains(&key) {
                let before = info.fields.len();
                match links.fields(&event.kind, key, value) {
                    Some(fields) => info.fields.object(key, |inner| {
                        fields.iter().for_each(|(key, value)| links.write(inner, key, value));
                    }),
                    None => info.write_field(event, recipients, key, value),
                }
                info.parts.push((Cow::Borrowed(key), info.fields.len() - before));
            }
        }
        if let Some(tags) = event.mail.get("tags").filter(|tags| tags.is_object()) {
            info.fields.field("tags", tags);
            info.parts.push((Cow::Borrowed("mail.tags"), tags.as_written().len()));
        }
        let name = event.kind.name();
        let shortened = [
            ("message_id", shorten(&event.message_id, text::MESSAGE_ID), &*event.message_id),
            ("event_type", shorten(name, text::KIND), name),
        ];
        let shortened = shortened.iter().filter(|(_, held, sent)| held != sent);
        let shortened = shortened.map(|(column, _, sent)| (*column, *sent));
        let of_mail = mail.as_sent.iter().map(|(column, sent)| (*column, &**sent));
        for (column, sent) in of_mail.chain(shortened) {
            info.as_sent.string(column, sent);
            info.parts.push((Cow::Borrowed(column), sent.len()));
        }
        info
    }

    fn write_field(
        &mut self,
        event: &Event<'a>,
        recipients: &Recipients<'a>,
        key: &str,
        value: Json<'a>,
    ) {
        match (&event.own, event.kind.recipients_key()) {
            // Each recipient's row holds its own entry; what is not an entry stays in all rows.
            (Some(own), Some(list)) if own.key == key => self.fields.object(key, |inner| {
                for (key, value) in own.fields.iter().filter(|(key, _)| *key != list) {
                    inner.field(key, value);
                }
                if !recipients.left_over.is_empty() {
                    inner.list(list, recipients.left_over.iter().copied());
                }
            }),
            _ => self.fields.field(key, value),
        }
    }

    /// The most bytes that [`Self::with`] makes for a recipient.
    pub(super) fn bytes_with(&self, recipient: &Recipient<'_>) -> usize {
        self.fields.len() + self.as_sent.len() + own_bytes(recipient) + PUNCTUATION
    }

    /// The whole for one recipient.
    pub(super) fn with(&self, recipient: &Recipient<'_>, user_email: &str) -> String {
        let mut info = Writer::with_capacity(self.bytes_with(recipient));
        info.fields_of(&self.fields);
        if recipient.ambiguous {
            info.yes("ambiguous");
        }
        if let Some(entry) = recipient.entry.filter(|entry| entry.is_object()) {
            info.field("recipient", entry);
        }
        let to = Some(&*recipient.as_sent).filter(|sent| *sent != user_email);
        if !self.as_sent.is_empty() || to.is_some() {
            info.object("as_sent", |inner| {
                inner.fields_of(&self.as_sent);
                if let Some(to) = to {
                    inner.string("to", to);
                }
            });
        }
        info.end()
    }

    /// Names the part that makes the row of a recipient large.
    pub(super) fn largest(&self, recipient: &Recipient<'_>) -> String {
        let entry = (Cow::Borrowed("entry of the recipient"), own_bytes(recipient));
        let parts = self.parts.iter().chain([&entry]);
        let (name, bytes) = parts.max_by_key(|(_, bytes)| *bytes).unwrap_or(&entry);
        format!("{} of {bytes} bytes", shorten(name, text::KIND))
    }
}

/// About what the fields beside the mail take.
fn capacity(event: &Object<'_>) -> usize {
    let fields = event.iter().filter(|(key, _)| *key != "mail");
    fields.map(|(key, value)| key.len() + value.as_written().len() + 4).sum::<usize>() + PUNCTUATION
}

fn own_bytes(recipient: &Recipient<'_>) -> usize {
    let entry = recipient.entry.map_or(0, |entry| entry.as_written().len());
    entry + quoted_len(&recipient.as_sent)
}
