//! What operators choose of events: the tags that reports keep, and how much of a click's link.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{Worker, run};
use crate::support::queue::Queue;

const TAGS: [&str; 2] = ["--report-tags", "campaign,ses:tenant-name"];

/// The events of two mails: event publishing with tags, identity feedback without.
fn tagged() -> Vec<String> {
    let mut bodies = Vec::new();
    for (number, campaign) in [(1, "spring"), (2, "autumn")] {
        let (id, to) = (message_id(number), ["jane@example.com", "joe@example.com"]);
        let mut feedback = event::bounce(&id, &to, to[1]);
        let name = feedback.as_object_mut().expect("an object").remove("eventType");
        feedback["notificationType"] = name.expect("a type");
        feedback["mail"].as_object_mut().expect("an object").remove("tags");
        for mut body in [
            event::send(&id, &to),
            event::delivery(&id, &to, &to[..1]),
            event::open(&id, &to, "2026-11-20T11:00:00.000Z"),
        ] {
            let tags = body["mail"]["tags"].as_object_mut().expect("an object");
            tags.insert("campaign".to_owned(), json!([campaign, "second"]));
            tags.insert("ses:tenant-name".to_owned(), json!(["tenant-1"]));
            tags.insert("variant".to_owned(), json!(["b"]));
            bodies.push(body.to_string());
        }
        bodies.push(feedback.to_string());
    }
    bodies
}

async fn tags(database: &Database) -> Vec<Value> {
    database
        .rows(
            "SELECT message_id, user_email, tags FROM aws_reports ORDER BY message_id, user_email",
        )
        .await
}

fn expected(tags: impl Fn(&str) -> Value) -> Vec<Value> {
    let mails = [(1, "spring"), (2, "autumn")];
    let reports = mails.iter().flat_map(|(number, campaign)| {
        let (id, tags) = (message_id(*number), tags(campaign));
        ["jane@example.com", "joe@example.com"]
            .map(|to| json!({"message_id": id, "user_email": to, "tags": tags}))
    });
    reports.collect()
}

#[tokio::test]
async fn reports_keep_the_chosen_tags_in_any_order_and_a_replay_adds_others() {
    let bodies = tagged();
    let chosen = expected(|name| json!({"campaign": name, "ses:tenant-name": "tenant-1"}));
    let mut reversed = bodies.clone();
    reversed.reverse();
    for (order, rows) in [(&bodies, "1"), (&reversed, "500")] {
        let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
        queue.send(&[&order[..], order].concat()).await;
        let arguments = [&TAGS[..], &["--batch-rows", rows]].concat();
        Worker::until_idle(&database, &queue.url, &arguments).await;
        assert_eq!(tags(&database).await, chosen);
        let settings = [("DATABASE_URL", &*database.url_of("operator"))];
        let archive = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(archive.path(), bodies.join("\n")).expect("the archive is written");
        let path = archive.path().to_str().expect("a path");
        let before = database.one::<i64>("SELECT count(*) FROM aws_report_detail").await;
        let ended = run(&settings, &["replay", path, "--report-tags", "variant"]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let all = expected(
            |name| json!({"campaign": name, "ses:tenant-name": "tenant-1", "variant": "b"}),
        );
        assert_eq!(tags(&database).await, all);
        let after = database.one::<i64>("SELECT count(*) FROM aws_report_detail").await;
        assert_eq!(after, before);
        let url = database.url();
        let verified = run(&[("DATABASE_URL", &*url)], &["migrate", "verify", "--data"]).await;
        assert_eq!(verified.code, Some(0), "{}", verified.stdout);
    }
}

#[tokio::test]
async fn verify_accepts_the_index_on_tags_as_documented_and_no_other() {
    let database = Database::migrated().await;
    let (url, text) = (database.url(), include_str!("../../docs/schema.md"));
    let at = text.find("CREATE INDEX CONCURRENTLY").expect("the documented index");
    let statement = text[at..].split(";\n").next().expect("a statement");
    let verify = async || run(&[("DATABASE_URL", &*url)], &["migrate", "verify"]).await;
    database.execute(statement).await;
    let verified = verify().await;
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
    let question = text.split("```sql\n").find(|block| block.contains("tags @>"));
    let question = question.and_then(|block| block.split(";\n").next()).expect("the question");
    let mut transaction = database.pool.begin().await.expect("a transaction");
    // The table is empty: reading all of it would be the cheapest.
    let off = "SET LOCAL enable_seqscan = off";
    sqlx::raw_sql(off).execute(&mut *transaction).await.expect("it is set");
    let explain = AssertSqlSafe(format!("EXPLAIN (COSTS off) {question}"));
    let plan: Vec<String> = (sqlx::query_scalar(explain).fetch_all(&mut *transaction).await)
        .expect("it can be planned");
    assert!(plan.join("\n").contains("aws_reports_tags"), "{plan:?}");
    drop(transaction);

    database.execute("DROP INDEX aws_reports.aws_reports_tags").await;
    database
        .execute("CREATE INDEX aws_reports_tags ON aws_reports.aws_reports USING gin (tags)")
        .await;
    let drift = verify().await;
    assert_eq!(drift.code, Some(5), "{}", drift.stdout);
    assert!(drift.stdout.contains("aws_reports_tags"), "{}", drift.stdout);
}

#[tokio::test]
async fn links_are_stored_as_far_as_asked_for_and_a_changed_setting_counts_nothing_twice() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let click = |number: u64| {
        let link = format!("https://jane:s3cret@shop.example/{number}?token=s3cret#s3cret");
        let own = json!({"timestamp": "2026-11-20T11:00:00.000Z", "ipAddress": "192.0.2.7", "userAgent": "Mail/1.0", "link": link, "linkTags": {"kind": ["reset"]}});
        let id = message_id(number);
        event::event("Click", "click", own, event::mail(&id, &["jane@example.com"])).to_string()
    };
    let all = [click(1), click(2), click(3)];
    for (count, mode) in [(1, "no-query"), (2, "none"), (3, "whole"), (3, "none")] {
        queue.send(&all[..count]).await;
        Worker::until_idle(&database, &queue.url, &["--click-links", mode]).await;
    }
    let clicks = "SELECT d.other_info #> '{click,link}' AS link, d.other_info #> '{click,linkTags}' AS tags, r.click_count
        FROM aws_report_detail AS d JOIN aws_reports AS r ON r.id = d.report_id ORDER BY d.message_id";
    let tags = json!({"kind": ["reset"]});
    assert_eq!(
        database.rows(clicks).await,
        [
            json!({"link": "https://shop.example/1", "tags": tags, "click_count": 1}),
            json!({"link": null, "tags": tags, "click_count": 1}),
            json!({"link": "https://jane:s3cret@shop.example/3?token=s3cret#s3cret", "tags": tags, "click_count": 1}),
        ]
    );
}
