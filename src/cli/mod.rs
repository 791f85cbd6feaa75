//! The command line: what was asked for, and the exit code. One file per command.

mod connect;
mod dead_letters;
mod decode;
mod exit;
mod grants;
mod migrate;
mod partitions;
mod progress;
mod redrive;
mod replay;
mod worker;

use std::io::Write as _;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::config::{
    DatabaseArgs, DecodeArgs, GrantsArgs, HttpArgs, LogArgs, RedriveArgs, ReplayArgs, RulesArgs,
    WorkerArgs,
};
use crate::{shutdown, telemetry};
use exit::{DONE, Failure, USAGE, failed};

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
    /// Write the message bodies of an archive, as if they came from the queue
    Replay(ReplayArgs),
    /// Drain a dead-letter queue of SQS, as if its messages came from the queue
    Redrive(RedriveArgs),
    /// See, retry and delete the bodies that could not be understood
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// See, try, apply, undo and check the changes of the schema
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// Print the SQL that gives the database roles their rights; no database, no AWS
    Grants(GrantsArgs),
    /// List, create and drop the monthly partitions of the details
    #[command(subcommand)]
    Partitions(partitions::Command),
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
            Some(Command::Decode(args)) => decode::run(args),
            Some(Command::Replay(args)) => in_runtime(replay::run(args)),
            Some(Command::Redrive(args)) => in_runtime(Box::pin(redrive::run(args))),
            Some(Command::DeadLetters(command)) => in_runtime(dead_letters::run(command)),
            Some(Command::Grants(args)) => grants::run(args),
            Some(Command::Migrate(command)) => in_runtime(migrate::run(command)),
            Some(Command::Partitions(command)) => in_runtime(partitions::run(command)),
            None => in_runtime(async {
                if cli.worker.migrate_only {
                    worker::migrate_only(&cli).await
                } else {
                    Box::pin(worker::consume(&cli)).await
                }
            }),
        });
    ExitCode::from(match outcome {
        Ok(()) => DONE,
        Err(failure) => {
            say(&failure.line);
            failure.code
        }
    })
}

/// Reads arguments and environment. A variable that is empty is not set, and a command asks for none
/// of the worker's.
fn parse() -> Result<Cli, clap::Error> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let mut command = Cli::command();
    let has_command = command
        .get_subcommands()
        .any(|known| arguments.iter().any(|argument| argument == known.get_name()));
    if has_command {
        command = command.mut_args(|argument| {
            if argument.is_global_set() { argument } else { argument.env(Resettable::Reset) }
        });
    }
    Cli::from_arg_matches(&without_empty_variables(command).try_get_matches()?)
}

fn without_empty_variables(command: clap::Command) -> clap::Command {
    command
        .mut_args(|argument| {
            let value = argument.get_env().and_then(std::env::var_os);
            if value.is_some_and(|value| value.is_empty()) {
                argument.env(Resettable::Reset)
            } else {
                argument
            }
        })
        .mut_subcommands(without_empty_variables)
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

fn in_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(failed)?;
    let outcome = runtime.block_on(work);
    // Whatever still waits in the background has no say in when the process ends.
    runtime.shutdown_background();
    outcome
}

/// Does what a signal may end: what is under way is rolled back.
async fn until_signal<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let stop = shutdown::on_signals().map_err(failed)?;
    stop.run_until_cancelled(work)
        .await
        .ok_or_else(|| failed("stopped by a signal: what was under way is rolled back"))?
}

/// Writes an answer. What was done is done, even where nobody reads it.
fn answer(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

#[expect(clippy::print_stderr, reason = "the one line that says what to mend")]
fn say(line: &str) {
    eprintln!("ses-reports: {line}");
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
