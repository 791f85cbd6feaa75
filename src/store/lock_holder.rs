//! Finds the session that holds the lock for which rows wait.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use super::transaction::Limits;
use super::{Error, Store};
use crate::row::EventRow;

/// How long the rows wait for the lock while another session looks up which session holds it.
const WAIT: Duration = Duration::from_millis(1_500);
/// The look-up happens after this time.
const LOOK_AFTER: Duration = Duration::from_millis(500);

/// The columns of `pg_stat_activity` that every role may see, and the state where it may see that too.
const HOLDER: &str = "-- ses-reports: find the session that holds a lock
SELECT format('process %s, application \"%s\", role %s%s', pid, coalesce(application_name, ''), coalesce(usename::text, '?'),
    coalesce(', ' || state || ' for ' || round(extract(epoch FROM clock_timestamp() - xact_start)) || ' s', ''))
FROM pg_stat_activity WHERE pid = ANY(pg_blocking_pids($1)) LIMIT 1";

impl Store {
    /// The session that holds the lock for which these rows wait, described in one line without values;
    /// `None` if they wait for none. Nothing is written.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub(crate) async fn lock_holder(&self, rows: &[&EventRow]) -> Result<Option<String>, Error> {
        let pid = AtomicI32::new(0);
        let limits = Limits::of(self.timeout).lock(WAIT).watched(&pid);
        let look = async {
            tokio::time::sleep(LOOK_AFTER).await;
            let waiting = pid.load(Ordering::Acquire);
            self.transaction("find the session that holds a lock", async |connection| {
                Ok(sqlx::query_scalar(HOLDER)
                    .persistent(false)
                    .bind(waiting)
                    .fetch_optional(connection)
                    .await?)
            })
            .await
        };
        let (_, holder) = tokio::join!(self.try_out_within(limits, rows, &[]), look);
        holder
    }
}
