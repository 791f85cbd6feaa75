//! What each role of `ses-reports grants` may do, and what it may not.

use std::borrow::Cow;
use std::str::FromStr as _;

use ses_reports::schema::grants::OBJECTS;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection};

use crate::support::database::Database;
use crate::support::process::{Worker, run};
use crate::support::queue::Queue;

async fn connect(database: &Database, role: &str) -> PgConnection {
    PgConnectOptions::from_str(&database.url_of(role))
        .expect("a PostgreSQL URL")
        .options([("search_path", "aws_reports")])
        .connect()
        .await
        .expect("the role may connect")
}

async fn attempt(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
}

/// Each statement is refused for want of a right: 42501.
async fn assert_forbidden(database: &Database, role: &str, statements: &[&str]) {
    let mut connection = connect(database, role).await;
    for sql in statements {
        let error = attempt(&mut connection, sql).await.expect_err(sql);
        let code = error.as_database_error().and_then(|error| error.code().map(Cow::into_owned));
        assert_eq!(code.as_deref(), Some("42501"), "{sql}: {error}");
    }
}

#[tokio::test]
pub async fn the_worker_may_do_nothing_but_its_work() {
    let database = Database::migrated().await;
    database
        .execute(
            "SELECT aws_report_detail_ensure('2026-11-01');
            CREATE SCHEMA other; CREATE TABLE other.things (id int);
            CREATE FUNCTION other.thing() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        )
        .await;
    let changes_of_the_schema = [
        "CREATE TABLE more (id int)",
        "CREATE TABLE public.more (id int)",
        "CREATE SCHEMA more",
        "CREATE VIEW more AS SELECT 1",
        "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION aws_report_is_suppressed(bounce_sub_type text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE INDEX ON aws_reports (subject)",
        "ALTER TABLE aws_reports ADD COLUMN more int",
        "ALTER TABLE aws_report_detail DETACH PARTITION aws_report_detail_2026_11",
        "ALTER TABLE aws_reports DISABLE TRIGGER aws_reports_touch",
        "ALTER FUNCTION aws_report_detail_ensure(date) OWNER TO CURRENT_USER",
        "COMMENT ON TABLE aws_reports IS 'mine'",
        "DROP TABLE aws_reports",
        "DROP TABLE aws_report_detail_2026_11",
        "DROP SCHEMA aws_reports CASCADE",
        "CREATE ROLE more",
    ];
    assert_forbidden(&database, "worker", &changes_of_the_schema).await;
    let changes_of_rows = [
        "DELETE FROM aws_reports",
        "DELETE FROM aws_report_detail",
        "DELETE FROM aws_report_detail_2026_11",
        "DELETE FROM aws_report_dead_letter",
        "DELETE FROM aws_report_type",
        "TRUNCATE aws_reports",
        "TRUNCATE aws_report_detail",
        "TRUNCATE aws_report_dead_letter",
        "UPDATE aws_reports SET user_email = ''",
        "UPDATE aws_reports SET id = gen_random_uuid()",
        "UPDATE aws_reports SET created_at = now()",
        "UPDATE aws_report_detail SET event_type = ''",
        "UPDATE aws_report_dead_letter SET body = ''",
        "UPDATE aws_report_type SET report_name = ''",
        "INSERT INTO aws_report_detail_2026_11 SELECT * FROM aws_report_detail",
        "INSERT INTO refinery_schema_history VALUES (99, 'x', 'x', 'x')",
        "UPDATE refinery_schema_history SET checksum = '0'",
        "DELETE FROM refinery_schema_history",
    ];
    assert_forbidden(&database, "worker", &changes_of_rows).await;
    // Nor may it read what people wrote, or what is not the service's.
    let reads = [
        "SELECT other_info FROM aws_report_detail",
        "SELECT user_email FROM aws_reports",
        "SELECT body FROM aws_report_dead_letter",
        "TABLE other.things",
        "SELECT other.thing()",
        "INSERT INTO other.things VALUES (1)",
        "DO $$ BEGIN LOCK TABLE aws_reports IN ACCESS EXCLUSIVE MODE; END $$",
    ];
    assert_forbidden(&database, "worker", &reads).await;
    for role in ["reader", "sender"] {
        let creates = ["SELECT aws_report_detail_ensure('2030-01-01')"];
        assert_forbidden(&database, role, &creates).await;
    }
}

#[tokio::test]
async fn the_reader_reads_what_is_and_what_will_be() {
    let database = Database::deployed().await;
    let mut owner = connect(&database, "owner").await;
    attempt(
        &mut owner,
        "CREATE TABLE of_a_later_version (id int); SELECT aws_report_detail_ensure('2026-11-01')",
    )
    .await
    .expect("the owner may");
    let mut reader = connect(&database, "reader").await;
    for table in [
        "aws_reports",
        "aws_report_detail",
        "aws_report_detail_2026_11",
        "aws_report_dead_letter",
        "of_a_later_version",
        "refinery_schema_history",
    ] {
        attempt(&mut reader, &format!("TABLE {table}")).await.expect(table);
    }
    let changes = [
        "DELETE FROM aws_reports",
        "UPDATE aws_reports SET subject = ''",
        "INSERT INTO aws_report_type VALUES (1, 'x')",
        "CREATE TABLE more (id int)",
    ];
    assert_forbidden(&database, "reader", &changes).await;
}

