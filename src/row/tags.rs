//! The message tags that a report keeps.

use std::collections::BTreeMap;

/// About what an entry of a map takes beside its texts.
const ENTRY_BYTES: usize = 96;

/// Message tags by name, each with one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags(pub BTreeMap<String, String>);

impl Tags {
    /// About what they take in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len() + ENTRY_BYTES).sum()
    }

    /// All tags of both; of two values of one tag the least by bytes. The SQL function
    /// `aws_report_tags_join` says the same.
    pub(super) fn joined(mut self, other: Self) -> Self {
        for (name, value) in other.0 {
            let held = self.0.entry(name).or_insert_with(|| value.clone());
            if value < *held {
                *held = value;
            }
        }
        self
    }

    /// As `jsonb` reads it.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A map of texts has no value that JSON lacks.
        serde_json::to_string(&self.0).unwrap_or_default()
    }
}
