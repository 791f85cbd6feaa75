//! What events become: whom they concern, when they happened, what their reports learn.

use proptest::prelude::*;
use serde_json::{Value, json};
use time::macros::datetime;

use super::*;
use crate::row::{Bounce, EventRow, Milestone};

const NOW: OffsetDateTime = datetime!(2026-11-21 12:00:00 UTC);
const MESSAGE: &str = "0102018f1e2d3c4b-00112233-4455-6677-8899-aabbccddeeff-000000";

fn mail() -> Value {
    json!({
        "timestamp": "2026-11-20T10:00:00.123Z",
        "messageId": MESSAGE,
        "source": "Shop <orders@shop.example>",
        "destination": ["jane@example.com"],
        "commonHeaders": {"subject": "Your order"},
        "tags": {"ses:configuration-set": ["main"], "user_id": ["42"]},
    })
}

#[expect(clippy::needless_pass_by_value, reason = "json! makes values")]
/// An event of a type with its own object, about a mail with some fields replaced.
fn event(name: &str, key: &str, own: Value, mail_changes: Value) -> Value {
    let mut mail = mail();
    merge(&mut mail, mail_changes);
    json!({"eventType": name, "mail": mail, key: own})
}

fn merge(into: &mut Value, changes: Value) {
    let (Value::Object(into), Value::Object(changes)) = (into, changes) else {
        panic!("objects only")
    };
    for (key, value) in changes {
        into.insert(key, value);
    }
}

fn outcome(body: &Value) -> Outcome {
    decode(&body.to_string(), Some("sqs-id"), &Rules::default(), NOW)
}

fn rows(body: &Value) -> Vec<EventRow> {
    match outcome(body) {
        Outcome::Events(rows) => rows,
        other => panic!("{other:?} from {body}"),
    }
}

fn one(body: &Value) -> EventRow {
    let mut rows = rows(body);
    assert_eq!(rows.len(), 1, "from {body}");
    rows.remove(0)
}

fn reason(body: &Value) -> Reason {
    match outcome(body) {
        Outcome::DeadLetter(rejection) => rejection.reason,
        other => panic!("{other:?} from {body}"),
    }
}

fn recipients(rows: &[EventRow]) -> Vec<(&str, bool)> {
    rows.iter().map(|row| (row.recipient.as_str(), row.ambiguous)).collect()
}

fn info(row: &EventRow) -> Value {
    serde_json::from_str(&row.detail.other_info).expect("other_info is JSON")
}

#[test]
fn a_send_says_who_what_and_when() {
    let row = one(&event("Send", "send", json!({}), json!({})));
    assert_eq!(row.detail.event_type, "Send");
    assert_eq!(row.detail.timestamp, datetime!(2026-11-20 10:00:00.123 UTC));
    assert_eq!(row.detail.notification_message_id.as_deref(), Some("sqs-id"));
    assert_eq!(row.report.user_email, "jane@example.com");
    assert_eq!(row.report.source_email.as_deref(), Some("orders@shop.example"));
    assert_eq!(row.report.subject.as_deref(), Some("Your order"));
    assert_eq!(row.report.user_id.as_deref(), Some("42"));
    assert_eq!(row.report.report_type.map(|report_type| report_type.name).as_deref(), Some("main"));
    assert_eq!(row.report.send_at, Some(datetime!(2026-11-20 10:00:00.123 UTC)));
    assert_eq!(row.report.first, [None; 9]);
}

#[test]
fn every_type_finds_its_column_and_its_clock() {
    let own = "2026-11-20T11:00:00.456Z";
    for (name, key, milestone, has_clock) in [
        ("Bounce", "bounce", Milestone::Bounce, true),
        ("Complaint", "complaint", Milestone::Complaint, true),
        ("Delivery", "delivery", Milestone::Delivery, true),
        ("Reject", "reject", Milestone::Reject, false),
        ("Open", "open", Milestone::Open, true),
        ("Click", "click", Milestone::Click, true),
        ("Rendering Failure", "failure", Milestone::RenderingFailure, false),
        ("DeliveryDelay", "deliveryDelay", Milestone::DeliveryDelay, true),
        ("Subscription", "subscription", Milestone::Subscription, true),
    ] {
        let row = one(&event(name, key, json!({"timestamp": own}), json!({})));
        assert_eq!(row.detail.event_type, name);
        let expected = if has_clock {
            datetime!(2026-11-20 11:00:00.456 UTC)
        } else {
            datetime!(2026-11-20 10:00:00.123 UTC)
        };
        assert_eq!(row.report.first[milestone.index()], Some(expected), "{name}");
        assert_eq!(row.report.first.iter().flatten().count(), 1, "{name}");
        let proves_send = !matches!(milestone, Milestone::Reject | Milestone::RenderingFailure);
        assert_eq!(row.report.send_at.is_some(), proves_send, "{name}");
    }
}

