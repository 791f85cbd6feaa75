//! What the README says is so.

use crate::support::database::Database;
use crate::support::process::run;

const README: &str = include_str!("../../README.md");

/// The text of each fenced block of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

#[tokio::test]
async fn its_queries_run() {
    let database = Database::migrated().await;
    let blocks = blocks("sql");
    assert_eq!(blocks.len(), 2, "the insert of a sender, and the questions");
    for block in blocks {
        for statement in block.split(";\n").filter(|statement| !statement.trim().is_empty()) {
            database.execute(statement).await;
        }
    }
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_reports").await, 1);
}

#[tokio::test]
async fn its_table_of_settings_is_whole() {
    let mut help = String::new();
    for command in
        [&[][..], &["migrate", "verify"], &["partitions", "drop"], &["grants"], &["decode"]]
    {
        help += &run(&[], &[command, &["--help"]].concat()).await.stdout;
    }
    let variables = help.split("[env: ").skip(1).filter_map(|rest| rest.split(['=', ']']).next());
    let mut count = 0;
    for variable in variables {
        assert!(README.contains(&format!("| `{variable}` |")), "{variable} is not in the README");
        count += 1;
    }
    assert!(count > 10, "the help lists the variables:\n{help}");
}
