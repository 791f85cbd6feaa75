//! Whom an event concerns: the entries of its own list, matched with those to whom the mail was sent.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::address;
use super::auto_reply::says_nothing;
use super::json::Json;
use super::kind::Kind;
use super::outcome::{Reason, Rejection};
use crate::row::{EventRow, Milestone};

/// More recipients than rows fit into [`super::MOST_BYTES`], whatever they are called. SES takes 50.
const MOST_RECIPIENTS: usize = super::MOST_BYTES / size_of::<EventRow>();
/// More destinations are not looked for inside of what an event names.
const MOST_LOOKED_FOR: usize = 100;

/// Which recipients an event concerns.
#[derive(Default)]
pub(super) struct Recipients<'a> {
    /// Each once.
    pub(super) named: Vec<Recipient<'a>>,
    /// Entries of the event's list that name no recipient, or repeat one.
    pub(super) left_over: Vec<Json<'a>>,
}

/// A recipient and the entry of a list that names it.
#[derive(Clone)]
pub(super) struct Recipient<'a> {
    pub(super) address: String,
    /// Shared, as `named` is: an entry as long as the body may concern thousands.
    pub(super) as_sent: Rc<str>,
    pub(super) entry: Option<Json<'a>>,
    /// The address that the event names, if that is not the recipient's own.
    pub(super) named: Option<Rc<str>>,
    /// Whether it is one of several whom the event may concern.
    pub(super) ambiguous: bool,
    /// Whether its report counts the event: of several whom it may concern, the first by address does.
    pub(super) counts_event: bool,
    /// Whether its report counts the message: of all destinations, the first by address does. `None` where
    /// there is no other.
    pub(super) counts_message: Option<bool>,
}

impl Recipient<'_> {
    /// Whether it has an entry, and that quotes nothing of a delivery report.
    pub(super) fn has_no_report(&self) -> bool {
        self.entry.and_then(Json::as_object).is_some_and(|entry| says_nothing(&entry))
    }
}

impl<'a> Recipients<'a> {
    /// Whom an event of a kind concerns that has a list of its own, about a mail to destinations.
    pub(super) fn of_event(
        kind: &Kind,
        list: Option<Json<'a>>,
        destination: Option<Json<'a>>,
    ) -> Result<Self, Rejection> {
        let read = |list: Option<Json<'a>>| list.map_or_else(|| Ok(Self::default()), Self::of);
        let (listed, sent_to) = (read(list)?, read(destination)?);
        let destinations = sent_to.named.len();
        let first_destination = sent_to.first_by_address().map(str::to_owned);
        let mut found = if listed.named.is_empty() {
            let may_be_any = kind.recipients_key().is_some() || names_nobody(kind);
            let mut found = Self { named: sent_to.named, left_over: listed.left_over };
            let ambiguous = may_be_any && found.named.len() > 1;
            found.named.iter_mut().for_each(|one| one.ambiguous = ambiguous);
            found
        } else if sent_to.named.is_empty() {
            listed
        } else {
            listed.matched(&sent_to.named)
        };
        // SES lists all who may have complained.
        if *kind == Kind::Known(Milestone::Complaint) && found.named.len() > 1 {
            found.named.iter_mut().for_each(|one| one.ambiguous = true);
        }
        found.choose_who_counts(destinations, first_destination);
        Ok(found)
    }

    /// The address that comes first by bytes.
    fn first_by_address(&self) -> Option<&str> {
        self.named.iter().map(|one| &*one.address).min()
    }

    /// An event that may concern several, and a message to several, are each counted by one report. Which
    /// one does not depend on the order of events, because each of them names all destinations.
    fn choose_who_counts(&mut self, destinations: usize, first_destination: Option<String>) {
        if self.named.len() > 1 {
            let candidates = self.named.iter().filter(|one| one.ambiguous);
            if let Some(first) = candidates.map(|one| one.address.clone()).min() {
                for one in self.named.iter_mut().filter(|one| one.ambiguous) {
                    one.counts_event = one.address == first;
                }
            }
        }
        // A message to one recipient is counted by its only report, which need not say so.
        if destinations.max(self.named.len()) > 1 {
            let first = first_destination.or_else(|| self.first_by_address().map(str::to_owned));
            for one in &mut self.named {
                one.counts_message = first.as_ref().map(|first| one.address == *first);
            }
        }
    }

