//! The settings: flags with environment variables of the same name, checked once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use clap::builder::{BoolishValueParser, NonEmptyStringValueParser};
use clap::{ArgAction, Args, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use crate::decode::Rules;
use crate::postgres::SchemaName;
use crate::queue::LONGEST_VISIBILITY;
use crate::retention::Retain;
use crate::schema::Schema;
use crate::schema::grants::{RoleName, Roles};
use crate::store::Selection;
use crate::trust::{self, Verify};

/// A setting that is missing or wrong: one line that says what to mend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(String);

impl Wrong {
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

/// Where the report tables are.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "PostgreSQL")]
pub struct DatabaseArgs {
    /// PostgreSQL, as `postgres://user:password@host/database`; add ?sslmode=verify-full&sslrootcert=FILE
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub database_url: Option<SecretString>,

    /// PostgreSQL itself, past any pooler, as a role that may change the schema; migrations use it
    /// instead of `DATABASE_URL`
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub migration_database_url: Option<SecretString>,

    /// The PostgreSQL schema that the service owns; created if missing
    #[arg(long, env, default_value = "aws_reports", value_name = "NAME")]
    pub database_schema: String,

    /// Seconds that one transaction may take before it is given up and tried again
    #[arg(long, env, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub database_timeout: u64,

    /// Keep statements prepared from one transaction to the next; false behind a pooler in
    /// transaction mode that does not track them (`PgBouncer` before 1.21, or `max_prepared_statements` 0)
    #[arg(long, env, default_value_t = true, action = ArgAction::Set, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub prepared_statements: bool,
}

/// Which schema a command is about, and how it answers.
#[derive(Debug, Clone, Args)]
pub struct SchemaArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see DatabaseArgs")]
    pub database: DatabaseArgs,

    /// Where shadow databases are made, if not beside the database itself: a server of the same version
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub shadow_database_url: Option<SecretString>,

    /// Take the migrations of this folder instead of the embedded ones: for who writes new ones
    #[arg(long, value_name = "FOLDER")]
    pub migrations: Option<PathBuf>,

    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// How events are read.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Events")]
pub struct RulesArgs {
    /// The SES message tag that says what kind of mail it is
    #[arg(long, env, default_value = "report_type", value_name = "TAG", value_parser = NonEmptyStringValueParser::new())]
    pub report_type_tag: String,

    /// The SES message tag that names the customer
    #[arg(long, env, default_value = "user_id", value_name = "TAG", value_parser = NonEmptyStringValueParser::new())]
    pub user_id_tag: String,
}

/// What the worker does and how much of it at once.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Worker")]
pub struct WorkerArgs {
    /// The queue. Region, credentials and endpoint come from the usual AWS_* variables
    #[arg(long, env, value_name = "URL")]
    pub sqs_queue_url: Option<String>,

    /// Apply pending migrations, say which, and exit: the deploy step; the settings of a worker are
    /// ignored
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub migrate_only: bool,

    /// Consume without migrating; refuses a schema that is older than this binary needs
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub no_migrate: bool,

    /// Keep the details of so many whole months before the current one; older months are dropped,
    /// and late events of theirs are not stored. Default: for ever
    #[arg(long, env, value_name = "MONTHS", value_parser = clap::value_parser!(u16).range(1..=1200))]
    pub retain_details: Option<u16>,

    /// Keep the reports of so many whole months before the current one, at least as many as of the
    /// details; older ones are removed. Default: for ever
    #[arg(long, env, value_name = "MONTHS", value_parser = clap::value_parser!(u16).range(1..=1200))]
    pub retain_reports: Option<u16>,

    /// Exit once nothing arrived for that long and all is written and deleted
    #[arg(long, env, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub exit_when_idle: Option<u64>,

    /// Long polls at once, at most: one while the queue is quiet, more while receives come back full
    #[arg(long, env, default_value_t = 16, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=128))]
    pub pollers: u16,

    /// Transactions at once
    #[arg(long, env, default_value_t = 2, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=32))]
    pub writers: u16,

    /// Write a batch at this many rows
    #[arg(long, env, default_value_t = 500, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub batch_rows: u32,

    /// Write a batch at this many bytes of message bodies
    #[arg(long, env, default_value_t = 8_388_608, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_bytes: u32,

    /// Write a batch when its first message has waited that long
    #[arg(long, env, default_value_t = 50, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(..=60_000))]
    pub batch_linger: u64,

    /// Hold at most this many messages between receive and delete
    #[arg(long, env, default_value_t = 5_000, value_name = "MESSAGES", value_parser = clap::value_parser!(u32).range(10..))]
    pub max_in_flight: u32,

    /// Hold at most about this many bytes of message bodies between receive and delete; an open
    /// poll sets 2.5 MiB aside
    #[arg(long, env, default_value_t = 67_108_864, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1_048_576..))]
    pub max_in_flight_bytes: u32,

    /// Seconds that a received message stays hidden from other workers; renewed while it is held,
    /// so this is how long a crash delays what was in flight
    #[arg(long, env, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(2..=i64::from(LONGEST_VISIBILITY)))]
    pub visibility_timeout: u32,

    #[command(flatten)]
    #[expect(missing_docs, reason = "see TrustArgs")]
    pub trust: TrustArgs,
}

/// Whose messages are believed.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust")]
pub struct TrustArgs {
    /// Take messages of these SNS topics only; any other message becomes a dead letter
    #[arg(long, env, value_name = "ARN,…", value_delimiter = ',')]
    pub sns_topic_arns: Vec<String>,

    /// What becomes of a message that SNS has not signed
    #[arg(long, env, default_value = "off", value_name = "MODE")]
    pub verify_sns: Verify,

    /// For emulators and tests: believe the certificates below this URL, whoever issued them
    #[arg(long, env, value_name = "URL")]
    pub sns_cert_url_prefix: Option<String>,
}

impl TrustArgs {
    /// Checks what was given.
    ///
    /// # Errors
    /// One line that says what to mend.
    pub fn check(&self) -> Result<trust::Settings, Wrong> {
        let topics = self.sns_topic_arns.iter().map(|arn| arn.trim()).map(|arn| {
            arn.parse().map_err(|error| Wrong(format!("SNS_TOPIC_ARNS: {arn:?} is {error}")))
        });
        let prefix = self.sns_cert_url_prefix.as_deref().map(str::trim);
        let emulator = prefix
            .map(|prefix| {
                prefix.parse().map_err(|error| {
                    Wrong(format!("SNS_CERT_URL_PREFIX cannot be {prefix:?}: {error}"))
                })
            })
            .transpose()?;
        Ok(trust::Settings {
            topics: topics.collect::<Result<_, _>>()?,
            verify: self.verify_sns,
            emulator,
        })
    }
}

/// Where the worker tells how it is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpArgs {
    /// Serve /livez, /readyz and /metrics (Prometheus) here, such as 0.0.0.0:9090; off by default
    #[arg(long, env, value_name = "ADDRESS:PORT")]
    pub http_addr: Option<String>,
}

impl HttpArgs {
    /// The address, if one was given.
    ///
    /// # Errors
    /// One line that says what to mend.
    pub fn check(&self) -> Result<Option<SocketAddr>, Wrong> {
        match self.http_addr.as_deref().map(str::trim).filter(|address| !address.is_empty()) {
            None => Ok(None),
            Some(address) => address.parse().map(Some).map_err(|_error| {
                Wrong(format!("HTTP_ADDR is no address with a port: {address:?}; use 0.0.0.0:9090"))
            }),
        }
    }
}

/// The log, on standard error.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// What to log: a level, or directives such as `info,ses_reports=debug`
    #[arg(long, env, global = true, default_value = "info", value_name = "FILTER")]
    pub log_filter: String,

    /// How to log
    #[arg(long, env, global = true, default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// The forms of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `ses-reports decode`.
#[derive(Debug, Clone, Args)]
pub struct DecodeArgs {
    /// Each file is one SQS message body; - is standard input, one body a line
    #[arg(value_name = "FILE", default_value = "-")]
    pub files: Vec<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "see RulesArgs")]
    pub rules: RulesArgs,
}

