//! Classifies history again: opens and clicks, bounces and delays, and recipients' providers, by the
//! present rules, a batch of reports at a time. What must not be known of the tables' content is asked for
//! by functions that run as the owner.

use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Store};
use crate::classify::machine::MachineRules;
use crate::classify::provider;
use crate::decode::StoredEvent;

/// Reports of a batch: fewer than the rows of a backfill in SQL, because they stay locked while their events
/// travel.
const MOST_REPORTS: i32 = 1_000;

/// Events that get another class, by column.
#[derive(Default)]
pub(super) struct OtherClasses {
    report_ids: Vec<Uuid>,
    ids: Vec<Uuid>,
    timestamps: Vec<OffsetDateTime>,
    classes: Vec<Option<&'static str>>,
}

/// The reports of a batch.
#[derive(FromRow)]
struct Chunk {
    count: i64,
    last: Option<Uuid>,
    opened: Vec<Uuid>,
    answered: Vec<Uuid>,
    without_provider: Vec<Uuid>,
}

/// A bounce, a delay or a delivery, with what its report holds.
#[derive(FromRow)]
struct Row {
    report_id: Uuid,
    user_email: String,
    provider: Option<String>,
    bounce_type: Option<String>,
    bounce_class: Option<String>,
    id: Uuid,
    timestamp: OffsetDateTime,
    event_type: String,
    class: Option<String>,
    own: Option<String>,
    entry: Option<String>,
}

