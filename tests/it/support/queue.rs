//! A queue per test: in memory, or deployed to LocalStack from `infra/pipeline.yaml`.

use std::collections::HashMap;
use std::path::PathBuf;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use sqs_stub::{Redrive, Settings, Stub};
use tokio::process::Command;
use tokio::task::JoinSet;

use super::{setting, unique};

/// A queue and its dead-letter queue.
pub struct Queue {
    pub url: String,
    pub dead_letter_url: String,
    service: Service,
}

enum Service {
    /// An SQS in memory. `contract.rs` shows that it does what LocalStack's does.
    InMemory(Stub),
    LocalStack(Pipeline),
}

/// What belongs to a queue that was deployed.
pub struct Pipeline {
    pub client: Client,
    pub topic_arn: String,
    pub configuration_set: String,
}

impl Queue {
    /// A queue as `infra/pipeline.yaml` has it, for tests of what the worker does and not of what SQS, SNS or SES do:
    /// it costs next to nothing.
    pub async fn in_memory() -> Self {
        let stub = Stub::start().await.expect("a port");
        let dead_letter_url = stub.create_queue("dead", Settings::default());
        let redrive = Redrive { dead_letter_queue: "dead".to_owned(), max_receive_count: 10 };
        let settings = Settings { redrive: Some(redrive), ..Settings::default() };
        let url = stub.create_queue("events", settings);
        Self { url, dead_letter_url, service: Service::InMemory(stub) }
    }

    /// A queue behind a topic and a configuration set of LocalStack.
    pub async fn deploy() -> Self {
        Self::deploy_with(&[]).await
    }

    /// Deploys the template under a name of its own.
    pub async fn deploy_with(arguments: &[&str]) -> Self {
        let endpoint = setting("AWS_ENDPOINT_URL");
        let stack = unique("it");
        let arguments = [&["--name", stack.as_str(), "--json"], arguments].concat();
        let outputs = python("deploy.py", &arguments).await;
        let outputs: HashMap<String, String> =
            serde_json::from_str(&outputs).expect("deploy.py prints JSON");
        let output = |name: &str| {
            outputs
                .get(name)
                .unwrap_or_else(|| panic!("deploy.py has no {name}: {outputs:?}"))
                .clone()
        };
        let shared = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .endpoint_url(endpoint)
            .load()
            .await;
        let pipeline = Pipeline {
            client: Client::new(&shared),
            topic_arn: output("SNS_TOPIC_ARN"),
            configuration_set: output("SES_CONFIGURATION_SET"),
        };
        Self {
            url: output("SQS_QUEUE_URL"),
            dead_letter_url: output("DEAD_LETTER_QUEUE_URL"),
            service: Service::LocalStack(pipeline),
        }
    }

    /// What a queue in memory does not have.
    pub fn pipeline(&self) -> &Pipeline {
        match &self.service {
            Service::LocalStack(pipeline) => pipeline,
            Service::InMemory(_) => panic!("this queue is in memory: use Queue::deploy"),
        }
    }

    /// Sends bodies in their order.
    pub async fn send(&self, bodies: &[String]) {
        self.send_to(&self.url, bodies).await;
    }

    /// The same to any queue.
    pub async fn send_to(&self, url: &str, bodies: &[String]) {
        match &self.service {
            Service::InMemory(stub) => stub.put(name_of(url), bodies),
            Service::LocalStack(pipeline) => pipeline.send(url, bodies).await,
        }
    }

    /// Messages that wait and messages that are received and neither deleted nor given back.
    pub async fn counts(&self) -> (u64, u64) {
        self.counts_of(&self.url).await
    }

    /// The same for any queue.
    pub async fn counts_of(&self, url: &str) -> (u64, u64) {
        match &self.service {
            Service::InMemory(stub) => {
                let counts = stub.counts(name_of(url));
                (counts.visible + counts.delayed, counts.in_flight)
            }
            Service::LocalStack(pipeline) => pipeline.counts(url).await,
        }
    }
}

fn name_of(url: &str) -> &str {
    url.rsplit('/').next().expect("a URL of a queue")
}

impl Pipeline {
    /// Sends ten bodies a call, several calls at once.
    async fn send(&self, url: &str, bodies: &[String]) {
        let mut calls = JoinSet::new();
        for chunk in bodies.chunks(10) {
            // SQS takes at most 1 MiB a call.
            let small = chunk.iter().map(String::len).sum::<usize>() < 1_000_000;
            for part in chunk.chunks(if small { 10 } else { 1 }) {
                let entries = part.iter().enumerate().map(|(index, body)| {
                    SendMessageBatchRequestEntry::builder()
                        .id(index.to_string())
                        .message_body(body)
                        .build()
                        .expect("a whole entry")
                });
                let call = self
                    .client
                    .send_message_batch()
                    .queue_url(url)
                    .set_entries(Some(entries.collect()));
                calls.spawn(async move {
                    let answer = call.send().await.expect("LocalStack takes messages");
                    assert!(answer.failed.is_empty(), "{:?}", answer.failed);
                });
                while calls.len() >= 8 {
                    calls
                        .join_next()
                        .await
                        .expect("a call is under way")
                        .expect("the call ends well");
                }
            }
        }
        while let Some(call) = calls.join_next().await {
            call.expect("the call ends well");
        }
    }

    async fn counts(&self, url: &str) -> (u64, u64) {
        use QueueAttributeName::{
            ApproximateNumberOfMessages as Visible, ApproximateNumberOfMessagesNotVisible as Hidden,
        };
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(Visible)
            .attribute_names(Hidden)
            .send()
            .await
            .expect("LocalStack answers");
        let attributes = answer.attributes.expect("attributes");
        let count = |name: &QueueAttributeName| attributes[name].parse().expect("a number");
        (count(&Visible), count(&Hidden))
    }
}

/// Runs a script of `localstack/` with the Python that runs LocalStack, and returns what it prints.
pub async fn python(script: &str, arguments: &[&str]) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join(".dev/venv/bin/python"))
        .arg(root.join("localstack").join(script))
        .args(arguments)
        .output()
        .await
        .expect("Python starts: run the tests with `make test`");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
