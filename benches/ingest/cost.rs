//! What a run cost, as the difference of two moments.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::database::Written;
use super::numbers::{float, median};

/// What a run cost between two moments, an event being a message of which the queue was told to
/// delete it or, where there is no queue, a row that was committed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cost {
    pub events_per_second: f64,
    /// CPU of the consumers, all their processes and threads together.
    pub client_cpu_us: f64,
    /// CPU of all PostgreSQL processes.
    pub postgres_cpu_us: Option<f64>,
    /// CPU of the stub queue.
    pub stub_cpu_us: Option<f64>,
    /// The most memory (`VmHWM`) that a consumer has held since its start; of several the largest.
    pub peak_memory_bytes: Option<f64>,
    pub wal_bytes: Option<f64>,
    /// Growth of the database's files.
    pub disk_bytes: Option<f64>,
}

/// All clocks and counters at one moment. Those of a part that a run has not are [`None`].
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub at: Instant,
    pub events: u64,
    pub clients: Duration,
    pub postgres: Option<Duration>,
    pub stub: Option<Duration>,
    pub written: Option<Written>,
}

impl Cost {
    pub fn between(start: &Moment, end: &Moment) -> Self {
        let events = float(end.events - start.events);
        let micros =
            |start: Duration, end: Duration| end.saturating_sub(start).as_secs_f64() * 1e6 / events;
        let bytes = |of: fn(&Written) -> i64| {
            let grown = of(end.written.as_ref()?) - of(start.written.as_ref()?);
            Some(float(grown.max(0).unsigned_abs()) / events)
        };
        let of_part = |of: fn(&Moment) -> Option<Duration>| Some(micros(of(start)?, of(end)?));
        Self {
            events_per_second: events / (end.at - start.at).as_secs_f64(),
            client_cpu_us: micros(start.clients, end.clients),
            postgres_cpu_us: of_part(|moment| moment.postgres),
            stub_cpu_us: of_part(|moment| moment.stub),
            peak_memory_bytes: None,
            wal_bytes: bytes(|written| written.wal),
            disk_bytes: bytes(|written| written.disk),
        }
    }

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
            peak_memory_bytes: of_some(|cost| cost.peak_memory_bytes),
            wal_bytes: of_some(|cost| cost.wal_bytes),
            disk_bytes: of_some(|cost| cost.disk_bytes),
        }
    }

    /// For the log.
    pub fn in_short(&self) -> String {
        let mut text = format!(
            "{:.0} events/s, {:.1} µs of the consumer",
            self.events_per_second, self.client_cpu_us
        );
        if let Some(postgres) = self.postgres_cpu_us {
            let _ = write!(text, ", {postgres:.1} µs of PostgreSQL");
        }
        if let Some(peak) = self.peak_memory_bytes {
            let _ = write!(text, ", {:.1} MB", peak / 1e6);
        }
        text
    }
}
