//! Applies what is pending.

use refinery::{Runner, Target};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::driver::Driver;
use super::status::{MigrationState, is_of};
use super::{Applied, Error, Schema, Status, history, lock, session};

/// What [`Schema::up`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The state of the database now.
    pub(crate) status: Status,
    /// What was applied.
    pub(crate) applied: Vec<Applied>,
    /// The roles that were given their rights again.
    pub(crate) granted: Vec<String>,
}

impl Schema {
    /// Applies what is pending, up to a version or all of it. Where nothing is, it changes nothing
    /// and needs no right to.
    ///
    /// One transaction per migration, its history row included, or none where the file says so.
    /// Statements wait at most two seconds for a lock that traffic waits behind, and the whole
    /// migration is then tried again. Where everything is applied then, the roles of `ses-reports grants`
    /// get their rights again.
    ///
    /// # Errors
    /// The first migration that fails; those before it stay applied.
    pub async fn up(&self, to: Option<u32>) -> Result<Upgrade, Error> {
        let mut connection = match session::open(&self.options, &self.name).await {
            // To look is possible through a pooler, and it is enough where nothing is to be done.
            Err(Error::Pooler) => {
                let status = self.status().await?;
                status.check_history()?;
                let is_current = status.is_current() || to.is_some_and(|to| to <= status.version);
                let done = Upgrade { status, applied: Vec::new(), granted: Vec::new() };
                return if is_current { Ok(done) } else { Err(Error::Pooler) };
            }
            opened => opened?,
        };
        let outcome = self.up_with(&mut connection, to).await;
        // Closing the session gives the advisory lock back too.
        let _ = connection.close().await;
        outcome
    }

    async fn up_with(
        &self,
        connection: &mut PgConnection,
        to: Option<u32>,
    ) -> Result<Upgrade, Error> {
        let to = to.unwrap_or_else(|| self.newest());
        if !(1..=self.newest()).contains(&to) {
            return Err(Error::NoSuchVersion { version: to, newest: self.newest() });
        }
        let status = self.read_status(connection).await?;
        status.check_history()?;
        let is_done = |status: &Status| {
            !status
                .migrations
                .iter()
                .any(|line| line.state == MigrationState::Pending && line.version <= to)
        };
        if is_done(&status) && self.ungranted(connection, &status, false).await?.is_none() {
            return Ok(Upgrade { status, applied: Vec::new(), granted: Vec::new() });
        }
        self.claim(connection).await?;
        // What this process waited for may have applied everything.
        let status = self.read_status(connection).await?;
        status.check_history()?;
        let applied =
            if is_done(&status) { Vec::new() } else { self.apply_up_to(connection, to).await? };
        let status = self.read_status(connection).await?;
        let granted = match self.ungranted(connection, &status, !applied.is_empty()).await? {
            Some(granted) => self.grant_again(connection, granted).await?,
            None => Vec::new(),
        };
        Ok(Upgrade { status, applied, granted })
    }

    async fn apply_up_to(
        &self,
        connection: &mut PgConnection,
        to: u32,
    ) -> Result<Vec<Applied>, Error> {
        let mut driver = Driver { connection, schema: self, applied: Vec::new(), failure: None };
        let migrations: Vec<_> =
            self.migrations.iter().map(super::Migration::as_refinery).collect();
        let outcome = Runner::new(&migrations)
            .set_abort_missing(false)
            .set_target(Target::Version(i32::try_from(to).unwrap_or(i32::MAX)))
            .run_async(&mut driver)
            .await;
        let Driver { applied, failure, .. } = driver;
        if let Some((name, source)) = failure {
            return Err(Error::Migration { name, applied, source: Box::new(source) });
        }
        outcome.map_err(|error| Error::Failed(error.to_string()))?;
        Ok(applied)
    }

    /// Takes the lock of the migrators and makes what every change needs: the schema and its
    /// history.
    pub(super) async fn claim(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let encoding: String = sqlx::query_scalar(
            "-- ses-reports: read the encoding of the database
            SHOW server_encoding",
        )
        .fetch_one(&mut *connection)
        .await?;
        if encoding != "UTF8" {
            return Err(Error::Encoding(encoding));
        }
        session::refuse_pooler(connection, &self.options, &self.name).await?;
        lock::take(connection, &self.name, self.migrator_timeout).await?;
        create_schema(connection, self).await?;
        history::prepare(connection, &self.name).await?;
        for record in history::read(connection, &self.name).await? {
            let known = self.migrations.iter().find(|migration| is_of(&record, migration));
            if let (None, Some(migration)) = (&record.sql, known) {
                history::record_sql(
                    connection,
                    &self.name,
                    record.version,
                    &record.checksum,
                    &migration.up,
                )
                .await?;
            }
        }
        Ok(())
    }
}

/// Asks first: `CREATE SCHEMA IF NOT EXISTS` needs the right to create even where it has nothing
/// to do.
async fn create_schema(connection: &mut PgConnection, schema: &Schema) -> Result<(), Error> {
    let exists: bool = sqlx::query_scalar(
        "-- ses-reports: find out whether the schema exists
        SELECT to_regnamespace($1) IS NOT NULL",
    )
    .bind(schema.name.quoted())
    .fetch_one(&mut *connection)
    .await?;
    if !exists {
        let sql = format!(
            "-- ses-reports: create the schema
            CREATE SCHEMA {}",
            schema.name.quoted()
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    }
    Ok(())
}
