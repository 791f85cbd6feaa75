//! The SQS queue: receive, delete, change visibility. Batches of ten, positional entry ids,
//! partial failures read.

mod error;

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

/// The most messages of any SQS call (AWS SQS API reference).
pub const MOST_PER_CALL: usize = 10;
/// The longest long poll of SQS.
pub const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// A wait that is so short that a worker that stops lets it end.
pub const SHORT_WAIT: Duration = Duration::from_secs(1);
/// How long an answer may take beyond the wait that we asked for. The SDK alone waits for ever on
/// a server that accepts and never answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest visibility timeout of SQS: 12 hours.
pub const LONGEST_VISIBILITY: u32 = 43_200;

/// One queue.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Receives are not retried inside the SDK: the pollers back off together.
    receiving: Client,
    acting: Client,
    url: String,
    visibility: Duration,
    wait: Duration,
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
                .connect_timeout(Duration::from_secs(3))
                .operation_attempt_timeout(attempt)
                .build();
            Client::from_conf(
                aws_sdk_sqs::config::Builder::from(&shared)
                    .timeout_config(timeouts)
                    .retry_config(retry)
                    .build(),
            )
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
        let answer = self
            .receiving
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(10)
            .wait_time_seconds(seconds(self.wait))
            .visibility_timeout(seconds(self.visibility))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await
            .map_err(|error| Error::from_sdk(&error))?;
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(message).collect())
    }

    /// Deletes up to ten messages by their receipt handles; returns those that SQS did not delete.
    ///
    /// # Errors
    /// When the call as a whole failed: nothing is known about any of them.
    pub async fn delete(&self, receipt_handles: &[&str]) -> Result<Vec<FailedEntry>, Error> {
        let entries = receipt_handles.iter().enumerate().map(|(index, handle)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(*handle)
                .build()
        });
        let answer = self
            .acting
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(
                entries.collect::<Result<_, _>>().map_err(|error| Error::from_build(&error))?,
            ))
            .send()
            .await
            .map_err(|error| Error::from_sdk(&error))?;
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
    let sent_at = number(MessageSystemAttributeName::SentTimestamp).and_then(|millis| {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok()
    });
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
    let code = entry.code();
    Some(FailedEntry {
        index: entry.id().parse().ok()?,
        is_final: ["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"]
            .iter()
            .any(|known| code.ends_with(known)),
        code: code.to_owned(),
    })
}
