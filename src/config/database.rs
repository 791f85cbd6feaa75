//! Where the report tables are.

use std::str::FromStr as _;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;

use super::Wrong;
use crate::postgres::SchemaName;

const DATABASE_URL: &str = "DATABASE_URL";
const MIGRATION_DATABASE_URL: &str = "MIGRATION_DATABASE_URL";

/// Where the report tables are.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "PostgreSQL")]
pub(crate) struct DatabaseArgs {
    /// The database, as `postgres://user:password@host/database`. Over a network, add
    /// `?sslmode=verify-full&sslrootcert=FILE`
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: Option<SecretString>,

    /// The same database for changes of the schema: a direct connection, past any pooler, as the role
    /// that owns the schema. Without it, `DATABASE_URL` is used
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub(crate) migration_database_url: Option<SecretString>,

    /// The PostgreSQL schema that ses-reports owns. It is created if it is missing
    #[arg(long, env, default_value = "aws_reports", value_name = "NAME", value_parser = SchemaName::new)]
    pub(crate) database_schema: SchemaName,

    /// How long one transaction may take before it is rolled back and tried again
    #[arg(long, env, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) database_timeout: u64,

    /// Whether prepared statements are kept from one transaction to the next. Set it to false behind a
    /// pooler in transaction mode that does not track them (`PgBouncer` before 1.21, or with
    /// `max_prepared_statements` 0)
    #[arg(long, env, default_value_t = true, action = ArgAction::Set, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub(crate) prepared_statements: bool,
}

/// The database, after [`DatabaseArgs`] were checked.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    /// How to connect for everything but changes of the schema; maybe through a pooler.
    pub(crate) options: PgConnectOptions,
    /// How to connect for changing the schema.
    pub(crate) migration_options: PgConnectOptions,
    /// Whether `migration_options` come from `MIGRATION_DATABASE_URL`, so that errors can name it.
    pub(crate) has_migration_url: bool,
    /// The schema that holds the tables.
    pub(crate) schema: SchemaName,
    /// The time limit of each transaction.
    pub(crate) timeout: Duration,
    /// Whether a prepared statement may outlive its transaction.
    pub(crate) prepared_statements: bool,
}

impl DatabaseArgs {
    /// Checks what was given.
    ///
    /// # Errors
    /// One line that says what to change, without the password.
    pub(crate) fn check(&self) -> Result<Database, Wrong> {
        let migration =
            connect_options(MIGRATION_DATABASE_URL, self.migration_database_url.as_ref())?;
        let options =
            connect_options(DATABASE_URL, self.database_url.as_ref())?.ok_or_else(|| {
                Wrong::new(
                    "DATABASE_URL is missing: set it to postgres://user:password@host/database",
                )
            })?;
        Ok(self.database(options, migration))
    }

    /// The same for a command that only changes the schema: `MIGRATION_DATABASE_URL` alone is enough.
    ///
    /// # Errors
    /// One line that says what to change, without the password.
    pub(crate) fn check_to_migrate(&self) -> Result<Database, Wrong> {
        match connect_options(MIGRATION_DATABASE_URL, self.migration_database_url.as_ref())? {
            Some(migration) => Ok(self.database(migration.clone(), Some(migration))),
            None => self.check(),
        }
    }

    fn database(&self, options: PgConnectOptions, migration: Option<PgConnectOptions>) -> Database {
        Database {
            has_migration_url: migration.is_some(),
            migration_options: migration.unwrap_or_else(|| options.clone()),
            options,
            schema: self.database_schema.clone(),
            timeout: Duration::from_secs(self.database_timeout),
            prepared_statements: self.prepared_statements,
        }
    }
}

/// Reads a URL, if there is one, without telling any part of it.
pub(crate) fn connect_options(
    variable: &str,
    url: Option<&SecretString>,
) -> Result<Option<PgConnectOptions>, Wrong> {
    let url = url.map(|url| url.expose_secret().trim()).unwrap_or_default();
    if url.is_empty() {
        return Ok(None);
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(Wrong::new(format!(
            "{variable} is not a PostgreSQL URL: it must start with postgres://"
        )));
    }
    // The cause may quote a part of the URL.
    let options = PgConnectOptions::from_str(url).map_err(|_error| {
        Wrong::new(format!(
            "{variable} cannot be read: check its port, its sslmode and its percent-encoding"
        ))
    })?;
    // The brackets of an IPv6 address belong to the URL, not to the address.
    let address = options.get_host().trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Some(
        options
            .host(&address)
            .application_name("ses-reports")
            // A startup parameter that poolers refuse; no floating-point number is ever read.
            .extra_float_digits(None),
    ))
}
