//! An SQS that does what a test scripts: for the faults that LocalStack does not make.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How the stub answers a call.
pub enum Answer {
    /// 200 with this body.
    Ok(Value),
    /// An error of SQS: status and code.
    Error(u16, &'static str),
    /// Never.
    Silence,
}

/// Answers each call as the script says, and remembers all of them.
pub struct Stub {
    pub endpoint: String,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Stub {
    /// `script` gets the action, its parameters, and how many calls of that action came before.
    pub async fn start(
        script: impl Fn(&str, &Value, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let calls: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let (script, heard) = (Arc::new(script), Arc::clone(&calls));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, heard) = (Arc::clone(&script), Arc::clone(&heard));
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some((action, parameters)) = request(&mut stream).await {
                        let answer = {
                            let mut heard = heard.lock().expect("no test has panicked with it");
                            let before = heard.iter().filter(|(other, _)| *other == action).count();
                            heard.push((action.clone(), parameters.clone()));
                            script(&action, &parameters, before)
                        };
                        if action == "ReceiveMessage"
                            && matches!(&answer, Answer::Ok(body) if body.get("Messages").is_none())
                        {
                            // A long poll waits.
                            tokio::time::sleep(Duration::from_secs(1)).await;
                        }
                        let (status, body) = match answer {
                            Answer::Ok(body) => (200, body.to_string()),
                            Answer::Error(status, code) => (
                                status,
                                format!(
                                    r#"{{"__type":"com.amazonaws.sqs#{code}","message":"scripted"}}"#
                                ),
                            ),
                            Answer::Silence => std::future::pending().await,
                        };
                        let headers = format!(
                            "HTTP/1.1 {status} -\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
                            body.len()
                        );
                        if stream
                            .get_mut()
                            .write_all(format!("{headers}{body}").as_bytes())
                            .await
                            .is_err()
                        {
                            return;
                        }
                    }
                });
            }
        });
        Self { endpoint, calls }
    }

    /// A queue of it.
    pub fn queue_url(&self) -> String {
        format!("{}/123456789012/q", self.endpoint)
    }

    /// The parameters of all calls of an action so far.
    pub fn calls(&self, action: &str) -> Vec<Value> {
        let calls = self.calls.lock().expect("no test has panicked with it");
        calls
            .iter()
            .filter(|(other, _)| other == action)
            .map(|(_, parameters)| parameters.clone())
            .collect()
    }
}

/// The action and the parameters of an HTTP request; `None` when the client is gone.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let (mut action, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        match name.to_ascii_lowercase().as_str() {
            "x-amz-target" => action = value.trim().trim_start_matches("AmazonSQS.").to_owned(),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((action, serde_json::from_slice(&body).ok()?))
}
