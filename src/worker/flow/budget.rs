//! The memory budget of a worker: how many messages, and how many of their bytes, are held from receive
//! to delete. So a slow database slows the polling and never makes a queue in memory grow.
//!
//! An open poll reserves what receives have weighed lately, so that many polls of small messages fit. What
//! turns out to be heavier waits for room before it is read ([`Reservation::admit`]) and before the next
//! message is decoded ([`Budget::settled`]). So that they never wait for one another, one may exceed the
//! budget: it is a debt, and while there is one nobody else may.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::metrics::gauge;
use tokio::sync::{Notify, Semaphore};

use crate::metrics;
use crate::queue::{MOST_PER_CALL, Room};

/// What is reserved for a receive until one has been weighed: an SNS topic takes messages of up to
/// 256 KiB, unless its `MaximumMessageSize` is raised (to at most 1 MiB).
const FIRST_RESERVATION_KIB: usize = 10 * 256;
/// However light messages are.
const LEAST_RESERVATION_KIB: usize = 16;
/// No setting is larger.
const MOST_PERMITS: usize = (1 << 32) - 1;
/// A reservation falls by that part of what was too much, and rises at once.
const FALLS_BY: usize = 8;

/// How much may be held, and how much is.
#[derive(Debug)]
pub(crate) struct Budget(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    messages: Semaphore,
    kib: Semaphore,
    most_kib: usize,
    /// KiB that are held beyond the budget: what is given back pays for them first.
    debt: Mutex<usize>,
    paid: Notify,
    /// KiB that the next poll reserves.
    reservation: AtomicUsize,
    held: AtomicUsize,
}

/// What a receive may bring; what nobody takes is given back when it drops.
#[derive(Debug)]
pub(crate) struct Reservation {
    pool: Arc<Pool>,
    messages: usize,
    kib: usize,
    /// KiB of the messages so far: what the next reservations are made by.
    taken: usize,
    /// Whether it is the one that may exceed the budget.
    exceeds: bool,
}

/// One message's part of the budget, given back on drop.
#[derive(Debug)]
pub(crate) struct Share {
    pool: Arc<Pool>,
    kib: usize,
}

impl Budget {
    /// At least one receive always fits.
    pub(crate) fn new(messages: usize, bytes: usize) -> Self {
        let messages = messages.clamp(MOST_PER_CALL, MOST_PERMITS);
        let most_kib = (bytes / 1024).clamp(FIRST_RESERVATION_KIB, MOST_PERMITS);
        Self(Arc::new(Pool {
            messages: Semaphore::new(messages),
            kib: Semaphore::new(most_kib),
            most_kib,
            debt: Mutex::new(0),
            paid: Notify::new(),
            reservation: AtomicUsize::new(FIRST_RESERVATION_KIB),
            held: AtomicUsize::new(0),
        }))
    }

    /// Waits until a receive as they have been lately fits.
    pub(crate) async fn reserve(&self) -> Reservation {
        let pool = &self.0;
        take(&pool.messages, MOST_PER_CALL).await;
        // From here on it is given back whatever happens.
        let mut reservation = Reservation {
            pool: Arc::clone(pool),
            messages: MOST_PER_CALL,
            kib: 0,
            taken: 0,
            exceeds: false,
        };
        let kib = pool.reservation.load(Ordering::Relaxed).min(pool.most_kib);
        take(&pool.kib, kib).await;
        reservation.kib = kib;
        reservation
    }

    /// Waits until nothing is held beyond the budget.
    pub(crate) async fn settled(&self) {
        loop {
            let paid = self.0.paid.notified();
            if !self.is_exceeded() {
                return;
            }
            paid.await;
        }
    }

    /// Whether more is held than the budget allows.
    fn is_exceeded(&self) -> bool {
        *self.0.debt() > 0
    }

    /// Messages that are received and not yet deleted.
    pub(crate) fn held(&self) -> usize {
        self.0.held.load(Ordering::Acquire)
    }
}

