//! Messages signed by certificates made here, and what becomes of them.

use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SigningKey as _,
};
use serde_json::{Value, json};
use time::macros::datetime;

use super::*;
use crate::decode::{Outcome, Rules, decode};

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:events";

pub(super) fn now() -> OffsetDateTime {
    datetime!(2026-11-21 12:00 UTC)
}

pub(super) fn url(id: &str) -> CertificateUrl {
    let url = format!("https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{id}.pem");
    CertificateUrl::pinned(&url, &TOPIC.parse().expect("a topic"), None).expect("SNS's")
}

pub(super) fn names() -> Vec<String> {
    url("a").names().expect("SNS's").to_vec()
}

/// Making RSA keys takes long.
static KEYS: LazyLock<[KeyPair; 2]> = LazyLock::new(|| {
    std::array::from_fn(|_| KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key"))
});

fn dated(mut params: CertificateParams) -> CertificateParams {
    params.not_before = now() - time::Duration::days(365);
    params.not_after = now() + time::Duration::days(365);
    params
}

/// Who issues certificates.
pub(super) struct Authority {
    pub(super) pem: String,
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn params(name: &str) -> CertificateParams {
        let mut params = dated(CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    pub(super) fn root() -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = Self::params("Root");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { pem: certificate.pem(), certificate, issuer: Issuer::new(params, key) }
    }

    pub(super) fn intermediate(&self) -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = Self::params("Intermediate");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Self { pem: certificate.pem(), certificate, issuer: Issuer::new(params, key) }
    }

    pub(super) fn anchor(&self) -> TrustAnchor<'static> {
        webpki::anchor_from_trusted_cert(self.certificate.der()).expect("a root").to_owned()
    }
}

/// Who signs messages, as SNS does.
pub(super) struct Signer {
    pub(super) pem: String,
}

impl Signer {
    pub(super) fn issued_by(authority: &Authority) -> Self {
        Self::changed(authority, |_| {})
    }

    pub(super) fn changed(authority: &Authority, change: fn(&mut CertificateParams)) -> Self {
        let mut params = Self::params();
        change(&mut params);
        let certificate = params.signed_by(&KEYS[0], &authority.issuer).expect("a certificate");
        Self { pem: certificate.pem() }
    }

    /// A certificate with a key that is not RSA.
    pub(super) fn elliptic(authority: &Authority) -> String {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self::params().signed_by(&key, &authority.issuer).expect("a certificate").pem()
    }

