//! `make bench`: what it costs to move events from a queue into PostgreSQL, beside what it costs at
//! least and what it costs others.
//!
//! It starts a PostgreSQL cluster and a stub queue of its own, lets the release worker, its floors and
//! its peers empty the queue in turns, prints tables, writes them as JSON and as a picture, and deletes
//! everything. Nothing is asserted by timing: each goal is reported as met or not.

#![expect(clippy::print_stdout, reason = "it reports to a terminal")]
#![expect(unreachable_pub, reason = "nothing here is reachable")]

mod chart;
#[path = "../support/cluster.rs"]
mod cluster;
mod consume;
mod consumer;
mod contest;
mod cost;
mod database;
mod drain;
#[expect(dead_code, reason = "the other benchmarks use the rest")]
#[path = "../support/events.rs"]
mod events;
#[expect(dead_code, reason = "make scale uses the rest")]
#[path = "../scale/fill.rs"]
mod fill;
mod growth;
mod latency;
mod memory;
#[expect(dead_code, reason = "make scale uses the rest")]
#[path = "../support/numbers.rs"]
mod numbers;
mod peers;
mod process;
mod queue;
mod report;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use clap::builder::BoolishValueParser;
use clap::{Parser, Subcommand, ValueEnum};
use time::OffsetDateTime;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use database::{Contents, Database, Server};
use drain::Calls;
use queue::Load;
use report::Report;

/// A line of progress.
macro_rules! say {
    ($($what:tt)*) => { eprintln!("bench: {}", format_args!($($what)*)) };
}
pub(crate) use say;

/// Measure what it costs to move events from a queue into PostgreSQL
#[derive(Debug, Parser)]
pub struct Settings {
    /// Only these parts, with commas between them
    #[arg(long, env = "BENCH_ONLY", value_delimiter = ',')]
    only: Vec<Part>,
    /// See that all parts work: the same with fewer events
    #[arg(long, env = "BENCH_QUICK", value_parser = BoolishValueParser::new())]
    quick: bool,
    /// Events of a run; without it 200,000
    #[arg(long, env = "BENCH_EVENTS")]
    events: Option<u64>,
    /// Events of a run of the workers in other languages, which take so much longer; without it 10,000
    #[arg(long, env = "BENCH_PEER_EVENTS")]
    peer_events: Option<u64>,
    /// Events of the run that shows whether memory grows; without it 1,000,000
    #[arg(long, env = "BENCH_MEMORY_EVENTS")]
    memory_events: Option<u64>,
    /// Seconds at a low rate, for the latency; without it 30
    #[arg(long, env = "BENCH_LATENCY_SECONDS")]
    latency_seconds: Option<u64>,
    /// Runs of each contender; without it 3
    #[arg(long, env = "BENCH_ROUNDS", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Measure with up to so many details in the table too; 20000000 takes half an hour
    #[arg(long, env = "BENCH_TABLE", value_parser = clap::value_parser!(u64).range(1_000_000..))]
    table: Option<u64>,
    /// Write the figures to this file too, as JSON
    #[arg(long, env = "BENCH_JSON")]
    json: Option<PathBuf>,
    /// And as a picture to this
    #[arg(long, env = "BENCH_SVG")]
    svg: Option<PathBuf>,
    /// The worker to measure; by default the release build of this checkout
    #[arg(long, env = "BENCH_WORKER", default_value = env!("CARGO_BIN_EXE_ses-reports"))]
    worker: PathBuf,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    child: Option<Child>,
}

/// The parts of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The worker
    Worker,
    /// What reading the queue and writing the rows cost at least
    Floors,
    /// The workers that one would write in Node and Python
    Peers,
    /// From visible in the queue to committed, at a low rate
    Latency,
    /// Over a million events
    Memory,
    /// By the size of batches, by pollers and by workers
    Growth,
}

/// What the benchmark runs as processes of their own.
#[derive(Debug, Clone, Copy, Subcommand)]
enum Child {
    /// The stub queue
    #[command(hide = true)]
    Serve {
        events: u64,
        latency_ms: u64,
        /// The time of the events, in seconds since 1970
        now: i64,
    },
    /// Receive and delete, and nothing else
    #[command(hide = true)]
    Drain { by: Calls, pollers: u16 },
}

