//! The destination of a worker's messages in the write loop of [`crate::ingest`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pending::{Deletable, Held, Pending};
use crate::decode::identity::dead_letter_id;
use crate::decode::{Outcome, Reason, Rejection};
use crate::ingest::{Blocked, Breaker, Destination, Stop, Trouble, ingest, lock_holder, probe};
use crate::row::{AccountEvent, EventRow};
use crate::store::{Checkpoint, DeadLetter, Error, Others, Refusal, Store, Written};
use crate::worker::flow::leases::Leases;
use crate::worker::health::Health;
use crate::worker::idle::IdleTracker;
use crate::worker::log_throttle::LogThrottle;
use crate::worker::stats::{self, Stats};

/// What is needed to write messages.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    /// The source that dead letters record.
    pub(crate) source: Arc<str>,
    pub(crate) breaker: Breaker,
    pub(crate) health: Arc<Health>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) idle: Arc<IdleTracker>,
    pub(crate) to_delete: mpsc::UnboundedSender<Deletable>,
    pub(crate) lines: Lines,
}

/// The destination of one task.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) shared: Arc<Shared>,
    /// Messages that were set aside.
    held: Vec<Held>,
}

/// Log lines that could occur for every message.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    refused: LogThrottle,
    unstorable: LogThrottle,
    items: LogThrottle,
    pub(super) lock_holder: LogThrottle,
}

impl Tables {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), held: Vec::new() }
    }

    /// Writes a batch until each message is committed, a dead letter, or held, and returns those that are
    /// held. Messages with nothing to store are acknowledged without a transaction.
    pub(crate) async fn ingest(&mut self, batch: Vec<Pending>) -> Vec<Held> {
        let (acknowledged, to_write): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|pending| matches!(pending.outcome, Outcome::Acknowledged(_)));
        self.committed(acknowledged, Written::default());
        if !to_write.is_empty() {
            // The worker ends the work by dropping it.
            let _ = Box::pin(ingest(self, to_write)).await;
        }
        std::mem::take(&mut self.held)
    }

    /// Says once in a while which session holds a lock for which every event waits.
    async fn name_holder_of_tables(&self) {
        if self.shared.lines.lock_holder.add(1).is_some()
            && let Some(holder) = lock_holder(&self.shared.store).await
        {
            tracing::warn!("every message waits for a lock that another session holds: {holder}");
        }
    }

    fn database_away(&self, reason: Option<String>) -> bool {
        self.shared.health.gate.set_database_away(reason)
    }
}

impl Destination for Tables {
    type Item = Pending;

    fn breaker(&self) -> Option<&Breaker> {
        Some(&self.shared.breaker)
    }

    async fn write(&self, part: &[Pending]) -> Result<Written, Error> {
        let rows: Vec<&EventRow> = part.iter().flat_map(|pending| pending.outcome.rows()).collect();
        let dead_letters: Vec<DeadLetter<'_>> =
            part.iter().filter_map(|pending| dead_letter(pending, &self.shared.source)).collect();
        let account_events: Vec<&AccountEvent> =
            part.iter().flat_map(|pending| pending.outcome.account_events()).collect();
        let others = Others { dead_letters: &dead_letters, account_events: &account_events };
        let began = Instant::now();
        let written = self.shared.store.write_with(&rows, others, &Checkpoint::Nothing).await;
        match &written {
            Ok(_) => stats::committed(part, began.elapsed()),
            Err(_) => stats::write_failed(),
        }
        written
    }

    async fn probe(&self) -> Result<(), Error> {
        probe(&self.shared.store).await
    }

    fn is_fatal(&self, _error: &Error) -> bool {
        // A worker waits for anything that an operator can repair.
        false
    }

    fn accepted(&mut self) {
        if self.database_away(None) {
            tracing::info!("PostgreSQL accepts writes again; receiving");
        }
    }

    fn committed(&mut self, part: Vec<Pending>, written: Written) {
        stats::waited(&part);
        self.shared.stats.written(&part, written);
        self.shared.leases.end(part.iter().map(|pending| pending.lease));
        for mut pending in part {
            if let Some(code) = pending.refused_with.take()
                && !matches!(pending.outcome, Outcome::DeadLetter(_))
            {
                self.shared.breaker.forget(&code);
            }
            // Fails only if the deleter is gone: then the message comes again.
            let _ = self.shared.to_delete.send(pending.into());
        }
    }

    fn make_dead_letter(&mut self, mut pending: Pending, refusal: &Refusal) -> Option<Pending> {
        let code = &refusal.code;
        let sqs_message_id = &pending.message.id;
        if matches!(pending.outcome, Outcome::DeadLetter(_)) {
            // Only the redrive policy of the queue is left for it.
            if let Some(messages) = self.shared.lines.unstorable.add(1) {
                tracing::error!(
                    sqs_message_id,
                    code,
                    messages,
                    "PostgreSQL refuses even to store the dead letter; leaving the message to the queue"
                );
            }
            self.shared.leases.end([pending.lease]);
            return None;
        }
        if let Some(messages) = self.shared.lines.refused.add(1) {
            tracing::warn!(
                sqs_message_id,
                code,
                messages,
                "PostgreSQL refuses the message; it becomes a dead letter"
            );
        }
        let detail = Some(format!("SQLSTATE {code}: {}", refusal.message));
        pending.outcome = Outcome::DeadLetter(Rejection { reason: Reason::Refused, detail });
        Some(pending)
    }

    fn set_aside(&mut self, mut pending: Pending, by: Blocked) -> Result<Option<Pending>, Stop> {
        self.shared.idle.disturb();
        if let Blocked::Alike(code) = &by {
            pending.refused_with = Some(code.clone());
        }
        self.held.push(Held { pending, by });
        Ok(None)
    }

    fn taken_over(&mut self, pending: Pending) {
        // This cannot happen, because the worker writes without a checkpoint. The lease gives the message back.
        drop(pending);
    }

    async fn pause(&mut self, trouble: Trouble, delay: Duration) -> Result<(), Stop> {
        self.shared.idle.disturb();
        let delay_ms = delay.as_millis();
        match trouble {
            Trouble::Passing(error) => tracing::debug!(%error, "trying again"),
            Trouble::Items(error) => {
                if let Some(times) = self.shared.lines.items.add(1) {
                    tracing::warn!(%error, times, delay_ms, "could not write a batch, though PostgreSQL accepts others; trying again");
                }
            }
            Trouble::Database(error) => {
                self.database_away(Some(error.reason()));
                tracing::warn!(%error, delay_ms, "PostgreSQL does not accept writes; holding the messages that were received, not receiving more");
                if matches!(error, Error::Locked) {
                    self.name_holder_of_tables().await;
                }
            }
        }
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

fn dead_letter<'a>(pending: &'a Pending, source: &'a str) -> Option<DeadLetter<'a>> {
    let Outcome::DeadLetter(rejection) = &pending.outcome else {
        return None;
    };
    let message = &pending.message;
    Some(DeadLetter {
        id: dead_letter_id(&message.body, &message.id),
        body: &message.body,
        reason: rejection.reason.to_string(),
        detail: rejection.detail.clone(),
        sqs_message_id: Some(&message.id),
        source,
        sent_at: message.sent_at,
        receive_count: message.receive_count,
    })
}
