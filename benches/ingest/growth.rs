//! How the rate grows with batches, pollers, workers and tables.

use anyhow::Result;
use serde::Serialize;

use super::consumer::Consumer;
use super::cost::Cost;
use super::queue::Load;
use super::{Bench, consume, say};

const BATCH_ROWS: [u64; 6] = [100, 200, 500, 1_000, 2_000, 5_000];
const POLLERS: [u64; 6] = [1, 4, 16, 32, 64, 128];
const WORKERS: [u64; 3] = [1, 2, 4];

/// What a run costs, by something that varies.
#[derive(Debug, Serialize)]
pub struct Curve {
    /// What varies.
    pub by: &'static str,
    pub points: Vec<(u64, Cost)>,
}

/// By everything that needs no rows in the tables.
pub async fn measure(bench: &Bench, events: u64) -> Result<Vec<Curve>> {
    let mut curves = Vec::new();
    let by = |by, points: &[u64], consumers: fn(u64) -> Vec<Consumer>| {
        (by, points.iter().map(|value| (*value, consumers(*value))).collect::<Vec<_>>())
    };
    for (by, points) in [
        // Room for a batch that is written by each of two writers and two more that are gathered.
        by("rows of a batch", &BATCH_ROWS, |rows| {
            vec![Consumer::Worker(vec![
                ("BATCH_ROWS", rows),
                ("MAX_IN_FLIGHT", 5_000.max(4 * rows)),
            ])]
        }),
        by("pollers", &POLLERS, |pollers| vec![Consumer::Worker(vec![("POLLERS", pollers)])]),
        by("workers", &WORKERS, |workers| {
            (0..workers).map(|_| Consumer::Worker(Vec::new())).collect()
        }),
    ] {
        let mut curve = Curve { by, points: Vec::new() };
        let load = Load { events, latency_ms: 0 };
        for (value, consumers) in points {
            let database = bench.server.fresh().await?;
            let cost = consume::run(bench, &database, load, &consumers).await?;
            say!("{value} {by}: {}", cost.in_short());
            curve.points.push((value, cost));
        }
        curves.push(curve);
    }
    Ok(curves)
}

/// By rows that are in the tables already.
pub async fn by_table(bench: &Bench, events: u64, most: u64) -> Result<Curve> {
    let mut curve = Curve { by: "details in the table", points: Vec::new() };
    for details in [0, most / 20, most / 4, most] {
        let database = bench.server.filled(details, bench.now).await?;
        let consumers = [Consumer::Worker(Vec::new())];
        let load = Load { events, latency_ms: 0 };
        let cost =
            consume::run_into(bench, &database, load, &consumers, &mut |_, _| Ok(())).await?;
        say!("{details} details in the table: {}", cost.in_short());
        curve.points.push((details, cost));
    }
    Ok(curve)
}
