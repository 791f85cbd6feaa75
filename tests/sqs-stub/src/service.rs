//! Requests become changes of queues and answers. Long polls wait here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::fault::{Call, Fault};
use crate::queue::{Body, Order, Queue, Redrive, Settings, Useless};
use crate::stub::CallCounts;
use crate::wire::{self, Action, Batch, Entry, Error, FailedEntry, Parameters};

const ACCOUNT: &str = "000000000000";

/// Decides what becomes of each call.
pub(crate) type Script = Arc<dyn Fn(&Call<'_>) -> Fault + Send + Sync>;

/// All queues, shared by all connections.
pub(crate) struct Service {
    state: Mutex<State>,
    clock: Clock,
    started: Duration,
    endpoint: String,
    latency_micros: AtomicU64,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) queues: BTreeMap<String, Entrance>,
    pub(crate) calls: BTreeMap<Action, CallCounts>,
    script: Option<Script>,
}

/// A queue and those who wait at it.
pub(crate) struct Entrance {
    pub(crate) queue: Queue,
    /// Told when a message may have become visible earlier than was foreseen.
    arrival: Arc<Notify>,
}

/// Who asks.
pub(crate) struct Client<'r> {
    pub(crate) user_agent: &'r str,
    /// The header of that name.
    pub(crate) authorization: &'r str,
    /// When it was signed.
    pub(crate) signed_at: &'r str,
}

impl Client<'_> {
    /// As in `AWS4-HMAC-SHA256 Credential=AKID/20261125/eu-west-1/sqs/aws4_request, …`.
    fn access_key_id(&self) -> &str {
        let credential = self.authorization.split_once("Credential=").map(|(_, rest)| rest);
        credential.and_then(|rest| rest.split('/').next()).unwrap_or_default()
    }
}

/// A request as it came.
pub(crate) struct Request {
    action: Action,
    parameters: Parameters,
    /// What the script says about it.
    pub(crate) fault: Fault,
}

impl Service {
    pub(crate) fn new(endpoint: String) -> Self {
        let clock = Clock::new();
        let latency_micros = AtomicU64::default();
        Self { state: Mutex::default(), started: clock.now(), clock, endpoint, latency_micros }
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // No change is made in parts that a panic could leave apart.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_script(&self, script: Option<Script>) {
        self.state().script = script;
    }

    pub(crate) fn set_latency(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_micros.store(micros, Ordering::Relaxed);
    }

    /// How much later than it could each call is answered.
    pub(crate) fn latency(&self) -> Duration {
        Duration::from_micros(self.latency_micros.load(Ordering::Relaxed))
    }

    pub(crate) fn queue_url(&self, name: &str) -> String {
        format!("{}/{ACCOUNT}/{name}", self.endpoint)
    }

    /// Makes a queue unless it is there.
    pub(crate) fn create_queue(&self, name: &str, settings: Settings) {
        let mut state = self.state();
        let key = fastrand::u64(..);
        state.queues.entry(name.to_owned()).or_insert_with(|| Entrance {
            queue: Queue::new(settings, key),
            arrival: Arc::default(),
        });
    }

    /// Puts messages into a queue, if it is there.
    pub(crate) fn put(&self, name: &str, bodies: Vec<Body>) {
        let mut state = self.state();
        let Some(entrance) = state.queues.get_mut(name) else { return };
        let now = self.clock.now();
        for body in bodies {
            entrance.queue.put(body, Duration::ZERO, now);
        }
        entrance.arrival.notify_waiters();
    }

    /// Reads a request and asks the script about it.
    pub(crate) fn read(
        &self,
        target: &str,
        client: &Client<'_>,
        body: &[u8],
    ) -> Result<Request, Error> {
        let action = Action::of_target(target)
            .ok_or_else(|| Error::unsupported(format!("the stub does not know {target}")))?;
        let parameters = Parameters::parse(body)?;
        let (before, script) = {
            let mut state = self.state();
            let counts = state.calls.entry(action).or_default();
            counts.calls += 1;
            (counts.calls - 1, state.script.clone())
        };
        let fault = script.map_or(Fault::None, |script| {
            let entries = parameters.entries();
            script(&Call {
                action,
                queue: parameters.queue().unwrap_or_default(),
                before,
                user_agent: client.user_agent,
                access_key_id: client.access_key_id(),
                signed_at: client.signed_at,
                running: self.clock.now().saturating_sub(self.started),
                handles: entries.iter().filter_map(|e| e.receipt_handle.as_deref()).collect(),
            })
        });
        if fault != Fault::None {
            let mut state = self.state();
            let faults = &mut state.calls.entry(action).or_default().faults;
            *faults.entry(fault.name()).or_default() += 1;
        }
        Ok(Request { action, parameters, fault })
    }

