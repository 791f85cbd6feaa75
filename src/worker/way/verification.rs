//! Admits the messages that [`crate::trust`] accepts, and holds those that it cannot judge yet: a message
//! whose signing certificate is not known is neither written nor lost.
//!
//! A held message keeps its share of the budget and stays hidden from other workers, so a long outage
//! stops the polling, raises no receive count and fills no dead-letter queue.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::{counter, gauge};
use time::OffsetDateTime;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::pending::Pending;
use crate::backoff::Backoff;
use crate::decode::{Outcome, Rejection};
use crate::metrics;
use crate::trust::{CertificateUrl, Learned, Verdict};
use crate::worker::Shared;

/// Certificates that are asked for at once,
const MOST_FETCHES: usize = 4;
/// each for at least that long: 80 a second at most, whatever messages name.
const SHORTEST_FETCH: Duration = Duration::from_millis(50);
/// Then a message is left to the queue. Whoever may send to it can name regions that do not exist,
/// and would fill the budget for good.
const PATIENCE: Duration = Duration::from_mins(15);

/// A message that waits for a certificate.
#[derive(Debug)]
pub(crate) struct AwaitingCertificate {
    url: CertificateUrl,
    pending: Pending,
    since: Instant,
}

/// Passes on what may be written, dead letters included.
pub(crate) fn admit(shared: &Shared, pending: Vec<Pending>) -> Vec<Pending> {
    if !shared.verifier.is_active() {
        return pending;
    }
    let since = Instant::now();
    let (admitted, awaiting) = sorted(shared, pending.into_iter().map(|pending| (pending, since)));
    for awaiting in awaiting {
        // Fails only when the worker stops: then the message's lease gives it back.
        let _ = shared.awaiting_certificate.send(awaiting);
    }
    admitted
}

fn sorted(
    shared: &Shared,
    pending: impl IntoIterator<Item = (Pending, Instant)>,
) -> (Vec<Pending>, Vec<AwaitingCertificate>) {
    let (now, mut admitted, mut awaiting) = (now(), Vec::new(), Vec::new());
    for (mut pending, since) in pending {
        match shared.verifier.judge(&pending.message.body, now) {
            Verdict::Trusted => counter!(metrics::MESSAGES_TRUSTED).increment(1),
            Verdict::AcceptedWithWarning(rejection) => {
                count(metrics::MESSAGES_UNVERIFIED, &rejection);
                tracing::warn!(
                    sqs_message_id = pending.message.id,
                    "not trusted, and written all the same: {}",
                    rejection.reason
                );
            }
            Verdict::Refused(rejection) => {
                count(metrics::MESSAGES_REFUSED, &rejection);
                pending.outcome = Outcome::DeadLetter(rejection);
            }
            Verdict::AwaitsCertificate(url) => {
                awaiting.push(AwaitingCertificate { url, pending, since });
                continue;
            }
        }
        admitted.push(pending);
    }
    (admitted, awaiting)
}

fn count(name: &'static str, rejection: &Rejection) {
    counter!(name, "reason" => rejection.reason.to_string()).increment(1);
}

#[expect(
    clippy::disallowed_methods,
    reason = "here the clock enters: the verifier takes it as a value"
)]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// The messages that wait for one certificate.
#[derive(Debug)]
struct Waiting {
    messages: Vec<(Pending, Instant)>,
    fetching: AbortHandle,
}

/// Fetches the certificates that messages wait for, once each however many they are, and passes the
/// messages on. Ends when the worker stops; what still waits then is given back.
pub(crate) async fn await_certificates(
    shared: Arc<Shared>,
    mut arriving: mpsc::UnboundedReceiver<AwaitingCertificate>,
    hand_over: mpsc::Sender<Vec<Pending>>,
) {
    let slots = Arc::new(Semaphore::new(MOST_FETCHES));
    let mut waiting: HashMap<CertificateUrl, Waiting> = HashMap::new();
    let mut fetches = JoinSet::new();
    let mut every_minute = tokio::time::interval(Duration::from_mins(1));
    every_minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        gauge!(metrics::MESSAGES_AWAITING_CERTIFICATE).set(f64::from(
            u32::try_from(waiting.values().map(|waiting| waiting.messages.len()).sum::<usize>())
                .unwrap_or(u32::MAX),
        ));
        let awaiting = tokio::select! {
            () = shared.stop.cancelled() => return,
            Some(awaiting) = arriving.recv() => vec![awaiting],
            Some(ended) = fetches.join_next() => {
                let url = match ended {
                    Ok(url) => url,
                    Err(error) if error.is_cancelled() => continue,
                    // A defect: this task ends with it, and the worker says so.
                    Err(_) => return,
                };
                let messages = waiting.remove(&url).map_or_else(Vec::new, |waiting| waiting.messages);
                let (admitted, awaiting) = sorted(&shared, messages);
                if hand_over.send(admitted).await.is_err() {
                    return;
                }
                awaiting
            }
            _ = every_minute.tick() => {
                leave_the_oldest(&shared, &mut waiting);
                Vec::new()
            }
        };
        for AwaitingCertificate { url, pending, since } in awaiting {
            let fetch = || fetch(Arc::clone(&shared), url.clone(), Arc::clone(&slots));
            waiting
                .entry(url.clone())
                .or_insert_with(|| Waiting {
                    messages: Vec::new(),
                    fetching: fetches.spawn(fetch()),
                })
                .messages
                .push((pending, since));
        }
    }
}

/// Asks for a certificate until it is known what it is; once, where nobody waits for that.
async fn fetch(shared: Arc<Shared>, url: CertificateUrl, slots: Arc<Semaphore>) -> CertificateUrl {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30))
        .at_least(Duration::from_millis(500));
    let mut tries = 0_u32;
    loop {
        let learned = {
            // The semaphore is never closed.
            let _slot = slots.acquire().await;
            let pause = tokio::time::sleep(SHORTEST_FETCH);
            tokio::join!(shared.verifier.learn(&url, now()), pause).0
        };
        let place = url.place();
        let Learned::Away(error) = learned else {
            if tries > 0 {
                tracing::info!(place, "SNS's certificate is there again");
            }
            return url;
        };
        counter!(metrics::CERTIFICATE_FAILURES).increment(1);
        tries += 1;
        if !shared.verifier.is_enforcing() {
            tracing::warn!(place, error, "could not fetch SNS's certificate");
            return url;
        }
        let delay = backoff.next_delay();
        tracing::warn!(
            place,
            error,
            tries,
            delay_ms = delay.as_millis(),
            "could not fetch SNS's certificate; holding what it has signed"
        );
        tokio::time::sleep(delay).await;
    }
}

/// Leaves to the queue what has waited too long: it comes again when its visibility timeout ends.
fn leave_the_oldest(shared: &Shared, waiting: &mut HashMap<CertificateUrl, Waiting>) {
    let mut left = 0_usize;
    waiting.retain(|_, waiting| {
        waiting.messages.retain(|(pending, since)| {
            let stays = since.elapsed() < PATIENCE;
            if !stays {
                shared.leases.end([pending.lease]);
                left += 1;
            }
            stays
        });
        if waiting.messages.is_empty() {
            waiting.fetching.abort();
        }
        !waiting.messages.is_empty()
    });
    if left > 0 {
        tracing::warn!(
            messages = left,
            "SNS's certificate does not come; leaving messages to the queue"
        );
    }
}
