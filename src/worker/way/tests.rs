//! The poller and the deleter on an SQS in memory. Nothing here sleeps in real time: a test waits for what
//! it can observe, or stops the clock of tokio and lets that pass.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::{ConfigLoader, Region};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use sqs_stub::{Action, Call, Fault, Refusal, Settings, Stub};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{advance, pause, resume};
use tokio_util::sync::CancellationToken;

use super::pending::{Deletable, Pending};
use super::verification::Admission;
use super::{deleter, poller};
use crate::queue::{Boundless, LONGEST_WAIT, MOST_PER_CALL, Queue};
use crate::trust::{self, Verifier};
use crate::worker::flow::budget::Budget;
use crate::worker::flow::leases::{self, Leases};
use crate::worker::flow::poll_limiter::PollLimiter;
use crate::worker::health::Health;
use crate::worker::idle::IdleTracker;
use crate::worker::stats::Stats;

const QUEUE: &str = "events";
const VISIBILITY: Duration = Duration::from_secs(30);
/// Longer than any back-off.
const LONG: Duration = Duration::from_hours(1);

/// A queue in memory, and what a task of the worker needs beside it.
struct Scene {
    stub: Stub,
    queue: Queue,
    health: Arc<Health>,
    stats: Arc<Stats>,
    budget: Arc<Budget>,
}

impl Scene {
    /// With that many messages; a receive waits for a first one as long as `wait`.
    async fn new(messages: usize, wait: Duration) -> Self {
        let stub = Stub::start().await.expect("a port");
        let url = stub.create_queue(QUEUE, Settings::default());
        stub.put(QUEUE, (0..messages).map(|number| format!("message {number}")));
        let endpoint = stub.endpoint().to_owned();
        let settings = move |loader: ConfigLoader| {
            let credentials = Credentials::new("AKIDTEST", "secret", None, None, "test");
            loader
                .endpoint_url(endpoint.clone())
                .region(Region::new("eu-west-1"))
                .credentials_provider(SharedCredentialsProvider::new(credentials))
        };
        let queue = Queue::with(url, VISIBILITY, wait, settings).await.expect("all is set");
        Self {
            stub,
            queue,
            health: Arc::default(),
            stats: Arc::default(),
            budget: Arc::new(Budget::new(1_000, 64 * 1024 * 1024)),
        }
    }

    /// From now on calls of this kind are refused until the switch is off.
    fn refuse(&self, action: Action, with: Refusal) -> Arc<AtomicBool> {
        let is_on = Arc::new(AtomicBool::new(true));
        let switch = Arc::clone(&is_on);
        self.stub.script(move |call| {
            let refuses = call.action == action && switch.load(Ordering::Relaxed);
            if refuses { Fault::Refuse(with) } else { Fault::None }
        });
        is_on
    }

    fn receives(&self) -> u64 {
        self.stub.calls(Action::ReceiveMessage)
    }
}

/// Waits until it is so; other tasks and the network go on meanwhile.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        yield_now().await;
    }
}

/// Lets everything happen that needs no time to pass. The clock must stand still.
async fn settle() {
    for _ in 0..10_000 {
        yield_now().await;
    }
}

/// Lets an hour pass in small steps, in which everything happens that may happen. It ends even if a task
/// never waits, as a sleep of the test would not.
async fn pass_time() {
    for _ in 0..120 {
        advance(Duration::from_secs(30)).await;
        for _ in 0..100 {
            yield_now().await;
        }
    }
}

/// Pollers that run.
struct Polling {
    shared: Arc<poller::Shared>,
    received: mpsc::Receiver<Vec<Pending>>,
    task: JoinHandle<()>,
}

impl Polling {
    fn start(scene: &Scene) -> Self {
        Self::start_some(scene, 1)
    }

    /// `task` is one of them.
    fn start_some(scene: &Scene, pollers: usize) -> Self {
        let shared = Arc::new(poller::Shared {
            queue: scene.queue.clone(),
            rules: watch::channel(Arc::default()).1,
            poll_limiter: PollLimiter::new(pollers),
            budget: Arc::clone(&scene.budget),
            leases: Arc::new(Leases::new(VISIBILITY)),
            admission: Admission {
                verifier: Arc::new(Verifier::new(trust::Settings::default())),
                awaiting: mpsc::unbounded_channel().0,
                unverified: Arc::default(),
            },
            health: Arc::clone(&scene.health),
            stats: Arc::clone(&scene.stats),
            idle: Arc::new(IdleTracker::default()),
            polls_open_at_stop: poller::OpenPolls::default(),
            stop: CancellationToken::new(),
        });
        let (hand_over, received) = mpsc::channel(100);
        let start = || {
            let pulse = scene.health.pulse("poller", VISIBILITY);
            tokio::spawn(poller::run(Arc::clone(&shared), hand_over.clone(), pulse))
        };
        for _ in 1..pollers {
            start();
        }
        let task = start();
        Self { shared, received, task }
    }

