//! The command line: what was asked for, and the exit code.

mod grants;

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tokio::net::TcpListener;

use crate::config::{
    Database, DatabaseArgs, DecodeArgs, GrantsArgs, HttpArgs, LogArgs, RulesArgs, WorkerArgs,
    WorkerSettings, Wrong,
};
use crate::queue::{LONGEST_WAIT, Queue, SHORT_WAIT, Trouble};
use crate::store::Store;
use crate::{archive, http, metrics, schema, shutdown, telemetry, worker};

/// Done.
const DONE: u8 = 0;
/// Failed.
const FAILED: u8 = 1;
/// Wrong usage or configuration.
const USAGE: u8 = 2;

/// Moves Amazon SES events from SQS into PostgreSQL report tables.
///
/// Without a command it migrates the schema (a no-op when current), then consumes until SIGTERM or
/// SIGINT, drains within 25 seconds, and exits 0. A second signal stops it at once.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done; 1 failed; 2 wrong usage or configuration.")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    worker: WorkerArgs,
    #[command(flatten)]
    rules: RulesArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what message bodies decode to: one JSON line each; no database, no AWS
    Decode(DecodeArgs),
    /// Print the SQL that gives the database roles their rights; no database, no AWS
    Grants(GrantsArgs),
}

/// A failure and its exit code.
struct Failure {
    code: u8,
    line: String,
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        Self { code: USAGE, line: wrong.to_string() }
    }
}

fn failed(line: impl std::fmt::Display) -> Failure {
    Failure { code: FAILED, line: line.to_string() }
}

/// Runs what the arguments ask for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let outcome =
        telemetry::init(&cli.log).map_err(Failure::from).and_then(|()| match &cli.command {
            Some(Command::Decode(args)) => decode(args),
            Some(Command::Grants(args)) => grants::print(args),
            None => migrate_or_consume(&cli),
        });
    ExitCode::from(match outcome {
        Ok(()) => DONE,
        Err(failure) => {
            say(&failure.line);
            failure.code
        }
    })
}

/// Reads arguments and environment. A variable that is empty is not set, and `decode` and `grants`
/// ask for none of the worker's.
fn parse() -> Result<Cli, clap::Error> {
    let is_offline = std::env::args_os()
        .nth(1)
        .is_some_and(|first| ["decode", "grants"].iter().any(|command| first == *command));
    let unset = |is_ignored: bool| {
        move |argument: Arg| {
            let value = argument.get_env().and_then(std::env::var_os);
            let is_ignored = is_ignored && !argument.is_global_set();
            if is_ignored || value.is_some_and(|value| value.is_empty()) {
                argument.env(Resettable::Reset)
            } else {
                argument
            }
        }
    };
    let command = Cli::command()
        .mut_args(unset(is_offline))
        .mut_subcommands(|command| command.mut_args(unset(false)));
    Cli::from_arg_matches(&command.try_get_matches()?)
}

/// `--help` and `--version` are answers; anything else is one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Fails only if nobody reads it.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let line = text
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ");
    say(&format!("{} (see --help)", line.trim_start_matches("error: ")));
    ExitCode::from(USAGE)
}

#[expect(clippy::print_stderr, reason = "the one line that says what to mend")]
fn say(line: &str) {
    eprintln!("ses-reports: {line}");
}

fn decode(args: &DecodeArgs) -> Result<(), Failure> {
    let rules = args.rules.rules();
    let unreadable = match archive::decode_files(&args.files, &rules, &mut std::io::stdout().lock())
    {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
        done => done.map_err(|error| failed(format!("could not write: {error}")))?,
    };
    if unreadable.is_empty() {
        return Ok(());
    }
    Err(Failure { code: USAGE, line: unreadable.join("; ") })
}

fn migrate_or_consume(cli: &Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(failed)?;
    let outcome = runtime.block_on(async {
        if cli.worker.migrate_only { migrate_only(cli).await } else { Box::pin(consume(cli)).await }
    });
    // Whatever still waits in the background has no say in when the process ends.
    runtime.shutdown_background();
    outcome
}

async fn migrate_only(cli: &Cli) -> Result<(), Failure> {
    let database = cli.database.check_to_migrate()?;
    let stop = shutdown::on_signals().map_err(failed)?;
    let migrated = stop
        .run_until_cancelled(schema::migrate(&database.migration_options, &database.schema))
        .await
        .ok_or_else(|| failed("stopped by a signal: what was under way is rolled back"))?;
    let (status, applied) = migrated.map_err(|error| unmigrated(&database, &error))?;
    let mut lines: Vec<String> = applied
        .iter()
        .map(|migration| format!("applied {} in {} ms", migration.name, migration.took.as_millis()))
        .collect();
    let name = database.schema.as_str();
    lines.push(if status.is_newer() {
        newer(name, &status)
    } else if applied.is_empty() {
        format!("schema {name} is current at version {}: nothing to do", status.version)
    } else {
        format!("schema {name} is now at version {}", status.version)
    });
    // What was done is done, even where nobody reads it.
    let _ = writeln!(std::io::stdout(), "{}", lines.join("\n"));
    Ok(())
}

