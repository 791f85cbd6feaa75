//! A session for changing the schema, straight to PostgreSQL.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use super::Error;
use crate::postgres::{SchemaName, has_sqlstate, sqlstate, with_fixed_settings};

/// How long a statement of a migration may wait for a lock, and with it the traffic behind it.
pub(super) const LOCK_TIMEOUT: &str = "2s";

/// How long PostgreSQL may take to let us in.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects with the schema alone in the search path, and with limits that no `RESET` in a
/// migration undoes: they are startup options, not `SET`. sqlx sets the encoding, the time zone and the
/// style of dates likewise.
///
/// # Errors
/// [`Error::Pooler`] where something in between drops or refuses those options.
pub(crate) async fn open(
    options: &PgConnectOptions,
    schema: &SchemaName,
) -> Result<PgConnection, Error> {
    let search_path = format!("{},pg_temp", schema.quoted());
    let options = with_fixed_settings(options)
        .application_name(APPLICATION)
        .options([("search_path", &*search_path), ("lock_timeout", LOCK_TIMEOUT)]);
    let mut connection = match tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await {
        Err(_elapsed) => return Err(Error::Unreachable),
        Ok(Err(error)) if refuses_options(&error) => return Err(Error::Pooler),
        Ok(connected) => connected.map_err(|error| unreachable(&options, error))?,
    };
    // Where they were dropped on the way, a migration would make its tables elsewhere.
    let (ours, replication_role): (bool, String) = sqlx::query_as(
        "-- ses-reports: check the settings of the session
        SELECT current_setting('search_path') = $1 AND current_setting('lock_timeout') = $2,
            current_setting('session_replication_role')",
    )
    .persistent(false)
    .bind(search_path)
    .bind(LOCK_TIMEOUT)
    .fetch_one(&mut connection)
    .await?;
    if !ours {
        return Err(Error::Pooler);
    }
    // Only a superuser may set it, at startup too; it says whether triggers and rules hold.
    if replication_role != "origin" {
        let name = "session_replication_role".to_owned();
        return Err(Error::Setting { name, value: replication_role });
    }
    reset(&mut connection).await?;
    Ok(connection)
}

/// Sets everything back to what [`open`] asked for.
pub(super) async fn reset(connection: &mut PgConnection) -> Result<(), Error> {
    // The one limit that PostgreSQL does not know before version 17, and an unknown startup option
    // ends the session.
    let sql = "-- ses-reports: reset the settings of the session
        RESET ALL;
        SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'";
    sqlx::raw_sql(sql).execute(connection).await?;
    Ok(())
}

/// Connects to look only. Asks for nothing that a pooler would refuse.
pub(super) async fn open_to_read(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    let options = options.clone().application_name(APPLICATION);
    tokio::time::timeout(CONNECT_TIMEOUT, options.connect())
        .await
        .map_err(|_elapsed| Error::Unreachable)?
        .map_err(|error| unreachable(&options, error))
}

/// Names the address that does not answer.
fn unreachable(options: &PgConnectOptions, error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::Io(cause) => {
            Error::Failed(format!("{}:{}: {cause}", options.get_host(), options.get_port()))
        }
        other => Error::Database(other),
    }
}

/// Whether a statement was refused because it runs outside of a transaction only.
pub(super) fn needs_no_transaction(error: &sqlx::Error) -> bool {
    has_sqlstate(error, sqlstate::ACTIVE_SQL_TRANSACTION)
}

/// What `pg_stat_activity` calls us.
pub(super) const APPLICATION: &str = "ses-reports migrate";

/// Whether startup options were refused: by `PgBouncer` as a violation of its protocol, by RDS Proxy as
/// a feature that it does not have. PostgreSQL itself answers neither to a session that begins.
fn refuses_options(error: &sqlx::Error) -> bool {
    has_sqlstate(error, sqlstate::PROTOCOL_VIOLATION)
        || has_sqlstate(error, sqlstate::FEATURE_NOT_SUPPORTED)
}

/// Refuses a pooler that gives each transaction another session: a lock of the session would stay
/// on a server session that the pooler has given to another client.
///
/// A second client holds a transaction open; with a session of our own, that changes nothing for us.
pub(crate) async fn refuse_pooler(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
    schema: &SchemaName,
) -> Result<(), Error> {
    let before = backend(connection).await?;
    let mut second = open(options, schema).await?;
    let mut transaction = second.begin().await?;
    let other = backend(&mut transaction).await?;
    let after = backend(connection).await?;
    transaction.rollback().await?;
    let _ = second.close().await;
    if before == after && before != other { Ok(()) } else { Err(Error::Pooler) }
}

/// The process id of the session.
pub(super) async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    // Another session may have, or lack, a statement of that name.
    sqlx::query_scalar(
        "-- ses-reports: read the process id of the migrator\nSELECT pg_backend_pid()",
    )
    .persistent(false)
    .fetch_one(connection)
    .await
}

/// Whether there is a table or view of this qualified name.
pub(super) async fn has_relation(
    connection: &mut PgConnection,
    name: &str,
) -> Result<bool, sqlx::Error> {
    // Behind a pooler a named statement may belong to another client.
    sqlx::query_scalar(
        "-- ses-reports: find out whether a table exists\nSELECT to_regclass($1) IS NOT NULL",
    )
    .persistent(false)
    .bind(name)
    .fetch_one(connection)
    .await
}
