//! A worker between a scripted queue and a scripted line to PostgreSQL.

use std::time::{Duration, Instant};

use sqs_stub::{Settings, Stub};

use super::database::Database;
use super::ledger::Ledger;
use super::process::{PATIENCE, Worker};
use super::proxy::Proxy;

/// The name of the queue.
const QUEUE: &str = "events";

/// A queue that holds the bodies of a ledger, and a proxy before the database.
pub struct Rig<'d> {
    pub database: &'d Database,
    pub ledger: Ledger,
    pub stub: Stub,
    pub proxy: Proxy,
    queue_url: String,
}

impl<'d> Rig<'d> {
    pub async fn new(database: &'d Database, ledger: Ledger) -> Self {
        let stub = Stub::start().await.expect("a port");
        let queue_url = stub.create_queue(QUEUE, Settings::default());
        stub.put(QUEUE, &ledger.bodies);
        let proxy = Proxy::before(&database.url()).await;
        Self { database, ledger, stub, proxy, queue_url }
    }

    /// Starts a worker. Messages stay hidden as short as may be: a crash delays what was in flight
    /// by that much.
    pub fn worker(&self, arguments: &[&str]) -> Worker {
        let settings = [
            ("DATABASE_URL", &*self.proxy.url(&self.database.url_of("worker"))),
            ("NO_MIGRATE", "true"),
            ("AWS_ENDPOINT_URL", self.stub.endpoint()),
            ("VISIBILITY_TIMEOUT", "2"),
        ];
        Worker::start_with(&settings, &self.queue_url, arguments)
    }

    /// What became of the messages.
    pub fn counts(&self) -> sqs_stub::Counts {
        self.stub.counts(QUEUE)
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        self.stub.clear_script();
        self.proxy.pass();
    }

    /// Waits until the queue holds nothing, in flight or not.
    pub async fn emptied(&self) -> Result<(), String> {
        let began = Instant::now();
        while self.counts().left() > 0 {
            if began.elapsed() > PATIENCE / 2 {
                return Err(format!("messages are left for ever: {:?}", self.counts()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Whether rows of the ledger are there.
    pub async fn has_written(&self) -> bool {
        !self.ledger.found(self.database).await.is_empty()
    }

    /// Accounts for every event: each row is there and there once, every message is deleted, none is
    /// in flight. `Err` says what is wrong.
    pub async fn account(&self) -> Result<(), String> {
        let difference = self.ledger.compare(self.database).await;
        let counts = self.counts();
        let put = u64::try_from(self.ledger.bodies.len()).expect("few");
        let all_deleted = counts.deleted == put && counts.left() == 0 && counts.dead_lettered == 0;
        if difference.lost.is_empty() && difference.doubled.is_empty() && all_deleted {
            return Ok(());
        }
        let first = |rows: &[String]| rows.iter().take(3).cloned().collect::<Vec<_>>().join("\n  ");
        Err(format!(
            "{} lost:\n  {}\n{} doubled or wrong:\n  {}\n{put} messages put: {counts:?}",
            difference.lost.len(),
            first(&difference.lost),
            difference.doubled.len(),
            first(&difference.doubled),
        ))
    }
}
