//! Every statement begins with its name, so that `pg_stat_activity`, `pg_stat_statements` and the
//! server's log can be read, and docs/operations.md explains each name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const NAME: &str = "-- ses-reports: ";
/// How statements begin; what begins and ends transactions has no name.
const VERBS: [&str; 17] = [
    "SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "DECLARE", "FETCH", "SET", "RESET", "SHOW",
    "CREATE", "ALTER", "DROP", "COMMENT", "GRANT", "REVOKE", "DO",
];
/// Where the SQL of the program is: files and folders.
const PLACES: [&str; 3] = ["src/store", "src/schema", "src/retention.rs"];
/// Texts that begin like a statement and have no name, by file.
const WITHOUT_NAME: [(&str, &str); 4] = [
    // Rights and SQL that `ses-reports grants` prints. The migrator runs it as `grant the rights of
    // this version`.
    ("src/schema/grants.rs", ""),
    // What follows `move tables to another schema` in one text.
    ("src/schema/baseline.rs", "ALTER TABLE {table} SET SCHEMA"),
    // What follows `grant the rights of this version` in one text.
    ("src/schema/regrant.rs", "COMMENT ON SCHEMA"),
    // What `migrate verify` tells people to run.
    ("src/schema/verify.rs", "ALTER TABLE aws_report_detail DETACH PARTITION"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The string literals of a source without its unit tests, with `\n` as written; comments have none.
fn literals(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n").replace("'\"'", "").replace("\\\\", "");
    let code = code.replace("\\n", "\n").replace("\\\"", "");
    code.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn is_statement(text: &str) -> bool {
    let text = text.trim_start();
    let word = text.split(|c: char| c.is_whitespace()).next().unwrap_or_default();
    // A verb by itself, in an array of words, is none.
    VERBS.contains(&word) && text.len() > word.len()
}

/// The name of a statement that begins with one; the statement must not be on its line.
fn name(text: &str) -> Option<&str> {
    let (name, statement) = text.strip_prefix(NAME)?.split_once('\n')?;
    let after_comments =
        statement.lines().find(|line| !line.trim_start().starts_with("--")).unwrap_or_default();
    let begins = is_statement(&format!("{after_comments} …"));
    // The statements that grant rights are put in when it runs.
    (begins || after_comments == "{statements};").then_some(name)
}

/// The files that hold SQL.
fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for place in PLACES.map(|place| root().join(place)) {
        if place.is_file() {
            files.push(place);
            continue;
        }
        for entry in std::fs::read_dir(place).expect("the folder can be read") {
            let path = entry.expect("an entry").path();
            // Not the folder of snapshots, which repeats statements.
            if path.is_file() {
                files.push(path);
            }
        }
    }
    files
}

/// The names of all statements. A statement without one, or two with the same, is a failure.
fn names() -> BTreeSet<String> {
    let (mut names, mut used) = (BTreeSet::new(), BTreeSet::<&(&str, &str)>::new());
    for path in files() {
        let text = std::fs::read_to_string(&path).expect("a text");
        let texts = match path.extension() {
            Some(extension) if extension == "sql" => vec![text],
            _ => literals(&text),
        };
        let path = path.strip_prefix(root()).expect("a file of ours");
        for text in texts {
            if is_statement(&text) {
                let exception = WITHOUT_NAME.iter().find(|(file, begins)| {
                    path == Path::new(file) && text.trim_start().starts_with(begins)
                });
                assert!(exception.is_some(), "{}: no name: {text}", path.display());
                used.extend(exception);
            }
            if text.starts_with(NAME) {
                let name = name(&text);
                let name = name.unwrap_or_else(|| {
                    panic!("{}: the name must be alone on its line: {text}", path.display())
                });
                assert!(names.insert(name.to_owned()), "two statements are named {name:?}");
            }
        }
    }
    let unused: Vec<_> = WITHOUT_NAME.iter().filter(|one| !used.contains(one)).collect();
    assert!(unused.is_empty(), "exceptions that are no longer needed: {unused:?}");
    names
}

#[test]
fn every_statement_begins_with_its_name() {
    let names = names();
    assert!(names.len() > 80, "{names:?}");
}

#[test]
fn each_statement_is_documented() {
    let operations = std::fs::read_to_string(root().join("docs/operations.md")).expect("a text");
    let section = operations.split("\n## Statements\n").nth(1).expect("a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut documented = BTreeSet::new();
    for line in section.lines() {
        let name = line.strip_prefix("| `").and_then(|line| line.split_once("` | "));
        if let Some((name, what)) = name {
            let is_explained = what.len() > 10 && !what.starts_with("the same");
            assert!(is_explained, "{name:?} is not explained");
            assert!(documented.insert(name.to_owned()), "{name:?} is documented twice");
        }
    }
    let names = names();
    let missing: Vec<_> = names.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&names).collect();
    assert!(missing.is_empty() && gone.is_empty(), "missing: {missing:#?}, gone: {gone:#?}");
}

#[test]
fn a_statement_without_a_name_is_found() {
    let source = "// \"SELECT 1\"\nlet sql = format!(\"\n    SELECT {x}\"); run(\"-- ses-reports: two\\nSELECT 2\")";
    let found = literals(source);
    assert_eq!(found.iter().filter(|text| is_statement(text)).count(), 1, "{found:?}");
    assert_eq!(found.iter().find_map(|text| name(text)), Some("two"));
    assert_eq!(name("-- ses-reports: swallowed SELECT 3"), None);
}
