//! The figures of each day, the views, and the indexes that answer questions.

use std::cell::Cell;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::generate;
use crate::support::migrations::expect;
use crate::support::process::{Worker, eventually};
use crate::support::queue::Queue;

/// The figures as the worker adds them up, without providers.
const FIGURES: &str = "SELECT day, source_domain, report_type, sum(sent)::bigint AS sent, sum(delivered)::bigint AS delivered,
        sum(bounced_hard)::bigint AS bounced_hard, sum(bounced_soft)::bigint AS bounced_soft,
        sum(bounced_suppressed)::bigint AS bounced_suppressed, sum(complained)::bigint AS complained,
        sum(opened)::bigint AS opened, sum(clicked)::bigint AS clicked, sum(rejected)::bigint AS rejected,
        sum(rendering_failed)::bigint AS rendering_failed, sum(delayed)::bigint AS delayed,
        sum(messages_delivered)::bigint AS messages_delivered
    FROM aws_report_daily GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";

/// Everything that the figures say.
const ALL_FIGURES: &str =
    "SELECT to_jsonb(figures) - 'updated_at' AS figures FROM aws_report_daily AS figures
    UNION ALL SELECT to_jsonb(figures) - 'updated_at' FROM aws_report_daily_bounce AS figures
    UNION ALL SELECT to_jsonb(figures) - 'updated_at' FROM aws_report_daily_tag AS figures
    ORDER BY 1";

/// The same from the details, which the refresh never reads. The reports tell the day, the sender,
/// the kind of mail, and which of several bounces counts: of two copies of one bounce that differ
/// the details hold one.
const RECOUNT: &str = r#"
    WITH facts AS (
        SELECT (coalesce(r.send_at, r.reject_at, r.rendering_failure_at) AT TIME ZONE 'UTC')::date AS day,
            coalesce(lower(substring(r.source_email FROM '[^@]*$')), '') AS source_domain,
            r.report_type, r.message_id, r.counts_message, r.counts_complaint, bounce_type, coalesce(bounce_sub_type, '') AS bounce_sub_type, fold.*
        FROM aws_reports r
        CROSS JOIN LATERAL (
            SELECT bool_or(event_type NOT IN ('Reject', 'Rendering Failure')) AS sent,
                min("timestamp") FILTER (WHERE event_type = 'Delivery') AS delivered,
                bool_or(event_type = 'Bounce') AS bounced,
                bool_or(event_type = 'Complaint') AS complained,
                bool_or(event_type = 'Open') AS opened,
                bool_or(event_type = 'Click') AS clicked,
                bool_or(event_type = 'Reject') AS rejected,
                bool_or(event_type = 'Rendering Failure') AS unrendered,
                bool_or(event_type = 'DeliveryDelay') AS delayed
            FROM aws_report_detail WHERE report_id = r.id
        ) AS fold
    )
    SELECT day, source_domain, report_type,
        count(*) FILTER (WHERE sent) AS sent,
        count(delivered) AS delivered,
        count(*) FILTER (WHERE bounced AND bounce_type = 'Permanent' AND bounce_sub_type = 'General') AS bounced_hard,
        count(*) FILTER (WHERE bounced AND bounce_type NOT IN ('Permanent', 'AutoReply')) AS bounced_soft,
        count(*) FILTER (WHERE bounced AND bounce_type = 'Permanent' AND bounce_sub_type = 'OnAccountSuppressionList') AS bounced_suppressed,
        count(*) FILTER (WHERE complained AND counts_complaint) AS complained,
        count(DISTINCT message_id) FILTER (WHERE opened) AS opened,
        count(DISTINCT message_id) FILTER (WHERE clicked) AS clicked,
        count(*) FILTER (WHERE rejected) AS rejected,
        count(*) FILTER (WHERE unrendered) AS rendering_failed,
        count(*) FILTER (WHERE delayed) AS delayed,
        count(*) FILTER (WHERE counts_message IS NOT FALSE AND (delivered IS NOT NULL OR opened OR clicked)) AS messages_delivered
    FROM facts GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"#;

