//! `ses-reports migrate`: seen, tried, applied, undone, checked, on real databases.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::migrations::{Files, answer, expect, migrate, newest};
use crate::support::process::{eventually, run};
use crate::support::server::{PostgreSql, schema_of};

#[tokio::test]
async fn status_tells_what_is_applied_and_what_is_pending() {
    let database = Database::empty().await;
    let before = answer(&database, 0, &["status"]).await;
    assert_eq!(before["version"], 0);
    assert_eq!(before["migrations"][0]["state"], "pending");
    expect(&database, 3, &["status", "--check"]).await;

    answer(&database, 0, &["up", "--to", "2"]).await;
    let between = answer(&database, 3, &["status", "--check"]).await;
    let states: Vec<_> = between["migrations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|line| &line["state"])
        .collect();
    assert_eq!(states[..3], ["applied", "applied", "pending"]);
    let first = &between["migrations"][0];
    assert_eq!(first["name"], "V0001__content_ids");
    assert_eq!(first["applied_by"], "ses_reports");
    assert!(
        first["took_ms"].is_u64()
            && first["applied_on"].is_string()
            && first["checksum"].is_string()
    );

    let up = answer(&database, 0, &["up"]).await;
    assert_eq!(up["version"], newest());
    assert_eq!(up["applied"][0]["name"], "V0003__reports");
    let after = expect(&database, 0, &["status", "--check"]).await;
    assert!(
        after.stdout.contains(&format!("at version {0} of {0}: current", newest())),
        "{}",
        after.stdout
    );
    // However long the names are, the dates begin in one column, apart from the names.
    let applied = after.stdout.lines().filter(|line| line.starts_with("applied "));
    let columns: BTreeSet<_> = applied.map(|line| line.rfind("  ").map(|gap| gap + 2)).collect();
    let dates: BTreeSet<_> = after
        .stdout
        .lines()
        .filter_map(|line| line.find(" by ses_reports").map(|by| by.checked_sub(19)))
        .collect();
    assert!(columns.len() == 1 && columns == dates, "{}", after.stdout);
}

#[tokio::test]
async fn status_and_plan_need_only_the_right_to_read() {
    let database = Database::empty().await;
    expect(&database, 0, &["up", "--to", "3"]).await;
    let role = crate::support::unique("it_reader").replace('-', "_");
    database
        .execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'reader'; GRANT USAGE ON SCHEMA aws_reports TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA aws_reports TO {role}"))
        .await;
    let url = format!("postgres://{role}:reader@{}", database.host());
    let settings = [("DATABASE_URL", &*url)];
    let status = run(&settings, &["migrate", "status", "--check"]).await;
    let plan = run(&settings, &["migrate", "plan", "--json"]).await;
    let verify = run(&settings, &["migrate", "verify"]).await;
    let elsewhere = [("DATABASE_URL", &*url), ("SHADOW_DATABASE_URL", &*database.url())];
    let verified = run(&elsewhere, &["migrate", "verify"]).await;
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    assert_eq!(status.code, Some(3), "{}", status.stderr);
    let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
    assert_eq!(plan["tried"], false, "it may not create a database");
    assert_eq!(plan["migrations"][0]["name"], "V0004__report_details");
    assert_eq!(verify.code, Some(2), "{}", verify.stderr);
    assert!(verify.stderr.contains("SHADOW_DATABASE_URL"), "{}", verify.stderr);
    assert_eq!(verified.code, Some(0), "{}", verified.stderr);
}

#[tokio::test]
async fn a_divergent_history_is_refused_by_everything_that_changes() {
    let database = Database::migrated().await;
    database.execute("UPDATE refinery_schema_history SET checksum = '1' WHERE version = 2").await;
    for arguments in
        [&["up"][..], &["plan"], &["down", "--steps", "1"], &["verify"], &["status", "--check"]]
    {
        let ended = expect(&database, 4, arguments).await;
        assert!(ended.stderr.contains("V0002__report_types"), "{}", ended.stderr);
    }
    database.execute("DELETE FROM refinery_schema_history WHERE version = 2").await;
    let ended = expect(&database, 4, &["up"]).await;
    assert!(
        ended.stderr.contains("V0002__report_types") && ended.stderr.contains("gap"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn a_newer_database_is_told_from_a_divergent_one() {
    let database = Database::migrated().await;
    database
        .execute("INSERT INTO refinery_schema_history VALUES (9999, 'later', '2026-11-21T00:00:00Z', '1')")
        .await;
    let status = answer(&database, 8, &["status", "--check"]).await;
    let last = status["migrations"].as_array().and_then(|lines| lines.last()).expect("a line");
    assert_eq!((&last["name"], &last["state"]), (&json!("V9999__later"), &json!("newer")));
    for arguments in [&["verify"][..], &["down", "--steps", "1"]] {
        expect(&database, 8, arguments).await;
    }
    expect(&database, 0, &["up"]).await;
}

#[tokio::test]
pub async fn plan_tells_locks_rewrites_and_lint() {
    let database = Database::migrated().await;
    let files = Files::new();
    files.add(
        "wide",
        "-- Purpose: a test.\nCREATE INDEX aws_reports_subject ON aws_reports (subject);\nALTER TABLE aws_reports ADD COLUMN tenant text;\nALTER TABLE aws_reports ADD COLUMN seen timestamptz DEFAULT clock_timestamp();",
        "ALTER TABLE aws_reports DROP COLUMN tenant; ALTER TABLE aws_reports DROP COLUMN seen;",
    );
    files.add(
        "index",
        "-- Purpose: a test.\n-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS aws_reports_from ON aws_reports (source_email);",
        "-- migrate: no-transaction\nDROP INDEX CONCURRENTLY IF EXISTS aws_reports_from;",
    );
    let plan = answer(&database, 7, &["plan", "--migrations", files.path()]).await;
    assert_eq!(plan["tried"], true);
    let wide = &plan["migrations"][0];
    assert_eq!(wide["transaction"], true);
    let [index, add, default] = [0, 1, 2].map(|place| &wide["statements"][place]);
    assert_eq!(add["sql"], "ALTER TABLE aws_reports ADD COLUMN tenant text;");
    assert_eq!(add["locks"][0]["relation"], "aws_reports");
    assert_eq!(add["locks"][0]["mode"], "AccessExclusiveLock");
    assert_eq!(add["locks"][0]["blocks"], "readers and writers");
    assert!(add["locks"][0]["bytes"].is_u64());
    assert_eq!(add["rewrites"], json!([]));
    assert_eq!(
        default["rewrites"].as_array().map(|tables| tables.contains(&json!("aws_reports"))),
        Some(true),
        "{default}"
    );
    assert_eq!(index["locks"][0]["mode"], "ShareLock");
    let rules: Vec<_> =
        wide["lint"].as_array().expect("a list").iter().map(|finding| &finding["rule"]).collect();
    assert!(rules.contains(&&json!("require-concurrent-index-creation")), "{rules:?}");
    let concurrent = &plan["migrations"][1];
    assert_eq!(concurrent["transaction"], false);
    assert_eq!(concurrent["statements"][0]["locks"][0]["mode"], "ShareUpdateExclusiveLock");
    assert_eq!(concurrent["lint"], json!([]));

    let words = expect(&database, 7, &["plan", "--migrations", files.path()]).await;
    for said in [
        "AccessExclusiveLock on aws_reports (readers and writers wait",
        "REWRITES aws_reports",
        "outside of a transaction",
        "LINT",
    ] {
        assert!(words.stdout.contains(said), "{said}: {}", words.stdout);
    }
    expect(&database, 0, &["verify"]).await;
    let current = answer(&database, 0, &["plan"]).await;
    assert_eq!(current["migrations"], json!([]));
}

#[tokio::test]
async fn a_plan_of_an_empty_database_is_all_of_it() {
    let database = Database::empty().await;
    let plan = answer(&database, 0, &["plan"]).await;
    assert_eq!(plan["migrations"].as_array().map(Vec::len), usize::try_from(newest()).ok());
    assert!(
        database.one::<bool>("SELECT to_regnamespace('aws_reports') IS NULL").await,
        "nothing is changed"
    );
}

#[tokio::test]
async fn a_shadow_is_dropped_and_so_are_those_of_the_killed() {
    let server = PostgreSql::start().await;
    let database = Database::on(&server.url()).await;
    database.execute("CREATE DATABASE ses_reports_shadow_1_1").await;
    let plan = expect(&database, 0, &["plan"]).await;
    assert!(plan.stdout.contains("V0001__content_ids: one transaction"), "{}", plan.stdout);
    let left = "SELECT datname FROM pg_database WHERE datname LIKE 'ses_reports_shadow%'";
    assert_eq!(database.rows(left).await, Vec::<Value>::new());
}

#[tokio::test]
async fn every_version_goes_down_and_up_again_to_the_same_catalog() {
    let database = Database::empty().await;
    let mut before = None;
    for version in 1..=newest() {
        let (this, last) = (version.to_string(), (version - 1).to_string());
        expect(&database, 0, &["up", "--to", &this]).await;
        let there = schema_of(&database.url()).await;
        expect(&database, 0, &["down", "--to", &last, "--allow-data-loss"]).await;
        if let Some(before) = before {
            assert_eq!(schema_of(&database.url()).await, before, "down from {version}");
        }
        expect(&database, 0, &["up", "--to", &this]).await;
        assert_eq!(schema_of(&database.url()).await, there, "up to {version} again");
        before = Some(there);
    }
    expect(&database, 0, &["verify"]).await;
    let undone = answer(&database, 0, &["down", "--to", "0", "--allow-data-loss"]).await;
    assert_eq!(undone["version"], 0);
    assert_eq!(undone["undone"].as_array().map(Vec::len), usize::try_from(newest()).ok());
    let left: Vec<Value> = database
        .rows("SELECT relname FROM pg_class WHERE relnamespace = 'aws_reports'::regnamespace AND relname NOT LIKE 'refinery%' UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'aws_reports'::regnamespace")
        .await;
    assert_eq!(left, Vec::<Value>::new());
    expect(&database, 0, &["up"]).await;
    expect(&database, 0, &["verify"]).await;
}

#[tokio::test]
async fn down_refuses_to_drop_what_holds_rows() {
    let database = Database::migrated().await;
    database
        .execute("INSERT INTO aws_reports (id, message_id, user_email) VALUES (aws_report_id('m', 'jane@example.com'), 'm', 'jane@example.com')")
        .await;
    let refused = expect(&database, 1, &["down", "--to", "2"]).await;
    assert!(
        refused.stderr.contains("table aws_reports")
            && refused.stderr.contains("--allow-data-loss"),
        "{}",
        refused.stderr
    );
    assert!(
        !refused.stderr.contains("dead_letter"),
        "an empty table is no loss: {}",
        refused.stderr
    );
    let status = answer(&database, 0, &["status"]).await;
    assert_eq!(status["version"], newest(), "nothing was undone");

    let files = Files::new();
    files.add(
        "tenant",
        "ALTER TABLE aws_reports ADD COLUMN tenant text;",
        "ALTER TABLE aws_reports DROP COLUMN tenant;",
    );
    expect(&database, 0, &["up", "--migrations", files.path()]).await;
    database.execute("UPDATE aws_reports SET tenant = 'a'").await;
    let refused =
        expect(&database, 1, &["down", "--steps", "1", "--migrations", files.path()]).await;
    assert!(refused.stderr.contains("column aws_reports.tenant"), "{}", refused.stderr);
    database.execute("UPDATE aws_reports SET tenant = NULL").await;
    expect(&database, 0, &["down", "--steps", "1", "--migrations", files.path()]).await;
    expect(&database, 0, &["down", "--to", "2", "--allow-data-loss"]).await;
    expect(&database, 2, &["down", "--to", "77"]).await;
    expect(&database, 2, &["down"]).await;
}

#[tokio::test]
pub async fn verify_finds_each_kind_of_drift() {
    let database = Database::migrated().await;
    // Months of years, made as the worker makes them.
    database
        .execute("SELECT aws_report_detail_ensure(month::date) FROM generate_series(date '2021-01-01', date_trunc('month', now())::date + interval '3 months', interval '1 month') AS month")
        .await;
    expect(&database, 0, &["verify"]).await;
    let spoil = [
        (
            "DROP INDEX aws_reports_user_email",
            "CREATE INDEX aws_reports_user_email ON aws_reports (user_email)",
            "index",
            "aws_reports.aws_reports_user_email",
        ),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'aws_reports_message_id'::regclass",
            "REINDEX INDEX aws_reports_message_id",
            "index",
            "aws_reports.aws_reports_message_id",
        ),
        (
            "ALTER TABLE aws_report_dead_letter ALTER sqs_message_id TYPE varchar(101) COLLATE \"C\"",
            "ALTER TABLE aws_report_dead_letter ALTER sqs_message_id TYPE varchar(100) COLLATE \"C\"",
            "column",
            "aws_report_dead_letter.sqs_message_id",
        ),
        (
            "ALTER TABLE aws_report_detail ADD COLUMN extra int",
            "ALTER TABLE aws_report_detail DROP COLUMN extra",
            "column",
            "aws_report_detail.extra",
        ),
        (
            "ALTER TABLE aws_reports ALTER open_count DROP DEFAULT",
            "ALTER TABLE aws_reports ALTER open_count SET DEFAULT 0",
            "column",
            "aws_reports.open_count",
        ),
        (
            "ALTER TABLE aws_reports DISABLE TRIGGER aws_reports_touch",
            "ALTER TABLE aws_reports ENABLE TRIGGER aws_reports_touch",
            "trigger",
            "aws_reports.aws_reports_touch",
        ),
        (
            "ALTER TABLE aws_report_dead_letter ADD CONSTRAINT short CHECK (length(reason) < 99)",
            "ALTER TABLE aws_report_dead_letter DROP CONSTRAINT short",
            "constraint",
            "aws_report_dead_letter.short",
        ),
        ("CREATE TABLE mine (id int)", "DROP TABLE mine", "table", "mine"),
        ("CREATE VIEW glance AS SELECT 1 AS one", "DROP VIEW glance", "view", "glance"),
        ("COMMENT ON COLUMN aws_reports.subject IS 'other'", "", "comment", "aws_reports.subject"),
        (
            "DROP INDEX aws_report_detail_2023_05_feedback",
            "CREATE UNIQUE INDEX aws_report_detail_2023_05_feedback ON aws_report_detail_2023_05 (report_id, id) WHERE event_type IN ('Bounce', 'Complaint')",
            "index",
            "aws_report_detail_2023_05: aws_report_detail_2023_05_feedback",
        ),
    ];
    for (spoil, ..) in spoil {
        database.execute(spoil).await;
    }
    let drift = answer(&database, 5, &["verify"]).await;
    let differences = drift["differences"].as_array().expect("a list");
    for (spoil, mend, kind, name) in spoil {
        let found = differences.iter().find(|one| one["kind"] == kind && one["name"] == name);
        let found = found.unwrap_or_else(|| panic!("{spoil}: {drift:#}"));
        if mend.is_empty() {
            let comment: String =
                serde_json::from_value(found["expected"].clone()).expect("the comment");
            database
                .execute(&format!("COMMENT ON COLUMN aws_reports.subject IS '{comment}'"))
                .await;
        } else {
            database.execute(mend).await;
        }
    }
    expect(&database, 0, &["verify"]).await;
    database.execute("DROP TRIGGER aws_reports_touch ON aws_reports; CREATE OR REPLACE FUNCTION aws_report_shorten(value text, most int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT left(value, most)'").await;
    let drift = expect(&database, 5, &["verify"]).await;
    for said in [
        "trigger aws_reports.aws_reports_touch is missing",
        "function aws_report_shorten(value text, most integer) differs",
        "repair:",
    ] {
        assert!(drift.stdout.contains(said), "{said}: {}", drift.stdout);
    }
}

#[tokio::test]
async fn verify_misses_the_month_that_has_reports_and_no_partition() {
    let database = Database::migrated().await;
    database
        .execute("SELECT aws_report_detail_ensure('2025-02-01'), aws_report_detail_ensure('2025-04-01'), aws_report_detail_ensure(now()::date)")
        .await;
    expect(&database, 0, &["verify"]).await;
    database
        .execute("INSERT INTO aws_reports (id, message_id, user_email, send_at, delivery_at) SELECT gen_random_uuid(), 'm', 'jane@example.com', '2025-03-31 23:59:59.8+00', '2025-03-31 23:59:59.9+00'")
        .await;
    let drift = answer(&database, 5, &["verify"]).await;
    assert_eq!(drift["differences"][0]["name"], "aws_report_detail_2025_03");
    assert_eq!(drift["differences"].as_array().map(Vec::len), Some(1));
    database.execute("SELECT aws_report_detail_ensure('2025-03-01')").await;
    expect(&database, 0, &["verify"]).await;
    database.execute("DO $$ BEGIN EXECUTE 'DROP TABLE ' || aws_report_detail_partition(date_trunc('month', now() AT TIME ZONE 'UTC')::date); END $$").await;
    expect(&database, 5, &["verify"]).await;
}

#[tokio::test]
pub async fn verify_knows_what_months_may_look_like() {
    let database = Database::migrated().await;
    database
        .execute("SELECT aws_report_detail_ensure(month::date) FROM generate_series(date '2026-01-01', now()::date, interval '1 month') AS month")
        .await;
    // A person detached a month, to keep it, and tunes how a table is vacuumed.
    database
        .execute("ALTER TABLE aws_report_detail DETACH PARTITION aws_report_detail_2026_02; ALTER TABLE aws_reports SET (autovacuum_vacuum_scale_factor = 0.01)")
        .await;
    expect(&database, 0, &["verify"]).await;
    // Infinity, by hand.
    database
        .execute("INSERT INTO aws_reports (id, message_id, user_email, send_at) SELECT gen_random_uuid(), 'm', 'jane@example.com', at FROM (VALUES (timestamptz '-infinity'), ('infinity'), ('4000-01-01 BC')) AS odd (at)")
        .await;
    expect(&database, 0, &["verify"]).await;
    // A month that is not the one it is named after, and rows for whatever comes.
    database
        .execute("ALTER TABLE aws_report_detail DETACH PARTITION aws_report_detail_2026_03; ALTER TABLE aws_report_detail ATTACH PARTITION aws_report_detail_2026_03 FOR VALUES FROM ('2026-03-05 00:00+00') TO ('2026-03-06 00:00+00')")
        .await;
    let moved = expect(&database, 5, &["verify"]).await;
    assert!(
        moved.stdout.contains("table aws_report_detail_2026_03: aws_report_detail_2026_03 differs"),
        "{}",
        moved.stdout
    );
    database
        .execute("DROP TABLE aws_report_detail_2026_03; SELECT aws_report_detail_ensure('2026-03-01'); CREATE TABLE extra PARTITION OF aws_report_detail DEFAULT")
        .await;
    let default = expect(&database, 5, &["verify"]).await;
    assert!(default.stdout.contains("table extra: extra differs"), "{}", default.stdout);
    database.execute("DROP TABLE extra").await;
    // A detach that was interrupted.
    let mut reader = database.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("SELECT count(*) FROM aws_report_detail")
        .execute(&mut *reader)
        .await
        .expect("it reads");
    let interrupted = database.pool.acquire().await.expect("a connection");
    let mut interrupted = interrupted.detach();
    sqlx::raw_sql("SET lock_timeout = '200ms'").execute(&mut interrupted).await.expect("it is set");
    sqlx::raw_sql(
        "ALTER TABLE aws_report_detail DETACH PARTITION aws_report_detail_2026_01 CONCURRENTLY",
    )
    .execute(&mut interrupted)
    .await
    .expect_err("the reader is in the way");
    reader.rollback().await.expect("it ends");
    let pending = expect(&database, 5, &["verify"]).await;
    assert!(
        pending.stdout.contains("detach was begun and is not finished")
            && pending.stdout.contains("1 places"),
        "{}",
        pending.stdout
    );
}

#[tokio::test]
async fn whatever_a_down_script_does_to_rows_is_seen() {
    let database = Database::migrated().await;
    database
        .execute("SELECT aws_report_detail_ensure('2026-10-01'); INSERT INTO aws_report_detail (report_id, id, event_type, message_id, \"timestamp\", \"to\") VALUES (gen_random_uuid(), gen_random_uuid(), 'Send', 'm', '2026-10-05', 'x@example.com')")
        .await;
    for (down, says) in [
        ("DELETE FROM mine;", Some("rows of mine")),
        ("TRUNCATE mine;", Some("rows of mine")),
        ("UPDATE mine SET note = NULL;", Some("rows of mine")),
        (
            "ALTER TABLE mine ALTER note TYPE varchar(1) USING left(note, 1);",
            Some("column mine.note"),
        ),
        (
            "ALTER TABLE mine DROP COLUMN note; ALTER TABLE mine ADD note text;",
            Some("column mine.note"),
        ),
        ("DROP TABLE mine; CREATE TABLE mine (note text);", Some("table mine")),
        ("DROP TABLE aws_report_detail_2026_10;", Some("table aws_report_detail_2026_10")),
        ("DROP TABLE mine; COMMIT;", Some("transactions are the migrator's")),
        ("ALTER TABLE mine RENAME COLUMN note TO remark;", None),
        (
            "-- migrate: no-transaction\nREINDEX INDEX CONCURRENTLY aws_reports_pkey;\nDROP INDEX CONCURRENTLY IF EXISTS mine_note;",
            None,
        ),
    ] {
        let files = Files::new();
        files.add("mine", "CREATE TABLE mine (note text); INSERT INTO mine VALUES ('kept');", down);
        expect(&database, 0, &["up", "--migrations", files.path()]).await;
        let arguments = ["down", "--steps", "1", "--migrations", files.path()];
        match says {
            Some(says) => {
                let refused = expect(&database, 1, &arguments).await;
                assert!(refused.stderr.contains(says), "{down}: {}", refused.stderr);
                let kept = "SELECT count(*) = 2 FROM (SELECT FROM mine WHERE note = 'kept' UNION ALL SELECT FROM aws_report_detail) AS rows";
                assert!(database.one::<bool>(kept).await, "{down}");
            }
            None => {
                expect(&database, 0, &arguments).await;
            }
        }
        database
            .execute(&format!(
                "DROP TABLE mine; DELETE FROM refinery_schema_history WHERE version > {}",
                newest()
            ))
            .await;
    }
}

#[tokio::test]
async fn a_file_that_would_end_the_transaction_is_refused_whole() {
    let database = Database::migrated().await;
    let files = Files::new();
    files.add("half", "CREATE TABLE half (x int); COMMIT; SELECT 1 / 0;", "DROP TABLE half;");
    let refused = expect(&database, 1, &["up", "--migrations", files.path()]).await;
    assert!(refused.stderr.contains("transactions are the migrator's"), "{}", refused.stderr);
    assert!(database.one::<bool>("SELECT to_regclass('half') IS NULL").await);
}

#[tokio::test]
async fn plan_knows_tables_that_change_their_name_and_statements_without_transaction() {
    let database = Database::migrated().await;
    let files = Files::new();
    files.add(
        "names",
        "DROP VIEW aws_report_timeline;\nALTER TABLE aws_reports RENAME TO was;\nDROP TABLE aws_report_dead_letter;",
        "SELECT 1;",
    );
    files.add("alone", "-- migrate: no-transaction\nVACUUM aws_report_type;\nREINDEX INDEX CONCURRENTLY aws_report_type_pkey;", "SELECT 1;");
    let plan = migrate(&database, &["plan", "--json", "--migrations", files.path()]).await;
    let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
    for (place, relation) in
        ["aws_report_timeline", "aws_reports", "aws_report_dead_letter"].iter().enumerate()
    {
        let locks = plan["migrations"][0]["statements"][place]["locks"].as_array().expect("a list");
        let taken = locks.iter().find(|lock| lock["relation"] == *relation);
        assert_eq!(
            taken.map(|lock| &lock["mode"]),
            Some(&json!("AccessExclusiveLock")),
            "{plan:#}"
        );
    }
    assert_eq!(plan["migrations"][1]["statements"].as_array().map(Vec::len), Some(2));
    let unknown = expect(&database, 2, &["plan", "--to", "999"]).await;
    assert!(unknown.stderr.contains("no version 999"), "{}", unknown.stderr);
}

#[tokio::test]
async fn an_index_is_known_by_its_quoted_name() {
    let database = Database::migrated().await;
    let files = Files::new();
    files.add(
        "quoted",
        "-- migrate: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS \"Foo Bar\" ON aws_reports (subject);",
        "-- migrate: no-transaction\nDROP INDEX CONCURRENTLY IF EXISTS \"Foo Bar\";",
    );
    database
        .execute("INSERT INTO aws_reports (id, message_id, user_email, subject) SELECT gen_random_uuid(), 'm', 'jane@example.com', 'same' FROM generate_series(1, 2)")
        .await;
    expect(&database, 1, &["up", "--migrations", files.path()]).await;
    database.execute("UPDATE aws_reports SET subject = id::text").await;
    let mended = expect(&database, 0, &["up", "--migrations", files.path()]).await;
    assert!(mended.stderr.contains("left invalid"), "{}", mended.stderr);
    expect(&database, 0, &["down", "--steps", "1", "--migrations", files.path()]).await;
}

#[tokio::test]
async fn repair_accepts_comments_and_line_ends_and_nothing_else() {
    let database = Database::migrated().await;
    let files = Files::new();
    let name = "V0002__report_types.sql";
    let original = files.read(name);
    files.write(name, &format!("-- Another comment.\n{}", original.replace('\n', "\r\n")));
    let arguments =
        |command: &'static str| [command, "--migrations", files.path()].map(str::to_owned);
    let run = async |command: &'static str, code| {
        let arguments = arguments(command);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        expect(&database, code, &arguments).await
    };
    run("up", 4).await;
    let repaired = run("repair", 0).await;
    assert!(
        repaired.stdout.contains("accepted V0002__report_types: its statements are the same"),
        "{}",
        repaired.stdout
    );
    run("up", 0).await;
    let again = run("repair", 0).await;
    assert!(again.stdout.contains("nothing to repair"), "{}", again.stdout);

    files.write(name, &original.replace("varchar(200)", "varchar(201)"));
    let refused = run("repair", 4).await;
    assert!(
        refused.stdout.contains("refused") && refused.stdout.contains("201"),
        "{}",
        refused.stdout
    );
    run("up", 4).await;
}

#[tokio::test]
async fn new_writes_the_next_pair_and_overwrites_nothing() {
    let files = Files::new();
    let ended =
        run(&[], &["migrate", "new", "add tenant column", "--migrations", files.path(), "--json"])
            .await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let paths: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let stem = format!("V{:04}__add_tenant_column", newest() + 1);
    assert!(
        paths["up"].as_str().is_some_and(|path| path.ends_with(&format!("{stem}.sql"))),
        "{paths}"
    );
    let up = files.read(&format!("{stem}.sql"));
    for rule in ["Purpose", "Locks", "Expand first", "no-transaction"] {
        assert!(up.contains(rule), "{rule}: {up}");
    }
    assert!(files.read(&format!("down/{stem}.sql")).contains(&stem));
    let bad = run(&[], &["migrate", "new", "ä/..", "--migrations", files.path()]).await;
    assert_eq!(bad.code, Some(2), "{}", bad.stderr);
    let missing = run(&[], &["migrate", "new", "x", "--migrations", "/nowhere"]).await;
    assert_eq!(missing.code, Some(2), "{}", missing.stderr);
}

#[tokio::test]
pub async fn an_interrupted_concurrent_build_is_repaired_by_the_next_run() {
    let database = Database::migrated().await;
    let files = Files::new();
    files.add(
        "unique_subject",
        "-- migrate: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS aws_reports_one ON aws_reports (subject);",
        "-- migrate: no-transaction\nDROP INDEX CONCURRENTLY IF EXISTS aws_reports_one;",
    );
    database
        .execute("INSERT INTO aws_reports (id, message_id, user_email, subject) SELECT gen_random_uuid(), 'm', 'jane@example.com', 'same' FROM generate_series(1, 2)")
        .await;
    let failed = expect(&database, 1, &["up", "--migrations", files.path()]).await;
    assert!(failed.stderr.contains("aws_reports_one"), "{}", failed.stderr);
    assert!(
        !database
            .one::<bool>(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = 'aws_reports_one'::regclass"
            )
            .await
    );
    database
        .execute("DELETE FROM aws_reports WHERE ctid = (SELECT min(ctid) FROM aws_reports)")
        .await;
    let mended = expect(&database, 0, &["up", "--migrations", files.path()]).await;
    assert!(mended.stderr.contains("left invalid by an interrupted build"), "{}", mended.stderr);
    assert!(
        database
            .one::<bool>(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = 'aws_reports_one'::regclass"
            )
            .await
    );
    expect(&database, 0, &["down", "--steps", "1", "--migrations", files.path()]).await;
    assert!(database.one::<bool>("SELECT to_regclass('aws_reports_one') IS NULL").await);
}

#[tokio::test]
async fn a_lock_that_is_held_gives_code_6_and_changes_nothing() {
    let database = Database::migrated().await;
    let files = Files::new();
    files.add(
        "tenant",
        "ALTER TABLE aws_reports ADD COLUMN tenant text;",
        "ALTER TABLE aws_reports DROP COLUMN tenant;",
    );
    let mut other = database.pool.acquire().await.expect("a connection");
    let key = "SELECT pg_advisory_lock(hashtext('ses-reports migrate'), hashtext('aws_reports'))";
    sqlx::raw_sql(key).execute(&mut *other).await.expect("the lock");
    let locked = expect(&database, 6, &["up", "--wait", "1", "--migrations", files.path()]).await;
    assert!(locked.stderr.contains("another migration is running (backend"), "{}", locked.stderr);
    other.close().await.expect("the lock is given back");

    let mut reader = database.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("SELECT count(*) FROM aws_reports")
        .execute(&mut *reader)
        .await
        .expect("it reads");
    let up = ["up", "--migrations", files.path()];
    let (blocked, ()) = tokio::join!(
        expect(&database, 6, &up),
        // Whoever comes while it waits is let through when it gives up, again and again.
        async {
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'ses-reports migrate' AND datname = current_database()";
            eventually("the migration waits", || async { database.one::<i64>(waits).await == 1 })
                .await;
            assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 0);
        }
    );
    assert!(blocked.stderr.contains("nothing was changed"), "{}", blocked.stderr);
    assert!(blocked.stderr.contains("5 s so far"), "{}", blocked.stderr);
    reader.rollback().await.expect("it ends");
    expect(&database, 0, &["up", "--migrations", files.path()]).await;
}

#[tokio::test]
async fn the_help_names_every_exit_code() {
    let help = run(&[], &["migrate", "--help"]).await.stdout;
    for code in 0..=8 {
        assert!(help.contains(&format!("{code} ")), "{code}: {help}");
    }
}