#[tokio::test]
async fn the_operator_may_do_what_the_worker_may_and_look_after_dead_letters() {
    let database = Database::migrated().await;
    let mut operator = connect(&database, "operator").await;
    for may in [
        "INSERT INTO aws_report_dead_letter (id, body, reason, source) VALUES (gen_random_uuid(), '', '', '')",
        "SELECT body FROM aws_report_dead_letter FOR UPDATE",
        "UPDATE aws_report_dead_letter SET reason = 'x', detail = 'y'",
        "DELETE FROM aws_report_dead_letter",
        "DELETE FROM aws_report_replay_part",
        "SELECT aws_report_detail_ensure('2026-11-01')",
    ] {
        attempt(&mut operator, may).await.expect(may);
    }
    let may_not = [
        "UPDATE aws_report_dead_letter SET body = ''",
        "SELECT user_email FROM aws_reports",
        "DELETE FROM aws_reports",
        "DELETE FROM aws_report_detail",
        "TRUNCATE aws_report_dead_letter",
        "DROP TABLE aws_report_replay",
        "CREATE TABLE more (id int)",
    ];
    assert_forbidden(&database, "operator", &may_not).await;
    let replays = ["TABLE aws_report_replay", "DELETE FROM aws_report_replay"];
    assert_forbidden(&database, "worker", &replays).await;
}

#[tokio::test]
async fn the_sender_makes_its_rows_and_leaves_the_events_alone() {
    let database = Database::migrated().await;
    let mut sender = connect(&database, "sender").await;
    for user in ["c-1", "c-2"] {
        let sql = format!(
            "INSERT INTO aws_report_type VALUES (aws_report_type_id('invoice'), 'invoice') ON CONFLICT DO NOTHING;
            INSERT INTO aws_reports (id, message_id, user_email, user_id, report_type)
            VALUES (aws_report_id('m', 'Jane <jane@example.com>'), 'm', aws_report_email('jane@example.com'), '{user}', aws_report_type_id('invoice'))
            ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, report_type = excluded.report_type"
        );
        attempt(&mut sender, &sql).await.expect("it may");
    }
    assert_eq!(database.one::<String>("SELECT user_id FROM aws_reports").await, "c-2");
    let changes = [
        "UPDATE aws_reports SET delivery_at = now()",
        "UPDATE aws_reports SET bounce_at = NULL",
        "SELECT user_email FROM aws_reports",
        "DELETE FROM aws_reports",
        "TABLE aws_report_detail",
    ];
    assert_forbidden(&database, "sender", &changes).await;
}

#[tokio::test]
pub async fn the_grants_name_all_that_is_in_the_schema() {
    let database = Database::migrated().await;
    let found = database
        .rows(
            "SELECT relname::text AS name FROM pg_class
            WHERE relnamespace = 'aws_reports'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT relispartition
            UNION ALL
            SELECT format('%s(%s)', proname, oidvectortypes(proargtypes)) FROM pg_proc
            WHERE pronamespace = 'aws_reports'::regnamespace",
        )
        .await;
    let mut found: Vec<&str> = found.iter().filter_map(|row| row["name"].as_str()).collect();
    let mut named: Vec<&str> = OBJECTS.iter().map(|object| object.name).collect();
    found.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, found, "src/schema/grants.rs says who may do what with each");
    let unguarded = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'aws_reports'::regnamespace AND prosecdef
        AND has_function_privilege('public', oid, 'EXECUTE')";
    assert_eq!(database.one::<i64>(unguarded).await, 0, "what runs as the owner is not for all");
}

#[tokio::test]
async fn granting_again_takes_away_what_is_not_meant() {
    let database = Database::migrated().await;
    let rights = "SELECT coalesce(string_agg(relname || coalesce(relacl::text, '') , ' ' ORDER BY relname), '')
        || (SELECT string_agg(attrelid::regclass || attname || attacl::text, ' ' ORDER BY attrelid, attnum)
            FROM pg_attribute WHERE attacl IS NOT NULL)
        FROM pg_class WHERE relnamespace = 'aws_reports'::regnamespace";
    let before: String = database.one(rights).await;
    database
        .execute(&format!("GRANT DELETE, TRUNCATE ON aws_reports TO {}", database.role("worker")))
        .await;
    database.grant_as(&database.url_of("owner")).await;
    assert_eq!(database.one::<String>(rights).await, before);
}

