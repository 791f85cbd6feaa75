//! Undoes migrations, the newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::apply::{self, Direction};
use super::statement::Retries;
use super::status::MigrationState;
use super::{Applied, Error, Migration, Schema, Status, session, sql};
use crate::postgres::quote_ident;

/// Something with data in it that would be dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// `table`, `column` or `rows of`.
    pub(crate) kind: String,
    /// Which: `aws_reports`, `aws_reports.subject`.
    pub(crate) name: String,
    /// About how many rows its table has, by PostgreSQL's statistics; 1 at least.
    pub(crate) rows: i64,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} (about {} rows)", self.kind, self.name, self.rows)
    }
}

/// How far down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Downto {
    /// To this version; 0 undoes everything.
    Version(u32),
    /// This many migrations.
    Steps(u32),
}

impl Schema {
    /// Undoes migrations, newest first, each in a transaction with its row of the history.
    ///
    /// # Errors
    /// [`Error::WouldLose`] where that would drop rows and `allow_data_loss` is not set: then
    /// nothing was changed.
    pub(crate) async fn down(
        &self,
        to: Downto,
        allow_data_loss: bool,
    ) -> Result<(Status, Vec<Applied>), Error> {
        let mut connection = session::open(&self.options, &self.name).await?;
        let outcome = self.down_with(&mut connection, to, allow_data_loss).await;
        let _ = connection.close().await;
        outcome
    }

    async fn down_with(
        &self,
        connection: &mut PgConnection,
        to: Downto,
        allow_data_loss: bool,
    ) -> Result<(Status, Vec<Applied>), Error> {
        if self.down_steps(&self.read_status(connection).await?, to)?.is_empty() {
            return Ok((self.read_status(connection).await?, Vec::new()));
        }
        self.claim(connection).await?;
        // What this process waited for may have changed everything.
        let steps = self.down_steps(&self.read_status(connection).await?, to)?;
        if !allow_data_loss {
            let losses = self.losses(connection, &steps).await?;
            if !losses.is_empty() {
                return Err(Error::WouldLose(losses));
            }
        }
        let mut undone = Vec::new();
        for migration in steps {
            let started = Instant::now();
            if let Err(error) = apply::run(connection, self, &Direction::Down { migration }).await {
                return Err(Error::Migration {
                    name: migration.stem.to_string(),
                    applied: undone,
                    source: Box::new(error),
                });
            }
            undone.push(Applied { name: migration.stem.to_string(), took: started.elapsed() });
        }
        Ok((self.read_status(connection).await?, undone))
    }

    /// What is to be undone, in order.
    fn down_steps(&self, status: &Status, to: Downto) -> Result<Vec<&Migration>, Error> {
        if status.is_newer() {
            return Err(Error::Newer {
                schema: status.schema.clone(),
                found: status.version,
                newest: status.newest,
            });
        }
        status.check_history()?;
        let is_applied = |version| {
            status
                .migrations
                .iter()
                .any(|line| line.version == version && line.state == MigrationState::Applied)
        };
        let applied = self.migrations.iter().rev().filter(|known| is_applied(known.version));
        match to {
            Downto::Version(version) if version > self.newest() => {
                Err(Error::NoSuchVersion { version, newest: self.newest() })
            }
            Downto::Version(version) => {
                Ok(applied.take_while(|known| known.version > version).collect())
            }
            Downto::Steps(steps) => {
                Ok(applied.take(usize::try_from(steps).unwrap_or(usize::MAX)).collect())
            }
        }
    }

    /// What some down scripts would drop, empty or change that holds rows: they are run, looked at,
    /// and rolled back.
    async fn losses(
        &self,
        connection: &mut PgConnection,
        steps: &[&Migration],
    ) -> Result<Vec<Loss>, Error> {
        let before = tables(connection, self).await?;
        let mut retries = Retries::default();
        let (after, touched) = loop {
            match self.after(connection, steps).await {
                Err(error) => retries.after(error).await?,
                Ok(after) => break after,
            }
        };
        let mut losses = Vec::new();
        for (number, table) in &before {
            let is_of_lost = |parent: &i64| !after.contains_key(parent);
            let Some(left) = after.get(number) else {
                // With its parent it is told of once.
                if !table.parent.as_ref().is_some_and(is_of_lost) {
                    self.lose(connection, &mut losses, "table", table, None).await?;
                }
                continue;
            };
            let changed = table.columns.iter().filter(|(column, (_, kind))| {
                left.columns.get(*column).is_none_or(|(_, kind_left)| kind_left != kind)
            });
            let changed: Vec<&String> = changed.map(|(_, (name, _))| name).collect();
            if table.parent.is_none() {
                for column in &changed {
                    self.lose(connection, &mut losses, "column", table, Some(column)).await?;
                }
            }
            // TRUNCATE gives a table a new file, as a rewrite does.
            let is_emptied = left.file != table.file && changed.is_empty();
            if is_emptied || touched.contains(number) {
                self.lose(connection, &mut losses, "rows of", table, None).await?;
            }
        }
        Ok(losses)
    }