async fn consume(cli: &Cli) -> Result<(), Failure> {
    // All settings are checked before anything is touched.
    let database = cli.database.check()?;
    let (queue_url, settings) = cli.worker.check()?;
    let http = match cli.http.check()? {
        Some(address) => Some(TcpListener::bind(address).await.map_err(|error| Failure {
            code: USAGE,
            line: format!("HTTP_ADDR {address}: {error}"),
        })?),
        None => None,
    };
    let stop = shutdown::on_signals().map_err(failed)?;
    let prepared = Box::pin(prepare(cli, database, queue_url, &settings));
    let Some(prepared) = stop.run_until_cancelled(prepared).await else {
        tracing::info!("stopped before the first message");
        return Ok(());
    };
    let (store, queue) = prepared?;

    let health = Arc::new(worker::Health::default());
    if let Some(listener) = http {
        let metrics = metrics::install().map_err(failed)?;
        tokio::spawn(http::serve(listener, Arc::clone(&health), metrics));
    }
    worker::run(queue, store, cli.rules.rules(), settings, health, stop)
        .await
        .map(|_| ())
        .map_err(failed)
}

/// Migrates or checks the schema, connects, and asks the queue whether it can be used.
async fn prepare(
    cli: &Cli,
    database: Database,
    queue_url: String,
    settings: &WorkerSettings,
) -> Result<(Store, Queue), Failure> {
    let status = if cli.worker.no_migrate {
        schema::require(&database.options, &database.schema)
            .await
            .map_err(|error| failed(format!("PostgreSQL: {error}")))?
    } else {
        let (status, applied) = schema::migrate(&database.migration_options, &database.schema)
            .await
            .map_err(|error| unmigrated(&database, &error))?;
        for migration in &applied {
            tracing::info!(took_ms = migration.took.as_millis(), "applied {}", migration.name);
        }
        status
    };
    if status.is_newer() {
        tracing::warn!("{}", newer(database.schema.as_str(), &status));
    }

    // One connection per writer, one for the partitions.
    let connections = u32::from(cli.worker.writers) + 1;
    let store = Store::connect(
        database.options,
        database.schema,
        database.timeout,
        connections,
        database.prepared_statements,
    )
    .await
    .map_err(|error| failed(format!("PostgreSQL: {error}")))?;
    let visibility = Duration::from_secs(cli.worker.visibility_timeout.into());
    // An open long poll that is given up can still swallow messages until they become visible
    // again. A worker that is about to end by itself keeps its polls so short that it can let
    // them end.
    let wait = if settings.exit_when_idle.is_some() { SHORT_WAIT } else { LONGEST_WAIT };
    let queue = Queue::new(queue_url, visibility, wait).await;
    let attributes = queue.attributes().await.map_err(|error| Failure {
        code: if error.trouble == Trouble::Refused { USAGE } else { FAILED },
        line: format!("SQS_QUEUE_URL: {error}"),
    })?;
    if !attributes.has_redrive {
        tracing::warn!(
            "the queue has no redrive policy: a message that cannot even be stored as a dead letter would come for ever"
        );
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        schema_version = status.version,
        pollers = settings.pollers,
        writers = settings.writers,
        messages_waiting = attributes.visible,
        "consuming"
    );
    Ok((store, queue))
}

/// Says which of the two URLs it was.
fn unmigrated(database: &Database, error: &schema::Error) -> Failure {
    let place = if database.has_migration_url { "MIGRATION_DATABASE_URL" } else { "PostgreSQL" };
    failed(format!("{place}: {error}"))
}

fn newer(schema: &str, status: &schema::Status) -> String {
    format!(
        "schema {schema} is at version {}, newer than this binary knows ({}): running with it as it is",
        status.version,
        schema::newest()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable_of_its_name() {
        for argument in Cli::command().get_arguments() {
            let Some(flag) = argument.get_long() else { continue };
            if ["help", "version"].contains(&flag) {
                continue;
            }
            let expected = flag.to_uppercase().replace('-', "_");
            assert_eq!(argument.get_env().and_then(|env| env.to_str()), Some(expected.as_str()));
        }
    }
}
