//! The command line: parses the arguments, runs a command and returns its exit code. Each command has a
//! file or a folder.

mod connect;
mod dead_letters;
mod decode;
mod exit;
mod grants;
mod health;
mod migrate;
mod partitions;
mod printable;
mod progress;
mod redrive;
mod replay;
mod source;
mod worker;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Args as _, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::config::LogArgs;
use crate::{shutdown, telemetry};
use exit::{DONE, Failure, USAGE, failed};

/// Moves Amazon SES events from SQS into PostgreSQL report tables.
///
/// Without a command it does what `ses-reports worker` does: it migrates the schema if needed, then
/// consumes the queue until SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, max_term_width = 100)]
#[command(after_help = HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    log: LogArgs,
}

const HELP: &str = "\
Every flag of a worker can also be set by the environment variable that is shown with it. An empty \
variable counts as not set.

  ses-reports --migrate-only            prepare the database, as a deploy step
  ses-reports worker --no-migrate       consume the queue
  ses-reports decode message.json       show the events in a message
  ses-reports COMMAND --help            show how to use a command

Exit codes: 0 done; 1 failed; 2 wrong usage or configuration. A failure is one line on standard \
error.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Consume the queue into the report tables; this is the default without a command
    ///
    /// It migrates the schema if needed, then consumes the queue until SIGTERM or SIGINT. After the
    /// first signal it receives no more messages, writes and deletes those that it holds within 25
    /// seconds, and exits with 0. A second signal stops it at once.
    Worker(Box<worker::WorkerCommand>),
    /// Show what message bodies decode to, one JSON line each; uses neither a database nor AWS
    Decode(decode::DecodeArgs),
    /// Import archived message bodies from files, as if they came from the queue
    Replay(replay::ReplayArgs),
    /// Drain the dead-letter queue of SQS, as if its messages came from the queue
    Redrive(redrive::RedriveArgs),
    /// List, show, retry and delete dead letters: bodies that could not be decoded or written
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Show, try, apply, undo and verify the migrations of the schema
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// Print the SQL that grants the database roles their rights; uses neither a database nor AWS
    Grants(grants::GrantsArgs),
    /// Check the health of a running worker, for containers without curl
    Health(health::HealthArgs),
    /// List, create and drop the monthly partitions of the detail table
    #[command(subcommand)]
    Partitions(partitions::Command),
}

/// Runs what the arguments ask for.
#[must_use]
pub fn main() -> ExitCode {
    let (command, log) = match parse(std::env::args_os().collect()) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    let outcome = telemetry::init(&log).map_err(Failure::from).and_then(|()| match command {
        Command::Worker(args) => in_runtime(Box::pin(worker::run(*args))),
        Command::Decode(args) => decode::run(&args),
        Command::Replay(args) => in_runtime(replay::run(&args)),
        Command::Redrive(args) => in_runtime(Box::pin(redrive::run(&args))),
        Command::DeadLetters(command) => in_runtime(dead_letters::run(&command)),
        Command::Grants(args) => grants::run(args),
        Command::Health(args) => in_runtime(health::run(&args)),
        Command::Migrate(command) => in_runtime(migrate::run(&command)),
        Command::Partitions(command) => in_runtime(partitions::run(&command)),
    });
    ExitCode::from(match outcome {
        Ok(()) => DONE,
        Err(failure) => {
            say(&failure.line);
            failure.code
        }
    })
}

/// Reads arguments and environment.
fn parse(arguments: Vec<OsString>) -> Result<(Command, LogArgs), clap::Error> {
    let matches = without_empty_variables(command(&arguments)).try_get_matches_from(arguments)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let command = match cli.command {
        Some(command) => command,
        None => Command::Worker(Box::new(worker::WorkerCommand::from_arg_matches(&matches)?)),
    };
    Ok((command, cli.log))
}

