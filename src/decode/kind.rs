//! The ten types of SES events, and those that SES adds tomorrow.

use std::borrow::Cow;

use crate::row::Milestone;

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
        match folded(name).as_str() {
            "send" => Self::Send,
            "bounce" => Self::Known(Milestone::Bounce),
            "complaint" => Self::Known(Milestone::Complaint),
            "delivery" => Self::Known(Milestone::Delivery),
            "reject" => Self::Known(Milestone::Reject),
            "open" => Self::Known(Milestone::Open),
            "click" => Self::Known(Milestone::Click),
            "renderingfailure" => Self::Known(Milestone::RenderingFailure),
            "deliverydelay" => Self::Known(Milestone::DeliveryDelay),
            "subscription" => Self::Known(Milestone::Subscription),
            _ => Self::Other(name.trim().to_owned()),
        }
    }

    /// The name as `event_type` holds it: SES's own spelling in event publishing.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Send => "Send",
            Self::Known(milestone) => match milestone {
                Milestone::Bounce => "Bounce",
                Milestone::Complaint => "Complaint",
                Milestone::Delivery => "Delivery",
                Milestone::Reject => "Reject",
                Milestone::Open => "Open",
                Milestone::Click => "Click",
                Milestone::RenderingFailure => "Rendering Failure",
                Milestone::DeliveryDelay => "DeliveryDelay",
                Milestone::Subscription => "Subscription",
            },
            Self::Other(name) => name,
        }
    }

    /// The key of the event's own object, folded. `Rendering Failure` calls its object `failure`.
    pub(super) fn object_key(&self) -> Cow<'_, str> {
        match self {
            Self::Known(Milestone::RenderingFailure) => Cow::Borrowed("failure"),
            _ => Cow::Owned(folded(self.name())),
        }
    }

    /// Whether the event's own object has a clock. Send, Reject and Rendering Failure have none.
    pub(super) fn has_clock(&self) -> bool {
        !matches!(self, Self::Send | Self::Known(Milestone::Reject | Milestone::RenderingFailure))
    }

    /// Whether SES must have sent the mail for this event to exist.
    pub(super) fn proves_send(&self) -> bool {
        !matches!(self, Self::Known(Milestone::Reject | Milestone::RenderingFailure))
    }

    /// The list in the event's own object that names its recipients, where it has one.
    pub(super) fn recipients_key(&self) -> Option<&'static str> {
        match self {
            Self::Known(Milestone::Bounce) => Some("bouncedRecipients"),
            Self::Known(Milestone::Complaint) => Some("complainedRecipients"),
            Self::Known(Milestone::Delivery) => Some("recipients"),
            Self::Known(Milestone::DeliveryDelay) => Some("delayedRecipients"),
            _ => None,
        }
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
}