#[tokio::test]
async fn the_figures_equal_a_recount_also_after_late_changes() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let mut bodies = generate::stream(20_261_121, 2_000);
    let mut random = fastrand::Rng::with_seed(7);
    let again = bodies.iter().filter(|_| random.u32(..100) < 30).cloned().collect::<Vec<_>>();
    bodies.extend(again);
    random.shuffle(&mut bodies);
    let (early, late) = bodies.split_at(bodies.len() / 2);
    for part in [early, late] {
        queue.send(part).await;
        tokio::join!(
            Worker::until_idle(&database, &queue.url, &["--batch-rows", "41"]),
            Worker::until_idle(&database, &queue.url, &["--writers", "3"]),
        );
        let (figures, recount) = (database.rows(FIGURES).await, database.rows(RECOUNT).await);
        assert!(recount.len() > 20, "the stream says something");
        for (figures, recount) in figures.iter().zip(&recount) {
            assert_eq!(figures, recount);
        }
        assert_eq!(figures.len(), recount.len());
        assert_eq!(
            database.one::<i64>("SELECT count(*) FROM aws_report_daily_note").await,
            0,
            "workers that end leave nothing to add"
        );
        let added = database.rows(ALL_FIGURES).await;
        database.execute("SELECT aws_report_daily_refresh(day) FROM (SELECT DISTINCT day FROM aws_report_daily) AS days").await;
        assert_eq!(database.rows(ALL_FIGURES).await, added, "a recount finds nothing else");
    }
}

#[tokio::test]
async fn a_mail_to_three_that_was_opened_once_is_one_open() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let all = ["a@example.com", "b@example.com", "c@example.com"];
    let (id, lost) = (message_id(1), message_id(2));
    let mut suppressed = event::bounce(&lost, &["d@example.com"], "d@example.com");
    suppressed["bounce"]["bounceSubType"] = json!("OnAccountSuppressionList");
    let bodies = [
        event::delivery(&id, &all, &all[..2]),
        event::bounce(&id, &all, all[2]),
        event::open(&id, &all, "2026-11-20T11:00:00.000Z"),
        event::open(&id, &all, "2026-11-20T11:05:00.000Z"),
        suppressed,
    ];
    queue.send(&bodies.map(|body| body.to_string())).await;
    Worker::until_idle(&database, &queue.url, &[]).await;
    let figures =
        "SELECT day, source_domain, sent, delivered, bounced_hard, bounced_suppressed, opened,
            messages_delivered, delivery_rate, bounce_rate, complaint_rate, open_rate, click_rate
        FROM aws_report_daily";
    let expected = json!({
        "day": "2026-11-20", "source_domain": "shop.example", "sent": 4, "delivered": 2,
        "bounced_hard": 1, "bounced_suppressed": 1, "opened": 1, "messages_delivered": 1,
        "delivery_rate": 66.667, "bounce_rate": 33.333, "complaint_rate": 0.0, "open_rate": 100.0,
        "click_rate": 0.0,
    });
    // Compared as text: a numeric keeps the zeros after its point.
    let found = database.rows(figures).await;
    assert_eq!(found.len(), 1);
    for (name, value) in expected.as_object().expect("an object") {
        let same = match (value.as_f64(), found[0][name].as_f64()) {
            (Some(expected), Some(found)) => (expected - found).abs() < 1e-9,
            _ => found[0][name] == *value,
        };
        assert!(same, "{name}: {} is not {value}", found[0][name]);
    }
}

/// A report made by hand, of mail sent on a day.
fn insert(day: &str, name: &str) -> String {
    format!(
        "INSERT INTO aws_reports (id, user_email, message_id, source_email, send_at)
        VALUES (gen_random_uuid(), '{name}@example.com', '{name}', 'x@shop.example', '{day} 12:00Z')"
    )
}

async fn refresh(database: &Database, day: &str) -> bool {
    database.one(&format!("SELECT aws_report_daily_refresh('{day}')")).await
}

async fn sent(database: &Database, day: &str) -> i64 {
    let sql =
        format!("SELECT coalesce(sum(sent), 0)::bigint FROM aws_report_daily WHERE day = '{day}'");
    database.one(&sql).await
}

