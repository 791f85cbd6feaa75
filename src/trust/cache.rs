//! What is known of certificates: bounded, and not for long.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::certificate::{Flaw, SigningCertificate};
use super::pin::CertificateUrl;

/// SNS has one certificate a region at a time.
const MOST: usize = 16;
/// A certificate is asked for again after that. What is at a URL does not change, so this only
/// removes what is no longer used.
const LONGEST: Duration = Duration::from_hours(7 * 24);
/// And one that is none after that.
const LONGEST_BAD: Duration = Duration::from_mins(1);

/// What is known of a certificate.
#[derive(Debug, Clone)]
pub(super) enum Known {
    Good(Arc<SigningCertificate>),
    Bad(Flaw),
    /// It could not be fetched lately.
    Away,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    until: Instant,
    last_used: Instant,
}

impl Entry {
    /// The least goes first: what is over, what is none, what was not used for longest.
    fn worth(&self, now: Instant) -> (bool, bool, Instant) {
        (self.until > now, matches!(self.known, Known::Good(_)), self.last_used)
    }
}

#[derive(Debug, Default)]
pub(super) struct Cache(HashMap<CertificateUrl, Entry>);

impl Cache {
    pub(super) fn get(&mut self, url: &CertificateUrl, now: Instant) -> Option<Known> {
        let entry = self.0.get_mut(url).filter(|entry| entry.until > now)?;
        entry.last_used = now;
        Some(entry.known.clone())
    }

    /// Remembers it; what is least worth makes room. Messages of invented certificates so push out
    /// each other, and not those that are good.
    pub(super) fn put(&mut self, url: CertificateUrl, known: Known, now: Instant) {
        let life = match known {
            Known::Good(_) => LONGEST,
            Known::Bad(_) => LONGEST_BAD,
            // Full jitter, but not at once.
            Known::Away => {
                Duration::from_secs(5) + Duration::from_secs(25).mul_f64(fastrand::f64())
            }
        };
        self.0.remove(&url);
        if self.0.len() >= MOST {
            let least = self.0.iter().min_by_key(|(_, entry)| entry.worth(now));
            if let Some(url) = least.map(|(url, _)| url.clone()) {
                self.0.remove(&url);
            }
        }
        self.0.insert(url, Entry { known, until: now + life, last_used: now });
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Authority, Signer, now, url};
    use super::*;

    #[test]
    fn a_flood_of_certificates_pushes_out_no_good_one() {
        let (mut cache, now_) = (Cache::default(), Instant::now());
        let signer = Signer::issued_by(&Authority::root());
        let good = SigningCertificate::read(signer.pem.as_bytes(), None, &[], now());
        cache.put(url("good"), Known::Good(Arc::new(good.expect("good"))), now_);
        for number in 0..1_000 {
            let later = now_ + Duration::from_millis(number);
            cache.put(url(&number.to_string()), Known::Bad("flaw"), later);
        }
        assert_eq!(cache.0.len(), MOST);
        assert!(matches!(cache.get(&url("good"), now_), Some(Known::Good(_))));
        assert!(matches!(cache.get(&url("999"), now_), Some(Known::Bad("flaw"))));
        assert!(cache.get(&url("0"), now_).is_none());
    }

    #[test]
    fn nothing_is_known_for_ever() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put(url("bad"), Known::Bad("flaw"), now);
        cache.put(url("away"), Known::Away, now);
        assert!(cache.get(&url("bad"), now + LONGEST_BAD).is_none());
        assert!(cache.get(&url("away"), now).is_some());
        assert!(cache.get(&url("away"), now + Duration::from_secs(31)).is_none());
    }
}
