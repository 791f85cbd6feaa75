use proptest::prelude::*;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::rule::Circumstance;
use super::*;

const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1";
const APPLE_MAIL: &str =
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)";
const GMAIL: &str =
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)";
const YAHOO: &str = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html";
const DELIVERED: OffsetDateTime = datetime!(2026-11-20 10:00:00 UTC);

/// A person's browser at home.
const PERSON: Signals<'_> =
    Signals { is_bot_event: "Unlikely", user_agent: CHROME, ip_address: "198.51.100.7" };

fn with_agent(user_agent: &str) -> Signals<'_> {
    Signals { user_agent, ..PERSON }
}

fn from(ip_address: &str) -> Signals<'_> {
    Signals { ip_address, ..PERSON }
}

fn after(millis: i64, interaction: Interaction) -> Event<'static> {
    let at = DELIVERED + Duration::milliseconds(millis);
    Event { interaction, at, signals: PERSON, link: "https://shop.example/1" }
}

fn opened(millis: i64) -> Event<'static> {
    after(millis, Interaction::Open)
}

fn clicked(millis: i64, link: &str) -> Event<'_> {
    Event { link, ..after(millis, Interaction::Click) }
}

/// What the default rules say of an open and of a click.
#[test]
fn labelled_events_are_classified_by_themselves() {
    use Class::{Human, Machine, Proxy};
    let cases: &[(&str, Signals<'_>, Class, Class)] = &[
        ("a person", PERSON, Human, Human),
        ("an old event", Signals { is_bot_event: "", ..PERSON }, Human, Human),
        ("SES suspects it", Signals { is_bot_event: "Likely", ..PERSON }, Machine, Machine),
        ("in another case", Signals { is_bot_event: "LIKELY", ..PERSON }, Machine, Machine),
        ("SES says a new word", Signals { is_bot_event: "Perhaps", ..PERSON }, Human, Human),
        ("an iPhone's browser", with_agent(IPHONE), Human, Human),
        ("Apple's proxy", with_agent("Mozilla/5.0"), Proxy, Human),
        ("Apple Mail", with_agent(APPLE_MAIL), Proxy, Human),
        ("Gmail's proxy", with_agent(GMAIL), Human, Human),
        ("Yahoo's proxy", with_agent(YAHOO), Proxy, Human),
        ("no user agent", with_agent(""), Machine, Human),
        ("nothing is known", Signals::default(), Human, Human),
        ("Office", with_agent("Microsoft Office Existence Discovery"), Machine, Machine),
        ("a preview", with_agent("Mozilla/5.0 BingPreview/1.0b"), Machine, Machine),
        ("Python", with_agent("python-requests/2.32"), Machine, Machine),
        ("Go", with_agent("Go-http-client/2.0"), Machine, Machine),
        ("curl", with_agent("curl/8.9"), Machine, Machine),
        ("one that speaks of curl/", with_agent("Mail (not curl/8)"), Human, Human),
        ("a browser of a program", with_agent("HeadlessChrome/142"), Machine, Machine),
        ("Barracuda", with_agent("barracuda sentinel (ee)"), Machine, Machine),
        ("Mimecast", with_agent("Mozilla/5.0 (MIMECAST)"), Machine, Machine),
        ("Proofpoint", with_agent("Proofpoint URL Defense"), Machine, Machine),
        ("Microsoft's filter", from("40.107.218.12"), Machine, Machine),
        ("the same, written in IPv6", from("::ffff:40.107.218.12"), Machine, Machine),
        ("the same, in IPv6", from("2a01:111:f403:c201::5"), Machine, Machine),
        ("beside Microsoft's filter", from("40.108.0.1"), Human, Human),
        ("Barracuda's filter", from("209.222.82.255"), Machine, Machine),
        ("no address", from("somewhere"), Human, Human),
    ];
    let rules = MachineRules::default();
    for (what, signals, open, click) in cases {
        let found = [Interaction::Open, Interaction::Click]
            .map(|interaction| rules.classify(interaction, *signals));
        assert_eq!(found, [*open, *click], "{what}");
    }
}

/// What the default rules say of the events of one mail.
#[test]
fn labelled_mails_are_judged_by_their_circumstances() {
    use Class::{Human, Machine, Proxy};
    let apple = Event { signals: with_agent("Mozilla/5.0"), ..opened(2_000) };
    let gmail = Event { signals: with_agent(GMAIL), ..opened(2_000) };
    let cases: &[(&str, &[Event<'_>], &[Class])] = &[
        ("nothing happened", &[], &[]),
        ("read after an hour", &[opened(3_600_000)], &[Human]),
        ("scanned during delivery", &[opened(-300), clicked(-200, "a")], &[Machine, Machine]),
        ("opened at once", &[opened(9_999)], &[Machine]),
        ("opened after ten seconds", &[opened(10_000)], &[Human]),
        ("a sign-in link that was waited for", &[clicked(3_000, "a")], &[Human]),
        ("clicked at once", &[clicked(2_999, "a")], &[Machine]),
        ("a proxy at once is still a proxy", &[apple], &[Proxy]),
        ("Gmail shows what was waited for", &[gmail], &[Human]),
        ("one link twice", &[clicked(60_000, "a"), clicked(60_300, "a")], &[Human, Human]),
        (
            "two links, one after the other",
            &[clicked(60_000, "a"), clicked(61_001, "b")],
            &[Human, Human],
        ),
        ("two links at once", &[clicked(60_000, "a"), clicked(61_000, "b")], &[Machine, Machine]),
        (
            "three links within ten seconds, and one later",
            &[
                clicked(75_001, "a"),
                clicked(60_000, "a"),
                clicked(65_000, "b"),
                clicked(70_000, "c"),
            ],
            &[Human, Machine, Machine, Machine],
        ),
        (
            "links that are not kept prove no burst",
            &[clicked(60_000, ""), clicked(60_010, ""), clicked(60_020, "")],
            &[Human, Human, Human],
        ),
        (
            "a burst of opens proves nothing",
            &[opened(60_000), opened(60_001), opened(60_002)],
            &[Human, Human, Human],
        ),
        (
            "a scanner and then a person",
            &[
                opened(500),
                clicked(900, "a"),
                clicked(950, "b"),
                opened(90_000),
                clicked(95_000, "b"),
            ],
            &[Machine, Machine, Machine, Human, Human],
        ),
    ];
    let rules = MachineRules::default();
    for (what, events, expected) in cases {
        let verdicts = rules.judge(Some(DELIVERED), events);
        let found: Vec<Class> = verdicts.iter().map(|verdict| verdict.class).collect();
        assert_eq!(found, *expected, "{what}");
    }
    let without = rules.judge(None, &[opened(0)]);
    assert_eq!(without, [Verdict { class: Human, rule: None }], "not delivered: no delay");
    let named = rules.judge(Some(DELIVERED), &[opened(0)]);
    assert_eq!(named, [Verdict { class: Machine, rule: Some("opened-at-once") }]);
}

fn rule(name: &str, priority: i32, kind: &str, value: &str, verdict: Class) -> Rule {
    let (opens, clicks) = (true, true);
    let [name, kind, value] = [name, kind, value].map(str::to_owned);
    Rule { name, opens, clicks, kind, value, verdict, priority }
}

fn with(more: Rule) -> MachineRules {
    let (rules, unusable) =
        MachineRules::new(DEFAULTS.iter().map(Rule::from).chain(std::iter::once(more)));
    assert_eq!(unusable, [""; 0]);
    rules
}

#[test]
fn an_operator_can_have_the_first_word() {
    let office = with(rule("office", 10, "network", "198.51.100.0/24", Class::Human));
    let suspected = Signals { is_bot_event: "Likely", ..PERSON };
    assert_eq!(office.classify(Interaction::Click, suspected), Class::Human);
    let early = office.judge(Some(DELIVERED), &[opened(0)]);
    assert_eq!(early, [Verdict { class: Class::Human, rule: Some("office") }]);
    let gateway = with(rule("gateway", 10, "network", "198.51.100.7", Class::Machine));
    assert_eq!(gateway.classify(Interaction::Click, PERSON), Class::Machine);
    assert_eq!(gateway.classify(Interaction::Click, from("198.51.100.8")), Class::Human);
}

#[test]
fn a_rule_that_is_not_understood_is_left_out_and_named() {
    for (kind, value) in [
        ("color", "red"),
        ("network", "198.51.100.0/33"),
        ("user agent contains", ""),
        ("bot event", ""),
        ("delay", "-1"),
        ("delay", "soon"),
        ("burst", "1 in 10"),
        ("burst", "3"),
    ] {
        let (rules, unusable) = MachineRules::new([rule("odd", 1, kind, value, Class::Machine)]);
        assert_eq!(unusable, ["odd"], "{kind} {value}");
        assert_eq!(rules.classify(Interaction::Open, PERSON), Class::Human);
    }
    let (_, unusable) = MachineRules::new(DEFAULTS.iter().map(Rule::from));
    assert_eq!(unusable, [""; 0]);
}

#[test]
fn the_version_names_what_the_rules_say() {
    let defaults = MachineRules::default();
    let reversed = MachineRules::new(DEFAULTS.iter().rev().map(Rule::from)).0;
    assert_eq!(reversed.version(), defaults.version());
    let other = with(rule("office", 10, "network", "198.51.100.0/24", Class::Human));
    assert_ne!(other.version(), defaults.version());
}

#[test]
fn the_longest_delay_is_that_of_the_rules() {
    let rules = MachineRules::default();
    assert_eq!(rules.longest_delay(Interaction::Open), Duration::seconds(10));
    assert_eq!(rules.longest_delay(Interaction::Click), Duration::seconds(3));
    assert_eq!(MachineRules::new([]).0.longest_delay(Interaction::Click), Duration::ZERO);
}

/// By definition: some window that begins with a click holds the click and enough different links.
fn is_in_burst(events: &[Event<'_>], click: &Event<'_>, links: usize, within: Duration) -> bool {
    let clicks = || events.iter().filter(|event| event.interaction == Interaction::Click);
    clicks().any(|begin| {
        let window = begin.at..=begin.at + within;
        let in_window: std::collections::BTreeSet<_> =
            clicks().filter(|event| window.contains(&event.at)).map(|event| event.link).collect();
        window.contains(&click.at) && in_window.len() >= links
    })
}

prop_compose! {
    fn some_event()(millis in -1_000_i64..30_000, is_click: bool, link in 0_usize..4, likely in 0_u8..8) -> Event<'static> {
        let links = ["a", "b", "c", "d"];
        let interaction = if is_click { Interaction::Click } else { Interaction::Open };
        let is_bot_event = if likely == 0 { "Likely" } else { "Unlikely" };
        Event {
            link: if is_click { links[link] } else { "" },
            signals: Signals { is_bot_event, ..PERSON },
            // In steps, so that times tie.
            ..after(millis / 250 * 250, interaction)
        }
    }
}

proptest! {
    #[test]
    fn verdicts_follow_their_definition_and_not_the_order(
        events in proptest::collection::vec(some_event(), 0..14).prop_shuffle(),
        seed: u64,
    ) {
        let rules = MachineRules::default();
        let verdicts = rules.judge(Some(DELIVERED), &events);
        for (event, verdict) in events.iter().zip(&verdicts) {
            let own = rules.classify(event.interaction, event.signals);
            let is_click = event.interaction == Interaction::Click;
            let is_early =
                event.at < DELIVERED + rules.longest_delay(event.interaction);
            let is_burst = is_click && rules.circumstances[event.interaction.index()].iter().any(|rule| {
                matches!(rule.condition, Circumstance::Burst { links, within } if is_in_burst(&events, event, links, within))
            });
            let expected = if own == Class::Human && (is_early || is_burst) { Class::Machine } else { own };
            prop_assert_eq!(verdict.class, expected, "{:?}", event);
        }
        let mut order: Vec<usize> = (0..events.len()).chain(0..events.len() / 2).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        let shuffled: Vec<Event<'_>> = order.iter().map(|index| events[*index]).collect();
        let again = rules.judge(Some(DELIVERED), &shuffled);
        for (index, verdict) in order.iter().zip(again) {
            prop_assert_eq!(verdict, verdicts[*index], "order and duplicates change nothing");
        }
    }
}
