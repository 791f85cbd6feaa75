//! What was measured, as a table and as JSON, and which goals that meets.

use std::fmt;

use serde::Serialize;

use super::contest::{self, Line, line, ratio};
use super::cost::Cost;
use super::growth::Curve;
use super::latency::Latency;
use super::memory::Memory;

/// One whole run of the benchmark.
#[derive(Debug, Serialize)]
pub struct Report {
    pub postgresql: String,
    pub cpu: String,
    pub cores: usize,
    pub lines: Vec<Line>,
    pub latency: Option<Latency>,
    pub memory: Option<Memory>,
    pub growth: Vec<Curve>,
    pub goals: Vec<Goal>,
}

/// A goal, reported and never asserted.
#[derive(Debug, Serialize)]
pub struct Goal {
    pub what: &'static str,
    pub bound: Bound,
    pub value: f64,
    pub is_met: bool,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};

impl Report {
    /// Judges what was measured; what was left out has no goals.
    pub fn judge(&mut self) {
        let [far, near] = contest::LATENCIES.map(Some);
        let of = |latency| line(&self.lines, (contest::WORKER, latency)).map(|line| &line.median);
        let worker = of(near);
        let compared = |one, other, of| ratio(&self.lines, one, other, of);
        let rate_by = |other, latency| {
            compared((contest::WORKER, latency), (other, latency), |cost| cost.events_per_second)
        };
        let cpu = |cost: &Cost| cost.client_cpu_us;
        let rate = |cost: &Cost| cost.events_per_second;
        let kept = compared((contest::WORKER, far), (contest::WORKER, near), rate);
        let cpu_by_sdk = compared((contest::WORKER, near), (contest::DRAIN, near), cpu);
        let own_calls = compared((contest::DRAIN_FAST, near), (contest::DRAIN, near), cpu);
        let database_bound = compared((contest::FAR, near), (contest::FAR_BARE, None), rate);
        // The longest run at full load; what the kernel calls the peak lags behind.
        let long = self.memory.as_ref().map(|memory| {
            memory
                .quarters_bytes
                .iter()
                .copied()
                .chain(memory.cost.peak_memory_bytes)
                .fold(0.0, f64::max)
        });
        let peak = long.or(worker.and_then(|cost| cost.peak_memory_bytes));
        let growth = self.memory.as_ref().map(|memory| {
            let [first, .., last] = memory.quarters_bytes;
            last / first
        });
        let goals = [
            ("events/s", AtLeast(12_000.0), worker.map(|cost| cost.events_per_second)),
            ("of that rate where each call to SQS takes 25 ms", AtLeast(0.8), kept),
            (
                "times the rate of Node with batches at 25 ms",
                AtLeast(6.0),
                rate_by(contest::NODE_BATCH, far),
            ),
            ("the same at 0 ms", AtLeast(6.0), rate_by(contest::NODE_BATCH, near)),
            (
                "times the rate of Node by message at 25 ms",
                AtLeast(12.0),
                rate_by(contest::NODE, far),
            ),
            ("the same at 0 ms", AtLeast(12.0), rate_by(contest::NODE, near)),
            (
                "µs of the worker's CPU an event",
                AtMost(70.0),
                worker.map(|cost| cost.client_cpu_us),
            ),
            ("µs of it, later", AtMost(45.0), worker.map(|cost| cost.client_cpu_us)),
            ("times the CPU of the SDK's receive and delete", AtMost(1.4), cpu_by_sdk),
            ("of the SDK's CPU in the worker's own receive and delete", AtMost(0.8), own_calls),
            ("of the bare loop's rate where PostgreSQL is the limit", AtLeast(0.8), database_bound),
            (
                "µs of PostgreSQL's CPU an event",
                AtMost(45.0),
                worker.and_then(|cost| cost.postgres_cpu_us),
            ),
            ("MB of memory at most", AtMost(48.0), peak.map(|bytes| bytes / 1e6)),
            ("times the memory of the first quarter in the last", AtMost(1.05), growth),
            (
                "ms from visible to committed at low rate, p99",
                AtMost(150.0),
                self.latency.as_ref().map(|latency| latency.p99_ms),
            ),
        ];
        let judged = goals.into_iter().filter_map(|(what, bound, value)| {
            let value = value?;
            let is_met = match bound {
                AtLeast(bound) => value >= bound,
                AtMost(bound) => value <= bound,
            };
            Some(Goal { what, bound, value, is_met })
        });
        self.goals = judged.collect();
    }

    /// The lines with that latency, under what they have in common.
    fn table(&self, f: &mut fmt::Formatter<'_>, latency_ms: Option<u64>) -> fmt::Result {
        let mut lines = self.lines.iter().filter(|line| line.latency_ms == latency_ms).peekable();
        if lines.peek().is_none() {
            return Ok(());
        }
        let what = match latency_ms {
            Some(latency_ms) => format!("each call to SQS takes {latency_ms} ms"),
            None => "no queue".to_owned(),
        };
        writeln!(
            f,
            "| {what} | events/s | consumer µs | PostgreSQL µs | stub µs | peak MB | WAL bytes | disk bytes |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|")?;
        for line in lines {
            writeln!(f, "| {} | {} |", line.name, cells(&line.median))?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "PostgreSQL {}, {} cores of {}\n", self.postgresql, self.cores, self.cpu)?;
        for latency_ms in contest::LATENCIES.map(Some).into_iter().chain([None]) {
            self.table(f, latency_ms)?;
        }
        if let Some(latency) = &self.latency {
            writeln!(
                f,
                "At {:.0} events/s, from visible in the queue to committed: p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms.\n",
                latency.per_second, latency.p50_ms, latency.p99_ms, latency.most_ms
            )?;
        }
        if let Some(memory) = &self.memory {
            let quarters =
                memory.quarters_bytes.map(|bytes| format!("{:.1}", bytes / 1e6)).join(", ");
            writeln!(
                f,
                "Memory over {} events, most in each quarter: {quarters} MB.\n",
                memory.events
            )?;
        }
        for curve in &self.growth {
            writeln!(
                f,
                "| {} | events/s | consumer µs | PostgreSQL µs | stub µs | peak MB | WAL bytes | disk bytes |",
                curve.by
            )?;
            writeln!(f, "|--:|--:|--:|--:|--:|--:|--:|--:|")?;
            for (value, cost) in &curve.points {
                writeln!(f, "| {value} | {} |", cells(cost))?;
            }
            writeln!(f)?;
        }
        if !self.goals.is_empty() {
            writeln!(f, "| goal | | measured | |\n|---|--:|--:|---|")?;
            for goal in &self.goals {
                let bound = match goal.bound {
                    AtLeast(bound) => format!("≥ {bound}"),
                    AtMost(bound) => format!("≤ {bound}"),
                };
                let met = if goal.is_met { "met" } else { "not met" };
                writeln!(f, "| {} | {bound} | {} | {met} |", goal.what, three_digits(goal.value))?;
            }
        }
        Ok(())
    }
}

fn cells(cost: &Cost) -> String {
    let some = |value: Option<f64>, digits: usize| {
        value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
    };
    [
        format!("{:.0}", cost.events_per_second),
        format!("{:.1}", cost.client_cpu_us),
        some(cost.postgres_cpu_us, 1),
        some(cost.stub_cpu_us, 1),
        some(cost.peak_memory_bytes.map(|bytes| bytes / 1e6), 1),
        some(cost.wal_bytes, 0),
        some(cost.disk_bytes, 0),
    ]
    .join(" | ")
}

fn three_digits(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
