//! Settings of sessions that do long work.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};

/// What the sessions of migrations, of retention and of checks must find, whatever the role, the
/// database or the server has set: no limit of time, tables that are created where and how migrations ask
/// for them, and texts that are read in one way. A client that is gone is noticed within a statement.
const SETTINGS: [(&str, &str); 22] = [
    ("lock_timeout", "0"),
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("client_connection_check_interval", "2s"),
    ("client_min_messages", "warning"),
    ("synchronous_commit", "on"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("default_tablespace", ""),
    ("temp_tablespaces", ""),
    ("default_table_access_method", "heap"),
    ("check_function_bodies", "on"),
    ("row_security", "on"),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
    ("transform_null_equals", "off"),
    ("quote_all_identifiers", "off"),
    ("IntervalStyle", "postgres"),
    ("bytea_output", "hex"),
    ("xmloption", "content"),
];

/// How to connect, straight to PostgreSQL, for work that may take long and must not depend on what an
/// operator has set for the role. They are startup options, so that no `RESET` undoes them; sqlx sets
/// the encoding, the time zone and the style of dates likewise.
#[must_use]
pub(crate) fn with_fixed_settings(options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().options(SETTINGS)
}

/// A transaction that only reads, takes the time that it needs, and ends soon after the client is gone.
/// What it sets is its own, so it goes through a pooler.
///
/// # Errors
/// When PostgreSQL cannot be reached.
pub(crate) async fn begin_read_only(
    connection: &mut PgConnection,
) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    connection
        .begin_with(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0;
            SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL TimeZone = 'UTC';
            SET LOCAL client_connection_check_interval = '2s'; SET LOCAL standard_conforming_strings = on;
            SET LOCAL quote_all_identifiers = off; SET LOCAL DateStyle = 'ISO, MDY';
            SET LOCAL IntervalStyle = 'postgres'; SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1",
        )
        .await
}
