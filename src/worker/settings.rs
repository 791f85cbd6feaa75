//! The settings of a worker.

use std::time::Duration;

use crate::retention::Retain;
use crate::trust;

/// Connections beside those of the writers, so that no writer waits for one: for the tasks that create
/// months, learn what is kept, refresh the daily figures, backfill, judge opens and clicks, read the rules
/// for that and retry held messages, and for the look at the session that those wait for.
const BACKGROUND_CONNECTIONS: usize = 8;

/// The settings of a worker. All numbers are at least 1.
#[derive(Debug, Clone)]
pub(crate) struct WorkerSettings {
    /// The most long polls at once.
    pub(crate) pollers: usize,
    /// How many transactions write at once.
    pub(crate) writers: usize,
    /// A batch is written as soon as it has this many rows.
    pub(crate) batch_rows: usize,
    /// A batch is written as soon as its message bodies have this many bytes.
    pub(crate) batch_bytes: usize,
    /// A batch is written as soon as its first message has waited this long.
    pub(crate) batch_linger: Duration,
    /// The most messages that are held between receive and delete.
    pub(crate) max_in_flight: usize,
    /// The most bytes of message bodies that are held between receive and delete.
    pub(crate) max_in_flight_bytes: usize,
    /// The worker drains and ends once no message has arrived for this long.
    pub(crate) exit_when_idle: Option<Duration>,
    /// For how long rows are kept, if not for ever.
    pub(crate) retain: Option<Retain>,
    /// Which messages are accepted.
    pub(crate) trust: trust::Settings,
}

impl WorkerSettings {
    /// How many connections to PostgreSQL the worker uses at most.
    #[must_use]
    pub(crate) fn connections(&self) -> u32 {
        u32::try_from(self.writers + BACKGROUND_CONNECTIONS).unwrap_or(u32::MAX)
    }
}
