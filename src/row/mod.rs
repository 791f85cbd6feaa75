//! The rows that an event becomes, and the fold that joins the rows of one report.

mod account_event;
pub mod columns;
mod complaint;
mod milestone;
mod tags;

use std::cmp::Ordering;

use time::OffsetDateTime;
use uuid::Uuid;

pub use account_event::AccountEvent;
pub use complaint::Complaint;
pub(crate) use complaint::NOT_SPAM;
pub(crate) use milestone::Facts;
pub use milestone::Milestone;
pub use tags::Tags;

/// One event and one recipient: a row of the detail table and what it says about its report.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// The row of `aws_report_detail`.
    pub detail: DetailRow,
    /// What the event adds to the row of `aws_reports`.
    pub report: ReportRow,
    /// The whole recipient, normalised, not shortened.
    pub recipient: String,
    /// The whole SES message id, not shortened.
    pub message_id: String,
    /// The address that the event names, normalised, where it is none of the mail's recipients: a mail
    /// that was forwarded bounces for its last address.
    pub named: Option<String>,
    /// Whether the event does not say which of the mail's recipients it is about.
    pub ambiguous: bool,
}

/// A row of `aws_report_detail`, less the columns that it shares with its report.
#[derive(Debug, Clone, PartialEq)]
pub struct DetailRow {
    /// See [`crate::decode::identity::detail_id`].
    pub id: Uuid,
    /// SNS `MessageId`, EventBridge `id` or SQS `MessageId`: for tracing only.
    pub notification_message_id: Option<String>,
    /// As SES spells it in event publishing.
    pub event_type: String,
    /// The event's own clock, to the microsecond.
    pub timestamp: OffsetDateTime,
    /// What the event means by our rules: of an open or a click who made it, of a bounce or a delay why
    /// it happened. `None` where no rule says.
    pub class: Option<String>,
    /// The rest of the event, as JSON.
    pub other_info: String,
}

/// What events say about one mail to one recipient. [`ReportRow::merge`] makes it a fold that does
/// not depend on the order of the events; `store/write.sql` continues the same fold in the table,
/// and [`columns::REPORT`] says for both how each column is folded.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportRow {
    /// See [`crate::decode::identity::report_id`].
    pub id: Uuid,
    /// The recipient as the column holds it.
    pub user_email: String,
    /// The SES message id as the column holds it.
    pub message_id: String,
    /// `None` is the type `default`.
    pub report_type: Option<ReportType>,
    /// The customer, from a message tag.
    pub user_id: Option<String>,
    /// The sender's address as the column holds it.
    pub source_email: Option<String>,
    /// The subject as the column holds it.
    pub subject: Option<String>,
    /// When SES accepted the mail.
    pub send_at: Option<OffsetDateTime>,
    /// The first occurrence of each kind of event, in the order of [`Milestone::ALL`].
    pub first: [Option<OffsetDateTime>; Milestone::ALL.len()],
    /// The strongest bounce.
    pub bounce: Option<Bounce>,
    /// The strongest complaint.
    pub complaint: Option<Complaint>,
    /// When the recipient last said that the mail is no spam.
    pub not_spam_at: Option<OffsetDateTime>,
    /// Whether this report counts its message: of a mail with several recipients one report does.
    pub counts_message: Option<bool>,
    /// Who runs the recipient's mailbox; `None` is any other.
    pub provider: Option<String>,
    /// The message tags that the operator has chosen.
    pub tags: Option<Tags>,
}

/// A kind of mail: a row of `aws_report_type`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReportType {
    /// See [`crate::decode::identity::report_type_id`]. Of two types the greater id stays.
    pub id: i64,
    /// The name as the column holds it.
    pub name: String,
}

/// The bounce type of an answer to a mail, which SES reports as a bounce and which is none. Weaker than
/// every bounce that a server reports.
pub(crate) const AUTO_REPLY: &str = "AutoReply";
/// The class of an open or a click that a person made.
pub(crate) const HUMAN: &str = "human";

/// `bounceType` and `bounceSubType`, open sets: SES adds to both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounce {
    /// `Permanent`, `Undetermined`, `Transient`, [`AUTO_REPLY`], or one that SES added later.
    pub bounce_type: String,
    /// `General`, `NoEmail`, `OnAccountSuppressionList`, `MailboxFull`, …
    pub sub_type: Option<String>,
    /// Why it bounced; `None` where no rule says.
    pub class: Option<String>,
    /// Whether this report counts it: where a bounce may be about several recipients, one report does.
    pub counts: bool,
}

