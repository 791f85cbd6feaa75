//! Counts what a worker has done, for the log, the last line and Prometheus.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::metrics::{counter, histogram};
use time::OffsetDateTime;

use super::flow::budget::Budget;
use super::log_throttle::LogThrottle;
use super::way::pending::Pending;
use crate::decode::Outcome;
use crate::metrics;
use crate::queue::{Error, ErrorKind, Message};
use crate::store::Written;

const REPORT_EVERY: Duration = Duration::from_mins(1);

/// Counters that only rise.
#[derive(Debug, Default)]
pub(super) struct Stats {
    received: AtomicU64,
    redelivered: AtomicU64,
    acknowledged: AtomicU64,
    dead_letters: AtomicU64,
    new_details: AtomicU64,
    already_known: AtomicU64,
    expired: AtomicU64,
    deleted: AtomicU64,
    not_deleted: AtomicU64,
    dead_letter_lines: LogThrottle,
}

/// What a worker did from start to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Messages received, redeliveries included.
    pub(crate) received: u64,
    /// Of those, messages that had been received before.
    pub(crate) redelivered: u64,
    /// Detail rows that were new.
    pub(crate) new_details: u64,
    /// Detail rows that were there already.
    pub(crate) already_known: u64,
    /// Detail rows that were not stored, because their month or their mail is no longer kept.
    pub(crate) expired: u64,
    /// Messages with nothing to store.
    pub(crate) acknowledged: u64,
    /// Messages stored as dead letters.
    pub(crate) dead_letters: u64,
    /// Messages deleted from the queue.
    pub(crate) deleted: u64,
    /// Messages that SQS did not delete when asked: they come again.
    pub(crate) not_deleted: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            received,
            redelivered,
            new_details,
            already_known,
            expired,
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
        if *expired > 0 {
            write!(f, "; {expired} details no longer kept")?;
        }
        Ok(())
    }
}

/// Counts for the last line and for Prometheus alike.
fn add(counter: &AtomicU64, name: &'static str, count: usize) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    counter.fetch_add(count, Ordering::Relaxed);
    counter!(name).increment(count);
}

impl Stats {
    pub(super) fn received(&self, messages: &[Message]) {
        let again = messages.iter().filter(|message| message.receive_count > Some(1)).count();
        add(&self.received, metrics::MESSAGES_RECEIVED, messages.len());
        add(&self.redelivered, metrics::MESSAGES_REDELIVERED, again);
    }

    pub(super) fn written(&self, part: &[Pending], changed: Written) {
        let mut events = 0;
        for pending in part {
            events += pending.outcome.rows().len();
            if let Some(what) = pending.outcome.acknowledged() {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                counter!(metrics::MESSAGES_ACKNOWLEDGED, "kind" => what.to_string()).increment(1);
                tracing::debug!(sqs_message_id = pending.message.id, "acknowledged: {what}");
            }
            if let Outcome::DeadLetter(rejection) = &pending.outcome {
                let reason = rejection.reason;
                self.dead_letters.fetch_add(1, Ordering::Relaxed);
                counter!(metrics::DEAD_LETTERS, "reason" => reason.to_string()).increment(1);
                if let Some(letters) = self.dead_letter_lines.add(1) {
                    tracing::warn!(
                        sqs_message_id = pending.message.id,
                        letters,
                        "dead letter: {reason}"
                    );
                }
            }
        }
        let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        let (new, expired) = (count(changed.details), count(changed.expired));
        add(&self.new_details, metrics::DETAILS_NEW, new);
        add(&self.expired, metrics::DETAILS_EXPIRED, expired);
        let known = events.saturating_sub(new).saturating_sub(expired);
        add(&self.already_known, metrics::DETAILS_KNOWN, known);
    }

    pub(super) fn deleted(&self, count: usize) {
        add(&self.deleted, metrics::MESSAGES_DELETED, count);
    }

    pub(super) fn not_deleted(&self, count: usize) {
        add(&self.not_deleted, metrics::MESSAGES_NOT_DELETED, count);
    }

    pub(super) fn summary(&self) -> Summary {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Summary {
            received: read(&self.received),
            redelivered: read(&self.redelivered),
            new_details: read(&self.new_details),
            already_known: read(&self.already_known),
            expired: read(&self.expired),
            acknowledged: read(&self.acknowledged),
            dead_letters: read(&self.dead_letters),
            deleted: read(&self.deleted),
            not_deleted: read(&self.not_deleted),
        }
    }
}

/// A transaction has committed what these messages say.
pub(super) fn committed(part: &[Pending], took: Duration) {
    histogram!(metrics::COMMIT_SECONDS).record(took);
    histogram!(metrics::BATCH_MESSAGES)
        .record(f64::from(u32::try_from(part.len()).unwrap_or(u32::MAX)));
}

/// These messages only have to be deleted now.
#[expect(clippy::disallowed_methods, reason = "how long a message waited is told by the clock")]
pub(super) fn waited(part: &[Pending]) {
    let (now, waits) = (OffsetDateTime::now_utc(), histogram!(metrics::QUEUE_SECONDS));
    for sent_at in part.iter().filter_map(|pending| pending.message.sent_at) {
        waits.record((now - sent_at).as_seconds_f64().max(0.0));
    }
}

pub(super) fn receive_failed(error: &Error) {
    let kind = match error.kind {
        ErrorKind::Transient => "transient",
        ErrorKind::Permanent => "permanent",
    };
    counter!(metrics::RECEIVE_FAILURES, "kind" => kind).increment(1);
}

pub(super) fn write_failed() {
    counter!(metrics::WRITE_FAILURES).increment(1);
}

/// Logs the counters every minute in which they changed, until it is aborted.
pub(super) async fn report(stats: Arc<Stats>, budget: Arc<Budget>) {
    let mut last = stats.summary();
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        let summary = stats.summary();
        if summary != last {
            tracing::info!(held = budget.held(), "so far: {summary}");
            last = summary;
        }
    }
}
