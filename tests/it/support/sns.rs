//! SNS: the real one of LocalStack, and messages that a test signs itself.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, SigningKey as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::queue::Queue;
use super::setting;

/// Where LocalStack keeps the certificate that it signs with.
pub fn certificates() -> String {
    format!("{}/_aws/sns/", setting("AWS_ENDPOINT_URL"))
}

/// Publishes an event to the queue's topic, as SES does.
pub async fn publish(queue: &Queue, event: &Value) {
    let message = format!("{event}\n");
    let subject = "Amazon SES Email Event Notification";
    call(
        &queue.pipeline().topic_arn,
        &[("Action", "Publish"), ("Message", &message), ("Subject", subject)],
    )
    .await;
}

/// Tells the topic how to sign.
pub async fn sign_as_version(queue: &Queue, version: &str) {
    let parameters = [
        ("Action", "SetTopicAttributes"),
        ("AttributeName", "SignatureVersion"),
        ("AttributeValue", version),
    ];
    call(&queue.pipeline().topic_arn, &parameters).await;
}

/// A call as the AWS CLI makes it; LocalStack looks at no signature.
async fn call(topic_arn: &str, parameters: &[(&str, &str)]) {
    let mut form = "Version=2010-03-31".to_owned();
    for (name, value) in parameters.iter().chain(&[("TopicArn", topic_arn)]) {
        form.extend(["&", *name, "="]);
        form.extend(value.bytes().map(|byte| format!("%{byte:02X}")));
    }
    let endpoint = setting("AWS_ENDPOINT_URL");
    let address = endpoint.trim_start_matches("http://");
    let region = setting("AWS_REGION");
    let request = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
        authorization: AWS4-HMAC-SHA256 Credential=test/20261121/{region}/sns/aws4_request, SignedHeaders=host, Signature=0\r\n\
        content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    let mut stream = TcpStream::connect(address).await.expect("LocalStack listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Takes a message out of the queue.
pub async fn take(queue: &Queue) -> String {
    let client = &queue.pipeline().client;
    let answer = client
        .receive_message()
        .queue_url(&queue.url)
        .wait_time_seconds(20)
        .send()
        .await
        .expect("LocalStack answers");
    let message = answer.messages.unwrap_or_default().pop().expect("a message");
    let handle = message.receipt_handle.expect("a handle");
    let delete = client.delete_message().queue_url(&queue.url).receipt_handle(handle);
    delete.send().await.expect("it is deleted");
    message.body.expect("a body")
}

/// Somebody else's SNS: a key, its certificate, and a server that gives it out or fails.
pub struct Signer {
    key: KeyPair,
    address: String,
    /// Whether it gives the certificate out.
    pub is_up: Arc<AtomicBool>,
    /// How often it was asked.
    pub asked: Arc<AtomicUsize>,
}

impl Signer {
    pub async fn start() -> Self {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key");
        let params = CertificateParams::new(["sns.amazonaws.com".to_owned()]).expect("a name");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (is_up, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (gives, counts) = (Arc::clone(&is_up), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counts.fetch_add(1, Ordering::AcqRel);
                let mut request = [0; 4096];
                let length = stream.read(&mut request).await.unwrap_or_default();
                let is_there = !request[..length].starts_with(b"GET /never.pem");
                let is_given = is_there && gives.load(Ordering::Acquire);
                let status = if is_given { 200 } else { 503 };
                let answer = format!(
                    "HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{pem}",
                    pem.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { key, address, is_up, asked }
    }

    /// Where it keeps its certificate, under any name but `never.pem`, for which it always fails.
    pub fn certificates(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Signs an envelope anew, and says that its certificate is there.
    pub fn sign(&self, body: &str, certificate_url: &str) -> String {
        let mut body: Value = serde_json::from_str(body).expect("an envelope");
        body["SignatureVersion"] = json!("2");
        body["SigningCertURL"] = json!(certificate_url);
        let fields = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"];
        let signed: String = fields
            .iter()
            .filter_map(|name| Some(format!("{name}\n{}\n", body[name].as_str()?)))
            .collect();
        let signature = self.key.sign(signed.as_bytes()).expect("a signature");
        body["Signature"] = json!(STANDARD.encode(signature));
        body.to_string()
    }
}

/// A place that a message may name and nobody may visit.
pub struct Trap(std::net::TcpListener);

impl Trap {
    pub fn set() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("it can be asked");
        Self(listener)
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.0.local_addr().expect("an address"))
    }

    pub fn is_untouched(&self) -> bool {
        self.0.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}
