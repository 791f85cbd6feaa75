//! Takes SES events out of what carries them: SNS, EventBridge, raw delivery, and the shapes in
//! which people keep messages (`aws sqs receive-message` output, Lambda `Records`).

use serde_json::{Map, Value};

use super::outcome::{Acknowledged, Reason, Rejection};
use super::text;

/// More wrappings than SNS in SQS in Lambda in an archive; deeper is no letter of ours.
const MOST_WRAPPINGS: usize = 8;

/// SES sends this to a topic whenever an event destination is created, as plain text.
const VALIDATION_TEXT: &str = "Successfully validated SNS topic for Amazon SES event publishing.";

/// What an envelope held.
#[derive(Debug, PartialEq)]
pub(super) enum Letter {
    /// A JSON object with `eventType` or `notificationType`.
    Event {
        event: Map<String, Value>,
        /// The id of the innermost envelope that has one.
        notification_id: Option<String>,
    },
    Acknowledged(Acknowledged),
}

/// Opens a message body. One body holds one letter, but for Lambda and `receive-message` wrappers.
pub(super) fn open(body: &str, sqs_message_id: Option<&str>) -> Result<Vec<Letter>, Rejection> {
    let mut opener = Opener { letters: Vec::new() };
    opener.text(body, sqs_message_id.map(str::to_owned), 0)?;
    Ok(opener.letters)
}

struct Opener {
    letters: Vec<Letter>,
}

impl Opener {
    fn text(&mut self, text: &str, id: Option<String>, depth: usize) -> Result<(), Rejection> {
        // SES ends what it publishes to SNS with a newline; files may start with a byte order mark.
        let text = text.trim_start_matches('\u{feff}').trim();
        if text == VALIDATION_TEXT {
            self.letters.push(Letter::Acknowledged(Acknowledged::TopicValidation));
            return Ok(());
        }
        if text.is_empty() {
            return Err(Reason::Empty.into());
        }
        self.value(parse(text)?, id, depth)
    }

    fn value(&mut self, value: Value, id: Option<String>, depth: usize) -> Result<(), Rejection> {
        if depth > MOST_WRAPPINGS {
            return Err(Rejection::new(Reason::NotAnEvent, "too many envelopes in each other"));
        }
        match value {
            Value::String(text) => self.text(&text, id, depth + 1),
            Value::Object(map) => self.object(map, id, depth),
            Value::Array(items) if !items.is_empty() => {
                items.into_iter().try_for_each(|item| self.value(item, id.clone(), depth + 1))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                Err(Rejection::new(Reason::NotAnEvent, "JSON, but not an object"))
            }
        }
    }

    fn object(
        &mut self,
        mut map: Map<String, Value>,
        id: Option<String>,
        depth: usize,
    ) -> Result<(), Rejection> {
        if let Some(name) = string(&map, "eventType").or_else(|| string(&map, "notificationType")) {
            let letter = match name {
                "Received" | "received" => Letter::Acknowledged(Acknowledged::InboundMail),
                "AmazonSnsSubscriptionSucceeded" => {
                    Letter::Acknowledged(Acknowledged::FeedbackTest)
                }
                _ => Letter::Event { event: map, notification_id: id },
            };
            self.letters.push(letter);
            return Ok(());
        }
        // SNS. Lambda hands it over without a Type.
        if let "SubscriptionConfirmation" | "UnsubscribeConfirmation" =
            string(&map, "Type").unwrap_or_default()
        {
            self.letters.push(Letter::Acknowledged(Acknowledged::SubscriptionControl));
            return Ok(());
        }
        if let Some(message) = map.remove("Message") {
            let id = own_id(&map, "MessageId", id);
            return self.value(message, id, depth + 1);
        }
        // EventBridge.
        if map.contains_key("detail-type") || map.contains_key("detail") {
            return self.bridged(map, id, depth);
        }
        // Inbound mail as SES hands it to Lambda.
        if let Some(Value::Object(inbound)) = map.get("ses")
            && inbound.contains_key("receipt")
        {
            self.letters.push(Letter::Acknowledged(Acknowledged::InboundMail));
            return Ok(());
        }
        if string(&map, "Event") == Some("s3:TestEvent") {
            self.letters.push(Letter::Acknowledged(Acknowledged::S3Test));
            return Ok(());
        }
        // `aws sqs receive-message`, one message of it, and Lambda's event for SQS and SNS.
        for (key, id_key) in [("Body", "MessageId"), ("body", "messageId"), ("Sns", "MessageId")] {
            if let Some(inner) = map.remove(key) {
                let id = own_id(&map, id_key, id);
                return self.value(inner, id, depth + 1);
            }
        }
        for key in ["Records", "Messages"] {
            if let Some(items @ Value::Array(_)) = map.remove(key) {
                return self.value(items, id, depth + 1);
            }
        }
        Err(Rejection::new(
            Reason::NotAnEvent,
            "neither eventType nor notificationType, and no known envelope",
        ))
    }

