//! What is committed together with a batch, or not at all: where a replay is, and which dead letters
//! a retry has settled.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Error, Store, Written};

/// What a batch is committed with.
#[derive(Debug)]
pub(crate) enum Checkpoint<'a> {
    /// The batch alone.
    Nothing,
    /// A part of a replay. [`Error::TakenOver`] when a later run of the same replay has begun,
    /// [`Error::Already`] when the part is there.
    Part(&'a Part),
    /// Dead letters that were tried again. [`Error::TakenOver`] when one of them is gone or held.
    Letters(&'a Retried<'a>),
}

/// Bodies of an archive that follow each other, and what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The replay.
    pub(crate) replay: Uuid,
    /// The run of it that we are.
    pub(crate) run: Uuid,
    /// The file, counted from 0.
    pub(crate) file: i32,
    /// The first body, counted from 0 in its file.
    pub(crate) first_body: i64,
    /// Whether the file ends with it.
    pub(crate) is_last: bool,
    /// Bodies that hold events.
    pub(crate) with_events: i64,
    /// Bodies with nothing to store.
    pub(crate) acknowledged: i64,
    /// Bodies that are dead letters.
    pub(crate) dead_letters: i64,
    /// Rows of all events.
    pub(crate) events: i64,
}

/// Dead letters that were decoded again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Retried<'a> {
    /// They became rows, or there is nothing to store: they go.
    pub(crate) settled: Vec<Uuid>,
    /// They stay, with today's reason and detail.
    pub(crate) remaining: Vec<(Uuid, &'a str, Option<&'a str>)>,
}

const CLAIM_REPLAY: &str = "-- ses-reports: lock a replay
    SELECT id FROM {schema}.aws_report_replay WHERE id = $1 AND run = $2 FOR SHARE";
const INSERT_PART: &str = "-- ses-reports: write a part of a replay
    INSERT INTO {schema}.aws_report_replay_part (replay_id, file, first_body, bodies, is_last, with_events,
        acknowledged, dead_letters, new_dead_letters, new_events, known_events, expired_events)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING";
const CLAIM_LETTERS: &str = "-- ses-reports: lock dead letters
    SELECT id FROM {schema}.aws_report_dead_letter WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED";
const REMOVE_LETTERS: &str = "-- ses-reports: remove settled dead letters
    DELETE FROM {schema}.aws_report_dead_letter WHERE id = ANY($1)";
const EXPLAIN_LETTERS: &str = "-- ses-reports: update the reasons of dead letters
    UPDATE {schema}.aws_report_dead_letter AS letter SET reason = today.reason, detail = today.detail
    FROM UNNEST($1::uuid[], $2::text[], $3::text[]) AS today (id, reason, detail)
    WHERE letter.id = today.id
        AND (letter.reason, letter.detail) IS DISTINCT FROM (today.reason, today.detail)";

impl Store {
    /// It is the first statement of the transaction: no other run may own what it settles.
    pub(super) async fn claim(
        &self,
        connection: &mut PgConnection,
        checkpoint: &Checkpoint<'_>,
    ) -> Result<(), Error> {
        let held = match checkpoint {
            Checkpoint::Nothing => true,
            // Who takes the replay over waits for this lock, and sees the part then.
            Checkpoint::Part(part) => sqlx::query(self.statement(CLAIM_REPLAY))
                .persistent(self.prepared)
                .bind(part.replay)
                .bind(part.run)
                .fetch_optional(connection)
                .await?
                .is_some(),
            Checkpoint::Letters(retried) => {
                let mut ids = retried.settled.clone();
                ids.extend(retried.remaining.iter().map(|(id, ..)| *id));
                let held = sqlx::query(self.statement(CLAIM_LETTERS))
                    .persistent(self.prepared)
                    .bind(&ids)
                    .fetch_all(connection)
                    .await?;
                held.len() == ids.len()
            }
        };
        if held { Ok(()) } else { Err(Error::TakenOver) }
    }

    /// Last of all in the transaction, when it is known what was new.
    pub(super) async fn settle(
        &self,
        connection: &mut PgConnection,
        checkpoint: &Checkpoint<'_>,
        written: Written,
    ) -> Result<(), Error> {
        match checkpoint {
            Checkpoint::Nothing => Ok(()),
            Checkpoint::Part(part) => self.insert_part(connection, part, written).await,
            Checkpoint::Letters(retried) => self.settle_letters(connection, retried).await,
        }
    }

    async fn insert_part(
        &self,
        connection: &mut PgConnection,
        part: &Part,
        written: Written,
    ) -> Result<(), Error> {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let (new, expired) = (number(written.details), number(written.expired));
        let done = sqlx::query(self.statement(INSERT_PART))
            .persistent(self.prepared)
            .bind(part.replay)
            .bind(part.file)
            .bind(part.first_body)
            .bind(part.with_events + part.acknowledged + part.dead_letters)
            .bind(part.is_last)
            .bind(part.with_events)
            .bind(part.acknowledged)
            .bind(part.dead_letters)
            .bind(number(written.dead_letters))
            .bind(new)
            .bind(part.events - new - expired)
            .bind(expired)
            .execute(connection)
            .await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(Error::Already) }
    }

    async fn settle_letters(
        &self,
        connection: &mut PgConnection,
        retried: &Retried<'_>,
    ) -> Result<(), Error> {
        if !retried.settled.is_empty() {
            sqlx::query(self.statement(REMOVE_LETTERS))
                .persistent(self.prepared)
                .bind(&retried.settled)
                .execute(&mut *connection)
                .await?;
        }
        if !retried.remaining.is_empty() {
            let remaining = &retried.remaining;
            let storable = |text: &str| text.replace('\0', "\u{fffd}");
            sqlx::query(self.statement(EXPLAIN_LETTERS))
                .persistent(self.prepared)
                .bind(remaining.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
                .bind(remaining.iter().map(|(_, reason, _)| *reason).collect::<Vec<_>>())
                .bind(remaining.iter().map(|(.., detail)| detail.map(storable)).collect::<Vec<_>>())
                .execute(connection)
                .await?;
        }
        Ok(())
    }
}
