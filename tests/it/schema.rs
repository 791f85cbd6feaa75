//! Migrations, partitions, and the SQL halves of what Rust computes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use ses_reports::decode::{address, identity, text};
use ses_reports::postgres::SchemaName;
use ses_reports::store::partitions::{self, Ensured};
use sqlx::Connection as _;
use time::macros::date;

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{self, Worker, eventually, run};
use crate::support::queue::Queue;

fn newest() -> i64 {
    i64::from(ses_reports::schema::newest())
}

async fn applied(database: &Database) -> i64 {
    database.one("SELECT count(*) FROM refinery_schema_history").await
}

#[tokio::test]
pub async fn the_deploy_step_says_what_it_did_and_does_it_once() {
    let database = Database::empty().await;
    let first = process::migrate(&database.url()).await;
    assert!(first.stdout.contains("applied V0001__content_ids"), "{}", first.stdout);
    let second = process::migrate(&database.url()).await;
    assert!(second.stdout.contains("nothing to do"), "{}", second.stdout);
    assert_eq!(applied(&database).await, newest());
}

#[tokio::test]
async fn migrators_at_once_apply_everything_once() {
    for _ in 0..5 {
        let database = Database::empty().await;
        let url = database.url();
        tokio::join!(
            process::migrate(&url),
            process::migrate(&url),
            process::migrate(&url),
            process::migrate(&url)
        );
        assert_eq!(applied(&database).await, newest());
    }
}

#[tokio::test]
async fn a_migrator_waits_for_another_without_blocking_it() {
    let database = Database::empty().await;
    let mut other = database.pool.acquire().await.expect("a connection");
    let key = "SELECT pg_advisory_lock(hashtext('ses-reports migrate'), hashtext('aws_reports'))";
    sqlx::raw_sql(key).execute(&mut *other).await.expect("the lock");
    let url = database.url();
    let ask = "SELECT state, query_start::text AS at FROM pg_stat_activity WHERE application_name = 'ses-reports migrate' AND datname = current_database() AND query LIKE '%advisory%'";
    let (ended, ()) = tokio::join!(process::migrate(&url), async {
        // It asks again and again: each time that it is looked at between two questions, it waits for nothing.
        let asked = RefCell::new(BTreeSet::new());
        eventually("it has asked three times, each in vain", || async {
            let rows = database.rows(ask).await;
            let mut asked = asked.borrow_mut();
            asked.extend(
                rows.iter().filter(|row| row["state"] == "idle").map(|row| row["at"].to_string()),
            );
            asked.len() >= 3
        })
        .await;
        let waiting: i64 = database.one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").await;
        assert_eq!(waiting, 0);
        other.close().await.expect("the lock is given back");
    });
    assert!(ended.stdout.contains("is now at version"), "{}", ended.stdout);
}

#[tokio::test]
async fn a_worker_that_waits_for_a_migrator_heeds_a_signal() {
    let database = Database::empty().await;
    let mut other = database.pool.acquire().await.expect("a connection");
    let key = "SELECT pg_advisory_lock(hashtext('ses-reports migrate'), hashtext('aws_reports'))";
    sqlx::raw_sql(key).execute(&mut *other).await.expect("the lock");
    let mut worker =
        Worker::start_with(&[("DATABASE_URL", &database.url())], "http://127.0.0.1:9/1/q", &[]);
    let asks = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ses-reports migrate' AND datname = current_database()";
    eventually("the worker asks for the lock", || async { database.one::<i64>(asks).await == 1 })
        .await;
    let (status, took) = worker.terminate().await;
    assert!(status.success(), "{}", worker.log());
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    other.close().await.expect("the lock is given back");
    let tables: i64 =
        database.one("SELECT count(*) FROM pg_tables WHERE schemaname = 'aws_reports'").await;
    assert_eq!(tables, 0, "nothing was migrated after the signal");
}

