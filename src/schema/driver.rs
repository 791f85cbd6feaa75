//! refinery over sqlx, so that the binary holds one PostgreSQL driver.
//!
//! The traits live in `refinery-core`, whose page says "should not be used directly": this file is
//! the only one that does, and its version is pinned to refinery's.

use std::time::Instant;

use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::apply::{self, Direction};
use super::{Applied, Error, Migration, Schema};
use crate::postgres::explain;

/// A connection that refinery can migrate. Each call of `execute` is one migration and its history
/// row: refinery's asynchronous runner passes them together.
#[derive(Debug)]
pub(super) struct Driver<'a> {
    pub(super) connection: &'a mut PgConnection,
    pub(super) schema: &'a Schema,
    /// What was applied, in order.
    pub(super) applied: Vec<Applied>,
    /// Why one was not; refinery would make a text of it.
    pub(super) failure: Option<(String, Error)>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum DriverError {
    #[error("the migration failed")]
    Failed,
    #[error("{}", explain(.0))]
    Sql(#[from] sqlx::Error),
    #[error("the migration history holds an unreadable {0}")]
    History(&'static str),
}

impl AsyncTransaction for Driver<'_> {
    type Error = DriverError;

    #[expect(clippy::manual_async_fn, reason = "the trait asks for a Send future")]
    fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> impl Future<Output = Result<usize, Self::Error>> + Send + 'a {
        async move {
            let queries: Vec<&str> = queries.collect();
            let &[up, record] = &*queries else {
                // The history table, which is there.
                return Ok(queries.len());
            };
            // Two files may hold the same SQL; the checksum is of its name and number too.
            let is_it = |known: &&Migration| {
                known.up == up && record.contains(&format!("'{}'", known.checksum()))
            };
            let migration = self.schema.migrations.iter().find(is_it);
            let migration: &Migration = migration.ok_or(DriverError::History("migration"))?;
            let started = Instant::now();
            let direction = Direction::Up { migration, record };
            if let Err(error) = apply::run(self.connection, self.schema, &direction).await {
                self.failure = Some((migration.stem.to_string(), error));
                return Err(DriverError::Failed);
            }
            self.applied
                .push(Applied { name: migration.stem.to_string(), took: started.elapsed() });
            Ok(queries.len())
        }
    }
}

impl AsyncQuery<Vec<refinery::Migration>> for Driver<'_> {
    #[expect(clippy::manual_async_fn, reason = "the trait asks for a Send future")]
    fn query<'a>(
        &'a mut self,
        query: &'a str,
    ) -> impl Future<Output = Result<Vec<refinery::Migration>, Self::Error>> + Send + 'a {
        async move {
            let rows = sqlx::raw_sql(AssertSqlSafe(query)).fetch_all(&mut *self.connection).await?;
            rows.iter()
                .map(|row| {
                    let applied_on: String = row.try_get("applied_on")?;
                    let checksum: String = row.try_get("checksum")?;
                    Ok(refinery::Migration::applied(
                        row.try_get("version")?,
                        row.try_get("name")?,
                        OffsetDateTime::parse(&applied_on, &Rfc3339)
                            .map_err(|_| DriverError::History("applied_on"))?,
                        checksum.parse().map_err(|_| DriverError::History("checksum"))?,
                    ))
                })
                .collect()
        }
    }
}

impl AsyncMigrate for Driver<'_> {}
