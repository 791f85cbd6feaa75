//! `ses-reports dead-letters`: seen, tried again, deleted.

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{Ended, run};

async fn dead_letters(database: &Database, arguments: &[&str]) -> Ended {
    let arguments = [&["dead-letters"], arguments].concat();
    run(&[("DATABASE_URL", &*database.url_of("operator"))], &arguments).await
}

/// The objects that a command answers with.
async fn answers(database: &Database, arguments: &[&str]) -> Vec<Value> {
    let ended = dead_letters(database, &[arguments, &["--json"]].concat()).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn id(number: u32) -> String {
    format!("{number:08x}-0000-8000-8000-000000000000")
}

/// A dead letter that was stored so many hours ago.
async fn letter(
    database: &Database,
    number: u32,
    body: &str,
    reason: &str,
    source: &str,
    hours: u32,
) {
    let insert = format!(
        "INSERT INTO aws_report_dead_letter (id, body, reason, detail, source, sqs_message_id, received_at)
        VALUES ('{}', $body${body}$body$, '{reason}', 'says jane@example.com', NULLIF('{source}', ''), 'sqs-{number}', now() - interval '{hours} hours')",
        id(number)
    );
    database.execute(&insert).await;
}

async fn some(database: &Database) {
    let send = |number| event::send(&message_id(number), &["jane@example.com"]).to_string();
    let validation = "Successfully validated SNS topic for Amazon SES event publishing.";
    letter(database, 0xa000_0001, &send(1), "not JSON", "sqs:events", 1).await;
    letter(database, 0xa000_0002, "no event", "not JSON", "replay:a.jsonl:7", 2).await;
    letter(database, 0xb000_0003, "{}", "not JSON", "replay:b.jsonl:1", 30).await;
    letter(database, 0xb000_0004, validation, "not an SES event", "", 50).await;
    letter(database, 0xb000_0005, &send(5), "not an SES event", "", 50).await;
}

fn ids(answers: &[Value]) -> Vec<&str> {
    answers.iter().filter_map(|line| line["id"].as_str()).collect()
}

#[tokio::test]
async fn they_are_listed_newest_first_by_what_is_asked_for_and_without_their_bodies() {
    let database = Database::migrated().await;
    some(&database).await;
    let all = [0xa000_0001, 0xa000_0002, 0xb000_0003, 0xb000_0005, 0xb000_0004].map(id);
    for (arguments, expected) in [
        (&[][..], &all[..]),
        (&["--limit", "2"], &all[..2]),
        (&["--reason", "not JSON"], &all[..3]),
        (&["--source", "replay"], &all[1..3]),
        (&["--source", "sqs"], &[all[0].clone(), all[3].clone(), all[4].clone()]),
        (&["--since", "1d"], &all[..2]),
        (&["--since", "2d", "--until", "90m"], &all[1..3]),
        (&["--until", "2026-01-01"], &[]),
    ] {
        let lines = answers(&database, &[&["list"], arguments].concat()).await;
        assert_eq!(ids(&lines), expected, "{arguments:?}");
    }
    let lines = answers(&database, &["list", "--limit", "1"]).await;
    let summary = json!({"dead_letters": 5, "reasons": {"not JSON": 3, "not an SES event": 2}});
    assert_eq!(lines.last(), Some(&summary));
    let text = dead_letters(&database, &["list"]).await.stdout;
    assert!(text.contains("5 dead letters") && text.contains("replay:a.jsonl:7"), "{text}");
    assert!(!text.contains("jane"), "{text}");
}

#[tokio::test]
async fn a_body_is_shown_as_it_came() {
    let database = Database::migrated().await;
    some(&database).await;
    let shown = dead_letters(&database, &["show", "A0000002"]).await;
    assert_eq!((shown.code, &*shown.stdout), (Some(0), "no event\n"));
    assert!(shown.stderr.contains("not JSON") && shown.stderr.contains("replay:a.jsonl:7"));
    let whole = answers(&database, &["show", &id(0xb000_0003), "a0000002"]).await;
    assert_eq!(whole.len(), 2);
    assert!(
        whole
            .iter()
            .any(|letter| letter["body"] == "{}" && letter["sqs_message_id"] == "sqs-2952790019"),
        "{whole:?}"
    );
    for (id, code, says) in
        [("a000", 2, "several"), ("cccc", 1, "no dead letter"), ("xyz", 2, "hexadecimal")]
    {
        let ended = dead_letters(&database, &["show", id]).await;
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_retry_says_what_became_of_each() {
    let database = Database::migrated().await;
    some(&database).await;
    let answers = answers(&database, &["retry", "--all"]).await;
    let became = |number, outcome, reason: Option<&str>, events| json!({"id": id(number), "outcome": outcome, "reason": reason, "events": events});
    assert_eq!(
        answers,
        [
            became(0xb000_0004, "acknowledged", Some("topic validation"), 0),
            became(0xb000_0005, "events", None, 1),
            became(0xb000_0003, "dead_letter", Some("not an SES event"), 0),
            became(0xa000_0002, "dead_letter", Some("not JSON"), 0),
            became(0xa000_0001, "events", None, 1),
            json!({"read": 5, "with_events": 2, "acknowledged": 1, "dead_letters": 2, "elsewhere": 0,
                "new_events": 2, "known_events": 0, "expired_events": 0}),
        ]
    );
    let left = database.rows("SELECT id, reason FROM aws_report_dead_letter ORDER BY id").await;
    let line = |number, reason| json!({"id": id(number), "reason": reason});
    assert_eq!(left, [line(0xa000_0002, "not JSON"), line(0xb000_0003, "not an SES event")]);
    let traced =
        "SELECT count(*) FROM aws_report_detail WHERE notification_message_id LIKE 'sqs-%'";
    assert_eq!(database.one::<i64>(traced).await, 2);
    assert_eq!(dead_letters(&database, &["retry"]).await.code, Some(2));
}

#[tokio::test]
async fn what_postgresql_refuses_stays_and_the_others_go() {
    let database = Database::migrated().await;
    database.raise("22023", "aws_report_detail", "NEW.subject = 'thirteen'").await;
    for number in 0..30 {
        let mut mail = event::mail(&message_id(number), &["jane@example.com"]);
        if number == 13 {
            mail["commonHeaders"] = json!({"subject": "thirteen"});
        }
        let body = event::event("Send", "send", json!({}), mail).to_string();
        let number = 0xa000_0000 + u32::try_from(number).expect("few");
        letter(&database, number, &body, "not an SES event", "", 1).await;
    }
    let answers = answers(&database, &["retry", "--reason", "not an SES event"]).await;
    let totals = answers.last().expect("totals");
    assert_eq!((&totals["with_events"], &totals["dead_letters"]), (&json!(29), &json!(1)));
    let left = database
        .rows("SELECT id, reason, detail ~ '22023' AS says FROM aws_report_dead_letter")
        .await;
    assert_eq!(
        left,
        [json!({"id": id(0xa000_000d), "reason": "refused by PostgreSQL", "says": true})]
    );
}

#[tokio::test]
async fn what_was_not_trusted_stays_unless_it_is_named() {
    let database = Database::migrated().await;
    let reasons = [
        "from a topic that is not allowed",
        "names no topic",
        "not signed by SNS",
        "forged or altered SNS message",
        "unverifiable SNS message",
    ];
    for (number, reason) in (1..).zip(reasons) {
        let body = event::send(&message_id(number.into()), &["jane@example.com"]).to_string();
        letter(&database, number, &body, reason, "sqs:events", 1).await;
    }
    for arguments in [&["retry", "--all"][..], &["retry", "--source", "sqs"]] {
        answers(&database, arguments).await;
        let rows = database
            .rows("SELECT count(*), count(DISTINCT reason) AS reasons, count(detail) AS details FROM aws_report_dead_letter")
            .await;
        assert_eq!(rows, [json!({"count": 5, "reasons": 5, "details": 5})]);
    }
    answers(&database, &["retry", "--reason", "not signed by SNS"]).await;
    answers(&database, &["retry", &id(4)]).await;
    let left = "SELECT count(*) FROM aws_report_dead_letter";
    assert_eq!(database.one::<i64>(left).await, 3);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail").await, 2);
}

#[tokio::test]
async fn two_retries_at_once_share_the_work() {
    let database = Database::migrated().await;
    for number in 0..600_u32 {
        let send = event::send(&message_id(number.into()), &["jane@example.com"]).to_string();
        letter(&database, 0xa000_0000 + number, &send, "not JSON", "", 1).await;
    }
    // One that a third holds is left to it.
    let mut holder = database.pool.begin().await.expect("a transaction");
    let hold = "SELECT FROM aws_report_dead_letter WHERE id = 'a000012c-0000-8000-8000-000000000000' FOR UPDATE";
    sqlx::raw_sql(hold).execute(&mut *holder).await.expect("the lock");
    let retry = ["retry", "--all"];
    let (one, other) = tokio::join!(answers(&database, &retry), answers(&database, &retry));
    holder.rollback().await.expect("the lock is given back");
    let sum = |name: &str| {
        [&one, &other].iter().filter_map(|all| all.last()?[name].as_i64()).sum::<i64>()
    };
    assert_eq!(sum("with_events"), 599);
    assert_eq!((sum("new_events"), sum("known_events")), (599, 0));
    assert_eq!(sum("read"), 599 + sum("elsewhere"));
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_dead_letter").await, 1);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail").await, 599);
}

#[tokio::test]
async fn many_are_deleted_only_when_that_is_meant() {
    let database = Database::migrated().await;
    some(&database).await;
    let count = "SELECT count(*) FROM aws_report_dead_letter";
    for (arguments, code, says, left) in [
        (&["delete"][..], 2, "nothing is selected", 5),
        (&["delete", "--source", "replay"], 2, "delete 2 dead letters", 5),
        (&["delete", "a0000001"], 0, "deleted 1 dead letters", 4),
        (&["delete", "--source", "replay", "--yes"], 0, "deleted 2 dead letters", 2),
        (&["delete", "--all", "--reason", "x"], 2, "--all", 2),
        (&["delete", "--all"], 0, "deleted 2 dead letters", 0),
        (&["delete", "--all"], 0, "deleted 0 dead letters", 0),
    ] {
        let ended = dead_letters(&database, arguments).await;
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.stderr);
        assert!((ended.stdout + &ended.stderr).contains(says), "{arguments:?}");
        assert_eq!(database.one::<i64>(count).await, left, "{arguments:?}");
    }
    let worker = [("DATABASE_URL", &*database.url_of("worker"))];
    let refused = run(&worker, &["dead-letters", "list"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("grants --operator"), "{}", refused.stderr);
}

#[tokio::test]
async fn a_forged_letter_does_not_command_the_terminal() {
    let database = Database::migrated().await;
    letter(&database, 0xa000_0001, "{}", "not JSON", "replay:a.jsonl:7", 1).await;
    let forge = "reason = E'x\\u001b[2J', detail = E'\\u001b]0;owned\\u0007\\u009b1A\\u202e', source = E'a\\u000db'";
    database.execute(&format!("UPDATE aws_report_dead_letter SET {forge}")).await;
    for (arguments, shown) in [(&["list"][..], "x?[2J"), (&["show", "a0000001"], "?]0;owned??1A?")]
    {
        let ended = dead_letters(&database, arguments).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let printed = ended.stdout + &ended.stderr;
        assert!(printed.contains(shown) && printed.contains("a?b"), "{printed:?}");
        let harmful = |char: char| (char.is_control() && char != '\n') || char == '\u{202e}';
        assert!(!printed.contains(harmful), "{printed:?}");
    }
}