#[test]
fn either_key_names_any_type() {
    let mut body = event("Send", "send", json!({}), json!({}));
    let published = one(&body);
    let name = body.as_object_mut().expect("an object").remove("eventType").expect("a type");
    body["notificationType"] = name;
    assert_eq!(one(&body), published);
}

#[test]
fn three_recipients_with_three_fates_are_three_reports() {
    let three = json!({"destination": ["a@example.com", "b@example.com", "c@example.com"]});
    let sent = rows(&event("Send", "send", json!({}), three.clone()));
    assert_eq!(
        recipients(&sent),
        [("a@example.com", false), ("b@example.com", false), ("c@example.com", false)]
    );
    let bounce = json!({"bounceType": "Permanent", "bounceSubType": "NoEmail", "bouncedRecipients": [{"emailAddress": "A <A@example.com>", "status": "5.1.1"}]});
    let bounced = one(&event("Bounce", "bounce", bounce, three.clone()));
    let delivered = one(&event(
        "Delivery",
        "delivery",
        json!({"recipients": ["b@example.com"]}),
        three.clone(),
    ));
    let complained = one(&event(
        "Complaint",
        "complaint",
        json!({"complainedRecipients": [{"emailAddress": "c@example.com"}]}),
        three,
    ));
    assert_eq!(
        [bounced.report.id, delivered.report.id, complained.report.id],
        [sent[0].report.id, sent[1].report.id, sent[2].report.id]
    );
    assert_eq!(
        bounced.report.bounce,
        Some(Bounce {
            bounce_type: "Permanent".to_owned(),
            sub_type: Some("NoEmail".to_owned()),
            class: Some("invalid-recipient".to_owned()),
            counts: true,
        })
    );
    assert_eq!(info(&bounced)["recipient"]["status"], "5.1.1");
    assert_eq!(info(&bounced)["bounce"].get("bouncedRecipients"), None);
    assert_eq!(info(&bounced)["as_sent"]["to"], "A <A@example.com>");
}

#[test]
fn opens_and_clicks_of_several_recipients_are_ambiguous() {
    let two = json!({"destination": ["a@example.com", "B@example.com", "b@example.com"]});
    for (name, key) in [("Open", "open"), ("Click", "click")] {
        let alone = rows(&event(name, key, json!({}), json!({})));
        assert_eq!(recipients(&alone), [("jane@example.com", false)]);
        let several = rows(&event(name, key, json!({}), two.clone()));
        assert_eq!(recipients(&several), [("a@example.com", true), ("b@example.com", true)]);
        assert_eq!(info(&several[0])["ambiguous"], true);
    }
}

#[test]
fn opens_and_clicks_have_the_class_of_who_made_them() {
    let class = |name: &str, own: &Value| {
        one(&event(name, &name.to_lowercase(), own.clone(), json!({}))).detail.class
    };
    let likely =
        json!({"isBotEvent": " Likely ", "userAgent": "Mail/1.0", "ipAddress": "192.0.2.7"});
    let proxy = json!({"userAgent": "Mozilla/5.0", "ipAddress": "192.0.2.7"});
    assert_eq!(class("Open", &likely).as_deref(), Some("machine"));
    assert_eq!(class("Open", &proxy).as_deref(), Some("proxy"));
    assert_eq!(class("Click", &proxy).as_deref(), Some("human"));
    assert_eq!(class("Open", &Value::Null).as_deref(), Some("human"), "nothing is known");
    assert_eq!(class("Delivery", &likely), None);
}

#[test]
fn a_list_that_names_nobody_falls_back_to_the_destinations() {
    for (name, key, list) in [
        ("Bounce", "bounce", "bouncedRecipients"),
        ("Complaint", "complaint", "complainedRecipients"),
        ("Delivery", "delivery", "recipients"),
        ("DeliveryDelay", "deliveryDelay", "delayedRecipients"),
    ] {
        for own in
            [json!({}), json!({list: []}), json!({list: null}), json!({list: [{}]}), json!(null)]
        {
            let found = rows(&event(name, key, own.clone(), json!({})));
            assert_eq!(recipients(&found), [("jane@example.com", false)], "{name}");
            let several = json!({"destination": ["jane@example.com", "joe@example.com"]});
            let found = rows(&event(name, key, own, several));
            let both = [("jane@example.com", true), ("joe@example.com", true)];
            assert_eq!(recipients(&found), both, "{name}");
        }
    }
}

#[test]
fn an_unknown_type_is_kept() {
    let body = event(
        "Teleported",
        "teleport",
        json!({"timestamp": "2026-11-20T12:00:00Z", "to": "Mars"}),
        json!({}),
    );
    let row = one(&body);
    assert_eq!(row.detail.event_type, "Teleported");
    assert_eq!(row.detail.timestamp, datetime!(2026-11-20 12:00:00 UTC));
    assert_eq!(row.report.first, [None; 9]);
    assert!(row.report.send_at.is_some());
    assert_eq!(info(&row)["teleport"]["to"], "Mars");
}

