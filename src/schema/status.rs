//! Which migrations of this binary a database has.

use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection as _, FromRow, PgConnection};

use super::history::{self, Record};
use super::{Error, Migration, Schema, session};

/// Which migrations of this binary a database has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// The schema.
    pub(crate) schema: String,
    /// The newest applied version, 0 for none.
    pub(crate) version: u32,
    /// The newest version that is known here.
    pub(crate) newest: u32,
    /// Every migration that is known here or was applied, in order.
    pub(crate) migrations: Vec<MigrationStatus>,
    /// The backfills that have begun.
    pub(crate) backfills: Vec<BackfillProgress>,
}

/// One migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct MigrationStatus {
    /// Its number.
    pub(crate) version: u32,
    /// Its file name without `.sql`.
    pub(crate) name: String,
    /// Its state.
    pub(crate) state: MigrationState,
    /// When it was applied, RFC 3339.
    pub(crate) applied_on: Option<String>,
    /// The role that applied it.
    pub(crate) applied_by: Option<String>,
    /// The program that applied it.
    pub(crate) applied_with: Option<String>,
    /// How long that took, in milliseconds.
    pub(crate) took_ms: Option<i64>,
    /// refinery's checksum: of what was applied, else of what would be.
    pub(crate) checksum: String,
}

/// The state of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MigrationState {
    /// Applied as it is known here.
    Applied,
    /// Not yet applied.
    Pending,
    /// Applied, and known here with another text.
    Divergent,
    /// Not applied, though later ones were.
    Missing,
    /// Applied by a later version of this program.
    Newer,
}

/// How far a backfill is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub(crate) struct BackfillProgress {
    /// Its name.
    pub(crate) name: String,
    /// Rows looked at.
    pub(crate) rows_done: i64,
    /// Whether nothing is left to do.
    pub(crate) finished: bool,
    /// When its last batch was committed, RFC 3339.
    pub(crate) updated_at: String,
    /// Why the last try failed.
    pub(crate) last_error: Option<String>,
}

impl Status {
    /// The names of the migrations in a state.
    #[must_use]
    pub(crate) fn in_state(&self, state: MigrationState) -> Vec<&str> {
        let lines = self.migrations.iter().filter(|line| line.state == state);
        lines.map(|line| line.name.as_str()).collect()
    }

    /// Whether a newer binary has migrated this database.
    #[must_use]
    pub(crate) fn is_newer(&self) -> bool {
        self.version > self.newest
    }

    /// Whether everything known here is applied.
    #[must_use]
    pub(crate) fn is_current(&self) -> bool {
        self.in_state(MigrationState::Pending).is_empty()
    }

    /// Refuses a history that is not that of ses-reports.
    ///
    /// # Errors
    /// [`Error::Divergent`] or [`Error::Missing`], with the first that is.
    pub(crate) fn check_history(&self) -> Result<(), Error> {
        if let Some(name) = self.in_state(MigrationState::Divergent).first() {
            return Err(Error::Divergent((*name).to_owned()));
        }
        match self.in_state(MigrationState::Missing).first() {
            Some(name) => Err(Error::Missing((*name).to_owned())),
            None => Ok(()),
        }
    }
}

impl Schema {
    /// Compares the history of the database with the migrations. Needs no right to change anything.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or asked.
    pub(crate) async fn status(&self) -> Result<Status, Error> {
        let mut connection = session::open_to_read(&self.options).await?;
        let status = async {
            // One transaction, so that a pooler gives it one session.
            let mut transaction = crate::postgres::begin_read_only(&mut connection).await?;
            let status = self.read_status(&mut transaction).await?;
            transaction.rollback().await?;
            Ok(status)
        }
        .await;
        // What was read stays true if closing fails.
        let _ = connection.close().await;
        status
    }

    /// Refuses a schema that is older than this binary needs; accepts a newer one (expand first,
    /// contract later).
    ///
    /// # Errors
    /// [`Error::Older`], and a history that is not that of ses-reports.
    pub(crate) async fn require(&self) -> Result<Status, Error> {
        let status = self.status().await?;
        status.check_history()?;
        if status.is_current() {
            return Ok(status);
        }
        Err(Error::Older {
            schema: self.name.as_str().to_owned(),
            found: status.version,
            needed: status.newest,
        })
    }

