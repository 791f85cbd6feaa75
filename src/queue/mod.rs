//! The SQS queue: receive, delete, change visibility, in batches of ten. An entry of a batch is identified
//! by its position, and each entry that fails is reported by itself.

mod clients;
mod error;
mod fast_path;
mod message;
mod region;
mod wire;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_config::ConfigLoader;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
    DeleteMessageBatchRequestEntry, MessageSystemAttributeName, QueueAttributeName,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

use clients::{Clients, Line, Settings};
pub use error::{Error, ErrorKind};
use fast_path::Answer;
pub(crate) use message::{Attributes, FailedEntry, Message};

/// The most messages of any SQS call (AWS SQS API reference).
pub(crate) const MOST_PER_CALL: usize = 10;
/// The longest long poll of SQS.
pub const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// A wait that is so short that a worker that stops lets it end.
pub(crate) const SHORT_WAIT: Duration = Duration::from_secs(1);
/// The longest visibility timeout of SQS: 12 hours.
pub(crate) const LONGEST_VISIBILITY: u32 = 43_200;
/// How long an answer may take beyond the wait that we asked for. The SDK alone waits for ever on
/// a server that accepts and never answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a receive takes at most.
pub(crate) const RECEIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// Ten messages of 1 MiB, which is the most that SQS takes in one message.
const LARGEST_RECEIVE: usize = MOST_PER_CALL * 1024 * 1024;
/// The AWS settings are not read again more often than this.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// Room for what a receive brings.
pub trait Room {
    /// Waits until this many bytes may be read.
    fn admit(&mut self, bytes: usize) -> impl Future<Output = ()> + Send;
}

/// Whatever it brings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Boundless;

impl Room for Boundless {
    async fn admit(&mut self, _bytes: usize) {}
}

/// One queue.
#[derive(Debug, Clone)]
pub struct Queue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: String,
    visibility: Duration,
    wait: Duration,
    settings: Settings,
    clients: RwLock<Arc<Clients>>,
    /// When the clients were last created again.
    renewed: Mutex<Option<Instant>>,
}

/// The answer of a call past the SDK, read; `None` where the SDK has to be asked.
///
/// # Errors
/// When there was no answer in time.
async fn fast<T>(
    line: &Line,
    action: &'static str,
    body: serde_json::Result<Vec<u8>>,
    patience: Duration,
    room: &mut impl Room,
    read: impl FnOnce(&[u8]) -> serde_json::Result<T>,
) -> Result<Option<T>, Error> {
    let Ok(body) = body else {
        return Ok(None);
    };
    match line.fast.call(action, body, patience, room, read).await {
        Answer::Read(read) => Ok(Some(read)),
        Answer::Silence => Err(Error::silence(patience)),
        Answer::AskSdk => Ok(None),
    }
}

impl Queue {
    /// A queue by its URL. Credentials and endpoint come from the usual `AWS_*` settings, and the region
    /// where the URL does not name it. `visibility` is how long a received message stays hidden from
    /// others, `wait` how long a receive waits for a first message, [`LONGEST_WAIT`] at most.
    ///
    /// # Errors
    /// When one of the settings is missing or wrong.
    pub async fn new(url: String, visibility: Duration, wait: Duration) -> Result<Self, Error> {
        Self::with(url, visibility, wait, |settings| settings).await
    }

    /// The same with other AWS settings than those of the environment.
    ///
    /// # Errors
    /// When one of the settings is missing or wrong.
    pub async fn with(
        url: String,
        visibility: Duration,
        wait: Duration,
        settings: impl Fn(ConfigLoader) -> ConfigLoader + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let settings = Settings::new(settings);
        let clients = RwLock::new(Arc::new(Clients::load(&settings, &url, wait).await?));
        let renewed = Mutex::default();
        Ok(Self(Arc::new(Inner { url, visibility, wait, settings, clients, renewed })))
    }

