//! Who empties a queue.

use anyhow::Result;
use tokio::process::Command;

use super::Bench;
use super::database::Database;
use super::drain::Calls;
use super::peers;
use super::process::command;
use super::queue::Address;

/// So many that the queue is never waited for, whatever a call takes.
const DRAIN_POLLERS: &str = "128";

/// A consumer; each runs as a process of its own.
#[derive(Debug, Clone)]
pub enum Consumer {
    /// The release worker, as an operator runs it: migrated before, as a plain role, with its defaults
    /// but for these settings.
    Worker(Vec<(&'static str, u64)>),
    /// See [`super::drain`].
    Drain(Calls),
    /// A script of `benches/peers/node/`.
    Node(&'static str),
    /// `benches/peers/python/worker.py`.
    Python,
}

impl Consumer {
    pub fn command(&self, bench: &Bench, queue: &Address, database: &Database) -> Result<Command> {
        let mut command = match self {
            Self::Worker(settings) => {
                let mut command = command(&bench.settings.worker);
                command.env("NO_MIGRATE", "true");
                command.envs(settings.iter().map(|(name, value)| (*name, value.to_string())));
                command
            }
            Self::Drain(by) => {
                let mut command = command(std::env::current_exe()?);
                command.args(["drain", by.name(), DRAIN_POLLERS]);
                command
            }
            Self::Node(script) => peers::node(script),
            Self::Python => peers::python(),
        };
        command.envs([
            ("AWS_ENDPOINT_URL", queue.endpoint.as_str()),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "bench"),
            ("AWS_SECRET_ACCESS_KEY", "bench"),
            ("SQS_QUEUE_URL", &queue.url),
            ("DATABASE_URL", &database.url),
        ]);
        Ok(command)
    }

    /// Whether it is a worker as others write it.
    pub fn is_peer(&self) -> bool {
        matches!(self, Self::Node(_) | Self::Python)
    }

    /// Whether it writes rows at all.
    pub fn stores(&self) -> bool {
        !matches!(self, Self::Drain(_))
    }
}
