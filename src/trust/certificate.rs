//! A certificate that SNS signs with: what makes it one, and what it has signed. Pure.

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaParameters,
    UnparsedPublicKey,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{self, BasicConstraints, SubjectAltName};
use x509_cert::time::Time;

use super::envelope::Version;

/// RFC 8017.
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// More than a leaf, two intermediates and their cross-signed forms.
const MOST_CERTIFICATES: usize = 8;

/// A certificate that was found good, but for its dates, which pass.
#[derive(Debug)]
pub(super) struct SigningCertificate {
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    /// `SubjectPublicKeyInfo`, DER.
    key: Vec<u8>,
}

/// Why a certificate is none to believe; a sentence's end, with nothing of the certificate in it.
pub(super) type Flaw = &'static str;

impl SigningCertificate {
    /// Reads what SNS serves: the certificate first, and maybe those that lead from it to a root.
    ///
    /// With `names`, it must have one of them, be meant for signatures, be no authority itself, and
    /// lead to one of `roots` by way of the certificates that came with it. Where none came, it was
    /// issued by an intermediate that we do not have, and its origin rests on the connection: TLS
    /// from SNS's own host, checked against the same roots. Without `names` its origin is believed.
    pub(super) fn read(
        pem: &[u8],
        names: Option<&[String]>,
        roots: &[TrustAnchor<'_>],
        now: OffsetDateTime,
    ) -> Result<Self, Flaw> {
        let mut chain = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem).take(MOST_CERTIFICATES) {
            chain.push(certificate.map_err(|_error| "its PEM cannot be read")?);
        }
        let (leaf, others) = chain.split_first().ok_or("there is no certificate in its PEM")?;
        let certificate =
            Certificate::from_der(leaf).map_err(|_error| "its certificate cannot be read")?;
        let certificate = certificate.tbs_certificate();

        let key = certificate.subject_public_key_info();
        if key.algorithm.oid != RSA_ENCRYPTION {
            return Err("the key of its certificate is not RSA");
        }
        let signing = Self {
            not_before: time(certificate.validity().not_before)?,
            not_after: time(certificate.validity().not_after)?,
            key: key.to_der().map_err(|_error| "the key of its certificate cannot be read")?,
        };
        signing.check_dates(now)?;
        if let Some(names) = names {
            check_purpose(certificate, names)?;
            check_chain(leaf, others, roots, now)?;
        }
        Ok(signing)
    }

    /// Whether its time has come, and has not passed.
    pub(super) fn check_dates(&self, now: OffsetDateTime) -> Result<(), Flaw> {
        if now < self.not_before {
            return Err("its certificate is not valid yet");
        }
        if now > self.not_after {
            return Err("its certificate has expired");
        }
        Ok(())
    }

    /// Whether it signed that message so.
    pub(super) fn has_signed(&self, message: &str, version: Version, signature: &[u8]) -> bool {
        let algorithm: &'static RsaParameters = match version {
            Version::One => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Version::Two => &RSA_PKCS1_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(algorithm, &self.key).verify(message.as_bytes(), signature).is_ok()
    }
}

fn time(time: Time) -> Result<OffsetDateTime, Flaw> {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).ok();
    seconds
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or("the dates of its certificate cannot be read")
}

fn check_purpose(certificate: &x509_cert::TbsCertificate, names: &[String]) -> Result<(), Flaw> {
    let unreadable = |_error| "an extension of its certificate cannot be read";
    let alternatives = certificate.get_extension::<SubjectAltName>().map_err(unreadable)?;
    let is_named = alternatives.is_some_and(|(_, SubjectAltName(found))| {
        found.iter().any(|found| match found {
            GeneralName::DnsName(found) => {
                names.iter().any(|name| name.eq_ignore_ascii_case(found.as_str()))
            }
            _ => false,
        })
    });
    if !is_named {
        return Err("its certificate has another name than SNS's");
    }
    let usage = certificate.get_extension::<pkix::KeyUsage>().map_err(unreadable)?;
    if usage.is_some_and(|(_, usage)| !usage.digital_signature()) {
        return Err("its certificate is not for signatures");
    }
    let basic = certificate.get_extension::<BasicConstraints>().map_err(unreadable)?;
    if basic.is_some_and(|(_, basic)| basic.ca) {
        return Err("its certificate is that of a certificate authority");
    }
    Ok(())
}