    /// An EventBridge event. SES sends events about mail, and others (VDM Advisor, Sending Status,
    /// API calls through `CloudTrail`), under one source.
    fn bridged(
        &mut self,
        mut map: Map<String, Value>,
        id: Option<String>,
        depth: usize,
    ) -> Result<(), Rejection> {
        let id = own_id(&map, "id", id);
        let from_ses = string(&map, "source").is_some_and(|source| source.starts_with("aws.ses"));
        let about_mail = string(&map, "detail-type").is_some_and(|kind| kind.starts_with("Email "));
        let detail = map.remove("detail").unwrap_or_default();
        let holds_mail = match &detail {
            Value::Object(detail) => detail.contains_key("mail"),
            // A transformer may have written the event as text.
            Value::String(_) => about_mail,
            _ => false,
        };
        if holds_mail {
            self.value(detail, id, depth + 1)
        } else if from_ses && !about_mail {
            self.letters.push(Letter::Acknowledged(Acknowledged::OtherSesEvent));
            Ok(())
        } else if from_ses {
            Err(Rejection::new(
                Reason::NotAnEvent,
                "an EventBridge event about mail, without the mail",
            ))
        } else {
            Err(Rejection::new(Reason::NotAnEvent, "an EventBridge event of another source"))
        }
    }
}

fn parse(text: &str) -> Result<Value, Rejection> {
    let parsed = serde_json::from_str(text).or_else(|error| {
        let mended = text::mend_lone_surrogates(text);
        if mended == text { Err(error) } else { serde_json::from_str(&mended) }
    });
    let mut value: Value =
        parsed.map_err(|error| Rejection::new(Reason::NotJson, error.to_string()))?;
    if text.contains("u0000") {
        text::replace_nul(&mut value);
    }
    Ok(value)
}

/// An envelope's own id, or that of the one around it.
fn own_id(map: &Map<String, Value>, key: &str, around: Option<String>) -> Option<String> {
    string(map, key).map(str::to_owned).or(around)
}