    /// Carries a request out; returns the body of the answer.
    pub(crate) async fn carry_out(&self, request: &Request) -> Result<Vec<u8>, Error> {
        let Request { action, parameters, fault } = request;
        match action {
            Action::CreateQueue => {
                let name = parameters.queue_name()?;
                let attributes = parameters.attributes.clone().unwrap_or_default();
                self.create_queue(name, settings(&attributes)?);
                Ok(wire::queue_url(&self.queue_url(name)))
            }
            Action::GetQueueUrl => {
                let name = parameters.queue_name()?;
                if !self.state().queues.contains_key(name) {
                    return Err(Error::no_such_queue());
                }
                Ok(wire::queue_url(&self.queue_url(name)))
            }
            Action::GetQueueAttributes => self.attributes(parameters),
            Action::ReceiveMessage => self.receive(parameters, fault).await,
            Action::ChangeMessageVisibility | Action::DeleteMessage => {
                parameters.single.handle()?;
                self.with(parameters, |entrance| {
                    self.change(*action, &parameters.single, entrance, fault)?
                        .map_err(Error::useless)
                })?;
                Ok(b"{}".to_vec())
            }
            Action::SendMessage => {
                let (id, md5) =
                    self.with(parameters, |entrance| self.send(&parameters.single, entrance))?;
                Ok(wire::md5_of_body(&id, &md5))
            }
            Action::ChangeMessageVisibilityBatch
            | Action::DeleteMessageBatch
            | Action::SendMessageBatch => self.batch(*action, parameters, fault),
        }
    }

    fn with<T>(
        &self,
        parameters: &Parameters,
        work: impl FnOnce(&mut Entrance) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut state = self.state();
        work(state.queues.get_mut(parameters.queue()?).ok_or_else(Error::no_such_queue)?)
    }

    /// Waits for a first message as long as the request says.
    async fn receive(&self, parameters: &Parameters, fault: &Fault) -> Result<Vec<u8>, Error> {
        let most = parameters.most()?;
        let asked = (parameters.single.visibility()?, parameters.wait()?);
        let order =
            if let Fault::Reorder(seed) = fault { Order::Drawn(*seed) } else { Order::Oldest };
        let began = self.clock.now();
        loop {
            let (arrival, pause) = {
                let mut state = self.state();
                let now = self.clock.now();
                let entrance =
                    state.queues.get_mut(parameters.queue()?).ok_or_else(Error::no_such_queue)?;
                let settings = entrance.queue.settings();
                let until = began + asked.1.unwrap_or(settings.wait);
                let mut hidden = asked.0.unwrap_or(settings.visibility);
                if let Fault::HideFor(shorter) = fault {
                    hidden = *shorter;
                }
                let dead_letter_queue =
                    settings.redrive.as_ref().map(|redrive| redrive.dead_letter_queue.clone());
                let received = entrance.queue.receive(most, hidden, order, now);
                let next = entrance.queue.next_visible();
                let arrival = Arc::clone(&entrance.arrival).notified_owned();
                if hidden.is_zero() && !received.deliveries.is_empty() {
                    entrance.arrival.notify_waiters();
                }
                if let Some(other) = dead_letter_queue.and_then(|name| state.queues.get_mut(&name))
                {
                    for dead in received.dead {
                        other.queue.put_dead(dead, now);
                        other.arrival.notify_waiters();
                    }
                }
                if !received.deliveries.is_empty() || now >= until {
                    return Ok(wire::messages(&received.deliveries, parameters));
                }
                (arrival, next.map_or(until, |next| next.min(until)).saturating_sub(now))
            };
            tokio::select! {
                () = arrival => {}
                // Timers of tokio are rough: one that is early is asked again.
                () = sleep(pause) => {}
            }
        }
    }

    fn batch(
        &self,
        action: Action,
        parameters: &Parameters,
        fault: &Fault,
    ) -> Result<Vec<u8>, Error> {
        let entries = parameters.batch()?;
        for entry in entries {
            if action == Action::SendMessageBatch {
                entry.body()?
            } else {
                entry.handle()?
            };
        }
        self.with(parameters, |entrance| {
            let mut answer = Batch::default();
            for (index, entry) in entries.iter().enumerate() {
                if let Some(code) = fault.fails(index) {
                    answer.failed(&entry.id, FailedEntry { code, message: "scripted" });
                } else if action == Action::SendMessageBatch {
                    let (id, md5) = self.send(entry, entrance)?;
                    answer.sent(&entry.id, &id, &md5);
                } else {
                    match self.change(action, entry, entrance, fault)? {
                        Ok(()) => answer.succeeded(&entry.id),
                        Err(useless) => answer.failed(&entry.id, FailedEntry::useless(useless)),
                    }
                }
            }
            Ok(answer.into_json())
        })
    }

