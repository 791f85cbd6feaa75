//! The store: the only code that speaks SQL to the report tables.

mod alongside;
mod backfill;
mod baseline;
mod check;
mod daily;
mod dead_letters;
mod error;
pub mod expire;
pub mod partitions;
mod replay;
mod report_types;
mod statement;
mod write;

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, Postgres, Transaction};
use time::Date;
use tokio::time::timeout;

pub use alongside::{Alongside, Part, Retried};
pub use backfill::{Batch, Failed};
pub use baseline::{DetailAndReport, HandMadeTables, Rows};
pub use check::{Check, Doubt, check};
pub use dead_letters::{Letter, Line, Selection};
pub use error::{Error, Refusal};
pub use replay::{Begun, Done, Sums};
pub use write::{DeadLetter, Written};

use crate::batch::Kept;
use crate::postgres::SchemaName;
use partitions::Ensured;
use report_types::ReportTypes;

/// The report tables of one PostgreSQL schema.
#[derive(Debug)]
pub struct Store {
    pool: PgPool,
    schema: SchemaName,
    statements: Statements,
    timeout: Duration,
    /// Whether statements stay prepared on their connection. Behind a pooler that hands out
    /// another server with each transaction they must not.
    prepared: bool,
    known: Mutex<Known>,
}

/// What this process has seen committed: a partition or a report type is asked for once.
#[derive(Debug, Default)]
struct Known {
    months: HashSet<Date>,
    report_types: ReportTypes,
    kept: Kept,
}

/// The statements with the schema's name in its place. Names are qualified: no session has a
/// `search_path` of its own.
#[derive(Debug)]
struct Statements {
    begin: String,
    write: String,
    dead_letters: String,
    report_types: String,
    kept: String,
    stale_days: String,
    refresh_day: String,
}

/// Nine tenths of the client's patience for each statement, and for the client's next one: the host of
/// a worker may be gone without a word, and its transaction would keep its locks for hours.
fn begin(timeout: Duration) -> String {
    let millis = (timeout * 9 / 10).as_millis();
    format!(
        "BEGIN; SET LOCAL statement_timeout = {millis}; \
         SET LOCAL idle_in_transaction_session_timeout = {millis}"
    )
}

impl Store {
    /// Connects. `timeout` bounds each transaction from here; `connections` is how many may be
    /// open; `prepared` says whether statements may outlive their transaction.
    ///
    /// # Errors
    /// When no connection can be made within ten seconds, or the tables are not there.
    pub async fn connect(
        options: PgConnectOptions,
        schema: SchemaName,
        timeout: Duration,
        connections: u32,
        prepared: bool,
    ) -> Result<Self, Error> {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await?;
        let statement = |text: &str| text.replace("{schema}", &schema.quoted());
        let store = Self {
            statements: Statements {
                begin: begin(timeout),
                write: statement(&statement::write()),
                dead_letters: statement(include_str!("write_dead_letters.sql")),
                report_types: statement(include_str!("write_report_types.sql")),
                kept: statement(
                    "-- ses-reports: learn what is kept\nSELECT what, kept_from FROM {schema}.aws_report_retention",
                ),
                stale_days: statement(include_str!("stale_days.sql")),
                refresh_day: statement(
                    "-- ses-reports: count a day anew\nSELECT {schema}.aws_report_daily_refresh($1)",
                ),
            },
            pool,
            schema,
            timeout,
            prepared,
            known: Mutex::default(),
        };
        store.learn_kept().await?;
        Ok(store)
    }

    /// Begins a transaction whose statements PostgreSQL itself ends before we stop waiting for
    /// them: it would go on with one that nobody waits for, and one more at each try.
    async fn begin<'c>(
        &self,
        connection: &'c mut PgConnection,
    ) -> Result<Transaction<'c, Postgres>, sqlx::Error> {
        connection.begin_with(AssertSqlSafe(self.statements.begin.as_str())).await
    }

    /// Asks from when on rows are kept, which another process may have changed. A batch that does
    /// not know it yet is refused its month, and asks then.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached.
    pub async fn learn_kept(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let Ok(kept) = timeout(self.timeout, self.kept(&mut connection)).await else {
            return Err(self.gave_up(connection));
        };
        let kept = kept?;
        self.known(|known| known.kept = kept);
        Ok(())
    }

    async fn kept(&self, connection: &mut PgConnection) -> Result<Kept, sqlx::Error> {
        let mut transaction = self.begin(connection).await?;
        let rows: Vec<(String, Date)> =
            sqlx::query_as(AssertSqlSafe(self.statements.kept.as_str()))
                .persistent(self.prepared)
                .fetch_all(&mut *transaction)
                .await?;
        transaction.commit().await?;
        let from = |what: &str| rows.iter().find(|(kind, _)| kind == what).map(|(_, from)| *from);
        Ok(Kept { details_from: from("details"), reports_from: from("reports") })
    }

    /// Creates the partitions of months (their first days) where there are none; tells how many.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached, or a lock on the parent is not to be had.
    pub async fn create_months(&self, months: &[Date]) -> Result<usize, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let mut created = 0;
        for month in months {
            let Ok(ensured) =
                timeout(self.timeout, self.create_month(&mut connection, *month)).await
            else {
                return Err(self.gave_up(connection));
            };
            created += usize::from(ensured? == Ensured::Created);
        }
        Ok(created)
    }

    /// Drops a connection that owes an answer: the network may have lost it for ever.
    fn gave_up(&self, connection: PoolConnection<Postgres>) -> sqlx::Error {
        drop(connection.detach());
        let why = Error::Timeout(self.timeout.as_secs()).to_string();
        sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, why))
    }

    /// In a transaction of its own, so that the lock on the parent is held for a moment only.
    async fn create_month(
        &self,
        connection: &mut PgConnection,
        month: Date,
    ) -> Result<Ensured, sqlx::Error> {
        let mut transaction = self.begin(connection).await?;
        let ensured = partitions::ensure(&mut transaction, &self.schema, month).await?;
        transaction.commit().await?;
        if ensured != Ensured::Expired {
            self.known(|known| known.months.insert(month));
        }
        Ok(ensured)
    }

    /// A statement with the schema's name in its place.
    fn statement(&self, text: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(text.replace("{schema}", &self.schema.quoted()))
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        // A panic elsewhere cannot leave a set of ids half changed.
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
