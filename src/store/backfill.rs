//! Long changes of many rows, a batch at a time. See `migrations/README.md` for how one is written.

use sqlx::{AssertSqlSafe, PgConnection};

use super::machine_rules::CLASSES;
use super::{Error, Store};
use crate::classify::version;

/// A batch that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The backfill.
    pub name: String,
    /// Rows that the batch looked at.
    pub rows: i64,
    /// Whether nothing is left to do.
    pub is_last: bool,
}

/// A batch that failed; the next one begins where it began.
#[derive(Debug, thiserror::Error)]
#[error("backfill {name}: {source}")]
pub struct Failed {
    /// The backfill; empty if none was begun.
    pub name: String,
    /// Why.
    pub source: Error,
}

impl Store {
    /// Makes the next batch of the oldest backfill that is not finished, and commits it together with
    /// where it ended. `None` if there is none, or another worker is making one.
    ///
    /// # Errors
    /// [`Failed`], which is written down beside the backfill where that is possible.
    pub async fn backfill(&self, rows: i32) -> Result<Option<Batch>, Failed> {
        let mut name = String::new();
        match self.next_batch(rows, &mut name).await {
            Ok(batch) => Ok(batch),
            Err(source) => {
                if !name.is_empty() {
                    // The error itself is what matters.
                    let _ = self.note_failure(&name, &source).await;
                }
                Err(Failed { name, source })
            }
        }
    }

    async fn next_batch(&self, rows: i32, name: &mut String) -> Result<Option<Batch>, Error> {
        self.transaction("backfill", async |connection| {
        let elected: bool = sqlx::query_scalar(
            "-- ses-reports: elect the process that backfills
            SELECT pg_try_advisory_xact_lock(hashtext('ses-reports backfill'), hashtext($1))",
        )
        .persistent(self.prepared)
        .bind(self.schema.as_str())
        .fetch_one(&mut *connection)
        .await?;
        if !elected {
            return Ok(None);
        }
        let rules = self.machine_rules();
        let version = version::of_rules(&rules);
        let Some((next, position)) = self.unfinished(connection, &version).await? else {
            return Ok(None);
        };
        name.clone_from(&next);
        let (next_position, done) = if next == CLASSES {
            self.classify_batch(connection, &rules, position.as_deref(), rows).await?
        } else {
            let step = format!(
                "-- ses-reports: backfill a batch
                SELECT next_position, rows_done FROM {}.\"aws_report_backfill_{name}\"($1, $2)",
                self.schema.quoted()
            );
            sqlx::query_as(AssertSqlSafe(step))
                .persistent(false)
                .bind(position)
                .bind(rows)
                .fetch_one(&mut *connection)
                .await?
        };
        let progress = format!(
            "-- ses-reports: record the progress of a backfill
            UPDATE {}.aws_report_backfill SET position = $2, rows_done = rows_done + $3, updated_at = now(),
                last_error = NULL, finished_at = CASE WHEN $2 IS NULL THEN now() END, version = coalesce($4, version)
            WHERE name = $1",
            self.schema.quoted()
        );
        sqlx::query(AssertSqlSafe(progress))
            .persistent(false)
            .bind(&*name)
            .bind(&next_position)
            .bind(done)
            .bind(Some(&version).filter(|_| *name == CLASSES))
            .execute(&mut *connection)
            .await?;
        Ok(Some(Batch { name: next, rows: done, is_last: next_position.is_none() }))
        })
        .await
    }

    /// The oldest backfill that is not finished and that this database has a function for, or that this
    /// program knows and would do as it was begun. Its row is locked, so that nobody lets it begin again
    /// in the middle of a batch.
    async fn unfinished(
        &self,
        connection: &mut PgConnection,
        version: &str,
    ) -> Result<Option<(String, Option<String>)>, Error> {
        let sql = format!(
            "-- ses-reports: find a backfill to continue
            SELECT name::text, position FROM {schema}.aws_report_backfill
            WHERE finished_at IS NULL AND name ~ '^[a-z0-9_]+$'
                AND (name = $1 AND coalesce(version, $2) = $2
                    OR to_regprocedure(format('{schema}.aws_report_backfill_%s(text, integer)', name)) IS NOT NULL)
            ORDER BY started_at, name LIMIT 1 FOR UPDATE",
            schema = self.schema.quoted()
        );
        Ok(sqlx::query_as(AssertSqlSafe(sql))
            .persistent(self.prepared)
            .bind(CLASSES)
            .bind(version)
            .fetch_optional(connection)
            .await?)
    }

    async fn note_failure(&self, name: &str, error: &Error) -> Result<(), Error> {
        self.transaction("record the failure of a backfill", async |connection| {
            let note = format!(
                "-- ses-reports: record the failure of a backfill
            UPDATE {}.aws_report_backfill SET last_error = $2, updated_at = now() WHERE name = $1",
                self.schema.quoted()
            );
            // A refusal may quote values: only its code is kept.
            let why = match error {
                Error::Refused(refusal) => format!("SQLSTATE {}", refusal.code),
                other => other.to_string(),
            };
            sqlx::query(AssertSqlSafe(note))
                .persistent(false)
                .bind(name)
                .bind(why)
                .execute(&mut *connection)
                .await?;
            Ok(())
        })
        .await
    }
}