    async fn next(&mut self) -> usize {
        self.received.recv().await.expect("the poller runs").len()
    }
}

#[tokio::test]
async fn nothing_is_received_while_the_gate_is_closed() {
    let scene = Scene::new(3, Duration::ZERO).await;
    scene.health.gate.set_database_away(Some("away".to_owned()));
    let mut polling = Polling::start(&scene);
    pause();
    pass_time().await;
    assert_eq!(scene.receives(), 0);
    resume();
    scene.health.gate.set_database_away(None);
    assert_eq!(polling.next().await, 3);
}

#[tokio::test]
async fn nothing_is_received_if_the_gate_closes_while_the_poller_waits_for_memory() {
    let scene = Scene::new(3, Duration::ZERO).await;
    let scene = Scene { budget: Arc::new(Budget::new(MOST_PER_CALL, usize::MAX / 2)), ..scene };
    let everything = scene.budget.reserve().await;
    let mut polling = Polling::start(&scene);
    pause();
    settle().await;
    scene.health.gate.set_database_away(Some("away".to_owned()));
    drop(everything);
    pass_time().await;
    assert_eq!(scene.receives(), 0);
    resume();
    scene.health.gate.set_database_away(None);
    assert_eq!(polling.next().await, 3);
}

#[tokio::test]
async fn a_failed_receive_is_repeated_only_when_time_has_passed() {
    let scene = Scene::new(3, Duration::ZERO).await;
    // A refusal is repeated after a second at the earliest.
    let refusing = scene.refuse(Action::ReceiveMessage, Refusal::AccessDenied);
    let mut polling = Polling::start(&scene);
    until(|| scene.health.receiving.is_failing()).await;
    pause();
    let tried = scene.receives();
    assert!(tried > 0);
    settle().await;
    assert_eq!(scene.receives(), tried, "no time has passed");
    assert_eq!(scene.budget.held(), 0);
    refusing.store(false, Ordering::Relaxed);
    advance(LONG).await;
    resume();
    assert_eq!(polling.next().await, 3);
    assert!(!scene.health.receiving.is_failing());
}

#[tokio::test]
async fn what_a_poll_brings_after_the_stop_is_given_back() {
    let scene = Scene::new(0, LONGEST_WAIT).await;
    let polling = Polling::start(&scene);
    until(|| scene.receives() > 0).await;
    // The poll is open for 20 seconds; the poller does not wait that long.
    pause();
    polling.shared.stop.cancel();
    polling.task.await.expect("it ends");
    resume();
    scene.stub.put(QUEUE, ["too late"]);
    until(|| scene.stub.counts(QUEUE).in_flight == 1).await;
    assert!(!polling.shared.leases.any());
    polling.shared.end_open_polls().await;
    assert!(polling.shared.leases.any(), "so that it is given back");
    leases::give_back_all(&polling.shared.leases, &scene.queue).await;
    let counts = scene.stub.counts(QUEUE);
    assert_eq!((counts.visible, counts.in_flight), (1, 0));
}

/// Four pollers, and writers that take their time: they write when nothing more is handed over.
#[tokio::test]
async fn heavy_messages_exceed_the_budget_by_no_more_than_one_receive() {
    const KIB: usize = 1024;
    const MESSAGES: usize = 60;
    let limit = 4 * KIB * KIB;
    let scene = Scene::new(0, Duration::ZERO).await;
    let scene = Scene { budget: Arc::new(Budget::new(1_000, limit)), ..scene };
    let sizes = (0..MESSAGES).map(|number| (256 + number * 131 % 768) * KIB);
    scene.stub.put(QUEUE, sizes.map(|size| "x".repeat(size)));
    let mut polling = Polling::start_some(&scene, 4);
    let (mut consumed, mut most) = (0, 0);
    while consumed < MESSAGES {
        let mut held = polling.received.recv().await.expect("the pollers run");
        settle().await;
        while let Ok(more) = polling.received.try_recv() {
            held.extend(more);
        }
        most = most.max(held.iter().map(|pending| pending.bytes).sum());
        consumed += held.len();
    }
    assert_eq!(scene.stub.counts(QUEUE).received, 60, "none is received twice");
    assert!(most > KIB * KIB, "{most} bytes: several are held at once");
    let receive = MOST_PER_CALL * KIB * KIB;
    assert!(most <= limit + receive, "{most} bytes are held at once");
}

/// Receives all messages, as if they were written.
async fn written(scene: &Scene, messages: usize) -> Vec<Deletable> {
    let mut written = Vec::new();
    while written.len() < messages {
        let mut reservation = scene.budget.reserve().await;
        for message in scene.queue.receive(&mut Boundless).await.expect("an answer") {
            let share = reservation.take(message.body.len());
            written.push(Deletable { receipt_handle: message.receipt_handle, _share: share });
        }
    }
    written
}

