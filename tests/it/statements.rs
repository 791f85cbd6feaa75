//! Every statement of the store begins with its name, so that `pg_stat_statements` and the server's log
//! can be read.

use std::collections::BTreeSet;
use std::path::Path;

const NAME: &str = "-- ses-reports: ";
/// How statements begin; what begins and ends transactions has no name.
const VERBS: [&str; 8] =
    ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "DECLARE", "FETCH", "SET"];

/// The string literals of a source, with `\n` as written; comments have none.
fn literals(source: &str) -> Vec<String> {
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
    is_statement(&format!("{after_comments} …")).then_some(name)
}

#[test]
fn every_statement_of_the_store_begins_with_its_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let (mut names, mut statements) = (BTreeSet::new(), 0);
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("an entry").path();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let texts = if path.extension().is_some_and(|extension| extension == "sql") {
            vec![text]
        } else {
            literals(&text)
        };
        for text in texts {
            assert!(!is_statement(&text), "{}: no name: {text}", path.display());
            if text.starts_with(NAME) {
                let name = name(&text);
                assert!(name.is_some(), "{}: a name alone on its line: {text}", path.display());
                names.extend(name.map(str::to_owned));
                statements += 1;
            }
        }
    }
    assert_eq!(names.len(), statements, "two statements have one name: {names:?}");
    assert!(statements > 30, "{names:?}");
}

#[test]
fn a_statement_without_a_name_is_found() {
    let source = "// \"SELECT 1\"\nlet sql = format!(\"\n    SELECT {x}\"); run(\"-- ses-reports: two\\nSELECT 2\")";
    let found = literals(source);
    assert_eq!(found.iter().filter(|text| is_statement(text)).count(), 1, "{found:?}");
    assert_eq!(found.iter().find_map(|text| name(text)), Some("two"));
    assert_eq!(name("-- ses-reports: swallowed SELECT 3"), None);
}
