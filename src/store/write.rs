//! Writes a batch: one transaction, set-based, idempotent.

use sqlx::postgres::PgArguments;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, query::QueryAs};
use time::OffsetDateTime;
use uuid::Uuid;

use super::partitions::Ensured;
use super::transaction::{LOCK_TIMEOUT, Limits};
use super::{Checkpoint, Error, Refusal, Store};
use crate::batch::Columns;
use crate::classify::machine::Interaction;
use crate::row::columns::{DETAIL, Get, REPORT};
use crate::row::{AccountEvent, EventRow, ReportRow, Tags};

/// A body that became no report row.
#[derive(Debug, Clone)]
pub struct DeadLetter<'a> {
    /// See [`crate::decode::identity::dead_letter_id`].
    pub(crate) id: Uuid,
    /// The SQS body, whole.
    pub(crate) body: &'a str,
    /// One of a small set.
    pub(crate) reason: String,
    /// What exactly was wrong.
    pub(crate) detail: Option<String>,
    /// The SQS `MessageId`, if it came that way.
    pub(crate) sqs_message_id: Option<&'a str>,
    /// Where it came from: `sqs:QUEUE`, `replay:FILE:LINE` or `baseline`.
    pub(crate) source: &'a str,
    /// SQS `SentTimestamp`.
    pub(crate) sent_at: Option<OffsetDateTime>,
    /// SQS `ApproximateReceiveCount`.
    pub(crate) receive_count: Option<i32>,
}

/// What a batch holds beside the rows of SES events.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Others<'a> {
    pub(crate) dead_letters: &'a [DeadLetter<'a>],
    pub(crate) account_events: &'a [&'a AccountEvent],
}

/// What a transaction changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Detail rows that were not there.
    pub details: u64,
    /// Reports that are new or changed.
    pub reports: u64,
    /// Dead letters that were not there.
    pub dead_letters: u64,
    /// Rows whose details were not stored, because they are no longer kept.
    pub expired: u64,
}

/// How often a batch is arranged again because the months have changed meanwhile.
const LAYOUTS: u32 = 3;