#[test]
fn what_makes_no_event_is_a_dead_letter() {
    let send = |changes: Value| event("Send", "send", json!({}), changes);
    assert_eq!(reason(&json!({"eventType": "Send"})), Reason::NoMessageId);
    assert_eq!(reason(&send(json!({"messageId": null}))), Reason::NoMessageId);
    assert_eq!(reason(&send(json!({"messageId": " "}))), Reason::NoMessageId);
    assert_eq!(reason(&send(json!({"destination": []}))), Reason::NoRecipient);
    assert_eq!(reason(&send(json!({"destination": ["<>"]}))), Reason::NoRecipient);
    assert_eq!(reason(&send(json!({"timestamp": "<date:1>"}))), Reason::NoTimestamp);
    assert_eq!(reason(&send(json!({"timestamp": "2010-12-31T23:59:59Z"}))), Reason::Before2011);
    assert_eq!(
        reason(&send(json!({"timestamp": "2026-11-23T12:00:00.001Z"}))),
        Reason::TooFarAhead
    );
    assert_eq!(rows(&send(json!({"timestamp": "2026-11-23T12:00:00Z"}))).len(), 1);
}

#[test]
fn optional_fields_may_be_missing_or_null_or_odd() {
    for changes in [
        json!({"source": null, "commonHeaders": null, "tags": null, "headers": null}),
        json!({"tags": {}, "commonHeaders": {}, "headers": []}),
        json!({"tags": {"user_id": []}, "headersTruncated": "false", "headers": [{"name": 1}]}),
        json!({"tags": [], "commonHeaders": "x", "source": 5}),
    ] {
        let row = one(&event("Send", "send", json!(null), changes));
        assert_eq!(row.recipient, "jane@example.com");
    }
    let row = one(&event(
        "Delivery",
        "delivery",
        json!({"timestamp": "soon", "recipients": ["jane@example.com"]}),
        json!({}),
    ));
    assert_eq!(
        row.detail.timestamp,
        datetime!(2026-11-20 10:00:00.123 UTC),
        "falls back to the mail's"
    );
}

#[test]
fn tags_choose_the_type_and_the_customer() {
    let tagged = |tags: Value| one(&event("Send", "send", json!({}), json!({"tags": tags}))).report;
    let name = |tags| tagged(tags).report_type.map(|report_type| report_type.name);
    assert_eq!(
        name(json!({"report_type": ["invoice"], "ses:configuration-set": ["main"]})).as_deref(),
        Some("invoice")
    );
    assert_eq!(name(json!({"report_type": "invoice"})).as_deref(), Some("invoice"));
    assert_eq!(name(json!({"report_type": ["default"]})), None);
    assert_eq!(name(json!({})), None);
    let rules = Rules {
        report_type_tag: "kind".to_owned(),
        user_id_tag: "customer".to_owned(),
        ..Rules::default()
    };
    let body =
        event("Send", "send", json!({}), json!({"tags": {"kind": ["k"], "customer": ["c"]}}));
    let Outcome::Events(rows) = decode(&body.to_string(), None, &rules, NOW) else {
        panic!("an event")
    };
    assert_eq!(rows[0].report.user_id.as_deref(), Some("c"));
    assert_eq!(
        rows[0].report.report_type.as_ref().map(|report_type| report_type.name.as_str()),
        Some("k")
    );
}

#[test]
fn long_values_are_shortened_and_stand_whole_in_other_info() {
    let address = format!("{}@example.com", "x".repeat(120));
    let subject = "s".repeat(300);
    let message_id = "m".repeat(80);
    let row = one(&event(
        "Send",
        "send",
        json!({}),
        json!({"destination": [address], "commonHeaders": {"subject": subject}, "messageId": message_id}),
    ));
    assert_eq!(row.report.user_email.chars().count(), 100);
    assert_eq!(row.report.subject.as_deref().map(str::len), Some(200));
    assert_eq!(row.report.message_id.len(), 64);
    assert_eq!(
        row.report.id,
        identity::report_id(&message_id, &address),
        "ids are made of whole values"
    );
    let as_sent = &info(&row)["as_sent"];
    assert_eq!(
        [&as_sent["to"], &as_sent["subject"], &as_sent["message_id"]],
        [&json!(address), &json!(subject), &json!(message_id)]
    );
}

