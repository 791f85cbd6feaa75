//! The memory budget of a worker: how many messages may be held from receive to delete.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics;
use crate::queue::MOST_PER_CALL;

/// SNS takes messages of up to 256 KiB; this much is set aside for each message of a receive.
const KIB_PER_MESSAGE: u32 = 256;

/// How many messages and how many of their bytes may be held from receive to delete. A slow
/// database so slows the polling and never grows a queue in memory.
#[derive(Debug)]
pub(crate) struct Budget {
    messages: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    held: Arc<AtomicUsize>,
}

/// What a receive may bring.
#[derive(Debug)]
pub(crate) struct Reservation {
    messages: OwnedSemaphorePermit,
    kib: OwnedSemaphorePermit,
    more: Arc<Semaphore>,
    held: Arc<AtomicUsize>,
}

/// One message's part of the budget, given back on drop.
#[derive(Debug)]
pub(crate) struct Share {
    _message: Option<OwnedSemaphorePermit>,
    _kib: Option<OwnedSemaphorePermit>,
    _beyond: Option<OwnedSemaphorePermit>,
    held: Arc<AtomicUsize>,
}

impl Budget {
    /// At least one receive always fits.
    pub(crate) fn new(messages: usize, bytes: usize) -> Self {
        let one_receive_kib =
            MOST_PER_CALL * usize::try_from(KIB_PER_MESSAGE).unwrap_or(usize::MAX);
        Self {
            messages: Arc::new(Semaphore::new(messages.max(MOST_PER_CALL))),
            kib: Arc::new(Semaphore::new((bytes / 1024).max(one_receive_kib))),
            held: Arc::default(),
        }
    }

    /// Waits until a full receive fits. Messages that take more (SQS allows 1 MiB, and their rows
    /// may take 4 MiB) exceed the budget by at most what each poller has just received.
    pub(crate) async fn reserve(&self) -> Option<Reservation> {
        let most = u32::try_from(MOST_PER_CALL).ok()?;
        let messages = Arc::clone(&self.messages).acquire_many_owned(most).await.ok()?;
        let kib = Arc::clone(&self.kib).acquire_many_owned(most * KIB_PER_MESSAGE).await.ok()?;
        Some(Reservation {
            messages,
            kib,
            more: Arc::clone(&self.kib),
            held: Arc::clone(&self.held),
        })
    }

    /// Messages that are received and not yet deleted.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }
}

impl Reservation {
    /// Takes the part of one message; what nobody takes is given back when the reservation drops.
    pub(crate) fn take(&mut self, bytes: usize) -> Share {
        self.held.fetch_add(1, Ordering::AcqRel);
        gauge!(metrics::MESSAGES_HELD).increment(1.0);
        let wanted = bytes.div_ceil(1024);
        let reserved = wanted.min(self.kib.num_permits());
        // What was not set aside is taken as far as there is any: then the next receives wait.
        let beyond = (wanted - reserved).min(self.more.available_permits());
        let beyond = u32::try_from(beyond)
            .ok()
            .and_then(|beyond| Arc::clone(&self.more).try_acquire_many_owned(beyond).ok());
        Share {
            _message: self.messages.split(1),
            _kib: self.kib.split(reserved),
            _beyond: beyond,
            held: Arc::clone(&self.held),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Ordering::AcqRel);
        gauge!(metrics::MESSAGES_HELD).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_budget_makes_the_next_receive_wait() {
        let budget = Budget::new(20, usize::MAX / 2);
        let mut first = budget.reserve().await.expect("there is room");
        let shares: Vec<_> = (0..10).map(|_| first.take(2_000)).collect();
        drop(first);
        let second = budget.reserve().await.expect("there is room");
        assert_eq!(budget.held(), 10);
        {
            let third = std::pin::pin!(budget.reserve());
            assert!(tokio::time::timeout(std::time::Duration::ZERO, third).await.is_err());
        }
        drop(second);
        assert!(budget.reserve().await.is_some());
        drop(shares);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn bytes_are_bounded_too() {
        let budget = Budget::new(1_000, 4 * 1024 * 1024);
        let mut first = budget.reserve().await.expect("there is room");
        let share = first.take(2 * 1024 * 1024);
        drop(first);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, budget.reserve()).await.is_err());
        drop(share);
        assert!(budget.reserve().await.is_some());
    }
}
