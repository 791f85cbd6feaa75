//! `ses-reports dead-letters`: bodies that could not be understood, for whoever mends why.

use std::io::Write as _;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::connect::{connect, refused};
use super::exit::{Failure, USAGE, failed};
use super::{answer, until_signal};
use crate::config::{DatabaseArgs, LettersArgs, RulesArgs};
use crate::retry::{self, Became, Summary};
use crate::shutdown;
use crate::store::{Letter, Line, Selection, Store};

/// Dead letters that are deleted at a time.
const PAGE: i64 = 1_000;
/// The fewest digits of an id that are taken for one.
const FEWEST_DIGITS: usize = 4;

/// What to do with them.
#[derive(Debug, Subcommand)]
#[command(after_help = HELP, max_term_width = 100)]
pub(super) enum Command {
    /// List them, newest first, without their bodies, and how many there are of each reason
    List {
        #[command(flatten)]
        which: LettersArgs,
        /// Most of them
        #[arg(long, default_value_t = 50, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        #[command(flatten)]
        common: Common,
    },
    /// Print bodies, as they came, to standard output; what else is known of them to standard error
    Show {
        /// Ids, or how they begin
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Read them again by today's rules: what becomes events is a dead letter no longer
    Retry {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        rules: RulesArgs,
    },
    /// Delete them for good
    Delete {
        /// Delete more than one
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        common: Common,
    },
}

const HELP: &str = "\
Bodies hold addresses: only `show` prints them. It needs the rights of the schema's owner or of
`grants --operator`.

  ses-reports dead-letters list --since 7d
  ses-reports dead-letters show 018f1e2d | ses-reports decode /dev/stdin
  ses-reports dead-letters retry --reason \"no recipient\"
  ses-reports dead-letters delete --source replay:test.jsonl --yes";

/// Which, where it is not to be all by mistake.
#[derive(Debug, Args)]
pub(super) struct Chosen {
    /// Ids, or how they begin
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All that there are
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: LettersArgs,
}

#[derive(Debug, Args)]
pub(super) struct Common {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Answer in JSON: one object a line
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
        Command::List { which, limit, .. } => {
            let selection = which.selection(now)?.unwrap_or_default();
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
            let summary = retry::retry(&store, &rules.rules(), &selection, now, &stop, each)
                .await
                .map_err(|error| refused(&error))?;
            answer(&summed(&summary, common.json));
            if stop.is_cancelled() {
                return Err(failed("stopped by a signal: what is told above is committed"));
            }
            Ok(())
        }
        Command::Delete { chosen, yes, .. } => {
            let selection = chosen.selection(now)?;
            until_signal(Box::pin(async {
                let store = connect(database, 1).await?;
                let selection = chosen.resolve(&store, selection).await?;
                // What comes from now on was not meant.
                let began = store.clock().await.map_err(|error| refused(&error))?;
                let until = selection.until.map_or(began, |until| until.min(began));
                let selection = Selection { until: Some(until), ..selection };
                delete(&store, &selection, *yes || chosen.all, common.json).await
            }))
            .await
        }
    }
}

impl Chosen {
    /// What the flags select.
    fn selection(&self, now: OffsetDateTime) -> Result<Selection, Failure> {
        let by_flags = self.which.selection(now)?;
        let line = match (&by_flags, self.ids.is_empty(), self.all) {
            (None, true, false) => {
                "which? Give ids, a filter (--reason, --source, --since, --until) or --all"
            }
            (Some(_), true, true) | (_, false, true) => {
                "--all is all that there are: leave out ids and filters, or --all"
            }
            _ => return Ok(by_flags.unwrap_or_default()),
        };
        Err(Failure { code: USAGE, line: line.to_owned() })
    }

    /// The same, with the ids that were meant.
    async fn resolve(&self, store: &Store, selection: Selection) -> Result<Selection, Failure> {
        let ids = if self.ids.is_empty() { None } else { Some(resolve(store, &self.ids).await?) };
        Ok(Selection { ids, ..selection })
    }
}

