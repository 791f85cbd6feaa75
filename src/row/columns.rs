//! The columns of `aws_reports` and `aws_report_detail` that a batch writes, a line for each.
//!
//! From these lines come the column lists, parameters and folds of the statements (`store/statement.rs`),
//! what is bound to the parameters, the fold in memory ([`ReportRow::merge`]), and the rights of the
//! worker's role.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Bounce, Complaint, EventRow, HUMAN, Milestone, ReportRow, ReportType, Tags, least};

/// Most characters of an address column.
pub const ADDRESS: usize = 100;
/// Most characters of a message id column.
pub const MESSAGE_ID: usize = 64;
/// Most characters of a subject column.
pub const SUBJECT: usize = 200;
/// Most characters of a user id or the name of a report type.
pub const LABEL: usize = 200;
/// Most characters of an AWS account or region.
pub(crate) const ACCOUNT: usize = 64;
/// Most characters of an event type, a bounce type, or a subtype.
pub(crate) const KIND: usize = 64;
/// Most characters of a class or a provider, which are words of ours.
pub(crate) const CLASS: usize = 32;

/// A column of `aws_report_detail`.
#[derive(Debug)]
pub struct DetailColumn {
    /// Its name as SQL spells it, with quotes where it needs them.
    pub name: &'static str,
    /// Its value.
    pub get: Get<EventRow>,
}

/// A column of `aws_reports`.
#[derive(Debug)]
pub struct ReportColumn {
    /// Its name as SQL spells it.
    pub name: &'static str,
    /// Its value.
    pub get: Get<ReportRow>,
    /// How it joins what is held.
    pub fold: Fold,
}

/// A column of `aws_reports` that counts the new details of one type.
#[derive(Debug)]
pub struct Counter {
    /// Its name as SQL spells it.
    pub name: &'static str,
    /// The events that it counts.
    pub of: Milestone,
}

/// A column of `aws_reports` that holds the first new detail of one type and class. Like a counter it
/// takes nothing from a detail that was there already, because that one may have been classified
/// again since.
#[derive(Debug)]
pub struct FirstOfClass {
    /// Its name as SQL spells it.
    pub name: &'static str,
    /// The events among which it looks.
    pub of: Milestone,
    /// The class that they must have.
    pub class: &'static str,
}

/// How a value is read from a row; it says the type of the parameter too.
#[derive(Debug)]
pub enum Get<R> {
    /// `uuid`
    Uuid(fn(&R) -> Uuid),
    /// `bigint`
    Number(fn(&R) -> i64),
    /// `text`, with the most characters that it may have
    Text(fn(&R) -> Option<&str>, usize),
    /// `jsonb`, which travels as text
    Json(fn(&R) -> &str),
    /// `timestamptz`
    Time(fn(&R) -> Option<OffsetDateTime>),
    /// `boolean`
    Flag(fn(&R) -> Option<bool>),
    /// `jsonb`, which travels as text
    Tags(fn(&R) -> Option<&Tags>),
}

/// How what two sets of events say about one report becomes one value, and where the row holds it.
#[derive(Debug)]
pub enum Fold {
    /// All events of the report say the same.
    Key,
    /// The least text, by bytes.
    LeastText(fn(&mut ReportRow) -> &mut Option<String>),
    /// The earliest time.
    Earliest(fn(&mut ReportRow) -> &mut Option<OffsetDateTime>),
    /// The latest time.
    Latest(fn(&mut ReportRow) -> &mut Option<OffsetDateTime>),
    /// The greatest report type.
    Greatest(fn(&mut ReportRow) -> &mut Option<ReportType>),
    /// False as soon as one event says so.
    AllTrue(fn(&mut ReportRow) -> &mut Option<bool>),
    /// All tags; of two values of one tag the least.
    Tags(fn(&mut ReportRow) -> &mut Option<Tags>),
    /// The type of the strongest bounce.
    Bounce(fn(&mut ReportRow) -> &mut Option<Bounce>),
    /// What comes with the type of the strongest bounce.
    OfBounce(Tie),
    /// The subtype of the strongest complaint.
    Complaint(fn(&mut ReportRow) -> &mut Option<Complaint>),
    /// What comes with it.
    OfComplaint(Tie),
}

/// What stays of two values whose bounces or complaints are equally strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// The least text, by bytes.
    Least,
    /// True if one of them is.
    Any,
}

/// A text of which the least stays. Its name, getter and place are those of one field, so they cannot
/// differ.
macro_rules! least_text {
    ($field:ident, $most:expr) => {
        ReportColumn {
            name: stringify!($field),
            get: Get::Text(|row| row.$field.as_deref(), $most),
            fold: Fold::LeastText(|row| &mut row.$field),
        }
    };
}