    pub(super) async fn read_status(&self, connection: &mut PgConnection) -> Result<Status, Error> {
        let applied = history::read(connection, &self.name).await?;
        Ok(Status {
            schema: self.name.as_str().to_owned(),
            version: applied.iter().map(number).max().unwrap_or(0),
            newest: self.newest(),
            migrations: compare(&applied, &self.migrations),
            backfills: self.read_backfills(connection).await?,
        })
    }

    async fn read_backfills(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<BackfillProgress>, Error> {
        let table = format!("{}.aws_report_backfill", self.name.quoted());
        let readable: Option<bool> = sqlx::query_scalar(
            "-- ses-reports: find out whether backfills may be read
            SELECT has_table_privilege(to_regclass($1), 'SELECT') WHERE to_regclass($1) IS NOT NULL",
        )
        .persistent(false)
        .bind(&table)
        .fetch_optional(&mut *connection)
        .await?;
        if readable != Some(true) {
            return Ok(Vec::new());
        }
        let sql = format!(
            "-- ses-reports: read the progress of backfills
            SELECT name::text, rows_done, finished_at IS NOT NULL AS finished,
                to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS updated_at, last_error
            FROM {table} ORDER BY started_at, name"
        );
        Ok(sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await?)
    }
}

fn number(record: &Record) -> u32 {
    u32::try_from(record.version).unwrap_or(0)
}

fn compare(applied: &[Record], known: &[Migration]) -> Vec<MigrationStatus> {
    let newest_applied = applied.iter().map(number).max().unwrap_or(0);
    let mut lines: Vec<MigrationStatus> = known
        .iter()
        .map(|migration| {
            let record = applied.iter().find(|record| number(record) == migration.version);
            let state = match record {
                Some(record) if is_of(record, migration) => MigrationState::Applied,
                Some(_) => MigrationState::Divergent,
                None if migration.version < newest_applied => MigrationState::Missing,
                None => MigrationState::Pending,
            };
            line(state, record, migration.version, &migration.stem, &migration.checksum())
        })
        .collect();
    for record in applied {
        if !known.iter().any(|migration| migration.version == number(record)) {
            lines.push(line(
                MigrationState::Newer,
                Some(record),
                number(record),
                &record.stem(),
                &record.checksum,
            ));
        }
    }
    lines
}

/// Whether a record is of this migration with this text.
pub(super) fn is_of(record: &Record, migration: &Migration) -> bool {
    record.checksum == migration.checksum() && record.stem() == migration.stem
}

fn line(
    state: MigrationState,
    record: Option<&Record>,
    version: u32,
    name: &str,
    checksum: &str,
) -> MigrationStatus {
    MigrationStatus {
        version,
        name: name.to_owned(),
        state,
        applied_on: record.map(|record| record.applied_on.clone()),
        applied_by: record.and_then(|record| record.applied_by.clone()),
        applied_with: record.and_then(|record| record.applied_with.clone()),
        took_ms: record.and_then(|record| record.took_ms),
        checksum: record.map_or_else(|| checksum.to_owned(), |record| record.checksum.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::MigrationState::{Applied, Divergent, Missing, Newer, Pending};
    use super::*;

    fn migration(version: u32, up: &'static str) -> Migration {
        Migration {
            version,
            stem: format!("V{version:04}__a").into(),
            up: up.into(),
            down: "SELECT 1".into(),
        }
    }

    fn record(migration: &Migration) -> Record {
        Record {
            version: i32::try_from(migration.version).expect("small"),
            name: "a".to_owned(),
            applied_on: "2026-11-21T00:00:00Z".to_owned(),
            checksum: migration.checksum(),
            applied_by: None,
            applied_with: None,
            took_ms: None,
            sql: None,
        }
    }

    fn states(applied: &[Record], known: &[Migration]) -> Vec<MigrationState> {
        compare(applied, known).iter().map(|line| line.state).collect()
    }

    #[test]
    fn each_state_is_told_from_the_others() {
        let [one, two, three] = [1, 2, 3].map(|version| migration(version, "SELECT 1"));
        let edited = migration(1, "SELECT 2");
        let known = [one.clone(), two.clone()];
        assert_eq!(states(&[], &known), [Pending, Pending]);
        assert_eq!(states(&[record(&one)], &known), [Applied, Pending]);
        assert_eq!(states(&[record(&edited)], &known), [Divergent, Pending]);
        assert_eq!(states(&[record(&two)], &known), [Missing, Applied]);
        assert_eq!(
            states(&[record(&one), record(&two), record(&three)], &known),
            [Applied, Applied, Newer]
        );
    }
}
