//! How many polls are open at once: one while the queue is quiet, more as long as receives come back
//! nearly full and the writers wait for what they bring. SQS answers a receive in 10 to 25 ms and with ten
//! messages at most, so a busy queue needs many polls at once; a quiet one would be billed for each.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// A receive with this many messages counts as full: SQS does not always return ten, even if more wait.
const FULL: usize = 8;
/// Receives with fewer messages could be half as many.
const SPARSE: usize = 4;

/// How the writers took what a receive brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// They waited for it.
    More,
    /// It waited for them, though no longer than the receive itself took: while one poll waits, another
    /// brings the next messages.
    Enough,
    /// It waited longer than that.
    Less,
}

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
    /// Tells how many messages the poll brought, none if it failed, and how the writers took them. The permit
    /// is held until the writers have them, so that polls wait with them.
    pub(crate) fn brought(&self, messages: usize, demand: Demand) {
        let most = self.0.most;
        self.0.with(|state| {
            state.allowed = match messages {
                0 => state.allowed / 2,
                _ if demand == Demand::Less => state.allowed - 1,
                1..SPARSE => state.allowed - 1,
                SPARSE..FULL => state.allowed,
                _ if demand == Demand::Enough => state.allowed,
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
        rounds: [(usize, Demand); ROUNDS],
    ) -> [usize; ROUNDS] {
        rounds.map(|(messages, demand)| {
            for permit in all(limiter) {
                permit.brought(messages, demand);
            }
            all(limiter).len()
        })
    }

    #[test]
    fn full_receives_double_the_polls_up_to_the_most() {
        let limiter = PollLimiter::new(5);
        assert_eq!(polls(&limiter, [(MOST_PER_CALL, Demand::More); 4]), [2, 4, 5, 5]);
        let limiter = PollLimiter::new(1_000);
        assert_eq!(polls(&limiter, [(FULL, Demand::More); 6]), [2, 4, 8, 16, 32, 64]);
    }

    #[test]
    fn an_empty_receive_halves_them_and_one_stays() {
        let limiter = PollLimiter::new(128);
        polls(&limiter, [(MOST_PER_CALL, Demand::More); 7]);
        let permits = all(&limiter);
        assert_eq!(permits.len(), 128);
        for permit in permits.iter().take(3) {
            permit.brought(0, Demand::More);
        }
        drop(permits);
        assert_eq!(all(&limiter).len(), 16);
        assert_eq!(polls(&limiter, [(0, Demand::More); 2]), [1, 1]);
    }

    #[test]
    fn writers_that_are_a_little_behind_leave_them_and_slower_ones_make_them_fewer() {
        let limiter = PollLimiter::new(128);
        polls(&limiter, [(MOST_PER_CALL, Demand::More); 4]);
        let rounds =
            [Demand::Enough, Demand::Less, Demand::More].map(|demand| (MOST_PER_CALL, demand));
        assert_eq!(polls(&limiter, rounds), [16, 1, 2]);
    }

    #[test]
    fn half_full_receives_leave_them_and_sparse_ones_make_them_fewer() {
        let limiter = PollLimiter::new(128);
        polls(&limiter, [(MOST_PER_CALL, Demand::More); 3]);
        assert_eq!(
            polls(&limiter, [(5, Demand::More), (7, Demand::More), (1, Demand::More)]),
            [8, 8, 1]
        );
    }

    #[test]
    fn more_are_not_needed_where_the_writers_are_behind() {
        let limiter = PollLimiter::new(128);
        polls(&limiter, [(MOST_PER_CALL, Demand::More); 3]);
        let permits = all(&limiter);
        permits[0].brought(MOST_PER_CALL, Demand::Less);
        permits[1].brought(MOST_PER_CALL, Demand::More);
        permits[2].brought(MOST_PER_CALL, Demand::Less);
        drop(permits);
        assert_eq!(all(&limiter).len(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_waits_is_woken() {
        let limiter = PollLimiter::new(2);
        let first = limiter.permit().await;
        let (second, ()) =
            tokio::join!(limiter.permit(), async { first.brought(MOST_PER_CALL, Demand::More) });
        drop(first);
        let (third, ()) = tokio::join!(limiter.permit(), async { drop(second) });
        drop(third);
    }
}
