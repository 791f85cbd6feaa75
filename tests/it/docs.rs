//! What README and `docs/` say is so: their SQL runs, their tables are complete, their links lead
//! somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::TokenTree;

use ses_reports::classify::bounce::{self, BounceClass, Evidence};
use ses_reports::classify::provider;

use crate::layers::sources;
use crate::support::database::Database;
use crate::support::process::run;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text of each fenced block of a language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let text = read(document);
    let blocks = text.split(&fence).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn the_queries_run() {
    let database = Database::migrated().await;
    let mut statements = 0;
    for (document, expected) in
        [("docs/schema.md", 4), ("README.md", 1), ("docs/faq.md", 1), ("docs/machines.md", 2)]
    {
        let blocks = blocks(document, "sql");
        assert_eq!(blocks.len(), expected, "{document}");
        for block in blocks {
            for statement in block.split(";\n").filter(|statement| !statement.trim().is_empty()) {
                database.execute(statement).await;
                statements += 1;
            }
        }
    }
    assert!(statements > 10, "{statements}");
    // Jane's report was created by one of them and erased by another.
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 0);
}

/// The rows of a document's tables whose first cell is the name of a variable: name and default.
fn settings(document: &str) -> BTreeMap<String, String> {
    let is_variable =
        |name: &&str| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    read(document)
        .lines()
        .filter_map(|line| {
            let mut cells = line.split(" | ");
            let name = cells.next()?.strip_prefix("| `")?.strip_suffix('`').filter(is_variable)?;
            Some((name.to_owned(), cells.next()?.trim_matches('`').to_owned()))
        })
        .collect()
}

#[tokio::test]
async fn the_tables_of_settings_are_complete_and_name_the_defaults() {
    let mut help = String::new();
    for command in
        [&["worker"][..], &["migrate", "verify"], &["partitions", "drop"], &["grants"], &["decode"]]
    {
        help += &run(&[], &[command, &["--help"]].concat()).await.stdout;
    }
    let mut variables = BTreeMap::new();
    for part in help.split("[env: ").skip(1) {
        let name = part.split(['=', ']']).next().expect("a name").to_owned();
        let default = part.split("[default: ").nth(1).and_then(|rest| rest.split(']').next());
        variables.insert(name, default.map(str::to_owned));
    }
    assert!(variables.len() > 20, "the help lists the variables:\n{help}");
    let documented = settings("docs/configuration.md");
    let names = |names: Vec<&String>| names.into_iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(documented.keys().collect()), names(variables.keys().collect()));
    for (name, default) in variables {
        if let Some(default) = default {
            assert_eq!(documented[&name], default, "the default of {name}");
        }
    }
    let in_short = settings("README.md");
    assert_eq!(in_short.len(), 10, "{in_short:?}");
    for (name, default) in in_short {
        assert_eq!(documented.get(&name), Some(&default), "{name} in the README");
    }
}

/// The cells of the rows of a table that begin with code.
fn cells(document: &str) -> Vec<Vec<String>> {
    let rows = read(document);
    let rows = rows.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(|cell| cell.replace('`', "")).collect()).collect()
}

