//! `ses-reports migrate`: the commands that show and change the schema, for people and for pipelines.

mod text;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::json;

use super::exit::{DIVERGENT, DRIFT, Failure, LINT, MIGRATE_HELP, NEWER, PENDING, USAGE, failed};
use super::{answer, until_signal, worker};
use crate::baseline;
use crate::config::{DatabaseArgs, RulesArgs, Wrong, connect_options};
use crate::postgres::SchemaName;
use crate::schema::{self, Applied, Downto, Drift, MigrationState, Schema, Status};
use crate::store::{self, Check, HandMadeTables, Store};
use text::{
    baseline_text, data_text, drift_text, plan_text, repair_text, status_text, undone_text,
};

/// A transaction of a thousand rows of tables that were created by hand.
const CONVERT_TIMEOUT: Duration = Duration::from_mins(5);

/// What to do with the schema.
#[derive(Debug, Subcommand)]
#[command(after_help = MIGRATE_HELP)]
pub(super) enum Command {
    /// Show which migrations are applied, pending, divergent or missing
    #[command(after_help = MIGRATE_HELP)]
    Status {
        #[command(flatten)]
        schema: SchemaArgs,
        /// Exit with 3 if migrations are pending, 4 if the history diverges, 8 if the database is newer
        #[arg(long)]
        check: bool,
    },
    /// Show what `up` would do: the SQL, the locks it takes, the tables it rewrites, and what the linter
    /// says
    ///
    /// The migrations are tried on a shadow database on the same server, which is dropped afterwards. Without the
    /// right to create one, only the SQL is shown.
    #[command(after_help = MIGRATE_HELP)]
    Plan {
        #[command(flatten)]
        schema: SchemaArgs,
        /// Stop at this version
        #[arg(long, value_name = "VERSION")]
        to: Option<u32>,
    },
    /// Apply the pending migrations; `ses-reports --migrate-only` does the same
    #[command(after_help = MIGRATE_HELP)]
    Up {
        #[command(flatten)]
        schema: SchemaArgs,
        /// Stop at this version
        #[arg(long, value_name = "VERSION")]
        to: Option<u32>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Undo migrations, newest first
    #[command(after_help = MIGRATE_HELP)]
    Down {
        #[command(flatten)]
        schema: SchemaArgs,
        /// Undo every migration above this version; 0 undoes everything
        #[arg(long, value_name = "VERSION", required_unless_present = "steps")]
        to: Option<u32>,
        /// Undo this many migrations
        #[arg(long, value_name = "COUNT", conflicts_with = "to")]
        steps: Option<u32>,
        /// Drop tables and columns even if they hold rows
        #[arg(long)]
        allow_data_loss: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Find drift: compare the live schema with what the migrations create
    ///
    /// The migrations are applied to a shadow database on the same server, which is dropped afterwards.
    /// The live database is only read.
    #[command(after_help = MIGRATE_HELP)]
    Verify {
        #[command(flatten)]
        schema: SchemaArgs,
        /// Also check that every detail has a report, that every report matches its details, and that the
        /// daily figures match the reports. This reads every row
        #[arg(long)]
        data: bool,
    },
    /// Accept applied migrations in whose files only comments, white space or line ends have changed
    #[command(after_help = MIGRATE_HELP)]
    Repair {
        #[command(flatten)]
        schema: SchemaArgs,
        #[command(flatten)]
        wait: Wait,
    },
    /// Adopt a database in which the three tables were created by hand
    ///
    /// The tables are `aws_reports`, `aws_report_detail` and `aws_report_type`; their columns may be of
    /// any type. The command moves them from the schema of ses-reports, NAME (`DATABASE_SCHEMA`), to
    /// `NAME_legacy`, or reads them in the schema that --from names. It then migrates, and converts
    /// every row: duplicates are merged, and a row that cannot be decoded becomes a dead letter. The old
    /// tables keep their rows. Stop every program that writes to them first. If the command is
    /// interrupted, run it again.
    #[command(after_help = MIGRATE_HELP)]
    Baseline {
        #[command(flatten)]
        schema: SchemaArgs,
        /// The schema that holds the tables, if it is not the one that ses-reports owns
        #[arg(long, value_name = "SCHEMA")]
        from: Option<String>,
        #[command(flatten)]
        rules: RulesArgs,
    },
    /// Write the next pair of files from a template that explains the rules
    New {
        /// What the migration does, in a few words, such as `add_tenant_column`
        name: String,
        /// The folder that holds the migrations
        #[arg(long, value_name = "FOLDER", default_value = "migrations")]
        migrations: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Which schema a command is about, and how it answers.
#[derive(Debug, Clone, Args)]
pub(super) struct SchemaArgs {
    #[command(flatten)]
    database: DatabaseArgs,

    /// A server of the same PostgreSQL version on which shadow databases are created. Without it, they
    /// are created on the server of the database itself
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    shadow_database_url: Option<SecretString>,

    /// Use the migrations of this folder instead of the embedded ones, while you write new ones
    #[arg(long, value_name = "FOLDER")]
    migrations: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How long to wait for another migrator.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// How long to wait for another migrator to finish
    #[arg(long, value_name = "SECONDS", default_value_t = schema::MIGRATOR_TIMEOUT.as_secs())]
    wait: u64,
}

pub(super) async fn run(command: &Command) -> Result<(), Failure> {
    until_signal(Box::pin(dispatch(command))).await
}

async fn dispatch(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Status { schema, check } => status(schema, *check).await,
        Command::Plan { schema, to } => {
            let plan = schema.check()?.plan(*to).await?;
            say(schema.json, &plan, plan_text);
            if plan.findings() == 0 {
                return Ok(());
            }
            Err(Failure {
                code: LINT,
                line: format!("the linter reports {} statements: see above", plan.findings()),
            })
        }
        Command::Up { schema, to, wait } => {
            let done = wait.on(schema.check()?).up(*to).await?;
            let mut value = changed_value("applied", &done.status, &done.applied);
            value["granted_to"] = json!(done.granted);
            say(schema.json, &value, |_| worker::applied_lines(&done));
            Ok(())
        }
        Command::Down { schema, to, steps, allow_data_loss, wait } => {
            let to = to.map_or(Downto::Steps(steps.unwrap_or(1)), Downto::Version);
            let (status, undone) = wait.on(schema.check()?).down(to, *allow_data_loss).await?;
            let value = changed_value("undone", &status, &undone);
            say(schema.json, &value, |_| undone_text(&status, &undone));
            Ok(())
        }
        Command::Verify { schema, data } => verify(schema, *data).await,
        Command::Repair { schema, wait } => {
            let repairs = wait.on(schema.check()?).repair().await?;
            say(schema.json, &repairs, |repairs| repair_text(repairs));
            match repairs.iter().find(|repair| !repair.accepted) {
                None => Ok(()),
                Some(_) => Err(Failure {
                    code: DIVERGENT,
                    line: "refused: restore the applied files and write new migrations".to_owned(),
                }),
            }
        }
        Command::Baseline { schema, from, rules } => {
            baseline_schema(schema, from.as_deref(), rules).await
        }
        Command::New { name, migrations, json } => {
            let paths = schema::new::create(migrations, name)
                .map_err(|line| Failure { code: USAGE, line })?;
            say(*json, &json!({ "up": paths[0], "down": paths[1] }), |_| {
                paths.iter().fold(String::new(), |mut text, path| {
                    let _ = writeln!(text, "wrote {}", path.display());
                    text
                })
            });
            Ok(())
        }
    }
}

impl Wait {
    fn on(&self, schema: Schema) -> Schema {
        Schema { migrator_timeout: Duration::from_secs(self.wait), ..schema }
    }
}

/// Answers in JSON or in words.
fn say<T: Serialize>(json: bool, value: &T, words: impl FnOnce(&T) -> String) {
    let text =
        if json { serde_json::to_string_pretty(value).unwrap_or_default() } else { words(value) };
    answer(&text);
}

/// What was applied or undone, for `--json`.
fn changed_value(what: &str, status: &Status, changed: &[Applied]) -> serde_json::Value {
    let list: Vec<_> = changed
        .iter()
        .map(|one| json!({ "name": one.name, "took_ms": u64::try_from(one.took.as_millis()).unwrap_or(u64::MAX) }))
        .collect();
    json!({ "schema": status.schema, "version": status.version, "newest": status.newest, what: list })
}

async fn status(args: &SchemaArgs, check: bool) -> Result<(), Failure> {
    let status = args.check()?.status().await?;
    say(args.json, &status, status_text);
    if !check {
        return Ok(());
    }
    status.check_history()?;
    if status.is_newer() {
        let line = format!("schema {} is newer than this ses-reports", status.schema);
        return Err(Failure { code: NEWER, line });
    }
    match status.in_state(MigrationState::Pending).len() {
        0 => Ok(()),
        pending => {
            Err(Failure { code: PENDING, line: format!("{pending} migrations are pending") })
        }
    }
}

async fn verify(args: &SchemaArgs, data: bool) -> Result<(), Failure> {
    let schema = args.check()?;
    let drift = schema.verify().await?;
    if data && drift.version < schema.newest() {
        return Err(failed(format!(
            "schema {} is at version {}: --data needs version {}",
            drift.schema,
            drift.version,
            schema.newest()
        )));
    }
    let check = if data {
        Some(store::check(&schema.options, &schema.name).await.map_err(schema::Error::from)?)
    } else {
        None
    };
    let value = Verified { drift: &drift, data: check.as_ref() };
    say(args.json, &value, |_| {
        let data = check.as_ref().map(data_text).unwrap_or_default();
        format!("{}\n{data}", drift_text(&drift))
    });
    let mismatched = check.as_ref().map_or(0, |check| check.mismatched);
    let days = check.map_or(0, |check| check.days.len());
    if drift.differences.is_empty() && mismatched == 0 && days == 0 {
        return Ok(());
    }
    let mut line = format!("{} differences", drift.differences.len());
    if mismatched > 0 {
        let _ = write!(line, ", {mismatched} mismatched reports");
    }
    if days > 0 {
        let _ = write!(line, ", figures of {days} days");
    }
    Err(Failure { code: DRIFT, line: line + ": see above" })
}

/// What a verification found, for `--json`.
#[derive(Serialize)]
struct Verified<'a> {
    #[serde(flatten)]
    drift: &'a Drift,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Check>,
}

async fn baseline_schema(
    args: &SchemaArgs,
    from: Option<&str>,
    rules: &RulesArgs,
) -> Result<(), Failure> {
    let schema = args.check()?;
    let from = match from {
        Some(name) => {
            SchemaName::new(name).map_err(|error| Wrong::new(format!("--from: {error}")))?
        }
        None => schema.name.clone(),
    };
    let hand_made = schema.baseline(&from).await?;
    let (options, name) = (schema.options.clone(), schema.name.clone());
    let tables =
        HandMadeTables::connect(&options, hand_made.clone()).await.map_err(schema::Error::from)?;
    let store =
        Store::connect(options, name.clone(), CONVERT_TIMEOUT, 1, true).await.map_err(failed)?;
    let done = baseline::convert(tables, &store, &name, &hand_made, &rules.rules()).await;
    let done = done.map_err(|error| failed(format!("{error}: run it again to continue")))?;
    say(args.json, &done, baseline_text);
    Ok(())
}

impl SchemaArgs {
    /// The schema, with the migrations that were asked for.
    fn check(&self) -> Result<Schema, Wrong> {
        let database = self.database.check_to_migrate()?;
        let shadow = connect_options("SHADOW_DATABASE_URL", self.shadow_database_url.as_ref())?;
        let mut schema =
            Schema { shadow, ..Schema::new(database.migration_options, database.schema) };
        if let Some(folder) = &self.migrations {
            schema.migrations = schema::in_folder(folder).map_err(Wrong::new)?.into();
        }
        Ok(schema)
    }
}
