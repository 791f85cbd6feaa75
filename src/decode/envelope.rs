//! Takes SES events out of what carries them: SNS, EventBridge, raw delivery, the shapes in which people
//! keep messages (`aws sqs receive-message` output, Lambda `Records`), and what AWS hands back when one
//! of its services could not deliver them (failure destinations, Firehose's error output).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::json::{Json, Object};
use super::outcome::{Acknowledged, Reason, Rejection};
use super::{text, timestamp};

/// More wrappings than SNS in SQS in Lambda in its failure destination in an archive.
const MOST_WRAPPINGS: usize = 12;

/// The keys by which an envelope is known that holds one letter, and that of its id.
const ENVELOPES: [(&str, &str); 7] = [
    // `aws sqs receive-message`, one message of it; Lambda's event for SQS and for SNS.
    ("Body", "MessageId"),
    ("body", "messageId"),
    ("Sns", "MessageId"),
    // What Lambda sends to the destination of failed invocations.
    ("requestPayload", "messageId"),
    // Firehose's error output, the records that it hands to Lambda, and those of Kinesis.
    ("rawData", "messageId"),
    ("data", "recordId"),
    ("kinesis", "eventID"),
];

/// The keys of lists of letters: Lambda's events, `receive-message`, Firehose's events, and what
/// `CloudWatch` Logs exports.
const LISTS: [&str; 5] = ["Records", "Messages", "records", "logEvents", "events"];

/// SES sends this to a topic whenever an event destination is created, as plain text.
const VALIDATION_TEXT: &str = "Successfully validated SNS topic for Amazon SES event publishing.";

/// What an envelope held.
#[derive(Debug, PartialEq)]
pub(super) enum Letter<'a> {
    /// A JSON object with `eventType` or `notificationType`.
    Event {
        event: Object<'a>,
        /// The id of the innermost envelope that has one.
        notification_id: Option<&'a str>,
    },
    /// An EventBridge event of SES that is about no mail.
    AboutNoMail(Object<'a>),
    Acknowledged(Acknowledged),
}

/// Opens a message body and hands over each letter in it: one, but for Lambda and
/// `receive-message` wrappers.
pub(super) fn open(
    body: &str,
    sqs_message_id: Option<&str>,
    mut take: impl FnMut(Letter<'_>) -> Result<(), Rejection>,
) -> Result<(), Rejection> {
    Opener { take: &mut take }.text(body, sqs_message_id, 0)
}

struct Opener<'t> {
    take: &'t mut dyn FnMut(Letter<'_>) -> Result<(), Rejection>,
}

