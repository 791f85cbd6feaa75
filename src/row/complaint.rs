//! What a complaint says, and which of several is the strongest.

use super::least;

/// The feedback type of a recipient who took the mail out of the spam folder: the opposite of a
/// complaint, which SES reports as one.
pub(crate) const NOT_SPAM: &str = "not-spam";

/// `complaintSubType` and `complaintFeedbackType`, open sets: SES adds to both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// `OnAccountSuppressionList` or `OnTenantSuppressionList`: SES accepted the mail and never tried to
    /// deliver it, because the recipient had complained before. Most complaints have none.
    pub sub_type: Option<String>,
    /// `abuse`, `fraud`, `virus`, [`NOT_SPAM`], `other`, …, as RFC 5965 has it.
    pub feedback_type: Option<String>,
    /// Whether this report counts it: where several may have complained, one report does.
    pub counts: bool,
}

impl Complaint {
    /// The stronger of two, and of two alike what comes first of each.
    pub(super) fn stronger(self, other: Self) -> Self {
        match self.rank().cmp(&other.rank()) {
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Equal => Self {
                sub_type: least(self.sub_type, other.sub_type),
                feedback_type: least(self.feedback_type, other.feedback_type),
                counts: self.counts || other.counts,
            },
        }
    }

    /// The SQL function `aws_report_complaint_rank` says the same.
    fn rank(&self) -> u8 {
        if self.feedback_type.as_deref() == Some(NOT_SPAM) {
            return 1;
        }
        match self.sub_type.as_deref() {
            Some("OnAccountSuppressionList" | "OnTenantSuppressionList") => 2,
            _ => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(sub_type: Option<&str>, feedback_type: Option<&str>) -> Complaint {
        let owned = |text: &str| text.to_owned();
        Complaint {
            sub_type: sub_type.map(owned),
            feedback_type: feedback_type.map(owned),
            counts: true,
        }
    }

    #[test]
    fn a_complaint_of_a_person_beats_a_suppressed_mail_and_that_beats_its_opposite() {
        let real = complaint(None, None);
        let suppressed = complaint(Some("OnAccountSuppressionList"), None);
        let opposite = complaint(None, Some(NOT_SPAM));
        assert_eq!(suppressed.clone().stronger(real.clone()), real);
        assert_eq!(opposite.clone().stronger(real.clone()), real);
        assert_eq!(opposite.stronger(suppressed.clone()), suppressed);
    }
}
