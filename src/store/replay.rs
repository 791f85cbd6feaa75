//! Where replays of archives are.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Error, Store};

/// A committed part: bodies of one file that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Done {
    /// The file, counted from 0.
    pub(crate) file: i32,
    /// Its first body, counted from 0 in the file.
    pub(crate) first_body: i64,
    /// How many there are.
    pub(crate) bodies: i64,
    /// Whether the file ends with it.
    pub(crate) is_last: bool,
}

/// A replay that this run may continue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Begun {
    /// What earlier runs have committed, in order.
    pub(crate) done: Vec<Done>,
    /// What became of that.
    pub(crate) totals: Totals,
}

/// What became of the bodies of a replay. `bodies` is the sum of `with_events`, `acknowledged` and
/// `dead_letters`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Totals {
    /// Bodies that were read.
    pub(crate) bodies: i64,
    /// Bodies that hold events.
    pub(crate) with_events: i64,
    /// Bodies with nothing to store.
    pub(crate) acknowledged: i64,
    /// Bodies that are dead letters,
    pub(crate) dead_letters: i64,
    /// and how many of them were not there.
    pub(crate) new_dead_letters: i64,
    /// Detail rows that were not there.
    pub(crate) new_events: i64,
    /// Detail rows that were there.
    pub(crate) known_events: i64,
    /// Rows that were not stored, because they are no longer kept.
    pub(crate) expired_events: i64,
}

const HOLD: &str = "-- ses-reports: find out whether a replay is finished
    SELECT finished_at IS NOT NULL FROM {schema}.aws_report_replay WHERE id = $1 FOR UPDATE";
const BEGIN: &str = "-- ses-reports: begin a replay
    INSERT INTO {schema}.aws_report_replay AS held (id, source, run) VALUES ($1, $2, $3)
    ON CONFLICT (id) DO UPDATE SET source = excluded.source, run = excluded.run,
        started_at = CASE WHEN $4 THEN now() ELSE held.started_at END,
        resumed_at = CASE WHEN NOT $4 THEN now() END, finished_at = NULL, bodies = NULL, with_events = NULL,
        acknowledged = NULL, dead_letters = NULL, new_dead_letters = NULL, new_events = NULL,
        known_events = NULL, expired_events = NULL";
const FORGET: &str = "-- ses-reports: delete the parts of a replay
    DELETE FROM {schema}.aws_report_replay_part WHERE replay_id = $1";
const DONE: &str = "-- ses-reports: read the parts of a replay
    SELECT file, first_body, bodies, is_last FROM {schema}.aws_report_replay_part
    WHERE replay_id = $1 ORDER BY file, first_body";
const TOTAL: &str = "-- ses-reports: add up the parts of a replay
    SELECT coalesce(sum(bodies), 0)::bigint AS bodies, coalesce(sum(with_events), 0)::bigint AS with_events,
        coalesce(sum(acknowledged), 0)::bigint AS acknowledged, coalesce(sum(dead_letters), 0)::bigint AS dead_letters,
        coalesce(sum(new_dead_letters), 0)::bigint AS new_dead_letters, coalesce(sum(new_events), 0)::bigint AS new_events,
        coalesce(sum(known_events), 0)::bigint AS known_events, coalesce(sum(expired_events), 0)::bigint AS expired_events
    FROM {schema}.aws_report_replay_part WHERE replay_id = $1";
const FINISH: &str = "-- ses-reports: finish a replay
    UPDATE {schema}.aws_report_replay SET finished_at = now(), bodies = $3, with_events = $4, acknowledged = $5,
        dead_letters = $6, new_dead_letters = $7, new_events = $8, known_events = $9, expired_events = $10
    WHERE id = $1 AND run = $2";

impl Store {
    /// Takes over a replay: one that was interrupted continues, and one that was finished starts over, as
    /// any does with `from_start`. Another run that is still working on it commits nothing from now on.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or refuses.
    pub(crate) async fn begin_replay(
        &self,
        id: Uuid,
        source: &str,
        run: Uuid,
        from_start: bool,
    ) -> Result<Begun, Error> {
        self.transaction("begin a replay", async |connection| {
            // Waits for parts that are being committed.
            let finished: Option<bool> = sqlx::query_scalar(self.statement(HOLD))
                .persistent(self.prepared)
                .bind(id)
                .fetch_optional(&mut *connection)
                .await?;
            let anew = from_start || finished == Some(true);
            sqlx::query(self.statement(BEGIN))
                .persistent(self.prepared)
                .bind(id)
                .bind(source)
                .bind(run)
                .bind(anew)
                .execute(&mut *connection)
                .await?;
            if anew {
                self.forget_parts(connection, id).await?;
            }
            let done = sqlx::query_as(self.statement(DONE))
                .persistent(self.prepared)
                .bind(id)
                .fetch_all(&mut *connection)
                .await?;
            let totals = self.totals(connection, id).await?;
            Ok(Begun { done, totals })
        })
        .await
    }

    /// What became of a replay so far.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or refuses.
    pub(crate) async fn replay_totals(&self, id: Uuid) -> Result<Totals, Error> {
        self.transaction("add up a replay", async |connection| {
            let totals = self.totals(connection, id).await?;
            Ok(totals)
        })
        .await
    }

    /// Writes down that all of a replay is committed, and what became of it.
    ///
    /// # Errors
    /// [`Error::TakenOver`] when a later run has begun; otherwise as [`Store::replay_totals`].
    pub(crate) async fn finish_replay(&self, id: Uuid, run: Uuid) -> Result<Totals, Error> {
        self.transaction("finish a replay", async |connection| {
            let totals = self.totals(connection, id).await?;
            let done = sqlx::query(self.statement(FINISH))
                .persistent(self.prepared)
                .bind(id)
                .bind(run)
                .bind(totals.bodies)
                .bind(totals.with_events)
                .bind(totals.acknowledged)
                .bind(totals.dead_letters)
                .bind(totals.new_dead_letters)
                .bind(totals.new_events)
                .bind(totals.known_events)
                .bind(totals.expired_events)
                .execute(&mut *connection)
                .await?;
            if done.rows_affected() != 1 {
                return Err(Error::TakenOver);
            }
            self.forget_parts(connection, id).await?;
            Ok(totals)
        })
        .await
    }

    async fn totals(&self, connection: &mut PgConnection, id: Uuid) -> Result<Totals, Error> {
        let totals = sqlx::query_as(self.statement(TOTAL))
            .persistent(self.prepared)
            .bind(id)
            .fetch_one(connection)
            .await?;
        Ok(totals)
    }

    async fn forget_parts(&self, connection: &mut PgConnection, id: Uuid) -> Result<(), Error> {
        sqlx::query(self.statement(FORGET))
            .persistent(self.prepared)
            .bind(id)
            .execute(connection)
            .await?;
        Ok(())
    }
}