    fn params() -> CertificateParams {
        let mut params =
            dated(CertificateParams::new(["sns.amazonaws.com".to_owned()]).expect("a name"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params
    }
}

fn event() -> Value {
    json!({"eventType": "Send", "send": {}, "mail": {
        "timestamp": "2026-11-20T10:00:00.123Z", "messageId": "m-1", "destination": ["jane@example.com"],
    }})
}

/// Signs an envelope's fields with one of the two keys, as version 2.
fn sign(mut envelope: Value, key: usize) -> Value {
    envelope["SignatureVersion"] = json!("2");
    let to_sign = Envelope::read(&envelope.to_string()).and_then(|envelope| envelope.to_sign());
    let signature = KEYS[key].sign(to_sign.expect("it can be signed").as_bytes()).expect("signed");
    envelope["Signature"] = json!(STANDARD.encode(signature));
    envelope
}

fn notification() -> Value {
    json!({
        "Type": "Notification", "MessageId": "n-1", "TopicArn": TOPIC,
        "Subject": "Amazon SES Email Event Notification", "Message": format!("{}\n", event()),
        "Timestamp": "2026-11-20T10:00:03.000Z",
        "SigningCertURL": url("a").as_str(),
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
    })
}

fn confirmation() -> Value {
    json!({
        "Type": "SubscriptionConfirmation", "MessageId": "n-2", "TopicArn": TOPIC,
        "Message": "You have chosen …", "Timestamp": "2026-11-20T10:00:03.000Z", "Token": "t",
        "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
        "SigningCertURL": url("a").as_str(),
    })
}

/// A verifier that knows the certificate of the first key.
fn verifier(verify: Verify, topics: &[&str]) -> Verifier {
    let topics = topics.iter().map(|arn| arn.parse().expect("a topic")).collect();
    let verifier = Verifier::new(Settings { topics, verify, emulator: None });
    let root = Authority::root();
    let pem = Signer::issued_by(&root).pem;
    let read = SigningCertificate::read(pem.as_bytes(), Some(&names()), &[root.anchor()], now());
    let good = Known::Good(Arc::new(read.expect("a good one")));
    verifier.cache().put(url("a"), good, Instant::now());
    verifier
}

static ENFORCING: LazyLock<Verifier> = LazyLock::new(|| verifier(Verify::Enforce, &[]));

fn verdict(verifier: &Verifier, body: &Value) -> Verdict {
    verifier.judge(&body.to_string(), now())
}

fn refused(verifier: &Verifier, body: &str) -> Option<Reason> {
    match verifier.judge(body, now()) {
        Verdict::Refused(rejection) => Some(rejection.reason),
        _ => None,
    }
}

#[test]
fn what_sns_signed_is_trusted() {
    for body in [notification(), confirmation()] {
        let verdict = verdict(&ENFORCING, &sign(body, 0));
        assert!(matches!(verdict, Verdict::Trusted), "{verdict:?}");
    }
}

/// Signed once with Python's `cryptography`, since nothing here signs with SHA-1 any more.
#[test]
fn version_one_is_sha_1() {
    let verifier = Verifier::new(Settings { verify: Verify::Enforce, ..Settings::default() });
    let pem = include_bytes!("testdata/version1.pem");
    let read = SigningCertificate::read(pem, Some(&names()), &[], now()).expect("a good one");
    verifier.cache().put(url("a"), Known::Good(Arc::new(read)), Instant::now());
    let body = include_str!("testdata/version1.json");
    assert!(matches!(verifier.judge(body, now()), Verdict::Trusted));
    for (from, to) in [("\"1\"", "\"2\""), ("jane", "joan")] {
        assert_eq!(refused(&verifier, &body.replace(from, to)), Some(Reason::Forged));
    }
}

#[test]
fn another_key_is_a_forgery() {
    assert_eq!(refused(&ENFORCING, &sign(notification(), 1).to_string()), Some(Reason::Forged));
}

#[test]
fn each_doubt_has_its_reason() {
    let with = |key: &str, value: Value| {
        let mut body = sign(notification(), 0);
        body[key] = value;
        body.to_string()
    };
    let elsewhere = "https://sns.s3-eu-west-1.amazonaws.com/SimpleNotificationService-a.pem";
    for (body, reason) in [
        (event().to_string(), Reason::NotSigned),
        (json!({"source": "aws.ses", "detail": event()}).to_string(), Reason::NotSigned),
        (
            "Successfully validated SNS topic for Amazon SES event publishing.".to_owned(),
            Reason::NotSigned,
        ),
        (json!([sign(notification(), 0)]).to_string(), Reason::NotSigned),
        (json!(sign(notification(), 0).to_string()).to_string(), Reason::NotSigned),
        (
            json!({"Records": [{"body": sign(notification(), 0).to_string()}]}).to_string(),
            Reason::NotSigned,
        ),
        (with("Signature", json!(null)), Reason::NotSigned),
        (with("SigningCertURL", json!(null)), Reason::NotSigned),
        (with("SigningCertURL", json!(elsewhere)), Reason::Unverifiable),
        (with("SignatureVersion", json!("3")), Reason::Unverifiable),
        (with("SignatureVersion", json!(null)), Reason::Unverifiable),
        (with("TopicArn", json!("events")), Reason::Unverifiable),
        (with("SignatureVersion", json!("1")), Reason::Forged),
        (with("Signature", json!("*")), Reason::Forged),
        (with("Signature", json!("")), Reason::Forged),
        (with("Message", event()), Reason::Forged),
    ] {
        assert_eq!(refused(&ENFORCING, &body), Some(reason), "{body}");
    }
}

#[test]
fn a_certificate_that_is_unknown_is_asked_for_and_one_that_is_none_is_not() {
    let verifier = verifier(Verify::Enforce, &[]);
    let mut body = notification();
    body["SigningCertURL"] = json!(url("b").as_str());
    let body = sign(body, 0);
    assert!(
        matches!(verdict(&verifier, &body), Verdict::AwaitsCertificate(unknown) if unknown == url("b"))
    );
    verifier.cache().put(url("b"), Known::Away, Instant::now());
    assert!(matches!(verdict(&verifier, &body), Verdict::AwaitsCertificate(_)), "it waits");
    verifier.cache().put(url("b"), Known::Bad("its certificate has expired"), Instant::now());
    assert_eq!(refused(&verifier, &body.to_string()), Some(Reason::Unverifiable));
    let later = now() + time::Duration::days(366);
    let verdict = verifier.judge(&sign(notification(), 0).to_string(), later);
    assert!(
        matches!(verdict, Verdict::Refused(rejection) if rejection.reason == Reason::Unverifiable)
    );
}

#[test]
fn a_warning_door_refuses_nothing_and_waits_for_nothing() {
    let verifier = verifier(Verify::Warn, &[]);
    assert!(matches!(verdict(&verifier, &sign(notification(), 0)), Verdict::Trusted));
    let verdict_of = |body: &Value| verdict(&verifier, body);
    assert!(matches!(verdict_of(&sign(notification(), 1)), Verdict::AcceptedWithWarning(_)));
    assert!(matches!(verdict_of(&event()), Verdict::AcceptedWithWarning(_)));
    let mut body = notification();
    body["SigningCertURL"] = json!(url("b").as_str());
    let body = sign(body, 0);
    assert!(matches!(verdict_of(&body), Verdict::AwaitsCertificate(_)), "asked for once");
    verifier.cache().put(url("b"), Known::Away, Instant::now());
    assert!(matches!(verdict_of(&body), Verdict::AcceptedWithWarning(_)));
}

#[test]
fn only_the_listed_topics_may_send() {
    let other = TOPIC.replace("events", "others");
    let verifier = verifier(Verify::Off, &[TOPIC, "arn:aws:sns:us-east-1:123456789012:more"]);
    let from = |topic: Value| {
        let mut body = notification();
        body["TopicArn"] = topic;
        refused(&verifier, &body.to_string())
    };
    assert_eq!(from(json!(TOPIC)), None);
    assert_eq!(from(json!(other)), Some(Reason::OtherTopic));
    assert_eq!(from(json!(format!("{TOPIC} "))), Some(Reason::OtherTopic));
    assert_eq!(from(json!(null)), Some(Reason::NoTopic));
    assert_eq!(refused(&verifier, &event().to_string()), Some(Reason::NoTopic));
    assert_eq!(refused(&verifier, "not JSON"), Some(Reason::NoTopic));
}

#[test]
fn an_open_door_asks_nothing() {
    let verifier = Verifier::new(Settings::default());
    assert!(!verifier.is_active());
    assert!(matches!(verifier.judge("anything", now()), Verdict::Trusted));
}

/// The part of an outcome that the envelope decides on, too.
fn rows(body: &Value) -> Outcome {
    decode(&body.to_string(), Some("sqs"), &Rules::default(), now())
}

proptest! {
    #[test]
    fn any_change_of_what_is_signed_is_found(
        field in prop::sample::select(vec![
            "Type", "MessageId", "TopicArn", "Subject", "Message", "Timestamp", "Token", "SubscribeURL",
        ]),
        at in any::<prop::sample::Index>(),
        change in ".{1,3}",
        confirms in any::<bool>(),
    ) {
        let signed = sign(if confirms { confirmation() } else { notification() }, 0);
        let Some(value) = signed[field].as_str() else { return Ok(()) };
        let mut changed: Vec<char> = value.chars().collect();
        let at = at.index(changed.len());
        changed.splice(at..=at, change.chars());
        let changed: String = changed.into_iter().collect();
        prop_assume!(changed != value);
        let mut body = signed.clone();
        body[field] = json!(changed);
        prop_assert!(matches!(verdict(&ENFORCING, &body), Verdict::Refused(_)), "{}", body);
        body.as_object_mut().expect("an object").remove(field);
        prop_assert!(matches!(verdict(&ENFORCING, &body), Verdict::Refused(_)), "{}", body);
    }

    /// A good envelope is read as what was signed, whatever else somebody writes into it.
    #[test]
    fn what_is_not_signed_changes_nothing(
        field in prop::sample::select(vec![
            "UnsubscribeURL", "MessageAttributes", "SequenceNumber", "eventType", "notificationType",
            "mail", "detail", "detail-type", "source", "id", "ses", "Event", "Body", "body", "Sns",
            "Records", "Messages", "messageId",
        ]),
        value in prop::sample::select(vec![
            json!("Bounce"), json!(null), json!([event()]), event(), json!(event().to_string()),
        ]),
    ) {
        let signed = sign(notification(), 0);
        let mut body = signed.clone();
        body[field] = value;
        match verdict(&ENFORCING, &body) {
            Verdict::Trusted => prop_assert_eq!(rows(&body), rows(&signed)),
            Verdict::Refused(rejection) => prop_assert_eq!(rejection.reason, Reason::Forged),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn no_body_is_trusted_by_chance(body in ".{0,200}") {
        prop_assert!(matches!(ENFORCING.judge(&body, now()), Verdict::Refused(_)));
    }
}
