//! The worker: receive → decode → batch → write → delete, for ever.
//!
//! ```text
//! pollers ──▶ writers ──▶ deleter        leases: keep messages hidden until they are written
//!  receive     gather      ten a call    gate:   whether pollers may receive now
//!  decode      write                     budget: how much may be held at once
//!                                       limiter: how many poll now
//! ```
//! Between decode and batch a message passes `way/verification`, which does nothing unless `SNS_TOPIC_ARNS`
//! or `VERIFY_SNS` is set. A message is moved along as a `Pending`; wherever one is dropped unwritten, its
//! lease gives it back to the queue.

mod background;
mod flow;
mod health;
mod idle;
mod log_throttle;
mod settings;
mod stats;
mod tasks;
mod way;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::decode::Rules;
use crate::ingest::Breaker;
use crate::queue::{MOST_PER_CALL, Queue, RECEIVE_TIMEOUT};
use crate::store::{self, Store};
use crate::trust::Verifier;
pub(crate) use background::retention::Owner;
use background::{backfill, daily, judge, machine_rules, months, retention};
use flow::budget::Budget;
use flow::leases::{self, Leases};
use flow::poll_limiter::PollLimiter;
pub(crate) use health::Health;
use idle::{IdleTracker, StopWhenIdle};
pub(crate) use settings::WorkerSettings;
use stats::Stats;
pub(crate) use stats::Summary;
use tasks::Tasks;
use way::deleter;
use way::held::{HeldMessages, LockedReports};
use way::poller::{self, OpenPolls};
use way::tables::{self, Lines, Tables};
use way::verification::{Admission, Certificates};
use way::writer::{BatchLimits, Writer};

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

/// The stages of a worker, in the order in which they end.
#[derive(Debug, Default)]
struct Stages {
    pollers: Tasks,
    writers: Tasks,
    deleter: Tasks,
    background: Tasks,
}

/// What the tasks have in common once they run, and what the drain looks at.
struct Running {
    queue: Queue,
    store: Arc<Store>,
    health: Arc<Health>,
    budget: Arc<Budget>,
    leases: Arc<Leases>,
    stats: Arc<Stats>,
    pollers: Arc<poller::Shared>,
    stages: Stages,
    /// No more receives.
    stop: CancellationToken,
    /// Cancelled when the drain has run out of time: no more writes.
    give_up: CancellationToken,
}

/// Consumes until `stop` is cancelled or, with [`WorkerSettings::exit_when_idle`], until nothing
/// arrived for that long; then drains and returns within 25 seconds.
///
/// # Errors
/// When a task of the worker ended unexpectedly, which is a defect; it drains nevertheless.
pub(crate) async fn run(
    queue: Queue,
    store: Store,
    owner: Owner,
    rules: Rules,
    settings: WorkerSettings,
    health: Arc<Health>,
    stop: CancellationToken,
) -> anyhow::Result<Summary> {
    let is_hurried = settings.exit_when_idle.is_none();
    let mut running = start(queue, store, owner, &rules, &settings, health, stop);
    let Stages { pollers, writers, deleter, background } = &mut running.stages;
    // None of these ends before the worker is told to stop.
    let ended = tokio::select! {
        () = running.stop.cancelled() => None,
        name = pollers.first_ended() => Some(name),
        name = writers.first_ended() => Some(name),
        name = deleter.first_ended() => Some(name),
        name = background.first_ended() => Some(name),
    };
    let crashed = ended.filter(|_| !running.stop.is_cancelled());
    running.stop.cancel();
    let summary = running.drain(is_hurried).await;
    if let Some(name) = crashed {
        anyhow::bail!(
            "task {name} of the worker ended by itself; what it held will be received again"
        );
    }
    Ok(summary)
}

/// Receives that may wait for the writers: while these write, the next batch is gathered there.
fn one_batch(settings: &WorkerSettings) -> usize {
    settings.batch_rows.div_ceil(MOST_PER_CALL).clamp(4, 512)
}