#[tokio::test]
async fn a_change_that_commits_while_a_refresh_runs_is_counted_by_the_next() {
    let database = Database::migrated().await;
    let day = "2026-11-20";
    database.execute(&insert(day, "first")).await;

    // It is open before the refresh and commits after it.
    let mut writer = database.pool.begin().await.expect("a transaction");
    sqlx::raw_sql(AssertSqlSafe(insert(day, "second")))
        .execute(&mut *writer)
        .await
        .expect("it writes");
    assert!(refresh(&database, day).await);
    assert_eq!(sent(&database, day).await, 1);
    writer.commit().await.expect("it commits");
    assert_eq!(noted(&database).await, [json!({"day": day})], "its note is there");
    assert!(refresh(&database, day).await);
    assert_eq!((sent(&database, day).await, noted(&database).await.len()), (2, 0));

    // It begins and commits while the refresh has counted and not committed.
    let mut refresher = database.pool.begin().await.expect("a transaction");
    database.execute("UPDATE aws_reports SET open_at = now()").await;
    let count = format!("SELECT aws_report_daily_refresh('{day}')");
    sqlx::raw_sql(AssertSqlSafe(count)).execute(&mut *refresher).await.expect("it counts");
    database.execute(&insert(day, "third")).await;
    assert!(!refresh(&database, day).await, "one at a time");
    refresher.commit().await.expect("it commits");
    assert_eq!((sent(&database, day).await, noted(&database).await.len()), (2, 1));
    assert!(refresh(&database, day).await);
    assert_eq!((sent(&database, day).await, noted(&database).await.len()), (3, 0));

    // A refresh that is given up leaves the notes.
    database.execute(&insert(day, "fourth")).await;
    let mut refresher = database.pool.begin().await.expect("a transaction");
    let count = format!("SELECT aws_report_daily_refresh('{day}')");
    sqlx::raw_sql(AssertSqlSafe(count)).execute(&mut *refresher).await.expect("it counts");
    refresher.rollback().await.expect("it rolls back");
    assert_eq!((sent(&database, day).await, noted(&database).await.len()), (3, 1));
}

async fn noted(database: &Database) -> Vec<Value> {
    database.rows("SELECT DISTINCT day FROM aws_report_daily_note ORDER BY day").await
}

async fn add(database: &Database, most: u32) -> Option<i64> {
    database.one(&format!("SELECT notes FROM aws_report_daily_add({most})")).await
}

#[tokio::test]
async fn a_change_that_commits_while_notes_are_added_is_added_by_the_next() {
    let database = Database::migrated().await;
    let day = "2026-11-20";
    database.execute(&insert(day, "first")).await;
    let mut writer = database.pool.begin().await.expect("a transaction");
    sqlx::raw_sql(AssertSqlSafe(insert(day, "second")))
        .execute(&mut *writer)
        .await
        .expect("it writes");
    assert_eq!(add(&database, 100).await, Some(1));
    writer.commit().await.expect("it commits");
    let mut adder = database.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("SELECT aws_report_daily_add(100)").execute(&mut *adder).await.expect("it adds");
    database.execute(&insert(day, "third")).await;
    assert_eq!(add(&database, 100).await, None, "one at a time");
    assert!(!refresh(&database, day).await, "and no recount meanwhile");
    adder.commit().await.expect("it commits");
    assert_eq!((sent(&database, day).await, noted(&database).await.len()), (2, 1));

    // What is given up is noted still; what is added bit by bit is whole in the end.
    let mut adder = database.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("SELECT aws_report_daily_add(100)").execute(&mut *adder).await.expect("it adds");
    adder.rollback().await.expect("it rolls back");
    database.execute(&insert("2026-11-19", "fourth")).await;
    assert_eq!(add(&database, 1).await, Some(1));
    assert_eq!(add(&database, 1).await, Some(1));
    assert_eq!(add(&database, 1).await, Some(0));
    assert_eq!((sent(&database, day).await, sent(&database, "2026-11-19").await), (3, 1));
}

#[tokio::test]
async fn a_report_that_moves_to_another_day_leaves_the_first() {
    let database = Database::migrated().await;
    database.execute(&insert("2026-11-20", "a")).await;
    assert!(refresh(&database, "2026-11-20").await);
    database
        .execute("UPDATE aws_reports SET send_at = send_at - interval '1 day', source_email = NULL")
        .await;
    let both = [json!({"day": "2026-11-19"}), json!({"day": "2026-11-20"})];
    assert_eq!(noted(&database).await, both);
    let figures = "SELECT day, source_domain, sent FROM aws_report_daily";
    let moved = [json!({"day": "2026-11-19", "source_domain": "", "sent": 1})];
    assert_eq!(add(&database, 100).await, Some(2));
    assert_eq!(database.rows(figures).await, moved);
    for day in ["2026-11-19", "2026-11-20"] {
        assert!(refresh(&database, day).await);
    }
    assert_eq!(database.rows(figures).await, moved);
}

