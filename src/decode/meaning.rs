//! The class and the provider of an event, for each of its recipients, by the rules of `classify`.

use std::borrow::Cow;

use super::event::Event;
use super::json::{Json, Object};
use super::kind::Kind;
use super::mail::Mail;
use super::recipients::Recipient;
use crate::classify::bounce::{self, BounceClass, Evidence};
use crate::classify::provider;
use crate::row::{Bounce, Milestone};

/// The parts of an event that the rules need, the same for all recipients.
pub(super) struct Meaning<'m, 'a> {
    kind: &'m Kind,
    delay_type: Option<Cow<'a, str>>,
    smtp_response: Option<Cow<'a, str>>,
    isp_tag: Option<&'m str>,
    /// The last entry and its class. A single entry as long as the body may name thousands of recipients.
    last: Option<(&'a str, Option<BounceClass>)>,
}

impl<'m, 'a> Meaning<'m, 'a> {
    pub(super) fn of(event: &'m Event<'a>, mail: &'m Mail<'a>) -> Self {
        let own = |milestone, key| {
            let is_asked = event.kind == Kind::Known(milestone);
            event.own(key).filter(|_| is_asked).and_then(Json::non_empty_str)
        };
        // The tag does not say which of several recipients it means.
        let is_one = || {
            let destination = event.mail.get("destination").and_then(Json::as_array);
            destination.is_some_and(|all| all.len() == 1)
        };
        Self {
            kind: &event.kind,
            delay_type: own(Milestone::DeliveryDelay, "delayType"),
            smtp_response: own(Milestone::Delivery, "smtpResponse"),
            isp_tag: mail.isp.as_deref().filter(|_| is_one()),
            last: None,
        }
    }

    /// Why the mail to a recipient bounced or was delayed.
    pub(super) fn class(
        &mut self,
        recipient: &Recipient<'a>,
        bounce: Option<&Bounce>,
    ) -> Option<BounceClass> {
        if !matches!(self.kind, Kind::Known(Milestone::Bounce | Milestone::DeliveryDelay)) {
            return None;
        }
        let written = recipient.entry.map(Json::as_written);
        if let (Some((last, class)), Some(written)) = (self.last, written)
            && std::ptr::eq(last, written)
        {
            return class;
        }
        let is_delay = *self.kind == Kind::Known(Milestone::DeliveryDelay);
        let of_ses = Evidence {
            bounce_type: bounce.map(|bounce| bounce.bounce_type.as_str()),
            sub_type: bounce.and_then(|bounce| bounce.sub_type.as_deref()),
            delay_type: is_delay.then(|| self.delay_type.as_deref().unwrap_or_default()),
            ..Evidence::default()
        };
        let class = class_of(of_ses, entry(recipient).as_ref());
        self.last = written.map(|written| (written, class));
        class
    }

    /// The recipient's mailbox provider.
    pub(super) fn provider(&self, recipient: &Recipient<'a>) -> Option<&'static str> {
        let entry = entry(recipient);
        provider_of(&recipient.address, self.isp_tag, entry.as_ref(), self.smtp_response.as_deref())
    }
}

/// The class of what SES says, together with what the recipient's entry quotes of a server.
pub(super) fn class_of(of_ses: Evidence<'_>, entry: Option<&Object<'_>>) -> Option<BounceClass> {
    let text = |key| entry.and_then(|entry| entry.non_empty_str(key));
    let (status, diagnostic) = (text("status"), text("diagnosticCode"));
    bounce::class(&Evidence {
        status: status.as_deref(),
        diagnostic: diagnostic.as_deref(),
        ..of_ses
    })
}

/// The provider of a recipient, whose server's answer is in its entry, or that of a delivery.
pub(super) fn provider_of(
    address: &str,
    isp_tag: Option<&str>,
    entry: Option<&Object<'_>>,
    smtp_response: Option<&str>,
) -> Option<&'static str> {
    let diagnostic = entry.and_then(|entry| entry.non_empty_str("diagnosticCode"));
    provider::of_address(address, isp_tag, diagnostic.as_deref().or(smtp_response))
}

/// The recipient's entry in the event's list.
fn entry<'a>(recipient: &Recipient<'a>) -> Option<Object<'a>> {
    recipient.entry.and_then(Json::as_object)
}
