//! The release worker, as an operator runs it.

use tokio::process::Command;

use super::Bench;
use super::database::Database;
use super::process::command;
use super::queue::Queue;

/// The worker with these settings beside its defaults, for a run.
pub fn with<'a>(
    bench: &'a Bench,
    settings: &'a [(&'static str, u64)],
) -> impl Fn(&Queue, &Database) -> Command + 'a {
    move |queue, database| {
        let mut command = command(&bench.settings.worker);
        connect(&mut command, &queue.endpoint, &queue.url);
        command.env("DATABASE_URL", &database.url).env("NO_MIGRATE", "true");
        command.envs(settings.iter().map(|(name, value)| (*name, value.to_string())));
        command
    }
}

/// What every consumer is told about the queue.
pub fn connect(command: &mut Command, endpoint: &str, queue_url: &str) {
    command.envs([
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "bench"),
        ("AWS_SECRET_ACCESS_KEY", "bench"),
        ("SQS_QUEUE_URL", queue_url),
    ]);
}