/// The ids that begin so: one each.
async fn resolve(store: &Store, beginnings: &[String]) -> Result<Vec<Uuid>, Failure> {
    let mut ids = Vec::new();
    for text in beginnings {
        let usage = |says: &str| Failure { code: USAGE, line: format!("{text:?} {says}") };
        let (least, greatest) = range(text).ok_or_else(|| {
            usage("is no id, nor how one begins: give four of its hexadecimal digits or more")
        })?;
        let found = store.dead_letters_between(least, greatest).await;
        match found.map_err(|error| refused(&error))?[..] {
            [] => return Err(failed(format!("there is no dead letter {text}"))),
            [id] => ids.push(id),
            _ => return Err(usage("is how several ids begin: give more of it")),
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The least and the greatest id that begin so.
fn range(text: &str) -> Option<(Uuid, Uuid)> {
    let digits: String = text.chars().filter(|digit| *digit != '-').collect();
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_hex || !(FEWEST_DIGITS..=32).contains(&digits.len()) {
        return None;
    }
    let least = Uuid::try_parse(&format!("{digits:0<32}")).ok()?;
    let greatest = Uuid::try_parse(&format!("{digits:f<32}")).ok()?;
    Some((least, greatest))
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
        text.extend(lines.iter().map(|line| {
            format!(
                "{}  {}  {:>8} bytes  {:<30}  {}",
                line.id,
                rfc3339(line.received_at),
                line.bytes,
                line.reason,
                line.source.replace(char::is_control, "?")
            )
        }));
        let shown = i64::try_from(lines.len()).unwrap_or(i64::MAX);
        let rest = if shown < all { format!(", the newest {shown} above") } else { String::new() };
        text.push(format!("{all} dead letters{rest}"));
        text.extend(reasons.iter().map(|(reason, count)| format!("{count:>10}  {reason}")));
    }
    answer(&text.join("\n"));
    Ok(())
}

fn line_as_json(line: &Line) -> Value {
    json!({
        "id": line.id,
        "received_at": rfc3339(line.received_at),
        "reason": line.reason,
        "source": line.source,
        "bytes": line.bytes,
    })
}

async fn show(store: &Store, ids: &[Uuid], json: bool) -> Result<(), Failure> {
    // One at a time: bodies may be long.
    for id in ids {
        let letters = store.dead_letters(&[*id]).await.map_err(|error| refused(&error))?;
        for letter in letters {
            if json {
                answer(&letter_as_json(&letter).to_string());
            } else {
                say_of(&letter);
                answer(&letter.body);
            }
        }
    }
    Ok(())
}

/// What is known of a letter, beside its body.
fn say_of(letter: &Letter) {
    let mut says = format!(
        "{}  {}  {}  {}",
        letter.id,
        rfc3339(letter.received_at),
        letter.reason,
        letter.source.replace(char::is_control, "?")
    );
    if let Some(detail) = &letter.detail {
        says = format!("{says}\n  {detail}");
    }
    let _ = writeln!(std::io::stderr(), "{says}");
}

fn letter_as_json(letter: &Letter) -> Value {
    json!({
        "id": letter.id,
        "received_at": rfc3339(letter.received_at),
        "reason": letter.reason,
        "detail": letter.detail,
        "source": letter.source,
        "sqs_message_id": letter.sqs_message_id,
        "sent_at": letter.sent_at.map(rfc3339),
        "receive_count": letter.receive_count,
        "body": letter.body,
    })
}

fn told(id: Uuid, became: &Became, json: bool) -> String {
    if json {
        let (outcome, reason, events) = match became {
            Became::Events(events) => ("events", None, *events),
            Became::Acknowledged(what) => ("acknowledged", Some(what.to_string()), 0),
            Became::DeadLetter(reason) => ("dead_letter", Some(reason.clone()), 0),
            Became::Elsewhere => ("elsewhere", None, 0),
        };
        return json!({"id": id, "outcome": outcome, "reason": reason, "events": events})
            .to_string();
    }
    match became {
        Became::Events(events) => format!("{id}  became {events} events"),
        Became::Acknowledged(what) => format!("{id}  acknowledged: {what}"),
        Became::DeadLetter(reason) => format!("{id}  still a dead letter: {reason}"),
        Became::Elsewhere => format!("{id}  another retry has it, or it was deleted"),
    }
}

fn summed(summary: &Summary, json: bool) -> String {
    let Summary {
        read,
        with_events,
        acknowledged,
        dead_letters,
        elsewhere,
        new_events,
        known_events,
        expired_events,
    } = summary;
    if json {
        return json!({
            "read": read,
            "with_events": with_events,
            "acknowledged": acknowledged,
            "dead_letters": dead_letters,
            "elsewhere": elsewhere,
            "new_events": new_events,
            "known_events": known_events,
            "expired_events": expired_events,
        })
        .to_string();
    }
    let elsewhere = match elsewhere {
        0 => String::new(),
        elsewhere => format!(", {elsewhere} with another retry or deleted"),
    };
    let events = new_events + known_events + expired_events;
    format!(
        "read {read} dead letters: {with_events} became events, {acknowledged} acknowledged, {dead_letters} dead letters still{elsewhere}\n{events} events: {new_events} new, {known_events} already known, {expired_events} no longer kept"
    )
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
            line: format!("that would delete {all} dead letters for good: add --yes if it shall"),
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

fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "what is new or old is told by the clock")]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_may_be_cut_short() {
        let (least, greatest) = range("018F-1").expect("digits");
        assert_eq!(least.to_string(), "018f1000-0000-0000-0000-000000000000");
        assert_eq!(greatest.to_string(), "018f1fff-ffff-ffff-ffff-ffffffffffff");
        let whole = "018f1000-0000-8000-8000-000000000000";
        assert_eq!(range(whole).map(|(least, greatest)| least == greatest), Some(true));
        for bad in ["", "abc", "018g", "018f1000-0000-8000-8000-0000000000000"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