impl Opener<'_> {
    fn text(&mut self, text: &str, id: Option<&str>, depth: usize) -> Result<(), Rejection> {
        // SES ends what it publishes to SNS with a newline; files may start with a byte order mark.
        let text = text.trim_start_matches('\u{feff}').trim();
        if text == VALIDATION_TEXT {
            return self.acknowledged(Acknowledged::TopicValidation);
        }
        if text.is_empty() {
            return Err(Reason::Empty.into());
        }
        let repaired = text::repair_escapes(text);
        let value = Json::parse(&repaired).or_else(|error| {
            let not_json = |_| Rejection::new(Reason::NotJson, error.to_string());
            Json::parse(logged(&repaired).unwrap_or_default()).map_err(not_json)
        })?;
        self.value(value, id, depth)
    }

    fn value(&mut self, value: Json<'_>, id: Option<&str>, depth: usize) -> Result<(), Rejection> {
        if depth > MOST_WRAPPINGS {
            return Err(Rejection::new(Reason::NotAnEvent, "too many envelopes in each other"));
        }
        if let Some(text) = value.as_str() {
            return self.text(&text, id, depth + 1);
        }
        if let Some(object) = value.as_object() {
            return self.object(object, id, depth);
        }
        match value.as_array() {
            Some(items) if is_pointer(&items) => Err(in_s3(items[1].as_object().as_ref())),
            Some(items) if !items.is_empty() => {
                items.into_iter().try_for_each(|item| self.value(item, id, depth + 1))
            }
            _ => Err(Rejection::new(Reason::NotAnEvent, "JSON, but not an object")),
        }
    }

    fn object(
        &mut self,
        object: Object<'_>,
        id: Option<&str>,
        depth: usize,
    ) -> Result<(), Rejection> {
        if let Some(name) =
            object.non_empty_str("eventType").or_else(|| object.non_empty_str("notificationType"))
        {
            return match &*name {
                "Received" | "received" => self.acknowledged(Acknowledged::InboundMail),
                "AmazonSnsSubscriptionSucceeded" => self.acknowledged(Acknowledged::FeedbackTest),
                _ => (self.take)(Letter::Event { event: object, notification_id: id }),
            };
        }
        // SNS. Lambda hands it over without a Type.
        if let Some("SubscriptionConfirmation" | "UnsubscribeConfirmation") =
            object.non_empty_str("Type").as_deref()
        {
            return self.acknowledged(Acknowledged::SubscriptionControl);
        }
        if let Some(message) = object.get("Message") {
            let own_id = object.non_empty_str("MessageId");
            return self.value(message, own_id.as_deref().or(id), depth + 1);
        }
        // EventBridge.
        if object.contains("detail-type") || object.contains("detail") {
            return self.bridged(&object, id, depth);
        }
        // Inbound mail as SES hands it to Lambda.
        if object.object("ses").is_some_and(|inbound| inbound.contains("receipt")) {
            return self.acknowledged(Acknowledged::InboundMail);
        }
        if object.non_empty_str("Event").as_deref() == Some("s3:TestEvent") {
            return self.acknowledged(Acknowledged::S3Test);
        }
        for (key, id_key) in ENVELOPES {
            if let Some(inner) = object.get(key) {
                let own_id = object.non_empty_str(id_key);
                let id = own_id.as_deref().or(id);
                return match from_base64(&object, key, inner) {
                    Some(text) => self.text(&text, id, depth + 1),
                    None => self.value(inner, id, depth + 1),
                };
            }
        }
        // A line of CloudWatch Logs.
        if object.contains("timestamp")
            && let Some(line) = object.get("message").filter(|line| line.is_string())
        {
            return self.value(line, id, depth + 1);
        }
        for key in LISTS {
            if let Some(items) = object.get(key).filter(|items| items.is_array()) {
                return self.value(items, id, depth + 1);
            }
        }
        if object.contains("s3BucketName") && object.contains("s3Key") {
            return Err(in_s3(Some(&object)));
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
        object: &Object<'_>,
        id: Option<&str>,
        depth: usize,
    ) -> Result<(), Rejection> {
        let own_id = object.non_empty_str("id");
        let from_ses =
            object.non_empty_str("source").is_some_and(|source| source.starts_with("aws.ses"));
        let about_mail =
            object.non_empty_str("detail-type").is_some_and(|kind| kind.starts_with("Email "));
        let detail = object.get("detail");
        let mail = detail.filter(|detail| {
            // A transformer may have written the event as text.
            (detail.is_string() && about_mail)
                || detail.as_object().is_some_and(|detail| detail.contains("mail"))
        });
        if let Some(mail) = mail {
            self.value(mail, own_id.as_deref().or(id), depth + 1)
        } else if from_ses && !about_mail {
            (self.take)(Letter::AboutNoMail(object.clone()))
        } else if from_ses {
            Err(Rejection::new(
                Reason::NotAnEvent,
                "an EventBridge event about mail, without the mail",
            ))
        } else if let Some(inner) = detail.filter(|detail| carries(*detail)) {
            // A pipe from a queue, or Lambda's record of a failed invocation.
            self.value(inner, own_id.as_deref().or(id), depth + 1)
        } else {
            Err(Rejection::new(Reason::NotAnEvent, "an EventBridge event of another source"))
        }
    }

    fn acknowledged(&mut self, what: Acknowledged) -> Result<(), Rejection> {
        (self.take)(Letter::Acknowledged(what))
    }
}