#[tokio::test]
async fn only_days_that_changed_are_counted_anew() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let (old, new) = (message_id(1), message_id(2));
    let mut before = event::send(&old, &["jane@example.com"]);
    before["mail"]["timestamp"] = json!("2026-11-10T10:00:00Z");
    queue.send(&[before.to_string(), event::send(&new, &["jane@example.com"]).to_string()]).await;
    Worker::until_idle(&database, &queue.url, &[]).await;
    let versions = "SELECT day, xmin::text AS version, updated_at, delivered FROM aws_report_daily ORDER BY day";
    let first = database.rows(versions).await;
    assert_eq!(first.len(), 2);
    // The new mail is delivered; the old one's send comes again and says nothing new.
    let delivered = event::delivery(&new, &["jane@example.com"], &["jane@example.com"]);
    queue.send(&[delivered.to_string(), before.to_string()]).await;
    Worker::until_idle(&database, &queue.url, &[]).await;
    let then = database.rows(versions).await;
    assert_eq!(then[0], first[0], "the day without news is left alone");
    assert_ne!(then[1]["version"], first[1]["version"]);
    assert_eq!((&first[1]["delivered"], &then[1]["delivered"]), (&json!(0), &json!(1)));
}

#[tokio::test]
async fn a_day_whose_mail_never_rests_is_counted_again_all_the_same() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let jane = ["jane@example.com"];
    queue.send(&[event::send(&message_id(0), &jane).to_string()]).await;
    Worker::until_idle(&database, &queue.url, &[]).await;
    // As a migration asks for it.
    database
        .execute("INSERT INTO aws_report_stale_day (day) SELECT day FROM aws_report_daily")
        .await;
    let sent = Cell::new(0);
    let mut worker = Worker::start(&database, &queue.url, &[]);
    eventually("the day is counted again", || async {
        sent.set(sent.get() + 1);
        queue.send(&[event::send(&message_id(sent.get()), &jane).to_string()]).await;
        database.one("SELECT NOT EXISTS (SELECT FROM aws_report_stale_day)").await
    })
    .await;
    assert!(worker.terminate().await.0.success(), "{}", worker.log());
}

#[tokio::test]
async fn reports_from_before_the_triggers_are_counted_too() {
    let database = Database::empty().await;
    expect(&database, 0, &["up", "--to", "8"]).await;
    database.execute(&insert("2026-11-18", "a")).await;
    database.execute(&insert("2026-11-20", "b")).await;
    database
        .execute("INSERT INTO aws_reports (id, user_email, message_id, reject_at) VALUES (gen_random_uuid(), 'c@example.com', 'c', '2026-11-21 01:00Z')")
        .await;
    database.execute("UPDATE aws_reports SET created_at = '2026-11-19'").await;
    let days: Vec<Value> = (18..=21).map(|day| json!({"day": format!("2026-11-{day}")})).collect();
    let stale = "SELECT DISTINCT day FROM aws_report_stale_day ORDER BY day";
    expect(&database, 0, &["up", "--to", "9"]).await;
    assert_eq!(database.rows(stale).await, days);
    expect(&database, 0, &["up"]).await;
    assert_eq!(database.rows(stale).await, days, "and once more with what the figures mean now");
}

