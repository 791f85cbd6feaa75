//! Every point at which a crash could lose or double an event, each made to happen exactly there by
//! the queue or by the line to PostgreSQL; then every row is accounted for.
//!
//! | point | where |
//! |---|---|
//! | after receive; mid-transaction; commit sent, answer lost; after commit, before delete; delete applied, answer lost; delete partly failed; during drain | [`POINTS`] |
//! | the worker's host is gone in the middle of a transaction | [`POINTS`] |
//! | PostgreSQL crashes around a commit; gives no answer at start; has no connection, no disk left | below |
//! | PostgreSQL stopped for long; turned read-only; its locks held for long | [`crate::outage`] |
//! | what SQS and the network have in store, fault by fault | [`crate::faults`] |
//! | any of these at any moment, and together | [`crate::crash_seeds`] |
//! | the clock stepping | [`crate::model`]: decode takes it as a value; leases and time-outs are measured by a clock that never steps |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqs_stub::{Action, Fault};

use crate::stream::MISMATCHED;
use crate::support::database::Database;
use crate::support::ledger::Ledger;
use crate::support::process::eventually;
use crate::support::proxy::{Act, Moment};
use crate::support::rig::Rig;
use crate::support::server::PostgreSql;

/// What goes wrong, once the first messages are received.
enum Wrong {
    /// At the first moment of this kind.
    Line(Moment, Act),
    /// Every delete until the crash.
    Deletes(fn() -> Fault),
}

/// What becomes of the worker when it has happened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// `kill -9`, and another worker.
    Kill,
    /// SIGTERM, and `kill -9` while it drains.
    KillInDrain,
    /// It lives and copes.
    Live,
}

/// A point, and what it leaves behind when the worker is killed there.
struct Point {
    name: &'static str,
    wrong: Wrong,
    then: Then,
    leaves_rows: bool,
    leaves_deleted: bool,
}

const fn line(
    name: &'static str,
    moment: Moment,
    act: Act,
    then: Then,
    leaves_rows: bool,
) -> Point {
    Point { name, wrong: Wrong::Line(moment, act), then, leaves_rows, leaves_deleted: false }
}

const fn deletes(
    name: &'static str,
    fault: fn() -> Fault,
    then: Then,
    leaves_deleted: bool,
) -> Point {
    Point { name, wrong: Wrong::Deletes(fault), then, leaves_rows: true, leaves_deleted }
}

fn every_second_fails() -> Fault {
    Fault::FailEntries((0..10).step_by(2).map(|index| (index, "InternalError")).collect())
}

const POINTS: [Point; 19] = [
    line("after receive", Moment::Begin, Act::Hold, Then::Kill, false),
    line("before the batch is sent, cut", Moment::Write, Act::Cut, Then::Live, false),
    line("batch sent, killed before its answer", Moment::Write, Act::LoseAnswer, Then::Kill, false),
    line("batch sent, answer lost", Moment::Write, Act::LoseAnswer, Then::Live, false),
    line("mid-transaction", Moment::Commit, Act::Hold, Then::Kill, false),
    line("mid-transaction, cut", Moment::Commit, Act::Cut, Then::Live, false),
    line("mid-transaction, no answer", Moment::Commit, Act::Hold, Then::Live, false),
    line("mid-transaction, the host is gone", Moment::Commit, Act::Vanish, Then::Kill, false),
    line(
        "commit sent, killed before its answer",
        Moment::Commit,
        Act::LoseAnswer,
        Then::Kill,
        true,
    ),
    line("commit sent, no answer", Moment::Commit, Act::LoseAnswer, Then::Live, true),
    line("commit sent, cut", Moment::Commit, Act::CutAnswer(0), Then::Live, true),
    line("commit sent, answer truncated", Moment::Commit, Act::CutAnswer(7), Then::Live, true),
    line("during drain, before the commit", Moment::Commit, Act::Hold, Then::KillInDrain, false),
    line(
        "during drain, after the commit",
        Moment::Commit,
        Act::LoseAnswer,
        Then::KillInDrain,
        true,
    ),
    deletes("after commit, before delete", || Fault::Silence, Then::Kill, false),
    deletes("delete applied, killed before its answer", || Fault::LoseAnswer, Then::Kill, true),
    deletes("delete applied, answer lost", || Fault::LoseAnswer, Then::Live, true),
    deletes("delete partly failed, killed", every_second_fails, Then::Kill, true),
    deletes("delete answered and not applied", || Fault::Ignore, Then::Kill, false),
];

