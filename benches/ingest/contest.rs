//! The worker, its floors and its peers in turns, so that whatever else the machine does hits all. Those
//! that ask a queue do so twice: with calls that take as long as those of SQS, and with calls that take
//! no time, where nothing but CPU and PostgreSQL limits them.

use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;
use ses_reports::row::EventRow;

use super::consumer::Consumer;
use super::cost::Cost;
use super::database::Database;
use super::drain::Calls;
use super::queue::Load;
use super::{Bench, Part, consume, peers, say, write};

pub const WORKER: &str = "ses-reports";
pub const DRAIN: &str = "receive and delete with the AWS SDK, no database";
pub const DRAIN_FAST: &str = "receive and delete with the worker's own calls, no database";
pub const BARE: &str = "bare loop of the same statement, 2 connections, no queue";
pub const BARE_ALONE: &str = "bare loop, 1 connection";
pub const COPY: &str = "COPY of the same rows, 1 connection";
pub const FAR: &str = "ses-reports, each batch 100 ms slower in PostgreSQL";
pub const FAR_BARE: &str = "bare loop, 2 connections, as slow";
pub const SMALL: &str = "ses-reports, 1 connection, batches of 20 rows";
pub const SMALL_BARE: &str = "bare loop, 1 connection, batches of 20 rows";
pub const NODE_BATCH: &str = "Node, one transaction per ten messages";
pub const NODE: &str = "Node, one transaction per message";
pub const PYTHON: &str = "Python, one transaction per ten messages";

/// Milliseconds that a call of SQS takes from another machine of its region, and none.
pub const LATENCIES: [u64; 2] = [25, 0];

/// The worker's defaults.
const WRITERS: u32 = 2;
const BATCH_ROWS: usize = 500;
/// So small that whatever is done once a batch shows, in the worker and in PostgreSQL.
const SMALL_BATCH: usize = 20;

/// One contender.
#[derive(Debug, Serialize)]
pub struct Line {
    pub name: &'static str,
    /// Milliseconds that each call to its queue takes; of those that have none, none.
    pub latency_ms: Option<u64>,
    /// Events of a run.
    pub events: u64,
    /// Of all rounds.
    pub median: Cost,
    pub rounds: Vec<Cost>,
}

