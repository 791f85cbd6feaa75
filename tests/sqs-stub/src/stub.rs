//! The stub as tests and benchmarks hold it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;

use crate::fault::{Call, Fault};
use crate::queue::{Account, Body, Counts, Settings};
use crate::server;
use crate::service::Service;
use crate::wire::Action;

/// A running stub, stopped with this value. Needs a tokio runtime with I/O and time.
pub struct Stub {
    service: Arc<Service>,
    server: JoinHandle<()>,
}

/// What was asked of the stub.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CallCounts {
    /// Calls, those included that a fault spoiled.
    pub calls: u64,
    /// Of those, calls that had a fault, by the names of the faults.
    pub faults: BTreeMap<&'static str, u64>,
}

/// All that `GET /stats` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// By the names of the queues.
    pub queues: BTreeMap<String, Counts>,
    /// By action.
    pub calls: BTreeMap<Action, CallCounts>,
}

impl Stats {
    pub(crate) fn of(service: &Service) -> Self {
        let now = service.clock().now();
        let mut state = service.state();
        let queues = state.queues.iter_mut();
        Self {
            queues: queues.map(|(name, at)| (name.clone(), at.queue.counts(now))).collect(),
            calls: state.calls.clone(),
        }
    }
}

impl Stub {
    /// Starts on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn start() -> io::Result<Self> {
        Self::start_on("127.0.0.1:0").await
    }

    /// Starts on an address, such as `127.0.0.1:4100`.
    ///
    /// # Errors
    /// When the address is not to be had.
    pub async fn start_on(address: &str) -> io::Result<Self> {
        let (listener, endpoint) = server::bind(address).await?;
        let service = Arc::new(Service::new(endpoint));
        let server = tokio::spawn(server::serve(listener, Arc::clone(&service)));
        Ok(Self { service, server })
    }

    /// For `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.service.endpoint()
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        let port = self.endpoint().rsplit(':').next();
        port.and_then(|port| port.parse().ok()).unwrap_or_default()
    }

    /// The URL of a queue.
    #[must_use]
    pub fn queue_url(&self, name: &str) -> String {
        self.service.queue_url(name)
    }

    /// Makes a queue, unless there is one of that name, and returns its URL.
    pub fn create_queue(&self, name: &str, settings: Settings) -> String {
        self.service.create_queue(name, settings);
        self.queue_url(name)
    }

    /// Puts messages into a queue, which is made if it is not there.
    pub fn put<B: AsRef<str>>(&self, queue: &str, bodies: impl IntoIterator<Item = B>) {
        // Escaping and digesting is done before the lock is taken, and nobody waits for it.
        let bodies: Vec<Body> = bodies.into_iter().map(|body| Body::new(body.as_ref())).collect();
        self.service.create_queue(queue, Settings::default());
        self.service.put(queue, bodies);
    }

    /// From now on this says what becomes of each call.
    pub fn script(&self, script: impl Fn(&Call<'_>) -> Fault + Send + Sync + 'static) {
        self.service.set_script(Some(Arc::new(script)));
    }

    /// From now on all goes well.
    pub fn clear_script(&self) {
        self.service.set_script(None);
    }

    /// From now on each call is answered that much later than it could be, as on the way to a real SQS
    /// and back: ten to 25 milliseconds. It is carried out at once; tokio's timers count whole milliseconds.
    pub fn set_latency(&self, latency: Duration) {
        self.service.set_latency(latency);
    }

    /// Totals of all queues and calls.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(&self.service)
    }

    /// Totals of a queue; zeroes where there is none of that name.
    #[must_use]
    pub fn counts(&self, queue: &str) -> Counts {
        let now = self.service.clock().now();
        let mut state = self.service.state();
        state.queues.get_mut(queue).map(|at| at.queue.counts(now)).unwrap_or_default()
    }

    /// What became of each message of a queue.
    #[must_use]
    pub fn accounts(&self, queue: &str) -> Vec<Account> {
        let now = self.service.clock().now();
        let mut state = self.service.state();
        let queue = state.queues.get_mut(queue);
        queue.map(|at| at.queue.accounts(now).collect()).unwrap_or_default()
    }

    /// How often an action was asked for, faults included.
    #[must_use]
    pub fn calls(&self, action: Action) -> u64 {
        self.service.state().calls.get(&action).map_or(0, |counts| counts.calls)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}
