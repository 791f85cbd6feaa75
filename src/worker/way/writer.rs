//! Gathers batches and writes them, until they are written or the worker gives up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout_at};

use super::pending::{Deletable, Pending};
use crate::backoff::Backoff;
use crate::decode::identity::dead_letter_id;
use crate::decode::{Outcome, Reason, Rejection};
use crate::halves::Halves;
use crate::row::EventRow;
use crate::store::{DeadLetter, Error, Refusal, Written};
use crate::worker::Shared;
use crate::worker::stats;

/// What arrives at the writers: what one receive brought.
pub(crate) type HandedOver = Arc<Mutex<mpsc::Receiver<Vec<Pending>>>>;

/// Writes until the pollers are gone and all is written, or the worker gives up. Of several
/// writers one gathers while the others write.
pub(crate) async fn run(
    shared: Arc<Shared>,
    handed_over: HandedOver,
    written: mpsc::UnboundedSender<Deletable>,
) {
    while let Some(batch) = gather(&shared, &handed_over).await {
        if write_all(&shared, batch, &written).await.is_err() {
            return;
        }
    }
}

/// The next batch: full by rows or bytes, or as old as messages may wait. `None` at the end.
async fn gather(shared: &Shared, handed_over: &HandedOver) -> Option<Vec<Pending>> {
    let mut handed_over = handed_over.lock().await;
    let mut batch = handed_over.recv().await?;
    let (mut rows, mut bytes) = size(&batch);
    let wait_until = Instant::now() + shared.settings.batch_linger;
    while rows < shared.settings.batch_rows && bytes < shared.settings.batch_bytes {
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

/// Rows and bytes that messages add to a batch.
fn size(messages: &[Pending]) -> (usize, usize) {
    messages
        .iter()
        .fold((0, 0), |(rows, bytes), pending| (rows + pending.rows(), bytes + pending.bytes))
}

/// The worker has no time left.
struct GivenUp;

/// Writes a batch; one that PostgreSQL refuses for its data is halved until the bad message stands
/// alone, which becomes a dead letter.
async fn write_all(
    shared: &Shared,
    batch: Vec<Pending>,
    written: &mpsc::UnboundedSender<Deletable>,
) -> Result<(), GivenUp> {
    let mut parts = Halves::of(batch);
    while let Some(part) = parts.next_part() {
        match until_written(shared, &part).await? {
            Ok(changed) => {
                shared.stats.written(&part, changed);
                shared.leases.end(part.iter().map(|pending| pending.lease));
                for pending in part {
                    // Fails only if the deleter is gone: then the message comes again.
                    let _ = written.send(pending.into());
                }
            }
            Err(refusal) => {
                if let Some(mut alone) = parts.refused(part)
                    && bury(shared, &mut alone, &refusal)
                {
                    parts.again(alone);
                }
            }
        }
    }
    Ok(())
}

/// Turns a message that PostgreSQL refuses into a dead letter. False if it is one already: then it
/// is left to the queue's own redrive policy.
fn bury(shared: &Shared, pending: &mut Pending, refusal: &Refusal) -> bool {
    let sqs_message_id = &pending.message.id;
    if matches!(pending.outcome, Outcome::DeadLetter(_)) {
        tracing::error!(
            sqs_message_id,
            code = refusal.code,
            "PostgreSQL refuses even the dead letter; leaving the message to the queue"
        );
        shared.leases.end([pending.lease]);
        return false;
    }
    tracing::warn!(
        sqs_message_id,
        code = refusal.code,
        "PostgreSQL refuses the message; it becomes a dead letter"
    );
    let detail = Some(format!("SQLSTATE {}: {}", refusal.code, refusal.message));
    pending.outcome = Outcome::DeadLetter(Rejection { reason: Reason::Refused, detail });
    true
}

/// Tries until PostgreSQL has written or refused the messages. While it is away nothing is
/// received.
async fn until_written(
    shared: &Shared,
    part: &[Pending],
) -> Result<Result<Written, Refusal>, GivenUp> {
    let rows = part.iter().flat_map(|pending| match &pending.outcome {
        Outcome::Events(rows) => rows.as_slice(),
        Outcome::Acknowledged(_) | Outcome::DeadLetter(_) => &[],
    });
    let rows: Vec<&EventRow> = rows.collect();
    let source = format!("sqs:{}", shared.queue.name());
    let dead_letters: Vec<DeadLetter<'_>> =
        part.iter().filter_map(|pending| dead_letter(pending, &source)).collect();
    if rows.is_empty() && dead_letters.is_empty() {
        // Nothing but acknowledgements: no news from PostgreSQL either.
        return Ok(Ok(Written::default()));
    }
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let patiently = async {
        loop {
            let began = Instant::now();
            let attempt = shared.store.write(&rows, &dead_letters).await;
            shared.health.beat();
            let error = match attempt {
                Ok(written) => {
                    stats::committed(part, began.elapsed());
                    if shared.health.gate.set_database_away(None) {
                        tracing::info!("PostgreSQL answers again; receiving");
                    }
                    return Ok(written);
                }
                Err(Error::Refused(refusal)) => {
                    // A refusal is an answer.
                    shared.health.gate.set_database_away(None);
                    return Err(refusal);
                }
                Err(error) => error,
            };
            stats::write_failed();
            let delay = backoff.next_delay();
            shared.idle.disturb();
            if matches!(error, Error::Conflict | Error::Expired) {
                tracing::debug!(%error, "trying again");
            } else {
                shared.health.gate.set_database_away(Some(error.reason()));
                tracing::warn!(%error, messages = part.len(), delay_ms = delay.as_millis(), "could not write; holding the batch, not receiving");
            }
            tokio::time::sleep(delay).await;
        }
    };
    shared.give_up.run_until_cancelled(patiently).await.ok_or(GivenUp)
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