fn start(
    queue: Queue,
    store: Store,
    owner: Owner,
    rules: &Rules,
    settings: &WorkerSettings,
    health: Arc<Health>,
    stop: CancellationToken,
) -> Running {
    let (follow_rules, rules) =
        watch::channel(Arc::new(rules.with_machines(store.machine_rules())));
    let store = Arc::new(store);
    let give_up = CancellationToken::new();
    let budget = Arc::new(Budget::new(settings.max_in_flight, settings.max_in_flight_bytes));
    let leases = Arc::new(Leases::new(queue.visibility()));
    let stats = Arc::new(Stats::default());
    let idle = Arc::new(IdleTracker::default());
    let verifier = Arc::new(Verifier::new(settings.trust.clone()).with_queue(queue.url()));
    let mut stages = Stages::default();

    let (awaiting, to_await) = mpsc::unbounded_channel();
    let (hand_over, handed_over) = mpsc::channel(one_batch(settings));
    let handed_over = Arc::new(Mutex::new(handed_over));
    let (to_hold, held) = mpsc::unbounded_channel();
    let (to_delete, deletable) = mpsc::unbounded_channel();

    let admission = Admission { verifier, awaiting, unverified: Arc::default() };
    let pollers = Arc::new(poller::Shared {
        queue: queue.clone(),
        rules,
        poll_limiter: PollLimiter::new(settings.pollers),
        budget: Arc::clone(&budget),
        leases: Arc::clone(&leases),
        admission: admission.clone(),
        health: Arc::clone(&health),
        stats: Arc::clone(&stats),
        idle: Arc::clone(&idle),
        polls_open_at_stop: OpenPolls::default(),
        stop: stop.clone(),
    });
    for _ in 0..settings.pollers {
        let pulse = health.pulse("poller", RECEIVE_TIMEOUT);
        stages.pollers.spawn("poller", poller::run(Arc::clone(&pollers), hand_over.clone(), pulse));
    }
    if admission.verifier.verifies() {
        let certificates = Certificates {
            admission,
            arriving: to_await,
            hand_over,
            leases: Arc::clone(&leases),
            stop: stop.clone(),
            pulse: health.pulse("certificates", Duration::from_mins(1)),
        };
        stages.pollers.spawn("certificates", certificates.run());
    } else {
        drop(hand_over);
    }

    let locked = Arc::new(LockedReports::default());
    let tables = Arc::new(tables::Shared {
        store: Arc::clone(&store),
        source: format!("sqs:{}", queue.name()).into(),
        breaker: Breaker::default(),
        health: Arc::clone(&health),
        leases: Arc::clone(&leases),
        stats: Arc::clone(&stats),
        idle: Arc::clone(&idle),
        to_delete,
        lines: Lines::default(),
    });
    let transaction = store.timeout();
    for _ in 0..settings.writers {
        let writer = Writer {
            handed_over: Arc::clone(&handed_over),
            limits: BatchLimits {
                rows: settings.batch_rows,
                bytes: settings.batch_bytes,
                linger: settings.batch_linger,
            },
            tables: Tables::new(&tables),
            locked: Arc::clone(&locked),
            to_hold: to_hold.clone(),
            give_up: give_up.clone(),
            pulse: health.pulse("writer", transaction),
        };
        stages.writers.spawn("writer", writer.run());
    }
    drop(to_hold);
    let held = HeldMessages {
        arriving: held,
        tables: Tables::new(&tables),
        locked,
        stop: stop.clone(),
        pulse: health.pulse("held messages", transaction),
    };
    stages.writers.spawn("held messages", held.run());
    // The deleter ends when those who write have.
    drop(tables);

    let deleting = deleter::Shared {
        queue: queue.clone(),
        health: Arc::clone(&health),
        stats: Arc::clone(&stats),
    };
    let pulse = health.pulse("deleter", Duration::ZERO);
    stages.deleter.spawn("deleter", deleter::run(Arc::new(deleting), deletable, pulse));

    let background = &mut stages.background;
    let pulse = |name| health.pulse(name, transaction);
    let lease_task =
        leases::keep_hidden(Arc::clone(&leases), queue.clone(), pulse("visibility timeouts"));
    background.spawn("visibility timeouts", lease_task);
    background.spawn("months", months::create_months(Arc::clone(&store), pulse("months")));
    background.spawn("kept", months::learn_kept(Arc::clone(&store), pulse("kept")));
    let counting = health.pulse("daily figures", store::REFRESH_TIMEOUT);
    background.spawn("daily figures", daily::refresh(Arc::clone(&store), counting));
    background.spawn("backfill", backfill::run(Arc::clone(&store), pulse("backfill")));
    background.spawn("judge", judge::run(Arc::clone(&store), pulse("judge")));
    let following = machine_rules::follow(Arc::clone(&store), follow_rules, pulse("machine rules"));
    background.spawn("machine rules", following);
    background.spawn("report", stats::report(Arc::clone(&stats), Arc::clone(&budget)));
    if let Some(retain) = settings.retain {
        let task = retention::remove_expired(owner, retain, stop.clone(), pulse("retention"));
        background.spawn("retention", task);
    }
    if let Some(after) = settings.exit_when_idle {
        let stop_when_idle = StopWhenIdle {
            idle,
            budget: Arc::clone(&budget),
            health: Arc::clone(&health),
            stop: stop.clone(),
        };
        background.spawn("idle", stop_when_idle.run(after));
    }
    Running { queue, store, health, budget, leases, stats, pollers, stages, stop, give_up }
}

impl Running {
    /// Writes and deletes what is held, and gives back what cannot be written in time.
    async fn drain(self, is_hurried: bool) -> Summary {
        let Self {
            queue, store, health, budget, leases, stats, pollers, mut stages, give_up, ..
        } = self;
        let began = Instant::now();
        tracing::info!(held = budget.held(), "draining");
        // The writers end when they have written what the pollers handed over, and the pollers are gone.
        let all_written = async {
            stages.pollers.all_ended().await;
            stages.writers.all_ended().await;
        };
        if timeout_at(began + STOP_WRITING, all_written).await.is_err() {
            give_up.cancel();
            stages.pollers.abort();
            stages.writers.all_ended().await;
        }
        if timeout_at(began + STOP_DELETING, stages.deleter.all_ended()).await.is_err() {
            stages.deleter.abort();
        }
        stages.background.abort();
        if leases.any() {
            // Otherwise they would take what is given back.
            let _ = timeout_at(began + STOP_POLLING, pollers.end_open_polls()).await;
        }
        let given_back = timeout_at(began + DRAIN, leases::give_back_all(&leases, &queue)).await;
        // Those who ask next find the figures of what was written; if not, the next worker counts them.
        let longest = if is_hurried { STOP_COUNTING } else { DRAIN };
        let by = (Instant::now() + longest).min(began + DRAIN);
        let bring_up_to_date = async {
            judge::judge_all(&store).await?;
            daily::refresh_all(&store).await
        };
        let is_fresh = !health.gate.is_database_away()
            && matches!(timeout_at(by, bring_up_to_date).await, Ok(Ok(())));
        if !is_fresh {
            tracing::info!("the daily figures are left to the next worker");
        }
        let summary = stats.summary();
        tracing::info!(
            given_back = given_back.unwrap_or(0),
            took_ms = began.elapsed().as_millis(),
            "drained"
        );
        tracing::info!("{summary}");
        summary
    }
}
