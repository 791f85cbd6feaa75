//! Messages of all types, in all envelopes, with nasty values: the same for the same seed.

use serde_json::{Value, json};

use super::event::{event, in_sns, message_id};

/// What a queue might hold after a busy and unlucky day.
pub fn stream(seed: u64, messages: usize) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mails: Vec<Mail> = (0..u64::try_from(messages / 4).expect("few"))
        .map(|number| Mail::new(&mut random, number))
        .collect();
    (0..messages)
        .map(|number| match random.u32(..100) {
            0..=2 => poison(&mut random, number),
            3..=4 => control(&mut random),
            _ => {
                let mail = &mails[random.usize(..mails.len())];
                let event = mail.event(&mut random);
                envelope(&mut random, &event, number)
            }
        })
        .collect()
}

struct Mail {
    id: String,
    recipients: Vec<String>,
    sent: String,
    changes: Value,
}

impl Mail {
    fn new(random: &mut fastrand::Rng, number: u64) -> Self {
        let recipients = (0..random.usize(1..=4)).map(|at| address(random, number, at)).collect();
        // Most mail is of these days, some is years old: its months must come by themselves.
        let year_month = if random.u32(..20) == 0 {
            format!("{}-{:02}", random.u32(2012..2026), random.u32(1..=12))
        } else {
            "2026-11".to_owned()
        };
        let sent = format!("{year_month}-{:02}T{:02}:00:00", random.u32(1..=20), random.u32(..24));
        let changes = match random.u32(..8) {
            0 => json!({"commonHeaders": null, "headers": null, "tags": null}),
            1 => json!({"commonHeaders": {"subject": "ß😀\u{0}\u{fffd}".repeat(80)}}),
            2 => {
                json!({"tags": {"report_type": ["newsletter"], "user_id": [format!("u\u{0}{number}")], "x": ["😀"]}})
            }
            3 => json!({"source": format!("\"{}, <VIP>\" <News@Shop.Example>", "n".repeat(120))}),
            4 => {
                let report_type = if random.bool() { "invoice" } else { "notice" };
                json!({"commonHeaders": {"subject": "a"}, "tags": {"report_type": [report_type]}})
            }
            _ => json!({}),
        };
        let id = if random.u32(..10) == 0 {
            format!("odd-{}-{number}", "y".repeat(random.usize(..80)))
        } else {
            message_id(number)
        };
        Self { id, recipients, sent, changes }
    }

    fn event(&self, random: &mut fastrand::Rng) -> Value {
        let destination: Vec<&str> = self.recipients.iter().map(String::as_str).collect();
        let mut mail = super::event::mail(&self.id, &destination);
        mail["timestamp"] = json!(format!("{}.{:03}Z", self.sent, random.u32(..3)));
        for (key, value) in self.changes.as_object().expect("an object") {
            mail[key] = value.clone();
        }
        let one = destination[random.usize(..destination.len())];
        // Few different times, so that events repeat and tie.
        let time = format!(
            "{}.{:03}Z",
            self.sent.replace(":00:00", &format!(":{:02}:07", random.u32(30..33))),
            random.u32(..2) * 500
        );
        let mut body = match random.u32(..11) {
            0 | 1 => event("Send", "send", json!({}), mail),
            2 | 3 => event(
                "Delivery",
                "delivery",
                json!({"timestamp": time, "recipients": [one], "smtpResponse": "250 \u{0} ok"}),
                mail,
            ),
            4 => {
                let (bounce_type, sub_type) = [
                    ("Permanent", "General"),
                    ("Permanent", "OnAccountSuppressionList"),
                    ("Transient", "General"),
                    ("Undetermined", "Undetermined"),
                    ("New", "Newer"),
                ][random.usize(..5)];
                // Without one, a bounce of Transient/General is an auto-reply.
                let diagnosis = Some("smtp; 550\n5.1.1").filter(|_| one.len().is_multiple_of(2));
                let own = json!({"timestamp": time, "feedbackId": format!("f-{}-{}", self.id, random.u32(..3)), "bounceType": bounce_type, "bounceSubType": sub_type, "bouncedRecipients": [{"emailAddress": format!("Bounce <{}>", one.to_uppercase()), "diagnosticCode": diagnosis}]});
                event("Bounce", "bounce", own, mail)
            }
            5 => event(
                "Complaint",
                "complaint",
                json!({"timestamp": time, "feedbackId": format!("c-{}", self.id), "complainedRecipients": [{"emailAddress": one}]}),
                mail,
            ),
            6 => event(
                "Open",
                "open",
                json!({"timestamp": time, "ipAddress": "2001:db8::1", "userAgent": "Mail \u{0}"}),
                mail,
            ),
            7 => event(
                "Click",
                "click",
                json!({"timestamp": time, "link": format!("shop.example/{}", random.u32(..3)), "linkTags": null}),
                mail,
            ),
            8 => event(
                "DeliveryDelay",
                "deliveryDelay",
                json!({"timestamp": time, "delayType": "General", "delayedRecipients": [{"emailAddress": one}]}),
                mail,
            ),
            9 => match random.u32(..3) {
                0 => event("Reject", "reject", json!({"reason": "Bad content"}), mail),
                1 => event(
                    "Rendering Failure",
                    "failure",
                    json!({"errorMessage": "x", "templateName": "y"}),
                    mail,
                ),
                _ => event(
                    "Subscription",
                    "subscription",
                    json!({"timestamp": time, "source": "UnsubscribeHeader"}),
                    mail,
                ),
            },
            _ => event("Teleported", "teleported", json!({"timestamp": time}), mail),
        };
        let is_feedback =
            ["Bounce", "Complaint"].contains(&body["eventType"].as_str().expect("a type"));
        if is_feedback && random.bool() {
            // The same fact as identity feedback: whole seconds, no tags.
            let name =
                body.as_object_mut().expect("an object").remove("eventType").expect("a type");
            let key = name.as_str().expect("a name").to_lowercase();
            body[&key]["timestamp"] = json!(time.replace(".500Z", ".000Z"));
            body["mail"]["tags"] = Value::Null;
            body["notificationType"] = name;
        }
        body
    }
}

