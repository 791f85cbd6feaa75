//! A rule: as the table holds it, and as it is applied.

use std::net::IpAddr;

use ipnet::IpNet;
use memchr::memmem::Finder;
use time::Duration;

/// Who made an open or a click.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A person, as far as can be told.
    Human,
    /// A mailbox provider's proxy that fetches images whether somebody reads the mail or not: it says
    /// that the mail has arrived, and no more.
    Proxy,
    /// A scanner, a filter or a preview.
    Machine,
}

/// What a rule may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interaction {
    /// The image of a mail was fetched.
    Open,
    /// A link was followed.
    Click,
}

/// A rule as the table `aws_report_machine_rule` holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which is unique.
    pub name: String,
    /// Whether it is about opens.
    pub opens: bool,
    /// Whether it is about clicks.
    pub clicks: bool,
    /// What it looks at.
    pub kind: String,
    /// What it compares that with.
    pub value: String,
    /// What it says of an event that it matches.
    pub verdict: Class,
    /// The least is tried first.
    pub priority: i32,
}

/// What an event must be for a rule to match it.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    OfEvent(OfEvent),
    Circumstance(Circumstance),
}

/// Told by the event alone. Texts are in lower case.
#[derive(Debug, Clone)]
pub(super) enum OfEvent {
    BotEvent(String),
    UserAgentIs(String),
    UserAgentContains(Box<Finder<'static>>),
    UserAgentStartsWith(String),
    UserAgentEndsWith(String),
    Network(IpNet),
}

/// Told by the other events of its report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Circumstance {
    /// It came sooner than that after the delivery.
    Delay(Duration),
    /// So many different links of the message were clicked within that time, this one among them.
    Burst { links: usize, within: Duration },
}

impl Class {
    /// As the columns hold it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Proxy => "proxy",
            Self::Machine => "machine",
        }
    }

    /// What a column holds.
    #[must_use]
    pub(crate) fn read(text: &str) -> Option<Self> {
        [Self::Human, Self::Proxy, Self::Machine].into_iter().find(|class| class.as_str() == text)
    }
}

impl Interaction {
    /// The kind of an event by its type, as SES spells it.
    #[must_use]
    pub(crate) fn of_event_type(event_type: &str) -> Option<Self> {
        match event_type {
            "Open" => Some(Self::Open),
            "Click" => Some(Self::Click),
            _ => None,
        }
    }

    pub(super) fn index(self) -> usize {
        match self {
            Self::Open => 0,
            Self::Click => 1,
        }
    }
}

impl Rule {
    pub(super) fn is_about(&self, interaction: Interaction) -> bool {
        match interaction {
            Interaction::Open => self.opens,
            Interaction::Click => self.clicks,
        }
    }
}

impl Condition {
    /// Reads the kind and the value of a rule. A constraint of the table refuses what this does not
    /// understand, unless a newer program has added it.
    pub(super) fn read(kind: &str, value: &str) -> Option<Self> {
        let text = value.to_ascii_lowercase();
        // An empty needle would match everything.
        let needle = Some(&text).filter(|text| !text.is_empty());
        Some(Self::OfEvent(match kind {
            "bot event" => OfEvent::BotEvent(needle?.clone()),
            "user agent is" => OfEvent::UserAgentIs(text),
            "user agent contains" => {
                OfEvent::UserAgentContains(Box::new(Finder::new(needle?).into_owned()))
            }
            "user agent starts with" => OfEvent::UserAgentStartsWith(needle?.clone()),
            "user agent ends with" => OfEvent::UserAgentEndsWith(needle?.clone()),
            "network" => OfEvent::Network(network(value)?),
            "delay" => return Some(Self::Circumstance(Circumstance::Delay(seconds(value)?))),
            "burst" => {
                let (links, within) = value.split_once(" in ")?;
                let links = links.parse().ok().filter(|links| *links >= 2)?;
                let burst = Circumstance::Burst { links, within: seconds(within)? };
                return Some(Self::Circumstance(burst));
            }
            _ => return None,
        }))
    }
}

/// A network, or a single address.
fn network(value: &str) -> Option<IpNet> {
    let of_address = || value.parse::<IpAddr>().ok().map(IpNet::from);
    value.parse::<IpNet>().ok().or_else(of_address)
}

fn seconds(value: &str) -> Option<Duration> {
    value.parse::<u32>().ok().map(|seconds| Duration::seconds(seconds.into()))
}
