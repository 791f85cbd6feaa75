//! Retention: whole months of details are dropped, old reports removed in bounded batches, and what
//! was removed stays removed.
//!
//! Only the owner of the schema may do that, so retention has its own connection. Every step is one
//! transaction, or a statement that can be repeated; whatever is interrupted is finished by the
//! next run, in whichever process.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use time::{Date, OffsetDateTime};
use tokio_util::sync::CancellationToken;

use crate::postgres::{SchemaName, explain, has_sqlstate, sqlstate};
use crate::schema::partitions::{self, Partition};
use crate::schema::{self, session};
use crate::store::expire::{self, Removed};

/// Reports removed in one transaction: some hundred milliseconds.
const BATCH: u32 = 5_000;

/// How far apart this machine's clock and the database's may be. The database's says which months are
/// over; a second witness keeps one wrong clock from dropping what is still to be kept.
const LARGEST_SKEW: time::Duration = time::Duration::hours(1);

/// Dead letters removed in one transaction. Each may be as long as a message.
const LETTERS: u32 = 1_000;

/// How often a long removal says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// How long rows are kept; `None` is for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retain {
    /// Rows of `aws_report_detail`: whole months before the current one.
    pub details: Option<u16>,
    /// Rows of `aws_reports`: the same, and never fewer.
    pub reports: Option<u16>,
    /// Dead letters, and the records of finished replays: days.
    pub dead_letters: Option<u16>,
}

impl Retain {
    /// Whether nothing is ever removed.
    #[must_use]
    pub(crate) fn keeps_all(&self) -> bool {
        *self == Self::default()
    }
}

/// Why retention did not do its work, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process is doing it.
    #[error("another process is removing old rows just now")]
    Busy,
    /// The role does not own the tables.
    #[error("{0}")]
    Rights(String),
    /// One of the two clocks is wrong, and a month that is dropped does not come back.
    #[error(
        "this machine's clock and the database's are {} min apart: nothing is dropped until they agree (at most {} min)",
        .0.whole_minutes(),
        LARGEST_SKEW.whole_minutes()
    )]
    Clocks(time::Duration),
    /// No session could be opened.
    #[error(transparent)]
    Session(#[from] schema::Error),
    /// PostgreSQL cannot be reached or asked.
    #[error("{}", explain(.0))]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if has_sqlstate(&error, sqlstate::INSUFFICIENT_PRIVILEGE) {
            return Self::Rights(explain(&error));
        }
        Self::Database(error)
    }
}

/// A session that removes what is no longer kept; at most one at a time has the right to.
#[derive(Debug)]
pub struct Retention {
    connection: PgConnection,
    schema: SchemaName,
}

impl Retention {
    /// Connects as the schema's owner and becomes the one that removes.
    ///
    /// # Errors
    /// [`Error::Busy`] when another process is.
    pub async fn begin(options: &PgConnectOptions, schema: &SchemaName) -> Result<Self, Error> {
        let mut connection = session::open(options, schema).await?;
        session::refuse_pooler(&mut connection, options, schema).await?;
        // No limit on waiting: no other session waits behind a detach that waits.
        sqlx::raw_sql(
            "-- ses-reports: set up the session of retention
SET lock_timeout = 0; SET application_name = 'ses-reports retention'",
        )
        .execute(&mut connection)
        .await?;
        // This is asked first: a role that cannot drop a month must not record that it is gone.
        let is_owner: Option<bool> = sqlx::query_scalar(
            "-- ses-reports: check who owns the details
            SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('aws_report_detail')",
        )
        .fetch_optional(&mut connection)
        .await?;
        if is_owner != Some(true) {
            return Err(Error::Rights("the role does not own aws_report_detail".to_owned()));
        }
        // Of the session: given back with it, however it ends.
        let elected: bool = sqlx::query_scalar(
            "-- ses-reports: elect the process that removes old rows
            SELECT pg_try_advisory_lock(hashtext('ses-reports retention'), hashtext($1))",
        )
        .bind(schema.as_str())
        .fetch_one(&mut connection)
        .await?;
        if elected { Ok(Self { connection, schema: schema.clone() }) } else { Err(Error::Busy) }
    }

    /// Gives the lock back.
    pub async fn end(self) {
        // If closing fails, the server notices that the session has ended.
        let _ = self.connection.close().await;
    }

    /// Does all that [`Retain`] asks for, until it is done or told to stop. The database's clock says
    /// which month it is; `now` is this machine's.
    ///
    /// # Errors
    /// [`Error::Clocks`] when the two are more than an hour apart: nothing is changed then.
    /// [`Error::Rights`] when the role does not own the tables; what was done until then stays.
    pub async fn apply(
        &mut self,
        retain: Retain,
        now: OffsetDateTime,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        self.compare_clocks(now).await?;
        if let Some(months) = retain.details {
            self.advance_by_months("details", months).await?;
        }
        let reports = match retain.reports {
            Some(months) => Some(self.advance_by_months("reports", months).await?),
            None => None,
        };
        if retain.details.is_some() {
            self.drop_expired(stop).await?;
        }
        if let Some(before) = reports {
            self.remove_reports(before, stop).await?;
        }
        if let Some(days) = retain.dead_letters {
            self.remove_dead_letters(days, stop).await?;
        }
        Ok(())
    }