#[tokio::test]
async fn the_rights_are_printed_for_people_and_programs() {
    let roles = ["--owner", "o", "--worker", "w", "--reader", "quo\"ted"];
    let text = run(&[("POLLERS", "many")], &[&["grants"][..], &roles].concat()).await;
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    assert!(text.stdout.contains("AUTHORIZATION \"o\";"), "{}", text.stdout);
    assert!(text.stdout.contains("TO \"quo\"\"ted\";"), "{}", text.stdout);
    let json =
        run(&[("DATABASE_SCHEMA", "mail")], &[&["grants", "--json"][..], &roles].concat()).await;
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["owner"], "o");
    let rights = json["rights"].as_array().expect("a list");
    let history = serde_json::json!({"role": "w", "on": "TABLE \"mail\".refinery_schema_history", "rights": "SELECT"});
    assert!(rights.contains(&history), "{rights:?}");
    assert_eq!(json["sql"], text.stdout.replace("aws_reports\"", "mail\""));
}

/// `ses-reports migrate …` as the owner, which must end well.
async fn migrate_as_owner(database: &Database, arguments: &[&str]) -> String {
    let settings = [("DATABASE_URL", &*database.url_of("owner"))];
    let ended = run(&settings, &[&["migrate"], arguments].concat()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout + &ended.stderr
}

#[tokio::test]
async fn a_worker_may_use_at_once_what_a_migration_has_made() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    // V0012 adds a column that each dead letter fills, and tables that the operator needs.
    migrate_as_owner(&database, &["down", "--to", "11", "--allow-data-loss"]).await;
    queue.send(&["just text".to_owned()]).await;
    let said = migrate_as_owner(&database, &["up"]).await;
    for role in ["worker", "reader", "sender", "operator"] {
        assert!(said.contains(&database.role(role)), "{said}");
    }
    let log = Worker::until_idle(&database, &queue.url, &[]).await;
    assert!(!log.contains("42501"), "{log}");
    assert_eq!(database.one::<i64>("SELECT count(source) FROM aws_report_dead_letter").await, 1);
    let mut operator = connect(&database, "operator").await;
    attempt(&mut operator, "DELETE FROM aws_report_replay_part").await.expect("it may");

    // With nothing to apply there is nothing to say, and no right is needed.
    let said = migrate_as_owner(&database, &["up", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(json["granted_to"], serde_json::json!([]));
    let settings = [("DATABASE_URL", &*database.url_of("worker"))];
    let ended = run(&settings, &["--migrate-only"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn rights_that_an_interrupted_migrator_owes_are_given_by_the_next() {
    let database = Database::migrated().await;
    let comment = "SELECT obj_description('aws_reports'::regnamespace, 'pg_namespace')";
    let remembered: String = database.one(comment).await;
    let newest = format!("version {}", ses_reports::schema::newest());
    assert!(remembered.contains(&newest), "{remembered}");
    let older = format!("Events of our mail.\n{}", remembered.replace(&newest, "version 11"));
    database
        .execute(&format!(
            "REVOKE ALL ON ALL TABLES IN SCHEMA aws_reports FROM {worker};
            COMMENT ON SCHEMA aws_reports IS '{older}'; DROP OWNED BY {reader}; DROP ROLE {reader}",
            worker = database.role("worker"),
            reader = database.role("reader"),
        ))
        .await;
    let said = migrate_as_owner(&database, &["up"]).await;
    assert!(
        said.contains(&format!("{} the rights of version", database.role("operator"))),
        "{said}"
    );
    let reader = database.role("reader");
    assert!(
        said.contains(&format!("role {reader},")) && said.contains("no longer exists"),
        "{said}"
    );
    let mut worker = connect(&database, "worker").await;
    attempt(&mut worker, "SELECT id FROM aws_reports").await.expect("it may again");
    let kept: String = database.one(comment).await;
    assert!(kept.starts_with("Events of our mail.\n") && kept.contains(&newest), "{kept}");
    assert!(!kept.contains(&database.role("reader")), "{kept}");
}

#[tokio::test]
async fn a_migrator_that_may_not_give_rights_says_what_to_do() {
    let database = Database::migrated().await;
    // Somebody else owns one of the tables.
    database
        .execute(&format!(
            "ALTER TABLE aws_report_type OWNER TO {}; REVOKE ALL ON aws_report_type FROM {owner};
            GRANT ALL ON aws_report_type TO {owner}; COMMENT ON SCHEMA aws_reports IS '{}'",
            database.role("sender"),
            database
                .one::<String>("SELECT regexp_replace(obj_description('aws_reports'::regnamespace, 'pg_namespace'), 'version [0-9]+', 'version 1')")
                .await,
            owner = database.role("owner"),
        ))
        .await;
    let settings = [("DATABASE_URL", &*database.url_of("owner"))];
    let ended = run(&settings, &["--migrate-only"]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for word in ["everything is applied", "ses-reports grants", "aws_report_type"] {
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
}
