//! How many polls are open at once: one scout while the queue is quiet, more while receives come back
//! full. SQS answers a receive in 10 to 25 ms and with ten messages at most, so a busy queue needs many
//! polls at once; a quiet one would be billed for each.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::queue::MOST_PER_CALL;

/// The pollers of a worker.
#[derive(Debug)]
pub(super) struct Crew {
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
pub(super) struct Shift<'c>(&'c Crew);

impl Crew {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            state: Mutex::new(State { allowed: 1, polling: 0 }),
            changed: Notify::new(),
        }
    }

    /// Waits until one more poll makes sense.
    pub(super) async fn shift(&self) -> Shift<'_> {
        loop {
            let changed = self.changed.notified();
            if let Some(shift) = self.try_shift() {
                return shift;
            }
            changed.await;
        }
    }

    fn try_shift(&self) -> Option<Shift<'_>> {
        self.with(|state| {
            (state.polling < state.allowed).then(|| {
                state.polling += 1;
                Shift(self)
            })
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // A panic elsewhere cannot leave it half changed.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shift<'_> {
    /// Tells how many messages the poll brought, or none if it failed.
    pub(super) fn brought(&self, messages: usize) {
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

impl Drop for Shift<'_> {
    fn drop(&mut self) {
        self.0.with(|state| state.polling -= 1);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all shifts that are to be had.
    fn all(crew: &Crew) -> Vec<Shift<'_>> {
        std::iter::from_fn(|| crew.try_shift()).collect()
    }

    #[test]
    fn full_receives_call_more_and_empty_ones_send_them_home() {
        let crew = Crew::new(5);
        for expected in [1, 2, 4, 5, 5] {
            let shifts = all(&crew);
            assert_eq!(shifts.len(), expected);
            for shift in &shifts {
                shift.brought(MOST_PER_CALL);
            }
        }
        let shifts = all(&crew);
        shifts[0].brought(3);
        drop(shifts);
        assert_eq!(all(&crew).len(), 5, "there is something to receive");
        for shift in all(&crew) {
            shift.brought(0);
        }
        assert_eq!(all(&crew).len(), 1, "the scout stays");
    }

    #[tokio::test]
    async fn whoever_waits_is_called() {
        let crew = Crew::new(2);
        let scout = crew.shift().await;
        let (second, ()) = tokio::join!(crew.shift(), async { scout.brought(MOST_PER_CALL) });
        drop(scout);
        let (third, ()) = tokio::join!(crew.shift(), async { drop(second) });
        drop(third);
    }
}
