//! One back-off for all tasks that ask the same thing of SQS. While it fails, one of them asks on
//! behalf of all, so that the rate of a refused queue does not depend on how many tasks there are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until};

use crate::backoff::Backoff;
use crate::queue::{Error, Trouble};
use crate::worker::log_throttle::LogThrottle;

/// Failures in a row that are told of at once; single ones now and then are told of sparingly.
const LASTING: u32 = 4;

#[derive(Debug)]
pub(crate) struct SharedBackoff {
    what: &'static str,
    lines: LogThrottle,
    failing: AtomicBool,
    probe: Mutex<Option<Failing>>,
}

#[derive(Debug)]
struct Failing {
    trouble: Trouble,
    backoff: Backoff,
    next_try: Instant,
    tries: u32,
    is_logged: bool,
}

impl Failing {
    fn new(trouble: Trouble) -> Self {
        let last = Duration::from_secs(30);
        let backoff = match trouble {
            Trouble::Unavailable => Backoff::new(Duration::from_millis(200), last),
            // Only a person can mend it: never more than once a second.
            Trouble::Refused => {
                Backoff::new(Duration::from_secs(2), last).at_least(Duration::from_secs(1))
            }
        };
        Self { trouble, backoff, next_try: Instant::now(), tries: 0, is_logged: false }
    }
}

/// The right to ask now.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    shared: &'a SharedBackoff,
    /// Held by the one that asks on behalf of all.
    probe: Option<MutexGuard<'a, Option<Failing>>>,
}

impl SharedBackoff {
    /// `what` names the call in log lines.
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            lines: LogThrottle::default(),
            failing: AtomicBool::new(false),
            probe: Mutex::new(None),
        }
    }

    /// Whether the last call failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    /// Waits for the right to ask: at once while all is well.
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
    /// The call was answered: everyone may go on.
    pub(crate) fn succeeded(self) {
        if let Some(mut probe) = self.probe {
            let is_logged = probe.take().is_some_and(|failing| failing.is_logged);
            self.shared.failing.store(false, Ordering::Release);
            if is_logged {
                tracing::info!("{} works again", self.shared.what);
            }
        }
    }

    /// The call failed: the next try waits, longer each time.
    pub(crate) async fn failed(self, error: &Error) {
        let mut state = if let Some(probe) = self.probe {
            probe
        } else {
            let state = self.shared.probe.lock().await;
            if state.is_some() {
                // Another one of the same wave has said so.
                return;
            }
            state
        };
        let mut failing = match state.take() {
            Some(failing) if failing.trouble == error.trouble => failing,
            _ => Failing::new(error.trouble),
        };
        let delay = failing.backoff.next_delay();
        failing.next_try = Instant::now() + delay;
        failing.tries += 1;
        let tries = failing.tries;
        if self.shared.lines.add(1).is_some() || tries >= LASTING {
            failing.is_logged = true;
            tracing::warn!(error = %error, tries, delay_ms = delay.as_millis(), "{} failed; waiting", self.shared.what);
        }
        *state = Some(failing);
        self.shared.failing.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    fn refused() -> Error {
        Error { trouble: Trouble::Refused, message: "AccessDenied".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn eight_tasks_ask_a_refused_queue_at_most_once_a_second() {
        let shared = Arc::new(SharedBackoff::new("receive"));
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
        let shared = SharedBackoff::new("receive");
        shared.turn().await.failed(&refused()).await;
        shared.turn().await.succeeded();
        let before = Instant::now();
        for _ in 0..10 {
            shared.turn().await.succeeded();
        }
        assert_eq!(Instant::now(), before);
    }
}