fn address(random: &mut fastrand::Rng, number: u64, at: usize) -> String {
    match random.u32(..10) {
        0 => format!("Person {at} <P{number}.{at}@EXAMPLE.com>"),
        1 => format!("\"p. {at}\"@m{number}.example"),
        2 => format!("{}{at}@m{number}.example", "long".repeat(40)),
        3 => format!("jörg{at}@m{number}.example"),
        4 => format!("a\u{0}{at}@m{number}.example"),
        _ => format!("p{at}@m{number}.example"),
    }
}

/// Puts an event into one of the envelopes in which it may arrive.
pub fn envelope(random: &mut fastrand::Rng, body: &Value, number: usize) -> String {
    match random.u32(..5) {
        0 => body.to_string(),
        1 => json!({"version": "0", "id": format!("eb-{number}"), "detail-type": "Email Event", "source": "aws.ses", "detail": body}).to_string(),
        2 => json!({"Type": "Notification", "MessageId": format!("sns-{number}"), "Message": body}).to_string(),
        _ => in_sns(body, &format!("sns-{number}")),
    }
}

/// A body that is no event; each differs, so that each is a dead letter of its own.
pub fn poison(random: &mut fastrand::Rng, number: usize) -> String {
    match random.u32(..6) {
        0 => format!("hello {number}"),
        1 => format!("{{\"eventType\":\"Send\",\"number\":{number}}}"),
        2 => format!("{{\"broken\": {number}"),
        3 => in_sns(&json!({"number": number, "nul": "\u{0}"}), &format!("sns-{number}")),
        4 => event("Send", "send", json!({}), json!({"messageId": format!("m{number}"), "timestamp": "2009-01-01T00:00:00Z", "destination": ["a@b.example"]})).to_string(),
        _ => event("Open", "open", json!({"timestamp": "2026-11-20T10:00:00Z"}), json!({"messageId": format!("m{number}")})).to_string(),
    }
}

fn control(random: &mut fastrand::Rng) -> String {
    let text = "Successfully validated SNS topic for Amazon SES event publishing.";
    match random.u32(..5) {
        0 => text.to_owned(),
        1 => json!({"Type": "Notification", "MessageId": "v", "Message": format!("{text}\n")}).to_string(),
        2 => json!({"Type": "SubscriptionConfirmation", "Token": "t", "SubscribeURL": "https://sns.example/"}).to_string(),
        3 => json!({"notificationType": "Received", "mail": {"messageId": "in"}, "receipt": {}}).to_string(),
        _ => json!({"version": "0", "id": "e", "source": "aws.ses", "detail-type": "Sending Status Enabled", "detail": {"data": "x"}}).to_string(),
    }
}
