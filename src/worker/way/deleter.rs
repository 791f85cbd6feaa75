//! Deletes messages that are written: ten per call, across batches, several calls at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::pending::Deletable;
use crate::backoff::Backoff;
use crate::queue::{ErrorKind, FailedEntry, MOST_PER_CALL, Queue};
use crate::worker::health::{Health, Pulse};
use crate::worker::log_throttle::LogThrottle;
use crate::worker::stats::Stats;

/// The most calls at once: each call takes up to ten written messages. At 25 ms a call these
/// delete 50,000 messages a second.
const MOST_CALLS: usize = 128;
/// How long a call may wait to be filled.
const LINGER: Duration = Duration::from_millis(20);
/// Attempts for entries that SQS did not delete although it answered. After these they are left: they are
/// received again, change nothing, and are deleted then.
pub(super) const TRIES: u32 = 3;

/// What is needed to delete messages.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) health: Arc<Health>,
    pub(crate) stats: Arc<Stats>,
}

/// Deletes until the writers have ended and all messages are deleted.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut written: mpsc::UnboundedReceiver<Deletable>,
    pulse: Pulse,
) {
    let slots = Arc::new(Semaphore::new(MOST_CALLS));
    let left = Arc::new(LogThrottle::default());
    let mut calls = JoinSet::new();
    loop {
        let mut batch = Vec::with_capacity(MOST_PER_CALL);
        if pulse.wait(written.recv_many(&mut batch, MOST_PER_CALL)).await == 0 {
            break;
        }
        let wait_until = Instant::now() + LINGER;
        while batch.len() < MOST_PER_CALL {
            let missing = MOST_PER_CALL - batch.len();
            match timeout_at(wait_until, written.recv_many(&mut batch, missing)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        // The semaphore is never closed.
        let Ok(slot) = pulse.wait(Arc::clone(&slots).acquire_owned()).await else {
            break;
        };
        let (shared, left) = (Arc::clone(&shared), Arc::clone(&left));
        calls.spawn(async move {
            delete(&shared, &left, batch).await;
            drop(slot);
        });
        while calls.try_join_next().is_some() {}
    }
    while calls.join_next().await.is_some() {}
}

/// Deletes up to ten messages; a call that fails as a whole is tried until it is answered.
async fn delete(shared: &Shared, left_so_far: &LogThrottle, mut batch: Vec<Deletable>) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    let mut tries = 0;
    while !batch.is_empty() {
        let turn = shared.health.deleting.turn().await;
        let handles: Vec<&str> =
            batch.iter().map(|message| message.receipt_handle.as_str()).collect();
        let failed = match shared.queue.delete(&handles).await {
            Ok(failed) => failed,
            Err(error) => {
                shared.health.gate.set_deletes_refused(error.kind == ErrorKind::Permanent);
                turn.failed(&error).await;
                continue;
            }
        };
        turn.succeeded();
        shared.health.gate.set_deletes_refused(false);
        shared.stats.deleted(batch.len().saturating_sub(failed.len()));
        tries += 1;
        let (again, left): (Vec<FailedEntry>, Vec<FailedEntry>) =
            failed.into_iter().partition(|entry| !entry.is_final && tries < TRIES);
        if let Some(first) = left.first() {
            shared.stats.not_deleted(left.len());
            if let Some(messages) = left_so_far.add(left.len()) {
                tracing::warn!(
                    messages,
                    code = first.code,
                    "SQS did not delete messages; they will be received again, which changes nothing"
                );
            }
        }
        let mut index = 0..;
        batch.retain(|_| {
            let index = index.next();
            again.iter().any(|entry| Some(entry.index) == index)
        });
        if !batch.is_empty() {
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}
