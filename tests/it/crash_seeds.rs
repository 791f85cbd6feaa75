//! Faults and crashes at moments that a seed draws, several at once: after each seed every event is
//! accounted for, row by row.
//!
//! `CRASH_SEEDS=200` runs so many (`make crash`), `CRASH_SEED=17` that one alone.

use std::time::{Duration, Instant};

use sqs_stub::Profile;

use crate::stream::MISMATCHED;
use crate::support::database::Database;
use crate::support::ledger::Ledger;
use crate::support::process::Worker;
use crate::support::proxy::{Act, Moment};
use crate::support::rig::Rig;

/// Seeds in `make test`.
const SEEDS: u64 = 12;
/// Seeds at once: most of the time goes to waiting for what a crash left hidden.
const LANES: usize = 6;
/// How long a crash is waited for when nothing moves: all workers may be held by a fault.
const STANDSTILL: Duration = Duration::from_secs(5);

/// What a seed did.
#[derive(Debug, Default)]
struct Done {
    messages: usize,
    duplicates: usize,
    rows: usize,
    killed: usize,
    stopped: usize,
    faults: u64,
}

#[tokio::test]
async fn whatever_a_seed_draws_every_event_is_accounted_for() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match number("CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CRASH_SEEDS").unwrap_or(SEEDS),
    };
    let database = Database::migrated().await;
    let (mut sum, mut wrong) = (Done::default(), Vec::new());
    let lane = async |first: usize| {
        let mut ran = Vec::new();
        for seed in seeds.clone().skip(first).step_by(LANES) {
            let began = Instant::now();
            let outcome = run(&database, seed).await;
            println!("{}", line(seed, &outcome, began.elapsed()));
            ran.push((seed, outcome));
        }
        ran
    };
    let (even, odd) = tokio::join!(async { tokio::join!(lane(0), lane(2), lane(4)) }, async {
        tokio::join!(lane(1), lane(3), lane(5))
    },);
    for (seed, (done, outcome)) in
        [even.0, even.1, even.2, odd.0, odd.1, odd.2].into_iter().flatten()
    {
        sum.add(&done);
        wrong.extend(outcome.err().map(|wrong| format!("seed {seed}: {wrong}")));
    }
    println!("{} seeds: {sum}: {} went wrong", seeds.end - seeds.start, wrong.len());
    assert!(wrong.is_empty(), "run one again with CRASH_SEED=…\n{}", wrong.join("\n"));
    assert_eq!(database.rows(MISMATCHED).await.len(), 0, "reports are the fold of their details");
}

fn line(seed: u64, (done, outcome): &(Done, Result<(), String>), took: Duration) -> String {
    let verdict = if outcome.is_ok() { "0 lost, 0 doubled" } else { "WRONG" };
    format!("seed {seed}: {done}, {:.1} s: {verdict}", took.as_secs_f64())
}

impl Done {
    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.duplicates += other.duplicates;
        self.rows += other.rows;
        self.killed += other.killed;
        self.stopped += other.stopped;
        self.faults += other.faults;
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { messages, duplicates, rows, killed, stopped, faults } = self;
        write!(
            f,
            "{messages} messages ({duplicates} duplicates), {rows} rows, {killed} kill -9, {stopped} SIGTERM, {faults} faults"
        )
    }
}

