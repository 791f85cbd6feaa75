//! The health of a worker, for the orchestrator, a deployment and the operator.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::flow::gate::Gate;
use super::flow::shared_backoff::{Call, SharedBackoff};

/// A loop that waits for something outside turns at least this often.
const TURN: Duration = Duration::from_secs(30);
/// How long a loop may be silent in addition to its longest single step.
const GRACE: Duration = Duration::from_mins(3);

/// The state of one worker, shared with [`crate::http`].
#[derive(Debug)]
pub(crate) struct Health {
    pub(super) gate: Gate,
    pub(super) receiving: SharedBackoff,
    pub(super) deleting: SharedBackoff,
    loops: Mutex<Vec<Weak<Loop>>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            gate: Gate::default(),
            receiving: SharedBackoff::new(Call::Receive),
            deleting: SharedBackoff::new(Call::Delete),
            loops: Mutex::default(),
        }
    }
}

/// One loop of the worker.
#[derive(Debug)]
struct Loop {
    name: &'static str,
    /// The longest that it may be silent.
    longest: Duration,
    last_turn: Mutex<Instant>,
}

/// A loop reports with it that it turns, and drops it at its end.
#[derive(Debug)]
pub(crate) struct Pulse(Arc<Loop>);

impl Health {
    /// Watches a loop from now on. `longest_step` is the longest that it works without turning: the
    /// time limit of a call, for example.
    pub(crate) fn pulse(&self, name: &'static str, longest_step: Duration) -> Pulse {
        let longest = longest_step + GRACE;
        let watched = Arc::new(Loop { name, longest, last_turn: Mutex::new(Instant::now()) });
        let mut loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.retain(|each| each.strong_count() > 0);
        loops.push(Arc::downgrade(&watched));
        Pulse(watched)
    }

    /// A loop that does not turn any more, if there is one. Nothing but a restart helps then. A database
    /// or a queue that does not answer is no reason to restart: the loops turn while they wait.
    #[must_use]
    pub(crate) fn stuck(&self) -> Option<&'static str> {
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.iter().filter_map(Weak::upgrade).find(|each| each.is_stuck()).map(|each| each.name)
    }

    /// Whether all loops turn.
    #[must_use]
    pub(crate) fn is_alive(&self) -> bool {
        self.stuck().is_none()
    }

    /// What keeps the worker from its work, if anything does.
    #[must_use]
    pub(crate) fn trouble(&self) -> Option<String> {
        let of_sqs = || self.receiving.reason().or_else(|| self.deleting.reason());
        self.gate.reason().or_else(|| of_sqs().map(str::to_owned))
    }
}

impl Loop {
    fn is_stuck(&self) -> bool {
        let last_turn = *self.last_turn.lock().unwrap_or_else(PoisonError::into_inner);
        last_turn.elapsed() > self.longest
    }
}

impl Pulse {
    /// The loop turns.
    pub(crate) fn beat(&self) {
        *self.0.last_turn.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits for something that may rightly take for ever, such as a message or a database that is away,
    /// and turns meanwhile. What has a time limit of its own needs none of this.
    pub(crate) async fn wait<T>(&self, event: impl Future<Output = T>) -> T {
        let mut event = std::pin::pin!(event);
        loop {
            self.beat();
            if let Ok(happened) = timeout(TURN, event.as_mut()).await {
                self.beat();
                return happened;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(40);

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_waits_for_ever_is_alive() {
        let health = Arc::new(Health::default());
        let pulse = health.pulse("poller", STEP);
        let waiting = tokio::spawn(async move { pulse.wait(std::future::pending::<()>()).await });
        tokio::time::sleep(Duration::from_hours(5)).await;
        assert!(health.is_alive());
        waiting.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_hangs_in_a_step_is_stuck() {
        let health = Health::default();
        let (poller, writer) = (health.pulse("poller", STEP), health.pulse("writer", STEP));
        tokio::time::advance(STEP + GRACE).await;
        assert!(health.is_alive(), "that long a step may take");
        poller.beat();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(health.stuck(), Some("writer"));
        assert!(!health.is_alive());
        drop(writer);
        assert!(health.is_alive(), "a loop that has ended is not watched");
        tokio::time::advance(STEP + GRACE).await;
        assert_eq!(health.stuck(), Some("poller"));
    }
}
