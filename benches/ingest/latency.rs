//! How long an event takes when there is little to do: from the moment when it is in the queue until
//! it is committed.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use sqlx::{ConnectOptions as _, query_as};
use sqs_stub::{Action, Settings, Stub};
use tokio::time::{Instant, sleep};

use super::Bench;
use super::consumer::Consumer;
use super::numbers::{at, float};
use super::process::Running;
use super::queue::{Address, Bodies};

const QUEUE: &str = "latency";
/// Messages a second, at random distances.
const RATE: f64 = 20.0;
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Serialize)]
pub struct Latency {
    pub events: u64,
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub most_ms: f64,
}

/// Puts messages one by one for so long, and asks PostgreSQL when each was committed: queue and
/// database have the same clock.
pub async fn measure(bench: &Bench, seconds: u64) -> Result<Latency> {
    let database = bench.server.fresh().await?;
    let stub = Stub::start().await?;
    let url = stub.create_queue(QUEUE, Settings::default());
    let address = Address { endpoint: stub.endpoint().to_owned(), url };
    let command = Consumer::Worker(Vec::new()).command(bench, &address, &database)?;
    let mut worker = Running::start(command, bench.server.folder().join("latency.log"))?;
    until(&mut worker, || stub.calls(Action::ReceiveMessage) > 0).await?;

    let mut random = fastrand::Rng::with_seed(1);
    let (mut bodies, mut ready) = (Bodies::new(bench.now), Vec::new());
    let (began, mut put) = (Instant::now(), HashMap::new());
    let mut next = began;
    while began.elapsed() < Duration::from_secs(seconds) {
        if ready.is_empty() {
            ready = bodies.next();
            ready.reverse();
        }
        let body = ready.pop().context("a body")?;
        // Times between independent events are distributed so.
        next += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / RATE);
        tokio::time::sleep_until(next).await;
        put.insert(put.len(), SystemTime::now().duration_since(UNIX_EPOCH)?);
        stub.put(QUEUE, [body]);
    }
    until(&mut worker, || stub.counts(QUEUE).left() == 0).await?;
    worker.kill().await?;

    let mut connection = database.options.connect().await?;
    let committed: Vec<(String, i64)> = query_as(
        "SELECT notification_message_id, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint
        FROM aws_reports.aws_report_detail",
    )
    .fetch_all(&mut connection)
    .await?;
    ensure!(committed.len() == put.len(), "{} of {} were written", committed.len(), put.len());
    let mut took = Vec::with_capacity(put.len());
    for (id, micros) in committed {
        // The end of the id is the message's number.
        let number = usize::from_str_radix(id.rsplit('-').next().unwrap_or_default(), 16)?;
        let since = put.get(&number).context("a message that was put")?;
        took.push(Duration::from_micros(micros.unsigned_abs()).saturating_sub(*since));
    }
    took.sort_unstable();
    let millis = |percent| at(&took, percent).as_secs_f64() * 1_000.0;
    Ok(Latency {
        events: u64::try_from(took.len())?,
        per_second: float(u64::try_from(took.len())?) / float(seconds),
        p50_ms: millis(50),
        p99_ms: millis(99),
        most_ms: millis(100),
    })
}

async fn until(worker: &mut Running, done: impl Fn() -> bool) -> Result<()> {
    let by = Instant::now() + PATIENCE;
    while !done() {
        worker.demand_life()?;
        ensure!(Instant::now() < by, "the worker does nothing");
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
