//! Which dead letters a command is about.

use clap::Args;
use time::OffsetDateTime;
use uuid::Uuid;

use super::moment::Moment;
use crate::cli::connect::refused;
use crate::cli::exit::{Failure, USAGE, failed};
use crate::config::Wrong;
use crate::store::{Selection, Store};

/// The fewest digits by which an id may be given.
const FEWEST_DIGITS: usize = 4;

/// Filters.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Filters")]
pub(in crate::cli) struct Filters {
    /// Only dead letters whose reason begins with this text, such as "not JSON"
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Only dead letters whose source begins with this text: sqs:QUEUE, replay:FILE:LINE or baseline
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,

    /// Only dead letters stored at this time or later: 2026-11-20T10:00:00Z, 2026-11-20, or 2h or 7d
    /// for two hours or seven days ago
    #[arg(long, value_name = "TIME", value_parser = Moment::read)]
    since: Option<Moment>,

    /// Only dead letters stored before this time
    #[arg(long, value_name = "TIME", value_parser = Moment::read)]
    until: Option<Moment>,
}

impl Filters {
    /// What is selected, if there is any filter.
    pub(super) fn selection(&self, now: OffsetDateTime) -> Result<Option<Selection>, Wrong> {
        let time = |moment: Option<Moment>| moment.map(|moment| moment.before(now)).transpose();
        let selection = Selection {
            ids: None,
            reason: self.reason.clone(),
            source: self.source.clone(),
            since: time(self.since)?,
            until: time(self.until)?,
        };
        Ok(Some(selection).filter(|selection| *selection != Selection::default()))
    }
}

/// Ids, filters or all; never all because nothing was given.
#[derive(Debug, Args)]
pub(in crate::cli) struct Chosen {
    /// Whole ids, or their first four or more digits
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All dead letters
    #[arg(long)]
    pub(super) all: bool,
    #[command(flatten)]
    filters: Filters,
}

impl Chosen {
    /// What the flags select.
    pub(super) fn selection(&self, now: OffsetDateTime) -> Result<Selection, Failure> {
        let by_flags = self.filters.selection(now)?;
        let line = match (&by_flags, self.ids.is_empty(), self.all) {
            (None, true, false) => {
                "nothing is selected: give ids, a filter (--reason, --source, --since, --until) or --all"
            }
            (Some(_), true, true) | (_, false, true) => {
                "--all means every dead letter: leave out either --all or the ids and filters"
            }
            _ => return Ok(by_flags.unwrap_or_default()),
        };
        Err(Failure { code: USAGE, line: line.to_owned() })
    }

    /// The same, with the ids that were meant.
    pub(super) async fn resolve(
        &self,
        store: &Store,
        selection: Selection,
    ) -> Result<Selection, Failure> {
        let ids = if self.ids.is_empty() { None } else { Some(resolve(store, &self.ids).await?) };
        Ok(Selection { ids, ..selection })
    }
}

/// The one id that each of these texts is, or begins.
pub(super) async fn resolve(store: &Store, beginnings: &[String]) -> Result<Vec<Uuid>, Failure> {
    let mut ids = Vec::new();
    for text in beginnings {
        let usage = |says: &str| Failure { code: USAGE, line: format!("{text:?} {says}") };
        let (least, greatest) = range(text).ok_or_else(|| {
            usage("is neither an id nor the beginning of one: give at least four of its hexadecimal digits")
        })?;
        let found = store.dead_letters_between(least, greatest).await;
        match found.map_err(|error| refused(&error))?[..] {
            [] => return Err(failed(format!("there is no dead letter {text}"))),
            [id] => ids.push(id),
            _ => return Err(usage("is the beginning of several ids: give more digits")),
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The least and the greatest id that begin with these digits.
fn range(text: &str) -> Option<(Uuid, Uuid)> {
    let digits: String = text.chars().filter(|digit| *digit != '-').collect();
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_hex || !(FEWEST_DIGITS..=32).contains(&digits.len()) {
        return None;
    }
    let least = Uuid::try_parse(&format!("{digits:0<32}")).ok()?;
    let greatest = Uuid::try_parse(&format!("{digits:f<32}")).ok()?;
    Some((least, greatest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_may_be_cut_short() {
        let (least, greatest) = range("018F-1").expect("digits");
        assert_eq!(least.to_string(), "018f1000-0000-0000-0000-000000000000");
        assert_eq!(greatest.to_string(), "018f1fff-ffff-ffff-ffff-ffffffffffff");
        let whole = "018f1000-0000-8000-8000-000000000000";
        assert_eq!(range(whole).map(|(least, greatest)| least == greatest), Some(true));
        for bad in ["", "abc", "018g", "018f1000-0000-8000-8000-0000000000000"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
