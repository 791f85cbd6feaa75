//! What calls return.

use time::OffsetDateTime;

/// A received message.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// SQS `MessageId`.
    pub id: String,
    /// What to delete it with: valid for this receive.
    pub receipt_handle: String,
    /// The body as it came.
    pub body: String,
    /// `SentTimestamp`.
    pub sent_at: Option<OffsetDateTime>,
    /// `ApproximateReceiveCount`.
    pub receive_count: Option<i32>,
}

impl std::fmt::Debug for Message {
    // A body holds addresses: it never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("body_bytes", &self.body.len())
            .field("receive_count", &self.receive_count)
            .finish_non_exhaustive()
    }
}

/// An entry of a batch call that SQS did not carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedEntry {
    /// Its place in the call.
    pub(crate) index: usize,
    /// SQS's code.
    pub(crate) code: String,
    /// Whether trying again is pointless: the handle is stale, so the message will come again or
    /// is gone.
    pub(crate) is_final: bool,
}

impl FailedEntry {
    /// From an entry's id, which is its place, and SQS's code.
    pub(super) fn of(id: &str, code: &str) -> Option<Self> {
        Some(Self {
            index: id.parse().ok()?,
            is_final: ["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"]
                .iter()
                .any(|known| code.ends_with(known)),
            code: code.to_owned(),
        })
    }
}

/// What a worker wants to know about its queue at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Messages that wait, roughly.
    pub(crate) visible: u64,
    /// Messages that a consumer has received and not yet deleted, approximately.
    pub(crate) hidden: u64,
    /// Whether a dead-letter queue is set.
    pub(crate) has_redrive: bool,
}