/// One writer, so that nothing is written beside the transaction that is stopped, and a time-out
/// that a test can wait for.
const ONE_WRITER: [&str; 4] = ["--writers", "1", "--database-timeout", "2"];

#[tokio::test]
async fn a_crash_at_any_point_loses_and_doubles_nothing() {
    let database = Database::migrated().await;
    let run = async |number: usize, point: &Point| {
        let seed = u64::try_from(number).expect("few");
        let wrong = happens(&database, seed, point).await;
        wrong.err().map(|wrong| format!("{}: {wrong}", point.name))
    };
    let mut wrong = Vec::new();
    // Some at once: most of the time goes to waiting for what a crash left hidden.
    for (number, points) in POINTS.chunks(4).enumerate() {
        let at = |place: usize| (points.get(place), number * 4 + place);
        let maybe = async |place| match at(place) {
            (Some(point), number) => run(number, point).await,
            (None, _) => None,
        };
        let (a, b, c, d) = tokio::join!(maybe(0), maybe(1), maybe(2), maybe(3));
        wrong.extend([a, b, c, d].into_iter().flatten());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(database.rows(MISMATCHED).await.len(), 0, "reports are the fold of their details");
}

/// Makes a crash at a point, and accounts.
async fn happens(database: &Database, seed: u64, point: &Point) -> Result<(), String> {
    let ledger = Ledger::draw(seed, &mut fastrand::Rng::with_seed(seed), 15, 0.3);
    let rig = Rig::new(database, ledger).await;
    let happened = go_wrong(&rig, &point.wrong);
    let mut worker = rig.worker(&ONE_WRITER);
    eventually(point.name, || async { happened(&rig) }).await;
    if point.then == Then::KillInDrain {
        worker.signal("TERM").await;
        eventually("it drains", || async { worker.log().contains("draining") }).await;
    }
    if point.then == Then::Live {
        rig.heal();
    } else {
        worker.kill().await;
        let left = (rig.has_written().await, rig.counts().deleted > 0);
        rig.heal();
        if left != (point.leaves_rows, point.leaves_deleted) {
            return Err(format!("it did not happen there: rows and deletes are {left:?}"));
        }
        worker = rig.worker(&ONE_WRITER);
    }
    let emptied = rig.emptied().await;
    // Whatever is deleted is committed: nothing that a worker still has to do may be missing.
    worker.kill().await;
    emptied.map_err(|wrong| format!("{wrong}\n{}", worker.log()))?;
    rig.account().await
}

/// Has it go wrong once a message is received; the answer tells whether it has.
fn go_wrong(rig: &Rig<'_>, wrong: &Wrong) -> Box<dyn Fn(&Rig<'_>) -> bool> {
    match *wrong {
        Wrong::Line(moment, act) => {
            let received = Arc::new(AtomicBool::new(false));
            let asked = Arc::clone(&received);
            rig.stub.script(move |call| {
                asked.fetch_or(call.action == Action::ReceiveMessage, Ordering::AcqRel);
                Fault::None
            });
            rig.proxy.script(move |seen, before| {
                // Not every transaction is of a batch: then all of them wait.
                let is_it = if moment == Moment::Begin {
                    received.load(Ordering::Acquire)
                } else {
                    before == 0
                };
                if seen == moment && is_it { act } else { Act::Pass }
            });
            Box::new(|rig| rig.proxy.done() > 0 && rig.counts().received > 0)
        }
        Wrong::Deletes(fault) => {
            rig.stub.script(move |call| match call.action {
                Action::DeleteMessageBatch => fault(),
                _ => Fault::None,
            });
            let carries_out = matches!(fault(), Fault::LoseAnswer | Fault::FailEntries(_));
            Box::new(move |rig| {
                rig.stub.calls(Action::DeleteMessageBatch) > 0
                    && (!carries_out || rig.counts().deleted > 0)
            })
        }
    }
}

#[tokio::test]
async fn postgresql_crashes_before_and_after_a_commit() {
    let server = PostgreSql::start().await;
    let database = Database::migrated_on(&server.url()).await;
    for (seed, act) in [(0, Act::Hold), (1, Act::LoseAnswer)] {
        let ledger = Ledger::draw(seed, &mut fastrand::Rng::with_seed(seed), 15, 0.3);
        let rig = Rig::new(&database, ledger).await;
        let first = (Moment::Commit, 0);
        rig.proxy.script(move |seen, before| if (seen, before) == first { act } else { Act::Pass });
        let mut worker = rig.worker(&ONE_WRITER);
        eventually("it is about to commit", || async { rig.proxy.done() > 0 }).await;
        server.stop().await;
        eventually("the worker notices", || async { worker.log().contains("not receiving") }).await;
        server.start_again().await;
        let emptied = rig.emptied().await;
        worker.kill().await;
        emptied
            .and(rig.account().await)
            .unwrap_or_else(|wrong| panic!("{act:?}: {wrong}\n{}", worker.log()));
    }
}

/// An orchestrator starts it anew; one that waited for ever would look alive.
#[tokio::test]
async fn a_worker_that_gets_no_answer_at_start_ends() {
    let database = Database::migrated().await;
    // The version of the schema, the dates from which rows are kept, and the rules for machines.
    for question in 0..3 {
        let ledger = Ledger::draw(0, &mut fastrand::Rng::with_seed(0), 1, 0.0);
        let rig = Rig::new(&database, ledger).await;
        rig.proxy.script(move |seen, before| match seen {
            Moment::Begin if before == question => Act::Hold,
            _ => Act::Pass,
        });
        let mut worker = rig.worker(&ONE_WRITER);
        let status = worker.wait().await;
        assert_eq!(status.code(), Some(1), "{}", worker.log());
        assert!(worker.log().contains("no answer from PostgreSQL within 2 s"), "{}", worker.log());
    }
}

#[tokio::test]
async fn postgresql_has_no_connection_left() {
    let database = Database::migrated().await;
    let rig = Rig::new(&database, Ledger::draw(0, &mut fastrand::Rng::with_seed(0), 15, 0.3)).await;
    let role = database.role("worker");
    rig.proxy.script(|moment, _| if moment == Moment::Commit { Act::Cut } else { Act::Pass });
    let mut worker = rig.worker(&ONE_WRITER);
    eventually("a commit is cut off", || async { rig.proxy.done() > 0 }).await;
    database.execute(&format!("ALTER ROLE {role} CONNECTION LIMIT 0")).await;
    rig.heal();
    database
        .execute(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        ))
        .await;
    // The pool asks again and again, and gives up in the end.
    eventually("connections are refused", || async { worker.log().contains("pool timed out") })
        .await;
    assert!(!rig.has_written().await);
    assert_eq!(rig.counts().deleted, 0);
    database.execute(&format!("ALTER ROLE {role} CONNECTION LIMIT -1")).await;
    let emptied = rig.emptied().await;
    worker.kill().await;
    emptied.and(rig.account().await).unwrap_or_else(|wrong| panic!("{wrong}\n{}", worker.log()));
}

/// A disk cannot be filled without rights that a test need not have; PostgreSQL raises its own error
/// for it, in the middle of a batch.
#[tokio::test]
async fn postgresql_has_no_disk_left() {
    let database = Database::migrated().await;
    let rig = Rig::new(&database, Ledger::draw(0, &mut fastrand::Rng::with_seed(0), 15, 0.3)).await;
    database
        .execute(
            "CREATE FUNCTION public.no_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
            CREATE TRIGGER no_disk BEFORE INSERT ON aws_reports FOR EACH ROW EXECUTE FUNCTION public.no_disk()",
        )
        .await;
    let mut worker = rig.worker(&ONE_WRITER);
    eventually("the disk is full", || async { worker.log().contains("53100") }).await;
    eventually("the worker goes on trying", || async { worker.log().matches("53100").count() > 2 })
        .await;
    assert!(!rig.has_written().await, "no message is to blame, none becomes a dead letter");
    assert_eq!(rig.counts().deleted, 0);
    database.execute("DROP TRIGGER no_disk ON aws_reports").await;
    let emptied = rig.emptied().await;
    worker.kill().await;
    emptied.and(rig.account().await).unwrap_or_else(|wrong| panic!("{wrong}\n{}", worker.log()));
}
