//! Holds messages that are blocked by something else: a lock of another session, or a constraint that an
//! operator has added. They wait here, hidden from other workers, while other messages are written.
//!
//! They keep their share of the budget, so that many of them stop the polling and memory stays bounded.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::metrics::gauge;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::pending::{Held, Pending};
use super::tables::Tables;
use crate::backoff::Backoff;
use crate::ingest::Blocked;
use crate::metrics;
use crate::row::EventRow;
use crate::worker::health::Pulse;
use crate::worker::log_throttle::LogThrottle;

/// When constraints block this many messages, the worker stops receiving: the operator has to act.
const MOST_BLOCKED: usize = 100;

/// Reports that are known to be locked, so that their messages are not tried with the others.
#[derive(Debug, Default)]
pub(crate) struct LockedReports(Mutex<HashSet<Uuid>>);

impl LockedReports {
    /// Separates the messages that concern one of these reports from the rest.
    pub(super) fn split(&self, batch: Vec<Pending>) -> (Vec<Held>, Vec<Pending>) {
        let locked = self.lock();
        if locked.is_empty() {
            return (Vec::new(), batch);
        }
        let (mut waiting, mut rest) = (Vec::new(), Vec::with_capacity(batch.len()));
        for pending in batch {
            if pending.outcome.rows().iter().any(|row| locked.contains(&row.report.id)) {
                waiting.push(Held { pending, by: Blocked::Lock });
            } else {
                rest.push(pending);
            }
        }
        (waiting, rest)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Uuid>> {
        // A panic elsewhere cannot leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Messages that are retried together: after the first is written, the rest are tried.
#[derive(Debug)]
struct Group {
    messages: Vec<Pending>,
    backoff: Backoff,
    next_try: Instant,
}

/// What distinguishes groups.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// The report that is locked. The month of an event may be what is locked instead; then each of its
    /// reports is a group.
    Lock(Uuid),
    /// A constraint of a table, or a SQLSTATE.
    Refusal(String),
}

/// What the task waits for.
#[expect(clippy::large_enum_variant, reason = "it is taken apart as soon as it happens")]
enum Event {
    /// `None` when there is nobody left who could send one.
    Arrived(Option<Held>),
    Due(Key),
}

/// The task that holds and retries them.
#[derive(Debug)]
pub(crate) struct HeldMessages {
    pub(crate) arriving: mpsc::UnboundedReceiver<Held>,
    pub(crate) tables: Tables,
    pub(crate) locked: Arc<LockedReports>,
    pub(crate) stop: CancellationToken,
    pub(crate) pulse: Pulse,
}

impl HeldMessages {
    /// Retries until the worker stops. The leases give back the messages that still wait then.
    pub(crate) async fn run(mut self) {
        let (mut groups, lines) = (HashMap::new(), LogThrottle::default());
        let stop = self.stop.clone();
        while let Some(()) =
            stop.run_until_cancelled(Box::pin(self.turn(&mut groups, &lines))).await
        {}
    }

    async fn turn(&mut self, groups: &mut HashMap<Key, Group>, lines: &LogThrottle) {
        let next = groups
            .iter()
            .min_by_key(|(_, group)| group.next_try)
            .map(|(key, group)| (key.clone(), group.next_try));
        let arriving = &mut self.arriving;
        let event = async {
            match next {
                None => Event::Arrived(arriving.recv().await),
                Some((key, next_try)) => tokio::select! {
                    held = arriving.recv() => Event::Arrived(held),
                    () = sleep_until(next_try) => Event::Due(key),
                },
            }
        };
        match self.pulse.wait(event).await {
            Event::Arrived(Some(held)) => {
                say(&held.by, lines);
                add(groups, held);
            }
            // The writers are gone: the worker is about to stop.
            Event::Arrived(None) => std::future::pending().await,
            Event::Due(key) => {
                if let Some(group) = groups.remove(&key) {
                    self.retry(groups, key, group).await;
                }
            }
        }
        self.publish(groups);
    }

    async fn retry(&mut self, groups: &mut HashMap<Key, Group>, key: Key, mut group: Group) {
        let rest = group.messages.split_off(1);
        if let (Key::Lock(_), Some(first)) = (&key, group.messages.first()) {
            self.name_holder(first, group.messages.len() + rest.len()).await;
        }
        let held = self.pulse.wait(self.tables.ingest(group.messages)).await;
        if held.is_empty() {
            for held in self.pulse.wait(self.tables.ingest(rest)).await {
                add(groups, held);
            }
            return;
        }
        // Another one is tried next, so that a message that is bad itself does not hold up the others.
        let held = held.into_iter().map(|held| held.pending);
        let messages = rest.into_iter().chain(held).collect();
        let next_try = Instant::now() + group.backoff.next_delay();
        groups.insert(key, Group { messages, backoff: group.backoff, next_try });
    }

    /// Logs, throttled, which session holds the lock that messages wait for.
    async fn name_holder(&self, message: &Pending, messages: usize) {
        let Some(_) = self.tables.shared.lines.lock_holder.add(1) else { return };
        let rows: Vec<&EventRow> = message.outcome.rows().iter().collect();
        if let Ok(Some(holder)) = self.tables.shared.store.lock_holder(&rows).await {
            tracing::warn!(
                messages,
                "messages wait for a lock that another session holds: {holder}; the others are written"
            );
        }
    }

    /// Informs the writers, the gate and Prometheus of what is held.
    fn publish(&self, groups: &HashMap<Key, Group>) {
        let (mut reports, mut locked, mut blocked, mut by) = (HashSet::new(), 0, 0, None);
        for (key, group) in groups {
            match key {
                Key::Lock(report) => {
                    reports.insert(*report);
                    locked += group.messages.len();
                }
                Key::Refusal(text) => {
                    blocked += group.messages.len();
                    by = Some(text);
                }
            }
        }
        *self.locked.lock() = reports;
        let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        gauge!(metrics::MESSAGES_BLOCKED, "by" => "lock").set(count(locked));
        gauge!(metrics::MESSAGES_BLOCKED, "by" => "refusal").set(count(blocked));
        let reason = by.filter(|_| blocked >= MOST_BLOCKED);
        let reason =
            reason.map(|by| format!("PostgreSQL refuses many messages for one reason: {by}"));
        if self.tables.shared.health.gate.set_refusing(reason.clone()) {
            if let Some(reason) = reason {
                tracing::error!(messages = blocked, "{reason}; not receiving");
            } else {
                tracing::info!("PostgreSQL accepts those messages again; receiving");
            }
        }
    }
}

fn say(by: &Blocked, lines: &LogThrottle) {
    let text = match by {
        // The holder is named when it has lasted.
        Blocked::Lock => return,
        Blocked::Constraint(violation) => violation.to_string(),
        Blocked::Alike(code) => alike(code),
    };
    if let Some(messages) = lines.add(1) {
        tracing::warn!(messages, "{text}; holding the messages and trying again");
    }
}

fn alike(code: &str) -> String {
    format!(
        "SQLSTATE {code} for many messages: a trigger or a changed column is more likely the cause than the messages"
    )
}

fn add(groups: &mut HashMap<Key, Group>, held: Held) {
    let Held { pending, by } = held;
    let (key, last) = match by {
        Blocked::Lock => {
            let report = pending.outcome.rows().first().map(|row| row.report.id);
            (Key::Lock(report.unwrap_or_default()), Duration::from_secs(5))
        }
        Blocked::Constraint(violation) => {
            (Key::Refusal(violation.to_string()), Duration::from_secs(30))
        }
        Blocked::Alike(code) => (Key::Refusal(alike(&code)), Duration::from_secs(30)),
    };
    let new = || {
        let mut backoff =
            Backoff::new(Duration::from_millis(500), last).at_least(Duration::from_millis(250));
        let next_try = Instant::now() + backoff.next_delay();
        Group { messages: Vec::new(), backoff, next_try }
    };
    groups.entry(key).or_insert_with(new).messages.push(pending);
}