/// A string that says something.
fn string<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event() -> Value {
        json!({"eventType": "Send", "mail": {"messageId": "m"}})
    }

    fn notification_ids(body: &Value) -> Vec<Option<String>> {
        open(&body.to_string(), Some("sqs"))
            .expect("an envelope")
            .into_iter()
            .map(|letter| match letter {
                Letter::Event { event: found, notification_id } => {
                    assert_eq!(Value::Object(found), event());
                    notification_id
                }
                Letter::Acknowledged(control) => panic!("{control}, not an event"),
            })
            .collect()
    }

    #[test]
    fn every_envelope_gives_the_event_and_the_innermost_id() {
        let text = format!("{}\n", event());
        let sns = json!({"Type": "Notification", "MessageId": "sns", "Message": text});
        let bridge = json!({"id": "eb", "source": "aws.ses", "detail-type": "Email Sent", "detail": event()});
        for (body, id) in [
            (event(), "sqs"),
            (json!(event().to_string()), "sqs"),
            (sns.clone(), "sns"),
            (json!({"Type": "Notification", "MessageId": "sns", "Message": event()}), "sns"),
            (bridge.clone(), "eb"),
            (
                json!({"id": "eb", "source": "aws.ses", "detail-type": "Email Sent", "detail": event().to_string()}),
                "eb",
            ),
            (
                json!({"Type": "Notification", "MessageId": "sns", "Message": bridge.to_string()}),
                "eb",
            ),
            (json!({"MessageId": "outer", "Body": sns.to_string()}), "sns"),
            (json!({"Messages": [{"MessageId": "outer", "Body": event().to_string()}]}), "outer"),
            (json!({"Records": [{"messageId": "outer", "body": event().to_string()}]}), "outer"),
            (json!({"Records": [{"EventSource": "aws:sns", "Sns": sns}]}), "sns"),
        ] {
            assert_eq!(notification_ids(&body), [Some(id.to_owned())], "in {body}");
        }
        assert_eq!(notification_ids(&json!([event(), event()])).len(), 2);
    }

    #[test]
    fn control_messages_are_acknowledged() {
        use Acknowledged as A;
        let wrapped =
            |message: &str| json!({"Type": "Notification", "Message": message}).to_string();
        for (body, expected) in [
            (VALIDATION_TEXT.to_owned(), A::TopicValidation),
            (wrapped(VALIDATION_TEXT), A::TopicValidation),
            (json!({"Type": "SubscriptionConfirmation", "Message": "You have chosen …"}).to_string(), A::SubscriptionControl),
            (json!({"Type": "UnsubscribeConfirmation"}).to_string(), A::SubscriptionControl),
            (json!({"notificationType": "AmazonSnsSubscriptionSucceeded"}).to_string(), A::FeedbackTest),
            (json!({"notificationType": "Received", "mail": {}}).to_string(), A::InboundMail),
            (json!({"source": "aws.ses", "detail-type": "Sending Status Enabled", "detail": {"data": "x"}}).to_string(), A::OtherSesEvent),
            (
                json!({"source": "aws.ses", "detail-type": "AWS API Call via CloudTrail", "detail": {"eventType": "AwsApiCall"}})
                    .to_string(),
                A::OtherSesEvent,
            ),
            (
                json!({"Records": [{"eventSource": "aws:ses", "ses": {"mail": {}, "receipt": {}}}]})
                    .to_string(),
                A::InboundMail,
            ),
            (wrapped(&json!({"Event": "s3:TestEvent"}).to_string()), A::S3Test),
        ] {
            assert_eq!(open(&body, None), Ok(vec![Letter::Acknowledged(expected)]), "{body}");
        }
    }

    #[test]
    fn what_is_no_letter_is_rejected_with_its_reason() {
        for (body, reason) in [
            ("", Reason::Empty),
            (" \n", Reason::Empty),
            ("hello", Reason::NotJson),
            ("{\"eventType\":", Reason::NotJson),
            ("42", Reason::NotAnEvent),
            ("null", Reason::NotAnEvent),
            ("[]", Reason::NotAnEvent),
            ("{}", Reason::NotAnEvent),
            (r#"{"Type":"Notification","Message":"hello"}"#, Reason::NotJson),
            (r#"{"Type":"Notification","Message":null}"#, Reason::NotAnEvent),
            (r#"{"source":"aws.ec2","detail-type":"x","detail":{}}"#, Reason::NotAnEvent),
            (
                r#"{"source":"aws.ses","detail-type":"Email Bounced","detail":{"bounce":{}}}"#,
                Reason::NotAnEvent,
            ),
            (
                r#"{"source":"aws.ses","detail-type":"Email Bounced","detail":{"mail":{},"bounce":{}}}"#,
                Reason::NotAnEvent,
            ),
            (r#"{"source":"aws.ses","detail-type":"Email Bounced","detail":"x"}"#, Reason::NotJson),
            (r#"{"eventType":null}"#, Reason::NotAnEvent),
            (r#"{"eventType":" ","mail":{"messageId":"m"}}"#, Reason::NotAnEvent),
            (r#"{"Records":[{"eventSource":"aws:s3","s3":{}}]}"#, Reason::NotAnEvent),
        ] {
            assert_eq!(
                open(body, None).map_err(|rejection| rejection.reason),
                Err(reason),
                "{body}"
            );
        }
    }

    #[test]
    fn endless_wrapping_ends() {
        let mut body = event();
        for _ in 0..20 {
            body = json!({"Type": "Notification", "Message": body});
        }
        assert_eq!(open(&body.to_string(), None).map_err(|r| r.reason), Err(Reason::NotAnEvent));
    }

    #[test]
    fn a_cut_emoji_does_not_cost_the_event() {
        let body = r#"{"eventType":"Send","mail":{"messageId":"m\ud83d"}}"#;
        assert!(matches!(&open(body, None).expect("readable")[..], [Letter::Event { .. }]));
    }
}
