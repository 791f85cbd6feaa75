//! The report types that are known to be in the table, so that a batch need not write them again.

use std::borrow::Borrow;
use std::collections::HashSet;

/// Most ids that are remembered. There are as many types as there are kinds of mail; a tag whose value
/// is another one with each mail must not fill the memory.
const MOST: usize = 10_000;

/// Ids of rows of `aws_report_type` that this process has seen committed.
#[derive(Debug, Default)]
pub(super) struct ReportTypes {
    ids: HashSet<i64>,
    has_warned: bool,
}

impl ReportTypes {
    pub(super) fn contains(&self, id: i64) -> bool {
        self.ids.contains(&id)
    }

    /// Remembers types that were committed. When there are too many it forgets all of them, which costs
    /// no more than writing them again, and warns the first time.
    pub(super) fn extend(&mut self, ids: impl IntoIterator<Item = impl Borrow<i64>>) {
        self.ids.extend(ids.into_iter().map(|id| *id.borrow()));
        if self.ids.len() <= MOST {
            return;
        }
        self.ids.clear();
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                "more than {MOST} report types: REPORT_TYPE_TAG should name a tag with a value for each kind of mail, not for each mail"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_before_it_grows_without_end() {
        let mut types = ReportTypes::default();
        let most = i64::try_from(MOST).expect("it is small");
        types.extend(0..most);
        assert!(types.contains(0) && types.contains(most - 1));
        // What is known already is not one more.
        types.extend([0_i64, 1]);
        assert!(types.contains(0) && !types.has_warned);
        types.extend([most]);
        assert!(!types.contains(0) && types.ids.is_empty() && types.has_warned);
        types.extend([7_i64]);
        assert!(types.contains(7));
    }
}
