//! A message on its path through the worker.

use crate::decode::Outcome;
use crate::ingest::Blocked;
use crate::queue::Message;
use crate::row::{AccountEvent, EventRow};
use crate::worker::flow::budget::Share;
use crate::worker::flow::leases::LeaseId;

/// A message that is received and decoded, and neither written nor deleted yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) message: Message,
    pub(crate) outcome: Outcome,
    pub(crate) lease: LeaseId,
    /// See [`weight`].
    pub(crate) bytes: usize,
    pub(crate) share: Share,
    /// The SQLSTATE with which PostgreSQL refuses it and many others, while it is held for that.
    pub(crate) refused_with: Option<String>,
}

impl Pending {
    /// Rows that it adds to a batch.
    pub(crate) fn rows(&self) -> usize {
        match &self.outcome {
            Outcome::Events(rows) => rows.len(),
            Outcome::AccountEvents { events, rows } => events.len() + rows.len(),
            Outcome::Acknowledged(_) | Outcome::DeadLetter(_) => 1,
        }
    }
}

/// A message that something outside it blocks.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) pending: Pending,
    pub(crate) by: Blocked,
}

/// Bytes that a message takes while it is held, and that it adds to a batch: its body, and what
/// that became.
pub(crate) fn weight(message: &Message, outcome: &Outcome) -> usize {
    let rows = outcome.rows().iter().map(EventRow::bytes);
    let account_events = outcome.account_events().iter().map(AccountEvent::bytes);
    message.body.len() + rows.chain(account_events).sum::<usize>()
}

/// A message whose rows are committed.
#[derive(Debug)]
pub(crate) struct Deletable {
    pub(crate) receipt_handle: String,
    /// Given back when the message is deleted.
    pub(crate) _share: Share,
}

impl From<Pending> for Deletable {
    fn from(pending: Pending) -> Self {
        Self { receipt_handle: pending.message.receipt_handle, _share: pending.share }
    }
}
