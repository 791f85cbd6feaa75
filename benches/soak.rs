//! `make soak`: one worker at full rate for a while, with faults at random and a database that is
//! stopped for two minutes in the middle. Its memory must stay flat, and no event may be missing.
//!
//! It makes a PostgreSQL cluster of its own, keeps a stub SQS filled in this process, samples the
//! worker's resident memory, and ends with a count of every row. Exits 1 when memory grew by more
//! than a tenth from the first third to the last, or above what the first third used while the
//! database was away, or when anything is lost or doubled.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it reports to a terminal")]
#![expect(unreachable_pub, reason = "nothing here is reachable")]

#[expect(dead_code, reason = "the benchmark of a full database uses the rest")]
#[path = "support/cluster.rs"]
mod cluster;
#[expect(dead_code, reason = "the other benchmarks use the rest")]
#[path = "support/events.rs"]
mod events;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use ses_reports::postgres::SchemaName;
use ses_reports::schema::Schema;
use sqlx::{ConnectOptions as _, Connection as _};
use sqs_stub::{Action, Profile, Settings as QueueSettings, Stub};
use time::OffsetDateTime;
use tokio::process::{Child, Command};

use cluster::Cluster;
use events::{Stream, in_sns};

const QUEUE: &str = "soak";
/// Below so many waiting messages the queue is filled again.
const WAITING: u64 = 20_000;
/// Mails that are sent at once; each has three events in the end.
const MAILS: usize = 2_000;
/// How long PostgreSQL is away.
const OUTAGE: Duration = Duration::from_mins(2);
/// What memory may grow by, in percent.
const MOST_GROWTH: u64 = 10;
/// How long emptying the queue may take in the end.
const PATIENCE: Duration = Duration::from_mins(5);

