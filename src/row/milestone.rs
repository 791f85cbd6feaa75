//! The kinds of events that a report knows, and what SES says of each.

/// The kinds of events whose first occurrence a report keeps in its own column (`send_at`,
/// which all but two kinds prove, is not among them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the SES event of that name")]
pub enum Milestone {
    Bounce,
    Complaint,
    Delivery,
    Reject,
    Open,
    Click,
    RenderingFailure,
    DeliveryDelay,
    Subscription,
}

/// What is known of a kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The column of `aws_reports` that holds its first occurrence.
    pub column: &'static str,
    /// Its name as event publishing spells it, which is what `event_type` holds.
    pub event_type: &'static str,
    /// The same name in lower case, letters only: other notifications spell it in many ways.
    pub folded: &'static str,
    /// The key of the event's own object, folded likewise.
    pub object: &'static str,
    /// The list in that object that names the recipients, where there is one.
    pub recipients: Option<&'static str>,
    /// Whether that object has a clock; otherwise the mail's is the event's.
    pub has_clock: bool,
    /// Whether SES must have sent the mail for this event to exist.
    pub proves_send: bool,
    /// Whether identity feedback reports it too, with a `feedbackId` and its time cut to the second.
    pub has_feedback: bool,
}

/// What holds of most kinds.
const USUAL: Facts = Facts {
    column: "",
    event_type: "",
    folded: "",
    object: "",
    recipients: None,
    has_clock: true,
    proves_send: true,
    has_feedback: false,
};

impl Milestone {
    /// All of them, in the order of [`super::ReportRow::first`].
    pub(crate) const ALL: [Self; 9] = [
        Self::Bounce,
        Self::Complaint,
        Self::Delivery,
        Self::Reject,
        Self::Open,
        Self::Click,
        Self::RenderingFailure,
        Self::DeliveryDelay,
        Self::Subscription,
    ];

    /// Its place in [`super::ReportRow::first`].
    #[must_use]
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|one| *one == self).unwrap_or(0)
    }

    /// What is known of it.
    #[must_use]
    pub const fn facts(self) -> Facts {
        match self {
            Self::Bounce => Facts {
                column: "bounce_at",
                event_type: "Bounce",
                folded: "bounce",
                object: "bounce",
                recipients: Some("bouncedRecipients"),
                has_feedback: true,
                ..USUAL
            },
            Self::Complaint => Facts {
                column: "complaint_at",
                event_type: "Complaint",
                folded: "complaint",
                object: "complaint",
                recipients: Some("complainedRecipients"),
                has_feedback: true,
                ..USUAL
            },
            Self::Delivery => Facts {
                column: "delivery_at",
                event_type: "Delivery",
                folded: "delivery",
                object: "delivery",
                recipients: Some("recipients"),
                ..USUAL
            },
            Self::Reject => Facts {
                column: "reject_at",
                event_type: "Reject",
                folded: "reject",
                object: "reject",
                has_clock: false,
                proves_send: false,
                ..USUAL
            },
            Self::Open => Facts {
                column: "open_at",
                event_type: "Open",
                folded: "open",
                object: "open",
                ..USUAL
            },
            Self::Click => Facts {
                column: "click_at",
                event_type: "Click",
                folded: "click",
                object: "click",
                ..USUAL
            },
            Self::RenderingFailure => Facts {
                column: "rendering_failure_at",
                event_type: "Rendering Failure",
                folded: "renderingfailure",
                // Alone in not being named after its event.
                object: "failure",
                has_clock: false,
                proves_send: false,
                ..USUAL
            },
            Self::DeliveryDelay => Facts {
                column: "delivery_delay_at",
                event_type: "DeliveryDelay",
                folded: "deliverydelay",
                object: "deliverydelay",
                recipients: Some("delayedRecipients"),
                ..USUAL
            },
            Self::Subscription => Facts {
                column: "subscription_at",
                event_type: "Subscription",
                folded: "subscription",
                object: "subscription",
                ..USUAL
            },
        }
    }
}
