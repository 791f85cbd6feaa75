//! Whom an event concerns.

use std::collections::HashSet;

use super::address;
use super::json::Json;
use super::outcome::{Reason, Rejection};
use crate::row::EventRow;

/// More recipients than rows fit into [`super::MOST_BYTES`], whatever they are called. SES takes 50.
const MOST_RECIPIENTS: usize = super::MOST_BYTES / size_of::<EventRow>();

/// Whom an event concerns.
#[derive(Default)]
pub(super) struct Recipients<'a> {
    /// Each once.
    pub(super) named: Vec<Recipient<'a>>,
    /// Entries of the event's list that name nobody, or somebody again.
    pub(super) left_over: Vec<Json<'a>>,
    /// Whether the event leaves open which of them it concerns.
    pub(super) ambiguous: bool,
}

/// A recipient and the entry of the event's list that names it.
pub(super) struct Recipient<'a> {
    pub(super) address: String,
    pub(super) as_sent: String,
    /// If it is an object.
    pub(super) entry: Option<Json<'a>>,
}

impl<'a> Recipients<'a> {
    /// Reads a list: entries are strings or objects with `emailAddress`.
    pub(super) fn of(list: Json<'a>) -> Result<Self, Rejection> {
        let entries = list.as_array().unwrap_or_else(|| vec![list]);
        let mut found = Self::default();
        let mut seen = HashSet::new();
        for entry in entries {
            let text = entry
                .as_object()
                .map_or_else(|| entry.as_str(), |fields| fields.non_empty_str("emailAddress"));
            let mut is_taken = false;
            for as_sent in text.as_deref().into_iter().flat_map(address::split) {
                if let Some(address) = address::normalise(as_sent)
                    && seen.insert(address.clone())
                {
                    is_taken = true;
                    if found.named.len() >= MOST_RECIPIENTS {
                        let detail = format!("more than {MOST_RECIPIENTS} recipients");
                        return Err(Rejection::new(Reason::TooLarge, detail));
                    }
                    found.named.push(Recipient {
                        address,
                        as_sent: as_sent.trim().to_owned(),
                        entry: Some(entry).filter(|entry| entry.is_object()),
                    });
                }
            }
            if !is_taken && !entry.is_null() {
                found.left_over.push(entry);
            }
        }
        Ok(found)
    }
}
