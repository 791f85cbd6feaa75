//! The stub as a small server, for benchmarks and for consumers in other languages.

use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use clap::Parser;
use sqs_stub::bodies::Bodies;
use sqs_stub::{Profile, Redrive, Settings, Stub};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// An SQS in memory. Prints one line of JSON once it is ready: `port`, `endpoint` and `queue_url`. GET
/// /stats says what became of the messages and the calls, GET /messages what became of each message.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Where to listen; port 0 is any free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: String,
    /// The queue's name
    #[arg(long, default_value = "events")]
    queue: String,
    /// Messages to begin with
    #[arg(long, default_value_t = 0, value_name = "N")]
    messages: usize,
    /// About how many bytes each has: an SES delivery in the envelope of SNS, each of another mail
    #[arg(long, default_value_t = 2_500, value_name = "N")]
    body_bytes: usize,
    /// Take their bodies from this file instead, one a line, in turn; {{number}} in them becomes the
    /// message's number
    #[arg(long, value_name = "FILE", conflicts_with = "body_bytes")]
    bodies: Option<PathBuf>,
    /// Seconds that a received message stays hidden, where the receive does not say
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    visibility: u64,
    /// Move messages to the queue NAME-dlq after so many receives
    #[arg(long, value_name = "N")]
    max_receive_count: Option<u32>,
    /// Spoil a part of the calls, such as 7:0.02 for seed 7 and every fiftieth call
    #[arg(long, value_name = "SEED:RATE")]
    faults: Option<Faults>,
    /// Milliseconds that each call takes longer: real SQS takes 10 to 25
    #[arg(long, default_value_t = 0, value_name = "MILLISECONDS")]
    latency: u64,
    /// End when standard input is closed, so that a parent that dies leaves nothing running
    #[arg(long)]
    exit_with_stdin: bool,
}

#[derive(Debug, Clone, Copy)]
struct Faults(Profile);

impl FromStr for Faults {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once(':').and_then(|(seed, rate)| {
            Some((seed.parse().ok()?, rate.parse().ok().filter(|rate| (0.0..=1.0).contains(rate))?))
        });
        let (seed, rate) = parts.ok_or("expected SEED:RATE with a rate from 0 to 1")?;
        Ok(Self(Profile { seed, rate }))
    }
}

// One thread: what it costs is then easy to tell from what the consumer costs.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let bodies = match &cli.bodies {
        Some(path) => Bodies::read(path).with_context(|| path.display().to_string())?,
        None => Bodies::Delivery(cli.body_bytes),
    };
    let stub = Stub::start_on(&cli.listen).await.with_context(|| cli.listen.clone())?;
    let dead_letter_queue = format!("{}-dlq", cli.queue);
    let redrive = cli.max_receive_count.map(|max_receive_count| {
        stub.create_queue(&dead_letter_queue, Settings::default());
        Redrive { dead_letter_queue, max_receive_count }
    });
    let visibility = std::time::Duration::from_secs(cli.visibility);
    let url =
        stub.create_queue(&cli.queue, Settings { visibility, redrive, ..Settings::default() });
    stub.put(&cli.queue, (0..cli.messages).map(|number| bodies.body(number)));
    if let Some(Faults(profile)) = cli.faults {
        stub.script(move |call| profile.fault(call));
    }
    stub.set_latency(std::time::Duration::from_millis(cli.latency));
    let mut stdout = std::io::stdout();
    let ready = serde_json::json!({
        "port": stub.port(),
        "endpoint": stub.endpoint(),
        "queue_url": url,
    });
    writeln!(stdout, "{ready}")?;
    stdout.flush()?;

    let mut terminated = signal(SignalKind::terminate())?;
    let stdin_closed = cli.exit_with_stdin.then(stdin_closed);
    tokio::select! {
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        Some(_) = async { Some(stdin_closed?.await) } => {}
    }
    Ok(())
}

/// Resolves at the end of standard input. On a thread of its own: tokio's would wait for its last
/// read before the process may end.
fn stdin_closed() -> oneshot::Receiver<()> {
    let (closed, told) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = closed.send(());
    });
    told
}
