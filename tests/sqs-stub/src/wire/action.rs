//! What a client may ask for.

use serde::Serialize;

/// The actions that the stub carries out, as SQS names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[expect(missing_docs, reason = "the SQS API reference says what each does")]
pub enum Action {
    ChangeMessageVisibility,
    ChangeMessageVisibilityBatch,
    CreateQueue,
    DeleteMessage,
    DeleteMessageBatch,
    GetQueueAttributes,
    GetQueueUrl,
    ReceiveMessage,
    SendMessage,
    SendMessageBatch,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ChangeMessageVisibility,
        Self::ChangeMessageVisibilityBatch,
        Self::CreateQueue,
        Self::DeleteMessage,
        Self::DeleteMessageBatch,
        Self::GetQueueAttributes,
        Self::GetQueueUrl,
        Self::ReceiveMessage,
        Self::SendMessage,
        Self::SendMessageBatch,
    ];

    /// By the header `x-amz-target`.
    pub(crate) fn of_target(target: &str) -> Option<Self> {
        let name = target.strip_prefix("AmazonSQS.")?;
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ChangeMessageVisibility => "ChangeMessageVisibility",
            Self::ChangeMessageVisibilityBatch => "ChangeMessageVisibilityBatch",
            Self::CreateQueue => "CreateQueue",
            Self::DeleteMessage => "DeleteMessage",
            Self::DeleteMessageBatch => "DeleteMessageBatch",
            Self::GetQueueAttributes => "GetQueueAttributes",
            Self::GetQueueUrl => "GetQueueUrl",
            Self::ReceiveMessage => "ReceiveMessage",
            Self::SendMessage => "SendMessage",
            Self::SendMessageBatch => "SendMessageBatch",
        }
    }

    /// Whether it is about several messages.
    #[must_use]
    pub fn is_batch(self) -> bool {
        matches!(
            self,
            Self::ChangeMessageVisibilityBatch | Self::DeleteMessageBatch | Self::SendMessageBatch
        )
    }
}
