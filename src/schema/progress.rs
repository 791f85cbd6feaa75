//! Reports what a long migration is doing.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio_util::task::AbortOnDropHandle;

use super::{Error, Schema, session};

/// How long a migration runs before its progress is reported, and again after each report.
const EVERY: Duration = Duration::from_secs(5);

/// Watches the session of a connection until the value is dropped, and logs every five seconds what
/// it does and which sessions it waits for.
pub(super) async fn watch(
    connection: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<AbortOnDropHandle<()>, Error> {
    let backend = session::backend(connection).await?;
    let options = schema.options.clone().application_name(session::APPLICATION);
    let name = name.to_owned();
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        let mut seconds = 0;
        loop {
            tokio::time::sleep(EVERY).await;
            seconds += EVERY.as_secs();
            // If the progress cannot be read, the migration continues all the same.
            let doing = ask(&options, backend).await.unwrap_or_default();
            tracing::info!("{name}: {seconds} s so far{doing}");
        }
    })))
}

async fn ask(options: &PgConnectOptions, backend: i32) -> Result<String, sqlx::Error> {
    let mut connection = options.connect().await?;
    let (build, blockers): (Option<String>, Option<String>) = sqlx::query_as(
        "-- ses-reports: read the progress of a migration
        SELECT (SELECT format('%s, %s %% of blocks', phase, 100 * blocks_done / nullif(blocks_total, 0))
                FROM pg_stat_progress_create_index WHERE pid = $1),
            (SELECT string_agg(format('%s%s, %s for %s s', pid, ' ' || nullif(application_name, ''),
                    state, extract(epoch FROM now() - xact_start)::int), '; ')
                FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids($1)))",
    )
    .bind(backend)
    .fetch_one(&mut connection)
    .await?;
    let _ = connection.close().await;
    let build = build.map(|build| format!(": building an index ({build})")).unwrap_or_default();
    let blockers = blockers.map(|pids| format!(", waiting for backend {pids}")).unwrap_or_default();
    Ok(build + &blockers)
}