#[tokio::test]
pub async fn later_events_of_a_mail_are_hot_updates() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let jane = ["jane@example.com"];
    let send = |events: Vec<Value>| {
        let bodies: Vec<String> = events.iter().map(Value::to_string).collect();
        let queue = &queue;
        async move { queue.send(&bodies).await }
    };
    let mut worker = Worker::start(&database, &queue.url, &[]);
    // So few that one page holds all their versions: a page that is full must be left, whatever the
    // indexes.
    send((0..5).map(|number| event::send(&message_id(number), &jane)).collect()).await;
    let there = "SELECT count(*) = 5 FROM aws_reports";
    eventually("the mails are sent", || database.one::<bool>(there)).await;
    let some = || (0..5).map(message_id);
    let click = |id: String| {
        event::event(
            "Click",
            "click",
            json!({"timestamp": "2026-11-20T12:00:00Z", "link": "https://shop.example/"}),
            event::mail(&id, &jane),
        )
    };
    for (events, column) in [
        (some().map(|id| event::delivery(&id, &jane, &jane)).collect(), "delivery_at"),
        (some().map(|id| event::open(&id, &jane, "2026-11-20T11:00:00Z")).collect(), "open_at"),
        (some().map(click).collect::<Vec<_>>(), "click_at"),
        (some().map(|id| event::complaint(&id, &jane, jane[0])).collect(), "complaint_at"),
    ] {
        send(events).await;
        let written = format!("SELECT count({column}) = 5 FROM aws_reports");
        eventually(column, || database.one::<bool>(&written)).await;
    }
    // Its sessions tell what they did as they end.
    assert!(worker.terminate().await.0.success(), "{}", worker.log());
    let updates = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'aws_reports'::regclass";
    eventually("the updates are told", || async {
        database.rows(updates).await[0]["n_tup_upd"].as_i64() >= Some(20)
    })
    .await;
    let told = database.rows(updates).await;
    assert_eq!(told[0]["n_tup_hot_upd"], told[0]["n_tup_upd"], "{told:?}");
}

/// All mails of a page have their next event within minutes, often in one batch: it must have room for
/// a second version of each.
#[tokio::test]
async fn the_deliveries_of_a_batch_are_hot_updates() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let jane = ["jane@example.com"];
    let mails = || (0..200).map(message_id);
    let sends: Vec<Value> = mails().map(|id| event::send(&id, &jane)).collect();
    let deliveries = mails().map(|id| event::delivery(&id, &jane, &jane)).collect();
    for events in [sends, deliveries] {
        let bodies: Vec<String> = events.iter().map(Value::to_string).collect();
        queue.send(&bodies).await;
        Worker::until_idle(&database, &queue.url, &[]).await;
    }
    let updates = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'aws_reports'::regclass";
    eventually("the updates are told", || async {
        database.rows(updates).await[0]["n_tup_upd"].as_i64() == Some(200)
    })
    .await;
    let told = database.rows(updates).await;
    assert_eq!(told[0]["n_tup_hot_upd"], told[0]["n_tup_upd"], "{told:?}");
}

#[tokio::test]
pub async fn each_question_has_its_index() {
    let database = Database::migrated().await;
    database.execute("SELECT aws_report_detail_ensure('2026-11-01')").await;
    for (question, indexes) in [
        ("SELECT * FROM aws_reports WHERE message_id = 'x'", &["aws_reports_message_id"][..]),
        ("SELECT * FROM aws_reports WHERE user_email = 'x'", &["aws_reports_user_email"]),
        (
            "SELECT * FROM aws_reports WHERE user_id = '42' ORDER BY send_at DESC LIMIT 20",
            &["aws_reports_user_id"],
        ),
        (
            "SELECT count(*) FROM aws_reports WHERE send_at >= '2026-11-01' AND send_at < '2026-12-01'",
            &["aws_reports_send_at"],
        ),
        (
            "SELECT * FROM aws_reports WHERE send_at IS NULL AND coalesce(reject_at, rendering_failure_at, created_at) < '2026-11-01'",
            &["aws_reports_unsent"],
        ),
        (
            "SELECT * FROM aws_report_timeline WHERE message_id = 'x' ORDER BY user_email, \"timestamp\"",
            &["aws_reports_message_id", "aws_report_detail_2026_11_pkey"],
        ),
        ("SELECT * FROM aws_report_states WHERE message_id = 'x'", &["aws_reports_message_id"]),
        ("SELECT * FROM aws_report_states WHERE user_email = 'x'", &["aws_reports_user_email"]),
        (
            "SELECT * FROM aws_report_states WHERE user_id = '42' ORDER BY send_at DESC LIMIT 20",
            &["aws_reports_user_id"],
        ),
        (
            "SELECT * FROM aws_report_suppressions WHERE user_email = 'x'",
            &["aws_reports_user_email"],
        ),
        ("SELECT * FROM aws_report_daily WHERE day >= '2026-11-01'", &["aws_report_daily_pkey"]),
        (
            "SELECT * FROM aws_report_dead_letter ORDER BY received_at DESC LIMIT 20",
            &["aws_report_dead_letter_received_at"],
        ),
    ] {
        let mut transaction = database.pool.begin().await.expect("a transaction");
        // The tables are empty: a look at all of it would be the cheapest.
        sqlx::raw_sql("SET LOCAL enable_seqscan = off")
            .execute(&mut *transaction)
            .await
            .expect("it is set");
        let plan: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN (COSTS off) {question}")))
                .fetch_all(&mut *transaction)
                .await
                .expect("it can be planned");
        let plan = plan.join("\n");
        for index in indexes {
            assert!(plan.contains(index), "{question}: not by {index}:\n{plan}");
        }
    }
}

