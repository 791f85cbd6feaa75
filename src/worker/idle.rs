//! `--exit-when-idle`: for cron jobs, demos and tests.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::flow::budget::Budget;
use super::health::Health;
use tokio_util::sync::CancellationToken;

/// Since when nothing has happened.
#[derive(Debug)]
pub(super) struct IdleTracker(Mutex<State>);

#[derive(Debug)]
struct State {
    since: Instant,
    /// Whether the queue has said since then that it holds nothing.
    confirmed: bool,
}

impl Default for IdleTracker {
    fn default() -> Self {
        Self(Mutex::new(State { since: Instant::now(), confirmed: false }))
    }
}

impl IdleTracker {
    /// Something arrived, or something is wrong: neither is idleness.
    pub(super) fn disturb(&self) {
        *self.state() = State { since: Instant::now(), confirmed: false };
    }

    /// A receive that began at `asked` brought nothing.
    pub(super) fn confirm(&self, asked: Instant) {
        let mut state = self.state();
        state.confirmed |= asked >= state.since;
    }

    /// How long it has been idle by the queue's own word; zero where the queue has not answered.
    fn lasted(&self) -> Duration {
        let state = self.state();
        if state.confirmed { state.since.elapsed() } else { Duration::ZERO }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere cannot leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops a worker that has nothing to do.
#[derive(Debug)]
pub(super) struct StopWhenIdle {
    pub(super) idle: Arc<IdleTracker>,
    pub(super) budget: Arc<Budget>,
    pub(super) health: Arc<Health>,
    pub(super) stop: CancellationToken,
}

impl StopWhenIdle {
    /// Stops the worker once nothing arrived for that long and all that did is written and deleted.
    pub(super) async fn run(self, idle: Duration) {
        let pause = (idle / 20).clamp(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            let nothing_held = self.budget.held() == 0 && !self.health.gate.is_closed();
            if nothing_held && self.idle.lasted() >= idle {
                tracing::info!(seconds = idle.as_secs(), "idle");
                self.stop.cancel();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_needs_the_word_of_the_queue() {
        let idle = IdleTracker::default();
        let before = Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(idle.lasted(), Duration::ZERO, "the queue has said nothing");
        idle.confirm(before);
        assert_eq!(idle.lasted(), Duration::from_secs(5));
        idle.disturb();
        idle.confirm(before);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(idle.lasted(), Duration::ZERO, "that receive began before the disturbance");
    }
}
