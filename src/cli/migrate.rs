//! `ses-reports migrate`: for people and for pipelines.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::exit::{DIVERGENT, DRIFT, Failure, LINT, MIGRATE_HELP, NEWER, PENDING, USAGE, failed};
use super::{answer, until_signal, worker};
use crate::baseline::{self, Baseline, Converted};
use crate::config::{RulesArgs, SchemaArgs, Wrong};
use crate::postgres::SchemaName;
use crate::schema::{self, Applied, Downto, Drift, MigrationState, Plan, Repair, Status};
use crate::store::{self, Check, HandMadeTables, Store};

/// A transaction of a thousand rows of tables that were made by hand.
const CONVERT_TIMEOUT: Duration = Duration::from_mins(5);

/// What to do with the schema.
#[derive(Debug, Subcommand)]
#[command(after_help = MIGRATE_HELP)]
pub(super) enum Command {
    /// Show what is applied, pending, divergent and missing
    #[command(after_help = MIGRATE_HELP)]
    Status {
        #[command(flatten)]
        schema: SchemaArgs,
        /// Exit 3 if something is pending, 4 if it diverges, 8 if the database is newer
        #[arg(long)]
        check: bool,
    },
    /// Show what `up` would do: the SQL, its locks, what it rewrites, what the linter says
    ///
    /// Tries it on a shadow database on the same server, which is dropped afterwards. Without the
    /// right to create one it prints the SQL alone.
    #[command(after_help = MIGRATE_HELP)]
    Plan {
        #[command(flatten)]
        schema: SchemaArgs,
        /// Up to this version
        #[arg(long, value_name = "VERSION")]
        to: Option<u32>,
    },
    /// Apply what is pending; `ses-reports --migrate-only` does the same
    #[command(after_help = MIGRATE_HELP)]
    Up {
        #[command(flatten)]
        schema: SchemaArgs,
        /// Up to this version
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
        /// Down to this version; 0 undoes everything
        #[arg(long, value_name = "VERSION", required_unless_present = "steps")]
        to: Option<u32>,
        /// So many migrations
        #[arg(long, value_name = "COUNT", conflicts_with = "to")]
        steps: Option<u32>,
        /// Drop tables and columns that hold rows
        #[arg(long)]
        allow_data_loss: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Find drift: compare the live schema with what its migrations make
    ///
    /// Makes them in a shadow database on the same server, which is dropped afterwards; of the live
    /// database it only reads.
    #[command(after_help = MIGRATE_HELP)]
    Verify {
        #[command(flatten)]
        schema: SchemaArgs,
        /// Also check that no detail is without its report and that reports equal the fold of their
        /// details: reads every row
        #[arg(long)]
        data: bool,
    },
    /// Accept migrations that were changed in comments, white space or line ends only
    #[command(after_help = MIGRATE_HELP)]
    Repair {
        #[command(flatten)]
        schema: SchemaArgs,
        #[command(flatten)]
        wait: Wait,
    },
    /// Adopt a database in which somebody made the three tables by hand
    ///
    /// Checks their columns (any types), moves them to the schema `NAME_legacy` if they are in ours,
    /// migrates, and converts every row: duplicates meet, and what cannot be understood becomes a
    /// dead letter. The old tables stay as they are. Interrupted, it is run again. Stop whoever
    /// writes to them first.
    #[command(after_help = MIGRATE_HELP)]
    Baseline {
        #[command(flatten)]
        schema: SchemaArgs,
        /// The schema that they are in, if not ours
        #[arg(long, value_name = "SCHEMA")]
        from: Option<String>,
        #[command(flatten)]
        rules: RulesArgs,
    },
    /// Write the next pair of files from a template that explains the rules
    New {
        /// What it does, in a few words: `add_tenant_column`
        name: String,
        /// The folder of the migrations
        #[arg(long, value_name = "FOLDER", default_value = "migrations")]
        migrations: PathBuf,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
}

/// How long to wait for another migrator.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Seconds to wait for another migrator to end
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
                line: format!("the linter objects to {} statements: see above", plan.findings()),
            })
        }
        Command::Up { schema, to, wait } => {
            let (status, applied) = wait.on(schema.check()?).up(*to).await?;
            changed(schema.json, "applied", &status, &applied, |status, applied| {
                worker::applied_lines(status, applied)
            });
            Ok(())
        }
        Command::Down { schema, to, steps, allow_data_loss, wait } => {
            let to = to.map_or(Downto::Steps(steps.unwrap_or(1)), Downto::Version);
            let (status, undone) = wait.on(schema.check()?).down(to, *allow_data_loss).await?;
            changed(schema.json, "undone", &status, &undone, undone_text);
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
    fn on(&self, schema: schema::Schema) -> schema::Schema {
        schema::Schema { migrator_timeout: Duration::from_secs(self.wait), ..schema }
    }
}