/// Have a worker consume at full rate with faults, and watch its memory
#[derive(Debug, Parser)]
struct Settings {
    /// How long; from 6 minutes on PostgreSQL is stopped for two of them
    #[arg(long, env = "SOAK_MINUTES", default_value_t = 10)]
    minutes: u64,
    /// The part of calls to SQS that go wrong
    #[arg(long, env = "SOAK_FAULTS", default_value_t = 0.01)]
    faults: f64,
    /// Another seed is another schedule of faults
    #[arg(long, env = "SOAK_SEED", default_value_t = 1)]
    seed: u64,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What was put into the queue.
#[derive(Debug, Default)]
struct Put {
    mails: i64,
    events: i64,
    opens: i64,
    clicks: i64,
    messages: u64,
}

/// Resident memory, with the time since the start.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    kib: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings::parse();
    let cluster = Cluster::create(None)?;
    cluster.start(&["max_wal_size=4GB"])?;
    let options = cluster.options("postgres").options([("search_path", "aws_reports")]);
    let schema = SchemaName::new("aws_reports").map_err(anyhow::Error::msg)?;
    Schema::new(options.clone(), schema).up(None).await?;
    let stub = Stub::start().await?;
    let url = stub.create_queue(QUEUE, QueueSettings::default());
    let mut worker = start(&cluster, &stub, &url)?;
    while stub.calls(Action::ReceiveMessage) == 0 {
        ensure!(worker.try_wait()?.is_none(), "the worker does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let profile = Profile { seed: settings.seed, rate: settings.faults };
    stub.script(move |call| profile.fault(call));
    let (put, samples, away) = soak(&settings, &cluster, &stub, &mut worker).await?;
    let lasted = Duration::from_mins(settings.minutes);
    println!("{}", report(&samples, away, lasted, &put, stub.counts(QUEUE).deleted));

    stub.clear_script();
    let began = Instant::now();
    while stub.counts(QUEUE).left() > 0 {
        ensure!(began.elapsed() < PATIENCE, "not all is deleted: {:?}", stub.counts(QUEUE));
        ensure!(worker.try_wait()?.is_none(), "the worker has ended");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    worker.kill().await?;
    account(&options, &stub, &put).await?;
    println!("accounted for: {} messages, {} events, 0 lost, 0 doubled", put.messages, put.events);
    judge(&samples, away, lasted)
}

fn start(cluster: &Cluster, stub: &Stub, queue_url: &str) -> Result<Child> {
    let port = cluster.options("postgres").get_port();
    let log = std::fs::File::create(cluster.folder().join("worker.log"))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_ses-reports"));
    command
        .env("DATABASE_URL", format!("postgres://postgres@127.0.0.1:{port}/postgres"))
        .env("SQS_QUEUE_URL", queue_url)
        .env("AWS_ENDPOINT_URL", stub.endpoint())
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "soak")
        .env("AWS_SECRET_ACCESS_KEY", "soak")
        .env("NO_MIGRATE", "true")
        .stderr(log)
        .kill_on_drop(true);
    command.spawn().context("the worker starts")
}

/// Keeps the queue filled, stops PostgreSQL for a while, and samples every second; tells when
/// PostgreSQL was away.
async fn soak(
    settings: &Settings,
    cluster: &Cluster,
    stub: &Stub,
    worker: &mut Child,
) -> Result<(Put, Vec<Sample>, Option<(Duration, Duration)>)> {
    #[expect(clippy::disallowed_methods, reason = "here the clock enters")]
    let now = OffsetDateTime::now_utc();
    let mut stream = Stream::new(settings.seed, now);
    let mut random = fastrand::Rng::with_seed(settings.seed);
    let (mut put, mut samples) = (Put::default(), Vec::new());
    let lasts = Duration::from_mins(settings.minutes);
    let pid = worker.id().context("the worker runs")?;
    let began = Instant::now();
    let mut stopped = None;
    let mut away = None;
    while began.elapsed() < lasts {
        tokio::time::sleep(Duration::from_millis(100)).await;
        ensure!(worker.try_wait()?.is_none(), "the worker has ended");
        let at = began.elapsed();
        if samples
            .last()
            .is_none_or(|last: &Sample| at.saturating_sub(last.at) >= Duration::from_secs(1))
        {
            samples.push(Sample { at, kib: resident(pid)? });
        }
        if settings.minutes >= 6 && stopped.is_none() && at > lasts.saturating_sub(OUTAGE) / 2 {
            eprintln!("soak: PostgreSQL stops after {} messages", stub.counts(QUEUE).deleted);
            cluster.stop()?;
            stopped = Some(began.elapsed());
        }
        if let (Some(since), None) = (stopped, away)
            && began.elapsed().saturating_sub(since) > OUTAGE
        {
            cluster.start(&["max_wal_size=4GB"])?;
            away = Some((since, began.elapsed()));
            eprintln!("soak: PostgreSQL is back");
        }
        if stub.counts(QUEUE).visible < WAITING {
            fill(stub, &mut stream, &mut random, &mut put);
        }
    }
    Ok((put, samples, away))
}

/// Puts events, one in twenty of them twice.
fn fill(stub: &Stub, stream: &mut Stream, random: &mut fastrand::Rng, put: &mut Put) {
    let mut bodies = Vec::new();
    for event in stream.events(MAILS) {
        put.events += 1;
        match event["eventType"].as_str() {
            Some("Send") => put.mails += 1,
            Some("Open") => put.opens += 1,
            Some("Click") => put.clicks += 1,
            _ => {}
        }
        let body = in_sns(&event, bodies.len());
        if random.u32(..20) == 0 {
            bodies.push(body.clone());
        }
        bodies.push(body);
    }
    random.shuffle(&mut bodies);
    put.messages += u64::try_from(bodies.len()).unwrap_or(u64::MAX);
    stub.put(QUEUE, bodies);
}

/// A process's resident memory, in KiB (proc(5)).
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.context("the worker's memory is known")
}

/// The most of a part of the samples.
fn peak(samples: &[Sample], from: Duration, to: Duration) -> u64 {
    let part = samples.iter().filter(|sample| (from..to).contains(&sample.at));
    part.map(|sample| sample.kib).max().unwrap_or_default()
}

fn report(
    samples: &[Sample],
    away: Option<(Duration, Duration)>,
    lasted: Duration,
    put: &Put,
    deleted: u64,
) -> String {
    let mib = |kib: u64| format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024);
    let worked =
        lasted.saturating_sub(away.map_or(Duration::ZERO, |(from, to)| to.saturating_sub(from)));
    let mut lines = vec![
        format!(
            "{deleted} of {} messages deleted in {} s at work: {} a second",
            put.messages,
            worked.as_secs(),
            deleted / worked.as_secs().max(1)
        ),
        format!(
            "peak memory in the first third: {}",
            mib(peak(samples, Duration::ZERO, lasted / 3))
        ),
    ];
    if let Some((from, to)) = away {
        lines.push(format!(
            "while PostgreSQL was away for {} s: {}",
            to.saturating_sub(from).as_secs(),
            mib(peak(samples, from, to))
        ));
    }
    lines.push(format!("in the last third: {}", mib(peak(samples, lasted * 2 / 3, lasted))));
    lines.join("\n")
}

fn judge(samples: &[Sample], away: Option<(Duration, Duration)>, lasted: Duration) -> Result<()> {
    let first = peak(samples, Duration::ZERO, lasted / 3);
    let most = first + first * MOST_GROWTH / 100;
    let last = peak(samples, lasted * 2 / 3, lasted);
    ensure!(last <= most, "memory grew by more than {MOST_GROWTH} %");
    let idle = away.map_or(0, |(from, to)| peak(samples, from, to));
    ensure!(idle <= most, "memory grew by more than {MOST_GROWTH} % while PostgreSQL was away");
    Ok(())
}

/// Every event is one row and every message is deleted.
async fn account(options: &sqlx::postgres::PgConnectOptions, stub: &Stub, put: &Put) -> Result<()> {
    let mut connection = options.clone().connect().await?;
    let found: (i64, i64, i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM aws_report_detail), count(*), sum(open_count)::bigint,
            sum(click_count)::bigint, (SELECT count(*) FROM aws_report_dead_letter) FROM aws_reports",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    let expected = (put.events, put.mails, put.opens, put.clicks, 0);
    ensure!(found == expected, "lost or doubled: {found:?} instead of {expected:?}");
    let counts = stub.counts(QUEUE);
    ensure!(counts.deleted == put.messages && counts.left() == 0, "{counts:?}");
    Ok(())
}
