//! A run: consumers empty a queue into a database, and what that costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::sleep;

use super::Bench;
use super::database::{Database, Server, Watch, Written};
use super::numbers::{float, median};
use super::process::Running;
use super::queue::{Counts, Queue};

/// How often the stub is asked.
const TICK: Duration = Duration::from_millis(20);
/// A run that deletes nothing for that long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// The part of the messages before the measurement begins: programs start, statements are planned.
const WARM_UP: u64 = 20;

/// What a run cost, from the moment when a twentieth of the messages was deleted until all were. An
/// event is a message; it counts when the stub has deleted it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cost {
    pub events_per_second: f64,
    /// CPU of the consumer, all its processes and threads together.
    pub client_cpu_us: f64,
    /// CPU of all PostgreSQL processes; [`None`] without a database.
    pub postgres_cpu_us: Option<f64>,
    pub stub_cpu_us: Option<f64>,
    /// Peak memory (`VmHWM`) of the consumer from its start, of the largest of several.
    pub peak_memory_bytes: f64,
    pub wal_bytes: Option<f64>,
    /// Growth of the database's files.
    pub disk_bytes: Option<f64>,
}

impl Cost {
    /// Of several runs, field by field.
    pub fn median(costs: &[Self]) -> Self {
        let of = |field: fn(&Self) -> f64| median(costs.iter().map(field).collect());
        let of_some = |field: fn(&Self) -> Option<f64>| {
            let values: Vec<f64> = costs.iter().filter_map(field).collect();
            (!values.is_empty()).then(|| median(values))
        };
        Self {
            events_per_second: of(|cost| cost.events_per_second),
            client_cpu_us: of(|cost| cost.client_cpu_us),
            postgres_cpu_us: of_some(|cost| cost.postgres_cpu_us),
            stub_cpu_us: of_some(|cost| cost.stub_cpu_us),
            peak_memory_bytes: of(|cost| cost.peak_memory_bytes),
            wal_bytes: of_some(|cost| cost.wal_bytes),
            disk_bytes: of_some(|cost| cost.disk_bytes),
        }
    }
}

/// All clocks and counters at one moment.
struct Moment {
    at: Instant,
    counts: Counts,
    clients: Duration,
    stub: Duration,
    postgres: Duration,
    written: Option<Written>,
}

/// Who takes part in a run.
struct Scene<'a> {
    server: &'a Server,
    watch: Option<Watch>,
    queue: Queue,
    consumers: Vec<Running>,
}

impl Scene<'_> {
    async fn moment(&mut self) -> Result<Moment> {
        let counts = self.queue.counts().await?;
        let at = Instant::now();
        let clients = self.consumers.iter().map(Running::cpu).sum::<Result<Duration>>()?;
        let (stub, postgres) = (self.queue.cpu()?, self.server.cpu()?);
        let written = match &mut self.watch {
            Some(watch) => Some(watch.written().await?),
            None => None,
        };
        Ok(Moment { at, counts, clients, stub, postgres, written })
    }

    /// Waits until so many messages are left at most, and shows each step to `look`.
    async fn until_left(&mut self, left: u64, look: &mut Look<'_>) -> Result<()> {
        let (mut before, mut since) = (u64::MAX, Instant::now());
        loop {
            let counts = self.queue.counts().await?;
            look(counts, &self.consumers)?;
            if counts.left <= left {
                return Ok(());
            }
            for consumer in &mut self.consumers {
                consumer.demand_life()?;
            }
            if counts.left < before {
                (before, since) = (counts.left, Instant::now());
            }
            ensure!(since.elapsed() < PATIENCE, "nothing is deleted any more: {counts:?}");
            sleep(TICK).await;
        }
    }
}

/// What a run is shown while it goes on.
pub type Look<'a> = dyn FnMut(Counts, &[Running]) -> Result<()> + 'a;

/// One run of so many events, into an empty database.
pub async fn run(
    bench: &Bench,
    events: u64,
    consumers: &[&dyn Fn(&Queue, &Database) -> Command],
) -> Result<Cost> {
    let database = bench.server.fresh().await?;
    run_into(bench, &database, events, consumers, &mut |_, _| Ok(())).await
}

/// One run of so many events.
pub async fn run_into(
    bench: &Bench,
    database: &Database,
    events: u64,
    consumers: &[&dyn Fn(&Queue, &Database) -> Command],
    look: &mut Look<'_>,
) -> Result<Cost> {
    let mut watch = database.watch().await?;
    let before = watch.details().await?;
    let queue = Queue::start(events, bench.now).await?;
    let mut scene =
        Scene { server: &bench.server, watch: Some(watch), queue, consumers: Vec::new() };
    for (number, consumer) in consumers.iter().enumerate() {
        let log = bench.server.folder().join(format!("consumer-{number}.log"));
        scene.consumers.push(Running::start(consumer(&scene.queue, database), log)?);
    }
    scene.until_left(events - events / WARM_UP, look).await?;
    let start = scene.moment().await?;
    scene.until_left(0, look).await?;
    let end = scene.moment().await?;
    let peak = scene.consumers.iter().map(Running::peak_memory).collect::<Result<Vec<_>>>()?;
    for consumer in scene.consumers.drain(..) {
        consumer.kill().await?;
    }
    let mut watch = scene.watch.take().context("the database is watched")?;
    let stored = watch.details().await? - before;
    ensure!(stored == i64::try_from(events)?, "{events} events made {stored} details");
    ensure!(end.counts.received_again == 0, "messages came again: {:?}", end.counts);
    Ok(cost(&start, &end, peak.into_iter().max().unwrap_or_default()))
}

fn cost(start: &Moment, end: &Moment, peak: u64) -> Cost {
    let events = float(end.counts.deleted - start.counts.deleted);
    let micros = |from: Duration, to: Duration| (to - from).as_secs_f64() * 1e6 / events;
    let bytes = |of: fn(&Written) -> i64| {
        let grown = of(end.written.as_ref()?) - of(start.written.as_ref()?);
        Some(float(grown.unsigned_abs()) / events)
    };
    Cost {
        events_per_second: events / (end.at - start.at).as_secs_f64(),
        client_cpu_us: micros(start.clients, end.clients),
        postgres_cpu_us: end.written.map(|_| micros(start.postgres, end.postgres)),
        stub_cpu_us: Some(micros(start.stub, end.stub)),
        peak_memory_bytes: float(peak),
        wal_bytes: bytes(|written| written.wal),
        disk_bytes: bytes(|written| written.disk),
    }
}