impl Reservation {
    /// Whether the next message has to wait until what exceeds the budget is paid for. The one that exceeds
    /// it would wait for itself.
    pub(crate) fn must_wait(&self) -> bool {
        !self.exceeds && *self.pool.debt() > 0
    }

    /// Takes the part of one message, whatever it weighs: what neither was reserved nor is free is a debt.
    pub(crate) fn take(&mut self, bytes: usize) -> Share {
        self.pool.held.fetch_add(1, Ordering::AcqRel);
        gauge!(metrics::MESSAGES_HELD).increment(1.0);
        let wanted = bytes.div_ceil(1024);
        let reserved = wanted.min(self.kib);
        self.kib -= reserved;
        self.messages = self.messages.saturating_sub(1);
        self.taken += wanted;
        if wanted > reserved {
            self.pool.take_at_once(wanted - reserved);
        }
        Share { pool: Arc::clone(&self.pool), kib: wanted }
    }
}

impl Room for Reservation {
    /// Makes room for an answer before it is read: waits until it fits, or until it is the one that
    /// may exceed the budget.
    async fn admit(&mut self, bytes: usize) {
        let wanted = bytes.div_ceil(1024);
        let Some(more) = wanted.checked_sub(self.kib).filter(|more| *more > 0) else {
            return;
        };
        self.exceeds |= self.pool.make_room(more).await;
        self.kib += more;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.taken > 0 {
            // An answer and its messages are held at once for a moment.
            self.pool.learn(self.taken * 2);
        }
        self.pool.messages.add_permits(self.messages);
        self.pool.give_back(self.kib);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.pool.held.fetch_sub(1, Ordering::AcqRel);
        gauge!(metrics::MESSAGES_HELD).decrement(1.0);
        self.pool.messages.add_permits(1);
        self.pool.give_back(self.kib);
    }
}

impl Pool {
    fn debt(&self) -> MutexGuard<'_, usize> {
        // A number cannot be left half changed.
        self.debt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes that much once it is free, or once nobody else exceeds the budget; true if it does then.
    async fn make_room(&self, kib: usize) -> bool {
        if kib <= self.most_kib && try_take(&self.kib, kib) {
            return false;
        }
        let fits = async {
            take(&self.kib, kib.min(self.most_kib)).await;
            *self.debt() += kib.saturating_sub(self.most_kib);
        };
        let mut fits = std::pin::pin!(fits);
        loop {
            let paid = self.paid.notified();
            if self.exceed(kib) {
                return true;
            }
            tokio::select! {
                () = &mut fits => return kib > self.most_kib,
                () = paid => {}
            }
        }
    }

    /// Makes it a debt, if there is none.
    fn exceed(&self, kib: usize) -> bool {
        let mut debt = self.debt();
        let may = *debt == 0;
        if may {
            *debt = kib;
        }
        may
    }

    /// Takes what is free of that much; the rest is a debt.
    fn take_at_once(&self, kib: usize) {
        let free = kib.min(self.kib.available_permits());
        let taken = if try_take(&self.kib, free) { free } else { 0 };
        if taken < kib {
            *self.debt() += kib - taken;
        }
    }

    fn give_back(&self, kib: usize) {
        let left = {
            let mut debt = self.debt();
            let pays = kib.min(*debt);
            *debt -= pays;
            if pays > 0 && *debt == 0 {
                self.paid.notify_waiters();
            }
            kib - pays
        };
        self.kib.add_permits(left);
    }

    /// A receive needed that much.
    fn learn(&self, kib: usize) {
        let before = self.reservation.load(Ordering::Relaxed);
        let fallen = before - before.saturating_sub(kib).div_ceil(FALLS_BY);
        self.reservation.store(fallen.max(kib).max(LEAST_RESERVATION_KIB), Ordering::Relaxed);
    }
}

/// Takes permits for good; they are added again when they are given back.
async fn take(semaphore: &Semaphore, count: usize) {
    // Neither is ever closed.
    if let Ok(permit) = semaphore.acquire_many(small(count)).await {
        permit.forget();
    }
}

