//! What SQS promises and the worker relies on, asked alike of LocalStack and of the stub that load
//! and fault tests run on. Where they differ, AWS's reference decides.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata as _;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, DeleteMessageBatchResultEntry, Message,
    MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};
use sqs_stub::Stub;

use crate::support::process::eventually;
use crate::support::{setting, unique};

/// An SQS to ask.
struct Service {
    client: Client,
    stub: Option<Stub>,
}

impl Service {
    async fn localstack() -> Self {
        Self { client: client(&setting("AWS_ENDPOINT_URL")).await, stub: None }
    }

    async fn stub() -> Self {
        let stub = Stub::start().await.expect("a port");
        Self { client: client(stub.endpoint()).await, stub: Some(stub) }
    }

    /// The URL of a new queue.
    async fn queue(&self, attributes: &[(QueueAttributeName, &str)]) -> String {
        let mut call = self.client.create_queue().queue_name(unique("contract"));
        for (name, value) in attributes {
            call = call.attributes(name.clone(), *value);
        }
        call.send().await.expect("a queue").queue_url.expect("its URL")
    }

    async fn send(&self, queue: &str, bodies: &[&str]) {
        let entries = bodies.iter().enumerate().map(|(index, body)| {
            let entry = SendMessageBatchRequestEntry::builder().id(index.to_string());
            entry.message_body(*body).build().expect("a whole entry")
        });
        let call = self.client.send_message_batch().queue_url(queue);
        let answer = call.set_entries(Some(entries.collect())).send().await.expect("an answer");
        assert_eq!((answer.successful.len(), answer.failed.len()), (bodies.len(), 0));
    }

    /// One receive that waits so many seconds, asking for what the worker asks for.
    async fn receive(&self, queue: &str, wait: i32) -> Vec<Message> {
        let call = self.client.receive_message().queue_url(queue).max_number_of_messages(10);
        let call = call
            .wait_time_seconds(wait)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp);
        call.send().await.expect("an answer").messages.unwrap_or_default()
    }

    /// The only message that comes.
    async fn receive_one(&self, queue: &str) -> Message {
        let [message] = <[Message; 1]>::try_from(self.receive(queue, 10).await).expect("one");
        message
    }

    async fn attribute(&self, queue: &str, name: QueueAttributeName) -> String {
        let call = self.client.get_queue_attributes().queue_url(queue);
        let answer = call.attribute_names(name.clone()).send().await.expect("an answer");
        answer.attributes.expect("attributes")[&name].clone()
    }

    /// Messages that wait, and messages that are received.
    async fn counts(&self, queue: &str) -> (String, String) {
        use QueueAttributeName::{
            ApproximateNumberOfMessages as Visible, ApproximateNumberOfMessagesNotVisible as Hidden,
        };
        (self.attribute(queue, Visible).await, self.attribute(queue, Hidden).await)
    }
}

async fn client(endpoint: &str) -> Client {
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest());
    Client::new(&config.endpoint_url(endpoint).load().await)
}

fn entry(id: &str, handle: &str) -> DeleteMessageBatchRequestEntry {
    let entry = DeleteMessageBatchRequestEntry::builder().id(id).receipt_handle(handle);
    entry.build().expect("a whole entry")
}

fn handle(message: &Message) -> &str {
    message.receipt_handle().expect("a handle")
}

fn receive_count(message: &Message) -> &str {
    let attributes = message.attributes.as_ref().expect("attributes");
    &attributes[&MessageSystemAttributeName::ApproximateReceiveCount]
}

fn sent_at(message: &Message) -> &str {
    let attributes = message.attributes.as_ref().expect("attributes");
    &attributes[&MessageSystemAttributeName::SentTimestamp]
}

/// Each contract is a test of LocalStack and a test of the stub.
macro_rules! contracts {
    ($($contract:ident),+ $(,)?) => {
        mod localstack {
            $(#[tokio::test]
            async fn $contract() {
                super::$contract(&super::Service::localstack().await).await;
            })+
        }
        mod stub {
            $(#[tokio::test]
            async fn $contract() {
                super::$contract(&super::Service::stub().await).await;
            })+
        }
    };
}