/// Answers in JSON or in words.
fn say<T: Serialize>(json: bool, value: &T, words: impl FnOnce(&T) -> String) {
    let text =
        if json { serde_json::to_string_pretty(value).unwrap_or_default() } else { words(value) };
    answer(&text);
}

fn changed(
    json: bool,
    what: &str,
    status: &Status,
    changed: &[Applied],
    words: impl FnOnce(&Status, &[Applied]) -> String,
) {
    let list: Vec<_> = changed
        .iter()
        .map(|one| json!({ "name": one.name, "took_ms": u64::try_from(one.took.as_millis()).unwrap_or(u64::MAX) }))
        .collect();
    let value = json!({ "schema": status.schema, "version": status.version, "newest": status.newest, what: list });
    say(json, &value, |_| words(status, changed));
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
    let doubtful = check.map_or(0, |check| check.doubtful);
    if drift.differences.is_empty() && doubtful == 0 {
        return Ok(());
    }
    let mut line = format!("{} differences", drift.differences.len());
    if doubtful > 0 {
        let _ = write!(line, ", {doubtful} doubtful reports");
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

fn data_text(check: &Check) -> String {
    let mut text = String::new();
    for doubt in &check.first {
        let _ = match &doubt.columns {
            Some(columns) => writeln!(
                text,
                "report {} is not the fold of its details: {}",
                doubt.report_id,
                columns.join(", ")
            ),
            None => writeln!(text, "details without a report: {}", doubt.report_id),
        };
    }
    let _ = write!(text, "{} reports checked, {} doubtful", check.reports, check.doubtful);
    text
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
    let done = done.map_err(|error| failed(format!("{error}: run it again to go on")))?;
    say(args.json, &done, baseline_text);
    Ok(())
}

fn baseline_text(done: &Baseline) -> String {
    let line = |table: &str, rows: &Converted| {
        format!(
            "{table}: {} rows read, {} new, {} duplicates, {} dead letters",
            rows.read, rows.new, rows.duplicates, rows.dead_letters
        )
    };
    format!(
        "{}\n{}\nthe old tables are in schema {}: drop it when you are content",
        line("aws_reports", &done.reports),
        line("aws_report_detail", &done.details),
        done.legacy
    )
}

fn status_text(status: &Status) -> String {
    let mut text = String::new();
    for line in &status.migrations {
        let state = match line.state {
            MigrationState::Applied => "applied",
            MigrationState::Pending => "pending",
            MigrationState::Divergent => "DIVERGENT",
            MigrationState::Missing => "MISSING",
            MigrationState::Newer => "newer",
        };
        let _ = write!(text, "{state:<10}{:<36}", line.name);
        if let Some(on) = &line.applied_on {
            let by = line.applied_by.as_deref().unwrap_or("unknown");
            let took = line.took_ms.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
            let on = on.split('.').next().unwrap_or(on);
            let _ = write!(text, "{on} by {by}{took}, checksum {}", line.checksum);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    for backfill in &status.backfills {
        let state = if backfill.finished { "done" } else { "running" };
        let _ = write!(text, "backfill  {:<36}{state}, {} rows", backfill.name, backfill.rows_done);
        if let Some(error) = &backfill.last_error {
            let _ = write!(text, ", last error: {error}");
        }
        text.push('\n');
    }
    let counts = [
        ("pending", status.in_state(MigrationState::Pending).len()),
        ("divergent", status.in_state(MigrationState::Divergent).len()),
        ("missing", status.in_state(MigrationState::Missing).len()),
        ("newer than this program", status.in_state(MigrationState::Newer).len()),
    ];
    let open: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    let summary = if open.is_empty() { "current".to_owned() } else { open.join(", ") };
    let _ = write!(
        text,
        "schema {} is at version {} of {}: {summary}",
        status.schema, status.version, status.newest
    );
    text
}

fn plan_text(plan: &Plan) -> String {
    let mut text = String::new();
    let at = format!("schema {} is at version {}", plan.schema, plan.version);
    if plan.migrations.is_empty() {
        return format!("-- {at}: nothing to do");
    }
    let _ = writeln!(text, "-- {at}; `up` would do this:");
    if !plan.tried {
        let _ = writeln!(
            text,
            "-- No shadow database may be created here: locks and rewrites are not known. Grant CREATEDB, or\n-- set SHADOW_DATABASE_URL to another server where one may."
        );
    }
    for migration in &plan.migrations {
        let way = if migration.transaction {
            "one transaction"
        } else {
            "statement by statement, outside of a transaction"
        };
        let _ = writeln!(text, "\n-- == {}: {way}", migration.name);
        for finding in &migration.lint {
            let _ = writeln!(
                text,
                "-- LINT {} (line {}): {}",
                finding.rule, finding.line, finding.says
            );
        }
        for step in &migration.statements {
            text.push('\n');
            for lock in &step.locks {
                let size = lock.bytes.map(|bytes| format!(", {}", size(bytes))).unwrap_or_default();
                let waits = match lock.blocks {
                    Some(who) => format!("{who} wait"),
                    None => "nobody waits".to_owned(),
                };
                let _ =
                    writeln!(text, "-- lock: {} on {} ({waits}{size})", lock.mode, lock.relation);
            }
            for table in &step.rewrites {
                let _ = writeln!(text, "-- REWRITES {table}");
            }
            let _ = writeln!(text, "{};", step.sql.trim_end_matches(';'));
        }
        if migration.code {
            let _ = writeln!(text, "\n-- then code of the program");
        }
    }
    text
}

/// Bytes for people.
fn size(bytes: i64) -> String {
    let units = [(1_i64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.iter().find(|(unit, _)| bytes >= *unit);
    unit.map_or_else(|| format!("{bytes} bytes"), |(unit, name)| format!("{} {name}", bytes / unit))
}

fn undone_text(status: &Status, undone: &[Applied]) -> String {
    let mut text = String::new();
    for migration in undone {
        let _ = writeln!(text, "undone {} in {} ms", migration.name, migration.took.as_millis());
    }
    let nothing = if undone.is_empty() { ": nothing to do" } else { "" };
    let _ = write!(text, "schema {} is at version {}{nothing}", status.schema, status.version);
    text
}

fn drift_text(drift: &Drift) -> String {
    let mut text = String::new();
    for difference in &drift.differences {
        let what = match (&difference.expected, &difference.found) {
            (Some(_), None) => "is missing",
            (None, Some(_)) => "is not made by any migration",
            _ => "differs",
        };
        let _ = writeln!(text, "{} {} {what}", difference.kind, difference.name);
        if let Some(expected) = &difference.expected {
            let _ = writeln!(text, "  expected: {expected}");
        }
        if let Some(found) = &difference.found {
            let _ = writeln!(text, "  found:    {found}");
        }
        let _ = writeln!(text, "  to mend:  {}", difference.mend());
    }
    let _ = match drift.differences.len() {
        0 => write!(text, "schema {} is what version {} makes", drift.schema, drift.version),
        count => write!(
            text,
            "schema {} differs from version {} in {count} places",
            drift.schema, drift.version
        ),
    };
    text
}

fn repair_text(repairs: &[Repair]) -> String {
    if repairs.is_empty() {
        return "nothing to repair: every applied migration is as it was applied".to_owned();
    }
    repairs.iter().fold(String::new(), |mut text, repair| {
        let verdict = if repair.accepted { "accepted" } else { "refused" };
        let _ = writeln!(
            text,
            "{verdict} {}: {} (checksum {} → {})",
            repair.name, repair.compared, repair.was, repair.is
        );
        text
    })
}

impl SchemaArgs {
    fn check(&self) -> Result<schema::Schema, Wrong> {
        let mut schema = self.schema()?;
        if let Some(folder) = &self.migrations {
            schema.migrations = schema::in_folder(folder).map_err(Wrong::new)?.into();
        }
        Ok(schema)
    }
}
