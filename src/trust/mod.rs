//! Which messages are accepted, by the topic that sent them and by SNS's signature.
//!
//! The queue's policy says who may send to it. An operator who does not want to rely on that policy
//! alone lists the topics to accept (`SNS_TOPIC_ARNS`) and has signatures verified (`VERIFY_SNS`).
//! Only the outermost SNS envelope of a message is checked, not one inside another wrapping. The only
//! URL that is ever fetched is that of a signing certificate, at SNS's own hosts (`pin`).
//!
//! Judging a message does no I/O: `envelope`, `pin` and `certificate` are pure, and [`Verifier::judge`]
//! uses them and the certificates that are known (`cache`). [`Verifier::learn`] fetches one (`fetch`).

mod cache;
mod certificate;
mod envelope;
mod fetch;
mod pin;

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use rustls_pki_types::TrustAnchor;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::decode::{Reason, Rejection};
use cache::{Cache, Known};
use certificate::SigningCertificate;
use envelope::Envelope;
use fetch::{Failure, Fetcher};
pub(crate) use pin::{CertificateUrl, Emulator, TopicArn};

/// What is asked of a message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// The topics that may send; any, if there are none.
    pub(crate) topics: BTreeSet<TopicArn>,
    /// What signatures are for.
    pub(crate) verify: Verify,
    /// Where an emulator keeps its certificates.
    pub(crate) emulator: Option<Emulator>,
}

/// What becomes of a message without a good signature of SNS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verify {
    /// Nothing: signatures are not verified
    #[default]
    Off,
    /// It is written, logged and counted
    Warn,
    /// It becomes a dead letter
    Enforce,
}

/// What is to be done with a message.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It may be written: it is all that was asked for.
    Trusted,
    /// It is written and logged: it fails a check, but `VERIFY_SNS=warn` only reports failures.
    AcceptedWithWarning(Rejection),
    /// It becomes a dead letter.
    Refused(Rejection),
    /// Its certificate is not known yet: judge it again after [`Verifier::learn`] of this URL.
    AwaitsCertificate(CertificateUrl),
}

/// Whether a certificate could be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Learned {
    /// Now it is known, or known to be none.
    Settled,
    /// Unknown, for this reason: one line that contains nothing from a message.
    Away(String),
}

/// Checks messages against what the operator asked for.
#[derive(Debug)]
pub(crate) struct Verifier {
    settings: Settings,
    roots: Vec<TrustAnchor<'static>>,
    /// Made when it is needed for the first time.
    fetcher: LazyLock<Fetcher>,
    cache: Mutex<Cache>,
    /// Where certificates of real topics are: known from the settings, or from an answer.
    hosts: Mutex<HashSet<String>>,
}

impl Verifier {
    /// With the roots of this machine. Says so in the log if it believes an emulator.
    #[must_use]
    pub(crate) fn new(settings: Settings) -> Self {
        let mut roots = Vec::new();
        if settings.verify != Verify::Off {
            let found = rustls_native_certs::load_native_certs();
            roots = found
                .certs
                .iter()
                .filter_map(|root| webpki::anchor_from_trusted_cert(root).ok())
                .map(|root| root.to_owned())
                .collect();
            if let Some(emulator) = &settings.emulator {
                tracing::warn!(%emulator, "certificates from this URL are accepted without verification: for emulators and tests only");
            }
        }
        let hosts = settings.topics.iter().map(TopicArn::certificate_host);
        let hosts = Mutex::new(hosts.collect());
        Self {
            settings,
            roots,
            fetcher: LazyLock::new(Fetcher::new),
            cache: Mutex::default(),
            hosts,
        }
    }

    /// Expects topics of the region that a queue is in, by the queue's URL.
    #[must_use]
    pub(crate) fn with_queue(self, queue_url: &str) -> Self {
        if let Some(host) =
            queue_url.strip_prefix("https://sqs.").and_then(|rest| rest.split_once('/'))
        {
            self.hosts().insert(format!("https://sns.{}/", host.0));
        }
        self
    }

    /// Whether a certificate is where a topic certainly is: a configured one, one of the queue's region,
    /// or one whose certificate has been fetched. Anyone who may send to the queue can name any other
    /// region, even one that does not exist.
    #[must_use]
    pub(crate) fn expects(&self, url: &CertificateUrl) -> bool {
        self.settings.emulator.is_some() || self.hosts().contains(url.host())
    }

