//! The write loop for everything that becomes rows: messages of the queue, bodies of an archive, dead letters
//! that are retried.
//!
//! It decides what a failed write means, so that the policy is the same for all of them:
//!
//! | PostgreSQL says | then |
//! |---|---|
//! | conflict, missing partition | try again |
//! | lock not available | bisect: only the items that wait for the lock are set aside |
//! | values refused (22, 54) | bisect: the item that is refused alone becomes a dead letter |
//! | constraint violated (23) | bisect: the items that it refuses are set aside, because an operator has added the constraint |
//! | no answer, or any other error | try again; while it accepts a [`probe()`], bisect: the one item that fails becomes a dead letter |
//! | right or table missing | try again: an operator has to restore it |
//!
//! No item is blamed without evidence that PostgreSQL accepts others: a commit, or a probe. Where the
//! probe is refused too, the database is at fault: everything is held, and the probe's error says why.

mod bisect;
mod breaker;
mod probe;

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::store::{Error, Refusal, Violation, Written};
use bisect::Bisect;
pub(crate) use breaker::Breaker;
pub(crate) use probe::{lock_holder, probe};

/// Attempts that fail without a verdict on the values, while PostgreSQL accepts a probe, before the items
/// are suspected.
const SUSPECT_AFTER: u32 = 3;
/// How long a commit or a probe is evidence that PostgreSQL accepts rows.
const FRESH: Duration = Duration::from_secs(2);

/// Where items are written, and what becomes of them.
pub(crate) trait Destination: Send {
    /// What becomes rows or a dead letter.
    type Item: Send + Sync;

    /// Counts what refusals have made dead letters; `None` where items may rightly be refused alike.
    fn breaker(&self) -> Option<&Breaker>;

    /// Writes a part in one transaction; repeated, it changes nothing.
    fn write(&self, part: &[Self::Item]) -> impl Future<Output = Result<Written, Error>> + Send;

    /// Tries whether PostgreSQL accepts an event at all, as [`probe()`] does.
    fn probe(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Whether an error ends the whole work instead of being tried again.
    fn is_fatal(&self, error: &Error) -> bool;

    /// PostgreSQL has accepted a part or a probe.
    fn accepted(&mut self);

    /// A part is committed.
    fn committed(&mut self, part: Vec<Self::Item>, written: Written);

    /// Turns an item that PostgreSQL refuses into a dead letter, which is written next. `None` if it is
    /// one already: then it has been disposed of.
    fn make_dead_letter(&mut self, item: Self::Item, refusal: &Refusal) -> Option<Self::Item>;

    /// Takes an item that is blocked by something outside it. `Some` to have it tried again here, after a pause.
    ///
    /// # Errors
    /// When that ends the whole work.
    fn set_aside(&mut self, item: Self::Item, by: Blocked) -> Result<Option<Self::Item>, Stop>;

    /// Takes an item that now belongs to another run.
    fn taken_over(&mut self, item: Self::Item);

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// When there must be no other attempt.
    fn pause(
        &mut self,
        trouble: Trouble,
        delay: Duration,
    ) -> impl Future<Output = Result<(), Stop>> + Send;
}

/// What blocks an item though nothing is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// Another transaction holds a lock on its report or its month.
    Lock,
    /// A constraint that is not part of the schema.
    Constraint(Violation),
    /// PostgreSQL refuses it with this SQLSTATE, and too many others for the messages to be the cause.
    Alike(String),
}

/// Why an attempt is repeated.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It passes by itself: a conflict, a month that has just been dropped.
    Passing(Error),
    /// These items failed; PostgreSQL accepts others.
    Items(Error),
    /// PostgreSQL accepts nothing.
    Database(Error),
}

/// Why the work ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It was asked to.
    Stopped,
    /// An error that does not pass by repeating.
    Failed(Error),
}

/// What became of a part.
enum Settled {
    Committed(Written),
    /// One of its items, or all of them, cannot be written.
    Failed(Blame),
}

enum Blame {
    Refused(Refusal),
    Blocked(Blocked),
    TakenOver,
}

/// Since when PostgreSQL is known to accept rows.
#[derive(Debug, Default)]
struct Evidence(Option<Instant>);

impl Evidence {
    fn is_fresh(&self) -> bool {
        self.0.is_some_and(|at| at.elapsed() < FRESH)
    }
}

