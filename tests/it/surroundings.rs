//! Migrations where an operator has set up more than ses-reports asks for: roles with settings of their
//! own, a proxy in front of the database, a database that was restored from a dump.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::migrations::{Files, answer, expect};
use crate::support::process::{Ended, Worker, migrate, run};
use crate::support::queue::Queue;
use crate::support::rds_proxy::RdsProxy;
use crate::support::server::{programs, schema_of};

async fn as_owner(database: &Database, arguments: &[&str]) -> Ended {
    let settings = [("DATABASE_URL", &*database.url_of("owner"))];
    run(&settings, &[&["migrate"], arguments].concat()).await
}

#[tokio::test]
async fn what_a_role_has_set_changes_no_migration() {
    let database = Database::migrated().await;
    let owner = database.role("owner");
    let before = schema_of(&database.url()).await;
    database.execute(&format!("ALTER ROLE {owner} CREATEDB")).await;
    for setting in [
        // With this one a partitioned table cannot be made.
        "default_tablespace = pg_default",
        "temp_tablespaces = pg_default",
        "quote_all_identifiers = on",
        "idle_session_timeout = 1000",
        "idle_in_transaction_session_timeout = 500",
        "statement_timeout = 500",
        "lock_timeout = 1",
        "default_transaction_isolation = serializable",
        "default_transaction_read_only = on",
        "standard_conforming_strings = off",
        "transform_null_equals = on",
        "DateStyle = German",
        "IntervalStyle = iso_8601",
        "TimeZone = 'Asia/Kathmandu'",
        "bytea_output = escape",
        "extra_float_digits = -3",
        "client_encoding = LATIN1",
        "search_path = public",
        "row_security = off",
        "check_function_bodies = off",
        "synchronous_commit = off",
        "xmloption = document",
        "client_min_messages = debug1",
    ] {
        database.execute(&format!("ALTER ROLE {owner} SET {setting}")).await;
    }
    for arguments in [
        &["verify"][..],
        &["down", "--to", "0", "--allow-data-loss"],
        &["plan"],
        &["up"],
        &["verify"],
        &["verify", "--data"],
        &["status", "--check"],
    ] {
        let ended = as_owner(&database, arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    }
    assert_eq!(schema_of(&database.url()).await, before);
}

#[tokio::test]
async fn a_month_is_made_where_its_table_is_whatever_tablespace_the_worker_prefers() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let worker = database.role("worker");
    let mut session = database.pool.acquire().await.expect("a session");
    for sql in [
        "SET allow_in_place_tablespaces = on".to_owned(),
        format!("CREATE TABLESPACE {worker} LOCATION ''"),
        format!("ALTER ROLE {worker} SET default_tablespace = {worker}"),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *session).await.expect("it is set");
    }
    let mut old = event::send(&message_id(1), &["jane@example.com"]);
    old["mail"]["timestamp"] = serde_json::json!("2020-02-10T10:00:00Z");
    queue.send(&[old.to_string()]).await;
    Worker::until_idle(&database, &queue.url, &[]).await;
    let elsewhere =
        "SELECT reltablespace::bigint FROM pg_class WHERE relname = 'aws_report_detail_2020_02'";
    assert_eq!(database.one::<i64>(elsewhere).await, 0);
    database.execute(&format!("DROP TABLESPACE {worker}")).await;
}

#[tokio::test]
async fn a_setting_that_only_an_operator_can_undo_is_named() {
    let database = Database::migrated().await;
    as_owner(&database, &["down", "--steps", "1"]).await;
    let owner = database.role("owner");
    database.execute(&format!("ALTER ROLE {owner} SET session_replication_role = replica")).await;
    let ended = as_owner(&database, &["up"]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.contains("session_replication_role is replica"), "{}", ended.stderr);
    assert!(ended.stderr.contains("RESET session_replication_role"), "{}", ended.stderr);
    database.execute(&format!("ALTER ROLE {owner} RESET session_replication_role")).await;
    let ended = as_owner(&database, &["up"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn behind_rds_proxy_there_is_a_clear_word_and_none_where_nothing_is_pending() {
    let database = Database::empty().await;
    let proxy = RdsProxy::start(&database.url()).await;
    let settings = [("DATABASE_URL", proxy.url())];
    for (arguments, code) in [(&["--migrate-only"][..], 1), (&["migrate", "up"], 2)] {
        let ended = run(&settings, arguments).await;
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("MIGRATION_DATABASE_URL"), "{}", ended.stderr);
    }
    migrate(&database.url()).await;
    for arguments in [&["--migrate-only"][..], &["migrate", "up"], &["migrate", "up", "--to", "3"]]
    {
        let ended = run(&settings, arguments).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("nothing to do"), "{}", ended.stdout);
    }
    expect(&database, 0, &["down", "--steps", "1"]).await;
    let ended = run(&settings, &["--migrate-only"]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
}

#[tokio::test]
async fn a_restored_dump_is_as_it_should_be() {
    let (database, restored) = (Database::migrated().await, Database::empty().await);
    database.execute("SELECT aws_report_detail_ensure('2026-11-01')").await;
    let dump = Command::new(programs().await.join("pg_dump"))
        .args(["--schema=aws_reports", "--no-owner", "--no-privileges"])
        .arg(database.url())
        .output()
        .await
        .expect("pg_dump starts");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let mut psql = Command::new(programs().await.join("psql"))
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1"])
        .arg(restored.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("psql starts");
    let mut stdin = psql.stdin.take().expect("its input");
    stdin.write_all(&dump.stdout).await.expect("it reads");
    drop(stdin);
    assert!(psql.wait().await.expect("it ends").success());

    let drift = answer(&restored, 0, &["verify"]).await;
    assert_eq!(drift["differences"], Value::Array(Vec::new()));
    // What really differs is told all the same.
    restored
        .execute(
            "ALTER FUNCTION aws_reports.aws_report_email(text) SET search_path = public;
            DROP INDEX aws_reports.aws_report_detail_2026_11_feedback;
            CREATE UNIQUE INDEX aws_report_detail_2026_11_feedback ON aws_reports.aws_report_detail_2026_11 (report_id, id) WHERE event_type IN ('Bounce', 'Open')",
        )
        .await;
    let drift = answer(&restored, 5, &["verify"]).await;
    assert_eq!(drift["differences"].as_array().map(Vec::len), Some(2), "{drift}");
}

#[tokio::test]
async fn two_files_with_the_same_sql_are_two_migrations() {
    let (database, files) = (Database::empty().await, Files::new());
    let names = ["one", "two"].map(|name| files.add(name, "SELECT 1;\n", "SELECT 1;\n"));
    let up = answer(&database, 0, &["up", "--migrations", files.path()]).await;
    let applied = up["applied"].as_array().expect("a list");
    let last: Vec<&str> =
        applied.iter().rev().take(2).rev().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(last, names);
    let unfinished = "SELECT count(*) FROM aws_reports.refinery_schema_history WHERE took_ms IS NULL OR sql IS NULL OR applied_by IS NULL";
    assert_eq!(database.one::<i64>(unfinished).await, 0, "each has its own row");
}
