//! The store: the only code that speaks SQL to the report tables.

mod error;
mod write;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use time::Date;

pub use error::{Error, Refusal, explain};
pub use write::{DeadLetter, Written};

use crate::schema::SchemaName;

/// The report tables of one PostgreSQL schema.
#[derive(Debug)]
pub struct Store {
    pool: PgPool,
    schema: SchemaName,
    statements: Statements,
    timeout: Duration,
    known: Mutex<Known>,
}

/// What this process has seen committed: a partition or a report type is asked for once.
#[derive(Debug, Default)]
struct Known {
    months: HashSet<Date>,
    report_types: HashSet<i64>,
}

/// The statements with the schema's name in its place. Names are qualified, and no `search_path` is
/// set, so that a transaction pooler may stand between.
#[derive(Debug)]
struct Statements {
    write: String,
    dead_letters: String,
    report_types: String,
}

impl Store {
    /// Connects. `timeout` bounds each transaction from here; `connections` is how many may be open.
    ///
    /// # Errors
    /// When no connection can be made within ten seconds.
    pub async fn connect(
        options: PgConnectOptions,
        schema: SchemaName,
        timeout: Duration,
        connections: u32,
    ) -> Result<Self, Error> {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await?;
        let statement = |text: &str| text.replace("{schema}", &schema.quoted());
        Ok(Self {
            statements: Statements {
                write: statement(include_str!("write.sql")),
                dead_letters: statement(include_str!("write_dead_letters.sql")),
                report_types: statement(include_str!("write_report_types.sql")),
            },
            pool,
            schema,
            timeout,
            known: Mutex::default(),
        })
    }

    /// The pool, for the schema's own needs.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The schema that holds the tables.
    #[must_use]
    pub fn schema(&self) -> &SchemaName {
        &self.schema
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        // A panic elsewhere cannot leave a set of ids half changed.
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
