//! Undoes migrations, newest first.

use std::collections::BTreeSet;
use std::time::Instant;

use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::apply::{self, Retries, Way};
use super::status::State;
use super::{Applied, Error, Migration, Schema, Status, session, sql};

/// Something with data in it that would be dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// `table` or `column`.
    pub kind: String,
    /// Which: `aws_reports`, `aws_reports.subject`.
    pub name: String,
    /// About how many rows its table has, by PostgreSQL's statistics; 1 at least.
    pub rows: i64,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} (about {} rows)", self.kind, self.name, self.rows)
    }
}

/// How far down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Downto {
    /// To this version; 0 undoes everything.
    Version(u32),
    /// So many migrations.
    Steps(u32),
}

impl Schema {
    /// Undoes migrations, newest first, each in a transaction with its row of the history.
    ///
    /// # Errors
    /// [`Error::WouldLose`] where that would drop rows and `allow_data_loss` is not set: then
    /// nothing was changed.
    pub async fn down(
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
            if let Err(error) = apply::run(connection, self, &Way::Down { migration }).await {
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
        status.ours()?;
        let is_applied = |version| {
            status
                .migrations
                .iter()
                .any(|line| line.version == version && line.state == State::Applied)
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

    /// What some down scripts would drop that holds rows: they are run, looked at, and rolled back.
    async fn losses(
        &self,
        connection: &mut PgConnection,
        steps: &[&Migration],
    ) -> Result<Vec<Loss>, Error> {
        let before = columns(connection, self).await?;
        let mut retries = Retries::default();
        let after = loop {
            match self.columns_after(connection, steps).await {
                Err(error) => retries.after(error).await?,
                Ok(after) => break after,
            }
        };
        let gone: Vec<&(String, String)> = before.difference(&after).collect();
        let tables = |columns: &BTreeSet<(String, String)>| -> BTreeSet<String> {
            columns.iter().map(|(table, _)| table.clone()).collect()
        };
        let (kept, mut losses) = (tables(&after), Vec::new());
        for table in tables(&before).difference(&kept) {
            if let Some(rows) = self.rows(connection, table, "true").await? {
                losses.push(Loss { kind: "table".to_owned(), name: table.clone(), rows });
            }
        }
        for (table, column) in gone.into_iter().filter(|(table, _)| kept.contains(table)) {
            let holds = format!("\"{}\" IS NOT NULL", column.replace('"', "\"\""));
            if let Some(rows) = self.rows(connection, table, &holds).await? {
                let name = format!("{table}.{column}");
                losses.push(Loss { kind: "column".to_owned(), name, rows });
            }
        }
        Ok(losses)
    }

    async fn columns_after(
        &self,
        connection: &mut PgConnection,
        steps: &[&Migration],
    ) -> Result<BTreeSet<(String, String)>, Error> {
        let mut transaction = connection.begin().await?;
        for migration in steps {
            for statement in sql::statements(&migration.down).map_err(Error::Failed)? {
                // Its lock ends with the rollback, a moment from here.
                let statement = sql::not_concurrently(statement);
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
            }
        }
        let after = columns(&mut transaction, self).await?;
        transaction.rollback().await?;
        Ok(after)
    }

    /// About how many rows a table has, if any fulfils a condition.
    async fn rows(
        &self,
        connection: &mut PgConnection,
        table: &str,
        condition: &str,
    ) -> Result<Option<i64>, Error> {
        let table = format!("{}.\"{table}\"", self.name.quoted());
        let any = format!("SELECT EXISTS (SELECT * FROM {table} WHERE {condition})");
        if !sqlx::query_scalar::<_, bool>(AssertSqlSafe(any)).fetch_one(&mut *connection).await? {
            return Ok(None);
        }
        let estimate: i64 = sqlx::query_scalar(
            "SELECT greatest(sum(reltuples) FILTER (WHERE reltuples > 0), 1)::bigint
            FROM pg_class WHERE oid IN (SELECT relid FROM pg_partition_tree(to_regclass($1)) WHERE isleaf)
                OR oid = to_regclass($1)",
        )
        .bind(&table)
        .fetch_one(connection)
        .await?;
        Ok(Some(estimate))
    }
}

/// Tables and columns that can hold data, partitions aside.
async fn columns(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<BTreeSet<(String, String)>, Error> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT relname::text, attname::text FROM pg_class
        JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
        WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p', 'm')
            AND NOT relispartition AND relname <> 'refinery_schema_history'",
    )
    .bind(schema.name.as_str())
    .fetch_all(connection)
    .await?;
    Ok(columns.into_iter().collect())
}
