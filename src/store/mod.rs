//! The store: the only code that runs SQL on the report tables.

mod account_events;
mod backfill;
mod baseline;
mod check;
mod check_figures;
mod checkpoint;
mod classes;
mod daily;
mod dead_letters;
mod error;
pub(crate) mod expire;
mod judge;
mod lock_holder;
mod machine_rules;
pub mod partitions;
mod replay;
mod report_types;
mod statement;
mod transaction;
mod write;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};
use time::Date;

pub(crate) use baseline::HandMadeTables;
pub(crate) use check::{Check, check};
pub(crate) use checkpoint::{Checkpoint, Part, Retried};
pub(crate) use daily::REFRESH_TIMEOUT;
pub(crate) use dead_letters::{Letter, Line, Selection};
pub use error::Error;
pub(crate) use error::{Refusal, Violation};
pub(crate) use replay::{Done, Totals};
pub(crate) use write::{DeadLetter, Others, Written};

use crate::batch::Kept;
use crate::classify::machine::MachineRules;
use crate::postgres::SchemaName;
use partitions::Ensured;
use report_types::ReportTypes;
use transaction::{LOCK_TIMEOUT, Limits};

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
    machine_rules: Arc<MachineRules>,
}

/// The statements with the schema's name in its place. Names are qualified: no session has a
/// `search_path` of its own.
#[derive(Debug)]
struct Statements {
    write: String,
    dead_letters: String,
    report_types: String,
    kept: String,
    stale_days: String,
    refresh_day: String,
    add_to_figures: String,
    figures_age: String,
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
                write: statement(&statement::write()),
                dead_letters: statement(include_str!("write_dead_letters.sql")),
                report_types: statement(include_str!("write_report_types.sql")),
                kept: statement(
                    "-- ses-reports: read the dates from which rows are kept\nSELECT what, kept_from FROM {schema}.aws_report_retention",
                ),
                stale_days: statement(include_str!("stale_days.sql")),
                refresh_day: statement(
                    "-- ses-reports: count a day again\nSELECT {schema}.aws_report_daily_refresh($1)",
                ),
                add_to_figures: statement(
                    "-- ses-reports: add to the figures\nSELECT notes, is_crowded FROM {schema}.aws_report_daily_add($1)",
                ),
                figures_age: statement(
                    "-- ses-reports: ask how old the figures are
                    SELECT extract(epoch FROM age)::float8, days_to_recount FROM {schema}.aws_report_figures_age()",
                ),
            },
            pool,
            schema,
            timeout,
            prepared,
            known: Mutex::default(),
        };
        store.learn_kept().await?;
        store.learn_machine_rules().await?;
        Ok(store)
    }

    /// How long a transaction may take.
    #[must_use]
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Reads the dates from which rows are kept, which another process may have changed. A batch that does
    /// not know it yet is refused its month, and asks then.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or refuses.
    pub(crate) async fn learn_kept(&self) -> Result<(), Error> {
        let rows: Vec<(String, Date)> = self
            .transaction("read the dates from which rows are kept", async |connection| {
                Ok(sqlx::query_as(AssertSqlSafe(self.statements.kept.as_str()))
                    .persistent(self.prepared)
                    .fetch_all(connection)
                    .await?)
            })
            .await?;
        let from = |what: &str| rows.iter().find(|(kind, _)| kind == what).map(|(_, from)| *from);
        let kept = Kept { details_from: from("details"), reports_from: from("reports") };
        self.known(|known| known.kept = kept);
        Ok(())
    }

    /// Creates the partitions of months (their first days) where there are none; returns how many.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached, or a lock on the parent is not available.
    pub(crate) async fn create_months(&self, months: &[Date]) -> Result<usize, Error> {
        let limits = Limits::of(self.timeout).lock(LOCK_TIMEOUT);
        let mut created = 0;
        for month in months {
            created += usize::from(self.create_month(*month, limits).await? == Ensured::Created);
        }
        Ok(created)
    }

    /// In a transaction of its own, so that the lock on the parent is held for a moment only.
    async fn create_month(&self, month: Date, limits: Limits<'_>) -> Result<Ensured, Error> {
        let ensured = self
            .limited_transaction("create a month", limits, async |connection| {
                Ok(partitions::ensure(connection, &self.schema, month).await?)
            })
            .await?;
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
