//! Reads tables that were created by hand, for `migrate baseline`.

use serde_json::{Map, Value};
use sqlx::postgres::PgConnectOptions;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Postgres, Transaction,
};

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Store};
use crate::decode::text;
use crate::postgres::{SchemaName, with_fixed_settings};

/// Rows that are read at once.
const FETCH: usize = 1_000;

/// The three given tables, in a schema that ses-reports does not own.
#[derive(Debug)]
pub(crate) struct HandMadeTables {
    connection: PgConnection,
    schema: SchemaName,
}

/// A detail, and the report that it belongs to, if there is one.
pub(crate) type DetailAndReport = (Map<String, Value>, Option<Map<String, Value>>);

/// The rows of one table, a thousand at a time, as they were when it was opened.
#[derive(Debug)]
pub(crate) struct Rows<'c> {
    transaction: Transaction<'c, Postgres>,
}

impl HandMadeTables {
    /// Connects.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached.
    pub(crate) async fn connect(
        options: &PgConnectOptions,
        schema: SchemaName,
    ) -> Result<Self, sqlx::Error> {
        Ok(Self { connection: with_fixed_settings(options).connect().await?, schema })
    }

    fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.schema.quoted())
    }

    /// The names of the report types by their id, as text.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub(crate) async fn report_types(&mut self) -> Result<Vec<(String, String)>, sqlx::Error> {
        let sql = format!(
            "-- ses-reports: read report types created by hand
            SELECT id::text, report_name::text FROM {} WHERE id IS NOT NULL AND report_name IS NOT NULL",
            self.table("aws_report_type")
        );
        sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut self.connection).await
    }

    /// How many rows the two big tables have.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub(crate) async fn counts(&mut self) -> Result<(i64, i64), sqlx::Error> {
        let sql = format!(
            "-- ses-reports: count rows created by hand
            SELECT (SELECT count(*) FROM {}), (SELECT count(*) FROM {})",
            self.table("aws_reports"),
            self.table("aws_report_detail")
        );
        sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut self.connection).await
    }

    /// How many reports we have.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub(crate) async fn count_ours(&mut self, ours: &SchemaName) -> Result<u64, sqlx::Error> {
        let sql = format!(
            "-- ses-reports: count reports\nSELECT count(*) FROM {}.aws_reports",
            ours.quoted()
        );
        let count: i64 =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.connection).await?;
        Ok(count.unsigned_abs())
    }

    /// All reports.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub(crate) async fn reports(&mut self) -> Result<Rows<'_>, sqlx::Error> {
        let sql = format!(
            "-- ses-reports: read reports created by hand\nSELECT row_to_json(r)::text, NULL FROM {} AS r",
            self.table("aws_reports")
        );
        self.open(&sql).await
    }

    /// All details, each with its report.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub(crate) async fn details(&mut self) -> Result<Rows<'_>, sqlx::Error> {
        let sql = format!(
            // Not jsonb, which refuses what json and text hold: NUL escapes.
            "-- ses-reports: read details created by hand
            SELECT row_to_json(d)::text, row_to_json(r)::text
            FROM {} AS d LEFT JOIN (SELECT DISTINCT ON (id::text) * FROM {}) AS r
                ON r.id::text = d.report_id::text",
            self.table("aws_report_detail"),
            self.table("aws_reports")
        );
        self.open(&sql).await
    }

    async fn open(&mut self, sql: &str) -> Result<Rows<'_>, sqlx::Error> {
        let mut transaction = self.connection.begin().await?;
        // Times are told in UTC, and the whole is read, so the fastest plan is that for all of it.
        let declare = format!(
            "-- ses-reports: open tables created by hand
            SET LOCAL TimeZone = 'UTC'; SET LOCAL cursor_tuple_fraction = 1;
            DECLARE legacy NO SCROLL CURSOR FOR {sql}"
        );
        sqlx::raw_sql(AssertSqlSafe(declare)).execute(&mut *transaction).await?;
        Ok(Rows { transaction })
    }

    /// Records that all rows were converted: adopted reports need not be the fold of details that
    /// another program has written.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked, or refuses.
    pub(crate) async fn finish(&mut self, ours: &SchemaName, rows: u64) -> Result<(), sqlx::Error> {
        let sql = format!(
            "-- ses-reports: record that tables are adopted
            INSERT INTO {}.aws_report_backfill (name, rows_done, finished_at) VALUES ('baseline', $1, now())
            ON CONFLICT (name) DO UPDATE SET rows_done = $1, updated_at = now(), finished_at = now()",
            ours.quoted()
        );
        sqlx::query(AssertSqlSafe(sql))
            .bind(i64::try_from(rows).unwrap_or(i64::MAX))
            .execute(&mut self.connection)
            .await
            .map(|_| ())
    }
}

impl Store {
    /// Sets `created_at` of reports to what it was where they come from, if that is earlier.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub(crate) async fn keep_created_at(
        &self,
        was: &[(Uuid, OffsetDateTime)],
    ) -> Result<(), Error> {
        let sql = format!(
            "-- ses-reports: keep the creation times of reports
            UPDATE {}.aws_reports AS held SET created_at = was.created_at
            FROM (SELECT id, min(created_at) AS created_at FROM UNNEST($1::uuid[], $2::timestamptz[])
                AS was (id, created_at) GROUP BY id) AS was
            WHERE held.id = was.id AND was.created_at < held.created_at",
            self.schema.quoted()
        );
        let (ids, times): (Vec<Uuid>, Vec<OffsetDateTime>) = was.iter().copied().unzip();
        self.transaction("keep created_at", async |connection| {
            sqlx::query(AssertSqlSafe(sql)).bind(ids).bind(times).execute(connection).await?;
            Ok(())
        })
        .await
    }
}

impl Rows<'_> {
    /// The next thousand; none at the end.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub(crate) async fn next(&mut self) -> Result<Vec<DetailAndReport>, sqlx::Error> {
        let fetch = format!(
            "-- ses-reports: fetch rows created by hand\nFETCH FORWARD {FETCH} FROM legacy"
        );
        let rows: Vec<(String, Option<String>)> = sqlx::query_as(AssertSqlSafe(fetch))
            .persistent(false)
            .fetch_all(&mut *self.transaction)
            .await?;
        let object = |text: &str| match serde_json::from_str(text) {
            Ok(mut row @ Value::Object(_)) => {
                text::replace_nul(&mut row);
                match row {
                    Value::Object(object) => object,
                    _ => Map::new(),
                }
            }
            // row_to_json of a row is always an object.
            _ => Map::new(),
        };
        Ok(rows.iter().map(|(row, report)| (object(row), report.as_deref().map(object))).collect())
    }
}
