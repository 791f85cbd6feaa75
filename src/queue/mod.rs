//! The SQS queue: receive, delete, change visibility. Batches of ten, positional entry ids,
//! partial failures read.

mod error;
mod lean;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
    DeleteMessageBatchRequestEntry, MessageSystemAttributeName, QueueAttributeName,
};
use time::OffsetDateTime;

pub use error::{Error, Trouble};
use lean::{Borrower, Failed, Lender};

/// The most messages of any SQS call (AWS SQS API reference).
pub const MOST_PER_CALL: usize = 10;
/// The longest long poll of SQS.
pub const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// A wait that is so short that a worker that stops lets it end.
pub const SHORT_WAIT: Duration = Duration::from_secs(1);
/// How long an answer may take beyond the wait that we asked for. The SDK alone waits for ever on
/// a server that accepts and never answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest visibility timeout of SQS: 12 hours.
pub const LONGEST_VISIBILITY: u32 = 43_200;

/// One queue.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Receives are not retried inside the SDK: the pollers back off together.
    receiving: Line,
    acting: Line,
    url: String,
    visibility: Duration,
    wait: Duration,
}

/// A client of the SDK, and what it lends to lean calls.
#[derive(Debug, Clone)]
struct Line {
    sdk: Client,
    lender: Arc<Lender>,
}

impl Line {
    /// The answer of a lean call, read; `None` where the SDK has to be asked.
    ///
    /// # Errors
    /// When there was no answer in time.
    async fn lean<T>(
        &self,
        action: &'static str,
        body: serde_json::Result<Vec<u8>>,
        patience: Duration,
        read: impl FnOnce(&[u8]) -> serde_json::Result<T>,
    ) -> Result<Option<T>, Error> {
        let (Some(lent), Ok(body)) = (self.lender.lent(), body) else {
            return Ok(None);
        };
        match lent.call(action, body, patience).await {
            Ok(answer) => {
                if let Ok(read) = read(&answer.into_bytes()) {
                    return Ok(Some(read));
                }
            }
            Err(Failed::Silence) => {
                self.lender.trust(false);
                return Err(Error::silence(patience));
            }
            Err(Failed::Otherwise) => {}
        }
        self.lender.trust(false);
        Ok(None)
    }
}

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
    pub index: usize,
    /// SQS's code.
    pub code: String,
    /// Whether trying again is pointless: the handle is stale, so the message will come again or
    /// is gone.
    pub is_final: bool,
}

impl FailedEntry {
    /// From an entry's id, which is its place, and SQS's code.
    fn of(id: &str, code: &str) -> Option<Self> {
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
pub struct Attributes {
    /// Messages that wait, roughly.
    pub visible: u64,
    /// Messages that somebody has received and not yet deleted, roughly.
    pub hidden: u64,
    /// Whether a dead-letter queue is set.
    pub has_redrive: bool,
}

impl Queue {
    /// A queue by its URL. Region, credentials and endpoint come from the usual `AWS_*` variables.
    /// `visibility` is how long a received message stays hidden from others, `wait` how long a
    /// receive waits for a first message, [`LONGEST_WAIT`] at most.
    pub async fn new(url: String, visibility: Duration, wait: Duration) -> Self {
        let shared = aws_config::defaults(aws_config::BehaviorVersion::latest()).load().await;
        let with = |attempt: Duration, retry: RetryConfig| {
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(attempt)
                .build();
            let lender = Arc::new(Lender::default());
            let config = aws_sdk_sqs::config::Builder::from(&shared)
                .timeout_config(timeouts)
                .retry_config(retry)
                .interceptor(Borrower(Arc::clone(&lender)))
                .build();
            Line { sdk: Client::from_conf(config), lender }
        };
        Self {
            receiving: with(wait + ANSWER_TIMEOUT, RetryConfig::disabled()),
            acting: with(ANSWER_TIMEOUT, RetryConfig::standard()),
            url,
            visibility,
            wait,
        }
    }

    /// Its name: where its URL ends.
    #[must_use]
    pub fn name(&self) -> &str {
        self.url.trim_end_matches('/').rsplit('/').next().unwrap_or(&self.url)
    }

    /// How long a receive waits for a first message.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// How long a received message stays hidden.
    #[must_use]
    pub fn visibility(&self) -> Duration {
        self.visibility
    }

    /// Asks for what a worker wants to know at start; fails where the queue cannot be used.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn attributes(&self) -> Result<Attributes, Error> {
        let answer = self
            .acting
            .sdk
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            .attribute_names(QueueAttributeName::RedrivePolicy)
            .send()
            .await
            .map_err(|error| Error::from_sdk(&error))?;
        let attributes = answer.attributes.unwrap_or_default();
        let count = |name| attributes.get(&name).and_then(|count| count.parse().ok()).unwrap_or(0);
        Ok(Attributes {
            visible: count(QueueAttributeName::ApproximateNumberOfMessages),
            hidden: count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
            has_redrive: attributes.contains_key(&QueueAttributeName::RedrivePolicy),
        })
    }

    /// One long poll: up to ten messages, none when the wait is over. Not retried.
    ///
    /// # Errors
    /// See [`Error`]. An empty answer is none.
    pub async fn receive(&self) -> Result<Vec<Message>, Error> {
        let (wait, visibility) = (seconds(self.wait), seconds(self.visibility));
        let body = wire::receive(&self.url, wait, visibility);
        let patience = self.wait + ANSWER_TIMEOUT;
        let lean = self.receiving.lean("AmazonSQS.ReceiveMessage", body, patience, wire::received);
        if let Some(messages) = lean.await? {
            return Ok(messages);
        }
        let answer = self
            .receiving
            .sdk
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(10)
            .wait_time_seconds(wait)
            .visibility_timeout(visibility)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await
            .map_err(|error| Error::from_sdk(&error))?;
        self.receiving.lender.trust(true);
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(message).collect())
    }

