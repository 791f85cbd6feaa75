//! The floor of any consumer: receive and delete, and nothing else.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, MessageSystemAttributeName};
use clap::ValueEnum;
use ses_reports::queue::{Boundless, LONGEST_WAIT, Queue};
use tokio::task::JoinSet;

/// Whose calls are made.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Calls {
    /// Those of the AWS SDK, as it is.
    Sdk,
    /// Those of the worker, which leave out most of the SDK: what that saves is the difference.
    Worker,
}

impl Calls {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sdk => "sdk",
            Self::Worker => "worker",
        }
    }
}

/// So many loops that receive ten messages, asking for the attributes that the worker asks for, and
/// delete them. Runs until it is killed; its process does nothing else, so that its CPU is its own.
pub async fn run(by: Calls, pollers: u16) -> Result<()> {
    let url = std::env::var("SQS_QUEUE_URL").context("SQS_QUEUE_URL")?;
    let mut loops = JoinSet::new();
    match by {
        Calls::Sdk => {
            let latest = aws_config::BehaviorVersion::latest();
            let client = Client::new(&aws_config::load_defaults(latest).await);
            for _ in 0..pollers {
                loops.spawn(by_sdk(client.clone(), url.clone()));
            }
        }
        Calls::Worker => {
            let queue = Queue::new(url, Duration::from_secs(30), LONGEST_WAIT).await?;
            for _ in 0..pollers {
                loops.spawn(by_worker(queue.clone()));
            }
        }
    }
    match loops.join_next().await {
        Some(ended) => ended?,
        None => bail!("no pollers"),
    }
}

async fn by_worker(queue: Queue) -> Result<()> {
    loop {
        let messages = queue.receive(&mut Boundless).await?;
        let handles: Vec<&str> =
            messages.iter().map(|message| message.receipt_handle.as_str()).collect();
        if !handles.is_empty() {
            queue.delete(&handles).await?;
        }
    }
}

async fn by_sdk(client: Client, url: String) -> Result<()> {
    loop {
        let received = client
            .receive_message()
            .queue_url(&url)
            .max_number_of_messages(10)
            .wait_time_seconds(20)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await?;
        let messages = received.messages.unwrap_or_default();
        if messages.is_empty() {
            continue;
        }
        let entries = messages.iter().enumerate().map(|(index, message)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(message.receipt_handle().unwrap_or_default())
                .build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        client.delete_message_batch().queue_url(&url).set_entries(Some(entries)).send().await?;
    }
}
