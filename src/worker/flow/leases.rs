//! Keeps messages that are received and not yet written hidden from other workers: renews their visibility
//! timeout when half of it has passed, and gives back messages that are never written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::queue::{Error, ErrorKind, FailedEntry, MOST_PER_CALL, Queue};
use crate::worker::health::Pulse;

/// Calls at once: at 25 ms a call, 5,000 messages take 0.4 s.
const MOST_CALLS: usize = 32;

/// A received message that is not yet written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LeaseId(u64);

#[derive(Debug)]
struct Lease {
    receipt_handle: String,
    visible_again: Instant,
}

/// The leases of a worker.
#[derive(Debug)]
pub(crate) struct Leases {
    visibility: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    held: HashMap<LeaseId, Lease>,
}

impl Leases {
    pub(crate) fn new(visibility: Duration) -> Self {
        Self { visibility, state: Mutex::default() }
    }

    /// Takes the lease of a message; `asked` is when the receive began, which SQS's clock cannot
    /// be ahead of.
    pub(crate) fn take(&self, receipt_handle: &str, asked: Instant) -> LeaseId {
        self.with(|state| {
            state.last += 1;
            let id = LeaseId(state.last);
            let lease = Lease {
                receipt_handle: receipt_handle.to_owned(),
                visible_again: asked + self.visibility,
            };
            state.held.insert(id, lease);
            id
        })
    }

    /// The message is written, or nothing more can be done for it.
    pub(crate) fn end(&self, ids: impl IntoIterator<Item = LeaseId>) {
        self.with(|state| {
            for id in ids {
                state.held.remove(&id);
            }
        });
    }

    /// Whether anything is received and not written.
    pub(crate) fn any(&self) -> bool {
        self.with(|state| !state.held.is_empty())
    }

    fn renewed(&self, ids: impl IntoIterator<Item = LeaseId>, asked: Instant) {
        self.with(|state| {
            for id in ids {
                if let Some(lease) = state.held.get_mut(&id) {
                    lease.visible_again = asked + self.visibility;
                }
            }
        });
    }

    fn past_half_life(&self, now: Instant) -> Vec<(LeaseId, String)> {
        self.chosen(|lease| lease.visible_again <= now + self.visibility / 2)
    }

    fn chosen(&self, choose: impl Fn(&Lease) -> bool) -> Vec<(LeaseId, String)> {
        self.with(|state| {
            let chosen = state.held.iter().filter(|(_, lease)| choose(lease));
            chosen.map(|(id, lease)| (*id, lease.receipt_handle.clone())).collect()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // A panic elsewhere cannot leave the map half changed.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Renews leases at half their life, until it is aborted.
pub(crate) async fn keep_hidden(leases: Arc<Leases>, queue: Queue, pulse: Pulse) {
    let visibility = leases.visibility;
    let pause = (visibility / 6).clamp(Duration::from_millis(500), Duration::from_secs(20));
    let mut backoff = refused_backoff();
    let mut refused = Duration::ZERO;
    loop {
        pulse.wait(tokio::time::sleep(pause.max(refused))).await;
        refused = Duration::ZERO;
        let due = leases.past_half_life(Instant::now());
        let mut failures = Failures::default();
        for change in pulse.wait(change_visibility(&queue, due, visibility)).await {
            match change.failed {
                Ok(failed) => {
                    // A lost lease means a redelivery: the message is written twice and counted once.
                    let lost = failed.iter().filter(|entry| entry.is_final);
                    leases.end(lost.filter_map(|entry| change.ids.get(entry.index).copied()));
                    let renewed = change
                        .ids
                        .iter()
                        .enumerate()
                        .filter(|(index, _)| !failed.iter().any(|entry| entry.index == *index));
                    leases.renewed(renewed.map(|(_, id)| *id), change.asked);
                }
                Err(error) => failures.add(error, change.ids.len()),
            }
        }
        if let Some((error, messages)) = failures.0 {
            tracing::warn!(%error, messages, "could not renew the visibility timeout of messages; they may be received twice");
            if error.kind == ErrorKind::Permanent {
                refused = backoff.next_delay();
                continue;
            }
        }
        backoff = refused_backoff();
    }
}

/// Only a person can help after a refusal, so it is repeated slowly.
fn refused_backoff() -> Backoff {
    Backoff::new(Duration::from_secs(2), Duration::from_secs(30)).at_least(Duration::from_secs(1))
}

/// The failures of all calls of a round, for one line.
#[derive(Debug, Default)]
struct Failures(Option<(Error, usize)>);

impl Failures {
    fn add(&mut self, error: Error, messages: usize) {
        self.0.get_or_insert((error, 0)).1 += messages;
    }
}

/// Makes everything that was received and not written visible at once; tells how many it was.
pub(crate) async fn give_back_all(leases: &Leases, queue: &Queue) -> usize {
    let unwritten = leases.chosen(|_| true);
    let mut given_back = 0;
    let mut failures = Failures::default();
    for change in change_visibility(queue, unwritten, Duration::ZERO).await {
        match change.failed {
            Ok(failed) => given_back += change.ids.len().saturating_sub(failed.len()),
            Err(error) => failures.add(error, change.ids.len()),
        }
    }
    if let Some((error, messages)) = failures.0 {
        tracing::warn!(%error, messages, "could not give messages back to the queue; they stay hidden until their visibility timeout ends");
    }
    given_back
}

/// What became of one call.
struct Change {
    ids: Vec<LeaseId>,
    /// When the call began, which SQS's clock cannot be ahead of.
    asked: Instant,
    failed: Result<Vec<FailedEntry>, Error>,
}

impl Change {
    fn is_refused(&self) -> bool {
        self.failed.as_ref().is_err_and(|error| error.kind == ErrorKind::Permanent)
    }
}

/// Hides messages for that long from now, ten a call, some calls at once, until one is refused.
async fn change_visibility(
    queue: &Queue,
    leases: Vec<(LeaseId, String)>,
    hidden: Duration,
) -> Vec<Change> {
    let mut calls = JoinSet::new();
    let mut changes: Vec<Change> = Vec::new();
    for chunk in leases.chunks(MOST_PER_CALL) {
        let (ids, handles): (Vec<LeaseId>, Vec<String>) = chunk.iter().cloned().unzip();
        let queue = queue.clone();
        if calls.len() >= MOST_CALLS {
            changes.extend(calls.join_next().await.and_then(Result::ok));
            if changes.last().is_some_and(Change::is_refused) {
                // The rest would be refused too.
                break;
            }
        }
        calls.spawn(async move {
            let asked = Instant::now();
            let handles: Vec<&str> = handles.iter().map(String::as_str).collect();
            let failed = queue.change_visibility(&handles, hidden).await;
            Change { ids, asked, failed }
        });
    }
    while let Some(call) = calls.join_next().await {
        changes.extend(call.ok());
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_due_at_half_life_until_it_is_renewed_or_ended() {
        let leases = Leases::new(Duration::from_mins(1));
        let started = Instant::now();
        let (a, b) = (leases.take("a", started), leases.take("b", started));
        assert!(leases.past_half_life(started + Duration::from_secs(29)).is_empty());
        let later = started + Duration::from_secs(30);
        assert_eq!(leases.past_half_life(later).len(), 2);
        leases.renewed([a], later);
        leases.end([b]);
        assert!(leases.past_half_life(later).is_empty());
        assert_eq!(leases.chosen(|_| true), [(a, "a".to_owned())]);
    }
}
