//! Who opened or clicked: a person, a proxy that fetches for one, or a machine.
//!
//! Rules about the event alone ([`MachineRules::classify`]) decide first; decode applies them to each
//! event. An event that none of them matches is judged by its circumstances ([`MachineRules::judge`]): how
//! soon after the delivery it came, and what else was clicked with it. That needs all events of a report, so
//! it is done after they are written. `docs/machines.md` explains the rules to operators.

mod defaults;
mod judge;
mod rule;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::net::IpAddr;

use sha2::{Digest as _, Sha256};
use time::Duration;

pub use defaults::{DEFAULTS, DefaultRule};
pub use judge::{Event, Verdict};
use rule::{Circumstance, Condition, OfEvent};
pub use rule::{Class, Interaction, Rule};

/// What an open or a click says about who made it. Empty where it says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signals<'a> {
    /// `isBotEvent`: `Likely` or `Unlikely`, since August 2026.
    pub is_bot_event: &'a str,
    /// `userAgent`.
    pub user_agent: &'a str,
    /// `ipAddress`.
    pub ip_address: &'a str,
}

/// Rules in the order in which they are tried, ready for use.
#[derive(Debug, Clone)]
pub struct MachineRules {
    /// About the event alone, by [`Interaction`].
    of_event: [Vec<Named<OfEvent>>; 2],
    /// About its circumstances, by [`Interaction`].
    circumstances: [Vec<Named<Circumstance>>; 2],
    version: String,
}

/// A rule's condition, with its name and what it says.
#[derive(Debug, Clone)]
struct Named<C> {
    condition: C,
    class: Class,
    name: String,
}

impl Default for MachineRules {
    /// Those that the migrations insert.
    fn default() -> Self {
        Self::new(DEFAULTS.iter().map(Rule::from)).0
    }
}

impl MachineRules {
    /// Prepares rules, and names those that cannot be understood, which are left out. The order in which
    /// they are given does not matter: they are tried by priority, and by name where that is equal.
    pub(crate) fn new(rules: impl IntoIterator<Item = Rule>) -> (Self, Vec<String>) {
        let mut rules: Vec<Rule> = rules.into_iter().collect();
        rules.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
        let mut made = Self {
            of_event: Default::default(),
            circumstances: Default::default(),
            version: version(&rules),
        };
        let mut unusable = Vec::new();
        for rule in rules {
            let Some(condition) = Condition::read(&rule.kind, &rule.value) else {
                unusable.push(rule.name);
                continue;
            };
            for interaction in [Interaction::Open, Interaction::Click] {
                if !rule.is_about(interaction) {
                    continue;
                }
                let (class, name) = (rule.verdict, rule.name.clone());
                match condition.clone() {
                    Condition::OfEvent(condition) => {
                        made.of_event[interaction.index()].push(Named { condition, class, name });
                    }
                    Condition::Circumstance(condition) => {
                        made.circumstances[interaction.index()].push(Named {
                            condition,
                            class,
                            name,
                        });
                    }
                }
            }
        }
        (made, unusable)
    }

    /// What an event is by itself: what the first rule about it says, else a person's. No rule is about an
    /// event that says nothing about who made it.
    #[must_use]
    pub(crate) fn classify(&self, interaction: Interaction, signals: Signals<'_>) -> Class {
        self.first_match(interaction, signals).map_or(Class::Human, |rule| rule.class)
    }

    fn first_match(
        &self,
        interaction: Interaction,
        signals: Signals<'_>,
    ) -> Option<&Named<OfEvent>> {
        // Such as one from a table that was created by hand.
        if signals == Signals::default() {
            return None;
        }
        let user_agent = signals.user_agent.to_ascii_lowercase();
        let address = OnceCell::new();
        let address = || {
            *address.get_or_init(|| {
                signals.ip_address.parse().ok().map(|address: IpAddr| address.to_canonical())
            })
        };
        self.of_event[interaction.index()].iter().find(|rule| match &rule.condition {
            OfEvent::BotEvent(value) => signals.is_bot_event.eq_ignore_ascii_case(value),
            OfEvent::UserAgentIs(value) => user_agent == *value,
            OfEvent::UserAgentContains(value) => value.find(user_agent.as_bytes()).is_some(),
            OfEvent::UserAgentStartsWith(value) => user_agent.starts_with(value),
            OfEvent::UserAgentEndsWith(value) => user_agent.ends_with(value),
            OfEvent::Network(network) => {
                address().is_some_and(|address| network.contains(&address))
            }
        })
    }

    /// The longest delay after a delivery within which an event of this kind may be a machine's for being
    /// so early; zero where no rule looks at that.
    #[must_use]
    pub(crate) fn longest_delay(&self, interaction: Interaction) -> Duration {
        let rules = self.circumstances[interaction.index()].iter();
        let delays = rules.filter_map(|rule| match rule.condition {
            Circumstance::Delay(delay) => Some(delay),
            Circumstance::Burst { .. } => None,
        });
        delays.max().unwrap_or(Duration::ZERO)
    }

    /// Names these rules: equal for those that say the same.
    #[must_use]
    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

/// A hash of what rules say, in their order.
fn version(rules: &[Rule]) -> String {
    let mut hash = Sha256::new();
    for rule in rules {
        let about = [rule.opens, rule.clicks].map(|is_about| if is_about { "1" } else { "0" });
        let priority = rule.priority.to_string();
        for part in [
            &*rule.name,
            about[0],
            about[1],
            &*rule.kind,
            &*rule.value,
            rule.verdict.as_str(),
            &*priority,
        ] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
    }
    let hash =
        hash.finalize().iter().take(8).fold(0, |hash: u64, byte| (hash << 8) | u64::from(*byte));
    format!("{hash:016x}")
}