/// A time of which the earliest stays.
macro_rules! earliest {
    ($field:ident) => {
        ReportColumn {
            name: stringify!($field),
            get: Get::Time(|row| row.$field),
            fold: Fold::Earliest(|row| &mut row.$field),
        }
    };
}

/// The first occurrence of a kind of event.
macro_rules! first {
    ($milestone:ident) => {
        ReportColumn {
            name: Milestone::$milestone.facts().column,
            get: Get::Time(|row| row.first[Milestone::$milestone.index()]),
            fold: Fold::Earliest(|row| &mut row.first[Milestone::$milestone.index()]),
        }
    };
}

/// The columns of `aws_report_detail`.
pub const DETAIL: &[DetailColumn] = &[
    DetailColumn { name: "report_id", get: Get::Uuid(|row| row.report.id) },
    DetailColumn { name: "id", get: Get::Uuid(|row| row.detail.id) },
    DetailColumn { name: "\"timestamp\"", get: Get::Time(|row| Some(row.detail.timestamp)) },
    DetailColumn {
        name: "event_type",
        get: Get::Text(|row| Some(row.detail.event_type.as_str()), KIND),
    },
    DetailColumn {
        name: "message_id",
        get: Get::Text(|row| Some(row.report.message_id.as_str()), MESSAGE_ID),
    },
    DetailColumn {
        name: "\"from\"",
        get: Get::Text(|row| row.report.source_email.as_deref(), ADDRESS),
    },
    DetailColumn {
        name: "\"to\"",
        get: Get::Text(|row| Some(row.report.user_email.as_str()), ADDRESS),
    },
    DetailColumn { name: "subject", get: Get::Text(|row| row.report.subject.as_deref(), SUBJECT) },
    DetailColumn {
        name: "notification_message_id",
        get: Get::Text(|row| row.detail.notification_message_id.as_deref(), MESSAGE_ID),
    },
    DetailColumn { name: "class", get: Get::Text(|row| row.detail.class.as_deref(), CLASS) },
    DetailColumn { name: "other_info", get: Get::Json(|row| row.detail.other_info.as_str()) },
];

/// The columns of `aws_reports` that the row says.
pub const REPORT: &[ReportColumn] = &[
    ReportColumn { name: "id", get: Get::Uuid(|row| row.id), fold: Fold::Key },
    ReportColumn {
        name: "user_email",
        get: Get::Text(|row| Some(row.user_email.as_str()), ADDRESS),
        fold: Fold::Key,
    },
    ReportColumn {
        name: "message_id",
        get: Get::Text(|row| Some(row.message_id.as_str()), MESSAGE_ID),
        fold: Fold::Key,
    },
    ReportColumn {
        name: "report_type",
        get: Get::Number(|row| row.report_type.as_ref().map_or(0, |report_type| report_type.id)),
        fold: Fold::Greatest(|row| &mut row.report_type),
    },
    least_text!(user_id, LABEL),
    least_text!(source_email, ADDRESS),
    least_text!(subject, SUBJECT),
    earliest!(send_at),
    first!(Bounce),
    first!(Complaint),
    first!(Delivery),
    first!(Reject),
    first!(Open),
    first!(Click),
    first!(RenderingFailure),
    first!(DeliveryDelay),
    first!(Subscription),
    ReportColumn {
        name: "bounce_type",
        get: Get::Text(|row| row.bounce.as_ref().map(|bounce| bounce.bounce_type.as_str()), KIND),
        fold: Fold::Bounce(|row| &mut row.bounce),
    },
    ReportColumn {
        name: "bounce_sub_type",
        get: Get::Text(
            |row| row.bounce.as_ref().and_then(|bounce| bounce.sub_type.as_deref()),
            KIND,
        ),
        fold: Fold::OfBounce(Tie::Least),
    },
    ReportColumn {
        name: "bounce_class",
        get: Get::Text(|row| row.bounce.as_ref().and_then(|bounce| bounce.class.as_deref()), CLASS),
        fold: Fold::OfBounce(Tie::Least),
    },
    ReportColumn {
        name: "counts_bounce",
        get: Get::Flag(|row| row.bounce.as_ref().map(|bounce| bounce.counts)),
        fold: Fold::OfBounce(Tie::Any),
    },
    ReportColumn {
        name: "complaint_sub_type",
        get: Get::Text(
            |row| row.complaint.as_ref().and_then(|complaint| complaint.sub_type.as_deref()),
            KIND,
        ),
        fold: Fold::Complaint(|row| &mut row.complaint),
    },
    ReportColumn {
        name: "complaint_feedback_type",
        get: Get::Text(
            |row| row.complaint.as_ref().and_then(|complaint| complaint.feedback_type.as_deref()),
            KIND,
        ),
        fold: Fold::OfComplaint(Tie::Least),
    },
    ReportColumn {
        name: "counts_complaint",
        get: Get::Flag(|row| row.complaint.as_ref().map(|complaint| complaint.counts)),
        fold: Fold::OfComplaint(Tie::Any),
    },
    ReportColumn {
        name: "not_spam_at",
        get: Get::Time(|row| row.not_spam_at),
        fold: Fold::Latest(|row| &mut row.not_spam_at),
    },
    ReportColumn {
        name: "counts_message",
        get: Get::Flag(|row| row.counts_message),
        fold: Fold::AllTrue(|row| &mut row.counts_message),
    },
    least_text!(provider, CLASS),
    ReportColumn {
        name: "tags",
        get: Get::Tags(|row| row.tags.as_ref()),
        fold: Fold::Tags(|row| &mut row.tags),
    },
];

