//! The worker: receive → decode → batch → write → delete, for ever.
//!
//! ```text
//! pollers ──▶ writers ──▶ deleter        leases: what is received and not yet written stays hidden
//!  receive     gather      ten a call    gate:   who may receive now
//!  decode      write                     budget: how much may be held at once
//!                                       limiter: how many poll now
//! ```
//! What is received passes `way/verification`, which does nothing unless the operator asks for trust.
//! A message is moved along as a `Pending`; wherever one is dropped unwritten, its lease
//! remembers to give it back.

mod background;
mod flow;
mod health;
mod idle;
mod log_throttle;
mod settings;
mod stats;
mod way;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::decode::Rules;
use crate::queue::{MOST_PER_CALL, Queue};
use crate::store::Store;
use crate::trust::Verifier;
pub use background::retention::Owner;
use background::{backfill, daily, months, retention};
use flow::budget::Budget;
use flow::leases::{self, Leases};
use flow::poll_limiter::PollLimiter;
pub use health::Health;
use idle::IdleTracker;
pub use settings::WorkerSettings;
use stats::Stats;
pub use stats::Summary;
use way::poller::{self, OpenPolls};
use way::{deleter, verification, writer};

/// From the signal to the end. ECS and Kubernetes kill after 30 s.
const DRAIN: Duration = Duration::from_secs(24);
/// Then what is still unwritten is given up, so that there is time to give it back.
const STOP_WRITING: Duration = Duration::from_secs(16);
/// Then what is still undeleted stays undeleted: it will come again and change nothing.
const STOP_DELETING: Duration = Duration::from_secs(18);
/// After a signal, counting the daily figures a last time may take that long; a worker that ends by
/// itself has until [`DRAIN`].
const STOP_COUNTING: Duration = Duration::from_secs(5);
/// Then polls that are still open are left alone.
const STOP_POLLING: Duration = Duration::from_secs(22);

/// Everything that the tasks of a worker share.
struct Shared {
    queue: Queue,
    store: Store,
    rules: Rules,
    settings: WorkerSettings,
    health: Arc<Health>,
    poll_limiter: PollLimiter,
    budget: Budget,
    leases: Leases,
    stats: Stats,
    idle: IdleTracker,
    polls_open_at_stop: OpenPolls,
    verifier: Verifier,
    /// Where messages wait whose certificate is not known yet.
    awaiting_certificate: mpsc::UnboundedSender<verification::AwaitingCertificate>,
    /// No more receives.
    stop: CancellationToken,
    /// No more writes: the drain has run out of time.
    give_up: CancellationToken,
}

