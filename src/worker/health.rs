//! How a worker is, for whoever asks from outside: the orchestrator, the load of a deployment.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::flow::gate::Gate;
use super::flow::shared_backoff::{Call, SharedBackoff};

/// Longer than any wait of a healthy worker: a long poll with its time-out, a transaction with
/// its own, the longest back-off.
const LONGEST_SILENCE: Duration = Duration::from_mins(3);

/// The state of one worker, shared with [`crate::http`].
#[derive(Debug)]
pub struct Health {
    pub(super) gate: Gate,
    pub(super) receiving: SharedBackoff,
    pub(super) deleting: SharedBackoff,
    last_beat: Mutex<Instant>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            gate: Gate::default(),
            receiving: SharedBackoff::new(Call::Receive),
            deleting: SharedBackoff::new(Call::Delete),
            last_beat: Mutex::new(Instant::now()),
        }
    }
}

impl Health {
    /// A receive or a write has come to an end, good or bad: the worker moves.
    pub(super) fn beat(&self) {
        *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether the worker moves. One that does not is stuck, and nothing but a restart helps; a
    /// database or a queue that is away is no reason to restart it.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let last_beat = *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner);
        last_beat.elapsed() < LONGEST_SILENCE
    }

    /// What keeps the worker from its work, if anything does.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        (self.gate.database_away())
            .or_else(|| self.receiving.reason())
            .or_else(|| self.deleting.reason())
    }
}
