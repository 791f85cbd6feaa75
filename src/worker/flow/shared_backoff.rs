//! One back-off for all tasks that make the same call to SQS. While the call fails, one task makes it on
//! behalf of all, so that the rate of failing calls does not depend on the number of tasks.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until};

use crate::backoff::Backoff;
use crate::queue::{Error, ErrorKind};
use crate::worker::log_throttle::LogThrottle;

/// After this many failures in a row each is logged; occasional ones are throttled.
const LASTING: u32 = 4;

/// The call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call {
    Receive,
    Delete,
}

impl Call {
    /// In log lines.
    fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Delete => "delete",
        }
    }

    /// Why it failed, in a few words.
    fn reason(self, error: &Error) -> &'static str {
        match (self, error.kind) {
            _ if error.concerns_credentials => "SQS does not accept the credentials",
            (Self::Receive, ErrorKind::Transient) => "SQS does not answer receives",
            (Self::Receive, ErrorKind::Permanent) => "SQS refuses receives",
            (Self::Delete, ErrorKind::Transient) => "SQS does not answer deletes",
            (Self::Delete, ErrorKind::Permanent) => "SQS refuses deletes",
        }
    }
}

#[derive(Debug)]
pub(crate) struct SharedBackoff {
    call: Call,
    lines: LogThrottle,
    /// Why the last call failed, if it did.
    reason: std::sync::Mutex<Option<&'static str>>,
    probe: Mutex<Option<Failing>>,
}

#[derive(Debug)]
struct Failing {
    kind: ErrorKind,
    backoff: Backoff,
    next_try: Instant,
    tries: u32,
    is_logged: bool,
}

impl Failing {
    fn new(kind: ErrorKind) -> Self {
        let last = Duration::from_secs(30);
        let backoff = match kind {
            ErrorKind::Transient => Backoff::new(Duration::from_millis(200), last),
            // Only a person can help: never more than once a second.
            ErrorKind::Permanent => {
                Backoff::new(Duration::from_secs(2), last).at_least(Duration::from_secs(1))
            }
        };
        Self { kind, backoff, next_try: Instant::now(), tries: 0, is_logged: false }
    }
}

/// The permission to make the call now.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    shared: &'a SharedBackoff,
    /// Held by the task that makes the call on behalf of all.
    probe: Option<MutexGuard<'a, Option<Failing>>>,
}

impl SharedBackoff {
    pub(crate) fn new(call: Call) -> Self {
        Self {
            call,
            lines: LogThrottle::default(),
            reason: std::sync::Mutex::default(),
            probe: Mutex::new(None),
        }
    }

    /// Whether the last call failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.reason().is_some()
    }

    /// Why the last call failed, for readiness.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_reason(&self, reason: Option<&'static str>) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Waits for the permission to make the call; there is no wait while calls succeed.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        if !self.is_failing() {
            return Turn { shared: self, probe: None };
        }
        let probe = self.probe.lock().await;
        let Some(failing) = probe.as_ref() else {
            return Turn { shared: self, probe: None };
        };
        sleep_until(failing.next_try).await;
        Turn { shared: self, probe: Some(probe) }
    }
}

impl Turn<'_> {
    /// The call succeeded: all tasks may continue.
    pub(crate) fn succeeded(self) {
        if let Some(mut probe) = self.probe {
            let is_logged = probe.take().is_some_and(|failing| failing.is_logged);
            self.shared.set_reason(None);
            if is_logged {
                tracing::info!("{} works again", self.shared.call.name());
            }
        }
    }

    /// The call failed: the next attempt waits, longer each time.
    pub(crate) async fn failed(self, error: &Error) {
        let mut state = if let Some(probe) = self.probe {
            probe
        } else {
            let state = self.shared.probe.lock().await;
            if state.is_some() {
                // Another task has reported the same failure.
                return;
            }
            state
        };
        let mut failing = match state.take() {
            Some(failing) if failing.kind == error.kind => failing,
            _ => Failing::new(error.kind),
        };
        let delay = failing.backoff.next_delay();
        failing.next_try = Instant::now() + delay;
        failing.tries += 1;
        let tries = failing.tries;
        if self.shared.lines.add(1).is_some() || tries >= LASTING {
            failing.is_logged = true;
            tracing::warn!(error = %error, tries, delay_ms = delay.as_millis(), "{} failed; waiting", self.shared.call.name());
        }
        *state = Some(failing);
        self.shared.set_reason(Some(self.shared.call.reason(error)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn refused() -> Error {
        Error {
            kind: ErrorKind::Permanent,
            message: "AccessDenied".to_owned(),
            concerns_credentials: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn eight_tasks_ask_a_refused_queue_at_most_once_a_second() {
        let shared = Arc::new(SharedBackoff::new(Call::Receive));
        let calls = Arc::new(AtomicU32::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (shared, calls) = (Arc::clone(&shared), Arc::clone(&calls));
            tasks.spawn(async move {
                loop {
                    let turn = shared.turn().await;
                    calls.fetch_add(1, Ordering::Relaxed);
                    turn.failed(&refused()).await;
                    tokio::task::yield_now().await;
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        let at_first = calls.swap(0, Ordering::Relaxed);
        assert!(at_first <= 8 + 5, "{at_first} calls in the first 5 s");
        tokio::time::sleep(Duration::from_mins(10)).await;
        let later = calls.load(Ordering::Relaxed);
        assert!((20..=120).contains(&later), "{later} calls in 10 minutes: rising to every 30 s");
        tasks.abort_all();
    }

    #[tokio::test(start_paused = true)]
    async fn one_success_lets_everyone_go_on_at_once() {
        let shared = SharedBackoff::new(Call::Receive);
        shared.turn().await.failed(&refused()).await;
        assert_eq!(shared.reason(), Some("SQS refuses receives"));
        shared.turn().await.succeeded();
        assert_eq!(shared.reason(), None);
        let before = Instant::now();
        for _ in 0..10 {
            shared.turn().await.succeeded();
        }
        assert_eq!(Instant::now(), before);
    }
}