/// Draws messages, faults and crashes from a seed, has workers live with them, and accounts.
async fn run(database: &Database, seed: u64) -> (Done, Result<(), String>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mails = random.usize(10..40);
    let duplicates = random.f64() / 2.0;
    // The points of `crash_points` have the first seeds' mails.
    let ledger = Ledger::draw(1_000 + seed, &mut random, mails, duplicates);
    let mut done = Done {
        messages: ledger.bodies.len(),
        duplicates: ledger.duplicates,
        rows: ledger.rows(),
        ..Done::default()
    };
    let rig = Rig::new(database, ledger).await;
    let (queue, line) = (random.f64() * 0.3, random.f64() * 0.3);
    let profile = Profile { seed, rate: queue };
    rig.stub.script(move |call| profile.fault(call));
    rig.proxy.script(move |moment, before| drawn(seed, moment, before, line));

    let mut workers = vec![start(&rig, &mut random)];
    if random.bool() {
        workers.push(start(&rig, &mut random));
    }
    // Crashes come after so many moments: of messages, transactions and deletes, not of the clock.
    for _ in 0..random.usize(1..=4) {
        let moments = moments(&rig) + random.u64(1..30);
        let until = Instant::now() + STANDSTILL;
        while moments_left(&rig, moments) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut hit = workers.swap_remove(random.usize(..workers.len()));
        // A fault may have kept it from starting.
        let drains = random.bool() && hit.log().contains("consuming");
        if !drains {
            hit.kill().await;
            done.killed += 1;
        }
        workers.push(start(&rig, &mut random));
        // Then the next one is there before this one has drained.
        if drains {
            let (status, _) = hit.terminate().await;
            if !status.success() {
                return (done, Err(format!("SIGTERM ended a worker badly:\n{}", hit.log())));
            }
            done.stopped += 1;
        }
    }
    rig.heal();
    // Those that are left may be stuck in a fault that heals by time-out only, or have ended by one.
    workers.push(start(&rig, &mut random));
    done.faults = rig.proxy.done()
        + rig.stub.stats().calls.values().flat_map(|call| call.faults.values()).sum::<u64>();
    let emptied = rig.emptied().await;
    // Whatever is deleted is committed: nothing that a worker still has to do may be missing.
    for worker in &mut workers {
        worker.kill().await;
    }
    let outcome = emptied.and(rig.account().await);
    let logs = || workers.iter().map(Worker::log).collect::<Vec<_>>().join("\n--\n");
    let outcome = outcome.map_err(|wrong| format!("{wrong}\n{}", logs()));
    (done, outcome)
}

/// A worker with settings that no operator would choose, and any might.
fn start(rig: &Rig<'_>, random: &mut fastrand::Rng) -> Worker {
    let pick = |random: &mut fastrand::Rng, choices: &[u32]| {
        choices[random.usize(..choices.len())].to_string()
    };
    rig.worker(&[
        "--pollers",
        &pick(random, &[1, 2, 4, 8]),
        "--writers",
        &pick(random, &[1, 2, 3]),
        "--batch-rows",
        &pick(random, &[1, 7, 50, 1_000]),
        "--batch-linger",
        &pick(random, &[0, 5, 50]),
        "--max-in-flight",
        &pick(random, &[10, 40, 5_000]),
        "--database-timeout",
        &pick(random, &[1, 2]),
    ])
}

/// What happens on the line to PostgreSQL.
fn drawn(seed: u64, moment: Moment, before: u64, rate: f64) -> Act {
    let salt = match moment {
        Moment::Begin => 1,
        Moment::Write => 2,
        Moment::Commit => 3,
    };
    let mut random = fastrand::Rng::with_seed(seed ^ (before << 8) ^ (salt << 60));
    if random.f64() >= rate {
        return Act::Pass;
    }
    match random.u32(..9) {
        0 | 1 => Act::Cut,
        2 | 3 => Act::CutAnswer(random.usize(..40)),
        4 => Act::LoseAnswer,
        5 => Act::Hold,
        6 => Act::Vanish,
        _ => Act::Delay(Duration::from_millis(random.u64(1..400))),
    }
}

/// How much has happened so far.
fn moments(rig: &Rig<'_>) -> u64 {
    rig.proxy.moments() + rig.counts().received / 10 + rig.counts().deleted / 10
}

/// Whether so much is still to happen, and may.
fn moments_left(rig: &Rig<'_>, until: u64) -> bool {
    moments(rig) < until && rig.counts().left() > 0
}
