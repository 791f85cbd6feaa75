//! Whether memory stays as it is over a long run.

use anyhow::Result;
use serde::Serialize;

use super::Bench;
use super::consume;
use super::consumer::Consumer;
use super::cost::Cost;
use super::numbers::float;
use super::queue::Load;

/// A long run at full load.
#[derive(Debug, Serialize)]
pub struct Memory {
    pub events: u64,
    pub cost: Cost,
    /// The most memory (`VmRSS`, every 20 ms) in each quarter of the events.
    pub quarters_bytes: [f64; 4],
}

pub async fn measure(bench: &Bench, events: u64) -> Result<Memory> {
    let database = bench.server.fresh().await?;
    let mut quarters = [0; 4];
    let cost = consume::run_into(
        bench,
        &database,
        Load { events, latency_ms: 0 },
        &[Consumer::Worker(Vec::new())],
        &mut |counts, running| {
            let quarter = usize::try_from(counts.deleted * 4 / events)?.min(3);
            for worker in running {
                quarters[quarter] = worker.memory()?.max(quarters[quarter]);
            }
            Ok(())
        },
    )
    .await?;
    Ok(Memory { events, cost, quarters_bytes: quarters.map(float) })
}