#[test]
fn other_info_holds_whatever_the_event_says() {
    let bounce = json!({"bouncedRecipients": [
        {"emailAddress": "jane@example.com", "status": "5.1.1"},
        {"emailAddress": "", "diagnosticCode": "nobody's"},
        {"emailAddress": "JANE@example.com", "status": "5.0.0"},
    ]});
    let mut body = event("Bounce", "bounce", bounce, json!({}));
    body["later"] = json!({"added": [1, 12_345_678_901_234_567_890_u64]});
    let found = info(&one(&body));
    assert_eq!(found["recipient"]["status"], "5.1.1");
    assert_eq!(found["bounce"]["bouncedRecipients"][0]["diagnosticCode"], "nobody's");
    assert_eq!(found["bounce"]["bouncedRecipients"][1]["status"], "5.0.0");
    assert_eq!(found["later"]["added"][1].to_string(), "12345678901234567890");
    let odd = one(&event("Teleported", "places", json!(["Mars"]), json!({})));
    assert_eq!(info(&odd)["places"][0], "Mars");
}

#[test]
fn numbers_of_any_size_cost_no_event() {
    let body = event("Send", "send", json!({}), json!({})).to_string();
    let digits = "1234567890".repeat(4);
    let body = body.replacen('{', &format!(r#"{{"x":1e999,"y":{digits},"#), 1);
    let Outcome::Events(rows) = decode(&body, None, &Rules::default(), NOW) else {
        panic!("{body}")
    };
    assert!(rows[0].detail.other_info.contains(&digits), "{}", rows[0].detail.other_info);
}

#[test]
fn a_broken_clock_of_the_mail_proves_no_send() {
    for sent in ["1970-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "2099-01-01T00:00:00Z"] {
        let own = json!({"timestamp": "2026-11-20T11:00:00Z", "recipients": ["jane@example.com"]});
        let row = one(&event("Delivery", "delivery", own, json!({"timestamp": sent})));
        assert_eq!(row.report.send_at, None, "{sent}");
    }
}

#[test]
fn a_clock_that_is_behind_makes_no_event_one_of_the_future() {
    let body = event("Send", "send", json!({}), json!({})).to_string();
    let decoded = |now| decode(&body, None, &Rules::default(), now);
    let behind = datetime!(2026-01-01 00:00:00 UTC);
    let Outcome::DeadLetter(rejection) = decoded(behind) else { panic!("an event of the future") };
    assert_eq!(rejection.reason, Reason::TooFarAhead);
    let sent = datetime!(2026-11-20 10:00:01 UTC);
    assert!(matches!(decoded(latest_clock(behind, Some(sent))), Outcome::Events(_)));
    assert_eq!(latest_clock(NOW, Some(sent)), NOW);
    assert_eq!(latest_clock(behind, None), behind);
}

/// Why a body is too large.
fn too_large(body: &Value) -> String {
    match outcome(body) {
        Outcome::DeadLetter(Rejection { reason: Reason::TooLarge, detail: Some(detail) }) => detail,
        other => panic!("{other:?}"),
    }
}

#[test]
fn whatever_all_rows_repeat_is_counted_and_named() {
    let people: Vec<String> = (0..500).map(|number| format!("p{number}@example.com")).collect();
    let long = "x".repeat(20_000);
    for (part, change) in [
        ("subject", json!({"commonHeaders": {"subject": long}})),
        ("from", json!({"source": long})),
        ("message_id", json!({"messageId": long})),
        ("mail.tags", json!({"tags": {"other": [long]}})),
        ("mail.tags", json!({"tags": {"user_id": [long]}})),
    ] {
        let mut change = change;
        change["destination"] = json!(people);
        let detail = too_large(&event("Send", "send", json!({}), change));
        assert!(detail.contains(&format!("each with {part} of 20")), "{detail}");
        assert!(detail.contains("500 recipients"), "{detail}");
    }
    let unknown = event(&long, "own", json!({}), json!({"destination": people}));
    assert!(too_large(&unknown).contains("event_type of 20000 bytes"));
    let entry = json!({"bouncedRecipients": [{"emailAddress": people.join(", "), "action": long}]});
    let bounce = event("Bounce", "bounce", entry, json!({"destination": people}));
    let detail = too_large(&bounce);
    assert!(detail.contains("entry of the recipient of 2"), "{detail}");
    let crowd: Vec<String> = (0..20_000).map(|number| format!("p{number}@example.com")).collect();
    let crowd = event("Send", "send", json!({}), json!({"destination": crowd}));
    assert!(too_large(&crowd).contains("recipients"));
}

#[test]
fn a_row_counts_every_string_that_it_owns() {
    let plain = one(&event("Send", "send", json!({}), json!({})));
    for change in [
        json!({"messageId": "m".repeat(5_000)}),
        json!({"destination": [format!("{}@example.com", "p".repeat(5_000))]}),
        json!({"commonHeaders": {"subject": "s".repeat(5_000)}}),
    ] {
        let long = one(&event("Send", "send", json!({}), change));
        assert!(long.bytes() >= plain.bytes() + 5_000, "{} bytes", long.bytes());
    }
}

#[test]
fn a_message_that_would_become_gigabytes_is_a_dead_letter() {
    let many: Vec<String> = (0..10_000).map(|number| format!("p{number}@example.com")).collect();
    let link = json!({"link": "x".repeat(100_000)});
    assert_eq!(
        reason(&event("Click", "click", link, json!({"destination": many}))),
        Reason::TooLarge
    );
    let real: Vec<&String> = many.iter().take(50).collect();
    let link = json!({"link": "x".repeat(8_000)});
    assert_eq!(rows(&event("Click", "click", link, json!({"destination": real}))).len(), 50);
}

#[test]
fn many_events_in_one_body_are_bounded_together() {
    let people: Vec<String> = (0..50).map(|number| format!("p{number}@example.com")).collect();
    let one =
        event("Click", "click", json!({"link": "x".repeat(8_000)}), json!({"destination": people}));
    let body = |events: usize| Value::from(vec![one.clone(); events]);
    assert_eq!(rows(&body(5)).len(), 250);
    assert_eq!(reason(&body(100)), Reason::TooLarge);
}

#[test]
fn several_addresses_in_one_string_are_several_recipients() {
    let found = rows(&event(
        "Send",
        "send",
        json!({}),
        json!({"destination": ["A <a@example.com>, b@example.com"]}),
    ));
    assert_eq!(recipients(&found), [("a@example.com", false), ("b@example.com", false)]);
}

/// A bounce whose entries name these, of a mail to those.
fn bounce(named: &[&str], sent_to: &[&str]) -> Value {
    let entries: Vec<Value> = named.iter().map(|one| json!({"emailAddress": one})).collect();
    let own = json!({"bounceType": "Permanent", "bouncedRecipients": entries});
    event("Bounce", "bounce", own, json!({"destination": sent_to}))
}

#[test]
fn only_a_destination_proves_that_a_mail_was_sent() {
    let forwarded = one(&bounce(&["ada.private@freemail.example"], &["Ada <ada@company.example>"]));
    assert_eq!(forwarded.recipient, "ada@company.example");
    assert_eq!(forwarded.report.user_email, "ada@company.example");
    assert_eq!(forwarded.named.as_deref(), Some("ada.private@freemail.example"));
    assert_eq!(info(&forwarded)["recipient"]["emailAddress"], "ada.private@freemail.example");
    assert_eq!(info(&forwarded)["as_sent"]["to"], "ada.private@freemail.example");
    assert!(!forwarded.ambiguous);

    let three = ["a@x.example", "b@x.example", "c@x.example"];
    let found = rows(&bounce(&["other@y.example"], &three));
    assert_eq!(recipients(&found), three.map(|one| (one, true)));
    assert_eq!(info(&found[2])["ambiguous"], true);
    // Those that are named are not meant by the entry that names nobody.
    let found = rows(&bounce(&["other@y.example", "a@x.example"], &["a@x.example", "b@x.example"]));
    assert_eq!(recipients(&found), [("a@x.example", false), ("b@x.example", false)]);
    assert_eq!(info(&found[1])["recipient"]["emailAddress"], "other@y.example");
    let found = rows(&bounce(&["other@y.example", "a@x.example"], &["a@x.example"]));
    assert_eq!(recipients(&found), [("a@x.example", false)]);
    let left_over = &info(&found[0])["bounce"]["bouncedRecipients"];
    assert_eq!(left_over[0]["emailAddress"], "other@y.example");
    // Without destinations the list is all there is.
    let found = rows(&bounce(&["a@x.example", "b@x.example"], &[]));
    assert_eq!(recipients(&found), [("a@x.example", false), ("b@x.example", false)]);
}

#[test]
fn what_an_entry_holds_of_a_destination_is_that_destination() {
    for (entry, destination) in [
        ("smtp; 550 <b@x.example>... unknown user", "b@x.example"),
        ("user b@x.example is unknown at y@z.example", "b@x.example"),
        ("b.@x.example", "\"b.\"@x.example"),
        ("IMCEAEX-_O=X b@x.example", "b@x.example"),
    ] {
        let found = rows(&bounce(&[entry], &["a@x.example", destination, "bb@x.example.org"]));
        assert_eq!(recipients(&found), [(destination, false)], "{entry}");
    }
    // The end or the beginning of another address is no address.
    let found = rows(&bounce(&["nada@x.example.org"], &["ada@x.example", "bob@x.example"]));
    assert_eq!(recipients(&found), [("ada@x.example", true), ("bob@x.example", true)]);
}

#[test]
fn a_complaint_with_several_candidates_is_ambiguous() {
    let complaint = |named: &[&str]| {
        let entries: Vec<Value> = named.iter().map(|one| json!({"emailAddress": one})).collect();
        let sent_to = json!({"destination": ["a@x.example", "b@x.example", "c@x.example"]});
        event("Complaint", "complaint", json!({"complainedRecipients": entries}), sent_to)
    };
    let found = rows(&complaint(&["a@x.example", "b@x.example"]));
    assert_eq!(recipients(&found), [("a@x.example", true), ("b@x.example", true)]);
    assert_eq!(info(&found[0])["ambiguous"], true);
    assert_eq!(recipients(&rows(&complaint(&["b@x.example"]))), [("b@x.example", false)]);
}

#[test]
fn an_auto_reply_is_told_by_its_shape() {
    let bounce_type = |own: Value, entry: Value| {
        let mut own = own;
        own["bouncedRecipients"] = json!([entry]);
        let row = one(&event("Bounce", "bounce", own, json!({})));
        row.report.bounce.expect("a bounce").bounce_type
    };
    let general = json!({"bounceType": "Transient", "bounceSubType": "General"});
    let plain = json!({"emailAddress": "jane@example.com"});
    assert_eq!(bounce_type(general.clone(), plain.clone()), "AutoReply");
    let empty = json!({"emailAddress": "jane@example.com", "action": null, "status": "", "diagnosticCode": " "});
    assert_eq!(bounce_type(general.clone(), empty), "AutoReply");
    for key in ["action", "status", "diagnosticCode"] {
        let mut entry = plain.clone();
        entry[key] = json!("failed");
        assert_eq!(bounce_type(general.clone(), entry), "Transient", "{key}");
    }
    for (key, value) in [
        ("reportingMTA", "dns; a.example"),
        ("bounceSubType", "MailboxFull"),
        ("bounceType", "Permanent"),
        ("bounceType", "Undetermined"),
    ] {
        let mut own = general.clone();
        own[key] = json!(value);
        assert_ne!(bounce_type(own, plain.clone()), "AutoReply", "{key} {value}");
    }
}

#[test]
fn each_recipient_of_a_bounce_has_the_class_of_its_own_answer() {
    let own = json!({"bounceType": "Transient", "bounceSubType": "General", "bouncedRecipients": [
        {"emailAddress": "a@example.com", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 user unknown"},
        {"emailAddress": "b@example.com", "status": "4.2.2", "diagnosticCode": "smtp; 452 4.2.2 mailbox full"},
        {"emailAddress": "c@example.com", "status": "5.0.0"},
        {"emailAddress": "d@example.com"},
    ]});
    let destination = ["a@example.com", "b@example.com", "c@example.com", "d@example.com"];
    let rows = rows(&event("Bounce", "bounce", own, json!({"destination": destination})));
    let classes: Vec<_> = rows.iter().map(|row| row.detail.class.as_deref()).collect();
    let expected = [Some("invalid-recipient"), Some("mailbox-full"), None, Some("auto-reply")];
    assert_eq!(classes, expected);
    for row in rows {
        let bounce = row.report.bounce.expect("a bounce");
        assert_eq!(bounce.class, row.detail.class);
    }
}

#[test]
fn an_entry_that_several_may_be_meant_by_gives_each_its_class() {
    let own = json!({"bounceType": "Permanent", "bouncedRecipients": [
        {"emailAddress": "x@example.com", "diagnosticCode": "smtp; 550 5.1.1 user unknown"},
    ]});
    let destination = json!({"destination": ["a@example.com", "b@example.com"]});
    let rows = rows(&event("Bounce", "bounce", own, destination));
    let classes: Vec<_> = rows.iter().map(|row| row.detail.class.as_deref()).collect();
    assert_eq!(classes, [Some("invalid-recipient"); 2]);
}

#[test]
fn a_delay_has_a_class_and_is_no_bounce() {
    let own = json!({"delayType": "MailboxFull", "delayedRecipients": [{"emailAddress": "jane@example.com"}]});
    let row = one(&event("DeliveryDelay", "deliveryDelay", own, json!({})));
    assert_eq!((row.detail.class.as_deref(), row.report.bounce), (Some("mailbox-full"), None));
    let own =
        json!({"delayedRecipients": [{"emailAddress": "jane@example.com", "status": "4.4.1"}]});
    let row = one(&event("DeliveryDelay", "deliveryDelay", own, json!({})));
    assert_eq!(row.detail.class.as_deref(), Some("connection"));
}

#[test]
fn no_other_event_has_a_bounce_class() {
    let own = json!({"bounceType": "Permanent", "delayType": "MailboxFull", "complainedRecipients":
        [{"emailAddress": "jane@example.com", "diagnosticCode": "smtp; 550 5.1.1 user unknown"}]});
    let row = one(&event("Complaint", "complaint", own, json!({})));
    assert_eq!(row.detail.class, None);
}

#[test]
fn the_provider_is_told_by_the_tag_the_domain_or_the_answer() {
    let provider = |body: &Value| one(body).report.provider;
    let send = |changes| provider(&event("Send", "send", json!({}), changes));
    assert_eq!(send(json!({})), None);
    assert_eq!(send(json!({"destination": ["Jane@Gmail.com"]})).as_deref(), Some("gmail"));
    let tagged = json!({"tags": {"ses:recipient-isp": ["Hotmail"]}});
    assert_eq!(send(tagged).as_deref(), Some("microsoft"));

    let gsmtp = "250 2.0.0 OK  1720473220 a1si2.3 - gsmtp";
    let own = json!({"recipients": ["jane@example.com"], "smtpResponse": gsmtp});
    let delivery = event("Delivery", "delivery", own, json!({}));
    assert_eq!(provider(&delivery).as_deref(), Some("gmail"));
    for (name, key, list) in [
        ("Bounce", "bounce", "bouncedRecipients"),
        ("DeliveryDelay", "deliveryDelay", "delayedRecipients"),
    ] {
        let text = "smtp; 550 5.5.0 mailbox unavailable [A.prod.protection.outlook.com]";
        let own = json!({list: [{"emailAddress": "jane@example.com", "diagnosticCode": text}]});
        let provider = provider(&event(name, key, own, json!({})));
        assert_eq!(provider.as_deref(), Some("microsoft"), "{name}");
    }
}

#[test]
fn a_tag_of_a_mail_to_several_says_nothing_of_each() {
    let changes = json!({
        "destination": ["a@example.com", "b@yahoo.com"],
        "tags": {"ses:recipient-isp": ["Gmail"]},
    });
    let rows = rows(&event("Send", "send", json!({}), changes));
    let providers: Vec<_> = rows.iter().map(|row| row.report.provider.as_deref()).collect();
    assert_eq!(providers, [None, Some("yahoo")]);
}

#[test]
fn nul_becomes_the_replacement_character_everywhere() {
    let body = r#"{"eventType":"Send","send":{},"mail":{"messageId":"m\u0000","timestamp":"2026-11-20T10:00:00Z","destination":["a\u0000b@example.com"],"commonHeaders":{"subject":"\u0000"},"tags":{"x\u0000":["\u0000"]}}}"#;
    for body in [body.to_owned(), json!({"Type": "Notification", "Message": body}).to_string()] {
        let Outcome::Events(rows) = decode(&body, None, &Rules::default(), NOW) else {
            panic!("an event")
        };
        assert_eq!(rows[0].recipient, "a\u{fffd}b@example.com");
        assert_eq!(rows[0].report.subject.as_deref(), Some("\u{fffd}"));
        assert!(!rows[0].detail.other_info.contains("u0000"), "{}", rows[0].detail.other_info);
    }
}

#[test]
fn identity_feedback_and_event_publishing_of_one_bounce_are_one_fact() {
    let bounce = |time: &str| json!({"bounceType": "Permanent", "feedbackId": "f-1", "timestamp": time, "bouncedRecipients": [{"emailAddress": "jane@example.com"}]});
    let published = one(&event("Bounce", "bounce", bounce("2026-11-20T11:00:00.789Z"), json!({})));
    let mut feedback =
        event("Bounce", "bounce", bounce("2026-11-20T11:00:00.000Z"), json!({"tags": null}));
    let name = feedback.as_object_mut().expect("an object").remove("eventType").expect("a type");
    feedback["notificationType"] = name;
    let feedback = one(&feedback);
    assert_eq!(
        (published.report.id, published.detail.id),
        (feedback.report.id, feedback.detail.id)
    );
}

#[test]
fn the_envelope_is_no_part_of_the_identity() {
    let body = event(
        "Click",
        "click",
        json!({"link": "https://a.example", "timestamp": "2026-11-20T11:00:00Z"}),
        json!({}),
    );
    let raw = one(&body);
    let sns = one(&json!({"Type": "Notification", "MessageId": "n", "Message": body.to_string()}));
    let bridge = one(
        &json!({"id": "e", "source": "aws.ses", "detail-type": "Email Clicked", "detail": body}),
    );
    assert_eq!((raw.detail.id, raw.report.id), (sns.detail.id, sns.report.id));
    assert_eq!((raw.detail.id, raw.report.id), (bridge.detail.id, bridge.report.id));
}

/// Any JSON, built of what events are built of.
fn json_like() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        proptest::sample::select(vec![
            "Bounce",
            "2026-11-20T10:00:00Z",
            "a@b.example",
            MESSAGE,
            "Open"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let key = proptest::sample::select(vec![
            "eventType",
            "notificationType",
            "mail",
            "bounce",
            "open",
            "messageId",
            "timestamp",
            "destination",
            "tags",
            "bouncedRecipients",
            "emailAddress",
            "commonHeaders",
            "headers",
            "Type",
            "Message",
            "detail",
            "detail-type",
            "source",
            "Records",
            "Body",
            "subject",
            "user_id",
        ]);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..6).prop_map(|entries| Value::Object(
                entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_has_an_outcome(body in any::<String>()) {
        let _ = decode(&body, None, &Rules::default(), NOW);
    }

    #[test]
    fn any_json_has_an_outcome_and_its_rows_fit(body in json_like(), own in json_like(), mail in json_like()) {
        for body in [body, json!({"eventType": "Bounce", "bounce": own, "mail": mail})] {
            if let Outcome::Events(rows) = decode(&body.to_string(), None, &Rules::default(), NOW) {
                prop_assert!(!rows.is_empty());
                for row in rows {
                    prop_assert!(row.report.user_email.chars().count() <= text::ADDRESS);
                    prop_assert!(row.report.message_id.chars().count() <= text::MESSAGE_ID);
                    prop_assert!(!row.detail.other_info.contains('\0'));
                }
            }
        }
    }
}

#[test]
fn a_report_keeps_the_tags_that_are_named() {
    let rules = Rules {
        report_tags: "campaign,ses:tenant-name,absent".parse().expect("names"),
        ..Rules::default()
    };
    let tags = json!({"tags": {"campaign": ["spring", "summer"], "ses:tenant-name": ["t-1"], "other": ["x"]}});
    let body = event("Send", "send", json!({}), tags);
    let Outcome::Events(rows) = decode(&body.to_string(), None, &rules, NOW) else {
        panic!("it is an event");
    };
    let kept = rows[0].report.tags.as_ref().map(crate::row::Tags::to_json);
    assert_eq!(kept.as_deref(), Some(r#"{"campaign":"spring","ses:tenant-name":"t-1"}"#));
    // Without the setting, and of identity feedback, which has no tags.
    assert_eq!(one(&body).report.tags, None);
    let feedback = event("Send", "send", json!({}), json!({"tags": null}));
    let Outcome::Events(rows) = decode(&feedback.to_string(), None, &rules, NOW) else {
        panic!("it is an event");
    };
    assert_eq!(rows[0].report.tags, None);
}

/// The rows of a click under each setting.
fn clicks(body: &Value) -> [EventRow; 3] {
    [ClickLinks::Whole, ClickLinks::NoQuery, ClickLinks::None].map(|click_links| {
        let rules = Rules { click_links, ..Rules::default() };
        match decode(&body.to_string(), Some("sqs-id"), &rules, NOW) {
            Outcome::Events(mut rows) if rows.len() == 1 => rows.remove(0),
            other => panic!("{other:?} from {body}"),
        }
    })
}

#[test]
fn as_much_of_a_link_is_kept_as_is_asked_for() {
    let link = "https://jane:s3cret@shop.example/a?token=s3cret#s3cret";
    let click = json!({"timestamp": "2026-11-20T11:00:00.456Z", "ipAddress": "192.0.2.1", "link": link, "linkTags": {"kind": ["reset"]}});
    let plain = json!({"source": "orders@shop.example"});
    for key in ["click", "Click"] {
        let [whole, no_query, none] = clicks(&event("Click", key, click.clone(), plain.clone()));
        let mut expected = json!({key: click, "tags": mail()["tags"]});
        assert_eq!(info(&whole), expected);
        expected[key]["link"] = json!("https://shop.example/a");
        assert_eq!(info(&no_query), expected);
        expected[key].as_object_mut().expect("an object").remove("link");
        assert_eq!(info(&none), expected);
    }
    // Two objects, of which SES's is one.
    let mut body = event("Click", "click", click.clone(), json!({}));
    body["Click"] = click.clone();
    body["more"] = click;
    for row in &clicks(&body)[1..] {
        assert!(!row.detail.other_info.contains("s3cret"), "{}", row.detail.other_info);
    }
}

proptest! {
    #[test]
    fn a_changed_setting_changes_no_id_and_no_report(link in "\\PC{0,60}|https?://[a-z:@]{1,9}/[a-z?#&=%]{0,20}", is_text in any::<bool>()) {
        let link = if is_text { json!(link) } else { json!([link]) };
        let click = json!({"timestamp": "2026-11-20T11:00:00.456Z", "link": link});
        let rows = clicks(&event("Click", "click", click, json!({})));
        for row in &rows {
            prop_assert_eq!(row.detail.id, rows[0].detail.id);
            prop_assert_eq!(&row.report, &rows[0].report);
            prop_assert_eq!(info(row)["tags"].clone(), info(&rows[0])["tags"].clone());
        }
        prop_assert!(info(&rows[2])["click"].get("link").is_none());
    }
}