/// Writes items until each is committed, a dead letter, or set aside.
///
/// # Errors
/// [`Stop`] when the destination ends the work; what was not committed then is dropped.
pub(crate) async fn ingest<D: Destination>(
    destination: &mut D,
    items: Vec<D::Item>,
) -> Result<(), Stop> {
    let (mut parts, mut evidence) = (Bisect::of(items), Evidence::default());
    while let Some(part) = parts.next_part() {
        let blame = match settle(destination, &part, &mut evidence).await? {
            Settled::Committed(written) => {
                destination.committed(part, written);
                continue;
            }
            Settled::Failed(blame) => blame,
        };
        let Some(alone) = parts.refused(part) else { continue };
        match blame {
            Blame::Refused(refusal)
                if destination
                    .breaker()
                    .is_none_or(|breaker| breaker.allows(&refusal.code, Instant::now())) =>
            {
                if let Some(letter) = destination.make_dead_letter(alone, &refusal) {
                    parts.again(letter);
                }
            }
            Blame::Refused(refusal) => {
                set_aside(destination, &mut parts, alone, Blocked::Alike(refusal.code)).await?;
            }
            Blame::Blocked(by) => set_aside(destination, &mut parts, alone, by).await?,
            Blame::TakenOver => destination.taken_over(alone),
        }
    }
    Ok(())
}

async fn set_aside<D: Destination>(
    destination: &mut D,
    parts: &mut Bisect<D::Item>,
    item: D::Item,
    by: Blocked,
) -> Result<(), Stop> {
    if let Some(again) = destination.set_aside(item, by)? {
        destination.pause(Trouble::Items(Error::Locked), Duration::from_secs(1)).await?;
        parts.again(again);
    }
    Ok(())
}

/// Tries until a part is committed or it is known that its items are to blame.
async fn settle<D: Destination>(
    destination: &mut D,
    part: &[D::Item],
    evidence: &mut Evidence,
) -> Result<Settled, Stop> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut failures = 0;
    loop {
        let error = match destination.write(part).await {
            Ok(written) => {
                evidence.0 = Some(Instant::now());
                destination.accepted();
                return Ok(Settled::Committed(written));
            }
            Err(Error::Already) => return Ok(Settled::Committed(Written::default())),
            Err(error) => error,
        };
        if destination.is_fatal(&error) {
            return Err(Stop::Failed(error));
        }
        let delay = backoff.next_delay();
        if matches!(error, Error::Conflict | Error::Expired | Error::MissingPartition) {
            destination.pause(Trouble::Passing(error), delay).await?;
            continue;
        }
        let is_answer = matches!(
            error,
            Error::Refused(_) | Error::Constraint(_) | Error::Locked | Error::TakenOver
        );
        if !(is_answer && evidence.is_fresh()) {
            if let Err(probe) = destination.probe().await {
                // Unlike the error of the part, its text contains nothing of a message.
                let told = if is_answer { probe } else { error };
                destination.pause(Trouble::Database(told), delay).await?;
                continue;
            }
            evidence.0 = Some(Instant::now());
            destination.accepted();
            if is_answer {
                // The database may have been mended since the refusal: only the next one counts.
                continue;
            }
        }
        failures += 1;
        if let Some(blame) = blame(&error, part.len(), failures) {
            return Ok(Settled::Failed(blame));
        }
        let trouble =
            if error.may_pass() { Trouble::Items(error) } else { Trouble::Database(error) };
        destination.pause(trouble, delay).await?;
    }
}

/// What an error blames, given that PostgreSQL accepts others; `None` while that is not clear.
fn blame(error: &Error, items: usize, failures: u32) -> Option<Blame> {
    match error {
        Error::Refused(refusal) => Some(Blame::Refused(refusal.clone())),
        Error::Constraint(violation) => {
            Some(Blame::Blocked(Blocked::Constraint(violation.clone())))
        }
        Error::Locked => Some(Blame::Blocked(Blocked::Lock)),
        Error::TakenOver => Some(Blame::TakenOver),
        _ => {
            // Half a batch may be fast enough.
            let is_too_slow = error.is_timeout() && items > 1;
            let suspected = is_too_slow || failures >= SUSPECT_AFTER;
            error.suspected_refusal().filter(|_| suspected).map(Blame::Refused)
        }
    }
}

#[cfg(test)]
mod tests;