/// The program as these arguments call it. Where the first of them is a flag, or there is none, no
/// command is named: then the flags of a worker are the program's own. Otherwise a command is named,
/// and only its own flags and variables are read.
fn command(arguments: &[OsString]) -> clap::Command {
    let names_command =
        arguments.get(1).is_some_and(|first| !first.as_encoded_bytes().starts_with(b"-"));
    let command = Cli::command();
    if names_command {
        return command;
    }
    // The groups of flags would put their own descriptions in place of the program's.
    let about = command.get_about().cloned().unwrap_or_default();
    let long_about = command.get_long_about().cloned().unwrap_or_default();
    worker::WorkerCommand::augment_args(command).about(about).long_about(long_about)
}

/// A variable that is empty is not set.
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
    let mut line = line.trim_start_matches("error: ").to_owned();
    // The value may come from the variable, which its reader then looks for.
    if let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
        && let Some(variable) = variable_of(&Cli::command(), flag)
    {
        line = line.replacen(&format!("'{flag}'"), &format!("'{flag}' ({variable})"), 1);
    }
    say(&format!("{line} (see --help)"));
    ExitCode::from(USAGE)
}

/// The environment variable of a flag, written as `--flag <VALUE>`, in any of the commands.
fn variable_of(command: &clap::Command, flag: &str) -> Option<String> {
    let name = flag.split(' ').next()?.strip_prefix("--")?;
    let own = command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(name))
        .and_then(|argument| Some(argument.get_env()?.to_str()?.to_owned()));
    own.or_else(|| command.get_subcommands().find_map(|command| variable_of(command, flag)))
}

fn in_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(failed)?;
    let outcome = runtime.block_on(work);
    // Tasks that still wait in the background do not keep the process from ending.
    runtime.shutdown_background();
    outcome
}

/// Does work that a signal may end: what is under way is then rolled back.
async fn until_signal<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let stop = shutdown::on_signals().map_err(failed)?;
    stop.run_until_cancelled(work)
        .await
        .ok_or_else(|| failed("stopped by a signal: the current transaction is rolled back"))?
}

/// Writes an answer. It is no failure if nobody reads it.
fn answer(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

#[expect(clippy::print_stderr, reason = "the one line that says what to change")]
fn say(line: &str) {
    eprintln!("ses-reports: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command(&[]).debug_assert();
        Cli::command().debug_assert();
    }

    fn arguments(given: &[&str]) -> Vec<OsString> {
        ["ses-reports"].iter().chain(given).map(OsString::from).collect()
    }

    #[test]
    fn the_help_begins_with_what_the_program_does() {
        for given in [&[][..], &["--help"], &["worker", "--help"]] {
            let mut command = command(&arguments(given));
            let help = command.render_long_help().to_string();
            assert!(help.starts_with("Moves Amazon SES events"), "{given:?}: {help}");
        }
    }

    #[test]
    fn every_flag_of_a_worker_has_an_environment_variable_of_its_name() {
        for alias in [&[][..], &["worker"]] {
            let command = command(&arguments(alias));
            let command = command.find_subcommand(alias.join("")).unwrap_or(&command);
            let flags: Vec<_> =
                command.get_arguments().filter(|argument| argument.get_long().is_some()).collect();
            assert!(flags.len() > 20, "{flags:?}");
            for argument in flags {
                let flag = argument.get_long().expect("a flag");
                let expected = flag.to_uppercase().replace('-', "_");
                assert_eq!(argument.get_env().and_then(|env| env.to_str()), Some(&*expected));
            }
        }
    }

    #[test]
    fn a_value_that_is_the_name_of_a_command_is_a_value() {
        for alias in [&[][..], &["worker"]] {
            let given = [alias, &["--user-id-tag", "replay", "--pollers", "3"]].concat();
            let (command, _) = parse(arguments(&given)).expect("good arguments");
            let Command::Worker(args) = command else { panic!("{command:?}") };
            assert_eq!(args.rules.user_id_tag, "replay");
            assert_eq!(args.worker.pollers, 3);
        }
        for given in [&["--pollers", "3", "decode"][..], &["worker", "decode"], &["teleport"]] {
            assert!(parse(arguments(given)).is_err(), "{given:?}");
        }
    }
}