fn start_deleter(scene: &Scene) -> (mpsc::UnboundedSender<Deletable>, JoinHandle<()>) {
    let (to_delete, deletable) = mpsc::unbounded_channel();
    let shared = deleter::Shared {
        queue: scene.queue.clone(),
        health: Arc::clone(&scene.health),
        stats: Arc::clone(&scene.stats),
    };
    let pulse = scene.health.pulse("deleter", Duration::ZERO);
    (to_delete, tokio::spawn(deleter::run(Arc::new(shared), deletable, pulse)))
}

fn send(
    to_delete: &mpsc::UnboundedSender<Deletable>,
    written: impl IntoIterator<Item = Deletable>,
) {
    for message in written {
        to_delete.send(message).expect("the deleter runs");
    }
}

/// The handles of each delete, in the order of the calls, which the script may spoil.
fn watch_deletes(
    stub: &Stub,
    script: impl Fn(&Call<'_>) -> Fault + Send + Sync + 'static,
) -> Arc<Mutex<Vec<Vec<String>>>> {
    let calls = Arc::<Mutex<Vec<Vec<String>>>>::default();
    let seen = Arc::clone(&calls);
    stub.script(move |call| {
        if call.action != Action::DeleteMessageBatch {
            return Fault::None;
        }
        let handles = call.handles.iter().map(ToString::to_string).collect();
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(handles);
        script(call)
    });
    calls
}

#[tokio::test]
async fn messages_of_several_writers_are_deleted_ten_per_call() {
    let scene = Scene::new(27, Duration::ZERO).await;
    let mut written = written(&scene, 27).await;
    let calls = watch_deletes(&scene.stub, |_| Fault::None);
    let (to_delete, deleting) = start_deleter(&scene);
    for _ in 0..3 {
        send(&to_delete.clone(), written.drain(..9));
    }
    drop(to_delete);
    deleting.await.expect("it ends");
    let mut sizes: Vec<usize> = calls.lock().expect("not poisoned").iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [7, 10, 10]);
    assert_eq!(scene.stub.counts(QUEUE).deleted, 27);
    assert_eq!(scene.stats.summary().deleted, 27);
    assert_eq!(scene.budget.held(), 0);
}

#[tokio::test]
async fn a_message_that_sqs_does_not_delete_is_tried_a_few_times_and_left() {
    let scene = Scene::new(5, Duration::ZERO).await;
    let written = written(&scene, 5).await;
    let (never, stale) = (written[1].receipt_handle.clone(), written[3].receipt_handle.clone());
    let failing = [(never.clone(), "InternalError"), (stale.clone(), "ReceiptHandleIsInvalid")];
    let calls = watch_deletes(&scene.stub, move |call| {
        let failed = call.handles.iter().enumerate().filter_map(|(index, handle)| {
            failing.iter().find(|(failing, _)| failing == handle).map(|(_, code)| (index, *code))
        });
        Fault::FailEntries(failed.collect())
    });
    let (to_delete, deleting) = start_deleter(&scene);
    send(&to_delete, written);
    drop(to_delete);
    deleting.await.expect("it ends");
    let calls = calls.lock().expect("not poisoned");
    let tries = |handle: &String| calls.iter().filter(|call| call.contains(handle)).count();
    assert_eq!(tries(&never), usize::try_from(deleter::TRIES).expect("few"));
    assert_eq!(tries(&stale), 1, "another try would be pointless");
    let others: usize = calls.iter().map(Vec::len).sum();
    assert_eq!(others, tries(&never) + 1 + 3, "the others are deleted once");
    let summary = scene.stats.summary();
    assert_eq!((summary.deleted, summary.not_deleted), (3, 2));
    assert_eq!(scene.budget.held(), 0, "it is not held any longer");
}

#[tokio::test]
async fn a_delete_that_fails_as_a_whole_is_repeated_until_it_is_answered() {
    let scene = Scene::new(12, Duration::ZERO).await;
    let written = written(&scene, 12).await;
    let refusing = scene.refuse(Action::DeleteMessageBatch, Refusal::AccessDenied);
    let (to_delete, deleting) = start_deleter(&scene);
    send(&to_delete, written);
    // The writers have ended.
    drop(to_delete);
    until(|| scene.health.deleting.is_failing()).await;
    pause();
    let tried = scene.stub.calls(Action::DeleteMessageBatch);
    settle().await;
    assert!(scene.health.gate.is_closed(), "nothing is received that could not be deleted");
    assert!(scene.stub.calls(Action::DeleteMessageBatch) <= tried + 2, "no time has passed");
    assert!(!deleting.is_finished(), "there is something left to delete");
    assert_eq!(scene.budget.held(), 12);
    refusing.store(false, Ordering::Relaxed);
    advance(LONG).await;
    resume();
    deleting.await.expect("it ends");
    assert_eq!(scene.stub.counts(QUEUE).deleted, 12);
    assert!(!scene.health.gate.is_closed());
    assert_eq!((scene.stats.summary().deleted, scene.budget.held()), (12, 0));
}
