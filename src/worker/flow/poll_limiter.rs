//! How many polls are open at once: one first while the queue is quiet, more while receives come back
//! full. SQS answers a receive in 10 to 25 ms and with ten messages at most, so a busy queue needs many
//! polls at once; a quiet one would be billed for each.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::queue::MOST_PER_CALL;

/// The pollers of a worker.
#[derive(Debug)]
pub(crate) struct PollLimiter {
    most: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    allowed: usize,
    polling: usize,
}

/// The right to one poll, given back on drop.
#[derive(Debug)]
pub(crate) struct PollPermit<'c>(&'c PollLimiter);

impl PollLimiter {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            state: Mutex::new(State { allowed: 1, polling: 0 }),
            changed: Notify::new(),
        }
    }

    /// Waits until one more poll makes sense.
    pub(crate) async fn permit(&self) -> PollPermit<'_> {
        loop {
            let changed = self.changed.notified();
            if let Some(permit) = self.try_permit() {
                return permit;
            }
            changed.await;
        }
    }

    fn try_permit(&self) -> Option<PollPermit<'_>> {
        self.with(|state| {
            (state.polling < state.allowed).then(|| {
                state.polling += 1;
                PollPermit(self)
            })
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // A panic elsewhere cannot leave it half changed.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PollPermit<'_> {
    /// Tells how many messages the poll brought, or none if it failed.
    pub(crate) fn brought(&self, messages: usize) {
        self.0.with(|state| {
            if messages == MOST_PER_CALL {
                state.allowed = (state.allowed + 1).min(self.0.most);
            } else if messages == 0 {
                state.allowed = (state.allowed / 2).max(1);
            }
        });
        self.0.changed.notify_one();
    }
}

impl Drop for PollPermit<'_> {
    fn drop(&mut self) {
        self.0.with(|state| state.polling -= 1);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all permits that are to be had.
    fn all(limiter: &PollLimiter) -> Vec<PollPermit<'_>> {
        std::iter::from_fn(|| limiter.try_permit()).collect()
    }

    #[test]
    fn full_receives_call_more_and_empty_ones_send_them_home() {
        let limiter = PollLimiter::new(5);
        for expected in [1, 2, 4, 5, 5] {
            let permits = all(&limiter);
            assert_eq!(permits.len(), expected);
            for permit in &permits {
                permit.brought(MOST_PER_CALL);
            }
        }
        let permits = all(&limiter);
        permits[0].brought(3);
        drop(permits);
        assert_eq!(all(&limiter).len(), 5, "there is something to receive");
        for permit in all(&limiter) {
            permit.brought(0);
        }
        assert_eq!(all(&limiter).len(), 1, "the first stays");
    }

    #[tokio::test]
    async fn whoever_waits_is_called() {
        let limiter = PollLimiter::new(2);
        let first = limiter.permit().await;
        let (second, ()) = tokio::join!(limiter.permit(), async { first.brought(MOST_PER_CALL) });
        drop(first);
        let (third, ()) = tokio::join!(limiter.permit(), async { drop(second) });
        drop(third);
    }
}
