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
use crate::trust::{CertificateUrl, Learned, Verdict, Verifier};
use crate::worker::flow::leases::Leases;
use crate::worker::health::Pulse;
use crate::worker::log_throttle::LogThrottle;
use tokio_util::sync::CancellationToken;

/// Certificates that are fetched at once.
const MOST_FETCHES: usize = 4;
/// The least time that a fetch takes up its place: at most 80 a second, whatever messages name.
const SHORTEST_FETCH: Duration = Duration::from_millis(50);
/// Then a message whose certificate is nowhere that one is expected is left to the queue. Anyone who may
/// send to it can name regions that do not exist, and would fill the budget for good.
const LONGEST_DOUBTFUL_WAIT: Duration = Duration::from_mins(15);

/// A message that waits for a certificate.
#[derive(Debug)]
pub(crate) struct AwaitingCertificate {
    url: CertificateUrl,
    pending: Pending,
    since: Instant,
}

/// Where received messages are verified.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    pub(crate) verifier: Arc<Verifier>,
    /// Where messages wait whose certificate is not known yet.
    pub(crate) awaiting: mpsc::UnboundedSender<AwaitingCertificate>,
    pub(crate) unverified: Arc<LogThrottle>,
}

impl Admission {
    /// The messages that may be written, dead letters included.
    pub(crate) fn admit(&self, pending: Vec<Pending>) -> Vec<Pending> {
        if !self.verifier.is_active() {
            return pending;
        }
        let since = Instant::now();
        let (admitted, awaiting) = self.judge(pending.into_iter().map(|pending| (pending, since)));
        for awaiting in awaiting {
            // Fails only when the worker stops: then the message's lease gives it back.
            let _ = self.awaiting.send(awaiting);
        }
        admitted
    }

    fn judge(
        &self,
        pending: impl IntoIterator<Item = (Pending, Instant)>,
    ) -> (Vec<Pending>, Vec<AwaitingCertificate>) {
        let (now, mut admitted, mut awaiting) = (now(), Vec::new(), Vec::new());
        for (mut pending, since) in pending {
            match self.verifier.judge(&pending.message.body, now) {
                Verdict::Trusted => counter!(metrics::MESSAGES_TRUSTED).increment(1),
                Verdict::AcceptedWithWarning(rejection) => {
                    count(metrics::MESSAGES_UNVERIFIED, &rejection);
                    if let Some(messages) = self.unverified.add(1) {
                        tracing::warn!(
                            sqs_message_id = pending.message.id,
                            messages,
                            "accepted although verification failed: {}",
                            rejection.reason
                        );
                    }
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

/// The task that fetches the certificates that messages wait for, once each however many they are, and
/// passes the messages on.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) admission: Admission,
    pub(crate) arriving: mpsc::UnboundedReceiver<AwaitingCertificate>,
    pub(crate) hand_over: mpsc::Sender<Vec<Pending>>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) stop: CancellationToken,
    pub(crate) pulse: Pulse,
}

impl Certificates {
    /// Ends when the worker stops; what still waits then is given back.
    pub(crate) async fn run(mut self) {
        let slots = Arc::new(Semaphore::new(MOST_FETCHES));
        let mut waiting: HashMap<CertificateUrl, Waiting> = HashMap::new();
        let mut fetches = JoinSet::new();
        let mut every_minute = tokio::time::interval(Duration::from_mins(1));
        every_minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let messages = waiting.values().map(|waiting| waiting.messages.len()).sum::<usize>();
            gauge!(metrics::MESSAGES_AWAITING_CERTIFICATE)
                .set(f64::from(u32::try_from(messages).unwrap_or(u32::MAX)));
            self.pulse.beat();
            let awaiting = tokio::select! {
                () = self.stop.cancelled() => return,
                Some(awaiting) = self.arriving.recv() => vec![awaiting],
                Some(ended) = fetches.join_next() => {
                    let url = match ended {
                        Ok(url) => url,
                        Err(error) if error.is_cancelled() => continue,
                        // A defect: this task ends with it, and the worker says so.
                        Err(_) => return,
                    };
                    let messages = waiting.remove(&url).map_or_else(Vec::new, |waiting| waiting.messages);
                    let (admitted, awaiting) = self.admission.judge(messages);
                    if self.pulse.wait(self.hand_over.send(admitted)).await.is_err() {
                        return;
                    }
                    awaiting
                }
                _ = every_minute.tick() => {
                    leave_the_oldest(&self.admission.verifier, &self.leases, &mut waiting);
                    Vec::new()
                }
            };
            for AwaitingCertificate { url, pending, since } in awaiting {
                let fetch = || {
                    let verifier = Arc::clone(&self.admission.verifier);
                    fetch(verifier, url.clone(), Arc::clone(&slots))
                };
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
}

/// Asks for a certificate until it is known what it is; once, where nobody waits for that.
async fn fetch(
    verifier: Arc<Verifier>,
    url: CertificateUrl,
    slots: Arc<Semaphore>,
) -> CertificateUrl {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30))
        .at_least(Duration::from_millis(500));
    let mut tries = 0_u32;
    loop {
        let learned = {
            // The semaphore is never closed.
            let _slot = slots.acquire().await;
            let pause = tokio::time::sleep(SHORTEST_FETCH);
            tokio::join!(verifier.learn(&url, now()), pause).0
        };
        let host = url.host();
        let Learned::Away(error) = learned else {
            if tries > 0 {
                tracing::info!(host, "SNS's certificate can be fetched again");
            }
            return url;
        };
        counter!(metrics::CERTIFICATE_FAILURES).increment(1);
        tries += 1;
        if !verifier.is_enforcing() {
            tracing::warn!(host, error, "could not fetch SNS's certificate");
            return url;
        }
        let delay = backoff.next_delay();
        tracing::warn!(
            host,
            error,
            tries,
            delay_ms = delay.as_millis(),
            "could not fetch SNS's certificate; holding the messages that it has signed"
        );
        tokio::time::sleep(delay).await;
    }
}

/// Leaves to the queue what has waited too long for a certificate that may not exist: it comes again when
/// its visibility timeout ends. Where a certificate is expected, messages wait as long as it takes.
fn leave_the_oldest(
    verifier: &Verifier,
    leases: &Leases,
    waiting: &mut HashMap<CertificateUrl, Waiting>,
) {
    let mut left = 0_usize;
    waiting.retain(|url, waiting| {
        if verifier.expects(url) {
            return true;
        }
        waiting.messages.retain(|(pending, since)| {
            let stays = since.elapsed() < LONGEST_DOUBTFUL_WAIT;
            if !stays {
                leases.end([pending.lease]);
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
            "leaving messages to the queue: they name a region that no configured topic is in, whose certificate cannot be fetched"
        );
    }
}