/// Consumes until `stop` is cancelled or, with [`WorkerSettings::exit_when_idle`], until nothing
/// arrived for that long; then drains and returns within 25 seconds.
///
/// # Errors
/// When a task of the worker ended on its own, which is a defect; it drains all the same.
pub async fn run(
    queue: Queue,
    store: Store,
    owner: Owner,
    rules: Rules,
    settings: WorkerSettings,
    health: Arc<Health>,
    stop: CancellationToken,
) -> anyhow::Result<Summary> {
    let (awaiting_certificate, certificates_to_await) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        verifier: Verifier::new(settings.trust.clone()),
        awaiting_certificate,
        leases: Leases::new(queue.visibility()),
        poll_limiter: PollLimiter::new(settings.pollers),
        budget: Budget::new(settings.max_in_flight, settings.max_in_flight_bytes),
        health,
        stats: Stats::default(),
        idle: IdleTracker::default(),
        polls_open_at_stop: OpenPolls::default(),
        give_up: CancellationToken::new(),
        queue,
        store,
        rules,
        settings,
        stop,
    });

    let (handed_over, to_write) = mpsc::channel(one_batch(&shared.settings));
    let to_write = Arc::new(Mutex::new(to_write));
    let (written, to_delete) = mpsc::unbounded_channel();

    let mut pollers = JoinSet::new();
    for _ in 0..shared.settings.pollers {
        pollers.spawn(poller::run(Arc::clone(&shared), handed_over.clone()));
    }
    if shared.verifier.verifies() {
        pollers.spawn(verification::await_certificates(
            Arc::clone(&shared),
            certificates_to_await,
            handed_over.clone(),
        ));
    }
    drop(handed_over);
    let mut writers = JoinSet::new();
    for _ in 0..shared.settings.writers {
        writers.spawn(writer::run(Arc::clone(&shared), Arc::clone(&to_write), written.clone()));
    }
    drop(written);
    let mut deleter = JoinSet::new();
    deleter.spawn(deleter::run(Arc::clone(&shared), to_delete));
    let mut helpers = JoinSet::new();
    helpers.spawn(leases::keep_hidden(Arc::clone(&shared)));
    helpers.spawn(months::create_months(Arc::clone(&shared)));
    helpers.spawn(months::learn_kept(Arc::clone(&shared)));
    helpers.spawn(daily::refresh(Arc::clone(&shared)));
    if let Some(retain) = shared.settings.retain {
        helpers.spawn(retention::remove_expired(Arc::clone(&shared), owner, retain));
    }
    helpers.spawn(backfill::run(Arc::clone(&shared)));
    helpers.spawn(stats::report(Arc::clone(&shared)));
    if let Some(idle) = shared.settings.exit_when_idle {
        helpers.spawn(idle::stop_when_idle(Arc::clone(&shared), idle));
    }

    // None of these ends before the worker is told to stop.
    let crashed = tokio::select! {
        () = shared.stop.cancelled() => false,
        Some(_) = pollers.join_next() => true,
        Some(_) = writers.join_next() => true,
        Some(_) = deleter.join_next() => true,
    } && !shared.stop.is_cancelled();
    shared.stop.cancel();

    let began = Instant::now();
    tracing::info!(held = shared.budget.held(), "draining");
    // The writers end when they have written what the pollers handed over, and the pollers are gone.
    let all_written = async {
        join_all(&mut pollers).await;
        join_all(&mut writers).await;
    };
    if timeout_at(began + STOP_WRITING, all_written).await.is_err() {
        shared.give_up.cancel();
        pollers.abort_all();
        join_all(&mut writers).await;
    }
    if timeout_at(began + STOP_DELETING, join_all(&mut deleter)).await.is_err() {
        deleter.abort_all();
    }
    helpers.abort_all();
    if shared.leases.any() {
        // Otherwise they would take what is given back.
        let _ = timeout_at(began + STOP_POLLING, shared.polls_open_at_stop.end(&shared)).await;
    }
    let given_back = timeout_at(began + DRAIN, leases::give_back_all(&shared)).await;
    // Whoever asks next finds the figures of what was written; if not, the next worker counts them.
    let is_hurried = shared.settings.exit_when_idle.is_none();
    let patience = if is_hurried { STOP_COUNTING } else { DRAIN };
    let by = (Instant::now() + patience).min(began + DRAIN);
    let is_fresh = shared.health.gate.database_away().is_none()
        && matches!(timeout_at(by, daily::refresh_all(&shared)).await, Ok(Ok(())));
    if !is_fresh {
        tracing::info!("the daily figures are left to the next worker");
    }
    let summary = shared.stats.summary();
    tracing::info!(
        given_back = given_back.unwrap_or(0),
        took_ms = began.elapsed().as_millis(),
        "drained"
    );
    tracing::info!("{summary}");
    if crashed {
        anyhow::bail!("a task of the worker ended by itself; what it held will be received again");
    }
    Ok(summary)
}

/// Receives that may wait for the writers: while these write, the next batch is gathered there.
fn one_batch(settings: &WorkerSettings) -> usize {
    settings.batch_rows.div_ceil(MOST_PER_CALL).clamp(4, 512)
}

async fn join_all(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a task of the worker failed");
        }
    }
}
