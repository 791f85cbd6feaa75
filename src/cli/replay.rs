//! `ses-reports replay`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Args;
use serde_json::{Value, json};

use super::answer;
use super::connect::{connect, refused};
use super::exit::{Failure, failed};
use super::progress::{self, State};
use super::source::SourceArgs;
use crate::replay::{self, Archive, Found, Progress, Replayed, Settings, Source};
use crate::shutdown;

/// `ses-reports replay`.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP, max_term_width = 100)]
pub(super) struct ReplayArgs {
    /// Files and folders to read. A folder means all files in it, in the order of their names, and a ZIP
    /// archive means the files that it contains; `-` is standard input
    #[arg(value_name = "FILE|FOLDER|-", default_value = "-")]
    paths: Vec<PathBuf>,

    /// Begin from the start, even if an earlier run of the same files was interrupted
    #[arg(long)]
    from_start: bool,

    /// How many transactions write at once. More are faster while PostgreSQL has CPU to spare; fewer leave
    /// more of it to workers and queries
    #[arg(long, default_value_t = 3, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=32))]
    at_once: u16,

    #[command(flatten)]
    source: SourceArgs,
}

const HELP: &str = "\
Bodies may be one per line, one per file, in a JSON array, or concatenated without separators, \
as Firehose writes them. gzip, ZIP and Snappy are recognised by their content. If a file is not \
text (zstd, Parquet, tar, UTF-16, ...), nothing from any of the files is stored, and the exit code \
is 1. Standard input and pipes are checked only as they are read, so what came before may be stored \
already. A body that is not an event becomes a dead letter, with its reason. SNS_TOPIC_ARNS and VERIFY_SNS \
do not apply: an archive is your own, so no signature is required.

If a run is interrupted, call it again with the same files: it resumes where it stopped, and \
its totals cover both runs. Standard input is always read from the start. An archive that was replayed \
to the end can be replayed again, which changes nothing. Workers may run at the same time. The command needs the \
rights of the schema's owner or of `ses-reports grants --operator`.

  ses-reports replay archive.jsonl.gz
  ses-reports replay firehose/2026/11/
  aws s3 cp s3://BUCKET/KEY - | ses-reports replay";

pub(super) async fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let database = args.source.database.check()?;
    let stop = shutdown::on_signals().map_err(failed)?;
    // One connection per writer, one to begin and to end with.
    let store = connect(database, u32::from(args.at_once) + 1).await?;
    let paths = args.paths.clone();
    let (found, id) = tokio::task::spawn_blocking(move || {
        let found = replay::find(&paths);
        let id = replay::identity(&found.sources);
        (found, id)
    })
    .await
    .map_err(failed)?;
    let Found { sources, missing, unreadable } = found;
    if !unreadable.is_empty() {
        // Before anything is written: what was replayed by mistake cannot be taken back.
        let problems = [unreadable, missing].concat();
        for problem in problems.iter().skip(1) {
            tracing::warn!("{problem}");
        }
        return conclude(args, &Replayed { problems, ..Replayed::default() });
    }
    for problem in &missing {
        tracing::warn!("{problem}");
    }
    if sources.is_empty() {
        let nothing = Replayed { is_finished: true, problems: missing, ..Replayed::default() };
        return conclude(args, &nothing);
    }

    let all: Option<u64> = sources.iter().map(Source::bytes).sum();
    let progress = Arc::new(Progress::default());
    let showing = Arc::clone(&progress);
    let replaying = replay::run(
        store,
        args.source.rules.rules(),
        Archive { sources, id: id.unwrap_or_else(replay::random_id) },
        Settings { writers: args.at_once.into(), from_start: args.from_start },
        progress,
        stop.clone(),
    );
    let mut replayed = tokio::select! {
        replayed = replaying => replayed.map_err(|error| refused(&error))?,
        () = show(args.source.quiet, all, &showing) => return Ok(()),
    };
    replayed.problems.splice(..0, missing);
    if stop.is_cancelled() && !replayed.is_finished {
        say(args, &replayed);
        let how = if id.is_some() {
            "call it again with the same files to continue"
        } else {
            "standard input cannot be resumed: give all of it again, which counts nothing twice"
        };
        let bodies = replayed.totals.bodies;
        return Err(failed(format!("stopped by a signal: {bodies} bodies are committed; {how}")));
    }
    conclude(args, &replayed)
}

