//! Receives and decodes.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Shared;
use super::pending::{Pending, Reservation};
use crate::decode::decode;
use crate::queue::{Error, Message};

/// How long an open long poll may still answer when the worker stops. Ending it at once would
/// strand what SQS is handing out until its visibility timeout ends.
const LAST_ANSWER: Duration = Duration::from_millis(500);

/// Receives until the worker stops. Only waiting is cancelled: what is received is handed over.
pub(super) async fn run(shared: Arc<Shared>, hand_over: mpsc::Sender<Vec<Pending>>) {
    while let Some(Some(mut reservation)) = shared.stop.run_until_cancelled(room(&shared)).await {
        let Some(turn) = shared.stop.run_until_cancelled(shared.receiving.turn()).await else {
            return;
        };
        let asked = Instant::now();
        let Some(answer) = receive(&shared).await else {
            return;
        };
        match answer {
            Ok(messages) => {
                turn.succeeded();
                if messages.is_empty() {
                    continue;
                }
                shared.stats.received(&messages);
                let pending = decoded(&shared, messages, asked, &mut reservation);
                drop(reservation);
                if hand_over.send(pending).await.is_err() {
                    // The writers are gone; the leases will be given back.
                    return;
                }
            }
            Err(error) => {
                shared.stats.touch();
                turn.failed(&error).await;
            }
        }
    }
}

/// Waits until receiving makes sense and a full receive fits into the budget.
async fn room(shared: &Shared) -> Option<Reservation> {
    loop {
        shared.gate.open().await;
        let reservation = shared.budget.reserve().await;
        if !shared.gate.is_closed() {
            return reservation;
        }
    }
}

/// One long poll; `None` if the worker stopped and no answer came soon after.
async fn receive(shared: &Shared) -> Option<Result<Vec<Message>, Error>> {
    let mut receive = std::pin::pin!(shared.queue.receive());
    tokio::select! {
        answer = &mut receive => return Some(answer),
        () = shared.stop.cancelled() => {}
    }
    tokio::time::timeout(LAST_ANSWER, receive).await.ok()
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
        .map(|message| Pending {
            outcome: decode(&message.body, Some(&message.id), &shared.rules, now),
            lease: shared.leases.take(&message.receipt_handle, asked),
            share: reservation.take(message.body.len()),
            message,
        })
        .collect()
}
