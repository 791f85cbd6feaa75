//! `ses-reports worker`, which is also what a call without a command does: the deploy step, or the
//! worker.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::exit::{FAILED, Failure, USAGE, failed};
use super::{answer, until_signal};
use crate::config::{Database, DatabaseArgs, HttpArgs, RulesArgs, WorkerArgs};
use crate::http::Probes;
use crate::queue::{self, ErrorKind, LONGEST_WAIT, Queue, SHORT_WAIT};
use crate::schema::Schema;
use crate::store::{self, Store};
use crate::worker::WorkerSettings;
use crate::{http, metrics, schema, shutdown, worker};

// A doc comment would describe the whole program where no command is named: see `super::command`.
#[derive(Debug, Args)]
pub(super) struct WorkerCommand {
    #[command(flatten)]
    pub(super) database: DatabaseArgs,
    #[command(flatten)]
    pub(super) worker: WorkerArgs,
    #[command(flatten)]
    pub(super) rules: RulesArgs,
    #[command(flatten)]
    pub(super) http: HttpArgs,
}

pub(super) async fn run(args: WorkerCommand) -> Result<(), Failure> {
    if args.worker.migrate_only {
        migrate_only(&args).await
    } else {
        Box::pin(consume(&args)).await
    }
}

async fn migrate_only(args: &WorkerCommand) -> Result<(), Failure> {
    let database = args.database.check_to_migrate()?;
    let schema = Schema::new(database.migration_options.clone(), database.schema.clone());
    // The contract of the deploy step knows one code for every failure.
    let up = async { schema.up(None).await.map_err(|error| unmigrated(&database, &error)) };
    answer(&applied_lines(&until_signal(up).await?));
    Ok(())
}

/// What `up` did, line by line.
pub(super) fn applied_lines(upgrade: &schema::Upgrade) -> String {
    let schema::Upgrade { status, applied, granted } = upgrade;
    let mut lines: Vec<String> = applied
        .iter()
        .map(|migration| format!("applied {} in {} ms", migration.name, migration.took.as_millis()))
        .collect();
    if !granted.is_empty() {
        lines.push(format!(
            "granted {} the rights of version {}",
            granted.join(", "),
            status.version
        ));
    }
    let name = &status.schema;
    lines.push(if status.is_newer() {
        newer(status)
    } else if !applied.is_empty() {
        format!("schema {name} is now at version {}", status.version)
    } else if !granted.is_empty() {
        format!("schema {name} is current at version {}", status.version)
    } else if status.is_current() {
        format!("schema {name} is current at version {}: nothing to do", status.version)
    } else {
        format!("schema {name} is at version {}: nothing to do", status.version)
    });
    lines.join("\n")
}

async fn consume(args: &WorkerCommand) -> Result<(), Failure> {
    // All settings are checked before anything is touched.
    let database = args.database.check()?;
    let (queue_url, settings) = args.worker.check()?;
    let listener = match args.http.http_addr {
        Some(address) => Some(TcpListener::bind(address).await.map_err(|error| Failure {
            code: USAGE,
            line: format!("HTTP_ADDR {address}: {error}"),
        })?),
        None => None,
    };
    let stop = shutdown::on_signals().map_err(failed)?;
    let probes = Arc::new(Probes::new(stop.clone()));
    let work = Box::pin(work(args, database, queue_url, settings, &probes, stop.clone()));
    let Some(listener) = listener else {
        return work.await;
    };
    let metrics = metrics::install().map_err(failed)?;
    // It answers until the runtime ends, which is after the drain.
    let server = tokio::spawn(http::serve(listener, Arc::clone(&probes), metrics));
    Box::pin(beside(server, work, &stop)).await
}

