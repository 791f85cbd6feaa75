//! The ten types of SES events, and types that SES may add later.

use std::borrow::Cow;

use crate::row::{Facts, Milestone};

const SEND_FOLDED: &str = "send";

/// A type of event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// `Send`, which has no column but proves `send_at`.
    Send,
    /// One with a column of its own.
    Known(Milestone),
    /// One that SES did not have when this was written, as spelled.
    Other(String),
}

impl Kind {
    /// Reads a type as event publishing, identity feedback, and their many copies spell it:
    /// `Rendering Failure`, `renderingFailure`, `DELIVERY`.
    pub(super) fn from_name(name: &str) -> Self {
        let folded = folded(name);
        if folded == SEND_FOLDED {
            return Self::Send;
        }
        Milestone::ALL
            .into_iter()
            .find(|milestone| milestone.facts().folded == folded)
            .map_or_else(|| Self::Other(name.trim().to_owned()), Self::Known)
    }

    /// The name as `event_type` holds it: SES's own spelling in event publishing.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Send => "Send",
            Self::Known(milestone) => milestone.facts().event_type,
            Self::Other(name) => name,
        }
    }

    /// The key of the event's own object, folded.
    pub(super) fn object_key(&self) -> Cow<'_, str> {
        match self {
            Self::Send => Cow::Borrowed(SEND_FOLDED),
            Self::Known(milestone) => Cow::Borrowed(milestone.facts().object),
            Self::Other(name) => Cow::Owned(folded(name)),
        }
    }

    /// What is known of a kind with a column of its own.
    fn facts(&self) -> Option<Facts> {
        match self {
            Self::Known(milestone) => Some(milestone.facts()),
            Self::Send | Self::Other(_) => None,
        }
    }

    /// Whether the event's own object has a clock.
    pub(super) fn has_clock(&self) -> bool {
        *self != Self::Send && self.facts().is_none_or(|facts| facts.has_clock)
    }

    /// Whether SES must have sent the mail for this event to exist.
    pub(super) fn proves_send(&self) -> bool {
        self.facts().is_none_or(|facts| facts.proves_send)
    }

    /// Whether a `feedbackId` says which event it is.
    pub(super) fn has_feedback(&self) -> bool {
        self.facts().is_some_and(|facts| facts.has_feedback)
    }

    /// The list in the event's own object that names its recipients, where it has one.
    pub(super) fn recipients_key(&self) -> Option<&'static str> {
        self.facts()?.recipients
    }
}

/// Lower case, letters and digits only.
pub(super) fn folded(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_meet_and_unknown_types_stay() {
        for spelling in
            ["Rendering Failure", "RenderingFailure", "renderingFailure", "RENDERING_FAILURE"]
        {
            assert_eq!(Kind::from_name(spelling).name(), "Rendering Failure");
        }
        assert_eq!(Kind::from_name("Delivery Delay").name(), "DeliveryDelay");
        assert_eq!(Kind::from_name("Teleported").name(), "Teleported");
    }

    #[test]
    fn every_kind_is_known_by_its_own_name_and_by_the_name_of_its_object() {
        for milestone in Milestone::ALL {
            let facts = milestone.facts();
            assert_eq!(Kind::from_name(facts.event_type), Kind::Known(milestone));
            assert_eq!(facts.folded, folded(facts.event_type));
            let own_name = milestone != Milestone::RenderingFailure;
            assert_eq!(facts.object == facts.folded, own_name, "{milestone:?}");
        }
        assert_eq!(Kind::from_name("send"), Kind::Send);
        assert_eq!(Kind::Send.object_key(), folded(Kind::Send.name()));
    }
}
