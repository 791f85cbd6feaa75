//! A batch: the rows of many messages as the columns of one statement. Pure.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use time::{Date, OffsetDateTime, UtcOffset};
use uuid::Uuid;

use crate::row::{EventRow, Milestone, ReportRow};

/// The rows of a batch, by column, as one statement takes them.
///
/// Every detail is in it once, every report once and already folded (PostgreSQL refuses to update a
/// row twice in one statement), both in the order of their keys, so that two workers that write
/// the same reports do not deadlock.
#[derive(Debug, Default)]
pub struct Columns<'a> {
    /// The rows of `aws_report_detail`.
    pub details: Vec<&'a EventRow>,
    /// The rows of `aws_reports`: of a report with a single event the event's own.
    pub reports: Vec<Cow<'a, ReportRow>>,
    /// The kinds of mail that the reports name.
    pub report_types: BTreeMap<i64, &'a str>,
    /// The first days of the months of the details.
    pub months: BTreeSet<Date>,
    /// Rows whose detail is not among them, because it is no longer kept.
    pub expired: u64,
}

/// From when on rows are kept; `None` is for ever. What retention removed is not to come back with
/// a late event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// The first month of details that is kept, by its first day.
    pub(crate) details_from: Option<Date>,
    /// The first day of mail whose reports are kept.
    pub(crate) reports_from: Option<Date>,
}

impl Kept {
    /// Whether the report of an event is kept: by the day of the mail, as retention removes it.
    fn keeps_report(self, row: &EventRow) -> bool {
        let report = &row.report;
        let mailed = report
            .send_at
            .or(report.first[Milestone::Reject.index()])
            .or(report.first[Milestone::RenderingFailure.index()])
            .unwrap_or(row.detail.timestamp);
        self.reports_from.is_none_or(|from| mailed.to_offset(UtcOffset::UTC).date() >= from)
    }

    /// Whether its detail is kept: by the month of the event. Never without its report.
    fn keeps_detail(self, row: &EventRow) -> bool {
        self.keeps_report(row)
            && self.details_from.is_none_or(|from| month_of(row.detail.timestamp) >= from)
    }
}

impl<'a> Columns<'a> {
    /// Lays out the rows of some events, as far as they are kept.
    pub fn of(rows: impl IntoIterator<Item = &'a EventRow>, kept: Kept) -> Self {
        let rows = rows.into_iter();
        let mut details: Vec<&EventRow> = Vec::with_capacity(rows.size_hint().0);
        let mut reports: HashMap<Uuid, Cow<'a, ReportRow>> =
            HashMap::with_capacity(rows.size_hint().0);
        let mut report_types = BTreeMap::new();
        let mut expired = 0;
        for row in rows {
            if kept.keeps_detail(row) {
                details.push(row);
            } else {
                expired += 1;
            }
            if !kept.keeps_report(row) {
                continue;
            }
            if let Some(report_type) = &row.report.report_type {
                report_types.entry(report_type.id).or_insert(report_type.name.as_str());
            }
            fold(&mut reports, &row.report);
        }
        // Of two copies of one fact the report has merged both; the detail is the earlier.
        details.sort_by_key(|row| (row.report.id, row.detail.id, row.detail.timestamp));
        details.dedup_by_key(|row| (row.report.id, row.detail.id));
        let months = details.iter().map(|row| month_of(row.detail.timestamp)).collect();
        Self { details, reports: in_order(reports), report_types, months, expired }
    }

    /// Lays out reports that come without events.
    pub(crate) fn of_reports(rows: &'a [ReportRow]) -> Self {
        let mut reports: HashMap<Uuid, Cow<'a, ReportRow>> = HashMap::with_capacity(rows.len());
        let mut report_types = BTreeMap::new();
        for row in rows {
            if let Some(report_type) = &row.report_type {
                report_types.entry(report_type.id).or_insert(report_type.name.as_str());
            }
            fold(&mut reports, row);
        }
        Self { reports: in_order(reports), report_types, ..Self::default() }
    }
}

fn fold<'a>(reports: &mut HashMap<Uuid, Cow<'a, ReportRow>>, row: &'a ReportRow) {
    match reports.entry(row.id) {
        Entry::Vacant(vacant) => {
            vacant.insert(Cow::Borrowed(row));
        }
        Entry::Occupied(mut held) => held.get_mut().to_mut().merge(row.clone()),
    }
}

