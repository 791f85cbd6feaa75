//! Dead letters, as an operator looks at them.

use sqlx::postgres::PgArguments;
use sqlx::{FromRow, Postgres, query::QueryAs};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Store};

/// Which dead letters: those that all that is set agrees with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// These alone.
    pub(crate) ids: Option<Vec<Uuid>>,
    /// How the reason begins.
    pub(crate) reason: Option<String>,
    /// How the source begins.
    pub(crate) source: Option<String>,
    /// Stored then or later.
    pub(crate) since: Option<OffsetDateTime>,
    /// Stored before.
    pub(crate) until: Option<OffsetDateTime>,
}

/// A dead letter without its body and what may quote it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub(crate) struct Line {
    /// Its id.
    pub(crate) id: Uuid,
    /// When it was stored.
    pub(crate) received_at: OffsetDateTime,
    /// Why it is one.
    pub(crate) reason: String,
    /// Where it came from.
    pub(crate) source: String,
    /// Bytes of its body.
    pub(crate) bytes: i32,
}

/// A dead letter, whole.
#[derive(Clone, PartialEq, Eq, FromRow)]
pub(crate) struct Letter {
    /// Its id.
    pub(crate) id: Uuid,
    /// When it was stored.
    pub(crate) received_at: OffsetDateTime,
    /// Why it is one.
    pub(crate) reason: String,
    /// What exactly was wrong; may quote the body.
    pub(crate) detail: Option<String>,
    /// Where it came from.
    pub(crate) source: String,
    /// The SQS `MessageId`, if it came that way.
    pub(crate) sqs_message_id: Option<String>,
    /// When it entered the queue.
    pub(crate) sent_at: Option<OffsetDateTime>,
    /// How often SQS had handed it out.
    pub(crate) receive_count: Option<i32>,
    /// As it came.
    pub(crate) body: String,
}

impl std::fmt::Debug for Letter {
    // A body holds addresses: it never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Letter").field("id", &self.id).finish_non_exhaustive()
    }
}

macro_rules! selected {
    () => {
        "FROM {schema}.aws_report_dead_letter
        WHERE ($1::uuid[] IS NULL OR id = ANY($1)) AND ($2::text IS NULL OR starts_with(reason, $2))
            AND ($3::text IS NULL OR starts_with(coalesce(source, 'sqs'), $3))
            AND ($4::timestamptz IS NULL OR received_at >= $4)
            AND ($5::timestamptz IS NULL OR received_at < $5) "
    };
}

macro_rules! line_columns {
    () => {
        "id, received_at, reason, coalesce(source, 'sqs') AS source, octet_length(body) AS bytes "
    };
}

const LIST: &str = concat!(
    "-- ses-reports: list dead letters\nSELECT ",
    line_columns!(),
    selected!(),
    "ORDER BY received_at DESC, id DESC LIMIT $6"
);
const PAGE: &str = concat!(
    "-- ses-reports: list the next dead letters\nSELECT ",
    line_columns!(),
    selected!(),
    "AND ($7::timestamptz IS NULL OR (received_at, id) > ($7, $8)) ORDER BY received_at, id LIMIT $6"
);
const REASONS: &str = concat!(
    "-- ses-reports: count dead letters by reason\nSELECT reason, count(*) ",
    selected!(),
    "GROUP BY reason ORDER BY count(*) DESC, reason"
);
const BETWEEN: &str = "-- ses-reports: find a dead letter by its short id
    SELECT id FROM {schema}.aws_report_dead_letter WHERE id >= $1 AND id <= $2 ORDER BY id LIMIT 2";
const WHOLE: &str = "-- ses-reports: read dead letters
    SELECT id, received_at, reason, detail, coalesce(source, 'sqs') AS source, sqs_message_id, sent_at, receive_count, body
    FROM {schema}.aws_report_dead_letter WHERE id = ANY($1) ORDER BY received_at, id";
const REMOVE: &str = "-- ses-reports: delete dead letters
    DELETE FROM {schema}.aws_report_dead_letter WHERE id = ANY($1)";