    /// Reads a list: entries are strings or objects with `emailAddress`.
    fn of(list: Json<'a>) -> Result<Self, Rejection> {
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
                        as_sent: as_sent.trim().into(),
                        entry: Some(entry),
                        named: None,
                        ambiguous: false,
                        counts_event: true,
                        counts_message: None,
                    });
                }
            }
            if !is_taken && !entry.is_null() {
                found.left_over.push(entry);
            }
        }
        Ok(found)
    }

    /// The destinations that the entries mean. Only they prove that a mail was sent: a server that
    /// forwards it, or a list that passes it on, reports about addresses that SES never sent to.
    fn matched(self, sent_to: &[Recipient<'a>]) -> Self {
        let places: HashMap<&str, usize> =
            sent_to.iter().enumerate().map(|(place, one)| (&*one.address, place)).collect();
        let mut is_taken = vec![false; sent_to.len()];
        let mut found = Self { named: Vec::new(), left_over: self.left_over };
        // The same address first: an entry that only resembles it must not take its place.
        let (same, others): (Vec<_>, Vec<_>) = self
            .named
            .into_iter()
            .map(|entry| (places.get(&*entry.address).copied(), entry))
            .partition(|(place, _)| place.is_some());
        for (place, entry) in same {
            is_taken[place.unwrap_or_default()] = true;
            found.named.push(entry);
        }
        let mut unknown = Vec::new();
        for (_, entry) in others {
            match resembled(&entry, sent_to) {
                Some(place) if !is_taken[place] => {
                    is_taken[place] = true;
                    let address = sent_to[place].address.clone();
                    found.named.push(Recipient { address, ..entry });
                }
                Some(_) => found.left_over.extend(entry.entry),
                None => unknown.push(entry),
            }
        }
        found.add_unknown(unknown, sent_to, &is_taken);
        found
    }

    /// Entries that name none of the destinations concern one of those that no other entry names.
    fn add_unknown(
        &mut self,
        mut unknown: Vec<Recipient<'a>>,
        sent_to: &[Recipient<'a>],
        is_taken: &[bool],
    ) {
        let candidates = || sent_to.iter().zip(is_taken).filter(|(_, is_taken)| !**is_taken);
        let count = candidates().count();
        if unknown.is_empty() || count == 0 {
            self.left_over.extend(unknown.into_iter().filter_map(|entry| entry.entry));
            return;
        }
        // What more than one entry says is said by none of the rows alone.
        let only = if unknown.len() == 1 { unknown.pop() } else { None };
        let name: Rc<str> = only.as_ref().map_or("", |entry| &*entry.address).into();
        for (candidate, _) in candidates() {
            let mut one = candidate.clone();
            one.ambiguous = count > 1;
            one.entry = None;
            if let Some(entry) = &only {
                one.entry = entry.entry;
                one.named = Some(Rc::clone(&name));
                one.as_sent = Rc::clone(&entry.as_sent);
            }
            self.named.push(one);
        }
        self.left_over.extend(unknown.into_iter().filter_map(|entry| entry.entry));
    }
}

/// Opens and clicks do not say who opened or clicked.
fn names_nobody(kind: &Kind) -> bool {
    matches!(kind, Kind::Known(Milestone::Open | Milestone::Click))
}

/// The only destination that an entry holds in another spelling: without its quotes, or among other
/// words.
fn resembled(entry: &Recipient<'_>, sent_to: &[Recipient<'_>]) -> Option<usize> {
    if sent_to.len() > MOST_LOOKED_FOR {
        return None;
    }
    let text = entry.as_sent.to_lowercase();
    let bare = without_quotes(&entry.address);
    let mut places = sent_to
        .iter()
        .enumerate()
        .filter(|(_, one)| without_quotes(&one.address) == bare || holds(&text, &one.address));
    let (place, _) = places.next()?;
    places.next().is_none().then_some(place)
}

fn without_quotes(address: &str) -> String {
    address.replace(['"', '\\', '\''], "")
}

/// Whether a text contains an address, and not only the end or the beginning of another one.
fn holds(text: &str, address: &str) -> bool {
    text.match_indices(address).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let mut after = text[at + address.len()..].chars();
        let (first, second) = (after.next(), after.next());
        let begins =
            before.is_none_or(|c| !c.is_alphanumeric() && !"!#$%&*+-/=?^_`{|}~.@".contains(c));
        let ends = match first {
            Some('.') => !second.is_some_and(char::is_alphanumeric),
            Some(c) => !c.is_alphanumeric() && c != '-' && c != '@',
            None => true,
        };
        begins && ends
    })
}