#[tokio::test]
async fn a_changed_migration_is_named_and_nothing_is_done() {
    let database = Database::migrated().await;
    database.execute("UPDATE refinery_schema_history SET checksum = '1' WHERE version = 2").await;
    for arguments in [&["--migrate-only"][..], &[], &["--no-migrate"]] {
        let ended = run(
            &[("DATABASE_URL", &*database.url()), ("SQS_QUEUE_URL", "http://127.0.0.1:9/1/q")],
            arguments,
        )
        .await;
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(
            ended.stderr.lines().any(|line| line.contains("V0002__report_types")),
            "{}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn a_failed_migration_changes_nothing_and_says_why() {
    let database = Database::empty().await;
    database
        .execute("CREATE SCHEMA aws_reports; CREATE TABLE aws_reports.aws_reports (id int)")
        .await;
    let ended = run(&[("DATABASE_URL", &*database.url())], &["--migrate-only"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("V0003__reports") && ended.stderr.contains("already exists"),
        "{}",
        ended.stderr
    );
    assert_eq!(applied(&database).await, 2, "those before it stay");
}

#[tokio::test]
async fn a_newer_database_is_served_with_a_warning() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    database
        .execute("INSERT INTO refinery_schema_history VALUES (9999, 'later', '2026-11-21T00:00:00Z', '1')")
        .await;
    queue.send(&[event::send(&message_id(1), &["jane@example.com"]).to_string()]).await;
    let log = Worker::until_idle(&database, &queue.url, &[]).await;
    assert!(log.contains("version 9999, newer than this program knows"), "{log}");
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 1);
    let ended = process::migrate(&database.url()).await;
    assert!(ended.stdout.contains("newer"), "{}", ended.stdout);
}

#[tokio::test]
async fn an_older_database_is_refused_without_migrating() {
    let database = Database::empty().await;
    let settings =
        [("DATABASE_URL", &*database.url()), ("SQS_QUEUE_URL", "http://127.0.0.1:9/1/q")];
    let ended = run(&settings, &["--no-migrate"]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("--migrate-only"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_worker_that_may_change_no_schema_works_on_a_current_one() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    // Its month has no partition yet.
    let mut send = event::send(&message_id(1), &["jane@example.com"]);
    send["mail"]["timestamp"] = serde_json::json!("2015-05-05T05:05:05Z");
    queue.send(&[send.to_string()]).await;
    Worker::until_idle(&database, &queue.url, &[]).await;
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_detail_2015_05").await, 1);
}

#[tokio::test]
pub async fn months_are_created_ahead_and_on_demand_without_stopping_anyone() {
    let database = Database::migrated().await;
    let schema = SchemaName::new("aws_reports").expect("a good name");
    let mut creator = database.pool.acquire().await.expect("a connection");
    assert_eq!(
        partitions::ensure(&mut creator, &schema, date!(2026 - 11 - 01))
            .await
            .expect("it is created"),
        Ensured::Created
    );
    // A reader and a writer in open transactions hold what CREATE … PARTITION OF would wait for.
    let mut reader = database.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("SELECT count(*) FROM aws_report_detail")
        .execute(&mut *reader)
        .await
        .expect("it reads");
    let mut writer = database.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("INSERT INTO aws_report_detail (id, report_id, event_type, message_id, \"timestamp\", \"to\") SELECT gen_random_uuid(), gen_random_uuid(), 'Send', 'm', '2026-11-05', 'x@example.com'")
        .execute(&mut *writer)
        .await
        .expect("it writes");
    sqlx::raw_sql("SET lock_timeout = '1s'").execute(&mut *creator).await.expect("it is set");
    for month in [date!(2031 - 12 - 01), date!(2012 - 02 - 01)] {
        for expected in [Ensured::Created, Ensured::Present] {
            let ensured = partitions::ensure(&mut creator, &schema, month).await;
            assert_eq!(ensured.expect("nobody is in the way"), expected);
        }
    }
    writer.commit().await.expect("it commits");
    reader.commit().await.expect("it commits");
    let bounds: String = database
        .one("SET TimeZone = 'UTC'; SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'aws_report_detail_2012_02'".split("; ").nth(1).expect("a query"))
        .await;
    assert!(
        bounds.contains("2012-02-01 00:00:00") && bounds.contains("2012-03-01 00:00:00"),
        "{bounds}"
    );
}

#[tokio::test]
pub async fn a_late_event_of_a_detached_month_gets_a_partition_of_its_own() {
    let database = Database::migrated().await;
    let schema = SchemaName::new("aws_reports").expect("a good name");
    let mut connection = database.pool.acquire().await.expect("a connection");
    let month = date!(2025 - 03 - 01);
    let mut ensure = async || {
        partitions::ensure(&mut connection, &schema, month).await.expect("nobody is in the way")
    };
    assert_eq!(ensure().await, Ensured::Created);
    database
        .execute("ALTER TABLE aws_report_detail DETACH PARTITION aws_report_detail_2025_03")
        .await;
    assert_eq!(ensure().await, Ensured::Created, "another is made");
    assert_eq!(ensure().await, Ensured::Present, "that will do");
    let attached = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'aws_report_detail'::regclass";
    assert_eq!(database.one::<String>(attached).await, "aws_report_detail_2025_03_2");
}

#[tokio::test]
async fn two_creators_of_one_month_do_not_race() {
    let database = Database::migrated().await;
    let schema = SchemaName::new("aws_reports").expect("a good name");
    for year in 2012..2020 {
        let month = time::Date::from_calendar_date(year, time::Month::May, 1).expect("a date");
        let create = || async {
            let mut connection = database.pool.acquire().await.expect("a connection");
            partitions::ensure(&mut connection, &schema, month)
                .await
                .expect("it is there afterwards")
        };
        let created = tokio::join!(create(), create(), create());
        let created = [created.0, created.1, created.2];
        assert_eq!(created.iter().filter(|made| **made == Ensured::Created).count(), 1);
    }
}

#[tokio::test]
async fn the_worker_creates_four_months() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    Worker::until_idle(&database, &queue.url, &[]).await;
    let months: i64 = database
        .one("SELECT count(*) FROM pg_inherits WHERE inhparent = 'aws_report_detail'::regclass")
        .await;
    assert_eq!(months, 4);
    let now: i64 = database
        .one("SELECT count(*) FROM pg_class WHERE relname = aws_report_detail_partition(date_trunc('month', now() AT TIME ZONE 'UTC')::date)")
        .await;
    assert_eq!(now, 1);
}

#[tokio::test]
async fn every_table_and_column_has_its_comment() {
    let database = Database::migrated().await;
    let silent = database
        .rows(
            "SELECT c.relname, a.attname FROM pg_class c
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0 AND NOT a.attisdropped
            WHERE c.relnamespace = 'aws_reports'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                AND c.relname <> 'refinery_schema_history' AND col_description(c.oid, a.attnum) IS NULL
            UNION ALL
            SELECT relname, NULL FROM pg_class
            WHERE relnamespace = 'aws_reports'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
                AND relname <> 'refinery_schema_history' AND obj_description(oid, 'pg_class') IS NULL",
        )
        .await;
    assert!(silent.is_empty(), "{silent:?}");
}

#[tokio::test]
async fn the_given_columns_and_limits_are_there() {
    let database = Database::migrated().await;
    for (table, columns) in [
        ("aws_report_type", "id report_name"),
        (
            "aws_reports",
            "id report_type user_id user_email message_id source_email subject bounce_at complaint_at delivery_at send_at reject_at open_at click_at rendering_failure_at delivery_delay_at subscription_at created_at updated_at bounce_type bounce_sub_type open_count click_count",
        ),
        (
            "aws_report_detail",
            "id notification_message_id report_id event_type message_id timestamp from to subject other_info",
        ),
        ("aws_report_dead_letter", "id received_at body reason sqs_message_id"),
    ] {
        let sql = format!(
            "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0"
        );
        let found: String = database.one(&sql).await;
        assert!(found.starts_with(columns), "{table}: {found}");
    }
    for (table, column, limit) in [
        ("aws_reports", "user_email", text::ADDRESS),
        ("aws_reports", "source_email", text::ADDRESS),
        ("aws_reports", "message_id", text::MESSAGE_ID),
        ("aws_reports", "subject", text::SUBJECT),
        ("aws_report_detail", "to", text::ADDRESS),
        ("aws_report_detail", "subject", text::SUBJECT),
    ] {
        let sql = format!(
            "SELECT atttypmod - 4 FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname = '{column}'"
        );
        assert_eq!(
            database.one::<i32>(&sql).await,
            i32::try_from(limit).expect("small"),
            "{table}.{column}"
        );
    }
}

/// An address as people, programs and attackers write it. Letters that Unicode added lately are not
/// among them: each side lower-cases those from the version on that knows them.
fn address_like() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,40}",
        "[ \"\\\\<>@.a-zA-Z,\t\r\n]{0,30}",
        "[ -~À-ɏͰ-ͷϿЀ-ӿԱ-Ֆա-և一-龥😀-🙏]{0,20}",
        (
            "[ -~À-ɏЀ-ӿ😀-🙏]{0,10}",
            "[\"<> \\\\]{0,4}",
            "[A-ZÀ-ÖΑ-Ωİßſ]{1,8}@[A-Z.]{1,8}",
            "[\">) ]{0,3}"
        )
            .prop_map(|(a, b, c, d)| format!("{a}{b}{c}{d}")),
        // What delivery reports write around an address.
        proptest::collection::vec(written(), 0..8).prop_map(|parts| parts.concat()),
    ]
}

