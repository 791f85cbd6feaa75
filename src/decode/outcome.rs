//! What a body can turn out to be.

use std::fmt;

use crate::row::{AccountEvent, EventRow};

/// What one SQS message body turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// SES events: one row per event and recipient, never empty.
    Events(Vec<EventRow>),
    /// Events about an account or a tenant, never empty, and the rows of SES events that the same body
    /// holds, which are none as a rule.
    AccountEvents {
        /// The events about an account or a tenant.
        events: Vec<AccountEvent>,
        /// The rows of SES events.
        rows: Vec<EventRow>,
    },
    /// Nothing to store and nothing wrong: counted, then deleted.
    Acknowledged(Acknowledged),
    /// Could not be decoded: stored whole, then deleted.
    DeadLetter(Rejection),
}

impl Outcome {
    /// The rows that the body becomes; none unless it holds SES events.
    #[must_use]
    pub(crate) fn rows(&self) -> &[EventRow] {
        match self {
            Self::Events(rows) | Self::AccountEvents { rows, .. } => rows,
            Self::Acknowledged(_) | Self::DeadLetter(_) => &[],
        }
    }

    /// The events about an account or a tenant.
    #[must_use]
    pub(crate) fn account_events(&self) -> &[AccountEvent] {
        match self {
            Self::AccountEvents { events, .. } => events,
            Self::Events(_) | Self::Acknowledged(_) | Self::DeadLetter(_) => &[],
        }
    }

    /// What a body is that is no dead letter and says nothing about a mail that was sent.
    #[must_use]
    pub(crate) fn acknowledged(&self) -> Option<Acknowledged> {
        match self {
            Self::Acknowledged(what) => Some(*what),
            Self::AccountEvents { rows, .. } if rows.is_empty() => Some(Acknowledged::AccountEvent),
            Self::Events(_) | Self::AccountEvents { .. } | Self::DeadLetter(_) => None,
        }
    }
}

/// Messages that belong on the queue and say nothing about a mail that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledged {
    /// The plain text that SES publishes whenever an event destination is created.
    TopicValidation,
    /// SNS `SubscriptionConfirmation` or `UnsubscribeConfirmation`. Their URL is never visited.
    SubscriptionControl,
    /// `AmazonSnsSubscriptionSucceeded`, which identity feedback sends when it is set up.
    FeedbackTest,
    /// Inbound mail (`Received`).
    InboundMail,
    /// Events about an account or a tenant (Sending Status, VDM Advisor). They are stored.
    AccountEvent,
    /// EventBridge events of `aws.ses` that are about neither.
    OtherSesEvent,
    /// `s3:TestEvent`.
    S3Test,
}

impl fmt::Display for Acknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TopicValidation => "topic validation",
            Self::SubscriptionControl => "subscription control",
            Self::FeedbackTest => "feedback test",
            Self::InboundMail => "inbound mail",
            Self::AccountEvent => "account event",
            Self::OtherSesEvent => "other SES event",
            Self::S3Test => "S3 test",
        })
    }
}

/// Why a body is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// One of a small set, to group by.
    pub reason: Reason,
    /// What exactly was wrong, for a person. It may quote the body: it is stored, never logged.
    pub detail: Option<String>,
}

impl Rejection {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: Some(detail.into()) }
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self { reason, detail: None }
    }
}

/// The reasons for dead letters; their texts are stored in `aws_report_dead_letter.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing but white space.
    Empty,
    /// Plain text or broken JSON.
    NotJson,
    /// JSON without an SES event in it.
    NotAnEvent,
    /// A pointer of the SQS extended client: the event is in S3.
    InS3,
    /// An event without `mail.messageId`.
    NoMessageId,
    /// Neither the event nor the mail names a recipient.
    NoRecipient,
    /// Neither the event nor the mail has a readable time.
    NoTimestamp,
    /// Older than SES: a broken clock.
    Before2011,
    /// More than two days ahead: a broken clock.
    TooFarAhead,
    /// Its rows would exceed any real event many times.
    TooLarge,
    /// PostgreSQL refused the values of this message alone.
    Refused,
    /// Its SNS topic is not one of those that may send (`crate::trust`).
    OtherTopic,
    /// It is in no SNS envelope, so that no topic vouches for it.
    NoTopic,
    /// It has no signature of SNS.
    NotSigned,
    /// Its signature is not that of what it says.
    Forged,
    /// Its signature says nothing: of an unknown version, or of a certificate that is not SNS's.
    Unverifiable,
}

impl Reason {
    /// What `crate::trust` refuses: bodies that may be valid events, but whose origin is not proven.
    pub(crate) const OF_TRUST: [Self; 5] =
        [Self::OtherTopic, Self::NoTopic, Self::NotSigned, Self::Forged, Self::Unverifiable];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty body",
            Self::NotJson => "not JSON",
            Self::NotAnEvent => "not an SES event",
            Self::InS3 => "stored in S3",
            Self::NoMessageId => "no message id",
            Self::NoRecipient => "no recipient",
            Self::NoTimestamp => "no readable timestamp",
            Self::Before2011 => "dated before 2011",
            Self::TooFarAhead => "dated more than two days ahead",
            Self::TooLarge => "too large",
            Self::Refused => "refused by PostgreSQL",
            Self::OtherTopic => "from a topic that is not allowed",
            Self::NoTopic => "names no topic",
            Self::NotSigned => "not signed by SNS",
            Self::Forged => "forged or altered SNS message",
            Self::Unverifiable => "unverifiable SNS message",
        })
    }
}