/// Its name, the events of a run, and what it does.
type Entry = (&'static str, u64, Contender);

enum Contender {
    Consumer {
        consumer: Consumer,
        latency_ms: u64,
    },
    /// The worker where PostgreSQL is the limit.
    Far,
    Bare {
        connections: u32,
        batch: usize,
    },
    FarBare,
    Copy,
}

/// All that were asked for, each once a round.
pub async fn run(bench: &Bench) -> Result<Vec<Line>> {
    let settings = &bench.settings;
    let contenders = contenders(bench).await?;
    // For those that have no queue; as many as any of them takes.
    let is_bare = |one: &&Entry| matches!(one.2, Contender::Bare { .. } | Contender::FarBare);
    let most = contenders.iter().filter(is_bare).map(|(_, events, _)| *events).max();
    let rows = write::rows(bench, most.unwrap_or(0))?;
    let mut lines: Vec<Line> = (contenders.iter())
        .map(|(name, events, contender)| Line {
            name,
            latency_ms: match contender {
                Contender::Consumer { latency_ms, .. } => Some(*latency_ms),
                Contender::Far => Some(0),
                Contender::Bare { .. } | Contender::FarBare | Contender::Copy => None,
            },
            events: *events,
            median: Cost::default(),
            rounds: Vec::new(),
        })
        .collect();
    if !contenders.is_empty() {
        // A server in use has touched its cache and made its files. Whoever came first would pay that.
        let worker = Contender::Consumer { consumer: Consumer::Worker(Vec::new()), latency_ms: 0 };
        let cost = Box::pin(once(bench, &rows, settings.events(), &worker)).await?;
        say!("to warm up: {}", cost.in_short());
    }
    for round in 1..=settings.rounds() {
        for (line, (name, events, contender)) in lines.iter_mut().zip(&contenders) {
            let cost = Box::pin(once(bench, &rows, *events, contender)).await?;
            let latency = line.latency_ms.map(|ms| format!(" ({ms} ms a call)"));
            let latency = latency.unwrap_or_default();
            say!("round {round}: {name}{latency}: {}", cost.in_short());
            line.rounds.push(cost);
        }
    }
    for line in &mut lines {
        line.median = Cost::median(&line.rounds);
    }
    Ok(lines)
}

async fn contenders(bench: &Bench) -> Result<Vec<Entry>> {
    let settings = &bench.settings;
    let (events, few) = (settings.events(), settings.events() / 4);
    let mut all = Vec::new();
    let at_each = |all: &mut Vec<Entry>, name, events, consumer: &Consumer| {
        all.extend(LATENCIES.map(|latency_ms| {
            (name, events, Contender::Consumer { consumer: consumer.clone(), latency_ms })
        }));
    };
    if settings.takes(Part::Worker) {
        at_each(&mut all, WORKER, events, &Consumer::Worker(Vec::new()));
    }
    if settings.takes(Part::Floors) {
        let small = vec![("BATCH_ROWS", u64::try_from(SMALL_BATCH)?), ("WRITERS", 1)];
        let bare = |connections, batch| Contender::Bare { connections, batch };
        at_each(&mut all, DRAIN, events, &Consumer::Drain(Calls::Sdk));
        at_each(&mut all, DRAIN_FAST, events, &Consumer::Drain(Calls::Worker));
        let small = Contender::Consumer { consumer: Consumer::Worker(small), latency_ms: 0 };
        all.extend([
            (BARE_ALONE, events, bare(1, BATCH_ROWS)),
            (BARE, events, bare(WRITERS, BATCH_ROWS)),
            // Of what the one before has written.
            (COPY, events, Contender::Copy),
            (FAR, events, Contender::Far),
            (FAR_BARE, events, Contender::FarBare),
            (SMALL, few, small),
            (SMALL_BARE, few, bare(1, SMALL_BATCH)),
        ]);
    }
    if settings.takes(Part::Peers) {
        let events = settings.peer_events();
        if peers::install_node().await? {
            at_each(&mut all, NODE_BATCH, events, &Consumer::Node("batch.js"));
            at_each(&mut all, NODE, events, &Consumer::Node("per-message.js"));
        }
        if peers::install_python().await? {
            at_each(&mut all, PYTHON, events, &Consumer::Python);
        }
    }
    Ok(all)
}

async fn once(
    bench: &Bench,
    rows: &Arc<Vec<EventRow>>,
    events: u64,
    contender: &Contender,
) -> Result<Cost> {
    let server = &bench.server;
    let database = match contender {
        Contender::Consumer { .. } | Contender::Bare { .. } => server.fresh().await?,
        Contender::Far | Contender::FarBare => server.far_away().await?,
        Contender::Copy => server.second().await?,
    };
    match contender {
        Contender::Consumer { consumer, latency_ms } => {
            let load = Load { events, latency_ms: *latency_ms };
            consume::run(bench, &database, load, std::slice::from_ref(consumer)).await
        }
        Contender::Far => {
            let load = Load { events, latency_ms: 0 };
            consume::run(bench, &database, load, &[Consumer::Worker(Vec::new())]).await
        }
        Contender::Bare { connections, batch } => {
            bare(bench, &database, rows, events, *connections, *batch).await
        }
        Contender::FarBare => bare(bench, &database, rows, events, WRITERS, BATCH_ROWS).await,
        Contender::Copy => {
            let cost = write::copy(bench, &server.last(), &database).await?;
            bench.demand_same_rows(&database, events).await?;
            Ok(cost)
        }
    }
}

async fn bare(
    bench: &Bench,
    database: &Database,
    rows: &Arc<Vec<EventRow>>,
    events: u64,
    connections: u32,
    batch: usize,
) -> Result<Cost> {
    let count = usize::try_from(events)?;
    let cost = write::bare(bench, database, rows, count, connections, batch).await?;
    bench.demand_same_rows(database, events).await?;
    Ok(cost)
}

/// Which line: its name, and how long a call takes.
pub type Which = (&'static str, Option<u64>);

/// The line of that name and latency.
pub fn line(lines: &[Line], (name, latency_ms): Which) -> Option<&Line> {
    lines.iter().find(|line| line.name == name && line.latency_ms == latency_ms)
}

/// How many times the rate of one is that of the other: of each round, and of these the median.
pub fn ratio(lines: &[Line], one: Which, other: Which, of: fn(&Cost) -> f64) -> Option<f64> {
    let rounds = |which| line(lines, which).map(|line| &line.rounds);
    let pairs = rounds(one)?.iter().zip(rounds(other)?);
    Some(super::numbers::median(pairs.map(|(one, other)| of(one) / of(other)).collect()))
}
