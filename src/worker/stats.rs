//! What a worker has done, for the log and the last line.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Shared;
use super::pending::Pending;
use crate::decode::Outcome;
use crate::queue::Message;
use crate::store::Written;

const REPORT_EVERY: Duration = Duration::from_mins(1);

/// Counters that only rise.
#[derive(Debug, Default)]
pub(super) struct Stats {
    received: AtomicU64,
    redelivered: AtomicU64,
    acknowledged: AtomicU64,
    dead_letters: AtomicU64,
    events: AtomicU64,
    new_details: AtomicU64,
    deleted: AtomicU64,
    not_deleted: AtomicU64,
}

/// What a worker did from start to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Messages received, redeliveries included.
    pub received: u64,
    /// Of those, messages that had been received before.
    pub redelivered: u64,
    /// Detail rows that were new.
    pub new_details: u64,
    /// Detail rows that were there already.
    pub already_known: u64,
    /// Messages with nothing to store.
    pub acknowledged: u64,
    /// Messages stored as dead letters.
    pub dead_letters: u64,
    /// Messages deleted from the queue.
    pub deleted: u64,
    /// Messages that SQS did not delete when asked: they come again.
    pub not_deleted: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            received,
            redelivered,
            new_details,
            already_known,
            acknowledged,
            dead_letters,
            deleted,
            not_deleted,
        } = self;
        write!(
            f,
            "received {received} messages ({redelivered} not for the first time): {new_details} new details, {already_known} already known, {acknowledged} acknowledged, {dead_letters} dead letters; deleted {deleted}"
        )?;
        if *not_deleted > 0 {
            write!(f, ", {not_deleted} not")?;
        }
        Ok(())
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Stats {
    pub(super) fn received(&self, messages: &[Message]) {
        add(&self.received, messages.len());
        add(
            &self.redelivered,
            messages.iter().filter(|message| message.receive_count > Some(1)).count(),
        );
    }

    pub(super) fn written(&self, part: &[Pending], changed: Written) {
        for pending in part {
            match &pending.outcome {
                Outcome::Events(rows) => add(&self.events, rows.len()),
                Outcome::Acknowledged(what) => {
                    add(&self.acknowledged, 1);
                    tracing::debug!(sqs_message_id = pending.message.id, "acknowledged: {what}");
                }
                Outcome::DeadLetter(rejection) => {
                    add(&self.dead_letters, 1);
                    tracing::warn!(
                        sqs_message_id = pending.message.id,
                        "dead letter: {}",
                        rejection.reason
                    );
                }
            }
        }
        self.new_details.fetch_add(changed.details, Ordering::Relaxed);
    }

    pub(super) fn deleted(&self, count: usize) {
        add(&self.deleted, count);
    }

    pub(super) fn not_deleted(&self, count: usize) {
        add(&self.not_deleted, count);
    }

    pub(super) fn summary(&self) -> Summary {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let new_details = read(&self.new_details);
        Summary {
            received: read(&self.received),
            redelivered: read(&self.redelivered),
            new_details,
            already_known: read(&self.events).saturating_sub(new_details),
            acknowledged: read(&self.acknowledged),
            dead_letters: read(&self.dead_letters),
            deleted: read(&self.deleted),
            not_deleted: read(&self.not_deleted),
        }
    }
}

/// Logs the counters every minute in which they changed, until it is aborted.
pub(super) async fn report(shared: Arc<Shared>) {
    let mut last = shared.stats.summary();
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        let summary = shared.stats.summary();
        if summary != last {
            tracing::info!(held = shared.budget.held(), "so far: {summary}");
            last = summary;
        }
    }
}
