//! Who may do what: the boundaries that the crate documentation promises, read off the source.

use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            let text = std::fs::read_to_string(&path).expect("text");
            found.push((path, text));
        }
    }
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Files outside `folders` whose code, comments aside, holds one of the words.
fn trespassers(folders: &[&str], words: &[&str]) -> Vec<String> {
    sources(&src())
        .into_iter()
        .filter(|(path, _)| !folders.iter().any(|folder| path.starts_with(src().join(folder))))
        .filter(|(_, text)| {
            text.lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .any(|line| words.iter().any(|word| line.contains(word)))
        })
        .map(|(path, _)| path.display().to_string())
        .collect()
}

#[test]
fn decode_does_no_io() {
    for (path, text) in sources(&src().join("decode")) {
        for word in
            ["tokio", "sqlx", "aws_sdk", "std::fs", "std::net", "std::io", "now_utc", "async "]
        {
            assert!(!text.contains(word), "{} says {word}", path.display());
        }
    }
}

#[test]
fn only_the_store_speaks_sql_to_the_report_tables() {
    // The schema module keeps its own history, and looks at tables by names that it is given.
    let writes = ["INSERT INTO", "UPDATE ", "DELETE FROM"];
    assert_eq!(trespassers(&["store", "schema"], &writes), [""; 0]);
    assert_eq!(trespassers(&["store"], &["FROM aws_report", "INTO aws_report"]), [""; 0]);
}

#[test]
fn only_the_schema_module_runs_ddl() {
    assert_eq!(trespassers(&["schema"], &["CREATE ", "ALTER ", "DROP ", "TRUNCATE"]), [""; 0]);
}

#[test]
fn only_the_queue_module_speaks_to_sqs() {
    assert_eq!(trespassers(&["queue"], &["aws_sdk_sqs::", "aws_config::"]), [""; 0]);
}

/// Behind a pooler in transaction mode the next transaction may meet another session.
#[test]
fn the_worker_leaves_nothing_in_a_session() {
    let on_its_way = ["store", "worker", "schema/partitions.rs"].map(|place| src().join(place));
    // These have a session of the owner's, past any pooler.
    let direct =
        ["store/check.rs", "store/expire.rs", "store/legacy.rs"].map(|file| src().join(file));
    let of_the_worker = sources(&src())
        .into_iter()
        .filter(|(path, _)| on_its_way.iter().any(|place| path.starts_with(place)))
        .filter(|(path, _)| !direct.contains(path));
    for (path, text) in of_the_worker {
        assert_eq!(
            text.matches("sqlx::query").count(),
            text.matches(".persistent(").count(),
            "{} leaves it to sqlx whether a statement outlives its transaction",
            path.display()
        );
        for word in ["pg_advisory_lock", "pg_try_advisory_lock", "LISTEN", "SET SESSION", "TEMP"] {
            assert!(!text.contains(word), "{} says {word}", path.display());
        }
    }
}
