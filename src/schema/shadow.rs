//! A separate database in which migrations can be tried and their result examined.

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use super::{Error, Schema};
use crate::postgres::{has_sqlstate, sqlstate, with_fixed_settings};

/// What its name begins with; what follows names the session that made it.
const PREFIX: &str = "ses_reports_shadow_";

/// A shadow of a schema, in a database that lives as long as the session that made it.
pub(super) struct Shadow {
    /// The same schema, in the shadow.
    pub(super) schema: Schema,
    /// Made it, and drops it.
    maker: PgConnection,
    name: String,
}

impl Shadow {
    /// Makes an empty one, and drops those whose makers are gone.
    ///
    /// # Errors
    /// [`Error::NoShadow`] without the right to create a database.
    pub(super) async fn create(of: &Schema) -> Result<Self, Error> {
        let server = of.shadow.as_ref().unwrap_or(&of.options);
        let options = with_fixed_settings(server).application_name("ses-reports shadow");
        let mut maker = options.connect().await?;
        sweep(&mut maker).await?;
        let name: String = sqlx::query_scalar(
            "-- ses-reports: choose the name of a shadow database
            SELECT $1 || pid || '_' || extract(epoch FROM backend_start)::bigint
            FROM pg_stat_activity WHERE pid = pg_backend_pid()",
        )
        .bind(PREFIX)
        .fetch_one(&mut maker)
        .await?;
        let sql = format!(
            "-- ses-reports: create a shadow database
            CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8'"
        );
        match sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut maker).await {
            Err(error) if is_refused(&error) => return Err(Error::NoShadow),
            done => done?,
        };
        Ok(Self {
            schema: Schema { options: server.clone().database(&name), ..of.clone() },
            maker,
            name,
        })
    }

    /// Brings the shadow to a version, with one partition where there are any.
    pub(super) async fn migrate(&self, version: u32) -> Result<(), Error> {
        if version == 0 {
            return Ok(());
        }
        self.schema.up(Some(version)).await?;
        let mut connection = self.connect().await?;
        let sql = "-- ses-reports: create a partition in a shadow database
            DO $$ BEGIN
            IF to_regprocedure('aws_report_detail_ensure(date)') IS NOT NULL THEN
                PERFORM aws_report_detail_ensure(current_date);
            END IF; END $$";
        sqlx::raw_sql(sql).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// A session in the shadow, with its schema in the search path.
    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        super::session::open(&self.schema.options, &self.schema.name).await
    }

    /// Drops it, even while sessions are connected to it.
    pub(super) async fn drop(mut self) -> Result<(), Error> {
        let sql = format!(
            "-- ses-reports: drop a shadow database
            DROP DATABASE \"{}\" WITH (FORCE)",
            self.name
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.maker).await?;
        Ok(self.maker.close().await?)
    }
}

/// Drops the shadows of sessions that have ended: their programs were killed.
async fn sweep(maker: &mut PgConnection) -> Result<(), Error> {
    let left: Vec<String> = sqlx::query_scalar(
        "-- ses-reports: find abandoned shadow databases
        SELECT datname::text FROM pg_database
        WHERE datname LIKE $1 || '%' AND pg_has_role(datdba, 'MEMBER') AND NOT EXISTS (
            SELECT FROM pg_stat_activity
            WHERE pg_database.datname = $1 || pid || '_' || extract(epoch FROM backend_start)::bigint)",
    )
    .bind(PREFIX)
    .fetch_all(&mut *maker)
    .await?;
    for name in left {
        // Another process may have dropped it just now.
        let sql = format!(
            "-- ses-reports: drop an abandoned shadow database
            DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *maker).await?;
    }
    Ok(())
}

/// A right is missing, or the server only reads.
fn is_refused(error: &sqlx::Error) -> bool {
    has_sqlstate(error, sqlstate::INSUFFICIENT_PRIVILEGE)
        || has_sqlstate(error, sqlstate::READ_ONLY_SQL_TRANSACTION)
}