/// `ses-reports replay`.
#[derive(Debug, Clone, Args)]
#[command(after_help = REPLAY_HELP, max_term_width = 100)]
pub struct ReplayArgs {
    /// Files, folders (with all files in them, in the order of their names) and - for standard input
    #[arg(value_name = "FILE|FOLDER|-", default_value = "-")]
    pub paths: Vec<PathBuf>,

    /// Begin anew, where a run was interrupted
    #[arg(long)]
    pub from_start: bool,

    /// Transactions at once
    #[arg(long, default_value_t = 3, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=32))]
    pub at_once: u16,

    /// Show no progress
    #[arg(long)]
    pub quiet: bool,

    /// Answer in JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "see DatabaseArgs")]
    pub database: DatabaseArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "see RulesArgs")]
    pub rules: RulesArgs,
}

const REPLAY_HELP: &str = "\
Bodies may be one a line, one a file, in a JSON array, or one after another with nothing in between, as
Firehose writes them; gzip is recognised. Whatever is no event becomes a dead letter, with its reason.
An archive is your own: SNS_TOPIC_ARNS and VERIFY_SNS do not hold here, and no signature is asked for.

A run that was interrupted goes on where it was when it is called again with the same files, and its sums
count both runs; standard input begins anew. What was replayed to the end is replayed again, which changes
nothing. Workers may run meanwhile. It needs the rights of the schema's owner or of `grants --operator`.

  ses-reports replay archive.jsonl.gz
  ses-reports replay firehose/2026/11/
  aws s3 cp s3://BUCKET/KEY - | ses-reports replay";

