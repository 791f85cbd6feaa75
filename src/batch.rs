//! A batch: the rows of many messages as the columns of one statement. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use time::{Date, OffsetDateTime};
use uuid::Uuid;

use crate::row::{EventRow, Milestone, ReportRow};

/// The rows of a batch, by column, as one statement takes them.
///
/// Every detail stands once, every report once and already folded (PostgreSQL refuses to update a
/// row twice in one statement), both in the order of their keys, so that two workers that write
/// the same reports do not deadlock.
#[derive(Debug, Default)]
pub struct Columns<'a> {
    /// The rows of `aws_report_detail`.
    pub details: Vec<&'a EventRow>,
    /// The rows of `aws_reports`.
    pub reports: Vec<ReportRow>,
    /// The kinds of mail that the reports name.
    pub report_types: BTreeMap<i64, &'a str>,
    /// The first days of the months of the details.
    pub months: BTreeSet<Date>,
}

impl<'a> Columns<'a> {
    /// Lays out the rows of some events.
    pub fn of(rows: impl IntoIterator<Item = &'a EventRow>) -> Self {
        let mut details: Vec<&EventRow> = rows.into_iter().collect();
        let mut reports: HashMap<Uuid, ReportRow> = HashMap::with_capacity(details.len());
        let mut report_types = BTreeMap::new();
        for row in &details {
            if let Some(report_type) = &row.report.report_type {
                report_types.entry(report_type.id).or_insert(report_type.name.as_str());
            }
            reports
                .entry(row.report.id)
                .and_modify(|report| report.merge(row.report.clone()))
                .or_insert_with(|| row.report.clone());
        }
        // Of two copies of one fact the report has merged both; the detail is the earlier.
        details.sort_by_key(|row| (row.report.id, row.detail.id, row.detail.timestamp));
        let mut seen = HashSet::with_capacity(details.len());
        details.retain(|row| seen.insert((row.report.id, row.detail.id)));
        let months = details.iter().map(|row| month_of(row.detail.timestamp)).collect();
        let mut reports: Vec<_> = reports.into_values().collect();
        reports.sort_by_key(|report| report.id);
        Self { details, reports, report_types, months }
    }

    /// Lays out reports that come without events.
    pub fn of_reports(rows: &'a [ReportRow]) -> Self {
        let mut reports: BTreeMap<Uuid, ReportRow> = BTreeMap::new();
        let mut report_types = BTreeMap::new();
        for row in rows {
            if let Some(report_type) = &row.report_type {
                report_types.entry(report_type.id).or_insert(report_type.name.as_str());
            }
            reports
                .entry(row.id)
                .and_modify(|report| report.merge(row.clone()))
                .or_insert_with(|| row.clone());
        }
        Self { reports: reports.into_values().collect(), report_types, ..Self::default() }
    }

    /// The times of one kind of event, report by report.
    pub(crate) fn first(&self, milestone: Milestone) -> Vec<Option<OffsetDateTime>> {
        self.reports.iter().map(|report| report.first[milestone.index()]).collect()
    }
}

/// The first day of the month of a time, in UTC: the name of its partition.
#[must_use]
pub fn month_of(time: OffsetDateTime) -> Date {
    let date = time.to_offset(time::UtcOffset::UTC).date();
    // Every month has a first day.
    date.replace_day(1).unwrap_or(date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{DetailRow, tests::report};
    use proptest::prelude::*;

    prop_compose! {
        /// One of a few events about one of two reports.
        fn event_row()(mut report in report(), which in 0_u128..2, detail in 0_u128..6, secs in 0_i64..3) -> EventRow {
            report.id = Uuid::from_u128(which);
            EventRow {
                detail: DetailRow {
                    id: Uuid::from_u128(detail),
                    notification_message_id: None,
                    event_type: "Bounce".to_owned(),
                    timestamp: OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(secs),
                    other_info: "{}".to_owned(),
                },
                report,
                recipient: "jane@example.com".to_owned(),
                message_id: "m".to_owned(),
                ambiguous: false,
            }
        }
    }

    /// The tables as the statement leaves them: details insert once, reports fold.
    fn written(batches: &[&[EventRow]]) -> (BTreeSet<(Uuid, Uuid)>, BTreeMap<Uuid, ReportRow>) {
        let mut details = BTreeSet::new();
        let mut reports: BTreeMap<Uuid, ReportRow> = BTreeMap::new();
        for batch in batches {
            let columns = Columns::of(*batch);
            details.extend(columns.details.iter().map(|row| (row.report.id, row.detail.id)));
            for report in columns.reports {
                match reports.entry(report.id) {
                    std::collections::btree_map::Entry::Vacant(vacant) => {
                        vacant.insert(report);
                    }
                    std::collections::btree_map::Entry::Occupied(mut held) => {
                        held.get_mut().merge(report);
                    }
                }
            }
        }
        (details, reports)
    }

    proptest! {
        #[test]
        fn any_order_any_duplicates_and_any_split_give_the_same_rows(
            (rows, shuffled) in proptest::collection::vec(event_row(), 1..12).prop_flat_map(|rows| {
                let more: Vec<_> = rows.iter().chain(rows.iter().step_by(2)).cloned().collect();
                (Just(rows), Just(more).prop_shuffle())
            }),
            size in 1_usize..6,
        ) {
            let split: Vec<_> = shuffled.chunks(size).collect();
            prop_assert_eq!(written(&split), written(&[&rows]));
        }

        #[test]
        fn every_key_stands_once_and_in_order(rows in proptest::collection::vec(event_row(), 0..20)) {
            let columns = Columns::of(&rows);
            prop_assert!(columns.reports.is_sorted_by(|a, b| a.id < b.id));
            prop_assert!(columns.details.is_sorted_by(|a, b| (a.report.id, a.detail.id) < (b.report.id, b.detail.id)));
        }
    }
}
