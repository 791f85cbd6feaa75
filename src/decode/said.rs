//! What an open or a click says about who made it.

use std::borrow::Cow;

use super::json::{Json, Object};
use crate::classify::machine::Signals;

/// The fields of an open's or a click's own object that tell who made it; empty where there is none.
#[derive(Debug, Default)]
pub(crate) struct Said<'a> {
    pub(crate) is_bot_event: Cow<'a, str>,
    pub(crate) user_agent: Cow<'a, str>,
    pub(crate) ip_address: Cow<'a, str>,
    pub(crate) link: Cow<'a, str>,
}

impl<'a> Said<'a> {
    pub(super) fn of(own: &Object<'a>) -> Self {
        let text = |key| own.non_empty_str(key).unwrap_or_default();
        Self {
            is_bot_event: text("isBotEvent"),
            user_agent: text("userAgent"),
            ip_address: text("ipAddress"),
            link: text("link"),
        }
    }

    /// Reads the object as `other_info` holds it.
    pub(crate) fn read(own: &'a str) -> Self {
        let own = Json::parse(own).ok().and_then(Json::as_object);
        own.map_or_else(Self::default, |own| Self::of(&own))
    }

    pub(crate) fn signals(&self) -> Signals<'_> {
        Signals {
            is_bot_event: &self.is_bot_event,
            user_agent: &self.user_agent,
            ip_address: &self.ip_address,
        }
    }
}