impl Store {
    /// Writes a batch and its dead letters in one transaction. Written again it changes nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] when the batch holds values that PostgreSQL cannot take: split it. Any
    /// other error is worth a later try; after it the batch may be committed or not.
    pub async fn write(
        &self,
        rows: &[&EventRow],
        dead_letters: &[DeadLetter<'_>],
    ) -> Result<Written, Error> {
        let others = Others { dead_letters, ..Others::default() };
        self.write_with(rows, others, &Checkpoint::Nothing).await
    }

    /// The same with other things, and with a checkpoint that is committed in the same transaction or not at
    /// all.
    ///
    /// # Errors
    /// As [`Store::write`], and [`Error::TakenOver`] and [`Error::Already`] as [`Checkpoint`] says.
    pub(crate) async fn write_with(
        &self,
        rows: &[&EventRow],
        others: Others<'_>,
        checkpoint: &Checkpoint<'_>,
    ) -> Result<Written, Error> {
        for _ in 1..LAYOUTS {
            let columns = Columns::of(rows.iter().copied(), self.known(|known| known.kept));
            match self.try_write(&columns, others, checkpoint).await {
                // A month was dropped, or detached by hand.
                Err(Error::MissingPartition | Error::Expired) => {
                    self.known(|known| known.months.clear());
                    self.learn_kept().await?;
                }
                written_or_error => return written_or_error,
            }
        }
        let columns = Columns::of(rows.iter().copied(), self.known(|known| known.kept));
        match self.try_write(&columns, others, checkpoint).await {
            // It was just made, and still there is none: the row is to blame.
            Err(Error::MissingPartition) => Err(Error::Refused(Refusal {
                code: "23514".to_owned(),
                message: "no partition can be made for the month".to_owned(),
            })),
            written_or_error => written_or_error,
        }
    }

    /// Writes reports that come without events, as [`Store::write`] does.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub(crate) async fn write_reports(
        &self,
        reports: &[ReportRow],
        dead_letters: &[DeadLetter<'_>],
    ) -> Result<Written, Error> {
        let columns = Columns::of_reports(reports);
        let others = Others { dead_letters, ..Others::default() };
        self.try_write(&columns, others, &Checkpoint::Nothing).await
    }

    /// Writes a batch and rolls it back: whether PostgreSQL would accept it.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub(crate) async fn try_out(
        &self,
        rows: &[&EventRow],
        dead_letters: &[DeadLetter<'_>],
    ) -> Result<(), Error> {
        self.try_out_within(Limits::of(self.timeout).lock(LOCK_TIMEOUT), rows, dead_letters).await
    }

    pub(super) async fn try_out_within(
        &self,
        limits: Limits<'_>,
        rows: &[&EventRow],
        dead_letters: &[DeadLetter<'_>],
    ) -> Result<(), Error> {
        let columns = Columns::of(rows.iter().copied(), self.known(|known| known.kept));
        self.ensure_months(&columns, limits).await?;
        let others = Others { dead_letters, ..Others::default() };
        self.limited_transaction("probe", limits.trial(), async |connection| {
            self.write_in(connection, &columns, others, &Checkpoint::Nothing).await
        })
        .await?;
        Ok(())
    }

    async fn try_write(
        &self,
        columns: &Columns<'_>,
        others: Others<'_>,
        checkpoint: &Checkpoint<'_>,
    ) -> Result<Written, Error> {
        let limits = Limits::of(self.timeout).lock(LOCK_TIMEOUT);
        self.ensure_months(columns, limits).await?;
        let written = self
            .limited_transaction("write a batch", limits, async |connection| {
                self.write_in(connection, columns, others, checkpoint).await
            })
            .await?;
        self.known(|known| {
            known.report_types.extend(columns.report_types.keys());
        });
        Ok(written)
    }

    /// Creates the partitions of months that this process has not seen yet.
    async fn ensure_months(&self, columns: &Columns<'_>, limits: Limits<'_>) -> Result<(), Error> {
        for month in &columns.months {
            if !self.known(|known| known.months.contains(month))
                && self.create_month(*month, limits).await? == Ensured::Expired
            {
                return Err(Error::Expired);
            }
        }
        Ok(())
    }

    async fn write_in(
        &self,
        connection: &mut PgConnection,
        columns: &Columns<'_>,
        others: Others<'_>,
        checkpoint: &Checkpoint<'_>,
    ) -> Result<Written, Error> {
        self.claim(connection, checkpoint).await?;
        let new_types: Vec<(i64, &str)> = self.known(|known| {
            let unknown =
                columns.report_types.iter().filter(|(id, _)| !known.report_types.contains(**id));
            unknown.map(|(id, name)| (*id, *name)).collect()
        });
        if !new_types.is_empty() {
            let (ids, names): (Vec<i64>, Vec<&str>) = new_types.iter().copied().unzip();
            sqlx::query(AssertSqlSafe(self.statements.report_types.as_str()))
                .persistent(self.prepared)
                .bind(ids)
                .bind(names)
                .execute(&mut *connection)
                .await?;
        }
        let mut written = Written { expired: columns.expired, ..Written::default() };
        if !others.dead_letters.is_empty() {
            written.dead_letters =
                self.insert_dead_letters(connection, others.dead_letters).await?;
        }
        if !others.account_events.is_empty() {
            self.insert_account_events(connection, others.account_events).await?;
        }
        if !columns.reports.is_empty() {
            (written.details, written.reports) = self.upsert(connection, columns).await?;
        }
        self.settle(connection, checkpoint, written).await?;
        Ok(written)
    }

    async fn insert_dead_letters(
        &self,
        connection: &mut PgConnection,
        letters: &[DeadLetter<'_>],
    ) -> Result<u64, Error> {
        fn column<'l, T>(
            letters: &'l [DeadLetter<'l>],
            of: impl Fn(&'l DeadLetter<'l>) -> T,
        ) -> Vec<T> {
            letters.iter().map(of).collect()
        }
        let storable = |text: &str| text.replace('\0', "\u{fffd}");
        let done = sqlx::query(AssertSqlSafe(self.statements.dead_letters.as_str()))
            .persistent(self.prepared)
            .bind(column(letters, |letter| letter.id))
            .bind(column(letters, |letter| storable(letter.body)))
            .bind(column(letters, |letter| letter.reason.as_str()))
            .bind(column(letters, |letter| letter.detail.as_deref().map(storable)))
            .bind(column(letters, |letter| letter.sqs_message_id))
            .bind(column(letters, |letter| letter.sent_at))
            .bind(column(letters, |letter| letter.receive_count))
            .bind(column(letters, |letter| letter.source))
            .execute(connection)
            .await?;
        Ok(done.rows_affected())
    }

    async fn upsert(
        &self,
        connection: &mut PgConnection,
        columns: &Columns<'_>,
    ) -> Result<(u64, u64), Error> {
        let mut query =
            sqlx::query_as(AssertSqlSafe(self.statements.write.as_str())).persistent(self.prepared);
        for column in DETAIL {
            query = bind(query, &column.get, columns.details.iter().copied());
        }
        for column in REPORT {
            query = bind(query, &column.get, columns.reports.iter().map(AsRef::as_ref));
        }
        let rules = self.machine_rules();
        for interaction in [Interaction::Open, Interaction::Click] {
            query = query.bind(rules.longest_delay(interaction).as_seconds_f64());
        }
        let (details, reports): (i64, i64) = query.fetch_one(connection).await?;
        Ok((details.unsigned_abs(), reports.unsigned_abs()))
    }
}

type Query<'q, O> = QueryAs<'q, Postgres, O, PgArguments>;

/// Binds a column of some rows. `UNNEST` fills what is missing at the end of an array with NULL, so a column of
/// which a batch says nothing costs nothing.
fn bind<'q, R: 'q, O>(
    query: Query<'q, O>,
    get: &Get<R>,
    rows: impl Iterator<Item = &'q R>,
) -> Query<'q, O> {
    match get {
        Get::Uuid(of) => query.bind(rows.map(of).collect::<Vec<_>>()),
        Get::Number(of) => query.bind(rows.map(of).collect::<Vec<_>>()),
        Get::Text(of, _) => query.bind(without_last_nulls(rows.map(of))),
        Get::Json(of) => query.bind(rows.map(of).collect::<Vec<_>>()),
        Get::Time(of) => query.bind(without_last_nulls(rows.map(of))),
        Get::Flag(of) => query.bind(without_last_nulls(rows.map(of))),
        Get::Tags(of) => query.bind(without_last_nulls(rows.map(|row| of(row).map(Tags::to_json)))),
    }
}

fn without_last_nulls<T>(values: impl Iterator<Item = Option<T>>) -> Vec<Option<T>> {
    let mut values: Vec<_> = values.collect();
    let last = values.iter().rposition(Option::is_some);
    values.truncate(last.map_or(0, |last| last + 1));
    values
}
