//! A bounce, a delay or a delivery that is stored, read again by the present rules of `classify`.

use super::auto_reply::{is_auto_reply, says_nothing};
use super::json::{Json, Object};
use super::meaning::{class_of, provider_of};
use crate::classify::bounce::{BounceClass, Evidence};
use crate::row::AUTO_REPLY;

/// What is stored of an event about one recipient.
#[derive(Debug)]
pub(crate) struct StoredEvent<'a> {
    own: Object<'a>,
    entry: Option<Object<'a>>,
}

impl<'a> StoredEvent<'a> {
    /// Reads the event's own object and the recipient's entry, as `other_info` holds them.
    pub(crate) fn read(own: &'a str, entry: Option<&'a str>) -> Self {
        let object = |text: &'a str| Json::parse(text).ok().and_then(Json::as_object);
        Self { own: object(own).unwrap_or_default(), entry: entry.and_then(object) }
    }

    /// The bounce type, [`AUTO_REPLY`] where it is one.
    pub(crate) fn bounce_type(&self) -> Option<String> {
        let own = |key| self.own.non_empty_str(key);
        let bounce_type = own("bounceType")?;
        let is_unreported =
            || own("reportingMTA").is_none() && self.entry.as_ref().is_some_and(says_nothing);
        Some(if is_auto_reply(&bounce_type, own("bounceSubType").as_deref(), is_unreported) {
            AUTO_REPLY.to_owned()
        } else {
            bounce_type.into_owned()
        })
    }

    /// Why the mail bounced or was delayed.
    pub(crate) fn class(&self, is_delay: bool) -> Option<&'static str> {
        let own = |key| self.own.non_empty_str(key);
        let (bounce_type, sub_type, delay_type) =
            (self.bounce_type(), own("bounceSubType"), own("delayType"));
        let of_ses = Evidence {
            bounce_type: bounce_type.as_deref(),
            sub_type: sub_type.as_deref(),
            delay_type: is_delay.then(|| delay_type.as_deref().unwrap_or_default()),
            ..Evidence::default()
        };
        class_of(of_ses, self.entry.as_ref()).map(BounceClass::name)
    }

    /// The provider of a recipient, by its address or by what its server said.
    pub(crate) fn provider(&self, address: &str) -> Option<&'static str> {
        let smtp_response = self.own.non_empty_str("smtpResponse");
        provider_of(address, None, self.entry.as_ref(), smtp_response.as_deref())
    }
}
