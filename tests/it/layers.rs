//! Who may use what: the boundaries that the crate documentation promises, read off the source as
//! tokens, so that comments and texts do not count. Tests inside the files are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The arrows between the modules of `src/`, the lowest first: a module uses those that stand beside
/// it, and no others.
const MAY_USE: &[(&str, &[&str])] = &[
    ("backoff", &[]),
    ("causes", &[]),
    ("metrics", &[]),
    ("shutdown", &[]),
    ("row", &[]),
    ("batch", &["row"]),
    ("classify", &[]),
    ("decode", &["classify", "row"]),
    ("postgres", &["causes"]),
    ("https", &[]),
    ("queue", &["causes", "https"]),
    ("trust", &["causes", "decode", "https"]),
    ("store", &["batch", "classify", "decode", "metrics", "postgres", "row"]),
    ("ingest", &["backoff", "decode", "store"]),
    ("schema", &["backoff", "postgres", "row"]),
    ("retention", &["postgres", "schema", "store"]),
    ("baseline", &["decode", "ingest", "postgres", "row", "store"]),
    ("replay", &["decode", "ingest", "row", "store"]),
    ("dead_letters", &["baseline", "decode", "ingest", "row", "store"]),
    (
        "worker",
        &[
            "backoff",
            "decode",
            "ingest",
            "metrics",
            "postgres",
            "queue",
            "retention",
            "row",
            "store",
            "trust",
        ],
    ),
    ("http", &["worker"]),
    ("config", &["decode", "postgres", "queue", "retention", "trust", "worker"]),
    ("telemetry", &["config"]),
    (
        "cli",
        &[
            "baseline",
            "batch",
            "config",
            "dead_letters",
            "decode",
            "http",
            "metrics",
            "postgres",
            "queue",
            "replay",
            "retention",
            "row",
            "schema",
            "shutdown",
            "store",
            "telemetry",
            "trust",
            "worker",
        ],
    ),
];

/// A source file: the module that it is, and what it consists of.
pub(crate) struct Source {
    /// `["schema", "apply"]`; `["schema"]` for its `mod.rs`.
    module: Vec<String>,
    pub(crate) tokens: Vec<TokenTree>,
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// All of `src/` but what is tests only, the roots and the build script.
pub(crate) fn sources() -> Vec<Source> {
    let is_module = |path: &Path| {
        path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
            && !["lib.rs", "main.rs", "build.rs"].iter().any(|root| path == src().join(root))
    };
    files(&src())
        .into_iter()
        .filter(|path| is_module(path))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("text");
            let tokens = TokenStream::from_str(&text).expect("Rust");
            let relative = path.strip_prefix(src()).expect("it is in src").with_extension("");
            let mut module: Vec<String> =
                relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            Source { module, tokens: without_tests(tokens) }
        })
        .collect()
}

/// Leaves out each item under `#[cfg(test)]`.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let mut left = Vec::new();
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        let is_test = matches!(&token, TokenTree::Group(group)
            if group.delimiter() == Delimiter::Bracket && group.stream().to_string().replace(' ', "") == "cfg(test)");
        if is_test {
            let ends = |token: &TokenTree| match token {
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                other => is_punct(other, ';'),
            };
            tokens.by_ref().find(ends);
        } else {
            left.push(token);
        }
    }
    left
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

/// The paths that begin with `crate` or `super`, each use of a nested `use` by itself.
fn paths(tokens: &[TokenTree]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) => {
                found.extend(paths(&group.stream().into_iter().collect::<Vec<_>>()));
            }
            TokenTree::Ident(ident) if ident == "crate" || ident == "super" => {
                at = path(tokens, at, vec![ident.to_string()], &mut found);
            }
            _ => {}
        }
    }
    found
}

/// Follows a path from behind its first word; tells where it ends.
fn path(
    tokens: &[TokenTree],
    mut at: usize,
    mut words: Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    while let [first, second, next, ..] = &tokens[at..]
        && is_punct(first, ':')
        && is_punct(second, ':')
    {
        at += 3;
        match next {
            TokenTree::Ident(word) => words.push(word.to_string()),
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for branch in inner.split(|token| is_punct(token, ',')) {
                    if let Some(TokenTree::Ident(word)) = branch.first() {
                        let mut words = words.clone();
                        words.push(word.to_string());
                        path(branch, 1, words, found);
                    }
                }
                return at;
            }
            _ => break,
        }
    }
    found.push(words);
    at
}

