//! Receives and decodes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::mpsc::{
    self,
    error::{SendError, TrySendError},
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pending::{Pending, weight};
use super::verification::Admission;
use crate::decode::{Rules, decode, latest_clock};
use crate::queue::{Error, Message, Queue, SHORT_WAIT};
use crate::worker::flow::budget::{Budget, Reservation};
use crate::worker::flow::leases::Leases;
use crate::worker::flow::poll_limiter::{Demand, PollLimiter};
use crate::worker::health::{Health, Pulse};
use crate::worker::idle::IdleTracker;
use crate::worker::stats::{self, Stats};

/// How long an open poll may still answer when the worker stops, beyond a short wait. A long wait is
/// not waited out, but the poll goes on by itself: see [`OpenPolls`].
const LAST_ANSWER: Duration = Duration::from_millis(500);

/// A receive of a busy queue takes no longer; one that takes longer has waited for messages.
const LONGEST_ENOUGH: Duration = Duration::from_millis(100);

/// What the pollers of a worker share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    /// The present rules, which may change.
    pub(crate) rules: watch::Receiver<Arc<Rules>>,
    pub(crate) poll_limiter: PollLimiter,
    pub(crate) budget: Arc<Budget>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) admission: Admission,
    pub(crate) health: Arc<Health>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) idle: Arc<IdleTracker>,
    pub(crate) polls_open_at_stop: OpenPolls,
    /// No more receives.
    pub(crate) stop: CancellationToken,
}

/// Receives until the worker stops. Only waiting is cancelled: what is received is handed over.
pub(crate) async fn run(shared: Arc<Shared>, hand_over: mpsc::Sender<Vec<Pending>>, pulse: Pulse) {
    loop {
        let ready = async {
            let permit = shared.poll_limiter.permit().await;
            (permit, room(&shared).await)
        };
        let Some((permit, reservation)) = shared.stop.run_until_cancelled(pulse.wait(ready)).await
        else {
            return;
        };
        let Some(turn) =
            shared.stop.run_until_cancelled(pulse.wait(shared.health.receiving.turn())).await
        else {
            return;
        };
        let asked = Instant::now();
        let Some((answer, reservation)) = receive(&shared, reservation).await else {
            return;
        };
        pulse.beat();
        match answer {
            Ok(messages) => {
                turn.succeeded();
                let count = messages.len();
                if messages.is_empty() {
                    permit.brought(0, Demand::More);
                    shared.idle.confirm(asked);
                    continue;
                }
                shared.idle.disturb();
                shared.stats.received(&messages);
                let took = asked.elapsed();
                let handing_over =
                    decode_and_hand_over(&shared, messages, asked, reservation, &hand_over);
                match pulse.wait(handing_over).await {
                    Ok(waited) => permit.brought(count, demand(waited, took)),
                    // The writers are gone; the leases will be given back.
                    Err(_closed) => return,
                }
            }
            Err(error) => {
                permit.brought(0, Demand::More);
                drop((permit, reservation));
                stats::receive_failed(&error);
                shared.idle.disturb();
                turn.failed(&error).await;
            }
        }
    }
}

/// Waits until receiving makes sense and a receive fits into the budget.
async fn room(shared: &Shared) -> Reservation {
    loop {
        shared.health.gate.open().await;
        let reservation = shared.budget.reserve().await;
        if !shared.health.gate.is_closed() {
            return reservation;
        }
    }
}

/// Polls that were open when the worker stopped. SQS may hand messages to them as long as they
/// wait, those too that the worker gives back.
#[derive(Debug, Default)]
pub(crate) struct OpenPolls(Mutex<Vec<JoinHandle<(Answer, Reservation)>>>);

type Answer = Result<Vec<Message>, Error>;

