//! Events about an account or a tenant.

use sqlx::PgConnection;

use super::{Error, Store};
use crate::row::AccountEvent;

impl Store {
    /// Inserts those that are not there, and returns how many.
    pub(super) async fn insert_account_events(
        &self,
        connection: &mut PgConnection,
        events: &[&AccountEvent],
    ) -> Result<u64, Error> {
        fn column<'e, T>(
            events: &[&'e AccountEvent],
            of: impl Fn(&'e AccountEvent) -> T,
        ) -> Vec<T> {
            events.iter().copied().map(of).collect()
        }
        let done = sqlx::query(self.statement(
            "-- ses-reports: write account events
            INSERT INTO {schema}.aws_report_account_event (
                id, occurred_at, detail_type, account, region, tenant, resources, detail)
            SELECT e.id, e.occurred_at, e.detail_type, e.account, e.region, e.tenant, e.resources::jsonb, e.detail::jsonb
            FROM UNNEST(
                $1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
                AS e (id, occurred_at, detail_type, account, region, tenant, resources, detail)
            ON CONFLICT DO NOTHING",
        ))
        .persistent(self.prepared)
        .bind(column(events, |event| event.id))
        .bind(column(events, |event| event.occurred_at))
        .bind(column(events, |event| event.detail_type.as_str()))
        .bind(column(events, |event| event.account.as_deref()))
        .bind(column(events, |event| event.region.as_deref()))
        .bind(column(events, |event| event.tenant.as_deref()))
        .bind(column(events, |event| event.resources.as_str()))
        .bind(column(events, |event| event.detail.as_deref()))
        .execute(connection)
        .await?;
        Ok(done.rows_affected())
    }
}
