//! Decodes and writes parts of an archive, until there are no more or the replay is stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{Mutex, mpsc};

use super::Shared;
use super::part::{Chunk, Decoded, account_events, dead_letters, describe, rows};
use crate::ingest::{Blocked, Breaker, Destination, Stop, Trouble, ingest, probe};
use crate::store::{Checkpoint, Error, Others, Refusal, Written};

/// What arrives from the reader.
pub(super) type Found = Arc<Mutex<mpsc::Receiver<Chunk>>>;

/// Writes until the reader is gone and all is written, or the replay is stopped.
pub(super) async fn run(shared: Arc<Shared>, found: Found) -> Result<(), Error> {
    while let Some(Some(chunk)) = shared.stop.run_until_cancelled(next(&found)).await {
        let bodies = i64::try_from(chunk.bodies.len()).unwrap_or(i64::MAX);
        let mut destination = ChunkOfFile {
            shared: Arc::clone(&shared),
            file: chunk.file,
            name: Arc::clone(&chunk.name),
            first_body: chunk.first_body,
            end: chunk.first_body + bodies,
            is_last: chunk.is_last,
        };
        let decoding = Arc::clone(&shared);
        let batch = tokio::task::spawn_blocking(move || chunk.decode(&decoding.rules, now()))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        match ingest(&mut destination, batch).await {
            Ok(()) => {}
            Err(Stop::Stopped) => return Ok(()),
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    Ok(())
}

async fn next(found: &Found) -> Option<Chunk> {
    found.lock().await.recv().await
}

/// Where the bodies of a chunk are written: the tables, together with which bodies they were.
#[derive(Debug)]
struct ChunkOfFile {
    shared: Arc<Shared>,
    file: i32,
    name: Arc<str>,
    first_body: i64,
    /// The number of the body after the last.
    end: i64,
    /// Whether the file ends with the chunk.
    is_last: bool,
}

impl ChunkOfFile {
    fn left_out(&self, body: &Decoded, why: &str) {
        let (name, line) = (&self.name, body.line);
        self.shared.problem(format!("{name}: the body on line {line} is left out: {why}"));
    }
}

impl Destination for ChunkOfFile {
    type Item = Decoded;

    fn breaker(&self) -> Option<&Breaker> {
        Some(&self.shared.breaker)
    }

    async fn write(&self, part: &[Decoded]) -> Result<Written, Error> {
        let (first, last) = match part {
            [first, .., last] => (first.number, last.number),
            [only] => (only.number, only.number),
            // A file without bodies, or one that ends where the last chunk did.
            [] => (self.first_body, self.first_body - 1),
        };
        let is_last = self.is_last && last + 1 == self.end;
        let id = (self.shared.replay, self.shared.run);
        let described = describe(id, self.file, first, is_last, part);
        let checkpoint = Checkpoint::Part(&described);
        let (dead_letters, account_events) = (dead_letters(part), account_events(part));
        let others = Others { dead_letters: &dead_letters, account_events: &account_events };
        self.shared.store.write_with(&rows(part), others, &checkpoint).await
    }

    async fn probe(&self) -> Result<(), Error> {
        probe(&self.shared.store).await
    }

    fn is_fatal(&self, error: &Error) -> bool {
        !error.may_pass() && !matches!(error, Error::Refused(_) | Error::Constraint(_))
    }

    fn accepted(&mut self) {}

    fn committed(&mut self, part: Vec<Decoded>, _written: Written) {
        let bodies = i64::try_from(part.len()).unwrap_or(i64::MAX);
        self.shared.progress.bodies.fetch_add(bodies, Ordering::Relaxed);
    }

    fn make_dead_letter(&mut self, mut body: Decoded, refusal: &Refusal) -> Option<Decoded> {
        if body.make_dead_letter(&self.name, refusal) {
            return Some(body);
        }
        let code = &refusal.code;
        self.left_out(
            &body,
            &format!("PostgreSQL refuses it even as a dead letter (SQLSTATE {code})"),
        );
        None
    }

    fn set_aside(&mut self, body: Decoded, by: Blocked) -> Result<Option<Decoded>, Stop> {
        match by {
            Blocked::Lock => Ok(Some(body)),
            // A few bodies are named and left out; where many are refused, the operator has to act.
            Blocked::Constraint(violation)
                if self.shared.breaker.allows(&violation.code, tokio::time::Instant::now()) =>
            {
                self.left_out(&body, &violation.to_string());
                Ok(None)
            }
            Blocked::Constraint(violation) => Err(Stop::Failed(Error::Constraint(violation))),
            Blocked::Alike(code) => {
                let message =
                    "many bodies are refused with this SQLSTATE, so the bodies are probably not the cause".to_owned();
                Err(Stop::Failed(Error::Refused(Refusal { code, message })))
            }
        }
    }

    fn taken_over(&mut self, _body: Decoded) {}

    async fn pause(&mut self, trouble: Trouble, delay: Duration) -> Result<(), Stop> {
        let delay_ms = delay.as_millis();
        match trouble {
            Trouble::Passing(error) => tracing::debug!(%error, "trying again"),
            Trouble::Items(error) | Trouble::Database(error) if error.may_pass() => {
                tracing::warn!(%error, delay_ms, "could not write; trying again");
            }
            Trouble::Items(error) | Trouble::Database(error) => {
                return Err(Stop::Failed(error));
            }
        }
        let slept = self.shared.stop.run_until_cancelled(tokio::time::sleep(delay)).await;
        slept.ok_or(Stop::Stopped)
    }
}

#[expect(clippy::disallowed_methods, reason = "here the clock enters: decode takes it as a value")]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