/// `ses-reports redrive`.
#[derive(Debug, Clone, Args)]
#[command(after_help = REDRIVE_HELP, max_term_width = 100)]
pub struct RedriveArgs {
    /// The dead-letter queue. Region, credentials and endpoint come from the usual AWS_* variables
    #[arg(long, value_name = "URL")]
    pub from: String,

    /// The queue of the workers, which is refused: they drain it themselves
    #[arg(long, env, value_name = "URL")]
    pub sqs_queue_url: Option<String>,

    /// Show no progress
    #[arg(long)]
    pub quiet: bool,

    /// Answer in JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "see DatabaseArgs")]
    pub database: DatabaseArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "see RulesArgs")]
    pub rules: RulesArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "see TrustArgs")]
    pub trust: TrustArgs,
}

const REDRIVE_HELP: &str = "\
Each message is written and then deleted from the dead-letter queue, as a worker does it; what is no event
is stored as a dead letter, where `ses-reports dead-letters` finds it. It ends when the queue is empty, and
needs the rights of a worker, on that queue too.

  ses-reports redrive --from https://sqs.eu-west-1.amazonaws.com/123456789012/ses-events-dead";

/// Which dead letters.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Which")]
pub struct LettersArgs {
    /// Those whose reason begins so, such as "not JSON"
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Those whose source begins so: sqs:QUEUE, replay:FILE:LINE or baseline
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,

    /// Those stored at that time or later: 2026-11-20T10:00:00Z, 2026-11-20, or 2h, 7d (ago)
    #[arg(long, value_name = "TIME", value_parser = Moment::read)]
    pub since: Option<Moment>,

    /// Those stored before that time
    #[arg(long, value_name = "TIME", value_parser = Moment::read)]
    pub until: Option<Moment>,
}

/// A time, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// By the calendar.
    At(OffsetDateTime),
    /// So long before now.
    Ago(Duration),
}

impl Moment {
    fn read(text: &str) -> Result<Self, String> {
        let day = || Date::parse(text, format_description!("[year]-[month]-[day]"));
        OffsetDateTime::parse(text, &Rfc3339)
            .map(Self::At)
            .or_else(|_error| day().map(|day| Self::At(day.midnight().assume_utc())))
            .or_else(|_error| humantime::parse_duration(text).map(Self::Ago))
            .map_err(|_error| {
                "no time: write 2026-11-20T10:00:00Z, 2026-11-20, or 2h or 7d for so long ago"
                    .to_owned()
            })
    }

    /// The time that it is.
    fn before(self, now: OffsetDateTime) -> Result<OffsetDateTime, Wrong> {
        match self {
            Self::At(time) => Ok(time),
            Self::Ago(span) => time::Duration::try_from(span)
                .ok()
                .and_then(|span| now.checked_sub(span))
                .ok_or_else(|| Wrong::new("so long ago there was no calendar")),
        }
    }
}

impl LettersArgs {
    /// What is selected, if anything is.
    ///
    /// # Errors
    /// One line that says what to mend.
    pub fn selection(&self, now: OffsetDateTime) -> Result<Option<Selection>, Wrong> {
        let time = |moment: Option<Moment>| moment.map(|moment| moment.before(now)).transpose();
        let selection = Selection {
            ids: None,
            reason: self.reason.clone(),
            source: self.source.clone(),
            since: time(self.since)?,
            until: time(self.until)?,
        };
        Ok(Some(selection).filter(|selection| *selection != Selection::default()))
    }
}

/// `ses-reports grants`.
#[derive(Debug, Clone, Args)]
pub struct GrantsArgs {
    /// The role that owns the schema and migrates it
    #[arg(long, value_name = "ROLE", default_value = "ses_reports_owner")]
    pub owner: String,