fn say(args: &ReplayArgs, replayed: &Replayed) {
    answer(&if args.source.json { as_json(replayed).to_string() } else { lines(replayed) });
}

/// What became of it, and the failure if something was left out.
fn conclude(args: &ReplayArgs, replayed: &Replayed) -> Result<(), Failure> {
    say(args, replayed);
    let rest = if replayed.totals.bodies == 0 {
        "nothing is stored"
    } else {
        "everything else is replayed"
    };
    match &replayed.problems[..] {
        [] if !replayed.is_finished => Err(failed(
            "the replay ended before everything was written; call it again with the same files",
        )),
        [] => Ok(()),
        [problem] => Err(failed(format!("{problem}; {rest}"))),
        [problem, more @ ..] => {
            Err(failed(format!("{problem}; and {} more, see above; {rest}", more.len())))
        }
    }
}

/// Until it is dropped.
async fn show(quiet: bool, all: Option<u64>, progress: &Progress) {
    if quiet {
        std::future::pending::<()>().await;
    }
    progress::show("bodies", all, true, || State {
        done: progress.bytes.load(Ordering::Relaxed),
        count: progress.bodies.load(Ordering::Relaxed).unsigned_abs(),
    })
    .await;
}

fn lines(replayed: &Replayed) -> String {
    let totals = &replayed.totals;
    let resumed = match replayed.resumed {
        0 => String::new(),
        resumed => format!(", {resumed} of them in earlier runs"),
    };
    format!(
        "read {} bodies{resumed}: {} with events, {} acknowledged, {} dead letters ({} new, {} already known)\n{} events: {} new, {} already known, {} no longer kept",
        totals.bodies,
        totals.with_events,
        totals.acknowledged,
        totals.dead_letters,
        totals.new_dead_letters,
        totals.dead_letters - totals.new_dead_letters,
        totals.new_events + totals.known_events + totals.expired_events,
        totals.new_events,
        totals.known_events,
        totals.expired_events,
    )
}

fn as_json(replayed: &Replayed) -> Value {
    let totals = &replayed.totals;
    json!({
        "finished": replayed.is_finished,
        "read": totals.bodies,
        "read_in_earlier_runs": replayed.resumed,
        "with_events": totals.with_events,
        "acknowledged": totals.acknowledged,
        "dead_letters": totals.dead_letters,
        "new_dead_letters": totals.new_dead_letters,
        "new_events": totals.new_events,
        "known_events": totals.known_events,
        "expired_events": totals.expired_events,
        "problems": replayed.problems,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::exit::FAILED;

    #[derive(clap::Parser)]
    struct Arguments {
        #[command(flatten)]
        replay: ReplayArgs,
    }

    #[test]
    fn each_total_is_documented() {
        let operations = include_str!("../../docs/operations.md");
        let totals = as_json(&Replayed::default());
        for key in totals.as_object().expect("an object").keys() {
            assert!(operations.contains(&format!("`{key}`")), "{key} is not documented");
        }
    }

    #[test]
    fn only_what_is_finished_without_a_problem_succeeds() {
        let args = Arguments::parse_from(["replay"]).replay;
        let code = |is_finished, problems: &[&str]| {
            let problems = problems.iter().map(ToString::to_string).collect();
            let replayed = Replayed { is_finished, problems, ..Replayed::default() };
            conclude(&args, &replayed).err().map(|failure| failure.code)
        };
        assert_eq!(code(true, &[]), None);
        assert_eq!(code(false, &[]), Some(FAILED));
        assert_eq!(code(false, &["cut"]), Some(FAILED));
        assert_eq!(code(true, &["missing"]), Some(FAILED));
    }
}
