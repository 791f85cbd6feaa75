//! Receives and decodes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::pending::{Pending, weight};
use super::verification;
use crate::decode::{decode, latest_clock};
use crate::queue::{Error, Message, SHORT_WAIT};
use crate::worker::Shared;
use crate::worker::flow::budget::Reservation;
use crate::worker::stats;

/// How long an open poll may still answer when the worker stops, beyond a short wait. A long wait is
/// not waited out, but the poll goes on by itself: see [`OpenPolls`].
const LAST_ANSWER: Duration = Duration::from_millis(500);

/// Receives until the worker stops. Only waiting is cancelled: what is received is handed over.
pub(crate) async fn run(shared: Arc<Shared>, hand_over: mpsc::Sender<Vec<Pending>>) {
    loop {
        let ready = async {
            let permit = shared.poll_limiter.permit().await;
            (permit, room(&shared).await)
        };
        let Some((permit, Some(mut reservation))) = shared.stop.run_until_cancelled(ready).await
        else {
            return;
        };
        let Some(turn) = shared.stop.run_until_cancelled(shared.health.receiving.turn()).await
        else {
            return;
        };
        let asked = Instant::now();
        let Some(answer) = receive(&shared).await else {
            return;
        };
        shared.health.beat();
        match answer {
            Ok(messages) => {
                turn.succeeded();
                permit.brought(messages.len());
                drop(permit);
                if messages.is_empty() {
                    shared.idle.confirm(asked);
                    continue;
                }
                shared.idle.disturb();
                shared.stats.received(&messages);
                let pending = decoded(&shared, messages, asked, &mut reservation);
                let pending = verification::admit(&shared, pending);
                drop(reservation);
                if hand_over.send(pending).await.is_err() {
                    // The writers are gone; the leases will be given back.
                    return;
                }
            }
            Err(error) => {
                permit.brought(0);
                drop(permit);
                stats::receive_failed(&error);
                shared.idle.disturb();
                turn.failed(&error).await;
            }
        }
    }
}

/// Waits until receiving makes sense and a full receive fits into the budget.
async fn room(shared: &Shared) -> Option<Reservation> {
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
pub(crate) struct OpenPolls(Mutex<Vec<JoinHandle<Answer>>>);

type Answer = Result<Vec<Message>, Error>;

impl OpenPolls {
    /// Waits for the polls to end, and takes leases of what they brought, so that it is given back.
    pub(crate) async fn end(&self, shared: &Shared) {
        let polls = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for poll in polls {
            if let Ok(Ok(messages)) = poll.await {
                for message in messages {
                    shared.leases.take(&message.receipt_handle, Instant::now());
                }
            }
        }
    }
}

/// One poll; `None` if the worker stopped and no answer came soon after.
async fn receive(shared: &Arc<Shared>) -> Option<Answer> {
    let queue = shared.queue.clone();
    let mut poll = tokio::spawn(async move { queue.receive().await });
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

fn decoded(
    shared: &Shared,
    messages: Vec<Message>,
    asked: Instant,
    reservation: &mut Reservation,
) -> Vec<Pending> {
    #[expect(
        clippy::disallowed_methods,
        reason = "here the clock enters: decode takes it as a value"
    )]
    let now = OffsetDateTime::now_utc();
    messages
        .into_iter()
        .map(|message| {
            let now = latest_clock(now, message.sent_at);
            let outcome = decode(&message.body, Some(&message.id), &shared.rules, now);
            let lease = shared.leases.take(&message.receipt_handle, asked);
            let bytes = weight(&message, &outcome);
            let share = reservation.take(bytes);
            Pending { message, outcome, lease, bytes, share }
        })
        .collect()
}
