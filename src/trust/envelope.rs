//! The outermost SNS envelope of a message, read without copying, and the string that
//! SNS signed of it. Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// What SNS puts around a message, as far as trust is concerned. Values are unescaped when they
/// are asked for. A field that occurs twice makes the whole unreadable, because readers would differ
/// on which of the two counts.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, rename = "Type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, rename = "MessageId")]
    message_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "TopicArn")]
    topic_arn: Option<&'a RawValue>,
    #[serde(borrow, rename = "Subject")]
    subject: Option<&'a RawValue>,
    #[serde(borrow, rename = "Message")]
    message: Option<&'a RawValue>,
    #[serde(borrow, rename = "Timestamp")]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, rename = "Token")]
    token: Option<&'a RawValue>,
    #[serde(borrow, rename = "SubscribeURL")]
    subscribe_url: Option<&'a RawValue>,
    #[serde(borrow, rename = "SignatureVersion")]
    signature_version: Option<&'a RawValue>,
    #[serde(borrow, rename = "Signature")]
    signature: Option<&'a RawValue>,
    #[serde(borrow, rename = "SigningCertURL")]
    certificate_url: Option<&'a RawValue>,
    /// Not SNS's: decode would read such an envelope as an event, past what is signed.
    #[serde(rename = "eventType")]
    event_type: Option<IgnoredAny>,
    #[serde(rename = "notificationType")]
    notification_type: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn text<'a>(value: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
    serde_json::from_str::<Text<'a>>(value?.get()).ok().map(|text| text.0)
}

impl<'a> Envelope<'a> {
    /// Reads a body; `None` if it is no JSON object or names a field twice.
    pub(super) fn read(body: &'a str) -> Option<Self> {
        // As decode does. An array would be read by position.
        let body = body.trim_start_matches('\u{feff}').trim();
        if !body.starts_with('{') {
            return None;
        }
        serde_json::from_str(body).ok()
    }

    /// The topic that it says it comes from.
    pub(super) fn topic_arn(&self) -> Option<Cow<'a, str>> {
        text(self.topic_arn)
    }

    /// Where it says that the certificate of its signature is.
    pub(super) fn certificate_url(&self) -> Option<Cow<'a, str>> {
        text(self.certificate_url)
    }

    /// The signature, in base64.
    pub(super) fn signature(&self) -> Option<Cow<'a, str>> {
        text(self.signature)
    }

    /// How it is signed; `None` for a version that is not known.
    pub(super) fn version(&self) -> Option<Version> {
        match &*text(self.signature_version)? {
            "1" => Some(Version::One),
            "2" => Some(Version::Two),
            _ => None,
        }
    }

    /// The string that SNS signed; `None` if the envelope lacks one of its parts, or holds what
    /// SNS never writes: then SNS cannot have signed it in this form.
    ///
    /// Source: Amazon SNS Developer Guide, "Verifying the signatures of Amazon SNS messages".
    pub(super) fn to_sign(&self) -> Option<String> {
        if self.event_type.is_some() || self.notification_type.is_some() {
            return None;
        }
        let kind = text(self.kind)?;
        let (message_id, topic_arn) = (self.message_id, self.topic_arn);
        let fields: &[(&str, Option<&RawValue>)] = match &*kind {
            "Notification" => &[
                ("MessageId", message_id),
                ("Subject", self.subject),
                ("Timestamp", self.timestamp),
                ("TopicArn", topic_arn),
                ("Type", self.kind),
            ],
            "SubscriptionConfirmation" | "UnsubscribeConfirmation" => &[
                ("MessageId", message_id),
                ("SubscribeURL", self.subscribe_url),
                ("Timestamp", self.timestamp),
                ("Token", self.token),
                ("TopicArn", topic_arn),
                ("Type", self.kind),
            ],
            _ => return None,
        };
        let mut signed = format!("Message\n{}\n", text(self.message)?);
        for &(name, value) in fields {
            if name == "Subject" && value.is_none() {
                continue;
            }
            let value = text(value)?;
            // Only a message has lines. With more of them in other fields, one signed string could
            // be cut into fields in several ways.
            if value.contains('\n') {
                return None;
            }
            for part in [name, "\n", &value, "\n"] {
                signed.push_str(part);
            }
        }
        Some(signed)
    }
}

