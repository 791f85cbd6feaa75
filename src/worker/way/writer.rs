//! Gathers batches and writes each until it is written or the worker gives up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::held::LockedReports;
use super::pending::{Held, Pending};
use super::tables::Tables;
use crate::worker::health::Pulse;

/// What arrives at the writers: the messages of one receive.
pub(crate) type HandedOver = Arc<Mutex<mpsc::Receiver<Vec<Pending>>>>;

/// When a batch is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    pub(crate) linger: Duration,
}

/// One of the tasks that write.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) handed_over: HandedOver,
    pub(crate) limits: BatchLimits,
    pub(crate) tables: Tables,
    pub(crate) locked: Arc<LockedReports>,
    /// Where blocked messages wait.
    pub(crate) to_hold: mpsc::UnboundedSender<Held>,
    /// Cancelled when the drain has run out of time: no more writes.
    pub(crate) give_up: CancellationToken,
    pub(crate) pulse: Pulse,
}

impl Writer {
    /// Writes until the pollers have ended and all messages are written, or the worker gives up. One writer
    /// gathers a batch while the others write.
    pub(crate) async fn run(mut self) {
        let give_up = self.give_up.clone();
        while let Some(batch) = self.gather().await {
            let written = give_up.run_until_cancelled(self.write(batch)).await;
            if written.is_none() {
                return;
            }
        }
    }

    /// The next batch: full by rows or bytes, or as old as messages may wait. `None` at the end.
    async fn gather(&self) -> Option<Vec<Pending>> {
        let first = async {
            let mut handed_over = self.handed_over.lock().await;
            let batch = handed_over.recv().await?;
            Some((handed_over, batch))
        };
        let (mut handed_over, mut batch) = self.pulse.wait(first).await?;
        let (mut rows, mut bytes) = size(&batch);
        let wait_until = Instant::now() + self.limits.linger;
        while rows < self.limits.rows && bytes < self.limits.bytes {
            let Ok(Some(more)) = timeout_at(wait_until, handed_over.recv()).await else {
                break;
            };
            let (more_rows, more_bytes) = size(&more);
            rows += more_rows;
            bytes += more_bytes;
            batch.extend(more);
        }
        Some(batch)
    }

    async fn write(&mut self, batch: Vec<Pending>) {
        let (waiting, batch) = self.locked.split(batch);
        // Its pauses and attempts are each bounded; while it tries again, the loop turns.
        let held = self.pulse.wait(self.tables.ingest(batch)).await;
        // Fails only when the worker stops: then the messages' leases give them back.
        for held in held.into_iter().chain(waiting) {
            let _ = self.to_hold.send(held);
        }
    }
}

/// Rows and bytes that messages add to a batch.
fn size(messages: &[Pending]) -> (usize, usize) {
    messages
        .iter()
        .fold((0, 0), |(rows, bytes), pending| (rows + pending.rows(), bytes + pending.bytes))
}