/// The columns of `aws_reports` that count details, each new one once.
pub const COUNTERS: &[Counter] = &[
    Counter { name: "open_count", of: Milestone::Open },
    Counter { name: "click_count", of: Milestone::Click },
];

/// The columns of `aws_reports` that hold the first new detail of a class.
pub const FIRSTS_OF_CLASS: &[FirstOfClass] = &[
    FirstOfClass { name: "human_open_at", of: Milestone::Open, class: HUMAN },
    FirstOfClass { name: "human_click_at", of: Milestone::Click, class: HUMAN },
];

/// The names of the columns of `aws_reports` that say which report it is.
pub(crate) fn key_names() -> impl Iterator<Item = &'static str> {
    REPORT.iter().filter(|column| matches!(column.fold, Fold::Key)).map(|column| column.name)
}

/// The names of the columns of `aws_reports` that its events change, counters included.
pub(crate) fn folded_names() -> impl Iterator<Item = &'static str> {
    let folded = REPORT.iter().filter(|column| !matches!(column.fold, Fold::Key));
    folded
        .map(|column| column.name)
        .chain(COUNTERS.iter().map(|counter| counter.name))
        .chain(FIRSTS_OF_CLASS.iter().map(|first| first.name))
}

impl<R> Get<R> {
    /// The length of a text, which a row owns beside its own size.
    pub(super) fn text_bytes(&self, row: &R) -> usize {
        match self {
            Self::Text(of, _) => of(row).map_or(0, str::len),
            Self::Json(of) => of(row).len(),
            Self::Tags(of) => of(row).map_or(0, Tags::bytes),
            Self::Uuid(_) | Self::Number(_) | Self::Time(_) | Self::Flag(_) => 0,
        }
    }
}

impl Fold {
    /// Joins what `theirs` says into `mine`, and may take it from there.
    pub(super) fn merge(&self, mine: &mut ReportRow, theirs: &mut ReportRow) {
        match self {
            Self::LeastText(field) => {
                let (mine, theirs) = (field(mine), field(theirs).take());
                *mine = least(mine.take(), theirs);
            }
            Self::Earliest(field) => {
                let (mine, theirs) = (field(mine), *field(theirs));
                *mine = least(*mine, theirs);
            }
            Self::Greatest(field) => {
                let (mine, theirs) = (field(mine), field(theirs).take());
                *mine = mine.take().max(theirs);
            }
            Self::Latest(field) => {
                let (mine, theirs) = (field(mine), *field(theirs));
                *mine = (*mine).max(theirs);
            }
            Self::AllTrue(field) => {
                let (mine, theirs) = (field(mine), *field(theirs));
                *mine = least(*mine, theirs);
            }
            Self::Tags(field) => join(field(mine), field(theirs).take(), Tags::joined),
            Self::Bounce(field) => join(field(mine), field(theirs).take(), Bounce::stronger),
            Self::Complaint(field) => join(field(mine), field(theirs).take(), Complaint::stronger),
            Self::Key | Self::OfBounce(_) | Self::OfComplaint(_) => {}
        }
    }
}