#[tokio::test]
async fn each_report_has_one_state() {
    let database = Database::migrated().await;
    let mut expected = Vec::new();
    for (number, (state, columns)) in [
        ("complained", "send_at delivery_at open_at complaint_at hard"),
        ("hard bounced", "send_at delivery_delay_at hard"),
        ("rejected", "reject_at"),
        ("rendering failed", "rendering_failure_at"),
        ("suppressed", "send_at suppressed"),
        ("soft bounced", "send_at soft"),
        ("clicked", "send_at delivery_at open_at click_at human_open_at human_click_at"),
        ("opened", "send_at delivery_delay_at delivery_at open_at click_at human_open_at"),
        ("delivered", "send_at open_at click_at"),
        ("suppressed", "send_at not-tried"),
        ("delivered", "send_at delivery_at not-spam"),
        ("delivered", "send_at delivery_delay_at delivery_at"),
        ("delivered", "send_at delivery_at auto-reply"),
        ("sent", "send_at auto-reply"),
        ("soft bounced", "send_at delivery_at general"),
        ("delayed", "send_at delivery_delay_at"),
        ("sent", "send_at"),
        ("unsent", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let sets: Vec<String> = columns
            .split_whitespace()
            .map(|column| match column {
                "hard" => "bounce_at = '2026-11-20', bounce_type = 'Permanent', bounce_sub_type = 'NoEmail'".to_owned(),
                "suppressed" => "bounce_at = '2026-11-20', bounce_type = 'Permanent', bounce_sub_type = 'Suppressed'".to_owned(),
                "soft" => "bounce_at = '2026-11-20', bounce_type = 'Transient', bounce_sub_type = 'MailboxFull'".to_owned(),
                "auto-reply" => "bounce_at = '2026-11-20', bounce_type = 'AutoReply', bounce_sub_type = 'General'".to_owned(),
                "general" => "bounce_at = '2026-11-20', bounce_type = 'Transient', bounce_sub_type = 'General'".to_owned(),
                "not-tried" => "complaint_at = '2026-11-20', complaint_sub_type = 'OnAccountSuppressionList'".to_owned(),
                "not-spam" => "complaint_at = '2026-11-20', complaint_feedback_type = 'not-spam'".to_owned(),
                column => format!("{column} = '2026-11-19'"),
            })
            .chain(["user_id = NULL".to_owned()])
            .collect();
        let id = format!("m{number:02}");
        database
            .execute(&format!(
                "INSERT INTO aws_reports (id, user_email, message_id) VALUES (gen_random_uuid(), '{id}@example.com', '{id}');
                UPDATE aws_reports SET {} WHERE message_id = '{id}'",
                sets.join(", ")
            ))
            .await;
        expected.push(json!({"message_id": id, "state": state, "report_name": "default"}));
    }
    let states = "SELECT message_id, state, report_name FROM aws_report_states ORDER BY message_id";
    assert_eq!(database.rows(states).await, expected);
    assert_eq!(
        database
            .rows(
                "SELECT user_email, reason FROM aws_report_suppressions ORDER BY user_email, reason"
            )
            .await,
        [
            json!({"user_email": "m00@example.com", "reason": "complaint"}),
            json!({"user_email": "m00@example.com", "reason": "hard bounce"}),
            json!({"user_email": "m01@example.com", "reason": "hard bounce"}),
            json!({"user_email": "m04@example.com", "reason": "suppression list"}),
            json!({"user_email": "m09@example.com", "reason": "suppression list"}),
        ]
    );
}

#[tokio::test]
async fn the_timeline_says_what_happened() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let (id, both) = (message_id(1), ["a@example.com", "b@example.com"]);
    let bodies = [
        event::send(&id, &both),
        event::delivery(&id, &both, &both[..1]),
        event::bounce(&id, &both, both[1]),
        event::complaint(&id, &both, both[0]),
    ];
    queue.send(&bodies.map(|body| body.to_string())).await;
    Worker::until_idle(&database, &queue.url, &[]).await;
    let timeline = format!(
        "SELECT left(user_email, 1) AS who, event_type, what FROM aws_report_timeline WHERE message_id = '{id}' ORDER BY user_email, \"timestamp\""
    );
    let says = |who: &str, event_type: &str, what: Value| json!({"who": who, "event_type": event_type, "what": what});
    assert_eq!(
        database.rows(&timeline).await,
        [
            says("a", "Send", Value::Null),
            says("a", "Delivery", json!("250 ok")),
            says("a", "Complaint", json!("abuse")),
            says("b", "Send", Value::Null),
            says("b", "Bounce", json!("Permanent/General: smtp; 550 5.1.1 unknown user")),
        ]
    );
}

