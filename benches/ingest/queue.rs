//! The stub queue, in a process of its own, so that its CPU is its own.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sqs_stub::{Settings, Stub};
use time::OffsetDateTime;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::events::{Stream, in_sns};
use super::process::{self, command};

/// The only queue of the stub.
const NAME: &str = "events";
/// Mails of whose events the stub makes its messages at a time.
const MAILS: usize = 333;

/// A stub with its messages; ends with this value.
pub struct Queue {
    pub address: Address,
    child: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// Where a queue is. The stub says it once its messages are there.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Address {
    /// For `AWS_ENDPOINT_URL`.
    pub endpoint: String,
    /// For `SQS_QUEUE_URL`.
    pub url: String,
}

/// What a stub holds at first, and how it answers.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub events: u64,
    /// Milliseconds that each of its calls takes longer than it has to.
    pub latency_ms: u64,
}

/// What became of its messages, so far.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Counts {
    pub received: u64,
    /// Times that a message was handed out and not for the first time.
    pub received_again: u64,
    pub deleted: u64,
    /// Neither deleted nor given up.
    pub left: u64,
}

impl Queue {
    /// Starts a stub that holds so many events of the standard mix; at the same time of `now` always
    /// the same.
    pub async fn start(load: Load, now: OffsetDateTime) -> Result<Self> {
        let mut command = command(std::env::current_exe()?);
        command.args(["serve".to_owned(), load.events.to_string(), load.latency_ms.to_string()]);
        command.arg(now.unix_timestamp().to_string());
        let (child, ask, answers) = spawn(command)?;
        let mut queue = Self { address: Address::default(), child, ask, answers };
        queue.address = serde_json::from_str(&queue.answer().await?)?;
        Ok(queue)
    }

    pub async fn counts(&mut self) -> Result<Counts> {
        self.ask.write_all(b"counts\n").await?;
        Ok(serde_json::from_str(&self.answer().await?)?)
    }

    pub fn cpu(&self) -> Result<Duration> {
        process::cpu(process::pid_of(&self.child)?)
    }

    async fn answer(&mut self) -> Result<String> {
        self.answers.next_line().await?.context("the stub has ended")
    }
}

fn spawn(mut command: Command) -> Result<(Child, ChildStdin, Lines<BufReader<ChildStdout>>)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let ask = child.stdin.take().context("standard input")?;
    let answers = BufReader::new(child.stdout.take().context("standard output")?).lines();
    Ok((child, ask, answers))
}

/// The stub's process: says when it is ready, then answers each line that asks, until there is none.
pub async fn serve(load: Load, now: OffsetDateTime) -> Result<()> {
    let stub = Stub::start().await?;
    stub.set_latency(Duration::from_millis(load.latency_ms));
    let url = stub.create_queue(NAME, Settings::default());
    let mut stream = Bodies::new(now);
    let mut left = usize::try_from(load.events)?;
    while left > 0 {
        let bodies = stream.next();
        let take = left.min(bodies.len());
        stub.put(NAME, &bodies[..take]);
        left -= take;
    }
    say(&Address { endpoint: stub.endpoint().to_owned(), url })?;
    // On a thread of its own, so that the stub goes on.
    tokio::task::spawn_blocking(move || {
        for asked in std::io::stdin().lines() {
            asked?;
            let counts = stub.counts(NAME);
            say(&Counts {
                received: counts.received,
                received_again: counts.received_again,
                deleted: counts.deleted,
                left: counts.left(),
            })?;
        }
        Ok(())
    })
    .await?
}

fn say(what: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}

/// The standard mix as it stands in the queue.
pub struct Bodies {
    stream: Stream,
    made: usize,
}

impl Bodies {
    pub fn new(now: OffsetDateTime) -> Self {
        let mut stream = Stream::new(1, now);
        // The first batches have no mail of every age.
        stream.events(MAILS);
        stream.events(MAILS);
        Self { stream, made: 0 }
    }

    /// The next messages: three events each of so many mails.
    pub fn next(&mut self) -> Vec<String> {
        let events = self.stream.events(MAILS);
        let numbered = events.iter().enumerate();
        let bodies = numbered.map(|(index, event)| in_sns(event, self.made + index)).collect();
        self.made += events.len();
        bodies
    }
}