/// The path from the root of the crate on, as seen from a module.
fn from_root(module: &[String], path: &[String]) -> Vec<String> {
    let ups = path.iter().take_while(|word| *word == "super").count();
    let base = if ups == 0 { &[] } else { &module[..module.len().saturating_sub(ups)] };
    [base, &path[ups.max(1)..]].concat()
}

type Graph = BTreeMap<String, BTreeSet<String>>;

/// Which module of `src/` uses which other.
fn between_modules() -> Graph {
    let sources = sources();
    let modules: BTreeSet<&str> = sources.iter().map(|source| &*source.module[0]).collect();
    let mut graph = Graph::new();
    for source in &sources {
        let from = &source.module[0];
        let uses = graph.entry(from.clone()).or_default();
        for path in paths(&source.tokens) {
            let path = from_root(&source.module, &path);
            // What stands in lib.rs itself is for all.
            if let Some(to) = path.first()
                && to != from
                && modules.contains(&**to)
            {
                uses.insert(to.clone());
            }
        }
    }
    graph
}

/// Which file uses which other. A `mod.rs` holds what its files share, so only they are looked at.
fn between_files() -> Graph {
    let sources = sources();
    let modules: BTreeSet<&[String]> = sources.iter().map(|source| &*source.module).collect();
    let mut graph = Graph::new();
    for source in &sources {
        let uses = graph.entry(source.module.join("/")).or_default();
        for path in paths(&source.tokens) {
            let path = from_root(&source.module, &path);
            let file =
                (1..=path.len()).rev().map(|len| &path[..len]).find(|it| modules.contains(it));
            if let Some(file) = file.filter(|file| !source.module.starts_with(file)) {
                uses.insert(file.join("/"));
            }
        }
    }
    graph
}

/// A way round, if there is one.
fn cycle(graph: &Graph) -> Option<Vec<String>> {
    fn visit<'g>(
        graph: &'g Graph,
        at: &'g str,
        way: &mut Vec<&'g str>,
        done: &mut BTreeSet<&'g str>,
    ) -> Option<Vec<String>> {
        if let Some(begin) = way.iter().position(|name| *name == at) {
            return Some(way[begin..].iter().chain([&at]).map(ToString::to_string).collect());
        }
        if !done.insert(at) {
            return None;
        }
        way.push(at);
        let found = graph.get(at)?.iter().find_map(|next| visit(graph, next, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|start| visit(graph, start, &mut Vec::new(), &mut done))
}

#[test]
fn modules_use_each_other_along_the_arrows() {
    let graph = between_modules();
    let allowed: Graph = MAY_USE
        .iter()
        .map(|(module, uses)| (module.to_string(), uses.iter().map(ToString::to_string).collect()))
        .collect();
    assert_eq!(graph, allowed, "MAY_USE is the map: change it only with ARCHITECTURE.md");
    assert_eq!(cycle(&allowed), None);
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    assert_eq!(cycle(&between_files()), None);
}

#[test]
fn circles_and_nested_uses_are_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry(from.to_string()).or_default().insert(to.to_string());
            graph.entry(to.to_string()).or_default();
        }
        graph
    };
    assert_eq!(cycle(&graph(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])), None);
    let found = cycle(&graph(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")]));
    assert_eq!(found, Some(["b", "c", "d", "b"].map(str::to_owned).to_vec()));

    let text = "// crate::no
        use crate::{a::{self, B}, c}; fn f() { let _ = \"crate::no\"; g(super::d::E) }
        #[error(\"{}\", crate::h(.0))] struct S; #[cfg(test)] mod tests { use crate::no; }";
    let tokens = without_tests(TokenStream::from_str(text).expect("Rust"));
    let module = ["x", "y"].map(str::to_owned);
    let found: Vec<String> =
        paths(&tokens).iter().map(|path| from_root(&module, path).join("::")).collect();
    assert_eq!(found, ["a::self", "a::B", "c", "x::d::E", "h"]);
}

pub(crate) fn idents(tokens: &[TokenTree], found: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                idents(&group.stream().into_iter().collect::<Vec<_>>(), found);
            }
            TokenTree::Ident(ident) => {
                found.insert(ident.to_string());
            }
            _ => {}
        }
    }
}

