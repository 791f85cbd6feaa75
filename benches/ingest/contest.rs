//! The worker, its floors and its peers in turns, so that whatever else the machine does hits all.

use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;
use ses_reports::row::EventRow;

use super::consumer::Consumer;
use super::cost::Cost;
use super::{Bench, Part, consume, peers, say, write};

pub const WORKER: &str = "ses-reports";
pub const DRAIN: &str = "receive and delete with the AWS SDK, no database";
pub const BARE: &str = "bare loop of the same statement, 2 connections, no queue";
pub const BARE_ALONE: &str = "bare loop, 1 connection";
pub const COPY: &str = "COPY of the same rows, 1 connection";
pub const SMALL: &str = "ses-reports, 1 connection, batches of 20 rows";
pub const SMALL_BARE: &str = "bare loop, 1 connection, batches of 20 rows";
pub const NODE_BATCH: &str = "Node, one transaction per ten messages";
pub const NODE: &str = "Node, one transaction per message";
pub const PYTHON: &str = "Python, one transaction per ten messages";

/// The worker's defaults.
const POLLERS: u16 = 16;
const WRITERS: u32 = 2;
const BATCH_ROWS: usize = 1_000;
/// So small that one connection spends its time on making commits safe: PostgreSQL is the limit, and
/// whatever the worker does between two batches shows.
const SMALL_BATCH: usize = 20;

/// One contender.
#[derive(Debug, Serialize)]
pub struct Line {
    pub name: &'static str,
    /// Events of a run.
    pub events: u64,
    /// Of all rounds.
    pub median: Cost,
    pub rounds: Vec<Cost>,
}

/// Its name, the events of a run, and what it does.
type Entry = (&'static str, u64, Contender);

enum Contender {
    Consumer(Consumer),
    Bare { connections: u32, batch: usize },
    Copy,
}

/// All that were asked for, each once a round.
pub async fn run(bench: &Bench) -> Result<Vec<Line>> {
    let contenders = contenders(bench).await?;
    // For those that have no queue; as many as any of them takes.
    let is_bare = |one: &&Entry| matches!(one.2, Contender::Bare { .. });
    let most = contenders.iter().filter(is_bare).map(|(_, events, _)| *events).max();
    let rows = write::rows(bench, most.unwrap_or(0))?;
    let mut lines: Vec<Line> = (contenders.iter())
        .map(|(name, events, _)| Line {
            name,
            events: *events,
            median: Cost::default(),
            rounds: Vec::new(),
        })
        .collect();
    for round in 1..=bench.settings.rounds() {
        for (line, (name, events, contender)) in lines.iter_mut().zip(&contenders) {
            let cost = Box::pin(once(bench, &rows, *events, contender)).await?;
            say!("round {round}: {name}: {}", cost.in_short());
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
    if settings.takes(Part::Worker) {
        all.push((WORKER, events, Contender::Consumer(Consumer::Worker(Vec::new()))));
    }
    if settings.takes(Part::Floors) {
        let small = vec![("BATCH_ROWS", u64::try_from(SMALL_BATCH)?), ("WRITERS", 1)];
        let bare = |connections, batch| Contender::Bare { connections, batch };
        all.extend([
            (DRAIN, events, Contender::Consumer(Consumer::Drain { pollers: POLLERS })),
            (BARE_ALONE, events, bare(1, BATCH_ROWS)),
            (BARE, events, bare(WRITERS, BATCH_ROWS)),
            // Of what the one before has written.
            (COPY, events, Contender::Copy),
            (SMALL, few, Contender::Consumer(Consumer::Worker(small))),
            (SMALL_BARE, few, bare(1, SMALL_BATCH)),
        ]);
    }
    if settings.takes(Part::Peers) {
        let events = settings.peer_events();
        if peers::install_node().await? {
            all.extend([
                (NODE_BATCH, events, Contender::Consumer(Consumer::Node("batch.js"))),
                (NODE, events, Contender::Consumer(Consumer::Node("per-message.js"))),
            ]);
        }
        if peers::install_python().await? {
            all.push((PYTHON, events, Contender::Consumer(Consumer::Python)));
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
    match contender {
        Contender::Consumer(consumer) => {
            consume::run(bench, events, std::slice::from_ref(consumer)).await
        }
        Contender::Bare { connections, batch } => {
            let database = bench.server.fresh().await?;
            let count = usize::try_from(events)?;
            let cost = write::bare(bench, &database, rows, count, *connections, *batch).await?;
            bench.demand_same_rows(&database, events).await?;
            Ok(cost)
        }
        Contender::Copy => {
            let copy = bench.server.second().await?;
            let cost = write::copy(bench, &bench.server.last(), &copy).await?;
            bench.demand_same_rows(&copy, events).await?;
            Ok(cost)
        }
    }
}

/// How many times the rate of one is that of the other: of each round, and of these the median.
pub fn ratio(lines: &[Line], one: &str, other: &str, of: fn(&Cost) -> f64) -> Option<f64> {
    let rounds = |name: &str| lines.iter().find(|line| line.name == name).map(|line| &line.rounds);
    let pairs = rounds(one)?.iter().zip(rounds(other)?);
    Some(super::numbers::median(pairs.map(|(one, other)| of(one) / of(other)).collect()))
}