    /// The role of the workers
    #[arg(long, value_name = "ROLE", default_value = "ses_reports_worker")]
    pub worker: String,

    /// A role that may read all tables and views
    #[arg(long, value_name = "ROLE")]
    pub reader: Option<String>,

    /// A role that may make the report row of a mail that it sends, and set its customer and kind
    #[arg(long, value_name = "ROLE")]
    pub sender: Option<String>,

    /// A role that may do what the worker may, replay archives, and read, retry and delete dead letters
    #[arg(long, value_name = "ROLE")]
    pub operator: Option<String>,

    /// The PostgreSQL schema that the service owns
    #[arg(long, env, default_value = "aws_reports", value_name = "NAME")]
    pub database_schema: String,

    /// One JSON object: the rights, and the SQL
    #[arg(long)]
    pub json: bool,
}

impl GrantsArgs {
    /// Checks what was given.
    ///
    /// # Errors
    /// One line that says what to mend.
    pub fn check(&self) -> Result<(SchemaName, Roles), Wrong> {
        let role = |flag: &str, name: &str| {
            RoleName::new(name).map_err(|error| Wrong(format!("--{flag}: {error}")))
        };
        let roles = Roles {
            owner: role("owner", &self.owner)?,
            worker: role("worker", &self.worker)?,
            reader: self.reader.as_deref().map(|name| role("reader", name)).transpose()?,
            sender: self.sender.as_deref().map(|name| role("sender", name)).transpose()?,
            operator: self.operator.as_deref().map(|name| role("operator", name)).transpose()?,
        };
        let mut names = vec![&roles.owner, &roles.worker];
        names.extend(&roles.reader);
        names.extend(&roles.sender);
        names.extend(&roles.operator);
        names.sort_by_key(|role| role.as_str());
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let name = pair[0].as_str();
            return Err(Wrong(format!("{name:?} is given twice: each role is another")));
        }
        let schema = SchemaName::new(&self.database_schema)
            .map_err(|error| Wrong(format!("DATABASE_SCHEMA: {error}")))?;
        Ok((schema, roles))
    }
}

/// PostgreSQL, checked.
#[derive(Debug, Clone)]
pub struct Database {
    /// How the worker connects, and whoever only reads the schema's version: maybe through a pooler.
    pub options: PgConnectOptions,
    /// How to connect for changing the schema.
    pub migration_options: PgConnectOptions,
    /// Whether that is `MIGRATION_DATABASE_URL`, for errors to name it.
    pub has_migration_url: bool,
    /// The schema that holds the tables.
    pub schema: SchemaName,
    /// What bounds each transaction.
    pub timeout: Duration,
    /// Whether a statement may outlive its transaction.
    pub prepared_statements: bool,
}

/// What the worker does and how much of it at once, checked.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Long polls at once.
    pub pollers: usize,
    /// Transactions at once.
    pub writers: usize,
    /// A batch is written at this many rows,
    pub batch_rows: usize,
    /// at this many bytes of bodies,
    pub batch_bytes: usize,
    /// or at this age.
    pub batch_linger: Duration,
    /// Most messages between receive and delete.
    pub max_in_flight: usize,
    /// Most bytes of their bodies.
    pub max_in_flight_bytes: usize,
    /// Exit after that long without a message.
    pub exit_when_idle: Option<Duration>,
    /// For how long rows are kept, if not for ever.
    pub retain: Option<Retain>,
    /// Whose messages are believed.
    pub trust: trust::Settings,
}

impl SchemaArgs {
    /// The schema with the embedded migrations.
    ///
    /// # Errors
    /// One line that says what to mend.
    pub fn schema(&self) -> Result<Schema, Wrong> {
        let database = self.database.check_to_migrate()?;
        let shadow = connect_options("SHADOW_DATABASE_URL", self.shadow_database_url.as_ref())?;
        Ok(Schema { shadow, ..Schema::new(database.migration_options, database.schema) })
    }
}

impl DatabaseArgs {
    /// Checks what was given.
    ///
    /// # Errors
    /// One line that says what to mend, without the password.
    pub fn check(&self) -> Result<Database, Wrong> {
        let migration =
            connect_options(MIGRATION_DATABASE_URL, self.migration_database_url.as_ref())?;
        let options =
            connect_options(DATABASE_URL, self.database_url.as_ref())?.ok_or_else(|| {
                Wrong::new(
                    "DATABASE_URL is missing: set it to postgres://user:password@host/database",
                )
            })?;
        self.database(options, migration)
    }

