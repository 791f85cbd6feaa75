//! The rules of `migrations/README.md`, held against every migration.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ses_reports::schema::{EMBEDDED, Migration};
use sha2::{Digest as _, Sha256};

use crate::support::database::Database;
use crate::support::migrations::{answer, expect, newest};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")
}

fn header(text: &str) -> String {
    text.lines().take_while(|line| line.starts_with("--")).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_applied_file_is_never_edited() {
    let recorded =
        std::fs::read_to_string(folder().join("checksums")).expect("migrations/checksums");
    let mut expected = String::new();
    for Migration { stem, up, .. } in EMBEDDED {
        for byte in Sha256::digest(up.as_bytes()) {
            write!(expected, "{byte:02x}").expect("memory");
        }
        writeln!(expected, "  {stem}.sql").expect("memory");
    }
    assert_eq!(
        recorded, expected,
        "a file differs from its recorded checksum. A migration that was applied anywhere is never edited: write a new one. For a new one: make checksums"
    );
}

#[test]
fn each_file_says_why_and_what_it_locks_and_what_its_undoing_loses() {
    for Migration { stem, up, down, .. } in EMBEDDED {
        for word in ["-- Purpose: ", "-- Locks: "] {
            assert!(header(up).contains(word), "{stem} has no line {word:?} at its top");
        }
        assert!(
            header(down).contains(&format!("-- Undoes {stem}: ")),
            "down/{stem} does not say what it undoes"
        );
        assert!(up.ends_with('\n') && !up.contains('\r') && !up.contains('\t'), "{stem}");
        // What a function that comes back does when it is called is no undoing.
        let statements: String = down.split("$$").step_by(2).collect();
        for word in ["DELETE FROM", "TRUNCATE", "CASCADE"] {
            assert!(
                !statements.contains(word),
                "down/{stem} says {word}: what it drops is to be seen by name"
            );
        }
        for word in [
            "aws_reports.aws_report",
            "CREATE SCHEMA",
            "SERIAL",
            "AS IDENTITY",
            "nextval",
            "REFERENCES aws_",
            "timestamp without",
            " timestamp,",
        ] {
            assert!(!up.contains(word), "{stem} says {word}");
        }
    }
}

#[test]
fn every_exception_of_the_linter_has_its_reason() {
    for Migration { stem, up, .. } in EMBEDDED {
        for line in up.lines().filter(|line| line.contains("squawk-ignore")) {
            let reason =
                line.split("squawk-ignore").nth(1).and_then(|rest| rest.split_once(" -- "));
            assert!(reason.is_some_and(|(_, reason)| reason.len() > 10), "{stem}: {line}");
        }
    }
}

/// A file without a transaction is run again from its start after a failure.
#[test]
fn what_runs_outside_of_a_transaction_can_be_run_twice() {
    for migration in EMBEDDED.iter().filter(|migration| migration.is_without_transaction()) {
        for text in [&*migration.up, &*migration.down] {
            for line in text.lines() {
                if line.starts_with("CREATE ") {
                    assert!(line.contains("IF NOT EXISTS"), "{}: {line}", migration.stem);
                }
                if line.starts_with("DROP ") {
                    assert!(line.contains("IF EXISTS"), "{}: {line}", migration.stem);
                }
            }
        }
    }
}

/// Locks on the two big tables that somebody waits for: each for a moment, and each with its reason
/// at the top of its file.
const MOMENTS: [(&str, &str, &str); 4] = [
    ("V0009__daily", "aws_reports", "ShareRowExclusiveLock"),
    ("V0011__detail_times", "aws_report_detail", "ShareLock"),
    ("V0016__what_figures_need", "aws_reports", "AccessExclusiveLock"),
    ("V0016__what_figures_need", "aws_report_detail", "AccessExclusiveLock"),
];

/// Small tables that are rewritten, each with its reason at the top of its file.
const REWRITTEN: [(&str, &str); 1] = [("V0017__figures_by_change", "aws_report_daily")];

#[tokio::test]
pub async fn no_lock_on_a_big_table_is_taken_that_is_not_allowed() {
    let database = Database::empty().await;
    // The version that has both.
    expect(&database, 0, &["up", "--to", "4"]).await;
    let plan = answer(&database, 0, &["plan"]).await;
    assert_eq!(plan["tried"], true);
    let migrations = plan["migrations"].as_array().expect("a list");
    assert_eq!(u64::try_from(migrations.len()).ok(), newest().checked_sub(4));
    for migration in migrations {
        for step in migration["statements"].as_array().expect("a list") {
            for table in step["rewrites"].as_array().expect("a list") {
                let name = migration["name"].as_str().expect("a name");
                let table = table.as_str().expect("a name");
                assert!(REWRITTEN.contains(&(name, table)), "{name} rewrites {table}");
            }
            for lock in step["locks"].as_array().expect("a list") {
                let relation = lock["relation"].as_str().expect("a name");
                let is_big = ["aws_reports", "aws_report_detail"]
                    .iter()
                    .any(|big| relation.starts_with(big));
                if !is_big || lock["blocks"].is_null() {
                    continue;
                }
                let is_partition = relation.starts_with("aws_report_detail_2");
                let taken = (
                    migration["name"].as_str().expect("a name"),
                    if is_partition { "aws_report_detail" } else { relation },
                    lock["mode"].as_str().expect("a mode"),
                );
                assert!(MOMENTS.contains(&taken), "{taken:?}: {}", step["sql"]);
            }
        }
    }
}

#[tokio::test]
async fn every_name_is_lower_snake_case() {
    let database = Database::migrated().await;
    let odd = database
        .rows("SELECT name FROM (
                SELECT relname AS name FROM pg_class WHERE relnamespace = 'aws_reports'::regnamespace
                UNION SELECT proname FROM pg_proc WHERE pronamespace = 'aws_reports'::regnamespace
                UNION SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE relnamespace = 'aws_reports'::regnamespace
                UNION SELECT attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'aws_reports'::regnamespace AND attnum > 0 AND NOT attisdropped
            ) AS names WHERE name !~ '^[a-z][a-z0-9_]*$'")
        .await;
    assert!(odd.is_empty(), "{odd:?}");
}