/// Whether a value is an envelope that may hold letters.
fn carries(value: Json<'_>) -> bool {
    let keys = || ENVELOPES.iter().map(|(key, _)| *key).chain(LISTS).chain(["Message"]);
    value.is_array()
        || value.as_object().is_some_and(|object| keys().any(|key| object.contains(key)))
}

/// The text of a value that is in Base64: always so in Firehose and Kinesis, and in API Gateway where it
/// says so. `None` where it is none.
fn from_base64(object: &Object<'_>, key: &str, value: Json<'_>) -> Option<String> {
    let is_encoded = match key {
        "rawData" | "data" => true,
        "body" => object.get("isBase64Encoded").is_some_and(|flag| flag.as_written() == "true"),
        _ => false,
    };
    let text = value.as_str().filter(|_| is_encoded)?;
    let bytes = STANDARD.decode(text.trim()).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The JSON at the end of a line that a log begins with its time, and perhaps with a few words.
fn logged(line: &str) -> Option<&str> {
    let (time, _) = line.split_once(char::is_whitespace)?;
    timestamp::parse(time)?;
    line.find('{').map(|at| &line[at..])
}

/// What the extended clients of SQS and SNS send instead of a long message: the name of a class and
/// an object.
fn is_pointer(items: &[Json<'_>]) -> bool {
    let is_class = |item: &Json<'_>| item.as_str().is_some_and(|name| name.ends_with("S3Pointer"));
    matches!(items, [class, object] if is_class(class) && object.is_object())
}

fn in_s3(pointer: Option<&Object<'_>>) -> Rejection {
    let field = |key| pointer.and_then(|pointer| pointer.non_empty_str(key)).unwrap_or_default();
    let (bucket, key) = (field("s3BucketName"), field("s3Key"));
    let detail = format!(
        "a pointer of the extended client, which is not followed: bucket {}, key {}",
        text::shorten(&bucket, 64),
        text::shorten(&key, 1_024)
    );
    Rejection::new(Reason::InS3, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn event() -> Value {
        json!({"eventType": "Send", "mail": {"messageId": "m"}})
    }

    fn base64(text: &str) -> String {
        STANDARD.encode(text)
    }

    fn notification_ids(body: &Value) -> Vec<Option<String>> {
        let mut ids = Vec::new();
        open(&body.to_string(), Some("sqs"), |letter| {
            let Letter::Event { event: found, notification_id } = letter else {
                panic!("{letter:?}, not an event")
            };
            let expected = event().to_string();
            assert_eq!(Json::parse(&expected).ok().and_then(Json::as_object), Some(found));
            ids.push(notification_id.map(str::to_owned));
            Ok(())
        })
        .expect("an envelope");
        ids
    }

    /// What a body without an event is, or why it cannot be read.
    fn control(body: &str) -> Result<Vec<Acknowledged>, Reason> {
        let mut controls = Vec::new();
        open(body, None, |letter| {
            match letter {
                Letter::Acknowledged(control) => controls.push(control),
                Letter::AboutNoMail(_) => controls.push(Acknowledged::OtherSesEvent),
                Letter::Event { .. } => panic!("an event in {body}"),
            }
            Ok(())
        })
        .map(|()| controls)
        .map_err(|rejection| rejection.reason)
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
            (
                json!({"requestPayload": {"Records": [{"Sns": sns}]}, "responsePayload": null}),
                "sns",
            ),
            (json!({"requestPayload": {"Records": [{"messageId": "q", "body": text}]}}), "q"),
            (json!({"requestContext": {}, "requestPayload": event()}), "sqs"),
            (
                json!({"id": "eb", "source": "lambda", "detail-type": "Lambda Function Invocation Result - Failure",
                    "detail": {"requestPayload": bridge}}),
                "eb",
            ),
            (
                json!({"id": "eb", "source": "Pipe p", "detail-type": "Event from aws:sqs",
                    "detail": {"messageId": "q", "body": sns.to_string()}}),
                "sns",
            ),
            (
                json!({"id": "eb", "source": "Pipe p", "detail-type": "x",
                    "detail": {"messageId": "q", "body": event()}}),
                "q",
            ),
            (
                json!({"id": "eb", "source": "Pipe p", "detail-type": "x", "detail": [event()]}),
                "eb",
            ),
            (json!({"id": "eb", "source": "mine", "detail-type": "x", "detail": event()}), "eb"),
            (json!({"body": base64(&sns.to_string()), "isBase64Encoded": true}), "sns"),
            (json!({"body": sns.to_string(), "isBase64Encoded": false}), "sns"),
            (json!({"attemptsMade": 4, "errorCode": "403", "rawData": base64(&text)}), "sqs"),
            (json!({"requestId": "r", "records": [{"data": base64(&text)}]}), "sqs"),
            (json!({"records": [{"recordId": "rec", "data": base64(&bridge.to_string())}]}), "eb"),
            (json!({"Records": [{"eventID": "k", "kinesis": {"data": base64(&text)}}]}), "k"),
            (
                json!({"logEvents": [{"id": "1", "timestamp": 1, "message": bridge.to_string()}]}),
                "eb",
            ),
            (json!({"events": [{"timestamp": 1, "message": event().to_string()}]}), "sqs"),
            (json!(format!("2026-11-20T10:00:03.000Z {bridge}")), "eb"),
            (json!(format!("2026-11-20T10:00:03.000Z\t{sns}\n")), "sns"),
            (json!(format!("2026-11-20T10:00:03+00:00 log/stream {bridge}")), "eb"),
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
            assert_eq!(control(&body), Ok(vec![expected]), "{body}");
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
            (
                r#"{"source":"aws.ec2","detail-type":"x","detail":{"eventType":"AwsApiCall"}}"#,
                Reason::NotAnEvent,
            ),
            (r#"{"source":"Pipe p","detail-type":"x","detail":{"body":"hello"}}"#, Reason::NotJson),
            (r#"{"body":"?","isBase64Encoded":true}"#, Reason::NotJson),
            (r#"{"rawData":"aGVsbG8="}"#, Reason::NotJson),
            ("2026-11-20T10:00:03.000Z START RequestId", Reason::NotJson),
            ("yesterday {}", Reason::NotJson),
            (
                r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"}]"#,
                Reason::InS3,
            ),
            (
                r#"["com.amazon.sqs.javamessaging.MessageS3Pointer",{"s3BucketName":"b"}]"#,
                Reason::InS3,
            ),
            (r#"{"Type":"Notification","Message":"[\"x.PayloadS3Pointer\",{}]"}"#, Reason::InS3),
            (r#"{"s3BucketName":"b","s3Key":"k"}"#, Reason::InS3),
        ] {
            assert_eq!(control(body), Err(reason), "{body}");
        }
    }

    #[test]
    fn endless_wrapping_ends() {
        let mut body = event();
        for _ in 0..20 {
            body = json!({"Type": "Notification", "Message": body});
        }
        assert_eq!(control(&body.to_string()), Err(Reason::NotAnEvent));
    }

    #[test]
    fn a_cut_emoji_does_not_cost_the_event() {
        let body = r#"{"eventType":"Send","mail":{"messageId":"m\ud83d"}}"#;
        let mut ids = Vec::new();
        open(body, None, |letter| {
            if let Letter::Event { event, .. } = letter {
                ids.extend(
                    event
                        .object("mail")
                        .and_then(|mail| mail.non_empty_str("messageId"))
                        .map(String::from),
                );
            }
            Ok(())
        })
        .expect("readable");
        assert_eq!(ids, ["m\u{fffd}"]);
    }
}
