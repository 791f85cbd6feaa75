//! Signals: the first stops receiving and drains, the second ends the process at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first SIGTERM or SIGINT cancels.
///
/// # Errors
/// When the handlers cannot be installed.
pub(crate) fn on_signals() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stopped.is_cancelled() {
                tracing::warn!(
                    "second signal: stopping at once; messages in flight will be received again"
                );
                #[expect(clippy::exit, reason = "that is what a second signal asks for")]
                std::process::exit(1);
            }
            tracing::info!("signal received: draining; a second signal stops at once");
            stopped.cancel();
        }
    });
    Ok(stop)
}