    /// The same for who only changes the schema: `MIGRATION_DATABASE_URL` alone is enough.
    ///
    /// # Errors
    /// One line that says what to mend, without the password.
    pub fn check_to_migrate(&self) -> Result<Database, Wrong> {
        match connect_options(MIGRATION_DATABASE_URL, self.migration_database_url.as_ref())? {
            Some(migration) => self.database(migration.clone(), Some(migration)),
            None => self.check(),
        }
    }

    fn database(
        &self,
        options: PgConnectOptions,
        migration: Option<PgConnectOptions>,
    ) -> Result<Database, Wrong> {
        let schema = SchemaName::new(&self.database_schema)
            .map_err(|error| Wrong(format!("DATABASE_SCHEMA: {error}")))?;
        Ok(Database {
            has_migration_url: migration.is_some(),
            migration_options: migration.unwrap_or_else(|| options.clone()),
            options,
            schema,
            timeout: Duration::from_secs(self.database_timeout),
            prepared_statements: self.prepared_statements,
        })
    }
}

const DATABASE_URL: &str = "DATABASE_URL";
const MIGRATION_DATABASE_URL: &str = "MIGRATION_DATABASE_URL";

/// Reads a URL, if there is one, without telling any part of it.
fn connect_options(
    variable: &str,
    url: Option<&SecretString>,
) -> Result<Option<PgConnectOptions>, Wrong> {
    let url = url.map(|url| url.expose_secret().trim()).unwrap_or_default();
    if url.is_empty() {
        return Ok(None);
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(Wrong(format!("{variable} is no PostgreSQL URL: it starts with postgres://")));
    }
    // The cause may quote a part of the URL.
    let options = PgConnectOptions::from_str(url).map_err(|_error| {
        Wrong(format!(
            "{variable} cannot be read: check its port, its sslmode and its percent-encoding"
        ))
    })?;
    // The brackets of an IPv6 address belong to the URL, not to the address.
    let address = options.get_host().trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Some(
        options
            .host(&address)
            .application_name("ses-reports")
            // A startup parameter that poolers refuse; no floating-point number is ever read.
            .extra_float_digits(None),
    ))
}

impl RulesArgs {
    /// The rules for decode.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            report_type_tag: self.report_type_tag.clone(),
            user_id_tag: self.user_id_tag.clone(),
        }
    }
}

impl WorkerArgs {
    /// Checks what was given: the queue's URL and the settings.
    ///
    /// # Errors
    /// One line that says what to mend.
    pub fn check(&self) -> Result<(String, WorkerSettings), Wrong> {
        let url = self.sqs_queue_url.as_deref().map(str::trim).unwrap_or_default();
        if url.is_empty() {
            return Err(Wrong(
                "SQS_QUEUE_URL is missing: set it to https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE".to_owned(),
            ));
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Wrong(
                "SQS_QUEUE_URL is no URL: it starts with https:// (an ARN or a name will not do)"
                    .to_owned(),
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

    /// Details are never kept longer than their reports: they would say nothing of whom they are.
    fn retain(&self) -> Result<Option<Retain>, Wrong> {
        match (self.retain_details, self.retain_reports) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Wrong::new(
                "RETAIN_REPORTS needs RETAIN_DETAILS: details without their reports would be left; set both",
            )),
            (Some(details), Some(reports)) if reports < details => Err(Wrong(format!(
                "RETAIN_REPORTS={reports} is less than RETAIN_DETAILS={details}: reports are kept at least as long as their details"
            ))),
            (Some(details), reports) => Ok(Some(Retain { details, reports })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = datetime!(2026-11-21 12:00 UTC);
        for (text, time) in [
            ("2026-11-20T10:00:00+01:00", datetime!(2026-11-20 09:00 UTC)),
            ("2026-11-20", datetime!(2026-11-20 00:00 UTC)),
            ("2h", datetime!(2026-11-21 10:00 UTC)),
            ("7d", datetime!(2026-11-14 12:00 UTC)),
            ("1h 30m", datetime!(2026-11-21 10:30 UTC)),
        ] {
            let read = Moment::read(text).expect(text).before(now).expect(text);
            assert_eq!(read, time, "{text}");
        }
        for text in ["", "yesterday", "2026-13-01", "-2h"] {
            assert!(Moment::read(text).is_err(), "{text}");
        }
        assert!(Moment::read("9999999y").expect("a span").before(now).is_err());
    }
}
