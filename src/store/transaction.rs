//! The one way to PostgreSQL: each transaction has a name and a time limit, and is measured.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use ::metrics::histogram;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::{Instant, timeout};

use super::{Error, Store};
use crate::metrics;

/// A writer waits at most this long for a lock: an open transaction of an application, or a
/// manual `VACUUM`, must not delay messages that have nothing to do with it.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// What a transaction may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits<'w> {
    /// From its first statement to the end of its commit, as this process sees it.
    whole: Duration,
    /// Waiting for a lock; `None` for as long as the whole.
    lock: Option<Duration>,
    /// Whether it is rolled back in the end.
    is_trial: bool,
    /// Where to leave the process id of the session, for another one that looks at what it waits for.
    pid: Option<&'w AtomicI32>,
}

impl<'w> Limits<'w> {
    pub(super) fn of(whole: Duration) -> Self {
        Self { whole, lock: None, is_trial: false, pid: None }
    }

    pub(super) fn watched(self, pid: &'w AtomicI32) -> Self {
        Self { pid: Some(pid), ..self }
    }

    pub(super) fn lock(self, lock: Duration) -> Self {
        Self { lock: Some(lock), ..self }
    }

    pub(super) fn trial(self) -> Self {
        Self { is_trial: true, ..self }
    }

    /// The statements that begin a transaction.
    ///
    /// - PostgreSQL itself ends a statement after nine tenths of the limit: otherwise it would
    ///   continue with a statement whose answer is no longer awaited, and with one more at each attempt. It waits as long for the next
    ///   statement: the host of a worker may vanish, and its transaction would keep its locks for hours.
    /// - Isolation is asked for, since the upsert and the recount of a day rely on it.
    /// - So is a commit that waits for the disk: messages are deleted after it. A role or a database may
    ///   have `synchronous_commit` off; stronger settings than `on` are left as they are.
    fn begin(self) -> String {
        let millis = (self.whole * 9 / 10).as_millis();
        let lock = self.lock.map_or(0, |lock| lock.as_millis());
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {millis}; \
             SET LOCAL idle_in_transaction_session_timeout = {millis}; SET LOCAL lock_timeout = {lock}; \
             SET LOCAL default_tablespace = ''; \
             SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
        )
    }
}

impl Store {
    /// Does `work` in one transaction within [`Store::timeout`], and commits it unless it fails.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Timeout`] when there is no answer in time. Then the connection is given
    /// up, because its peer may have disappeared, and the transaction may be committed or not.
    pub(super) async fn transaction<T>(
        &self,
        name: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.limited_transaction(name, Limits::of(self.timeout), work).await
    }

    /// The same with limits of its own.
    ///
    /// # Errors
    /// As [`Store::transaction`].
    pub(super) async fn limited_transaction<T>(
        &self,
        name: &'static str,
        limits: Limits<'_>,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // The pool has a limit of its own for that.
        let mut connection = self.pool.acquire().await?;
        let began = Instant::now();
        let attempt = async {
            let mut transaction = connection.begin_with(AssertSqlSafe(limits.begin())).await?;
            if let Some(pid) = limits.pid {
                let own =
                    "-- ses-reports: read the process id of the session\nSELECT pg_backend_pid()";
                let own = sqlx::query_scalar(own).persistent(false).fetch_one(&mut *transaction);
                pid.store(own.await?, Ordering::Release);
            }
            let outcome = work(&mut transaction).await?;
            if limits.is_trial {
                transaction.rollback().await?;
            } else {
                transaction.commit().await?;
            }
            Ok(outcome)
        };
        let outcome = timeout(limits.whole, attempt)
            .await
            .unwrap_or(Err(Error::Timeout(limits.whole.as_secs())));
        let label = if outcome.is_ok() { "committed" } else { "failed" };
        histogram!(metrics::TRANSACTION_SECONDS, "transaction" => name, "outcome" => label)
            .record(began.elapsed());
        if outcome.as_ref().is_err_and(Error::spoils_connection) {
            // It may still wait for an answer, or lead to a server that has become a replica: the
            // next attempt gets a new one.
            drop(connection.detach());
        }
        outcome
    }
}