#[test]
fn the_bounce_classes_are_those_of_the_code_and_their_examples_are_true() {
    let (classes, examples): (Vec<_>, Vec<_>) =
        cells("docs/bounces.md").into_iter().partition(|row| row.len() == 3);
    let expected = BounceClass::ALL.map(|class| {
        [class.name(), class.fault().name(), class.meaning()].map(str::to_owned).to_vec()
    });
    assert_eq!(classes, expected);
    assert!(examples.len() > 5, "{examples:?}");
    for example in examples {
        let said = Evidence { diagnostic: Some(&example[0]), ..Evidence::default() };
        assert_eq!(bounce::class(&said).map(BounceClass::name), Some(&*example[1]), "{example:?}");
    }
    let text = read("docs/bounces.md");
    assert!(text.contains(&format!("This is version {} of the rules", bounce::VERSION)));
    for name in provider::ALL {
        assert!(text.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn each_metric_is_documented() {
    let operations = read("docs/operations.md");
    let source = read("src/metrics.rs");
    let names: Vec<&str> =
        source.split('"').filter(|text| text.starts_with("ses_reports_")).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(operations.contains(&format!("| `{name}` |")), "{name} is not documented");
    }
}

/// The texts of the log lines at warn and error.
fn log_lines(tokens: &[TokenTree], found: &mut Vec<String>) {
    for (index, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let inner: Vec<TokenTree> = group.stream().into_iter().collect();
        let is_line = index >= 2
            && matches!(&tokens[index - 1], TokenTree::Punct(punct) if punct.as_char() == '!')
            && matches!(&tokens[index - 2], TokenTree::Ident(ident) if ident == "warn" || ident == "error");
        if is_line {
            found.extend(inner.iter().filter_map(|token| match token {
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    Some(text.strip_prefix('"')?.strip_suffix('"')?.replace("\\\"", "\""))
                }
                _ => None,
            }));
        }
        log_lines(&inner, found);
    }
}

#[test]
fn each_warning_and_error_is_documented() {
    let operations = read("docs/operations.md");
    let mut lines = Vec::new();
    for source in sources() {
        log_lines(&source.tokens, &mut lines);
    }
    assert!(lines.len() > 30, "{lines:#?}");
    for line in lines {
        for piece in line.split(['{', '}']).step_by(2).map(str::trim) {
            assert!(
                operations.contains(piece),
                "docs/operations.md does not say what to do about {line:?}: {piece:?} is missing"
            );
        }
    }
}

#[test]
fn the_policy_of_the_worker_is_the_one_that_is_deployed() {
    let actions = |text: &str| -> BTreeSet<String> {
        let words = text.split(|char: char| !(char.is_ascii_alphanumeric() || char == ':'));
        words.filter(|word| word.starts_with("sqs:")).map(str::to_owned).collect()
    };
    let documented = actions(&blocks("docs/iam.md", "json").concat());
    assert_eq!(documented, actions(&read("infra/worker.yaml")));
    assert_eq!(documented.len(), 4);
}

#[test]
fn the_manifests_set_what_the_worker_reads() {
    let known: BTreeSet<String> = settings("docs/configuration.md").into_keys().collect();
    for file in ["infra/kubernetes.yaml", "infra/worker.yaml"] {
        let manifest = read(file);
        let mut set = BTreeSet::new();
        for word in ["- name: ", "- { name: ", "- { Name: "] {
            let names = manifest.split(word).skip(1);
            let names = names.filter_map(|rest| rest.split([',', '\n']).next());
            set.extend(names.filter(|name| name.bytes().all(|byte| !byte.is_ascii_lowercase())));
        }
        assert!(set.contains("DATABASE_URL") && set.contains("SQS_QUEUE_URL"), "{file}: {set:?}");
        for name in set {
            assert!(known.contains(name) || name == "AWS_REGION", "{file} sets {name}");
        }
    }
    let kubernetes = read("infra/kubernetes.yaml");
    let probes: Vec<&str> = kubernetes
        .split("httpGet: { path: ")
        .skip(1)
        .filter_map(|rest| rest.split(',').next())
        .collect();
    assert_eq!(probes, ["/livez", "/livez", "/readyz"]);
    // The drain takes 25 s at most.
    assert!(kubernetes.contains("terminationGracePeriodSeconds: 30 "));
    assert!(read("infra/worker.yaml").contains("StopTimeout: 30  #"));
}

/// The anchor that a heading of Markdown gets.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'))
        .map(|char| if char == ' ' { '-' } else { char })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut documents: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "migrations/README.md",
    ]
    .map(PathBuf::from)
    .to_vec();
    for entry in std::fs::read_dir(root().join("docs")).expect("docs/") {
        documents.push(Path::new("docs").join(entry.expect("an entry").file_name()));
    }
    let mut links = 0;
    for document in documents {
        let text = read(&document);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") {
                continue;
            }
            links += 1;
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let folder = document.parent().expect("a folder");
            let file = if file.is_empty() { document.clone() } else { folder.join(file) };
            assert!(root().join(&file).exists(), "{}: {target}", document.display());
            let has = |fragment: &str| {
                let text = read(&file);
                text.lines().any(|line| line.starts_with('#') && anchor(line) == fragment)
            };
            assert!(fragment.is_empty() || has(fragment), "{}: {target}", document.display());
        }
    }
    assert!(links > 20, "{links}");
}