#[tokio::test]
async fn infinity_written_by_hand_is_on_no_day_and_stops_nobody() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    database
        .execute("INSERT INTO aws_reports (id, message_id, user_email, send_at) SELECT gen_random_uuid(), 'm', 'jane@example.com', at FROM (VALUES (timestamptz 'infinity'), ('-infinity'), ('4000-01-01 BC'), ('30000-01-01')) AS odd (at)")
        .await;
    database.execute("UPDATE aws_reports SET subject = 'odd'").await;
    queue.send(&[event::send(&message_id(1), &["jane@example.com"]).to_string()]).await;
    Worker::until_idle(&database, &queue.url, &[]).await;
    assert_eq!(
        database.rows("SELECT day, sent FROM aws_report_daily").await,
        [json!({"day": "2026-11-20", "sent": 1})]
    );
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_stale_day").await, 0);
}

/// Reports of mails that were sent and delivered on one day, with what else happened to them.
async fn reports(database: &Database, reports: &[(&str, &str, &str)]) {
    for (message, email, what) in reports {
        database
            .execute(&format!(
                "INSERT INTO aws_reports (id, message_id, user_email, source_email, send_at, delivery_at)
                VALUES (aws_report_id('{message}', '{email}'), '{message}', '{email}', 'a@shop.example', '2026-11-20 10:00+00', '2026-11-20 10:01+00');
                UPDATE aws_reports SET {what} WHERE message_id = '{message}' AND user_email = '{email}'"
            ))
            .await;
    }
    database.execute("SELECT aws_report_backfill_meanings(NULL, 1000)").await;
    database.execute("SELECT aws_report_daily_refresh('2026-11-20')").await;
}

#[tokio::test]
async fn a_complaint_with_several_candidates_counts_once_and_is_a_guess() {
    let database = Database::migrated().await;
    reports(
        &database,
        &[
            ("m1", "a@isp.example", "complaint_at = '2026-11-20 11:00+00'"),
            ("m1", "b@isp.example", "complaint_at = '2026-11-20 11:00+00'"),
            ("m1", "c@isp.example", "complaint_at = '2026-11-20 11:00+00'"),
            ("m2", "a@isp.example", "complaint_at = '2026-11-20 11:00+00'"),
            ("m3", "d@isp.example", "complaint_at = '2026-11-20 12:00+00'"),
            ("m3", "e@isp.example", "complaint_at = '2026-11-20 13:00+00'"),
        ],
    )
    .await;
    assert_eq!(database.one::<i64>("SELECT complained FROM aws_report_daily").await, 4);
    let guesses = "SELECT user_email, is_guess FROM aws_report_suppressions ORDER BY user_email";
    let expected = [("a", false), ("b", true), ("c", true), ("d", false), ("e", false)];
    assert_eq!(
        database.rows(guesses).await,
        expected.map(|(one, is_guess)| {
            json!({"user_email": format!("{one}@isp.example"), "is_guess": is_guess})
        })
    );
}