contracts!(
    a_message_comes_as_it_was_sent,
    a_message_that_is_not_deleted_comes_again,
    a_long_poll_waits_and_a_message_wakes_it,
    deletes_are_answered_entry_by_entry,
    a_deleted_message_may_be_deleted_again,
    a_visibility_timeout_of_zero_gives_back_at_once,
    a_visibility_timeout_may_be_renewed,
    a_message_that_came_too_often_goes_to_the_dead_letter_queue,
    attributes_count_what_waits_and_what_is_received,
    batches_that_are_none_are_refused,
    a_queue_that_is_not_there_is_told_by_its_own_error,
);

async fn a_message_comes_as_it_was_sent(service: &Service) {
    let queue = service.queue(&[]).await;
    let body = "{\"a\": \"ß 😀 \\u0000 \\\"\"}\n";
    service.send(&queue, &[body]).await;
    let call = service.client.receive_message().queue_url(&queue).wait_time_seconds(10);
    let messages = call.send().await.expect("an answer").messages.expect("messages");
    assert_eq!(messages[0].body(), Some(body));
    assert_eq!(messages[0].md5_of_body(), Some("8632de9b6d2c149ba8729fb88f2f2cf0"));
    // As AWS: what is not asked for does not come.
    assert_eq!(messages[0].attributes, None);
}

async fn a_message_that_is_not_deleted_comes_again(service: &Service) {
    let queue = service.queue(&[(QueueAttributeName::VisibilityTimeout, "2")]).await;
    service.send(&queue, &["x"]).await;
    let first = service.receive_one(&queue).await;
    assert_eq!(receive_count(&first), "1");
    assert!(service.receive(&queue, 0).await.is_empty(), "it is hidden");
    let second = service.receive_one(&queue).await;
    assert_eq!(receive_count(&second), "2");
    assert_eq!(second.message_id, first.message_id);
    assert_eq!(sent_at(&second), sent_at(&first));
    assert_ne!(handle(&second), handle(&first), "each receive has a handle of its own");
}

async fn a_long_poll_waits_and_a_message_wakes_it(service: &Service) {
    let queue = service.queue(&[]).await;
    let asked = Instant::now();
    assert!(service.receive(&queue, 1).await.is_empty());
    assert!(asked.elapsed() >= Duration::from_millis(900), "it waited {:?}", asked.elapsed());
    let asked = Instant::now();
    let (messages, ()) = tokio::join!(service.receive(&queue, 20), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        service.send(&queue, &["x"]).await;
    });
    assert_eq!(messages.len(), 1);
    assert!(asked.elapsed() < Duration::from_secs(20), "it waited {:?}", asked.elapsed());
}

async fn deletes_are_answered_entry_by_entry(service: &Service) {
    let queue = service.queue(&[]).await;
    service.send(&queue, &["x", "y"]).await;
    let mut messages = service.receive(&queue, 10).await;
    while messages.len() < 2 {
        messages.extend(service.receive(&queue, 10).await);
    }
    let entries = [
        entry("a", handle(&messages[0])),
        entry("b", "nonsense"),
        entry("c", handle(&messages[1])),
    ];
    let call = service.client.delete_message_batch().queue_url(&queue);
    let answer = call.set_entries(Some(entries.into())).send().await.expect("an answer");
    let successful: HashSet<&str> =
        answer.successful.iter().map(DeleteMessageBatchResultEntry::id).collect();
    assert_eq!(successful, HashSet::from(["a", "c"]));
    let [failed] = &answer.failed[..] else { panic!("{:?}", answer.failed) };
    assert_eq!((failed.id(), failed.code()), ("b", "ReceiptHandleIsInvalid"));
    // AWS's reference calls that the sender's fault, and so does the stub; LocalStack does not.
    assert_eq!(service.counts(&queue).await, ("0".to_owned(), "0".to_owned()));
}

async fn a_deleted_message_may_be_deleted_again(service: &Service) {
    let queue = service.queue(&[]).await;
    service.send(&queue, &["x"]).await;
    let message = service.receive_one(&queue).await;
    for _ in 0..2 {
        let call = service.client.delete_message().queue_url(&queue);
        call.receipt_handle(handle(&message)).send().await.expect("it is gone, as was asked");
    }
}

