//! Retries dead letters: they are decoded with the current rules, written, and removed in the same
//! transaction.

use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::baseline;
use crate::decode::{Acknowledged, Outcome, Reason, Rejection, Rules, decode, latest_clock};
use crate::ingest::{Blocked, Breaker, Destination, Stop, Trouble, ingest, probe};
use crate::row::{AccountEvent, EventRow};
use crate::store::{
    Checkpoint, Error, Letter, Others, Refusal, Retried, Selection, Store, Written,
};

/// Dead letters that are looked for at a time.
const PAGE: i64 = 1_000;
/// Most letters of a transaction,
const MOST_LETTERS: usize = 200;
/// and most bytes of their bodies, one letter aside.
const MOST_BYTES: i32 = 8 * 1024 * 1024;

/// What became of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Became {
    /// This many events; the dead letter is removed.
    Events(usize),
    /// There is nothing to store; it is gone.
    Acknowledged(Acknowledged),
    /// It stays, for today's reason.
    DeadLetter(String),
    /// Another retry holds it, or it was deleted meanwhile.
    Elsewhere,
}

/// What became of all of them: `read` is the sum of the other letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Dead letters that were tried.
    pub(crate) read: u64,
    /// Those that became events,
    pub(crate) with_events: u64,
    /// that hold nothing to store,
    pub(crate) acknowledged: u64,
    /// that are dead letters still,
    pub(crate) dead_letters: u64,
    /// and that another has, or has deleted.
    pub(crate) elsewhere: u64,
    /// Detail rows that were not there.
    pub(crate) new_events: u64,
    /// Detail rows that were there.
    pub(crate) known_events: u64,
    /// Rows that were not stored, because they are no longer kept.
    pub(crate) expired_events: u64,
}

struct Tried {
    letter: Letter,
    outcome: Outcome,
    /// Whether it keeps its reason, whatever decode says.
    stays: bool,
}

/// Tries a selection again, the oldest first, and calls `each` with what became of it once that is
/// committed. Ends early when `stop` is cancelled. What was refused because it was not trusted
/// stays, unless it was selected by its id or its reason: the person who does that vouches for it.
///
/// # Errors
/// When PostgreSQL cannot be reached or refuses; what was told is committed.
pub(crate) async fn retry(
    store: &Store,
    rules: &Rules,
    selection: &Selection,
    now: OffsetDateTime,
    stop: &CancellationToken,
    mut each: impl FnMut(Uuid, &Became) + Send + Sync,
) -> Result<Summary, Error> {
    let rules = &rules.with_machines(store.machine_rules());
    // What becomes a dead letter from now on is for another time.
    let began = store.clock().await?;
    let until = selection.until.map_or(began, |until| until.min(began));
    let selection = Selection { until: Some(until), ..selection.clone() };
    let is_named = selection.ids.is_some() || selection.reason.is_some();
    let (mut summary, mut behind, breaker) = (Summary::default(), None, Breaker::default());
    loop {
        let page = store.next_dead_letters(&selection, behind, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(summary);
        };
        behind = Some((last.received_at, last.id));
        let mut page = page.into_iter().peekable();
        while page.peek().is_some() {
            if stop.is_cancelled() {
                return Ok(summary);
            }
            let (mut ids, mut bytes) = (Vec::new(), 0_i32);
            while let Some(line) = page.next_if(|line| {
                ids.is_empty()
                    || (ids.len() < MOST_LETTERS && bytes.saturating_add(line.bytes) <= MOST_BYTES)
            }) {
                ids.push(line.id);
                bytes = bytes.saturating_add(line.bytes);
            }
            let letters = store.dead_letters(&ids).await?;
            for id in ids.iter().filter(|id| letters.iter().all(|letter| letter.id != **id)) {
                summary.tell(*id, &Became::Elsewhere, &mut each);
            }
            let tried = |letter| Tried::new(letter, rules, now, is_named);
            let tried = letters.into_iter().map(tried).collect();
            let (summary_ref, each) = (&mut summary, &mut each);
            let mut retry = Retry { store, breaker: &breaker, stop, summary: summary_ref, each };
            match ingest(&mut retry, tried).await {
                Ok(()) => {}
                Err(Stop::Stopped) => return Ok(summary),
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
    }
}

/// Where dead letters are written that are tried again: the tables, together with their removal.
struct Retry<'r, F> {
    store: &'r Store,
    breaker: &'r Breaker,
    stop: &'r CancellationToken,
    summary: &'r mut Summary,
    each: &'r mut F,
}

impl<F: FnMut(Uuid, &Became) + Send> Retry<'_, F> {
    fn tell(&mut self, id: Uuid, became: &Became) {
        self.summary.tell(id, became, self.each);
    }
}

