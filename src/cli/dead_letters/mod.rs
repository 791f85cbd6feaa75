//! `ses-reports dead-letters`: the bodies that could not be decoded or written, for people who look for
//! the cause.

mod moment;
mod text;
mod which;

use std::io::{IsTerminal as _, Write as _};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::connect::{connect, refused};
use super::exit::{Failure, USAGE, failed};
use super::printable::{printable, printable_lines};
use super::{answer, until_signal};
use crate::config::{DatabaseArgs, RulesArgs};
use crate::dead_letters::{Became, retry};
use crate::shutdown;
use crate::store::{Selection, Store};
use text::{about, letter_as_json, line, line_as_json, summed, told};
use which::{Chosen, Filters, resolve};

/// How many dead letters are deleted at a time.
const PAGE: i64 = 1_000;

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
#[command(after_help = HELP, max_term_width = 100)]
pub(super) enum Command {
    /// List dead letters without their bodies, newest first, and count them by reason
    List {
        #[command(flatten)]
        filters: Filters,
        /// List at most this many; the counts by reason include all
        #[arg(long, default_value_t = 50, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        #[command(flatten)]
        common: Common,
    },
    /// Print the bodies of dead letters to standard output, and their other columns to standard error
    ///
    /// Bodies are printed as they came; on a terminal, control characters are shown as `?`.
    Show {
        /// Whole ids, or their first four or more digits
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Decode dead letters again with this version; those that become events are written and removed
    Retry {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        rules: RulesArgs,
    },
    /// Delete dead letters for good
    Delete {
        /// Delete even if more than one is selected
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        common: Common,
    },
}

const HELP: &str = "\
A dead letter is a message body that could not be decoded or written, stored with the reason. \
Bodies hold addresses, so only `show` prints them. These commands need the rights of the schema's owner or \
of `ses-reports grants --operator`.

  ses-reports dead-letters list --since 7d
  ses-reports dead-letters show 018f1e2d | ses-reports decode /dev/stdin
  ses-reports dead-letters retry --reason \"no recipient\"
  ses-reports dead-letters delete --source replay:test.jsonl --yes";

#[derive(Debug, Args)]
pub(super) struct Common {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Print JSON: one object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: &Command) -> Result<(), Failure> {
    let (Command::List { common, .. }
    | Command::Show { common, .. }
    | Command::Retry { common, .. }
    | Command::Delete { common, .. }) = command;
    let database = common.database.check()?;
    let now = now();
    match command {
        Command::List { filters, limit, .. } => {
            let selection = filters.selection(now)?.unwrap_or_default();
            until_signal(Box::pin(async {
                let store = connect(database, 1).await?;
                list(&store, &selection, *limit, common.json).await
            }))
            .await
        }
        Command::Show { ids, .. } => {
            until_signal(Box::pin(async {
                let store = connect(database, 1).await?;
                let ids = resolve(&store, ids).await?;
                show(&store, &ids, common.json).await
            }))
            .await
        }
        Command::Retry { chosen, rules, .. } => {
            let selection = chosen.selection(now)?;
            let stop = shutdown::on_signals().map_err(failed)?;
            let store = connect(database, 1).await?;
            let selection = chosen.resolve(&store, selection).await?;
            let each = |id, became: &Became| answer(&told(id, became, common.json));
            let summary = retry(&store, &rules.rules(), &selection, now, &stop, each)
                .await
                .map_err(|error| refused(&error))?;
            answer(&summed(&summary, common.json));
            if stop.is_cancelled() {
                return Err(failed("stopped by a signal: everything printed above is committed"));
            }
            Ok(())
        }
        Command::Delete { chosen, yes, .. } => {
            let selection = chosen.selection(now)?;
            until_signal(Box::pin(async {
                let store = connect(database, 1).await?;
                let selection = chosen.resolve(&store, selection).await?;
                // Dead letters that arrive from now on were not meant.
                let began = store.clock().await.map_err(|error| refused(&error))?;
                let until = selection.until.map_or(began, |until| until.min(began));
                let selection = Selection { until: Some(until), ..selection };
                delete(&store, &selection, *yes || chosen.all, common.json).await
            }))
            .await
        }
    }
}

async fn list(store: &Store, selection: &Selection, limit: u32, json: bool) -> Result<(), Failure> {
    let lines = store.list_dead_letters(selection, limit.into()).await;
    let lines = lines.map_err(|error| refused(&error))?;
    let reasons = store.dead_letter_reasons(selection).await.map_err(|error| refused(&error))?;
    let all: i64 = reasons.iter().map(|(_, count)| count).sum();
    let mut text: Vec<String> = Vec::new();
    if json {
        text.extend(lines.iter().map(|line| line_as_json(line).to_string()));
        let reasons: serde_json::Map<String, Value> =
            reasons.into_iter().map(|(reason, count)| (reason, count.into())).collect();
        text.push(json!({"dead_letters": all, "reasons": reasons}).to_string());
    } else {
        text.extend(lines.iter().map(line));
        let shown = i64::try_from(lines.len()).unwrap_or(i64::MAX);
        let rest = if shown < all { format!(", the newest {shown} above") } else { String::new() };
        text.push(format!("{all} dead letters{rest}"));
        text.extend(
            reasons.iter().map(|(reason, count)| format!("{count:>10}  {}", printable(reason))),
        );
    }
    answer(&text.join("\n"));
    Ok(())
}

async fn show(store: &Store, ids: &[Uuid], json: bool) -> Result<(), Failure> {
    // One at a time: bodies may be long.
    for id in ids {
        let letters = store.dead_letters(&[*id]).await.map_err(|error| refused(&error))?;
        for letter in letters {
            if json {
                answer(&letter_as_json(&letter).to_string());
            } else {
                let _ = writeln!(std::io::stderr(), "{}", about(&letter));
                if std::io::stdout().is_terminal() {
                    answer(&printable_lines(&letter.body));
                } else {
                    answer(&letter.body);
                }
            }
        }
    }
    Ok(())
}

async fn delete(
    store: &Store,
    selection: &Selection,
    may_be_many: bool,
    json: bool,
) -> Result<(), Failure> {
    let reasons = store.dead_letter_reasons(selection).await.map_err(|error| refused(&error))?;
    let all: i64 = reasons.iter().map(|(_, count)| count).sum();
    if all > 1 && !may_be_many {
        return Err(Failure {
            code: USAGE,
            line: format!("that would delete {all} dead letters for good: add --yes to do so"),
        });
    }
    let mut deleted = 0;
    loop {
        let page = store.next_dead_letters(selection, None, PAGE).await;
        let ids: Vec<Uuid> =
            page.map_err(|error| refused(&error))?.iter().map(|line| line.id).collect();
        if ids.is_empty() {
            break;
        }
        deleted += store.delete_dead_letters(&ids).await.map_err(|error| refused(&error))?;
    }
    answer(&if json {
        json!({"deleted": deleted}).to_string()
    } else {
        format!("deleted {deleted} dead letters")
    });
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "what is new or old is told by the clock")]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
