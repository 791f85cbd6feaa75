//! refinery over sqlx, so that the binary holds one PostgreSQL driver.
//!
//! The traits live in `refinery-core`, whose page says "should not be used directly": this file is
//! the only one that does, and its version is pinned to refinery's.

use std::time::{Duration, Instant};

use refinery::Migration;
use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::backoff::Backoff;

/// How often a migration that meets `lock_timeout` is tried. Between tries the traffic that waits
/// behind it goes on.
const LOCK_TRIES: u32 = 5;
/// SQLSTATE `lock_not_available`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// A connection that refinery can migrate. Each call of `execute` is one transaction: refinery's
/// asynchronous runner passes a migration and its history row together.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) connection: PgConnection,
    /// How long each migration took, in order.
    pub(super) took: Vec<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum DriverError {
    #[error("{}", crate::store::explain(.0))]
    Sql(#[from] sqlx::Error),
    #[error("the migration history holds an unreadable {0}")]
    History(&'static str),
}

impl AsyncTransaction for Driver {
    type Error = DriverError;

    #[expect(clippy::manual_async_fn, reason = "the trait asks for a Send future")]
    fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> impl Future<Output = Result<usize, Self::Error>> + Send + 'a {
        async move {
            let queries: Vec<&str> = queries.collect();
            let started = Instant::now();
            let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
            for attempt in 1.. {
                match transaction(&mut self.connection, &queries).await {
                    Ok(()) => break,
                    Err(error) if attempt < LOCK_TRIES && is_lock_timeout(&error) => {
                        let delay = backoff.next_delay();
                        tracing::warn!(
                            attempt,
                            delay_ms = delay.as_millis(),
                            "the migration waits for a lock; trying again"
                        );
                        tokio::time::sleep(delay).await;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if queries.len() > 1 {
                self.took.push(started.elapsed());
            }
            Ok(queries.len())
        }
    }
}

async fn transaction(connection: &mut PgConnection, queries: &[&str]) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    for query in queries {
        sqlx::raw_sql(AssertSqlSafe(*query)).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == LOCK_NOT_AVAILABLE)
}

impl AsyncQuery<Vec<Migration>> for Driver {
    #[expect(clippy::manual_async_fn, reason = "the trait asks for a Send future")]
    fn query<'a>(
        &'a mut self,
        query: &'a str,
    ) -> impl Future<Output = Result<Vec<Migration>, Self::Error>> + Send + 'a {
        async move {
            let rows = sqlx::raw_sql(AssertSqlSafe(query)).fetch_all(&mut self.connection).await?;
            rows.iter()
                .map(|row| {
                    let applied_on: String = row.try_get("applied_on")?;
                    let checksum: String = row.try_get("checksum")?;
                    Ok(Migration::applied(
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

impl AsyncMigrate for Driver {}