impl Shared {
    /// Waits for the polls that were open at the stop, and takes leases of what they brought, so that it is
    /// given back.
    pub(crate) async fn end_open_polls(&self) {
        let polls = &self.polls_open_at_stop.0;
        let polls = std::mem::take(&mut *polls.lock().unwrap_or_else(PoisonError::into_inner));
        for poll in polls {
            if let Ok((Ok(messages), _)) = poll.await {
                for message in messages {
                    self.leases.take(&message.receipt_handle, Instant::now());
                }
            }
        }
    }
}

/// One poll; `None` if the worker stopped and no answer came soon after.
async fn receive(
    shared: &Arc<Shared>,
    mut reservation: Reservation,
) -> Option<(Answer, Reservation)> {
    let queue = shared.queue.clone();
    let mut poll =
        tokio::spawn(async move { (queue.receive(&mut reservation).await, reservation) });
    let patience = shared.queue.wait().min(SHORT_WAIT) + LAST_ANSWER;
    let stopped_and_waited = async {
        shared.stop.cancelled().await;
        tokio::time::sleep(patience).await;
    };
    tokio::select! {
        // A receive that panicked is a defect; the poller ends with it, and the worker says so.
        answer = &mut poll => return answer.ok(),
        () = stopped_and_waited => {}
    }
    shared.polls_open_at_stop.0.lock().unwrap_or_else(PoisonError::into_inner).push(poll);
    None
}

/// What the time that messages waited for the writers says of the number of polls.
fn demand(waited: Duration, receive_took: Duration) -> Demand {
    if waited.is_zero() {
        Demand::More
    } else if waited <= receive_took.min(LONGEST_ENOUGH) {
        Demand::Enough
    } else {
        Demand::Less
    }
}

/// Decodes what a receive brought and gives it to the writers; tells how long it waited for them, zero if
/// not at all. Where messages exceed the budget, those before them go first, so that there is something
/// that makes room.
async fn decode_and_hand_over(
    shared: &Shared,
    messages: Vec<Message>,
    asked: Instant,
    mut reservation: Reservation,
    hand_over: &mpsc::Sender<Vec<Pending>>,
) -> Result<Duration, SendError<Vec<Pending>>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "here the clock enters: decode takes it as a value"
    )]
    let now = OffsetDateTime::now_utc();
    let rules = Arc::clone(&shared.rules.borrow());
    let mut waited = Duration::ZERO;
    let mut pending = Vec::with_capacity(messages.len());
    // All leases first: a message may have to wait before it is decoded.
    let leases: Vec<_> =
        messages.iter().map(|message| shared.leases.take(&message.receipt_handle, asked)).collect();
    for (message, lease) in messages.into_iter().zip(leases) {
        if reservation.must_wait() {
            let began = Instant::now();
            let before = std::mem::take(&mut pending);
            hand_over.send(shared.admission.admit(before)).await?;
            shared.budget.settled().await;
            waited += began.elapsed();
        }
        let now = latest_clock(now, message.sent_at);
        let outcome = decode(&message.body, Some(&message.id), &rules, now);
        let bytes = weight(&message, &outcome);
        let share = reservation.take(bytes);
        pending.push(Pending { message, outcome, lease, bytes, share, refused_with: None });
    }
    drop(reservation);
    match hand_over.try_send(shared.admission.admit(pending)) {
        Ok(()) => {}
        Err(TrySendError::Full(pending)) => {
            let began = Instant::now();
            hand_over.send(pending).await?;
            waited += began.elapsed();
        }
        Err(TrySendError::Closed(pending)) => return Err(SendError(pending)),
    }
    Ok(waited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_may_wait_for_the_writers_as_long_as_their_receive_took() {
        let ms = Duration::from_millis;
        assert_eq!(demand(Duration::ZERO, ms(1)), Demand::More);
        assert_eq!(demand(ms(20), ms(25)), Demand::Enough);
        assert_eq!(demand(ms(20), ms(1)), Demand::Less);
        assert_eq!(demand(ms(200), ms(15_000)), Demand::Less, "a long poll waited for messages");
    }
}