/// What changes in reports, by id.
#[derive(Default)]
struct OfReports {
    bounce_classes: (Vec<Uuid>, Vec<Option<&'static str>>),
    providers: (Vec<Uuid>, Vec<&'static str>),
}

impl OtherClasses {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn push(
        &mut self,
        report_id: Uuid,
        id: Uuid,
        timestamp: OffsetDateTime,
        class: Option<&'static str>,
    ) {
        self.report_ids.push(report_id);
        self.ids.push(id);
        self.timestamps.push(timestamp);
        self.classes.push(class);
    }
}

impl Store {
    /// Classifies the reports behind a position, which is the id of the last one before; tells where it
    /// ended, and how many it looked at.
    pub(super) async fn classify_batch(
        &self,
        connection: &mut PgConnection,
        rules: &MachineRules,
        position: Option<&str>,
        rows: i32,
    ) -> Result<(Option<String>, i64), Error> {
        let rows = rows.min(MOST_REPORTS);
        let behind = position.and_then(|id| id.parse().ok()).unwrap_or_else(Uuid::nil);
        let find = self.statement(
            "-- ses-reports: find the next reports to classify again
            SELECT count(*) AS count, (array_agg(id ORDER BY id DESC))[1] AS last,
                coalesce(array_agg(id) FILTER (WHERE open_at IS NOT NULL OR click_at IS NOT NULL), '{}') AS opened,
                coalesce(array_agg(id) FILTER (WHERE bounce_at IS NOT NULL OR delivery_delay_at IS NOT NULL), '{}') AS answered,
                coalesce(array_agg(id) FILTER (WHERE provider IS NULL), '{}') AS without_provider
            FROM (
                SELECT id, open_at, click_at, bounce_at, delivery_delay_at, provider
                FROM {schema}.aws_reports WHERE id > $1 ORDER BY id LIMIT $2
            ) AS chunk",
        );
        let mut chunk: Chunk = sqlx::query_as(find)
            .persistent(self.prepared)
            .bind(behind)
            .bind(rows)
            .fetch_one(&mut *connection)
            .await?;
        // All at once and in the order of their ids, as a writer locks them.
        let lock = self.statement(
            "-- ses-reports: lock reports to classify again
            SELECT FROM {schema}.aws_reports WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE",
        );
        sqlx::query(lock)
            .persistent(self.prepared)
            .bind([&chunk.opened[..], &chunk.answered[..]].concat())
            .execute(&mut *connection)
            .await?;
        self.judge_reports(connection, rules, &chunk.opened).await?;
        let mut changes = OfReports::default();
        chunk
            .answered
            .extend(self.know_domains(connection, &chunk.without_provider, &mut changes).await?);
        self.classify_answers(connection, &chunk.answered, &mut changes).await?;
        self.set_bounce_classes_and_providers(connection, changes).await?;
        let next = chunk.last.filter(|_| chunk.count == i64::from(rows));
        Ok((next.map(|id| id.to_string()), chunk.count))
    }

    /// Finds the providers that recipients' domains tell; returns the reports of the others.
    async fn know_domains(
        &self,
        connection: &mut PgConnection,
        reports: &[Uuid],
        changes: &mut OfReports,
    ) -> Result<Vec<Uuid>, Error> {
        let read = self.statement(
            "-- ses-reports: read the recipients of reports
            SELECT id, user_email FROM {schema}.aws_report_recipients($1)",
        );
        let recipients: Vec<(Uuid, String)> = sqlx::query_as(read)
            .persistent(self.prepared)
            .bind(reports)
            .fetch_all(connection)
            .await?;
        let mut others = Vec::new();
        for (id, user_email) in recipients {
            match provider::of_address(&user_email, None, None) {
                Some(provider) => changes.provider(id, provider),
                None => others.push(id),
            }
        }
        Ok(others)
    }

    /// Classifies bounces and delays, and finds the providers that servers' answers tell.
    async fn classify_answers(
        &self,
        connection: &mut PgConnection,
        reports: &[Uuid],
        changes: &mut OfReports,
    ) -> Result<(), Error> {
        let read = self.statement(
            "-- ses-reports: read the answers of servers
            SELECT * FROM {schema}.aws_report_answers($1)",
        );
        let rows: Vec<Row> = sqlx::query_as(read)
            .persistent(self.prepared)
            .bind(reports)
            .fetch_all(&mut *connection)
            .await?;
        let mut classes = OtherClasses::default();
        for of_report in rows.chunk_by(|a, b| a.report_id == b.report_id) {
            changes.of_answers(of_report, &mut classes);
        }
        self.set_classes(connection, classes).await
    }

    /// Gives events other classes.
    pub(super) async fn set_classes(
        &self,
        connection: &mut PgConnection,
        classes: OtherClasses,
    ) -> Result<(), Error> {
        if classes.len() == 0 {
            return Ok(());
        }
        let update = self.statement(
            "-- ses-reports: set the classes of events
            -- Arrays from subqueries have no known length, so the planner looks each event up by its key and
            -- never reads all months.
            UPDATE {schema}.aws_report_detail AS detail SET class = other.class
            FROM UNNEST((SELECT $1::uuid[]), (SELECT $2::uuid[]), (SELECT $3::timestamptz[]), (SELECT $4::text[]))
                AS other (report_id, id, \"timestamp\", class)
            WHERE detail.report_id = other.report_id AND detail.id = other.id
                AND detail.\"timestamp\" = other.\"timestamp\"",
        );
        sqlx::query(update)
            .persistent(self.prepared)
            .bind(classes.report_ids)
            .bind(classes.ids)
            .bind(classes.timestamps)
            .bind(classes.classes)
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn set_bounce_classes_and_providers(
        &self,
        connection: &mut PgConnection,
        changes: OfReports,
    ) -> Result<(), Error> {
        let (ids, classes) = changes.bounce_classes;
        if !ids.is_empty() {
            let update = self.statement(
                "-- ses-reports: set the bounce classes of reports
                UPDATE {schema}.aws_reports AS report SET bounce_class = other.bounce_class
                FROM UNNEST($1::uuid[], $2::text[]) AS other (id, bounce_class) WHERE report.id = other.id",
            );
            let update = sqlx::query(update).persistent(self.prepared).bind(ids).bind(classes);
            update.execute(&mut *connection).await?;
        }
        let (ids, providers) = changes.providers;
        if !ids.is_empty() {
            let update = self.statement(
                "-- ses-reports: set the providers of reports
                UPDATE {schema}.aws_reports AS report SET provider = other.provider
                FROM UNNEST($1::uuid[], $2::text[]) AS other (id, provider)
                WHERE report.id = other.id AND report.provider IS NULL",
            );
            let update = sqlx::query(update).persistent(self.prepared).bind(ids).bind(providers);
            update.execute(connection).await?;
        }
        Ok(())
    }
}

impl OfReports {
    fn provider(&mut self, id: Uuid, provider: &'static str) {
        self.providers.0.push(id);
        self.providers.1.push(provider);
    }

    /// Adds what the bounces, delays and deliveries of one report change, by the folds of `row`.
    fn of_answers(&mut self, rows: &[Row], classes: &mut OtherClasses) {
        let Some(report) = rows.first() else { return };
        let mut provider: Option<&'static str> = None;
        // The least class of the bounces that are as strong as the strongest, and whether any is left.
        let mut of_bounce: Option<Option<&'static str>> = None;
        for row in rows {
            let own = row.own.as_deref().unwrap_or_default();
            let event = StoredEvent::read(own, row.entry.as_deref());
            if let Some(found) = event.provider(&row.user_email) {
                provider = Some(provider.map_or(found, |least| least.min(found)));
            }
            if row.event_type == "Delivery" {
                continue;
            }
            let class = event.class(row.event_type == "DeliveryDelay");
            if row.class.as_deref() != class {
                classes.push(row.report_id, row.id, row.timestamp, class);
            }
            if row.event_type == "Bounce" && event.bounce_type() == report.bounce_type {
                let least = match (of_bounce.flatten(), class) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                of_bounce = Some(least);
            }
        }
        if let Some(class) = of_bounce.filter(|class| *class != report.bounce_class.as_deref()) {
            self.bounce_classes.0.push(report.report_id);
            self.bounce_classes.1.push(class);
        }
        if let (Some(provider), None) = (provider, &report.provider) {
            self.provider(report.report_id, provider);
        }
    }
}
