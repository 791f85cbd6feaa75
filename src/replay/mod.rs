//! Replay: message bodies from an archive take the same path as messages: decode, batch, write.
//!
//! ```text
//! reader ──▶ writers
//!  find       decode, write one part and its position in one transaction
//!  split
//! ```
//! Parts are committed in any order, each together with a record of which bodies it holds and what became
//! of them. So a run that continues after a crash knows what is left, and the totals are exact.

mod bodies;
mod covered;
mod files;
mod format;
mod part;
mod reader;
mod snappy;
mod writer;
mod zip;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use files::{Found, Source, find, identity};

use crate::decode::Rules;
use crate::ingest::Breaker;
use crate::store::{Error, Store, Totals};

/// What the reader and the writers of a replay share with the display of its progress.
#[derive(Debug)]
struct Shared {
    store: Store,
    rules: Rules,
    replay: Uuid,
    run: Uuid,
    progress: Arc<Progress>,
    problems: std::sync::Mutex<Vec<String>>,
    breaker: Breaker,
    stop: CancellationToken,
}

/// How far a replay is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes of the files that are read, as they lie there.
    pub(crate) bytes: Arc<AtomicU64>,
    /// Bodies that this run has committed.
    pub(crate) bodies: AtomicI64,
}

/// What became of a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// What became of its bodies, in this run and in those that it continues.
    pub(crate) totals: Totals,
    /// Bodies that earlier runs had committed.
    pub(crate) resumed: i64,
    /// Whether all of it is committed.
    pub(crate) is_finished: bool,
    /// In a line each, what could not be read or written.
    pub(crate) problems: Vec<String>,
}

/// What is to be replayed.
#[derive(Debug)]
pub(crate) struct Archive {
    /// Its files, in their order.
    pub(crate) sources: Vec<Source>,
    /// Their [`identity`], by which a later run knows them.
    pub(crate) id: Uuid,
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Transactions at once.
    pub(crate) writers: usize,
    /// Whether what earlier runs have committed is left aside.
    pub(crate) from_start: bool,
}

/// Replays an archive, until all is committed or `stop` is cancelled; then what is being written is
/// finished.
///
/// # Errors
/// When PostgreSQL refuses for a reason that waiting does not remove, or a later run has taken over. A
/// PostgreSQL that cannot be reached is waited for.
pub(crate) async fn run(
    store: Store,
    rules: Rules,
    archive: Archive,
    settings: Settings,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<Replayed, Error> {
    let Archive { sources, id } = archive;
    let Settings { writers, from_start } = settings;
    let name = sources.iter().map(|source| source.name.as_str()).take(3).collect::<Vec<_>>();
    let more = sources.len().saturating_sub(name.len());
    let name =
        name.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() };
    let run = random_id();
    let begun = store.begin_replay(id, &name, run, from_start).await?;
    if begun.totals.bodies > 0 {
        tracing::info!("resuming: {} bodies are committed already", begun.totals.bodies);
    }

    let rules = rules.with_machines(store.machine_rules());
    let shared = Arc::new(Shared {
        store,
        rules,
        replay: id,
        run,
        progress,
        problems: std::sync::Mutex::default(),
        breaker: Breaker::default(),
        stop: stop.child_token(),
    });
    let (found, to_write) = mpsc::channel(writers);
    let to_write = Arc::new(Mutex::new(to_write));
    let reading = {
        let shared = Arc::clone(&shared);
        tokio::task::spawn_blocking(move || reader::read(&shared, &sources, &begun.done, &found))
    };
    let mut writing = JoinSet::new();
    for _ in 0..writers {
        writing.spawn(writer::run(Arc::clone(&shared), Arc::clone(&to_write)));
    }
    drop(to_write);
    let mut failure = None;
    while let Some(ended) = writing.join_next().await {
        if let Err(error) =
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        {
            // The first is what the others come from.
            failure.get_or_insert(error);
            shared.stop.cancel();
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    // The writers are gone, so nothing that a reader still waits for would be written.
    let is_read = !shared.stop.is_cancelled() && all_read(&shared, reading.await);
    let problems = std::mem::take(&mut *shared.problems());
    let is_finished = is_read && problems.is_empty();
    let totals = if is_finished {
        shared.store.finish_replay(id, run).await?
    } else {
        shared.store.replay_totals(id).await?
    };
    Ok(Replayed { totals, resumed: begun.totals.bodies, is_finished, problems })
}

/// Whether all sources were read to their end. A reader that ended by a defect has not read them, and what it
/// left out is not known.
fn all_read(shared: &Shared, reader: Result<bool, JoinError>) -> bool {
    reader.unwrap_or_else(|error| {
        shared.problem(format!("the archive was not read to its end: {error}"));
        false
    })
}

/// An id that nothing else has.
#[must_use]
pub(crate) fn random_id() -> Uuid {
    Uuid::from_u128(fastrand::u128(..))
}

impl Shared {
    fn problems(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.problems.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn problem(&self, line: String) {
        tracing::warn!("{line}");
        self.problems().push(line);
    }
}
