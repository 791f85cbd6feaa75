//! `--exit-when-idle`: for cron jobs, demos and tests.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;

/// Stops the worker once nothing arrived for that long and all that did is written and deleted.
/// Trouble with the queue or the database is no idleness.
pub(super) async fn stop_when_idle(shared: Arc<Shared>, idle: Duration) {
    loop {
        tokio::time::sleep((idle / 20).clamp(Duration::from_millis(20), Duration::from_secs(1)))
            .await;
        if shared.budget.held() == 0 && !shared.gate.is_closed() && shared.stats.quiet_for() >= idle
        {
            tracing::info!(seconds = idle.as_secs(), "idle");
            shared.stop.cancel();
            return;
        }
    }
}