#[tokio::test]
async fn mail_to_the_simulator_is_visible_and_in_no_figure() {
    let database = Database::migrated().await;
    let bounced =
        "bounce_at = '2026-11-20 10:02+00', bounce_type = 'Permanent', bounce_sub_type = 'General'";
    reports(
        &database,
        &[
            ("m1", "bounce@simulator.amazonses.com", bounced),
            ("m2", "bounce+label@simulator.amazonses.com", bounced),
            ("m3", "complaint@simulator.amazonses.com", "complaint_at = '2026-11-20 11:00+00'"),
            ("m4", "ada@simulator.amazonses.com.example", bounced),
            ("m5", "ok@example.com", "open_at = '2026-11-20 11:00+00'"),
        ],
    )
    .await;
    let figures =
        "SELECT sent, bounced_hard, complained, bounce_rate::float8 FROM aws_report_daily";
    assert_eq!(
        database.rows(figures).await,
        [json!({"sent": 2, "bounced_hard": 1, "complained": 0, "bounce_rate": 50})]
    );
    let suppressed = "SELECT user_email FROM aws_report_suppressions";
    assert_eq!(
        database.rows(suppressed).await,
        [json!({"user_email": "ada@simulator.amazonses.com.example"})]
    );
    let states = "SELECT count(*) FROM aws_report_states WHERE state = 'hard bounced'";
    assert_eq!(database.one::<i64>(states).await, 3);
}

#[tokio::test]
async fn a_hard_bounce_of_one_of_several_is_a_guess() {
    let database = Database::migrated().await;
    let bounced =
        "bounce_at = '2026-11-20 10:02+00', bounce_type = 'Permanent', bounce_sub_type = 'General'";
    reports(
        &database,
        &[
            ("m1", "a@x.example", bounced),
            ("m1", "b@x.example", bounced),
            ("m2", "c@x.example", bounced),
        ],
    )
    .await;
    database
        .execute(
            "SELECT aws_report_detail_ensure('2026-11-01');
            INSERT INTO aws_report_detail (id, report_id, event_type, message_id, \"timestamp\", \"to\", other_info)
            SELECT gen_random_uuid(), id, 'Bounce', message_id, bounce_at, user_email,
                CASE WHEN user_email < 'c' THEN '{\"ambiguous\": true}' ELSE '{}' END::jsonb FROM aws_reports",
        )
        .await;
    let guesses = "SELECT user_email, is_guess FROM aws_report_suppressions ORDER BY user_email";
    assert_eq!(
        database.rows(guesses).await,
        [("a", true), ("b", true), ("c", false)].map(|(one, is_guess)| {
            json!({"user_email": format!("{one}@x.example"), "is_guess": is_guess})
        })
    );
}

#[tokio::test]
async fn auto_replies_of_former_versions_are_told_by_their_shape() {
    let database = Database::migrated().await;
    let general =
        "bounce_at = '2026-11-20 10:02+00', bounce_type = 'Transient', bounce_sub_type = 'General'";
    let reply = r#"{"bounce": {}, "recipient": {"emailAddress": "a@x.example"}}"#;
    let of_server =
        r#"{"bounce": {"reportingMTA": "dns; x"}, "recipient": {"emailAddress": "a@x.example"}}"#;
    let diagnosed =
        r#"{"bounce": {}, "recipient": {"emailAddress": "a@x.example", "status": "5.0.0"}}"#;
    database.execute("SELECT aws_report_detail_ensure('2026-11-01')").await;
    for (name, details, bounce_type) in [
        ("reply", &[reply][..], "AutoReply"),
        ("server", &[of_server], "Transient"),
        ("diagnosed", &[diagnosed], "Transient"),
        ("both", &[reply, diagnosed], "Transient"),
        ("expired", &[], "AutoReply"),
    ] {
        let email = format!("{name}-{bounce_type}@x.example").to_lowercase();
        reports(&database, &[("m", &email, general)]).await;
        for (minute, info) in details.iter().enumerate() {
            database
                .execute(&format!(
                    "INSERT INTO aws_report_detail (id, report_id, event_type, message_id, \"timestamp\", \"to\", other_info)
                    SELECT gen_random_uuid(), id, 'Bounce', message_id, bounce_at + interval '{minute} min', user_email, '{info}'
                    FROM aws_reports WHERE user_email = '{email}'"
                ))
                .await;
        }
    }
    let mut position: Option<String> = None;
    let mut looked_at = 0;
    loop {
        let (next, done): (Option<String>, i64) =
            sqlx::query_as("SELECT * FROM aws_report_backfill_auto_replies($1, 2)")
                .bind(position)
                .fetch_one(&database.pool)
                .await
                .expect("a batch");
        looked_at += done;
        position = next;
        if position.is_none() {
            break;
        }
    }
    assert_eq!(looked_at, 5);
    let wrong = "SELECT count(*) FROM aws_reports
        WHERE strpos(user_email, lower(bounce_type) || '@') = 0";
    assert_eq!(database.one::<i64>(wrong).await, 0);
}