    /// Deletes up to ten messages by their receipt handles; returns those that SQS did not delete.
    ///
    /// # Errors
    /// When the call as a whole failed: nothing is known about any of them.
    pub async fn delete(&self, receipt_handles: &[&str]) -> Result<Vec<FailedEntry>, Error> {
        let body = wire::delete(&self.url, receipt_handles);
        let action = "AmazonSQS.DeleteMessageBatch";
        let lean = self.acting.lean(action, body, ANSWER_TIMEOUT, wire::not_deleted);
        if let Some(failed) = lean.await? {
            return Ok(failed);
        }
        let entries = receipt_handles.iter().enumerate().map(|(index, handle)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(*handle)
                .build()
        });
        let answer = self
            .acting
            .sdk
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(
                entries.collect::<Result<_, _>>().map_err(|error| Error::from_build(&error))?,
            ))
            .send()
            .await
            .map_err(|error| Error::from_sdk(&error))?;
        self.acting.lender.trust(true);
        Ok(answer.failed.iter().filter_map(failed_entry).collect())
    }

    /// Hides up to ten messages for this long from now; zero gives them back.
    ///
    /// # Errors
    /// When the call as a whole failed.
    pub async fn change_visibility(
        &self,
        receipt_handles: &[&str],
        hidden: Duration,
    ) -> Result<Vec<FailedEntry>, Error> {
        let entries = receipt_handles.iter().enumerate().map(|(index, handle)| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(*handle)
                .visibility_timeout(seconds(hidden))
                .build()
        });
        let answer = self
            .acting
            .sdk
            .change_message_visibility_batch()
            .queue_url(&self.url)
            .set_entries(Some(
                entries.collect::<Result<_, _>>().map_err(|error| Error::from_build(&error))?,
            ))
            .send()
            .await
            .map_err(|error| Error::from_sdk(&error))?;
        Ok(answer.failed.iter().filter_map(failed_entry).collect())
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

/// A message without a handle could never be deleted; SQS sends none such.
fn message(message: aws_sdk_sqs::types::Message) -> Option<Message> {
    let attributes = message.attributes.unwrap_or_default();
    let number = |name| attributes.get(&name).and_then(|value: &String| value.parse::<i64>().ok());
    let sent_at = number(MessageSystemAttributeName::SentTimestamp).and_then(wire::time_of_millis);
    Some(Message {
        id: message.message_id.unwrap_or_default(),
        receipt_handle: message.receipt_handle?,
        body: message.body.unwrap_or_default(),
        sent_at,
        receive_count: number(MessageSystemAttributeName::ApproximateReceiveCount)
            .and_then(|count| i32::try_from(count).ok()),
    })
}

fn failed_entry(entry: &BatchResultErrorEntry) -> Option<FailedEntry> {
    FailedEntry::of(entry.id(), entry.code())
}