    fn clients(&self) -> Arc<Clients> {
        Arc::clone(&self.0.clients.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What an error means. Where SQS does not accept the credentials, the settings are read again, because
    /// the SDK reads a file with credentials only once: the next calls use what the file holds now.
    async fn failed<E, R: 'static>(&self, error: SdkError<E, R>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        SdkError<E, R>: std::error::Error,
    {
        let error = Error::from_sdk(&error);
        if error.concerns_credentials {
            self.renew(&error).await;
        }
        error
    }

    async fn renew(&self, error: &Error) {
        // A call that finds it locked fails, while another one renews.
        let Ok(mut renewed) = self.0.renewed.try_lock() else {
            return;
        };
        if renewed.is_some_and(|last| last.elapsed() < RENEW_EVERY) {
            return;
        }
        *renewed = Some(Instant::now());
        match Clients::load(&self.0.settings, &self.0.url, self.0.wait).await {
            Ok(clients) => {
                tracing::warn!(%error, "SQS does not accept the credentials; reading the AWS settings again");
                let mut held = self.0.clients.write().unwrap_or_else(PoisonError::into_inner);
                *held = Arc::new(clients);
            }
            Err(wrong) => {
                tracing::warn!(%error, %wrong, "SQS does not accept the credentials, and the AWS settings cannot be read");
            }
        }
    }

    /// Its URL.
    #[must_use]
    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    /// Its name: where its URL ends.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        self.0.url.trim_end_matches('/').rsplit('/').next().unwrap_or(&self.0.url)
    }

    /// How long a receive waits for a first message.
    #[must_use]
    pub(crate) fn wait(&self) -> Duration {
        self.0.wait
    }

    /// How long a received message stays hidden.
    #[must_use]
    pub(crate) fn visibility(&self) -> Duration {
        self.0.visibility
    }

    /// Asks for what a worker wants to know at start; fails where the queue cannot be used.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) async fn attributes(&self) -> Result<Attributes, Error> {
        let answer = self
            .clients()
            .acting
            .sdk
            .get_queue_attributes()
            .queue_url(&self.0.url)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            .attribute_names(QueueAttributeName::RedrivePolicy)
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.failed(error).await),
        };
        let attributes = answer.attributes.unwrap_or_default();
        let count = |name| attributes.get(&name).and_then(|count| count.parse().ok()).unwrap_or(0);
        Ok(Attributes {
            visible: count(QueueAttributeName::ApproximateNumberOfMessages),
            hidden: count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
            has_redrive: attributes.contains_key(&QueueAttributeName::RedrivePolicy),
        })
    }

    /// One long poll: up to ten messages, none when the wait is over. Not retried. What they weigh is
    /// told to `room` before they are read.
    ///
    /// # Errors
    /// See [`Error`]. An empty answer is none.
    pub async fn receive(&self, room: &mut impl Room) -> Result<Vec<Message>, Error> {
        let clients = self.clients();
        let line = &clients.receiving;
        let (wait, visibility) = (seconds(self.0.wait), seconds(self.0.visibility));
        let body = wire::receive(&self.0.url, wait, visibility);
        let patience = self.0.wait + ANSWER_TIMEOUT;
        let action = "AmazonSQS.ReceiveMessage";
        if let Some(messages) = fast(line, action, body, patience, room, wire::received).await? {
            return Ok(messages);
        }
        // The SDK reads what comes, however much it is.
        room.admit(LARGEST_RECEIVE).await;
        let answer = line
            .sdk
            .receive_message()
            .queue_url(&self.0.url)
            .max_number_of_messages(10)
            .wait_time_seconds(wait)
            .visibility_timeout(visibility)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.failed(error).await),
        };
        line.fast.open();
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(message).collect())
    }

    /// Deletes up to ten messages by their receipt handles; returns those that SQS did not delete.
    ///
    /// # Errors
    /// When the call as a whole failed: nothing is known about any of them.
    pub async fn delete(&self, receipt_handles: &[&str]) -> Result<Vec<FailedEntry>, Error> {
        let clients = self.clients();
        let line = &clients.acting;
        let body = wire::delete(&self.0.url, receipt_handles);
        let action = "AmazonSQS.DeleteMessageBatch";
        let room = &mut Boundless;
        if let Some(failed) =
            fast(line, action, body, ANSWER_TIMEOUT, room, wire::not_deleted).await?
        {
            return Ok(failed);
        }
        let entries = receipt_handles.iter().enumerate().map(|(index, handle)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(*handle)
                .build()
        });
        let answer = line
            .sdk
            .delete_message_batch()
            .queue_url(&self.0.url)
            .set_entries(Some(
                entries.collect::<Result<_, _>>().map_err(|error| Error::from_build(&error))?,
            ))
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.failed(error).await),
        };
        line.fast.open();
        Ok(answer.failed.iter().filter_map(failed_entry).collect())
    }

    /// Hides up to ten messages for this long from now; zero gives them back.
    ///
    /// # Errors
    /// When the call as a whole failed.
    pub(crate) async fn change_visibility(
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
            .clients()
            .acting
            .sdk
            .change_message_visibility_batch()
            .queue_url(&self.0.url)
            .set_entries(Some(
                entries.collect::<Result<_, _>>().map_err(|error| Error::from_build(&error))?,
            ))
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.failed(error).await),
        };
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
