//! All opens and clicks of one report, each judged with the others in sight.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use time::{Duration, OffsetDateTime};

use super::rule::Circumstance;
use super::{Class, Interaction, MachineRules, Signals};

/// An open or a click of a report.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Which of the two.
    pub interaction: Interaction,
    /// The event's own clock.
    pub at: OffsetDateTime,
    /// What it says about who made it.
    pub signals: Signals<'a>,
    /// The link that was clicked; empty where it is not known.
    pub link: &'a str,
}

/// What an event is, and by which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<'r> {
    /// What it is.
    pub class: Class,
    /// The rule that says so; `None` where none does, which makes it a person's.
    pub rule: Option<&'r str>,
}

impl MachineRules {
    /// Judges the opens and clicks of one report, which was delivered at `delivery_at`. The verdicts are in
    /// the order of the events, and depend on neither that order nor on duplicates.
    #[must_use]
    pub fn judge(
        &self,
        delivery_at: Option<OffsetDateTime>,
        events: &[Event<'_>],
    ) -> Vec<Verdict<'_>> {
        let mut bursts = Bursts { clicks: Vec::new(), found: Vec::new() };
        let verdicts = events.iter().enumerate().map(|(index, event)| {
            if let Some(rule) = self.first_match(event.interaction, event.signals) {
                return Verdict { class: rule.class, rule: Some(&rule.name) };
            }
            let mut rules = self.circumstances[event.interaction.index()].iter();
            let rule = rules.find(|rule| match rule.condition {
                Circumstance::Delay(delay) => delivery_at.is_some_and(|delivered| {
                    delivered.checked_add(delay).is_some_and(|until| event.at < until)
                }),
                Circumstance::Burst { links, within } => {
                    bursts.of(events, links, within).get(index) == Some(&true)
                }
            });
            rule.map_or(Verdict { class: Class::Human, rule: None }, |rule| Verdict {
                class: rule.class,
                rule: Some(&rule.name),
            })
        });
        verdicts.collect()
    }
}

/// Which events are part of a burst, each kind of burst looked for once and only when asked for.
struct Bursts {
    /// The clicks whose links are known, by time.
    clicks: Vec<usize>,
    found: Vec<((usize, Duration), Vec<bool>)>,
}

impl Bursts {
    fn of(&mut self, events: &[Event<'_>], links: usize, within: Duration) -> &[bool] {
        let known = self.found.iter().position(|(burst, _)| *burst == (links, within));
        let index = known.unwrap_or_else(|| {
            if self.clicks.is_empty() {
                self.clicks = in_order(events);
            }
            self.found.push(((links, within), members(events, &self.clicks, links, within)));
            self.found.len() - 1
        });
        &self.found[index].1
    }
}

fn in_order(events: &[Event<'_>]) -> Vec<usize> {
    let is_click =
        |event: &Event<'_>| event.interaction == Interaction::Click && !event.link.is_empty();
    let mut clicks: Vec<usize> =
        (0..events.len()).filter(|index| is_click(&events[*index])).collect();
    clicks.sort_by_key(|index| events[*index].at);
    clicks
}

/// Whether each event is within some window of that length in which so many different links were clicked.
/// The window moves over the clicks once.
fn members(events: &[Event<'_>], clicks: &[usize], links: usize, within: Duration) -> Vec<bool> {
    let mut members = vec![false; events.len()];
    let mut in_window: HashMap<&str, usize> = HashMap::new();
    // Clicks before `marked` that belong to a burst are marked already.
    let (mut first, mut marked) = (0, 0);
    for last in 0..clicks.len() {
        let event = &events[clicks[last]];
        *in_window.entry(event.link).or_default() += 1;
        while event.at - events[clicks[first]].at > within {
            if let Entry::Occupied(mut count) = in_window.entry(events[clicks[first]].link) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
            first += 1;
        }
        if in_window.len() >= links {
            for click in &clicks[first.max(marked)..=last] {
                members[*click] = true;
            }
            marked = last + 1;
        }
    }
    members
}
