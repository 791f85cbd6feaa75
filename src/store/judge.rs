//! Judges the opens and clicks of reports with all of them in sight, after they were written.

use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::classes::OtherClasses;
use super::{Error, Store};
use crate::classify::machine::{Class, Event, Interaction, MachineRules};
use crate::decode::Said;

/// What was judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judged {
    /// Reports that were looked at.
    pub reports: u64,
    /// Opens and clicks that got another class.
    pub reclassified: u64,
}

/// An open or a click, with what its report holds.
#[derive(FromRow)]
struct Row {
    report_id: Uuid,
    delivery_at: Option<OffsetDateTime>,
    human_open_at: Option<OffsetDateTime>,
    human_click_at: Option<OffsetDateTime>,
    id: Uuid,
    timestamp: OffsetDateTime,
    event_type: String,
    class: Option<String>,
    own: Option<String>,
}

/// What is to be written, by column.
#[derive(Default)]
struct Changes {
    details: OtherClasses,
    reports: (Vec<Uuid>, Vec<Option<OffsetDateTime>>, Vec<Option<OffsetDateTime>>),
}

impl Store {
    /// Judges some of the reports that wait for it, and forgets that they did, in one transaction. Nothing
    /// is left if it looked at none.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or refuses; then they still wait.
    pub async fn judge(&self, most: i32) -> Result<Judged, Error> {
        let rules = self.machine_rules();
        self.transaction("judge", async |connection| {
            let take = self.statement(
                "-- ses-reports: take reports to judge
                SELECT {schema}.aws_report_unjudged_take($1)",
            );
            let taken: Option<Vec<Uuid>> = sqlx::query_scalar(take)
                .persistent(self.prepared)
                .bind(most)
                .fetch_one(&mut *connection)
                .await?;
            match taken {
                Some(reports) => self.judge_reports(connection, &rules, &reports).await,
                None => Ok(Judged::default()),
            }
        })
        .await
    }

    /// Judges reports, whose rows it locks, by all of their opens and clicks that are kept.
    pub(super) async fn judge_reports(
        &self,
        connection: &mut PgConnection,
        rules: &MachineRules,
        reports: &[Uuid],
    ) -> Result<Judged, Error> {
        let read = self.statement(
            "-- ses-reports: read the opens and clicks of reports
            SELECT * FROM {schema}.aws_report_interactions($1)",
        );
        let rows: Vec<Row> = sqlx::query_as(read)
            .persistent(self.prepared)
            .bind(reports)
            .fetch_all(&mut *connection)
            .await?;
        let mut changes = Changes::default();
        for of_report in rows.chunk_by(|a, b| a.report_id == b.report_id) {
            changes.of_report(rules, of_report);
        }
        let reclassified = changes.details.len();
        self.set_classes(connection, changes.details).await?;
        if !changes.reports.0.is_empty() {
            let (ids, opens, clicks) = changes.reports;
            let update = self.statement(
                "-- ses-reports: set the first opens and clicks of people
                UPDATE {schema}.aws_reports AS report
                SET human_open_at = judged.human_open_at, human_click_at = judged.human_click_at
                FROM UNNEST($1::uuid[], $2::timestamptz[], $3::timestamptz[])
                    AS judged (id, human_open_at, human_click_at)
                WHERE report.id = judged.id",
            );
            sqlx::query(update)
                .persistent(self.prepared)
                .bind(ids)
                .bind(opens)
                .bind(clicks)
                .execute(connection)
                .await?;
        }
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Ok(Judged { reports: count(reports.len()), reclassified: count(reclassified) })
    }
}

impl Changes {
    /// Adds what changes by judging the events of one report.
    fn of_report(&mut self, rules: &MachineRules, rows: &[Row]) {
        let said: Vec<Said<'_>> =
            rows.iter().map(|row| Said::read(row.own.as_deref().unwrap_or_default())).collect();
        let interactions = rows.iter().map(|row| Interaction::of_event_type(&row.event_type));
        let events: Vec<(&Row, Event<'_>)> = (rows.iter().zip(&said).zip(interactions))
            .filter_map(|((row, said), interaction)| {
                let (signals, link) = (said.signals(), &*said.link);
                Some((row, Event { interaction: interaction?, at: row.timestamp, signals, link }))
            })
            .collect();
        let Some((first, _)) = events.first() else { return };
        let (kept, events): (Vec<&Row>, Vec<Event<'_>>) = events.iter().copied().unzip();
        let verdicts = rules.judge(first.delivery_at, &events);
        for (row, verdict) in kept.iter().zip(&verdicts) {
            if row.class.as_deref() != Some(verdict.class.as_str()) {
                let class = Some(verdict.class.as_str());
                self.details.push(row.report_id, row.id, row.timestamp, class);
            }
        }
        let classes: Vec<Class> = verdicts.iter().map(|verdict| verdict.class).collect();
        let opened = first_human(first.human_open_at, Interaction::Open, &events, &classes);
        let clicked = first_human(first.human_click_at, Interaction::Click, &events, &classes);
        if (opened, clicked) != (first.human_open_at, first.human_click_at) {
            let (ids, opens, clicks) = &mut self.reports;
            ids.push(first.report_id);
            opens.push(opened);
            clicks.push(clicked);
        }
    }
}

/// The first event of a person. One that is held and earlier than all events that are left stays: retention
/// has removed its detail, so nothing is known against it.
fn first_human(
    held: Option<OffsetDateTime>,
    interaction: Interaction,
    events: &[Event<'_>],
    classes: &[Class],
) -> Option<OffsetDateTime> {
    let of_kind = || {
        let pairs = events.iter().zip(classes);
        pairs.filter(move |(event, _)| event.interaction == interaction)
    };
    let is_left = |held: &OffsetDateTime| of_kind().any(|(event, _)| event.at <= *held);
    let people = of_kind().filter(|(_, class)| **class == Class::Human);
    held.filter(|held| !is_left(held)).or_else(|| people.map(|(event, _)| event.at).min())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::classify::machine::Signals;

    #[test]
    fn the_first_open_of_a_person_whose_detail_is_gone_stays() {
        let at = datetime!(2026-11-20 10:00 UTC);
        let open =
            Event { interaction: Interaction::Open, at, signals: Signals::default(), link: "" };
        let earlier = Some(at - time::Duration::days(60));
        let first = |held, class| first_human(held, Interaction::Open, &[open], &[class]);
        assert_eq!(first(earlier, Class::Machine), earlier);
        assert_eq!(first(earlier, Class::Human), earlier);
        assert_eq!(first(Some(at), Class::Machine), None);
        assert_eq!(first(None, Class::Human), Some(at));
        assert_eq!(first_human(earlier, Interaction::Click, &[open], &[Class::Human]), earlier);
    }
}
