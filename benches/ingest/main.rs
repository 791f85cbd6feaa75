//! `make bench`: what it costs to move events from a queue into PostgreSQL.
//!
//! It starts a PostgreSQL cluster and a stub queue of its own, lets the release worker empty the queue,
//! prints what that cost, and deletes everything.

#![expect(clippy::print_stdout, reason = "it reports to a terminal")]
#![expect(unreachable_pub, reason = "nothing here is reachable")]

#[path = "../support/cluster.rs"]
mod cluster;
mod consume;
mod database;
#[path = "../support/events.rs"]
mod events;
#[path = "../support/numbers.rs"]
mod numbers;
mod process;
mod queue;
mod worker;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};

use database::Server;

/// A line of progress.
macro_rules! say {
    ($($what:tt)*) => { eprintln!("bench: {}", format_args!($($what)*)) };
}
pub(crate) use say;

/// Measure what it costs to move events from a queue into PostgreSQL
#[derive(Debug, Parser)]
pub struct Settings {
    /// Events of a run
    #[arg(long, env = "BENCH_EVENTS", default_value_t = 200_000,
        value_parser = clap::value_parser!(u64).range(1_000..))]
    events: u64,
    /// The worker to measure; by default the release build of this checkout
    #[arg(long, env = "BENCH_WORKER", default_value = env!("CARGO_BIN_EXE_ses-reports"))]
    worker: PathBuf,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    part: Option<Child>,
}

/// What the benchmark runs as processes of their own.
#[derive(Debug, Clone, Copy, Subcommand)]
#[command(hide = true)]
enum Child {
    /// The stub queue
    Serve {
        events: u64,
        /// The time of the events, in seconds since 1970
        now: i64,
    },
}

/// What all parts share.
pub struct Bench {
    settings: Settings,
    server: Server,
    now: OffsetDateTime,
}

fn main() -> Result<()> {
    let settings = Settings::parse();
    if let Some(Child::Serve { events, now }) = settings.part {
        // One thread: what it costs is then easy to tell from what the consumers cost.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(queue::serve(events, OffsetDateTime::from_unix_timestamp(now)?));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            done = Box::pin(run(settings)) => done,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })
}

async fn run(settings: Settings) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "here the clock enters")]
    let now = OffsetDateTime::now_utc();
    say!("starting PostgreSQL");
    let bench = Bench { server: Server::start(now).await?, settings, now };
    let events = bench.settings.events;
    say!("the worker: {events} events");
    let cost = consume::run(&bench, events, &[&worker::with(&bench, &[])]).await?;
    println!("PostgreSQL {}\n{cost:#?}", bench.server.version);
    Ok(())
}
