//! `ses-reports redrive`: a worker on the dead-letter queue, until that is empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::answer;
use super::connect::connect;
use super::exit::{FAILED, Failure, USAGE, failed};
use super::progress::{self, State};
use super::source::SourceArgs;
use crate::config::TrustArgs;
use crate::queue::{self, ErrorKind, Queue, SHORT_WAIT};
use crate::worker::{Summary, WorkerSettings};
use crate::{shutdown, trust, worker};

/// `ses-reports redrive`.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP, max_term_width = 100)]
pub(super) struct RedriveArgs {
    /// The URL of the dead-letter queue, which also names the region. Credentials and endpoint come from
    /// the usual AWS_* settings
    #[arg(long, value_name = "URL")]
    from: String,

    /// The URL of the queue that the workers consume. --from must not be the same, because the workers
    /// drain that queue
    #[arg(long, env, value_name = "URL")]
    sqs_queue_url: Option<String>,

    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    trust: TrustArgs,
}

const HELP: &str = "\
Each message is written and then deleted from the dead-letter queue, as a worker does it. A \
message that is not an event is stored as a dead letter in PostgreSQL, where \
`ses-reports dead-letters` finds it. The command ends when the queue is empty. It needs \
the rights of a worker in PostgreSQL and on that queue.

  ses-reports redrive --from \"$DEAD_LETTER_QUEUE_URL\"";

/// How long the queue is quiet when it is empty.
const IDLE: Duration = Duration::from_secs(3);
const VISIBILITY: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_secs(2);

fn settings(trust: trust::Settings) -> WorkerSettings {
    WorkerSettings {
        pollers: 128,
        writers: 2,
        batch_rows: 500,
        batch_bytes: 8 * 1024 * 1024,
        batch_linger: Duration::from_millis(50),
        max_in_flight: 5_000,
        max_in_flight_bytes: 64 * 1024 * 1024,
        exit_when_idle: Some(IDLE),
        retain: None,
        trust,
    }
}

pub(super) async fn run(args: &RedriveArgs) -> Result<(), Failure> {
    let database = args.source.database.check()?;
    let url = url(args)?;
    let settings = settings(args.trust.check()?);
    let stop = shutdown::on_signals().map_err(failed)?;
    let unusable = |error: queue::Error| Failure {
        code: if error.kind == ErrorKind::Permanent { USAGE } else { FAILED },
        line: format!("--from: {error}"),
    };
    let queue = Queue::new(url, VISIBILITY, SHORT_WAIT).await.map_err(unusable)?;
    let attributes = queue.attributes().await.map_err(unusable)?;
    if attributes.has_redrive {
        tracing::warn!(
            "{} has a dead-letter queue of its own, so it may not be one itself; draining it nevertheless",
            queue.name()
        );
    }
    let owner = worker::Owner {
        options: database.migration_options.clone(),
        schema: database.schema.clone(),
    };
    let store = connect(database, settings.connections()).await?;

    let rules = args.source.rules.rules();
    let stopping = stop.child_token();
    let working =
        worker::run(queue.clone(), store, owner, rules, settings, Arc::default(), stopping);
    let summary = tokio::select! {
        summary = working => summary.map_err(failed)?,
        () = show(args.source.quiet, queue.clone(), attributes.visible) => return Ok(()),
    };
    // A count that SQS gives late is no failure.
    let left = queue.attributes().await.map_or(0, |left| left.visible + left.hidden);
    answer(&if args.source.json { as_json(&summary, left) } else { line(&summary) });
    if stop.is_cancelled() {
        return Err(failed(format!(
            "stopped by a signal: about {left} messages are left in {}",
            queue.name()
        )));
    }
    if left > 0 {
        tracing::warn!(
            "SQS still counts about {left} messages: another consumer has received them, or the count is late"
        );
    }
    Ok(())
}

fn url(args: &RedriveArgs) -> Result<String, Failure> {
    let usage = |line: &str| Failure { code: USAGE, line: line.to_owned() };
    let bare = |url: &str| url.trim().trim_end_matches('/').to_owned();
    let url = bare(&args.from);
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(usage(
            "--from is not a URL: it must start with https:// (an ARN or a name does not work)",
        ));
    }
    if args.sqs_queue_url.as_deref().map(bare) == Some(url.clone()) {
        return Err(usage(
            "--from is SQS_QUEUE_URL, the queue of the workers, which drain it themselves: give the URL of its dead-letter queue",
        ));
    }
    Ok(url)
}

/// Until it is dropped.
async fn show(quiet: bool, queue: Queue, all: u64) {
    if quiet {
        std::future::pending::<()>().await;
    }
    let left = AtomicU64::new(all);
    let ask = async {
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            if let Ok(attributes) = queue.attributes().await {
                left.store(attributes.visible, Ordering::Relaxed);
            }
        }
    };
    let done = || all.saturating_sub(left.load(Ordering::Relaxed));
    let show =
        progress::show("messages", Some(all), false, || State { done: done(), count: done() });
    tokio::join!(ask, show);
}

fn with_events(summary: &Summary) -> u64 {
    summary.received.saturating_sub(summary.acknowledged).saturating_sub(summary.dead_letters)
}

fn line(summary: &Summary) -> String {
    format!(
        "read {} messages: {} with events, {} acknowledged, {} dead letters; deleted {}\n{} events: {} new, {} already known, {} no longer kept",
        summary.received,
        with_events(summary),
        summary.acknowledged,
        summary.dead_letters,
        summary.deleted,
        summary.new_details + summary.already_known + summary.expired,
        summary.new_details,
        summary.already_known,
        summary.expired,
    )
}

fn as_json(summary: &Summary, left: u64) -> String {
    json!({
        "read": summary.received,
        "with_events": with_events(summary),
        "acknowledged": summary.acknowledged,
        "dead_letters": summary.dead_letters,
        "new_events": summary.new_details,
        "known_events": summary.already_known,
        "expired_events": summary.expired,
        "deleted": summary.deleted,
        "left": left,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_total_is_documented() {
        let operations = include_str!("../../docs/operations.md");
        let summary = Summary {
            received: 4,
            redelivered: 0,
            acknowledged: 1,
            dead_letters: 1,
            deleted: 4,
            new_details: 2,
            already_known: 1,
            expired: 0,
            not_deleted: 0,
        };
        let totals: serde_json::Value =
            serde_json::from_str(&as_json(&summary, 0)).expect("an object");
        assert_eq!(totals["with_events"], 2);
        for key in totals.as_object().expect("an object").keys() {
            assert!(operations.contains(&format!("`{key}`")), "{key} is not documented");
        }
    }
}