impl Selection {
    fn bind<T>(
        &self,
        query: QueryAs<'static, Postgres, T, PgArguments>,
    ) -> QueryAs<'static, Postgres, T, PgArguments> {
        query
            .bind(self.ids.clone())
            .bind(self.reason.clone())
            .bind(self.source.clone())
            .bind(self.since)
            .bind(self.until)
    }
}

impl Store {
    /// The newest dead letters of a selection.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or refuses.
    pub(crate) async fn list_dead_letters(
        &self,
        selection: &Selection,
        most: i64,
    ) -> Result<Vec<Line>, Error> {
        self.transaction("list dead letters", async |connection| {
            let query = sqlx::query_as(self.statement(LIST)).persistent(self.prepared);
            let lines = selection.bind(query).bind(most).fetch_all(&mut *connection).await?;
            Ok(lines)
        })
        .await
    }

    /// The oldest dead letters of a selection behind one, by time and id.
    ///
    /// # Errors
    /// As [`Store::list_dead_letters`].
    pub(crate) async fn next_dead_letters(
        &self,
        selection: &Selection,
        behind: Option<(OffsetDateTime, Uuid)>,
        most: i64,
    ) -> Result<Vec<Line>, Error> {
        self.transaction("list the next dead letters", async |connection| {
            let query = sqlx::query_as(self.statement(PAGE)).persistent(self.prepared);
            let lines = selection
                .bind(query)
                .bind(most)
                .bind(behind.map(|(time, _)| time))
                .bind(behind.map(|(_, id)| id))
                .fetch_all(&mut *connection)
                .await?;
            Ok(lines)
        })
        .await
    }

    /// How many dead letters of a selection there are of each reason.
    ///
    /// # Errors
    /// As [`Store::list_dead_letters`].
    pub(crate) async fn dead_letter_reasons(
        &self,
        selection: &Selection,
    ) -> Result<Vec<(String, i64)>, Error> {
        self.transaction("count dead letters", async |connection| {
            let query = sqlx::query_as(self.statement(REASONS)).persistent(self.prepared);
            let reasons = selection.bind(query).fetch_all(&mut *connection).await?;
            Ok(reasons)
        })
        .await
    }

    /// Dead letters with ids of a range, two at most.
    ///
    /// # Errors
    /// As [`Store::list_dead_letters`].
    pub(crate) async fn dead_letters_between(
        &self,
        least: Uuid,
        greatest: Uuid,
    ) -> Result<Vec<Uuid>, Error> {
        self.transaction("find dead letters by id", async |connection| {
            let ids = sqlx::query_scalar(self.statement(BETWEEN))
                .persistent(self.prepared)
                .bind(least)
                .bind(greatest)
                .fetch_all(&mut *connection)
                .await?;
            Ok(ids)
        })
        .await
    }

    /// Dead letters, whole, the oldest first.
    ///
    /// # Errors
    /// As [`Store::list_dead_letters`].
    pub(crate) async fn dead_letters(&self, ids: &[Uuid]) -> Result<Vec<Letter>, Error> {
        self.transaction("read dead letters", async |connection| {
            let letters = sqlx::query_as(self.statement(WHOLE))
                .persistent(self.prepared)
                .bind(ids.to_vec())
                .fetch_all(&mut *connection)
                .await?;
            Ok(letters)
        })
        .await
    }

    /// The clock by which dead letters are stored.
    ///
    /// # Errors
    /// As [`Store::list_dead_letters`].
    pub(crate) async fn clock(&self) -> Result<OffsetDateTime, Error> {
        self.transaction("read the clock", async |connection| {
            let now =
                sqlx::query_scalar("-- ses-reports: read the clock\nSELECT clock_timestamp()")
                    .persistent(self.prepared)
                    .fetch_one(&mut *connection)
                    .await?;
            Ok(now)
        })
        .await
    }

    /// Deletes dead letters for good; returns how many there were.
    ///
    /// # Errors
    /// As [`Store::list_dead_letters`].
    pub(crate) async fn delete_dead_letters(&self, ids: &[Uuid]) -> Result<u64, Error> {
        self.transaction("delete dead letters", async |connection| {
            let done = sqlx::query(self.statement(REMOVE))
                .persistent(self.prepared)
                .bind(ids.to_vec())
                .execute(&mut *connection)
                .await?;
            Ok(done.rows_affected())
        })
        .await
    }
}