impl Settings {
    fn events(&self) -> u64 {
        self.size(self.events, 200_000, 10)
    }

    fn peer_events(&self) -> u64 {
        self.size(self.peer_events, 10_000, 10)
    }

    fn memory_events(&self) -> u64 {
        self.size(self.memory_events, 1_000_000, 10)
    }

    fn latency_seconds(&self) -> u64 {
        self.size(self.latency_seconds, 30, 6)
    }

    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// What was asked for, else the usual or, to be quick, a part of it.
    fn size(&self, asked: Option<u64>, usual: u64, part: u64) -> u64 {
        asked.unwrap_or(if self.quick { usual / part } else { usual })
    }

    /// Whether a part was asked for.
    pub fn takes(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// What all parts share.
pub struct Bench {
    settings: Settings,
    server: Server,
    /// The time of the first event, in whole seconds.
    now: OffsetDateTime,
    /// What so many events must leave in the tables.
    contents: Mutex<HashMap<u64, Contents>>,
}

impl Bench {
    /// An error if a run has left other rows than those before it with as many events: whoever
    /// consumed them did not do the same work.
    async fn demand_same_rows(&self, database: &Database, events: u64) -> Result<()> {
        let found = database.watch().await?.contents().await?;
        ensure!(found.0 == i64::try_from(events)?, "{events} events made {} details", found.0);
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = *contents.entry(events).or_insert(found);
        ensure!(found == expected, "it left {found:?} in the tables, others {expected:?}");
        Ok(())
    }
}

fn main() -> Result<()> {
    let settings = Settings::parse();
    match settings.child {
        Some(Child::Serve { events, latency_ms, now }) => {
            // One thread: what it costs is then easy to tell from what the consumers cost.
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (load, now) =
                (Load { events, latency_ms }, OffsetDateTime::from_unix_timestamp(now)?);
            runtime.block_on(queue::serve(load, now))
        }
        Some(Child::Drain { by, pollers }) => {
            Builder::new_multi_thread().enable_all().build()?.block_on(drain::run(by, pollers))
        }
        None => Builder::new_multi_thread().enable_all().build()?.block_on(until_signal(settings)),
    }
}

async fn until_signal(settings: Settings) -> Result<()> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        done = Box::pin(run(settings)) => done,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

async fn run(settings: Settings) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "here the clock enters")]
    let now = OffsetDateTime::now_utc().replace_nanosecond(0)?;
    say!("starting PostgreSQL");
    let server = Server::start(now).await?;
    let bench = Bench { settings, server, now, contents: Mutex::default() };
    let settings = &bench.settings;
    let mut report = Report {
        postgresql: bench.server.version.clone(),
        cpu: process::cpu_model()?,
        cores: std::thread::available_parallelism()?.get(),
        lines: Box::pin(contest::run(&bench)).await?,
        latency: None,
        memory: None,
        growth: Vec::new(),
        goals: Vec::new(),
    };
    if settings.takes(Part::Latency) {
        say!("{} s at a low rate", settings.latency_seconds());
        report.latency = Some(latency::measure(&bench, settings.latency_seconds()).await?);
    }
    if settings.takes(Part::Memory) {
        say!("{} events in one run", settings.memory_events());
        report.memory = Some(memory::measure(&bench, settings.memory_events()).await?);
    }
    if settings.takes(Part::Growth) {
        report.growth = growth::measure(&bench, settings.events() / 2).await?;
    }
    if let Some(most) = settings.table {
        report.growth.push(growth::by_table(&bench, settings.events() / 2, most).await?);
    }
    report.judge();
    println!("{report}");
    if let Some(path) = &settings.json {
        let json = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(in_folder(path)?, json).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &settings.svg {
        chart::draw(&report, in_folder(path)?)?;
    }
    Ok(())
}

/// The path, once its folder is there.
fn in_folder(path: &Path) -> Result<&Path> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(path)
}