    fn hosts(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        // A panic elsewhere cannot leave it half changed.
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything is asked of messages at all.
    #[must_use]
    pub(crate) fn is_active(&self) -> bool {
        self.verifies() || !self.settings.topics.is_empty()
    }

    /// Whether signatures are looked at.
    #[must_use]
    pub(crate) fn verifies(&self) -> bool {
        self.settings.verify != Verify::Off
    }

    /// Whether a message waits for a certificate that cannot be fetched.
    #[must_use]
    pub(crate) fn is_enforcing(&self) -> bool {
        self.settings.verify == Verify::Enforce
    }

    /// What is to be done with a message body.
    #[must_use]
    pub(crate) fn judge(&self, body: &str, now: OffsetDateTime) -> Verdict {
        let envelope = Envelope::read(body);
        if !self.settings.topics.is_empty()
            && let Err(rejection) = self.check_topic(envelope.as_ref())
        {
            return Verdict::Refused(rejection);
        }
        if !self.verifies() {
            return Verdict::Trusted;
        }
        match self.check_signature(envelope.as_ref(), now) {
            Ok(()) => Verdict::Trusted,
            Err(Doubt::AwaitsCertificate(url)) => Verdict::AwaitsCertificate(url),
            Err(Doubt::Rejected(rejection)) if self.is_enforcing() => Verdict::Refused(rejection),
            Err(Doubt::Rejected(rejection)) => Verdict::AcceptedWithWarning(rejection),
        }
    }

    /// Fetches a certificate, unless it is known already, and remembers what came of it.
    pub(crate) async fn learn(&self, url: &CertificateUrl, now: OffsetDateTime) -> Learned {
        if let Some(Known::Good(_) | Known::Bad(_)) = self.cache().get(url, Instant::now()) {
            return Learned::Settled;
        }
        let fetched = self.fetcher.get(url).await;
        let (known, learned) = match fetched {
            Ok(pem) => match SigningCertificate::read(&pem, url.names(), &self.roots, now) {
                Ok(certificate) => (Known::Good(Arc::new(certificate)), Learned::Settled),
                Err(flaw) => (Known::Bad(flaw), Learned::Settled),
            },
            Err(Failure::NotThere(why)) => (Known::Bad(why), Learned::Settled),
            Err(Failure::Away(why)) => (Known::Away, Learned::Away(why)),
        };
        if matches!(known, Known::Good(_)) {
            self.hosts().insert(url.host().to_owned());
        }
        self.cache().put(url.clone(), known, Instant::now());
        learned
    }

    fn check_topic(&self, envelope: Option<&Envelope<'_>>) -> Result<(), Rejection> {
        let Some(arn) = envelope.and_then(Envelope::topic_arn) else {
            return Err(Reason::NoTopic.into());
        };
        let is_ours = arn.parse().is_ok_and(|topic| self.settings.topics.contains(&topic));
        if is_ours { Ok(()) } else { Err(because(Reason::OtherTopic, arn)) }
    }

    fn check_signature(
        &self,
        envelope: Option<&Envelope<'_>>,
        now: OffsetDateTime,
    ) -> Result<(), Doubt> {
        let not_signed = || Doubt::Rejected(Reason::NotSigned.into());
        let envelope = envelope.ok_or_else(not_signed)?;
        let signature = envelope.signature().ok_or_else(not_signed)?;
        let url = envelope.certificate_url().ok_or_else(not_signed)?;
        let arn = envelope.topic_arn().ok_or_else(not_signed)?;

        let version = envelope
            .version()
            .ok_or_else(|| unverifiable("its signature version is neither 1 nor 2"))?;
        let topic: TopicArn =
            arn.parse().map_err(|_error| unverifiable("its TopicArn is not the ARN of a topic"))?;
        let url = CertificateUrl::pinned(&url, &topic, self.settings.emulator.as_ref())
            .ok_or_else(|| {
                unverifiable("its certificate is not where SNS keeps those of the topic's region")
            })?;
        let to_sign =
            envelope.to_sign().ok_or_else(|| forged("SNS does not sign messages of this form"))?;
        let signature = STANDARD
            .decode(signature.as_bytes())
            .map_err(|_error| forged("its signature is not base64"))?;

        let known = self.cache().get(&url, Instant::now());
        let certificate = match known {
            Some(Known::Good(certificate)) => certificate,
            Some(Known::Bad(flaw)) => return Err(unverifiable(flaw)),
            Some(Known::Away) if !self.is_enforcing() => {
                return Err(unverifiable("its certificate could not be fetched"));
            }
            Some(Known::Away) | None => return Err(Doubt::AwaitsCertificate(url)),
        };
        certificate.check_dates(now).map_err(unverifiable)?;
        if certificate.has_signed(&to_sign, version, &signature) {
            Ok(())
        } else {
            Err(forged("its signature does not fit its content"))
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        // A panic elsewhere cannot leave it half changed.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a signature says nothing, or nothing yet.
enum Doubt {
    Rejected(Rejection),
    AwaitsCertificate(CertificateUrl),
}

fn because(reason: Reason, detail: impl Into<String>) -> Rejection {
    Rejection { reason, detail: Some(detail.into()) }
}

fn unverifiable(why: &'static str) -> Doubt {
    Doubt::Rejected(because(Reason::Unverifiable, why))
}

fn forged(why: &'static str) -> Doubt {
    Doubt::Rejected(because(Reason::Forged, why))
}

#[cfg(test)]
mod tests;
