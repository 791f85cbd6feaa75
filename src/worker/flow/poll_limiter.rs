//! How many polls are open at once: one while the queue is quiet, more as long as receives come back
//! nearly full and the writers wait for what they bring. SQS answers a receive in 10 to 25 ms and with ten
//! messages at most, so a busy queue needs many polls at once; a quiet one would be billed for each.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// A receive with this many messages counts as full: SQS does not always return ten, even if more wait.
const FULL: usize = 8;
/// Receives with fewer messages could be half as many.
const SPARSE: usize = 4;

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
    /// Tells how many messages the poll brought, and whether the writers were ready for them; none if it
    /// failed. The permit is held until the writers have them, so that polls wait with them.
    pub(crate) fn brought(&self, messages: usize, were_awaited: bool) {
        let most = self.0.most;
        self.0.with(|state| {
            state.allowed = match messages {
                0 => state.allowed / 2,
                _ if !were_awaited => state.allowed - 1,
                1..SPARSE => state.allowed - 1,
                SPARSE..FULL => state.allowed,
                _ => state.allowed + 1,
            }
            .clamp(1, most);
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
    use crate::queue::MOST_PER_CALL;

    /// Takes all permits that there are.
    fn all(limiter: &PollLimiter) -> Vec<PollPermit<'_>> {
        std::iter::from_fn(|| limiter.try_permit()).collect()
    }

    /// How many polls there are after each of these rounds, in which all polls bring the same.
    fn polls<const ROUNDS: usize>(
        limiter: &PollLimiter,
        rounds: [(usize, bool); ROUNDS],
    ) -> [usize; ROUNDS] {
        rounds.map(|(messages, were_awaited)| {
            for permit in all(limiter) {
                permit.brought(messages, were_awaited);
            }
            all(limiter).len()
        })
    }

    #[test]
    fn full_receives_double_the_polls_up_to_the_most() {
        let limiter = PollLimiter::new(5);
        assert_eq!(polls(&limiter, [(MOST_PER_CALL, true); 4]), [2, 4, 5, 5]);
        let limiter = PollLimiter::new(1_000);
        assert_eq!(polls(&limiter, [(FULL, true); 6]), [2, 4, 8, 16, 32, 64]);
    }

    #[test]
    fn an_empty_receive_halves_them_and_one_stays() {
        let limiter = PollLimiter::new(128);
        polls(&limiter, [(MOST_PER_CALL, true); 7]);
        let permits = all(&limiter);
        assert_eq!(permits.len(), 128);
        for permit in permits.iter().take(3) {
            permit.brought(0, true);
        }
        drop(permits);
        assert_eq!(all(&limiter).len(), 16);
        assert_eq!(polls(&limiter, [(0, true); 2]), [1, 1]);
    }

    #[test]
    fn half_full_receives_leave_them_and_sparse_ones_make_them_fewer() {
        let limiter = PollLimiter::new(128);
        polls(&limiter, [(MOST_PER_CALL, true); 3]);
        assert_eq!(polls(&limiter, [(5, true), (7, true), (1, true)]), [8, 8, 1]);
    }

    #[test]
    fn more_are_not_needed_where_the_writers_are_behind() {
        let limiter = PollLimiter::new(128);
        polls(&limiter, [(MOST_PER_CALL, true); 3]);
        let permits = all(&limiter);
        permits[0].brought(MOST_PER_CALL, false);
        permits[1].brought(MOST_PER_CALL, true);
        permits[2].brought(MOST_PER_CALL, false);
        drop(permits);
        assert_eq!(all(&limiter).len(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_waits_is_woken() {
        let limiter = PollLimiter::new(2);
        let first = limiter.permit().await;
        let (second, ()) =
            tokio::join!(limiter.permit(), async { first.brought(MOST_PER_CALL, true) });
        drop(first);
        let (third, ()) = tokio::join!(limiter.permit(), async { drop(second) });
        drop(third);
    }
}