fn check_chain(
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    roots: &[TrustAnchor<'_>],
    now: OffsetDateTime,
) -> Result<(), Flaw> {
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let leaf = EndEntityCert::try_from(leaf).map_err(|_error| "its certificate cannot be read")?;
    let usage = KeyUsage::server_auth();
    let checked =
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, roots, others, now, usage, None, None);
    match checked {
        Ok(_) => Ok(()),
        Err(webpki::Error::UnknownIssuer) if others.is_empty() => Ok(()),
        Err(_) => Err("its certificate leads to no root that this machine trusts"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Authority, Signer, names, now};
    use super::*;
    use time::Duration;

    fn read(pem: &str, roots: &[TrustAnchor<'_>]) -> Result<SigningCertificate, Flaw> {
        SigningCertificate::read(pem.as_bytes(), Some(&names()), roots, now())
    }

    #[test]
    fn a_chain_that_came_with_it_must_lead_to_a_root() {
        let (root, other) = (Authority::root(), Authority::root());
        let between = root.intermediate();
        let signer = Signer::issued_by(&between);
        let whole = format!("{}{}", signer.pem, between.pem);
        assert!(read(&whole, &[root.anchor()]).is_ok());
        assert!(read(&whole, &[other.anchor()]).is_err(), "another root");
        let wrong = format!("{}{}", signer.pem, other.intermediate().pem);
        assert!(read(&wrong, &[root.anchor()]).is_err(), "another intermediate");
        assert!(read(&signer.pem, &[root.anchor()]).is_ok(), "the connection speaks for it");
        assert!(read(&Signer::issued_by(&root).pem, &[root.anchor()]).is_ok());
    }

    #[test]
    fn a_certificate_is_good_between_its_dates() {
        let signer = Signer::issued_by(&Authority::root());
        let at = |now| SigningCertificate::read(signer.pem.as_bytes(), None, &[], now).map(|_| ());
        assert_eq!(at(now()), Ok(()));
        assert_eq!(at(now() + Duration::days(366)), Err("its certificate has expired"));
        assert_eq!(at(now() - Duration::days(366)), Err("its certificate is not valid yet"));
        let read = read(&signer.pem, &[]).expect("good today");
        assert!(read.check_dates(now() + Duration::days(366)).is_err(), "and not for ever");
    }

    #[test]
    fn only_what_sns_signs_with_is_taken() {
        let root = Authority::root();
        let flaw = |signer: Signer| read(&signer.pem, &[root.anchor()]).map(|_| ());
        let of = |change: fn(&mut rcgen::CertificateParams)| Signer::changed(&root, change);
        assert_eq!(flaw(of(|_| {})), Ok(()));
        let other_name = of(|params| {
            params.subject_alt_names =
                vec![rcgen::SanType::DnsName("sns.example.com".try_into().expect("a name"))];
        });
        assert_eq!(flaw(other_name), Err("its certificate has another name than SNS's"));
        let nameless = of(|params| params.subject_alt_names.clear());
        assert_eq!(flaw(nameless), Err("its certificate has another name than SNS's"));
        let for_keys = of(|params| {
            params.key_usages = vec![rcgen::KeyUsagePurpose::KeyEncipherment];
        });
        assert_eq!(flaw(for_keys), Err("its certificate is not for signatures"));
        let authority = of(|params| {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.key_usages.clear();
        });
        assert_eq!(flaw(authority), Err("its certificate is that of a certificate authority"));
        assert_eq!(
            read(&Signer::elliptic(&root), &[root.anchor()]).map(|_| ()),
            Err("the key of its certificate is not RSA")
        );
        for pem in ["", "text", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(read(pem, &[]).is_err(), "{pem:?}");
        }
    }
}
