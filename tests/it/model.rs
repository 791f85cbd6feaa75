//! The core of the pipeline against a model of everything around it: a queue whose messages come
//! several times, deletes that are lost, commits of which nobody knows, crashes, a clock that steps.
//!
//! Real are [`decode`], [`Columns`] and the fold of [`ReportRow`]; the queue, the tables and the
//! worker's order of work are modelled. What must hold is computed from the facts that were drawn.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use ses_reports::batch::{Columns, Kept};
use ses_reports::decode::{Outcome, Rules, decode};
use ses_reports::row::{EventRow, ReportRow};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::support::event::{event, in_sns, mail, message_id};

const NOW: OffsetDateTime = datetime!(2026-11-21 12:00:00 UTC);
const PEOPLE: [&str; 3] = ["a@example.com", "b@example.com", "c@example.com"];

/// Something that happened once, and that messages tell of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Fact {
    mail: u64,
    kind: usize,
    second: u8,
}

impl Fact {
    const KINDS: [(&'static str, &'static str); 5] = [
        ("Send", "send"),
        ("Delivery", "delivery"),
        ("Bounce", "bounce"),
        ("Open", "open"),
        ("Click", "click"),
    ];

    fn name(&self) -> &'static str {
        Self::KINDS[self.kind].0
    }

    /// One mail has one recipient, the next two, the next three.
    fn recipients(&self) -> &'static [&'static str] {
        &PEOPLE[..=usize::try_from(self.mail).expect("few") % PEOPLE.len()]
    }

    /// What it leaves in the detail table; a send has no time of its own.
    fn rows(&self) -> impl Iterator<Item = (String, &'static str, &'static str, u8)> {
        let second = if self.kind == 0 { 0 } else { self.second };
        let row = move |to: &&'static str| (message_id(self.mail), *to, self.name(), second);
        self.recipients().iter().map(row)
    }

    fn body(&self, copy: u32) -> String {
        let to = self.recipients();
        let bounced: Vec<_> = to.iter().map(|one| json!({"emailAddress": one})).collect();
        let own = json!({
            "timestamp": format!("2026-11-20T11:00:{:02}.000Z", self.second), "recipients": to,
            "feedbackId": format!("f-{}-{}", self.mail, self.second), "bounceType": "Permanent",
            "bouncedRecipients": bounced, "link": "https://shop.example",
        });
        let (name, key) = Self::KINDS[self.kind];
        let own = if self.kind == 0 { json!({}) } else { own };
        in_sns(&event(name, key, own, mail(&message_id(self.mail), to)), &copy.to_string())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    Answered,
    RolledBack,
    /// The connection is gone; it is committed or it is not.
    Unknown(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delete {
    Answered,
    /// Carried out or not; the worker asks again.
    AnswerLost(bool),
    /// Answered as if it were carried out.
    Ignored,
}

#[derive(Debug, Clone)]
enum Step {
    Receive(usize),
    Write(usize, Commit),
    Delete(usize, Delete),
    /// A message becomes visible though somebody holds it.
    Expire(Index),
    Crash,
    /// The clock steps to so many hours before or after it was right.
    Clock(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let commit = prop_oneof![
        3 => Just(Commit::Answered),
        1 => Just(Commit::RolledBack),
        2 => any::<bool>().prop_map(Commit::Unknown),
    ];
    let delete = prop_oneof![
        3 => Just(Delete::Answered),
        2 => any::<bool>().prop_map(Delete::AnswerLost),
        1 => Just(Delete::Ignored),
    ];
    prop_oneof![
        4 => (1_usize..6).prop_map(Step::Receive),
        4 => (1_usize..8, commit).prop_map(|(most, commit)| Step::Write(most, commit)),
        4 => (1_usize..6, delete).prop_map(|(most, delete)| Step::Delete(most, delete)),
        3 => any::<Index>().prop_map(Step::Expire),
        1 => Just(Step::Crash),
        1 => (-60_i64..60).prop_map(Step::Clock),
    ]
}

fn facts() -> impl Strategy<Value = Vec<Fact>> {
    let fact = (0_u64..4, 0..Fact::KINDS.len(), 0_u8..3).prop_map(|(mail, kind, second)| Fact {
        mail,
        kind,
        second,
    });
    proptest::collection::vec(fact, 1..25)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Visible,
    InFlight,
    Deleted,
}

#[derive(Debug, Default)]
struct Tables {
    details: BTreeMap<(Uuid, Uuid), (String, String, String, u8)>,
    reports: BTreeMap<Uuid, ReportRow>,
    /// Opens and clicks.
    counters: BTreeMap<Uuid, [usize; 2]>,
}

impl Tables {
    /// What `write.sql` says.
    fn commit(&mut self, columns: Columns<'_>) {
        for row in columns.details {
            let key = (row.report.id, row.detail.id);
            let second =
                if row.detail.event_type == "Send" { 0 } else { row.detail.timestamp.second() };
            let detail = (
                row.message_id.clone(),
                row.recipient.clone(),
                row.detail.event_type.clone(),
                second,
            );
            if self.details.insert(key, detail).is_none() {
                let counters = self.counters.entry(row.report.id).or_default();
                counters[0] += usize::from(row.detail.event_type == "Open");
                counters[1] += usize::from(row.detail.event_type == "Click");
            }
        }
        for report in columns.reports.into_iter().map(Cow::into_owned) {
            self.fold(report);
        }
    }

    fn fold(&mut self, report: ReportRow) {
        match self.reports.get_mut(&report.id) {
            Some(held) => held.merge(report),
            None => drop(self.reports.insert(report.id, report)),
        }
    }
}

struct World {
    /// Fact, place, and how often it was received: a handle is good for the last receive.
    messages: Vec<(Fact, Place, u32)>,
    tables: Tables,
    now: OffsetDateTime,
    /// Received and not written: message, receive, rows.
    held: Vec<(usize, u32, Vec<EventRow>)>,
    /// Written and not deleted.
    written: Vec<(usize, u32)>,
}

impl World {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Receive(most) => {
                for (index, (fact, place, received)) in self.messages.iter_mut().enumerate() {
                    if *place == Place::Visible && self.held.len() < *most {
                        *place = Place::InFlight;
                        *received += 1;
                        let body = fact.body(*received);
                        match decode(&body, Some("sqs"), &Rules::default(), self.now) {
                            Outcome::Events(rows) => self.held.push((index, *received, rows)),
                            other => panic!("{fact:?} becomes {other:?}"),
                        }
                    }
                }
            }
            Step::Write(most, commit) => {
                let part = ..self.held.len().min(*most);
                let rows = self.held[part].iter().flat_map(|(_, _, rows)| rows);
                if matches!(commit, Commit::Answered | Commit::Unknown(true)) {
                    self.tables.commit(Columns::of(rows, Kept::default()));
                }
                if *commit == Commit::Answered {
                    let done = self.held.drain(part);
                    self.written.extend(done.map(|(index, receive, _)| (index, receive)));
                }
            }
            Step::Delete(most, delete) => {
                let part = ..self.written.len().min(*most);
                for (index, receive) in &self.written[part] {
                    let (_, place, received) = &mut self.messages[*index];
                    if matches!(delete, Delete::Answered | Delete::AnswerLost(true))
                        && receive == received
                    {
                        *place = Place::Deleted;
                    }
                }
                if !matches!(delete, Delete::AnswerLost(_)) {
                    self.written.drain(part);
                }
            }
            Step::Expire(which) => {
                let length = self.messages.len();
                let (_, place, _) = &mut self.messages[which.index(length)];
                if *place == Place::InFlight {
                    *place = Place::Visible;
                }
            }
            Step::Crash => {
                self.held.clear();
                self.written.clear();
            }
            Step::Clock(hours) => self.now = NOW + Duration::hours(*hours),
        }
    }

    fn expire_all(&mut self) {
        for (_, place, _) in &mut self.messages {
            if *place == Place::InFlight {
                *place = Place::Visible;
            }
        }
    }

    fn rows_of(&self, fact: &Fact) -> bool {
        let held: BTreeSet<_> = self.tables.details.values().collect();
        fact.rows().all(|(id, to, name, second)| {
            held.contains(&(id, to.to_owned(), name.to_owned(), second))
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_order_of_faults_loses_or_doubles_an_event(
        facts in facts(), steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut world = World {
            messages: facts.iter().map(|fact| (fact.clone(), Place::Visible, 0)).collect(),
            tables: Tables::default(),
            now: NOW,
            held: Vec::new(),
            written: Vec::new(),
        };
        for step in &steps {
            world.take(step);
            for (fact, place, _) in &world.messages {
                prop_assert!(*place != Place::Deleted || world.rows_of(fact), "{fact:?} was deleted before its commit");
            }
        }
        // Then all goes well, in the end.
        world.now = NOW;
        world.take(&Step::Crash);
        world.expire_all();
        for step in [Step::Receive(usize::MAX), Step::Write(usize::MAX, Commit::Answered), Step::Delete(usize::MAX, Delete::Answered)] {
            world.take(&step);
        }
        prop_assert!(world.messages.iter().all(|(_, place, _)| *place == Place::Deleted), "nothing is in flight for ever");

        let expected: BTreeSet<_> = facts.iter().flat_map(Fact::rows).collect();
        let found: Vec<_> = world.tables.details.values().map(|(id, to, name, second)| (id.clone(), to.as_str(), name.as_str(), *second)).collect();
        prop_assert_eq!(found.len(), expected.len());
        prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected.clone());
        for report in world.tables.reports.values() {
            let count = |wanted: &str| expected.iter().filter(|(id, to, name, _)| *id == report.message_id && *to == report.user_email && *name == wanted).count();
            let counters = world.tables.counters.get(&report.id).copied().unwrap_or_default();
            prop_assert_eq!(counters, [count("Open"), count("Click")]);
        }
        let mut once = Tables::default();
        for fact in facts.iter().collect::<BTreeSet<_>>() {
            if let Outcome::Events(rows) = decode(&fact.body(0), None, &Rules::default(), world.now) {
                for row in rows {
                    once.fold(row.report);
                }
            }
        }
        prop_assert_eq!(world.tables.reports, once.reports, "the fold of each fact once");
    }
}
