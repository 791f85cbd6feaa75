//! Migration files as SQL: their statements, what of them counts, and what their header says.

use squawk_syntax::ast::AstNode as _;
use squawk_syntax::{SourceFile, SyntaxElement, SyntaxKind, SyntaxToken};

/// In a header: each statement runs by itself, outside of a transaction.
const NO_TRANSACTION: &str = "-- migrate: no-transaction";
/// In a header: a function of [`super::code`] follows the SQL.
const CODE: &str = "-- migrate: code";

/// The statements of a file, in order, without what is between them.
///
/// # Errors
/// The first thing that is no SQL.
pub(super) fn statements(text: &str) -> Result<Vec<&str>, String> {
    let parsed = SourceFile::parse(text);
    if let Some(error) = parsed.errors().first() {
        let line = text[..usize::from(error.range().start()).min(text.len())].lines().count();
        return Err(format!("line {line}: {}", error.message()));
    }
    let statements: Vec<&str> = parsed
        .tree()
        .stmts()
        .map(|statement| text[std::ops::Range::from(statement.syntax().text_range())].trim())
        .collect();
    for statement in &statements {
        let first = words(statement).into_iter().next().unwrap_or_default();
        if TRANSACTION_CONTROL.contains(&&*first) {
            return Err(format!(
                "`{}`: transactions are the migrator's; leave it out",
                statement.lines().next().unwrap_or_default()
            ));
        }
        if matches!(concurrent_index(statement), Some(Concurrent::Builds(name)) if name.is_empty())
        {
            return Err("an index that is built concurrently needs a name".to_owned());
        }
    }
    Ok(statements)
}

/// What begins a statement that would end the migrator's own transaction.
const TRANSACTION_CONTROL: [&str; 9] =
    ["abort", "begin", "commit", "end", "prepare", "release", "rollback", "savepoint", "start"];

/// The tokens of a text that count: no comments, no white space.
fn tokens(text: &str) -> Vec<SyntaxToken> {
    let tree = SourceFile::parse(text).syntax_node();
    tree.descendants_with_tokens()
        .filter_map(SyntaxElement::into_token)
        .filter(|token| !matches!(token.kind(), SyntaxKind::COMMENT | SyntaxKind::WHITESPACE))
        .collect()
}

/// Keywords and names as PostgreSQL reads them: in lower case unless quoted.
fn words(text: &str) -> Vec<String> {
    let word = |token: &SyntaxToken| match token.text().strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"').unwrap_or(quoted).replace("\"\"", "\""),
        None => token.text().to_lowercase(),
    };
    tokens(text).iter().map(word).collect()
}

/// What of a file counts: its tokens without comments and with one space for any white space
/// between them. The bodies of functions are tokens too: PostgreSQL keeps them as they are.
pub(super) fn normalised_tokens(text: &str) -> String {
    let mut normalised_tokens = String::with_capacity(text.len());
    for token in tokens(text) {
        if !normalised_tokens.is_empty() {
            normalised_tokens.push(' ');
        }
        // A checkout may have changed the line ends inside a function's body or a string.
        normalised_tokens.push_str(&token.text().replace("\r\n", "\n"));
    }
    normalised_tokens
}

/// The comment lines before the first statement.
pub(super) fn header(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_end).take_while(|line| line.is_empty() || line.starts_with("--"))
}

/// Whether each statement of a file runs by itself.
pub(super) fn is_without_transaction(text: &str) -> bool {
    header(text).any(|line| line == NO_TRANSACTION)
}

/// Whether the migration continues in Rust after the SQL of its file.
pub(super) fn has_code(text: &str) -> bool {
    header(text).any(|line| line == CODE)
}

/// The index that a statement builds or drops concurrently, if it does.
pub(super) fn concurrent_index(statement: &str) -> Option<Concurrent> {
    let mut words = words(statement).into_iter();
    let mut word = || words.next().unwrap_or_default();
    let builds = match (word(), word()) {
        (verb, object) if verb == "create" && object == "index" => true,
        (verb, object) if verb == "create" && object == "unique" && word() == "index" => true,
        (verb, object) if verb == "drop" && object == "index" => false,
        _ => return None,
    };
    if word() != "concurrently" {
        return None;
    }
    let name = std::iter::repeat_with(word)
        .find(|word| !["if", "not", "exists"].contains(&&**word))
        .unwrap_or_default();
    // CREATE INDEX CONCURRENTLY ON …: PostgreSQL would choose a name.
    let name = if builds && name == "on" { String::new() } else { name };
    Some(if builds { Concurrent::Builds(name) } else { Concurrent::Drops(name) })
}

