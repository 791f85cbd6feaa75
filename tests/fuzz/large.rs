//! Bodies of a given length in each of which something is long, or repeated as often as it fits.

use serde_json::{Value, json};

/// Named bodies of about so many bytes, never more.
pub fn bodies(bytes: usize) -> Vec<(&'static str, String)> {
    // Of a body that has two large parts.
    let half = bytes / 2 - 1_000;
    let long = "x".repeat(half);
    let people = people(half);
    let named = |key: &str, value: &Value| {
        let mut mail = mail(&json!(people));
        mail[key] = value.clone();
        event("Click", json!({"link": "https://example.com"}), &mail).to_string()
    };
    let click = |own: Value| event("Click", own, &mail(&json!(people))).to_string();
    let bounce = |recipients: Value| {
        let own = json!({"bounceType": "Permanent", "bouncedRecipients": recipients});
        event("Bounce", own, &mail(&json!(["a@example.com"]))).to_string()
    };
    let entry = |address: &str| json!({"emailAddress": address});
    let filling = |item: &str| item.repeat((bytes - 2_000) / item.len());
    let small = event("Send", json!({}), &mail(&json!(["a@example.com"]))).to_string();
    vec![
        ("subject", named("commonHeaders", &json!({"subject": long}))),
        ("source", named("source", &json!(format!("<{long}@example.com>")))),
        ("message id", named("messageId", &json!(long))),
        ("tag of the customer", named("tags", &json!({"user_id": [long]}))),
        ("tag of the kind of mail", named("tags", &json!({"report_type": [long]}))),
        ("tags", named("tags", &(0..half / 20).map(|n| (n.to_string(), "tag")).collect())),
        ("headers", named("headers", &json!(vec![json!({"name": "a", "value": "b"}); half / 24]))),
        ("type name", event(&long, json!({}), &mail(&json!(people))).to_string()),
        ("link", click(json!({"link": long}))),
        ("fields", click((0..half / 12).map(|n| (n.to_string(), 1)).collect())),
        (
            "recipients",
            event("Send", json!({}), &mail(&json!(self::people(bytes - 2_000)))).to_string(),
        ),
        ("empty recipients", bounce(json!(vec![0; (bytes - 2_000) / 2]))),
        ("entries", bounce(people.iter().take(bytes / 34).map(|address| entry(address)).collect())),
        ("entry of thousands", bounce(json!([entry(&people.join(","))]))),
        (
            "entries of thousands",
            bounce(people.chunks(500).map(|chunk| entry(&chunk.join(", "))).collect()),
        ),
        ("recipients again", bounce(json!(vec![entry("a@example.com"); (bytes - 2_000) / 33]))),
        ("list given again", {
            let lists = r#""bouncedRecipients":[{"emailAddress":"a@example.com"}],"#;
            bounce(json!([])).replacen(
                "\"bouncedRecipients\":[]",
                &format!(
                    "{}\"bouncedRecipients\":{}",
                    filling_of(lists, half / 2),
                    json!(self::people(half / 2))
                ),
                1,
            )
        }),
        ("brackets", bounce(json!([entry(&filling("<"))]))),
        ("closing brackets", bounce(json!([entry(&filling("a@example.com>"))]))),
        ("commas", bounce(json!([entry(&filling("@,"))]))),
        ("comments", bounce(json!([entry(&filling_of("((", half))]))),
        ("groups", bounce(json!([entry(&filling("g:a@b;"))]))),
        ("at signs", bounce(json!([entry(&filling("@"))]))),
        ("labels", bounce(json!([entry(&format!("a@{}", filling("ü.")))]))),
        ("one label", bounce(json!([entry(&format!("a@{}", filling("ü")))]))),
        ("no-break spaces", bounce(json!([entry(&filling("\u{a0}"))]))),
        ("control characters", bounce(json!([entry(&filling_of("\u{1}", bytes / 7))]))),
        ("quotes", bounce(json!([entry(&filling_of("\"\\", half / 2))]))),
        ("events", format!("[{}{small}]", filling(&format!("{small},")))),
        ("values", format!("[{}1]", filling("1,"))),
        ("empty objects", format!("[{}1]", filling("{},"))),
        ("keys", format!("{{{}\"x\":1}}", filling("\"\":1,"))),
        ("escaped keys", format!("{{{}\"x\":1}}", filling("\"\\n\":1,"))),
        ("cut surrogates", format!("{{\"eventType\":\"{}\"}}", filling("\\ud83d"))),
        ("depth", format!("{}{}", "[".repeat(half), "]".repeat(half))),
        ("envelopes", wrapped(&small, bytes)),
        ("escapes", {
            let quotes = json!({"Message": filling_of("\"", bytes / 40)}).to_string();
            json!({"Message": json!({"Message": json!({"Message": quotes}).to_string()}).to_string()})
                .to_string()
        }),
    ]
}

fn event(name: &str, mut own: Value, mail: &Value) -> Value {
    own["timestamp"] = json!("2026-11-20T10:00:01Z");
    let key = if name.len() > 20 { "own".to_owned() } else { name.to_lowercase() };
    json!({"eventType": name, "mail": mail, key: own})
}

fn mail(destination: &Value) -> Value {
    json!({
        "messageId": "0100019abcde0001-11111111-2222-4333-8444-000000000001-000000",
        "timestamp": "2026-11-20T10:00:00Z", "destination": destination,
    })
}

/// As many different addresses as fit, short ones.
fn people(bytes: usize) -> Vec<String> {
    (0..bytes / 12).map(|number| format!("{number:x}@b.c")).collect()
}

fn filling_of(item: &str, bytes: usize) -> String {
    item.repeat(bytes / item.len())
}

/// SNS and EventBridge by turns, as deep as it fits.
fn wrapped(event: &str, bytes: usize) -> String {
    let mut body = event.to_owned();
    for depth in 0.. {
        let next = if depth % 2 == 0 {
            json!({"Type": "Notification", "MessageId": "x".repeat(bytes / 20), "Message": body})
        } else {
            let id = "x".repeat(bytes / 20);
            json!({"id": id, "source": "aws.ses", "detail-type": "Email Sent", "detail": body})
        };
        let next = next.to_string();
        if next.len() > bytes {
            break;
        }
        body = next;
    }
    body
}
