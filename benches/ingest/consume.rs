//! A run: consumers empty a queue into a database, and what that costs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::Bench;
use super::consumer::Consumer;
use super::cost::{Cost, Moment};
use super::database::{Database, Watch};
use super::numbers::float;
use super::process::Running;
use super::queue::{Counts, Load, Queue};

/// How often the stub is asked.
const TICK: Duration = Duration::from_millis(20);
/// A run that deletes nothing for that long has failed.
const PATIENCE: Duration = Duration::from_mins(1);
/// One part of so many is over before the measurement begins (programs have started, statements are
/// planned, code is compiled), and one is left when it ends, so that as many messages are under way at
/// the end as at the beginning.
pub const PARTS: u64 = 5;

/// What a run is shown while it goes on.
pub type Look<'a> = dyn FnMut(Counts, &[Running]) -> Result<()> + 'a;

/// One run of a full queue, into a database without rows. Measured from the moment when the stub has
/// deleted the first of [`PARTS`] parts of the messages until it has all but the last; it goes on until
/// all are deleted and, whatever the consumer, the rows must be those that the others make.
pub async fn run(
    bench: &Bench,
    database: &Database,
    load: Load,
    consumers: &[Consumer],
) -> Result<Cost> {
    let cost = run_into(bench, database, load, consumers, &mut |_, _| Ok(())).await?;
    if consumers.iter().all(Consumer::stores) {
        bench.demand_same_rows(database, load.events).await?;
    }
    Ok(cost)
}

/// The same, into a database that may hold rows; `look` is shown the run while it goes on.
pub async fn run_into(
    bench: &Bench,
    database: &Database,
    load: Load,
    consumers: &[Consumer],
    look: &mut Look<'_>,
) -> Result<Cost> {
    let watch = database.watch().await?;
    let (queue, events) = (Queue::start(load, bench.now).await?, load.events);
    let mut scene = Scene { bench, watch, queue, running: Vec::new() };
    for (number, consumer) in consumers.iter().enumerate() {
        let log = bench.server.folder().join(format!("consumer-{number}.log"));
        let command = consumer.command(bench, &scene.queue.address, database)?;
        scene.running.push(Running::start(command, log)?);
    }
    scene.until_left(events - events / PARTS, look).await?;
    let start = scene.moment().await?;
    scene.until_left(events / PARTS, look).await?;
    let end = scene.moment().await?;
    scene.until_left(0, look).await?;
    let peak = scene.running.iter().map(Running::peak_memory).collect::<Result<Vec<_>>>()?;
    let counts = scene.queue.counts().await?;
    for consumer in scene.running {
        consumer.kill().await?;
    }
    // How a peer renews what it has received is its own business: it must leave the right rows.
    let is_peer = consumers.iter().any(Consumer::is_peer);
    ensure!(is_peer || counts.received_again == 0, "messages came again: {counts:?}");
    let peak_memory_bytes = peak.into_iter().max().map(float);
    let cost = Cost { peak_memory_bytes, ..Cost::between(&start, &end) };
    if consumers.iter().any(Consumer::stores) {
        return Ok(cost);
    }
    let (postgres_cpu_us, wal_bytes, disk_bytes) = (None, None, None);
    Ok(Cost { postgres_cpu_us, wal_bytes, disk_bytes, ..cost })
}

/// All that takes part in a run.
struct Scene<'a> {
    bench: &'a Bench,
    watch: Watch,
    queue: Queue,
    running: Vec<Running>,
}

impl Scene<'_> {
    async fn moment(&mut self) -> Result<Moment> {
        let counts = self.queue.counts().await?;
        let at = Instant::now();
        Ok(Moment {
            at,
            events: counts.deleted,
            clients: self.running.iter().map(Running::cpu).sum::<Result<Duration>>()?,
            postgres: Some(self.bench.server.cpu()?),
            stub: Some(self.queue.cpu()?),
            written: Some(self.watch.written().await?),
        })
    }

    /// Waits until so many messages are left at most.
    async fn until_left(&mut self, left: u64, look: &mut Look<'_>) -> Result<()> {
        let (mut before, mut since) = (u64::MAX, Instant::now());
        loop {
            let counts = self.queue.counts().await?;
            look(counts, &self.running)?;
            if counts.left <= left {
                return Ok(());
            }
            for consumer in &mut self.running {
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
