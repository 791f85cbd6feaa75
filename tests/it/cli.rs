//! The command line: clear lines, exit codes, and `decode`.

use serde_json::Value;
use sqs_stub::{Settings, Stub};
use tokio::io::AsyncWriteExt as _;

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{Ended, run, ses_reports};
use crate::support::setting;

const QUEUE: &str = "http://127.0.0.1:9/000000000000/q";

/// One line on standard error, without the secrets that the settings hold.
fn assert_one_line(ended: &Ended, code: i32, says: &str) {
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    // Lines of the log begin with their time.
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| !line.starts_with("20")).collect();
    assert_eq!(lines.len(), 1, "{}", ended.stderr);
    assert!(lines[0].contains(says), "{}", ended.stderr);
    for secret in ["s3cret", "panicked"] {
        assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn wrong_settings_are_one_line_and_code_2() {
    let database = ("DATABASE_URL", "postgres://u:s3cret@127.0.0.1:9/d");
    for (settings, arguments, says) in [
        (&[][..], &[][..], "DATABASE_URL is missing"),
        (&[("DATABASE_URL", " ")], &[], "DATABASE_URL is missing"),
        (&[("DATABASE_URL", "mysql://u:s3cret@h/d")], &[], "DATABASE_URL is not a PostgreSQL URL"),
        (&[("DATABASE_URL", "postgres://u:s3cret@h:port/d")], &[], "DATABASE_URL cannot be read"),
        (&[database], &[], "SQS_QUEUE_URL is missing"),
        (
            &[database, ("MIGRATION_DATABASE_URL", "mysql://u:s3cret@h/d")],
            &["--migrate-only"],
            "MIGRATION_DATABASE_URL is not a PostgreSQL URL",
        ),
        (&[("MIGRATION_DATABASE_URL", database.1)], &[], "DATABASE_URL is missing"),
        (&[("DATABASE_SCHEMA", "aws_reports")], &["grants", "--reader", "pg_x"], "--reader"),
        (&[], &["grants", "--owner", "same", "--worker", "same"], "given twice"),
        (
            &[database, ("SQS_QUEUE_URL", "arn:aws:sqs:eu-west-1:1:q")],
            &[],
            "SQS_QUEUE_URL is not a URL",
        ),
        (
            &[database, ("DATABASE_SCHEMA", "Bad-Name"), ("SQS_QUEUE_URL", QUEUE)],
            &[],
            "DATABASE_SCHEMA",
        ),
        (
            &[database, ("SQS_QUEUE_URL", QUEUE), ("RETAIN_REPORTS", "12")],
            &[],
            "RETAIN_REPORTS needs RETAIN_DETAILS",
        ),
        (
            &[database, ("SQS_QUEUE_URL", QUEUE)],
            &["--retain-details", "6", "--retain-reports", "5"],
            "RETAIN_REPORTS=5 is less than RETAIN_DETAILS=6",
        ),
        (&[database, ("RETAIN_DETAILS", "0")], &[], "--retain-details"),
        (&[database, ("POLLERS", "many")], &[], "--pollers"),
        (&[database], &["partitions", "drop", "--before", "2026"], "write it as 2026-11"),
        (&[database], &["partitions", "drop", "--before", "2062-01"], "in the future"),
        (&[database], &["--visibility-timeout", "0"], "--visibility-timeout"),
        (&[database, ("MIGRATE_ONLY", "maybe")], &[], "--migrate-only"),
        (
            &[("DATABASE_URL", "postgres://u@h/d?sslmode=s3cret")],
            &[],
            "DATABASE_URL cannot be read",
        ),
        (
            &[database, ("LOG_FILTER", "ses_reports=loud"), ("SQS_QUEUE_URL", QUEUE)],
            &[],
            "LOG_FILTER cannot be read",
        ),
        (&[], &["teleport"], "teleport"),
    ] {
        assert_one_line(&run(settings, arguments).await, 2, says);
    }
}

#[tokio::test]
async fn an_unreachable_database_is_one_line_and_code_1() {
    let settings =
        [("DATABASE_URL", "postgres://u:s3cret@127.0.0.1:9/d"), ("SQS_QUEUE_URL", QUEUE)];
    assert_one_line(&run(&settings, &[]).await, 1, "PostgreSQL: ");
    assert_one_line(&run(&settings, &["--migrate-only"]).await, 1, "onnection refused");
    let settings = [("MIGRATION_DATABASE_URL", settings[0].1)];
    assert_one_line(&run(&settings, &["--migrate-only"]).await, 1, "MIGRATION_DATABASE_URL: ");
}

#[tokio::test]
async fn a_wrong_password_is_one_line_and_code_1() {
    let database = Database::empty().await;
    let host = database.host();
    let url = format!("postgres://nobody:s3cret@{host}");
    assert_one_line(&run(&[("DATABASE_URL", &url)], &["--migrate-only"]).await, 1, "nobody");
}

#[tokio::test]
async fn an_unknown_queue_is_one_line_and_code_2() {
    let database = Database::migrated().await;
    let queue = format!("{}/000000000000/there-is-none", setting("AWS_ENDPOINT_URL"));
    let ended = run(&[("DATABASE_URL", &*database.url()), ("SQS_QUEUE_URL", &queue)], &[]).await;
    assert_one_line(&ended, 2, "NonExistentQueue");
}

#[tokio::test]
async fn an_unreachable_queue_is_one_line_and_code_1() {
    let database = Database::migrated().await;
    let settings = [
        ("DATABASE_URL", &*database.url()),
        ("SQS_QUEUE_URL", QUEUE),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
    ];
    assert_one_line(&run(&settings, &[]).await, 1, "SQS_QUEUE_URL: ");
}

/// A run without some variables of the AWS SDK.
async fn run_without(variables: &[&str]) -> Ended {
    let database = Database::migrated().await;
    let (database_url, endpoint) = (database.url(), setting("AWS_ENDPOINT_URL"));
    let settings = [
        ("DATABASE_URL", &*database_url),
        ("SQS_QUEUE_URL", QUEUE),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("HOME", "/nonexistent"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let mut command = ses_reports(&settings, &[]);
    for name in variables {
        command.env_remove(name);
    }
    let output = command.output().await.expect("it runs");
    Ended {
        code: output.status.code(),
        stdout: String::new(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[tokio::test]
async fn missing_credentials_are_one_line_and_code_2() {
    let ended = run_without(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]).await;
    assert_one_line(&ended, 2, "AWS_ACCESS_KEY_ID");
}

#[tokio::test]
async fn a_missing_region_is_one_line_and_code_2() {
    let ended = run_without(&["AWS_REGION", "AWS_DEFAULT_REGION"]).await;
    assert_one_line(&ended, 2, "AWS_REGION");
}

#[tokio::test]
async fn variables_that_are_empty_or_false_are_not_set() {
    let database = Database::empty().await;
    let url = database.url();
    let image = [
        ("DATABASE_URL", &*url),
        ("MIGRATE_ONLY", "false"),
        ("NO_MIGRATE", "true"),
        ("EXIT_WHEN_IDLE", "5"),
        ("POLLERS", ""),
        ("LOG_FORMAT", ""),
        ("HTTP_ADDR", ""),
    ];
    assert_one_line(&run(&image, &[]).await, 2, "SQS_QUEUE_URL is missing");
    let ended = run(&image, &["--migrate-only"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let settings = [("POLLERS", "many"), ("REPORT_TYPE_TAG", ""), ("DATABASE_SCHEMA", "")];
    let decoded = run(&settings, &["decode", "/dev/null"]).await;
    assert_eq!(decoded.code, Some(0), "{}", decoded.stderr);
    let granted = run(&settings, &["grants"]).await;
    assert_eq!(granted.code, Some(0), "{}", granted.stderr);
}

#[tokio::test]
async fn worker_is_the_command_of_a_call_without_one() {
    let database = Database::empty().await;
    let (url, stub) = (database.url(), Stub::start().await.expect("a port"));
    let queue = stub.create_queue("events", Settings::default());
    let settings = [
        ("DATABASE_URL", &*url),
        ("SQS_QUEUE_URL", &*queue),
        ("AWS_ENDPOINT_URL", stub.endpoint()),
        ("POLLERS", ""),
        ("HTTP_ADDR", ""),
    ];
    let idle = ["--no-migrate", "--exit-when-idle", "1"];
    for word in [&[][..], &["worker"]] {
        let call = async |flags: &[&str]| run(&settings, &[word, flags].concat()).await;
        database.execute("DROP SCHEMA IF EXISTS aws_reports CASCADE").await;
        let unmigrated = call(&idle).await;
        assert_one_line(&unmigrated, 1, "schema");
        let migrated = call(&["--migrate-only"]).await;
        assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
        assert!(migrated.stdout.contains("is now at version"), "{}", migrated.stdout);
        // Values that are names of commands are values.
        let values = ["--user-id-tag", "replay", "--report-type-tag=decode"];
        let consumed = call(&[&idle[..], &values].concat()).await;
        assert_eq!(consumed.code, Some(0), "{}", consumed.stderr);
        let by_variable = [&settings[..], &[("EXIT_WHEN_IDLE", "1"), ("NO_MIGRATE", "1")]].concat();
        let consumed = run(&by_variable, word).await;
        assert_eq!(consumed.code, Some(0), "{}", consumed.stderr);
        assert_one_line(&call(&["--pollers", "3", "decode"]).await, 2, "decode");
    }
}

#[tokio::test]
async fn a_wrong_value_names_its_variable() {
    let database = ("DATABASE_URL", "postgres://u:s3cret@127.0.0.1:9/d");
    for (settings, arguments, says) in [
        ([database, ("POLLERS", "many")], &[][..], "(POLLERS)"),
        ([database, ("VERIFY_SNS", "perhaps")], &["worker"], "(VERIFY_SNS)"),
        ([database, ("DATABASE_SCHEMA", "Bad")], &["migrate", "status"], "(DATABASE_SCHEMA)"),
        ([database, ("HTTP_ADDR", "9090")], &["health"], "(HTTP_ADDR)"),
        ([database, ("HTTP_ADDR", "")], &["health"], "HTTP_ADDR is missing"),
        ([database, ("HTTP_ADDR", "")], &["health", "worker:9090"], "http://HOST:PORT"),
    ] {
        assert_one_line(&run(&settings, arguments).await, 2, says);
    }
}

#[tokio::test]
async fn a_parameter_that_nobody_knows_is_not_logged() {
    let database = Database::empty().await;
    let url = format!("{}?sslpassword=s3cret", database.url());
    let ended = run(&[("DATABASE_URL", &url), ("LOG_FILTER", "debug")], &["--migrate-only"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
}

#[tokio::test]
async fn help_teaches_every_setting() {
    let ended = run(&[], &["--help"]).await;
    assert_eq!(ended.code, Some(0));
    for says in [
        "[env: DATABASE_URL]",
        "[env: SQS_QUEUE_URL=]",
        "--migrate-only",
        "--exit-when-idle",
        "decode",
        "Exit codes",
    ] {
        assert!(ended.stdout.contains(says), "{says}:\n{}", ended.stdout);
    }
    let with_secret = run(&[("DATABASE_URL", "postgres://u:s3cret@h/d")], &["--help"]).await;
    assert!(!with_secret.stdout.contains("s3cret"));
}

#[tokio::test]
async fn decode_reads_files_and_lines() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, body: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, body).expect("the file is written");
        path.to_string_lossy().into_owned()
    };
    let two = event::delivery(
        &message_id(1),
        &["a@example.com", "b@example.com"],
        &["a@example.com", "B <b@example.com>"],
    );
    let good = file("good.json", &event::in_sns(&two, "n-1"));
    let bad = file("bad.json", "no JSON");
    let ended = run(&[], &["decode", &good, &bad]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["file"], &lines[0]["outcome"]),
        (&Value::from(good), &Value::from("events"))
    );
    let events = lines[0]["events"].as_array().expect("a list");
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["recipient"], "b@example.com");
    assert_eq!(events[1]["event_type"], "Delivery");
    assert_eq!(events[1]["timestamp"], "2026-11-20T10:00:01.5Z");
    assert_eq!(events[1]["ambiguous"], false);
    assert_eq!(events[1]["notification_message_id"], "n-1");
    assert_eq!(
        (&lines[1]["outcome"], &lines[1]["reason"]),
        (&Value::from("dead_letter"), &Value::from("not JSON"))
    );

    assert_eq!(events[1].get("provider"), None, "what is not known is left out");
    assert_eq!(events[1].get("class"), None);

    let bounce = event::bounce(&message_id(2), &["jane@gmail.com"], "jane@gmail.com");
    let ended = run(&[], &["decode", &file("bounce.json", &bounce.to_string())]).await;
    let line: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(line["events"][0]["class"], "invalid-recipient");
    assert_eq!(line["events"][0]["provider"], "gmail");

    let missing = run(&[], &["decode", "/nonexistent/file"]).await;
    assert_one_line(&missing, 2, "/nonexistent/file");

    let mut child = ses_reports(&[], &["decode", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("an input");
    input.write_all(format!("{two}\r\nnothing\n{two}").as_bytes()).await.expect("it reads");
    drop(input);
    let output = child.wait_with_output().await.expect("it ends");
    let outcomes: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["events", "dead_letter", "events"]);
}