fn join<T>(mine: &mut Option<T>, theirs: Option<T>, both: impl FnOnce(T, T) -> T) {
    *mine = match (mine.take(), theirs) {
        (Some(mine), Some(theirs)) => Some(both(mine, theirs)),
        (mine, theirs) => mine.or(theirs),
    };
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Gives a row's field one of a few values, the same one for the same number.
    pub(in crate::row) fn set(row: &mut ReportRow, fold: &Fold, number: u8) {
        let text = ["a", "b", "ab", "B", "\u{fc}", "\u{ff61}", "\u{1f600}"];
        let text = text[usize::from(number) % text.len()].to_owned();
        match fold {
            Fold::LeastText(field) => *field(row) = Some(text),
            Fold::Earliest(field) => {
                let time = OffsetDateTime::UNIX_EPOCH.replace_year(2011 + i32::from(number % 19));
                *field(row) = time.ok();
            }
            Fold::Greatest(field) => {
                *field(row) = Some(ReportType { id: i64::from(1 + number % 3), name: text });
            }
            Fold::Latest(field) => {
                let time = OffsetDateTime::UNIX_EPOCH.replace_year(2011 + i32::from(number % 19));
                *field(row) = time.ok();
            }
            Fold::AllTrue(field) => *field(row) = Some(number.is_multiple_of(2)),
            Fold::Tags(field) => {
                let name = ["campaign", "variant"][usize::from(number / 16 % 2)].to_owned();
                *field(row) = Some(Tags([(name, text)].into()));
            }
            Fold::Bounce(field) => {
                let types = ["Permanent", "Undetermined", "Transient", "New", "Newer"];
                let sub_type = ["General", "NoEmail", "Suppressed"].get(usize::from(number % 4));
                let class = ["mailbox full", "policy", "expired"].get(usize::from(number / 8 % 4));
                *field(row) = Some(Bounce {
                    bounce_type: types[usize::from(number) % types.len()].to_owned(),
                    sub_type: sub_type.map(|&name| name.to_owned()),
                    class: class.map(|&name| name.to_owned()),
                    counts: !number.is_multiple_of(3),
                });
            }
            Fold::Complaint(field) => {
                let sub_types = ["OnAccountSuppressionList", "OnTenantSuppressionList", "New"];
                let feedback_types = ["abuse", "not-spam", "other"];
                *field(row) = Some(Complaint {
                    sub_type: sub_types.get(usize::from(number % 5)).map(|&name| name.to_owned()),
                    feedback_type: (feedback_types.get(usize::from(number / 5 % 4)))
                        .map(|&name| name.to_owned()),
                    counts: !number.is_multiple_of(3),
                });
            }
            Fold::Key | Fold::OfBounce(_) | Fold::OfComplaint(_) => {}
        }
    }

    fn value(column: &ReportColumn, row: &ReportRow) -> String {
        match column.get {
            Get::Uuid(of) => of(row).to_string(),
            Get::Number(of) => of(row).to_string(),
            Get::Text(of, _) => format!("{:?}", of(row)),
            Get::Json(of) => of(row).to_owned(),
            Get::Time(of) => format!("{:?}", of(row)),
            Get::Flag(of) => format!("{:?}", of(row)),
            Get::Tags(of) => format!("{:?}", of(row)),
        }
    }

    fn empty() -> ReportRow {
        ReportRow::new(Uuid::nil(), "jane@example.com".to_owned(), "m".to_owned())
    }

    #[test]
    fn each_column_reads_what_its_fold_writes_and_no_other_does() {
        for column in REPORT {
            let mut row = empty();
            set(&mut row, &column.fold, 0);
            let changed: Vec<_> = (REPORT.iter())
                .filter(|other| value(other, &row) != value(other, &empty()))
                .map(|other| other.name)
                .collect();
            let expected: &[_] = match column.fold {
                Fold::Key | Fold::OfBounce(_) | Fold::OfComplaint(_) => &[],
                Fold::Bounce(_) => {
                    &["bounce_type", "bounce_sub_type", "bounce_class", "counts_bounce"]
                }
                Fold::Complaint(_) => {
                    &["complaint_sub_type", "complaint_feedback_type", "counts_complaint"]
                }
                _ => &[column.name],
            };
            assert_eq!(changed, expected, "{}", column.name);
        }
    }

    #[test]
    fn no_field_of_a_report_is_without_its_column() {
        let mut row = empty();
        for column in REPORT {
            set(&mut row, &column.fold, 0);
        }
        // Every field that may be empty was reached by some column.
        assert!(!format!("{row:?}").contains("None"), "{row:?}");
    }

    #[test]
    fn every_column_has_a_name_of_its_own() {
        let names: Vec<_> = key_names().chain(folded_names()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        let details: BTreeSet<_> = DETAIL.iter().map(|column| column.name).collect();
        assert_eq!(details.len(), DETAIL.len());
    }
}