/// What a `SignatureVersion` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// RSA with SHA-1: what topics do unless told otherwise.
    One,
    /// RSA with SHA-256.
    Two,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn notification() -> Value {
        json!({
            "Type": "Notification", "MessageId": "m", "TopicArn": "arn", "Message": "a\nb \"c\" é",
            "Timestamp": "t", "Signature": "s", "SignatureVersion": "1", "SigningCertURL": "u",
            "UnsubscribeURL": "n", "MessageAttributes": {"k": {"Type": "String", "Value": "v"}},
        })
    }

    fn with(changes: &Value) -> Value {
        let mut body = notification();
        for (key, value) in changes.as_object().expect("an object") {
            body[key] = value.clone();
        }
        body
    }

    fn signed(body: &Value) -> Option<String> {
        Envelope::read(&body.to_string())?.to_sign()
    }

    #[test]
    fn a_notification_signs_its_fields_in_order() {
        let without = "Message\na\nb \"c\" é\nMessageId\nm\nTimestamp\nt\nTopicArn\narn\nType\nNotification\n";
        let with_subject = "Message\na\nb \"c\" é\nMessageId\nm\nSubject\nx\nTimestamp\nt\nTopicArn\narn\nType\nNotification\n";
        assert_eq!(signed(&notification()).as_deref(), Some(without));
        assert_eq!(signed(&with(&json!({"Subject": null}))).as_deref(), Some(without));
        assert_eq!(signed(&with(&json!({"Subject": "x"}))).as_deref(), Some(with_subject));
    }

    #[test]
    fn a_confirmation_signs_its_url_and_token() {
        for kind in ["SubscriptionConfirmation", "UnsubscribeConfirmation"] {
            let body =
                with(&json!({"Type": kind, "Token": "k", "SubscribeURL": "v", "Subject": "x"}));
            let expected = format!(
                "Message\na\nb \"c\" é\nMessageId\nm\nSubscribeURL\nv\nTimestamp\nt\nToken\nk\nTopicArn\narn\nType\n{kind}\n"
            );
            assert_eq!(signed(&body), Some(expected));
            assert_eq!(signed(&with(&json!({"Type": kind, "Token": "k"}))), None, "no URL");
        }
    }

    #[test]
    fn what_sns_never_writes_was_never_signed() {
        for changes in [
            json!({"Type": "notification"}),
            json!({"Type": null}),
            json!({"Message": {"eventType": "Send"}}),
            json!({"Message": null}),
            json!({"Timestamp": 1}),
            json!({"MessageId": "m\nSubject\nx"}),
            json!({"Subject": "x\ny"}),
            json!({"eventType": "Send"}),
            json!({"notificationType": "Bounce"}),
        ] {
            assert_eq!(signed(&with(&changes)), None, "{changes}");
        }
    }

    #[test]
    fn only_an_object_is_an_envelope_and_only_with_each_field_once() {
        let twice = notification().to_string().replacen('{', "{\"Message\":\"other\",", 1);
        for body in ["", "text", "[1]", "\"{}\"", "null", "{\"Type\":", &twice] {
            assert!(Envelope::read(body).is_none(), "{body}");
        }
        let spaced = format!("\u{feff} {}\n", notification());
        assert_eq!(
            Envelope::read(&spaced).expect("an envelope").topic_arn().as_deref(),
            Some("arn")
        );
    }

    #[test]
    fn versions_are_one_and_two() {
        let version = |value: Value| {
            let body = with(&json!({"SignatureVersion": value})).to_string();
            Envelope::read(&body).expect("an envelope").version()
        };
        assert_eq!(version(json!("1")), Some(Version::One));
        assert_eq!(version(json!("2")), Some(Version::Two));
        for other in [json!("3"), json!(1), json!(""), json!(null)] {
            assert_eq!(version(other), None);
        }
    }
}