impl Bounce {
    /// The stronger of two: by type, and of two alike the one whose subtype comes first.
    fn stronger(self, other: Self) -> Self {
        let by_type =
            (self.rank().cmp(&other.rank())).then_with(|| other.bounce_type.cmp(&self.bounce_type));
        match by_type {
            Ordering::Greater => self,
            Ordering::Less => other,
            Ordering::Equal => Self {
                bounce_type: self.bounce_type,
                sub_type: least(self.sub_type, other.sub_type),
                class: least(self.class, other.class),
                counts: self.counts || other.counts,
            },
        }
    }

    /// The SQL function `aws_report_bounce_order` says the same.
    fn rank(&self) -> u8 {
        match self.bounce_type.as_str() {
            "Permanent" => 4,
            "Undetermined" => 3,
            "Transient" => 2,
            _ => 1,
        }
    }
}

impl EventRow {
    /// What the row takes in memory: itself and every string that it owns.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Self { detail, report, recipient, message_id, named, ambiguous: _ } = self;
        let of_report: usize =
            columns::REPORT.iter().map(|column| column.get.text_bytes(report)).sum();
        let optional = [
            detail.notification_message_id.as_ref(),
            detail.class.as_ref(),
            report.report_type.as_ref().map(|report_type| &report_type.name),
            named.as_ref(),
        ];
        let always = [&detail.event_type, &detail.other_info, recipient, message_id];
        let texts = optional.into_iter().flatten().chain(always);
        size_of::<Self>() + of_report + texts.map(String::len).sum::<usize>()
    }
}

impl ReportRow {
    /// A report of which no event says anything.
    #[must_use]
    pub fn new(id: Uuid, user_email: String, message_id: String) -> Self {
        Self {
            id,
            user_email,
            message_id,
            report_type: None,
            user_id: None,
            source_email: None,
            subject: None,
            send_at: None,
            first: [None; Milestone::ALL.len()],
            bounce: None,
            complaint: None,
            not_spam_at: None,
            counts_message: None,
            provider: None,
            tags: None,
        }
    }

    /// Joins what two sets of events say about one report. Commutative, associative, idempotent.
    pub fn merge(&mut self, mut other: Self) {
        debug_assert_eq!(self.id, other.id, "only rows of one report can be merged");
        for column in columns::REPORT {
            column.fold.merge(self, &mut other);
        }
    }
}

/// PostgreSQL's `LEAST`: the smaller of what is there. Strings compare by bytes, as the columns'
/// collation `C` does.
fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        /// What some event says about one and the same report, in any of its columns.
        pub(crate) fn report()(
            numbers in proptest::collection::vec(any::<Option<u8>>(), columns::REPORT.len()),
        ) -> ReportRow {
            let (email, message_id) = ("jane@example.com".to_owned(), "m".to_owned());
            let mut report = ReportRow::new(Uuid::nil(), email, message_id);
            for (column, number) in columns::REPORT.iter().zip(numbers) {
                if let Some(number) = number {
                    columns::tests::set(&mut report, &column.fold, number);
                }
            }
            report
        }
    }

    fn merged(rows: impl IntoIterator<Item = ReportRow>) -> Option<ReportRow> {
        rows.into_iter().reduce(|mut sum, row| {
            sum.merge(row);
            sum
        })
    }

    proptest! {
        #[test]
        fn order_duplicates_and_grouping_change_nothing(
            (rows, shuffled) in proptest::collection::vec(report(), 1..8).prop_flat_map(|rows| {
                let twice: Vec<_> = rows.iter().chain(&rows).cloned().collect();
                (Just(rows), Just(twice).prop_shuffle())
            }),
            split in 0_usize..16,
        ) {
            let split = split.min(shuffled.len());
            let halves = [merged(shuffled[..split].to_vec()), merged(shuffled[split..].to_vec())];
            prop_assert_eq!(merged(halves.into_iter().flatten()), merged(rows));
        }
    }

    #[test]
    fn a_permanent_bounce_beats_a_transient_one_with_its_subtype() {
        let bounce = |bounce_type: &str, sub_type: &str| Bounce {
            bounce_type: bounce_type.to_owned(),
            sub_type: Some(sub_type.to_owned()),
            class: None,
            counts: true,
        };
        let stronger = bounce("Transient", "General").stronger(bounce("Permanent", "Suppressed"));
        assert_eq!(stronger, bounce("Permanent", "Suppressed"));
    }
}
