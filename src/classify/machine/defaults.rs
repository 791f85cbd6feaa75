//! Our own rules, each with its source. The migrations insert the same rows, which a test compares.
//!
//! They are in the order of their priorities, which leave room for those of operators: 0 to 99 before ours,
//! and 1000 and above after them.

use super::{Class, Rule};

/// A rule of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRule {
    /// Its name.
    pub name: &'static str,
    /// Whether it is about opens.
    pub opens: bool,
    /// Whether it is about clicks.
    pub clicks: bool,
    /// What it looks at.
    pub kind: &'static str,
    /// What it compares that with.
    pub value: &'static str,
    /// What it says of an event that it matches.
    pub verdict: Class,
    /// The least is tried first.
    pub priority: i32,
    /// Where the fact is from, with the licence of a list.
    pub source: &'static str,
    /// When it was looked up.
    pub as_of: &'static str,
}

impl From<&DefaultRule> for Rule {
    fn from(rule: &DefaultRule) -> Self {
        Self {
            name: rule.name.to_owned(),
            opens: rule.opens,
            clicks: rule.clicks,
            kind: rule.kind.to_owned(),
            value: rule.value.to_owned(),
            verdict: rule.verdict,
            priority: rule.priority,
        }
    }
}

const AS_OF: &str = "2026-11-25";

const fn rule(
    priority: i32,
    name: &'static str,
    kind: &'static str,
    value: &'static str,
    verdict: Class,
    source: &'static str,
) -> DefaultRule {
    let (opens, clicks) = (true, true);
    DefaultRule { name, opens, clicks, kind, value, verdict, priority, source, as_of: AS_OF }
}

const fn of_opens(rule: DefaultRule) -> DefaultRule {
    DefaultRule { clicks: false, ..rule }
}

const fn of_clicks(rule: DefaultRule) -> DefaultRule {
    DefaultRule { opens: false, ..rule }
}

const fn scanner(name: &'static str, needle: &'static str) -> DefaultRule {
    rule(400, name, "user agent contains", needle, Class::Machine, SCANNERS)
}

const fn program(name: &'static str, needle: &'static str) -> DefaultRule {
    rule(400, name, "user agent starts with", needle, Class::Machine, SCANNERS)
}

const fn microsoft(name: &'static str, network: &'static str) -> DefaultRule {
    rule(500, name, "network", network, Class::Machine, MICROSOFT)
}

const fn barracuda(name: &'static str, network: &'static str) -> DefaultRule {
    rule(510, name, "network", network, Class::Machine, BARRACUDA)
}

const SES: &str = "Amazon SES, isBotEvent of open and click events, August 2026";
const APPLE: &str = "Mailgun's documentation of bot detection for opens (bot: apple); user agents of Apple Mail Privacy Protection";
const GOOGLE: &str =
    "Gmail fetches an image through its proxy when the mail is read; Amazon SES FAQ on metrics";
const YAHOO: &str = "help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html";
const SCANNERS: &str = "user agents that mail scanners and programs name themselves by; issues of putyourlightson/craft-campaign (546) and others";
const MICROSOFT: &str = "Microsoft 365 endpoints, sets 9 and 10 (mail filtering, no mailbox is read from there); list of warmbly/warmbly, Apache-2.0";
const BARRACUDA: &str =
    "Barracuda Email Gateway Defense, published ranges; list of warmbly/warmbly, Apache-2.0";
const DELAY: &str = "measured from our own Delivery; others take 1.5 to 60 s after sending";
const BURST: &str =
    "mautic/mautic issues 9798 and 16263: scanners follow all links of a mail within seconds";

/// The rules that a migration inserts.
pub const DEFAULTS: &[DefaultRule] = &[
    rule(100, "ses-bot-event", "bot event", "Likely", Class::Machine, SES),
    of_opens(rule(200, "apple-privacy-short", "user agent is", "Mozilla/5.0", Class::Proxy, APPLE)),
    of_opens(rule(
        200,
        "apple-privacy-webkit",
        "user agent ends with",
        "(KHTML, like Gecko)",
        Class::Proxy,
        APPLE,
    )),
    of_opens(rule(
        300,
        "gmail-image-proxy",
        "user agent contains",
        "GoogleImageProxy",
        Class::Human,
        GOOGLE,
    )),
    of_opens(rule(
        300,
        "yahoo-mail-proxy",
        "user agent contains",
        "YahooMailProxy",
        Class::Proxy,
        YAHOO,
    )),
    scanner("agent-barracuda", "Barracuda"),
    scanner("agent-bing-preview", "BingPreview"),
    program("agent-curl", "curl/"),
    scanner("agent-headless-chrome", "HeadlessChrome"),
    program("agent-go", "Go-http-client"),
    scanner("agent-mimecast", "Mimecast"),
    scanner("agent-office-discovery", "Microsoft Office Existence Discovery"),
    scanner("agent-proofpoint", "Proofpoint"),
    program("agent-python", "python-requests"),
    // A browser names itself. Of clicks that alone does not decide: a lost click costs more.
    of_opens(rule(400, "agent-none", "user agent is", "", Class::Machine, SCANNERS)),
    microsoft("microsoft-365-filter-1", "40.92.0.0/15"),
    microsoft("microsoft-365-filter-2", "40.107.0.0/16"),
    microsoft("microsoft-365-filter-3", "52.100.0.0/14"),
    microsoft("microsoft-365-filter-4", "52.238.78.88/32"),
    microsoft("microsoft-365-filter-5", "104.47.0.0/17"),
    microsoft("microsoft-365-filter-6", "2a01:111:f400::/48"),
    microsoft("microsoft-365-filter-7", "2a01:111:f403::/48"),
    barracuda("barracuda-filter-1", "3.24.133.128/25"),
    barracuda("barracuda-filter-2", "13.200.136.128/25"),
    barracuda("barracuda-filter-3", "15.222.16.128/25"),
    barracuda("barracuda-filter-4", "18.133.136.96/27"),
    barracuda("barracuda-filter-5", "18.133.136.128/26"),
    barracuda("barracuda-filter-6", "18.184.203.224/27"),
    barracuda("barracuda-filter-7", "18.185.115.192/26"),
    barracuda("barracuda-filter-8", "35.157.190.224/27"),
    barracuda("barracuda-filter-9", "35.176.92.96/27"),
    barracuda("barracuda-filter-10", "209.222.82.0/24"),
    // A scanner looks at a mail while it is delivered. Nobody opens a mail ten seconds after the server took
    // it who did not wait for it. One who did, for a sign-in link, may click within a few seconds: so clicks
    // have less time to be a machine's.
    of_opens(rule(600, "opened-at-once", "delay", "10", Class::Machine, DELAY)),
    of_clicks(rule(600, "clicked-at-once", "delay", "3", Class::Machine, DELAY)),
    of_clicks(rule(700, "two-links-at-once", "burst", "2 in 1", Class::Machine, BURST)),
    of_clicks(rule(700, "three-links-together", "burst", "3 in 10", Class::Machine, BURST)),
];
