//! No body, address or secret is ever logged, whatever arrives and however much is asked for.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::database::Database;
use crate::support::generate;
use crate::support::process::Worker;
use crate::support::queue::Queue;

const MESSAGES: usize = 400;
const PASSWORD: &str = "secret-of-the-database";
const ACCESS_KEY: &str = "secret-of-the-account";

#[tokio::test]
async fn the_nasty_stream_leaves_no_trace_of_itself() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let role = database.role("worker");
    database.execute(&format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'")).await;
    // PostgreSQL's own messages quote values, too.
    database
        .execute(
            "CREATE FUNCTION quote() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.subject = 'a' AND NEW.event_type IN ('Bounce', 'Complaint')
                THEN RAISE EXCEPTION 'refused: %', NEW USING ERRCODE = '22023'; END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER quote BEFORE INSERT ON aws_report_detail FOR EACH ROW EXECUTE FUNCTION quote()",
        )
        .await;
    let bodies = generate::stream(7, MESSAGES);
    queue.send(&bodies).await;

    let url = format!("postgres://{role}:{PASSWORD}@{}", database.host());
    let settings = [
        ("DATABASE_URL", url.as_str()),
        ("NO_MIGRATE", "true"),
        ("AWS_SECRET_ACCESS_KEY", ACCESS_KEY),
        ("LOG_FILTER", "trace"),
        ("VERIFY_SNS", "warn"),
    ];
    let worker = Worker::start_with(&settings, &queue.url, &["--exit-when-idle", "1"]);
    let log = worker.ends_well().await;
    assert!(log.contains("TRACE") && log.contains("DEBUG"), "much is asked for");
    let refused =
        "SELECT count(*) FROM aws_report_dead_letter WHERE reason = 'refused by PostgreSQL'";
    assert!(database.one::<i64>(refused).await > 0, "PostgreSQL has refused something");

    let (mut told, mut known) = (BTreeSet::new(), 0);
    for secret in [PASSWORD, ACCESS_KEY] {
        told.extend(log.contains(secret).then(|| secret.to_owned()));
    }
    for body in &bodies {
        let mut fragments = BTreeSet::new();
        collect(&Value::String(body.clone()), &mut fragments);
        known += fragments.len();
        told.extend(fragments.into_iter().filter(|fragment| log.contains(fragment.as_str())));
    }
    assert!(known > 4_000, "much could be told: {known}");
    let lines: Vec<&str> = told
        .iter()
        .filter_map(|fragment| log.lines().find(|line| line.contains(fragment.as_str())))
        .take(3)
        .map(|line| &line[..line.floor_char_boundary(600)])
        .collect();
    assert!(told.is_empty(), "the log tells {told:#?} in lines such as {lines:#?}");
}

/// What of a body says something of somebody: its texts, at any depth, but for single words, which
/// a log may well use by itself.
fn collect(value: &Value, fragments: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            if let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text) {
                collect(&inner, fragments);
            } else if text.len() >= 7 && !text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                fragments
                    .extend(text.split('\0').filter(|part| part.len() >= 7).map(str::to_owned));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, fragments)),
        Value::Object(map) => map.values().for_each(|value| collect(value, fragments)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
