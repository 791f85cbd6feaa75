//! A bounce, a delay or a delivery that is stored, read again by the present rules of `classify`.

use super::json::{Json, Object};
use crate::classify::bounce::{self, Evidence};
use crate::classify::provider;
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

    /// The bounce type, as `Facts::bounce_of` tells it.
    pub(crate) fn bounce_type(&self) -> Option<String> {
        let own = |key| self.own.non_empty_str(key);
        let bounce_type = own("bounceType")?;
        let is_unreported =
            own("reportingMTA").is_none() && self.entry.as_ref().is_some_and(says_nothing);
        let is_general =
            bounce_type == "Transient" && own("bounceSubType").as_deref() == Some("General");
        Some(if is_general && is_unreported {
            AUTO_REPLY.to_owned()
        } else {
            bounce_type.into_owned()
        })
    }

    /// Why the mail bounced or was delayed.
    pub(crate) fn class(&self, is_delay: bool) -> Option<&'static str> {
        let own = |key| self.own.non_empty_str(key);
        let of_entry = |key| self.entry.as_ref().and_then(|entry| entry.non_empty_str(key));
        let (status, diagnostic) = (of_entry("status"), of_entry("diagnosticCode"));
        let (bounce_type, sub_type, delay_type) =
            (self.bounce_type(), own("bounceSubType"), own("delayType"));
        let class = bounce::class(&Evidence {
            bounce_type: bounce_type.as_deref(),
            sub_type: sub_type.as_deref(),
            delay_type: is_delay.then(|| delay_type.as_deref().unwrap_or_default()),
            status: status.as_deref(),
            diagnostic: diagnostic.as_deref(),
        });
        class.map(bounce::BounceClass::name)
    }

    /// The provider of a recipient, by its address or by what its server said.
    pub(crate) fn provider(&self, address: &str) -> Option<&'static str> {
        let of_entry = self.entry.as_ref().and_then(|entry| entry.non_empty_str("diagnosticCode"));
        let answer = of_entry.or_else(|| self.own.non_empty_str("smtpResponse"));
        provider::of_address(address, None, answer.as_deref())
    }
}

/// Whether an entry quotes nothing of a delivery report.
pub(super) fn says_nothing(entry: &Object<'_>) -> bool {
    ["action", "status", "diagnosticCode"].iter().all(|key| entry.non_empty_str(key).is_none())
}