async fn a_visibility_timeout_of_zero_gives_back_at_once(service: &Service) {
    let queue = service.queue(&[]).await;
    service.send(&queue, &["x"]).await;
    let message = service.receive_one(&queue).await;
    let call = service.client.change_message_visibility().queue_url(&queue);
    call.receipt_handle(handle(&message)).visibility_timeout(0).send().await.expect("an answer");
    // Thirty seconds before it would come by itself.
    assert_eq!(receive_count(&service.receive_one(&queue).await), "2");
}

async fn a_visibility_timeout_may_be_renewed(service: &Service) {
    let queue = service.queue(&[(QueueAttributeName::VisibilityTimeout, "1")]).await;
    service.send(&queue, &["x"]).await;
    let message = service.receive_one(&queue).await;
    let call = service.client.change_message_visibility().queue_url(&queue);
    call.receipt_handle(handle(&message)).visibility_timeout(60).send().await.expect("an answer");
    assert!(service.receive(&queue, 2).await.is_empty(), "it stays hidden");
}

async fn a_message_that_came_too_often_goes_to_the_dead_letter_queue(service: &Service) {
    let dead = service.queue(&[]).await;
    let arn = service.attribute(&dead, QueueAttributeName::QueueArn).await;
    let policy = serde_json::json!({"deadLetterTargetArn": arn, "maxReceiveCount": "2"});
    let queue = service
        .queue(&[
            (QueueAttributeName::RedrivePolicy, &*policy.to_string()),
            (QueueAttributeName::VisibilityTimeout, "1"),
        ])
        .await;
    service.send(&queue, &["x"]).await;
    let first = service.receive_one(&queue).await;
    assert_eq!(receive_count(&service.receive_one(&queue).await), "2");
    assert!(service.receive(&queue, 3).await.is_empty(), "a third receive does not bring it");
    let moved = service.receive_one(&dead).await;
    assert_eq!((moved.body(), &moved.message_id), (Some("x"), &first.message_id));
}

async fn attributes_count_what_waits_and_what_is_received(service: &Service) {
    let queue = service.queue(&[]).await;
    service.send(&queue, &["x", "y", "z"]).await;
    let call = service.client.receive_message().queue_url(&queue).wait_time_seconds(10);
    assert_eq!(call.send().await.expect("an answer").messages().len(), 1, "one where none is said");
    eventually("the counts are right", || async {
        service.counts(&queue).await == ("2".to_owned(), "1".to_owned())
    })
    .await;
}

async fn batches_that_are_none_are_refused(service: &Service) {
    let queue = service.queue(&[]).await;
    let delete = |entries: Vec<DeleteMessageBatchRequestEntry>| {
        let call = service.client.delete_message_batch().queue_url(&queue);
        async move {
            let error = call.set_entries(Some(entries)).send().await.expect_err("it is refused");
            error.into_service_error()
        }
    };
    let error = delete(Vec::new()).await;
    assert!(error.is_empty_batch_request(), "{error:?}");
    let eleven = (0..11).map(|id| entry(&id.to_string(), "nonsense")).collect();
    let error = delete(eleven).await;
    assert!(error.is_too_many_entries_in_batch_request(), "{error:?}");
    let error = delete(vec![entry("a", "nonsense"), entry("a", "nonsense")]).await;
    assert!(error.is_batch_entry_ids_not_distinct(), "{error:?}");
}

async fn a_queue_that_is_not_there_is_told_by_its_own_error(service: &Service) {
    let queue = service.queue(&[]).await + "-not";
    let error = service.client.receive_message().queue_url(&queue).send().await;
    let error = error.expect_err("it is refused").into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
    assert_eq!(error.code(), Some("AWS.SimpleQueueService.NonExistentQueue"));
}

#[tokio::test]
async fn the_stub_takes_as_long_for_each_call_as_it_is_told() {
    let service = Service::stub().await;
    let queue = service.queue(&[]).await;
    let latency = Duration::from_millis(50);
    service.stub.as_ref().expect("the stub").set_latency(latency);
    let began = Instant::now();
    service.send(&queue, &["x"]).await;
    assert_eq!(service.receive(&queue, 0).await.len(), 1);
    assert!(began.elapsed() >= 2 * latency, "{:?}", began.elapsed());
}