/// A statement without its `CONCURRENTLY`, for where it must run in a transaction.
pub(super) fn not_concurrently(statement: &str) -> String {
    let concurrently = |token: &SyntaxToken| token.text().eq_ignore_ascii_case("concurrently");
    match tokens(statement).into_iter().find(concurrently) {
        Some(token) if concurrent_index(statement).is_some() => {
            let range = std::ops::Range::<usize>::from(token.text_range());
            format!("{}{}", &statement[..range.start], &statement[range.end..])
        }
        _ => statement.to_owned(),
    }
}

/// What a statement does to an index without stopping writers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Concurrent {
    /// `CREATE INDEX CONCURRENTLY`.
    Builds(String),
    /// `DROP INDEX CONCURRENTLY`.
    Drops(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::EMBEDDED;

    #[test]
    fn every_embedded_file_is_read_statement_by_statement() {
        for migration in EMBEDDED {
            for text in [&*migration.up, &*migration.down] {
                let statements = statements(text).expect("it is SQL");
                assert!(!statements.is_empty(), "{}", migration.stem);
                // Nothing is lost between the statements but comments.
                assert_eq!(
                    normalised_tokens(&statements.join("\n")),
                    normalised_tokens(text),
                    "{}",
                    migration.stem
                );
            }
        }
    }

    #[test]
    fn comments_and_line_ends_do_not_count_and_everything_else_does() {
        let was = "-- Purpose: a\nSELECT 'a--b', $$ x -- y\n $$; /* c */ SELECT 1;";
        let same = "-- Purpose: b\r\n\r\nSELECT   'a--b',\n$$ x -- y\r\n $$; SELECT /* d */ 1;";
        assert_eq!(normalised_tokens(was), normalised_tokens(same));
        for other in [
            was.replace("a--b", "a--c"),
            was.replace("-- y", "-- z"),
            was.replace("SELECT 1", "SELECT 2"),
        ] {
            assert_ne!(normalised_tokens(was), normalised_tokens(&other));
        }
    }

    #[test]
    fn directives_stand_in_the_header() {
        let file = "-- Purpose: x\n-- migrate: no-transaction\n\nSELECT 1;";
        assert!(is_without_transaction(file) && !has_code(file));
        assert!(!is_without_transaction("SELECT 1;\n-- migrate: no-transaction"));
        assert!(has_code("-- migrate: code\r\nSELECT 1;"));
    }

    #[test]
    fn concurrent_indexes_are_known_by_name() {
        for (sql, expected) in [
            ("CREATE INDEX CONCURRENTLY a ON t (x)", Some(Concurrent::Builds("a".into()))),
            (
                "create unique index concurrently /* c */ if not exists \"b\" on t (x)",
                Some(Concurrent::Builds("b".into())),
            ),
            (
                "CREATE INDEX CONCURRENTLY \"Foo Bar\" ON t (x)",
                Some(Concurrent::Builds("Foo Bar".into())),
            ),
            ("CREATE INDEX CONCURRENTLY Foo ON t (x)", Some(Concurrent::Builds("foo".into()))),
            ("DROP INDEX CONCURRENTLY IF EXISTS c", Some(Concurrent::Drops("c".into()))),
            ("CREATE INDEX d ON t (x)", None),
            ("SELECT 1", None),
        ] {
            assert_eq!(concurrent_index(sql), expected, "{sql}");
        }
    }

    #[test]
    fn only_the_word_itself_is_cut() {
        assert_eq!(
            not_concurrently("CREATE INDEX CONCURRENTLY i ON t (x) WHERE y::text IS NOT NULL"),
            "CREATE INDEX  i ON t (x) WHERE y::text IS NOT NULL"
        );
        assert_eq!(not_concurrently("SELECT 'concurrently'"), "SELECT 'concurrently'");
    }

    #[test]
    fn transactions_are_the_migrators() {
        for text in ["SELECT 1; COMMIT;", "BEGIN; SELECT 1;", "SELECT 1; rollback", "SAVEPOINT a;"]
        {
            let error = statements(text).expect_err("it would end the transaction");
            assert!(error.contains("transactions are the migrator's"), "{error}");
        }
        let unnamed = statements("CREATE INDEX CONCURRENTLY ON t (x);").expect_err("no name");
        assert!(unnamed.contains("needs a name"), "{unnamed}");
    }

    #[test]
    fn what_is_no_sql_is_named_by_its_line() {
        let error = statements("SELECT 1;\nCREATE TABEL x (a int);").expect_err("a typing error");
        assert!(error.starts_with("line "), "{error}");
    }
}
