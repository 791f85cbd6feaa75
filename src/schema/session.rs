//! A session for changing the schema, straight to PostgreSQL.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use super::{Error, SchemaName};

/// How long a statement of a migration may wait for a lock, and with it the traffic behind it.
pub(super) const LOCK_TIMEOUT: &str = "2s";

/// How long PostgreSQL may take to let us in.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the session of one that was killed is ended while it still executes a statement.
const ALIVE_CHECK: &str = "2s";

/// Connects with the schema alone in the search path, and with limits that no `RESET` in a
/// migration undoes: they are startup options, not `SET`.
///
/// # Errors
/// [`Error::Pooler`] where something in between drops or refuses those options.
pub(super) async fn open(
    options: &PgConnectOptions,
    schema: &SchemaName,
) -> Result<PgConnection, Error> {
    let options = options.clone().application_name(APPLICATION).options([
        ("search_path", format!("{},pg_temp", schema.quoted())),
        ("lock_timeout", LOCK_TIMEOUT.to_owned()),
        ("statement_timeout", "0".to_owned()),
        ("idle_in_transaction_session_timeout", "0".to_owned()),
        ("client_connection_check_interval", ALIVE_CHECK.to_owned()),
        ("client_min_messages", "warning".to_owned()),
        ("standard_conforming_strings", "on".to_owned()),
    ]);
    let mut connection = match tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await {
        Err(_elapsed) => return Err(Error::Unreachable),
        Ok(Err(error)) if refuses_options(&error) => return Err(Error::Pooler),
        Ok(connected) => connected?,
    };
    let ours: bool = sqlx::query_scalar("SELECT current_setting('lock_timeout') = $1")
        .bind(LOCK_TIMEOUT)
        .fetch_one(&mut connection)
        .await?;
    if ours { Ok(connection) } else { Err(Error::Pooler) }
}

/// Connects to look only. Asks for nothing that a pooler would refuse.
pub(super) async fn open_to_read(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    let options = options.clone().application_name(APPLICATION);
    Ok(tokio::time::timeout(CONNECT_TIMEOUT, options.connect())
        .await
        .map_err(|_elapsed| Error::Unreachable)??)
}

/// What `pg_stat_activity` calls us.
pub(super) const APPLICATION: &str = "ses-reports migrate";

/// `PgBouncer`'s words for startup options that it does not pass on.
fn refuses_options(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.message().contains("unsupported startup parameter"))
}

/// Refuses a pooler that gives each transaction another session: a lock of the session would stay
/// behind on a session that is no longer ours.
///
/// A second client holds a transaction open; with a session of our own, that changes nothing for us.
pub(super) async fn refuse_pooler(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
    schema: &SchemaName,
) -> Result<(), Error> {
    const OWN: &str = "SELECT pg_backend_pid()";
    let before: i32 = sqlx::query_scalar(OWN).fetch_one(&mut *connection).await?;
    let mut second = open(options, schema).await?;
    let mut transaction = second.begin().await?;
    let other: i32 = sqlx::query_scalar(OWN).fetch_one(&mut *transaction).await?;
    let after: i32 = sqlx::query_scalar(OWN).fetch_one(&mut *connection).await?;
    transaction.rollback().await?;
    let _ = second.close().await;
    if before == after && before != other { Ok(()) } else { Err(Error::Pooler) }
}