fn try_take(semaphore: &Semaphore, count: usize) -> bool {
    let permit = semaphore.try_acquire_many(small(count));
    permit.map(tokio::sync::SemaphorePermit::forget).is_ok()
}

/// Nothing here is larger: see [`Budget::new`].
fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;

    /// Whether there is something to wait for.
    async fn waits(what: impl Future) -> bool {
        timeout(Duration::from_secs(1), what).await.is_err()
    }

    /// Receives light messages until polls reserve no more than these need.
    async fn lightened(messages: usize, bytes: usize) -> Budget {
        let budget = Budget::new(messages, bytes);
        for _ in 0..100 {
            let mut reservation = budget.reserve().await;
            for _ in 0..MOST_PER_CALL {
                drop(reservation.take(2 * KIB));
            }
        }
        budget
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_budget_makes_the_next_receive_wait() {
        let budget = Budget::new(20, usize::MAX / 2);
        let mut first = budget.reserve().await;
        let shares: Vec<_> = (0..10).map(|_| first.take(2_000)).collect();
        drop(first);
        let second = budget.reserve().await;
        assert_eq!(budget.held(), 10);
        assert!(waits(budget.reserve()).await);
        drop(second);
        assert!(!waits(budget.reserve()).await);
        drop(shares);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_polls_are_open_as_fit_by_what_messages_weigh() {
        let unknown = Budget::new(5_000, 64 * MIB);
        let mut polls = Vec::new();
        for _ in 0..25 {
            polls.push(unknown.reserve().await);
        }
        assert!(waits(unknown.reserve()).await, "2.5 MiB each");
        let light = lightened(5_000, 64 * MIB).await;
        let mut polls = Vec::new();
        for _ in 0..128 {
            polls.push(light.reserve().await);
        }
        drop(polls[0].take(5 * MIB));
        polls.clear();
        for _ in 0..6 {
            polls.push(light.reserve().await);
        }
        assert!(waits(light.reserve()).await, "one heavy receive is enough to be careful");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_read_when_it_fits_and_only_one_may_exceed_the_budget() {
        let budget = lightened(5_000, 4 * MIB).await;
        let (mut first, mut second) = (budget.reserve().await, budget.reserve().await);
        let mut third = budget.reserve().await;
        first.admit(3 * MIB).await;
        second.admit(20 * MIB).await;
        assert!(budget.is_exceeded());
        assert!(first.must_wait() && !second.must_wait(), "it would wait for itself");
        assert!(waits(third.admit(20 * MIB)).await, "one exceeds it");
        assert!(waits(budget.settled()).await);
        let ((), ()) = tokio::join!(third.admit(20 * MIB), async { drop(second) });
        assert!(budget.is_exceeded(), "the next one");
        drop((first, third));
        assert!(!waits(budget.settled()).await);
        assert_eq!(budget.0.kib.available_permits(), budget.0.most_kib, "all is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_becomes_heavy_is_paid_for_before_anything_else_is_received() {
        let budget = lightened(5_000, 4 * MIB).await;
        let mut poll = budget.reserve().await;
        let share = poll.take(5 * MIB);
        drop(poll);
        assert!(budget.is_exceeded());
        assert!(waits(budget.reserve()).await);
        drop(share);
        assert!(!budget.is_exceeded());
        assert!(!waits(budget.reserve()).await);
        assert_eq!(budget.0.kib.available_permits(), budget.0.most_kib, "all is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_stops_waiting_takes_nothing_along() {
        let budget = Budget::new(10, 4 * MIB);
        let first = budget.reserve().await;
        assert!(waits(budget.reserve()).await);
        drop(first);
        let second = budget.reserve().await;
        drop(second);
        assert_eq!(budget.0.messages.available_permits(), 10);
        assert_eq!(budget.0.kib.available_permits(), budget.0.most_kib);
    }
}