    /// Notes a loss if there is something to lose.
    async fn lose(
        &self,
        connection: &mut PgConnection,
        losses: &mut Vec<Loss>,
        kind: &str,
        table: &Table,
        column: Option<&str>,
    ) -> Result<(), Error> {
        let condition = column.map_or_else(
            || "true".to_owned(),
            |column| format!("{} IS NOT NULL", quote_ident(column)),
        );
        if let Some(rows) = self.rows(connection, &table.name, &condition).await? {
            let of_column = column.map(|column| format!(".{column}")).unwrap_or_default();
            let name = format!("{}{of_column}", table.name);
            losses.push(Loss { kind: kind.to_owned(), name, rows });
        }
        Ok(())
    }

    /// What there would be afterwards, and the tables of which rows would be deleted or updated.
    async fn after(
        &self,
        connection: &mut PgConnection,
        steps: &[&Migration],
    ) -> Result<(Tables, BTreeSet<i64>), Error> {
        let mut transaction = connection.begin().await?;
        for migration in steps {
            for statement in sql::statements(&migration.down).map_err(Error::Failed)? {
                // Its lock ends with the rollback, a moment from here.
                let statement = sql::not_concurrently(statement);
                let mut savepoint = transaction.begin().await?;
                match sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *savepoint).await {
                    // What runs outside of a transaction only, drops nothing that holds rows.
                    Err(error) if session::needs_no_transaction(&error) => {
                        savepoint.rollback().await?;
                    }
                    done => {
                        done?;
                        savepoint.commit().await?;
                    }
                }
            }
        }
        let after = tables(&mut transaction, self).await?;
        let touched: Vec<i64> = sqlx::query_scalar(
            "-- ses-reports: find tables with changed rows
            SELECT relid::bigint FROM pg_stat_xact_user_tables
            WHERE n_tup_del + n_tup_upd > 0 AND schemaname = $1",
        )
        .bind(self.name.as_str())
        .fetch_all(&mut *transaction)
        .await?;
        transaction.rollback().await?;
        Ok((after, touched.into_iter().collect()))
    }

    /// About how many rows a table has, if any fulfils a condition.
    async fn rows(
        &self,
        connection: &mut PgConnection,
        table: &str,
        condition: &str,
    ) -> Result<Option<i64>, Error> {
        let table = format!("{}.{}", self.name.quoted(), quote_ident(table));
        let any = format!(
            "-- ses-reports: find out whether rows would be lost
            SELECT EXISTS (SELECT * FROM {table} WHERE {condition})"
        );
        if !sqlx::query_scalar::<_, bool>(AssertSqlSafe(any)).fetch_one(&mut *connection).await? {
            return Ok(None);
        }
        let estimate: i64 = sqlx::query_scalar(
            "-- ses-reports: estimate the rows of a table
            SELECT greatest(sum(reltuples) FILTER (WHERE reltuples > 0), 1)::bigint
            FROM pg_class WHERE oid IN (SELECT relid FROM pg_partition_tree(to_regclass($1)) WHERE isleaf)
                OR oid = to_regclass($1)",
        )
        .bind(&table)
        .fetch_one(connection)
        .await?;
        Ok(Some(estimate))
    }
}

/// A table that can hold rows.
struct Table {
    name: String,
    /// The number of the table that it is a partition of.
    parent: Option<i64>,
    /// The file that holds its rows.
    file: Option<i64>,
    /// Name and type by number.
    columns: BTreeMap<i16, (String, String)>,
}

/// Tables by number: a name may be another table's afterwards.
type Tables = BTreeMap<i64, Table>;

async fn tables(connection: &mut PgConnection, schema: &Schema) -> Result<Tables, Error> {
    type Column = (i64, String, Option<i64>, Option<i64>, i16, String, String);
    let columns: Vec<Column> = sqlx::query_as(
        "-- ses-reports: list tables and columns
        SELECT c.oid::bigint, relname::text, inhparent::bigint, pg_relation_filenode(c.oid)::bigint,
            attnum, attname::text, format_type(atttypid, atttypmod)
        FROM pg_class AS c LEFT JOIN pg_inherits ON inhrelid = c.oid
        JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
        WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p', 'm')
            AND relname <> 'refinery_schema_history'",
    )
    .bind(schema.name.as_str())
    .fetch_all(connection)
    .await?;
    let mut tables = Tables::new();
    for (number, name, parent, file, column, column_name, kind) in columns {
        let table =
            tables.entry(number).or_insert(Table { name, parent, file, columns: BTreeMap::new() });
        table.columns.insert(column, (column_name, kind));
    }
    Ok(tables)
}