impl<F: FnMut(Uuid, &Became) + Send + Sync> Destination for Retry<'_, F> {
    type Item = Tried;

    fn breaker(&self) -> Option<&Breaker> {
        Some(self.breaker)
    }

    async fn write(&self, part: &[Tried]) -> Result<Written, Error> {
        let rows: Vec<&EventRow> = part.iter().flat_map(Tried::rows).collect();
        let reasons: Vec<String> = part.iter().map(Tried::reason).collect();
        let mut retried = Retried::default();
        for (tried, reason) in part.iter().zip(&reasons) {
            match &tried.outcome {
                Outcome::DeadLetter(_) if tried.stays => {}
                Outcome::DeadLetter(rejection) => {
                    let detail = rejection.detail.as_deref();
                    retried.remaining.push((tried.letter.id, reason, detail));
                }
                _ => retried.settled.push(tried.letter.id),
            }
        }
        let account_events: Vec<&AccountEvent> =
            part.iter().flat_map(|tried| tried.outcome.account_events()).collect();
        let others = Others { account_events: &account_events, ..Others::default() };
        self.store.write_with(&rows, others, &Checkpoint::Letters(&retried)).await
    }

    async fn probe(&self) -> Result<(), Error> {
        probe(self.store).await
    }

    fn is_fatal(&self, error: &Error) -> bool {
        // A person waits for this command: an outage ends it.
        matches!(error, Error::Unavailable(_) | Error::Timeout(_) | Error::Pooler(_))
    }

    fn accepted(&mut self) {}

    fn committed(&mut self, part: Vec<Tried>, written: Written) {
        let rows: usize = part.iter().map(|tried| tried.rows().len()).sum();
        let count = u64::try_from(rows).unwrap_or(u64::MAX);
        self.summary.new_events += written.details;
        self.summary.expired_events += written.expired;
        self.summary.known_events += count - written.details - written.expired;
        for tried in &part {
            self.tell(tried.letter.id, &tried.became());
        }
    }

    fn make_dead_letter(&mut self, mut alone: Tried, refusal: &Refusal) -> Option<Tried> {
        if matches!(alone.outcome, Outcome::DeadLetter(_)) {
            // It stays as it was.
            self.tell(alone.letter.id, &alone.became());
            return None;
        }
        let detail = Some(format!("SQLSTATE {}: {}", refusal.code, refusal.message));
        alone.outcome = Outcome::DeadLetter(Rejection { reason: Reason::Refused, detail });
        Some(alone)
    }

    fn set_aside(&mut self, alone: Tried, by: Blocked) -> Result<Option<Tried>, Stop> {
        let why = match by {
            Blocked::Lock => return Ok(Some(alone)),
            Blocked::Constraint(violation) => violation.to_string(),
            Blocked::Alike(code) => format!("PostgreSQL refuses many with SQLSTATE {code}"),
        };
        // It stays as it was.
        self.tell(alone.letter.id, &Became::DeadLetter(why));
        Ok(None)
    }

    fn taken_over(&mut self, alone: Tried) {
        self.tell(alone.letter.id, &Became::Elsewhere);
    }

    async fn pause(&mut self, trouble: Trouble, delay: Duration) -> Result<(), Stop> {
        match trouble {
            Trouble::Passing(error) => tracing::debug!(%error, "trying again"),
            Trouble::Items(error) => tracing::warn!(%error, "trying again"),
            Trouble::Database(error) => return Err(Stop::Failed(error)),
        }
        let slept = self.stop.run_until_cancelled(tokio::time::sleep(delay)).await;
        slept.ok_or(Stop::Stopped)
    }
}

impl Tried {
    fn new(letter: Letter, rules: &Rules, now: OffsetDateTime, is_named: bool) -> Self {
        let distrust = Reason::OF_TRUST.into_iter().find(|of| of.to_string() == letter.reason);
        if let Some(reason) = distrust.filter(|_| !is_named) {
            return Self { letter, outcome: Outcome::DeadLetter(reason.into()), stays: true };
        }
        let now = latest_clock(now, letter.sent_at);
        let outcome = decode(&letter.body, letter.sqs_message_id.as_deref(), rules, now);
        // A legacy row never was a message: decode has nothing better to say of it.
        let stays = letter.sqs_message_id.as_deref() == Some(baseline::SOURCE);
        Self { letter, outcome, stays }
    }

    fn rows(&self) -> &[EventRow] {
        self.outcome.rows()
    }

    fn reason(&self) -> String {
        match &self.outcome {
            Outcome::DeadLetter(_) if self.stays => self.letter.reason.clone(),
            Outcome::DeadLetter(rejection) => rejection.reason.to_string(),
            _ => String::new(),
        }
    }

    fn became(&self) -> Became {
        match (&self.outcome, self.outcome.acknowledged()) {
            (Outcome::DeadLetter(_), _) => Became::DeadLetter(self.reason()),
            (_, Some(what)) => Became::Acknowledged(what),
            _ => Became::Events(self.rows().len()),
        }
    }
}

impl Summary {
    fn tell(&mut self, id: Uuid, became: &Became, each: &mut impl FnMut(Uuid, &Became)) {
        self.read += 1;
        *match became {
            Became::Events(_) => &mut self.with_events,
            Became::Acknowledged(_) => &mut self.acknowledged,
            Became::DeadLetter(_) => &mut self.dead_letters,
            Became::Elsewhere => &mut self.elsewhere,
        } += 1;
        each(id, became);
    }
}
