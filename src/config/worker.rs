//! What the worker does, and how much of it at once.

use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::{TrustArgs, Wrong};
use crate::queue::LONGEST_VISIBILITY;
use crate::retention::Retain;
use crate::worker::WorkerSettings;

/// What the worker does, and how much of it at once.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Worker")]
pub(crate) struct WorkerArgs {
    /// The URL of the queue, which also names the region. Credentials and endpoint come from the usual AWS_*
    /// settings
    #[arg(long, env, value_name = "URL")]
    pub(crate) sqs_queue_url: Option<String>,

    /// Apply the pending migrations, print their names, and exit. This is the deploy step: it needs no queue
    /// and ignores the other settings of a worker
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub(crate) migrate_only: bool,

    /// Consume without migrating first. A schema older than this program needs is refused, a newer one
    /// is accepted
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub(crate) no_migrate: bool,

    /// How many whole months of details (one row per event and recipient) to keep, besides the current
    /// one. Older months are dropped, and late events of those months are not stored. Without it, all are
    /// kept
    #[arg(long, env, value_name = "MONTHS", value_parser = clap::value_parser!(u16).range(1..=1200))]
    pub(crate) retain_details: Option<u16>,

    /// How many whole months of reports (one row per message and recipient) to keep, besides the current
    /// one: at least as many as `RETAIN_DETAILS`, which has to be set as well. Older reports are removed.
    /// Without it, all are kept
    #[arg(long, env, value_name = "MONTHS", value_parser = clap::value_parser!(u16).range(1..=1200))]
    pub(crate) retain_reports: Option<u16>,

    /// How many days to keep dead letters, which hold whole messages with their addresses. The totals of
    /// a finished replay are kept as long. Without it, all are kept
    #[arg(long, env, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=36_500))]
    pub(crate) retain_dead_letters: Option<u16>,

    /// Drain and exit once no message has arrived for this long, instead of waiting for the next one
    #[arg(long, env, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) exit_when_idle: Option<u64>,

    /// The maximum number of long polls at once. There is one while the queue is quiet, and there are
    /// more while receives come back nearly full
    #[arg(long, env, default_value_t = 128, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) pollers: u16,

    /// How many transactions write at once
    #[arg(long, env, default_value_t = 2, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=32))]
    pub(crate) writers: u16,

    /// Write a batch as soon as it has this many rows
    #[arg(long, env, default_value_t = 500, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) batch_rows: u32,

    /// Write a batch as soon as its message bodies have this many bytes
    #[arg(long, env, default_value_t = 8_388_608, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch_bytes: u32,

    /// Write a batch as soon as its first message has waited this long
    #[arg(long, env, default_value_t = 50, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(..=60_000))]
    pub(crate) batch_linger: u64,

    /// The maximum number of messages that are held between receive and delete
    #[arg(long, env, default_value_t = 5_000, value_name = "MESSAGES", value_parser = clap::value_parser!(u32).range(10..))]
    pub(crate) max_in_flight: u32,

    /// The approximate maximum of bytes of message bodies that are held between receive and delete.
    /// Each open poll reserves as many bytes as recent receives had
    #[arg(long, env, default_value_t = 67_108_864, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1_048_576..))]
    pub(crate) max_in_flight_bytes: u32,

    /// How long a received message stays hidden from other workers. It is renewed while the message is
    /// held, so this is how long a crash delays the messages that were in flight
    #[arg(long, env, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(2..=i64::from(LONGEST_VISIBILITY)))]
    pub(crate) visibility_timeout: u32,

    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

impl WorkerArgs {
    /// Checks what was given: the queue's URL and the settings.
    ///
    /// # Errors
    /// One line that says what to change.
    pub(crate) fn check(&self) -> Result<(String, WorkerSettings), Wrong> {
        let url = self.sqs_queue_url.as_deref().map(str::trim).unwrap_or_default();
        if url.is_empty() {
            return Err(Wrong::new(
                "SQS_QUEUE_URL is missing: set it to https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE",
            ));
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Wrong::new(
                "SQS_QUEUE_URL is not a URL: it must start with https:// (an ARN or a name does not work)",
            ));
        }
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let settings = WorkerSettings {
            pollers: self.pollers.into(),
            writers: self.writers.into(),
            batch_rows: size(self.batch_rows),
            batch_bytes: size(self.batch_bytes),
            batch_linger: Duration::from_millis(self.batch_linger),
            max_in_flight: size(self.max_in_flight),
            max_in_flight_bytes: size(self.max_in_flight_bytes),
            exit_when_idle: self.exit_when_idle.map(Duration::from_secs),
            retain: self.retain()?,
            trust: self.trust.check()?,
        };
        Ok((url.to_owned(), settings))
    }

    /// Details are never kept longer than their reports, because only the report says which message and
    /// recipient they belong to.
    fn retain(&self) -> Result<Option<Retain>, Wrong> {
        match (self.retain_details, self.retain_reports) {
            (None, Some(_)) => Err(Wrong::new(
                "RETAIN_REPORTS needs RETAIN_DETAILS: otherwise details without reports would remain; set both",
            )),
            (Some(details), Some(reports)) if reports < details => Err(Wrong::new(format!(
                "RETAIN_REPORTS={reports} is less than RETAIN_DETAILS={details}: reports are kept at least as long as their details"
            ))),
            (details, reports) => {
                let retain = Retain { details, reports, dead_letters: self.retain_dead_letters };
                Ok((!retain.keeps_all()).then_some(retain))
            }
        }
    }
}
