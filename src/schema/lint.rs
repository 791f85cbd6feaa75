//! What squawk, the linter of migrations, says about a file.

use squawk_linter::{Linter, Rule};
use squawk_syntax::SourceFile;

use super::sql;

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Finding {
    /// squawk's name of the rule, such as `require-concurrent-index-creation`.
    pub(crate) rule: String,
    /// The line in the file, from 1.
    pub(crate) line: usize,
    /// What is dangerous, and what to do instead.
    pub(crate) says: String,
}

/// Rules that do not fit here, each with its reason.
const LEFT_ASIDE: [(Rule, &str); 5] = [
    (Rule::RequireLockTimeout, "the session has one from its startup options"),
    (
        Rule::RequireStatementTimeout,
        "a build of an index takes as long as it takes; progress is logged",
    ),
    (
        Rule::PreferRobustStmts,
        "a failed migration is rolled back whole; those without a transaction have a test of their own",
    ),
    (Rule::PreferBigintOverInt, "what is counted per mail stays far from 2^31"),
    (Rule::PreferTextField, "the limits of the given columns are part of the contract"),
];

/// Lints a file as it will be run. Exceptions are named in the file: `-- squawk-ignore rule`.
#[must_use]
pub(crate) fn lint(text: &str) -> Vec<Finding> {
    let left_aside: Vec<Rule> = LEFT_ASIDE.iter().map(|(rule, _)| *rule).collect();
    let mut linter = Linter::with_rules(&[], &left_aside);
    linter.settings.assume_in_transaction = !sql::is_without_transaction(text);
    linter
        .lint(&SourceFile::parse(text), text)
        .into_iter()
        .map(|violation| Finding {
            rule: violation.code.to_string(),
            line: text[..usize::from(violation.text_range.start())].matches('\n').count() + 1,
            says: match violation.help {
                Some(help) => format!("{} {help}", violation.message),
                None => violation.message,
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::EMBEDDED;

    #[test]
    fn every_migration_is_clean_or_names_its_exceptions() {
        for migration in EMBEDDED {
            assert_eq!(lint(&migration.up), [], "{}", migration.stem);
        }
    }

    #[test]
    fn what_stops_writers_is_found() {
        let rules = |text: &str| -> Vec<String> {
            lint(text).into_iter().map(|finding| finding.rule).collect()
        };
        assert_eq!(
            rules("CREATE INDEX x ON aws_reports (subject);"),
            ["require-concurrent-index-creation"]
        );
        assert_eq!(
            rules("ALTER TABLE aws_reports ALTER COLUMN id TYPE text;"),
            ["changing-column-type"]
        );
        assert_eq!(
            rules("ALTER TABLE aws_reports ADD COLUMN x int NOT NULL;"),
            ["adding-required-field"]
        );
        assert_eq!(
            rules("SELECT 1; CREATE INDEX CONCURRENTLY x ON t (y);"),
            ["ban-concurrent-index-creation-in-transaction"]
        );
        assert_eq!(
            rules("-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY x ON t (y);"),
            [""; 0]
        );
    }
}