/// A part of an address, or what surrounds one.
fn written() -> impl Strategy<Value = String> {
    let surroundings = proptest::sample::select(vec![
        "rfc822;",
        "smtp:",
        "mailto:",
        "Team: ",
        "(expanded from: <team@example.org>)",
        "(",
        ")",
        "<",
        ">",
        "<<",
        ">>",
        "\"",
        "\\\"",
        "\\",
        "'",
        ".",
        ",",
        ";",
        ":",
        " ",
        "[",
        "]",
        "\u{a0}",
        "\u{200b}",
        "\u{feff}",
        "\u{ad}",
        "\u{3000}",
        "\u{1}",
        "\u{201c}",
        "\u{bb}",
        "\u{3002}",
        "@",
        "\"a b\"",
        "\"x@y\"",
    ]);
    prop_oneof![
        surroundings.prop_map(str::to_owned),
        "[a-zA-Zß]{1,6}@([a-zA-Z0-9äöüßÄÖÜéñçα-ωА-я一-龥ぁ-んｱ-ﾝａ-ｚﬁ-]{1,9}\\.){1,2}[a-z]{2}",
        "[a-z]{1,5}@[a-z]{1,5}\\.example",
    ]
}

#[tokio::test]
pub async fn rust_and_sql_compute_the_same() {
    let database = Database::migrated().await;
    let mut runner = TestRunner::new(Config::default());
    let message = prop_oneof![Just(message_id(7)), "[0-9a-fA-F]{16}(-[a-z]{0,4})?", "\\PC{0,80}"];
    let mut cases = Vec::new();
    for _ in 0..4_000 {
        let tree = (address_like(), message.clone(), "\\PC{0,150}")
            .new_tree(&mut runner)
            .expect("a value");
        let (address, message, long) = tree.current();
        // Neither side sees a NUL: decode replaces it, and PostgreSQL's text cannot hold it.
        cases.push((address.replace('\0', ""), message.replace('\0', ""), long.replace('\0', "")));
    }
    let (addresses, (messages, longs)): (Vec<_>, (Vec<_>, Vec<_>)) = cases
        .iter()
        .map(|(address, message, long)| (address.as_str(), (message.as_str(), long.as_str())))
        .unzip();
    let rows: Vec<(String, uuid::Uuid, String, i64)> = sqlx::query_as(
        "SELECT aws_report_address(a), aws_report_id(m, a), aws_report_shorten(l, 100), aws_report_type_id(l)
        FROM UNNEST($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS t (a, m, l, n) ORDER BY n",
    )
    .bind(addresses)
    .bind(messages)
    .bind(longs)
    .fetch_all(&database.pool)
    .await
    .expect("the functions run");
    for ((address, message, long), (sql_address, sql_id, sql_short, sql_type)) in
        cases.iter().zip(rows)
    {
        let normalised = address::normalise(address).unwrap_or_default();
        assert_eq!(normalised, sql_address, "{address:?}");
        assert_eq!(identity::report_id(message, &normalised), sql_id, "{message:?} {address:?}");
        assert_eq!(text::shorten(long, text::ADDRESS), sql_short, "{long:?}");
        assert_eq!(identity::report_type_id(long), sql_type, "{long:?}");
    }
}

#[tokio::test]
async fn applications_call_the_functions_from_any_search_path() {
    let database = Database::migrated().await;
    let mut connection =
        sqlx::PgConnection::connect_with(&database.options()).await.expect("a connection");
    let id: uuid::Uuid =
        sqlx::query_scalar("SELECT aws_reports.aws_report_id('m', 'Jane <JANE@example.com>')")
            .fetch_one(&mut connection)
            .await
            .expect("it finds its neighbours");
    assert_eq!(id, identity::report_id("m", "jane@example.com"));
}