    /// Says that details before a month (its first day) are no longer kept; returns the date
    /// from which they are. This is committed before anything is removed, so that no late event comes in between.
    ///
    /// # Errors
    /// [`Error::Rights`], or what PostgreSQL says of a month that is yet to come.
    pub async fn keep_details_from(&mut self, month: Date) -> Result<Date, Error> {
        self.advance("details", month).await
    }

    async fn compare_clocks(&mut self, now: OffsetDateTime) -> Result<(), Error> {
        let of_database: OffsetDateTime = sqlx::query_scalar(
            "-- ses-reports: read the clock for retention\nSELECT clock_timestamp()",
        )
        .fetch_one(&mut self.connection)
        .await?;
        let skew = (now - of_database).abs();
        if skew > LARGEST_SKEW { Err(Error::Clocks(skew)) } else { Ok(()) }
    }

    /// Keeps this many whole months before the current one, by the database's clock.
    async fn advance_by_months(&mut self, what: &str, months: u16) -> Result<Date, Error> {
        let month = sqlx::query_scalar(
            "-- ses-reports: compute the first month to keep
            SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => $1))::date",
        )
        .bind(i32::from(months))
        .fetch_one(&mut self.connection)
        .await?;
        self.advance(what, month).await
    }

    async fn advance(&mut self, what: &str, month: Date) -> Result<Date, Error> {
        let kept_from = sqlx::query_scalar(
            "-- ses-reports: advance the date from which rows are kept
SELECT aws_report_retention_advance($1, $2)",
        )
        .bind(what)
        .bind(month)
        .fetch_one(&mut self.connection)
        .await?;
        Ok(kept_from)
    }

    /// Drops the partitions that hold nothing that is kept, the oldest first; returns their names.
    /// A detach that was interrupted is finished first, whoever began it, because it blocks every other.
    ///
    /// # Errors
    /// [`Error::Rights`]; what was dropped until then stays dropped.
    pub async fn drop_expired(
        &mut self,
        stop: &CancellationToken,
    ) -> Result<Vec<Partition>, Error> {
        let mut dropped = Vec::new();
        for partition in partitions::list(&mut self.connection, &self.schema).await? {
            if partition.is_pending {
                partitions::finish_detach(&mut self.connection, &partition).await?;
                tracing::info!(partition = partition.name, "finished an interrupted DETACH");
            }
        }
        for partition in partitions::list(&mut self.connection, &self.schema).await? {
            if !partition.is_expired {
                continue;
            }
            if stop.is_cancelled() {
                break;
            }
            if partition.is_attached {
                tracing::info!(
                    partition = partition.name,
                    "detaching the partition, which waits for its readers"
                );
            }
            partitions::remove(&mut self.connection, &partition).await?;
            tracing::info!(
                partition = partition.name,
                rows = partition.rows,
                bytes = partition.bytes,
                "dropped details that are no longer kept"
            );
            dropped.push(partition);
        }
        Ok(dropped)
    }

    /// Removes the reports of mail from before a day, with what is left of their details.
    ///
    /// # Errors
    /// [`Error::Rights`]; what was removed until then stays removed.
    pub async fn remove_reports(
        &mut self,
        before: Date,
        stop: &CancellationToken,
    ) -> Result<Removed, Error> {
        let (mut total, mut said) = (Removed::default(), Instant::now());
        while !stop.is_cancelled() {
            let removed = expire::remove_reports(&mut self.connection, before, BATCH).await?;
            total.reports += removed.reports;
            total.details += removed.details;
            if removed.reports == 0 {
                break;
            }
            if said.elapsed() > SAY_EVERY {
                said = Instant::now();
                tracing::info!(
                    reports = total.reports,
                    details = total.details,
                    "removing reports that are no longer kept"
                );
            }
        }
        if total.reports > 0 {
            tracing::info!(
                reports = total.reports,
                details = total.details,
                "removed reports that are no longer kept"
            );
        }
        Ok(total)
    }

    /// Removes dead letters, and the records of finished replays, that are older than this many days.
    ///
    /// # Errors
    /// [`Error::Rights`]; what was removed until then stays removed.
    pub(crate) async fn remove_dead_letters(
        &mut self,
        days: u16,
        stop: &CancellationToken,
    ) -> Result<u64, Error> {
        let mut total = 0;
        while !stop.is_cancelled() {
            match expire::remove_dead_letters(&mut self.connection, days, LETTERS).await? {
                0 => break,
                removed => total += removed,
            }
        }
        let replays = expire::remove_replays(&mut self.connection, days).await?;
        if total + replays > 0 {
            tracing::info!(dead_letters = total, replays, "removed what is older than {days} days");
        }
        Ok(total)
    }
}