fn in_order(reports: HashMap<Uuid, Cow<'_, ReportRow>>) -> Vec<Cow<'_, ReportRow>> {
    let mut reports: Vec<_> = reports.into_values().collect();
    reports.sort_unstable_by_key(|report| report.id);
    reports
}

/// The first day of the month of a time, in UTC: the name of its partition.
#[must_use]
pub fn month_of(time: OffsetDateTime) -> Date {
    let date = time.to_offset(UtcOffset::UTC).date();
    // Every month has a first day.
    date.replace_day(1).unwrap_or(date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{DetailRow, tests::report};
    use proptest::prelude::*;
    use time::macros::datetime;

    prop_compose! {
        /// One of a few events about one of two reports.
        fn event_row()(
            mut report in report(), which in 0_u128..2, detail in 0_u128..6, secs in 0_i64..3, months in 0_i64..3,
        ) -> EventRow {
            report.id = Uuid::from_u128(which);
            EventRow {
                detail: DetailRow {
                    id: Uuid::from_u128(detail),
                    notification_message_id: None,
                    event_type: "Bounce".to_owned(),
                    timestamp: datetime!(2026-01-31 23:59:59 UTC)
                        + time::Duration::seconds(secs)
                        + time::Duration::days(31 * months),
                    class: None,
                    other_info: "{}".to_owned(),
                },
                report,
                recipient: "jane@example.com".to_owned(),
                message_id: "m".to_owned(),
                named: None,
                ambiguous: false,
            }
        }
    }

    prop_compose! {
        /// Retention that cuts through the times of the rows, or none.
        fn kept()(details in 0_u8..6, reports in proptest::option::of(2011_i32..2030)) -> Kept {
            Kept {
                details_from: time::Month::try_from(details)
                    .ok()
                    .and_then(|month| Date::from_calendar_date(2026, month, 1).ok()),
                reports_from: reports.and_then(|year| Date::from_ordinal_date(year, 1).ok()),
            }
        }
    }

    /// The tables as the statement leaves them: details insert once, reports fold.
    fn written(
        batches: &[&[EventRow]],
        kept: Kept,
    ) -> (BTreeSet<(Uuid, Uuid)>, BTreeMap<Uuid, ReportRow>) {
        let mut details = BTreeSet::new();
        let mut reports: BTreeMap<Uuid, ReportRow> = BTreeMap::new();
        for batch in batches {
            let columns = Columns::of(*batch, kept);
            details.extend(columns.details.iter().map(|row| (row.report.id, row.detail.id)));
            for report in columns.reports.into_iter().map(Cow::into_owned) {
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
            kept in kept(),
        ) {
            let split: Vec<_> = shuffled.chunks(size).collect();
            prop_assert_eq!(written(&split, kept), written(&[&rows], kept));
        }

        #[test]
        fn what_is_no_longer_kept_may_be_left_out_before_or_after(
            rows in proptest::collection::vec(event_row(), 0..12),
            kept in kept(),
            size in 1_usize..6,
        ) {
            let (whole, everything) = (Columns::of(&rows, kept), Kept::default());
            let details: Vec<EventRow> = rows.iter().filter(|row| kept.keeps_detail(row)).cloned().collect();
            let reports: Vec<EventRow> = rows.iter().filter(|row| kept.keeps_report(row)).cloned().collect();
            prop_assert_eq!(&whole.details, &Columns::of(&details, everything).details);
            prop_assert_eq!(&whole.reports, &Columns::of(&reports, everything).reports);
            let in_parts: u64 = rows.chunks(size).map(|part| Columns::of(part, kept).expired).sum();
            prop_assert_eq!(whole.expired, in_parts);
            prop_assert_eq!(usize::try_from(whole.expired).expect("few"), rows.len() - details.len());
        }

        #[test]
        fn every_key_stands_once_and_in_order(rows in proptest::collection::vec(event_row(), 0..20)) {
            let columns = Columns::of(&rows, Kept::default());
            prop_assert!(columns.reports.is_sorted_by(|a, b| a.id < b.id));
            prop_assert!(columns.details.is_sorted_by(|a, b| (a.report.id, a.detail.id) < (b.report.id, b.detail.id)));
        }
    }
}