/// Works beside the server of the probes. If the server ends by itself, the work is told to stop: an
/// orchestrator that gets no answers would end the process anyway, without saying why.
async fn beside(
    server: JoinHandle<io::Result<()>>,
    work: impl Future<Output = Result<(), Failure>>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let mut work = pin!(work);
    let ended = tokio::select! {
        done = &mut work => return done,
        ended = server => ended,
    };
    let why = match ended {
        Ok(Ok(())) => "it returned".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::error!("the server on HTTP_ADDR ended unexpectedly ({why}): draining");
    stop.cancel();
    work.await?;
    Err(failed(format!("the server on HTTP_ADDR ended unexpectedly: {why}")))
}

/// Prepares, then consumes until `stop` is cancelled.
async fn work(
    args: &WorkerCommand,
    database: Database,
    queue_url: String,
    settings: WorkerSettings,
    probes: &Probes,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let owner = worker::Owner {
        options: database.migration_options.clone(),
        schema: database.schema.clone(),
    };
    let prepared = Box::pin(prepare(args, database, queue_url, &settings, probes));
    let Some(prepared) = stop.run_until_cancelled(prepared).await else {
        tracing::info!("stopped before the first message");
        return Ok(());
    };
    let (store, queue) = prepared?;
    let health = Arc::new(worker::Health::default());
    probes.working(Arc::clone(&health));
    worker::run(queue, store, owner, args.rules.rules(), settings, health, stop)
        .await
        .map(|_| ())
        .map_err(failed)
}

/// Migrates or checks the schema, connects, and asks the queue whether it can be used.
async fn prepare(
    args: &WorkerCommand,
    database: Database,
    queue_url: String,
    settings: &WorkerSettings,
    probes: &Probes,
) -> Result<(Store, Queue), Failure> {
    let status = if args.worker.no_migrate {
        probes.starting("checking the schema");
        // Reading is enough, and goes through a pooler.
        let schema = Schema::new(database.options.clone(), database.schema.clone());
        let Ok(status) = timeout(database.timeout, schema.require()).await else {
            return Err(failed(store::Error::Timeout(database.timeout.as_secs())));
        };
        status.map_err(|error| failed(format!("PostgreSQL: {error}")))?
    } else {
        probes.starting("migrating the schema");
        let schema = Schema::new(database.migration_options.clone(), database.schema.clone());
        let done = schema.up(None).await.map_err(|error| unmigrated(&database, &error))?;
        for migration in &done.applied {
            tracing::info!(took_ms = migration.took.as_millis(), "applied {}", migration.name);
        }
        if !done.granted.is_empty() {
            tracing::info!(roles = done.granted.join(", "), "granted the rights of this version");
        }
        done.status
    };
    if status.is_newer() {
        tracing::warn!("{}", newer(&status));
    }

    probes.starting("connecting to PostgreSQL");
    let store = Store::connect(
        database.options,
        database.schema,
        database.timeout,
        settings.connections(),
        database.prepared_statements,
    )
    .await
    .map_err(|error| failed(format!("PostgreSQL: {error}")))?;
    let visibility = Duration::from_secs(args.worker.visibility_timeout.into());
    // An open long poll that is given up can still swallow messages until they become visible
    // again. A worker that is about to end by itself keeps its polls so short that it can let
    // them end.
    let wait = if settings.exit_when_idle.is_some() { SHORT_WAIT } else { LONGEST_WAIT };
    probes.starting("asking SQS about the queue");
    let unusable = |error: queue::Error| Failure {
        code: if error.kind == ErrorKind::Permanent { USAGE } else { FAILED },
        line: format!("SQS_QUEUE_URL: {error}"),
    };
    let queue = Queue::new(queue_url, visibility, wait).await.map_err(unusable)?;
    let attributes = queue.attributes().await.map_err(unusable)?;
    if !attributes.has_redrive {
        tracing::warn!(
            "the queue has no redrive policy: a message that cannot even be stored as a dead letter would be received again and again"
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

fn newer(status: &schema::Status) -> String {
    format!(
        "schema {} is at version {}, newer than this program knows ({}): continuing with it",
        status.schema, status.version, status.newest
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_ends_ends_the_process_after_the_drain() {
        let servers: [JoinHandle<io::Result<()>>; 3] = [
            tokio::spawn(async { Ok(()) }),
            tokio::spawn(async { Err(io::Error::other("no socket")) }),
            tokio::spawn(async { panic!("a defect") }),
        ];
        for (server, why) in servers.into_iter().zip(["it returned", "no socket", "panicked"]) {
            let stop = CancellationToken::new();
            let work = async {
                stop.cancelled().await;
                Ok(())
            };
            let failure = beside(server, work, &stop).await.expect_err("a failure");
            assert_eq!(failure.code, FAILED);
            assert!(failure.line.contains(why), "{}", failure.line);
        }
    }

    #[tokio::test]
    async fn work_that_is_done_needs_no_server() {
        let server = tokio::spawn(std::future::pending());
        let stop = CancellationToken::new();
        assert!(beside(server, async { Ok(()) }, &stop).await.is_ok());
        assert!(!stop.is_cancelled());
    }
}
