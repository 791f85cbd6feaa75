//! What sessions that do long work ask of PostgreSQL.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};

/// How soon PostgreSQL notices, in the middle of a statement, that the client is gone.
pub const ALIVE_CHECK: &str = "2s";

/// How to connect for work that may take long, straight to PostgreSQL: without the limits that the
/// database or the role may have, and ended soon after the client is gone.
#[must_use]
pub fn without_timeouts(options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().options([
        ("statement_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("client_connection_check_interval", ALIVE_CHECK),
        ("standard_conforming_strings", "on"),
    ])
}

/// A transaction that only reads, takes the time that it needs, and ends soon after the client is gone.
/// What it sets is its own, so it goes through a pooler.
///
/// # Errors
/// When PostgreSQL cannot be reached.
pub async fn begin_read_only(
    connection: &mut PgConnection,
) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    connection
        .begin_with(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0;
            SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL TimeZone = 'UTC';
            SET LOCAL client_connection_check_interval = '2s'; SET LOCAL standard_conforming_strings = on",
        )
        .await
}
