//! The floor of any consumer: receive and delete by the SDK alone, and nothing else.

use anyhow::{Context as _, Result, bail};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, MessageSystemAttributeName};
use tokio::task::JoinSet;

/// So many loops that receive ten messages, asking for the attributes that the worker asks for, and
/// delete them. Runs until it is killed; its process does nothing else, so that its CPU is its own.
pub async fn run(pollers: u16) -> Result<()> {
    let client =
        Client::new(&aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await);
    let url = std::env::var("SQS_QUEUE_URL").context("SQS_QUEUE_URL")?;
    let mut loops = JoinSet::new();
    for _ in 0..pollers {
        loops.spawn(drain(client.clone(), url.clone()));
    }
    match loops.join_next().await {
        Some(ended) => ended?,
        None => bail!("no pollers"),
    }
}

async fn drain(client: Client, url: String) -> Result<()> {
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