/// The files outside of some modules that use one of the words.
fn trespassers(modules: &[&str], words: &[&str]) -> Vec<String> {
    sources()
        .iter()
        .filter(|source| !modules.contains(&&*source.module[0]))
        .filter(|source| {
            let mut used = BTreeSet::new();
            idents(&source.tokens, &mut used);
            words.iter().any(|word| used.contains(*word))
        })
        .map(|source| source.module.join("/"))
        .collect()
}

#[test]
fn what_is_pure_does_no_io_and_asks_no_clock() {
    // An address is no I/O, so `net` alone is not among them.
    let sockets = ["TcpStream", "TcpListener", "UdpSocket", "ToSocketAddrs"];
    let io = ["tokio", "sqlx", "aws_sdk_sqs", "fs", "io", "now_utc", "async"];
    let io = [&io[..], &sockets].concat();
    for source in sources() {
        if ["decode", "classify", "row", "batch"].contains(&&*source.module[0]) {
            let mut used = BTreeSet::new();
            idents(&source.tokens, &mut used);
            let found: Vec<_> = io.iter().filter(|word| used.contains(**word)).collect();
            assert!(found.is_empty(), "{} uses {found:?}", source.module.join("/"));
        }
    }
}

#[test]
fn only_the_queue_module_speaks_to_sqs() {
    assert_eq!(trespassers(&["queue"], &["aws_sdk_sqs", "aws_config"]), [""; 0]);
}

#[test]
fn only_schema_store_retention_and_postgres_run_sql() {
    let runs_sql = ["query", "query_as", "query_scalar", "raw_sql"];
    let may = ["schema", "store", "retention", "postgres"];
    assert_eq!(trespassers(&may, &runs_sql), [""; 0]);
}

/// The texts in a source that begin a statement, in capitals as all of ours are.
fn texts(tokens: &[TokenTree], found: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                texts(&group.stream().into_iter().collect::<Vec<_>>(), found);
            }
            TokenTree::Literal(literal) => found.push(literal.to_string()),
            _ => {}
        }
    }
}

fn files_that_say(modules: &[&str], words: &[&str]) -> Vec<String> {
    sources()
        .iter()
        .filter(|source| !modules.contains(&&*source.module[0]))
        .filter(|source| {
            let mut said = Vec::new();
            texts(&source.tokens, &mut said);
            said.iter().any(|text| words.iter().any(|word| text.contains(word)))
        })
        .map(|source| source.module.join("/"))
        .collect()
}

#[test]
fn only_the_store_writes_to_the_report_tables() {
    // The schema module keeps its own history.
    let writes = ["INSERT INTO", "UPDATE ", "DELETE FROM", "INTO aws_report", "FROM aws_report"];
    assert_eq!(files_that_say(&["store", "schema"], &writes), [""; 0]);
    assert_eq!(files_that_say(&["store"], &["INTO aws_report", "FROM aws_report"]), [""; 0]);
}

#[test]
fn only_the_schema_module_runs_ddl() {
    let ddl = ["CREATE ", "ALTER ", "DROP ", "TRUNCATE"];
    assert_eq!(files_that_say(&["schema"], &ddl), [""; 0]);
}

/// Behind a pooler in transaction mode the next transaction may meet another session.
#[test]
fn the_worker_leaves_nothing_in_a_session() {
    // These have a session of the owner's, past any pooler.
    let direct = ["store/check", "store/expire", "store/baseline"];
    for source in sources() {
        let file = source.module.join("/");
        let is_on_the_way = ["store", "worker"].contains(&&*source.module[0]);
        if !is_on_the_way || direct.contains(&&*file) {
            continue;
        }
        let text = source.tokens.iter().cloned().collect::<TokenStream>().to_string();
        assert_eq!(
            text.matches("sqlx :: query").count(),
            text.matches(". persistent").count(),
            "{file} leaves it to sqlx whether a statement outlives its transaction",
        );
        for word in ["pg_advisory_lock", "pg_try_advisory_lock", "LISTEN", "SET SESSION", "TEMP"] {
            assert!(!text.contains(word), "{file} says {word}");
        }
    }
}
