//! Decodes and writes parts of an archive, until there are no more or the replay is stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{Mutex, mpsc};

use super::Shared;
use super::part::{Chunk, Decoded, dead_letters, describe, rows};
use crate::backoff::Backoff;
use crate::halves::Halves;
use crate::store::{Alongside, Error, Refusal};

/// What arrives from the reader.
pub(super) type Found = Arc<Mutex<mpsc::Receiver<Chunk>>>;

/// Writes until the reader is gone and all is written, or the replay is stopped.
pub(super) async fn run(shared: Arc<Shared>, found: Found) -> Result<(), Error> {
    while let Some(Some(chunk)) = shared.stop.run_until_cancelled(next(&found)).await {
        let (file, name, is_last) = (chunk.file, Arc::clone(&chunk.name), chunk.is_last);
        if chunk.bodies.is_empty() {
            let _ = until_written(&shared, file, chunk.first_body, is_last, &[]).await?;
            continue;
        }
        let end = chunk.first_body + i64::try_from(chunk.bodies.len()).unwrap_or(i64::MAX);
        let decoding = Arc::clone(&shared);
        let batch = tokio::task::spawn_blocking(move || chunk.decode(&decoding.rules, now()))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let mut parts = Halves::of(batch);
        while let Some(part) = parts.next_part() {
            let (Some(first), Some(last)) = (part.first(), part.last()) else { continue };
            let is_last = is_last && last.number + 1 == end;
            match until_written(&shared, file, first.number, is_last, &part).await? {
                Written::Committed => {
                    let bodies = i64::try_from(part.len()).unwrap_or(i64::MAX);
                    shared.progress.bodies.fetch_add(bodies, Ordering::Relaxed);
                }
                Written::Stopped => return Ok(()),
                Written::Refused(refusal) => {
                    let Some(mut alone) = parts.refused(part) else { continue };
                    if alone.bury(&name, &refusal) {
                        parts.again(alone);
                    } else {
                        shared.problem(format!(
                            "{name}: the body on line {} is left out: PostgreSQL refuses it even as a dead letter (SQLSTATE {})",
                            alone.line, refusal.code
                        ));
                    }
                }
            }
        }
    }
    Ok(())
}

async fn next(found: &Found) -> Option<Chunk> {
    found.lock().await.recv().await
}

enum Written {
    Committed,
    Refused(Refusal),
    /// While PostgreSQL was waited for.
    Stopped,
}

/// Tries until PostgreSQL has committed or refused the part.
async fn until_written(
    shared: &Shared,
    file: i32,
    first_body: i64,
    is_last: bool,
    part: &[Decoded],
) -> Result<Written, Error> {
    let (rows, dead_letters) = (rows(part), dead_letters(part));
    let described = describe((shared.replay, shared.run), file, first_body, is_last, part);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        let alongside = Alongside::Part(&described);
        let error = match shared.store.write_with(&rows, &dead_letters, &alongside).await {
            Ok(_) | Err(Error::Already) => return Ok(Written::Committed),
            Err(Error::Refused(refusal)) => return Ok(Written::Refused(refusal)),
            Err(error) if !error.may_pass() => return Err(error),
            Err(error) => error,
        };
        let delay = backoff.next_delay();
        if matches!(error, Error::Conflict | Error::Expired) {
            tracing::debug!(%error, "trying again");
        } else {
            tracing::warn!(%error, delay_ms = delay.as_millis(), "could not write; trying again");
        }
        if shared.stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
            return Ok(Written::Stopped);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "here the clock enters: decode takes it as a value")]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