    fn send(&self, entry: &Entry, entrance: &mut Entrance) -> Result<(String, String), Error> {
        let body = Body::new(entry.body()?);
        let delay = entry.delay()?.unwrap_or(entrance.queue.settings().delay);
        let md5 = body.md5().to_owned();
        let id = entrance.queue.put(body, delay, self.clock.now());
        entrance.arrival.notify_waiters();
        Ok((id.to_string(), md5))
    }

    /// Deletes a message or changes its visibility.
    fn change(
        &self,
        action: Action,
        entry: &Entry,
        entrance: &mut Entrance,
        fault: &Fault,
    ) -> Result<Result<(), Useless>, Error> {
        let (handle, now) = (entry.handle()?, self.clock.now());
        if *fault == Fault::Ignore {
            return Ok(Ok(()));
        }
        if matches!(action, Action::DeleteMessage | Action::DeleteMessageBatch) {
            let stale = match fault {
                Fault::StaleDelete(stale) => *stale,
                _ => entrance.queue.settings().stale_delete,
            };
            return Ok(entrance.queue.delete(handle, stale, now));
        }
        let hidden = entry.visibility()?.ok_or_else(|| Error::missing("VisibilityTimeout"))?;
        let changed = entrance.queue.change_visibility(handle, hidden, now);
        entrance.arrival.notify_waiters();
        Ok(changed)
    }

    fn attributes(&self, parameters: &Parameters) -> Result<Vec<u8>, Error> {
        let name = parameters.queue()?;
        self.with(parameters, |entrance| {
            let counts = entrance.queue.counts(self.clock.now());
            let settings = entrance.queue.settings();
            let all = [
                ("ApproximateNumberOfMessages", counts.visible.to_string()),
                ("ApproximateNumberOfMessagesNotVisible", counts.in_flight.to_string()),
                ("ApproximateNumberOfMessagesDelayed", counts.delayed.to_string()),
                ("VisibilityTimeout", settings.visibility.as_secs().to_string()),
                ("ReceiveMessageWaitTimeSeconds", settings.wait.as_secs().to_string()),
                ("DelaySeconds", settings.delay.as_secs().to_string()),
                ("QueueArn", arn(name)),
            ];
            let redrive = settings.redrive.as_ref().map(|redrive| {
                let policy = serde_json::json!({
                    "deadLetterTargetArn": arn(&redrive.dead_letter_queue),
                    "maxReceiveCount": redrive.max_receive_count,
                });
                ("RedrivePolicy", policy.to_string())
            });
            let asked =
                all.into_iter().chain(redrive).filter(|(name, _)| parameters.wants(name)).collect();
            Ok(wire::attributes(&asked))
        })
    }
}

fn arn(queue: &str) -> String {
    format!("arn:aws:sqs:us-east-1:{ACCOUNT}:{queue}")
}

/// The settings that the attributes of `CreateQueue` ask for.
fn settings(attributes: &BTreeMap<String, String>) -> Result<Settings, Error> {
    let mut settings = Settings::default();
    for (name, value) in attributes {
        let invalid = || Error::invalid(format!("Invalid value for the parameter {name}."));
        let seconds = || value.parse().map(Duration::from_secs).map_err(|_| invalid());
        match name.as_str() {
            "VisibilityTimeout" => settings.visibility = seconds()?,
            "ReceiveMessageWaitTimeSeconds" => settings.wait = seconds()?,
            "DelaySeconds" => settings.delay = seconds()?,
            "RedrivePolicy" => settings.redrive = Some(redrive(value).ok_or_else(invalid)?),
            _ => return Err(Error::unsupported(format!("the stub has no attribute {name}"))),
        }
    }
    Ok(settings)
}

fn redrive(policy: &str) -> Option<Redrive> {
    let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
    let count = policy.get("maxReceiveCount")?;
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
    let arn = policy.get("deadLetterTargetArn")?.as_str()?;
    Some(Redrive {
        dead_letter_queue: arn.rsplit(':').next()?.to_owned(),
        max_receive_count: u32::try_from(count).ok()?,
    })
}
