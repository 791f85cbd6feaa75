//! People and machines: what the rules of the database make of opens and clicks, through a real worker and
//! a real PostgreSQL, whatever the order of events, and when rules change.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use ses_reports::classify::machine::{Class, DEFAULTS, Event, Interaction, MachineRules, Signals};
use ses_reports::decode::{Outcome, Rules, decode};
use ses_reports::postgres::SchemaName;
use ses_reports::row::EventRow;
use ses_reports::store::Store;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;

use crate::support::database::Database;
use crate::support::event::{event, mail, message_id};
use crate::support::process::{Worker, eventually, run};
use crate::support::queue::Queue;

const DELIVERED: OffsetDateTime = datetime!(2026-11-20 10:00:01.500 UTC);
const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
const GMAIL: &str = "Mozilla/5.0 (via ggpht.com GoogleImageProxy)";

/// An open or a click as SES tells of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    link: Option<&'static str>,
    millis: i64,
    is_bot_event: &'static str,
    user_agent: &'static str,
    ip_address: &'static str,
}

/// A person's.
const PERSON: Seen = Seen {
    link: None,
    millis: 3_600_000,
    is_bot_event: "Unlikely",
    user_agent: CHROME,
    ip_address: "198.51.100.7",
};

impl Seen {
    fn at(&self) -> OffsetDateTime {
        DELIVERED + time::Duration::milliseconds(self.millis)
    }

    fn event_type(&self) -> &'static str {
        if self.link.is_some() { "Click" } else { "Open" }
    }

    fn body(&self, message_id: &str, to: &[&str]) -> Value {
        let mut own = json!({
            "timestamp": text(self.at()), "isBotEvent": self.is_bot_event, "userAgent": self.user_agent,
            "ipAddress": self.ip_address,
        });
        if let Some(link) = self.link {
            own["link"] = json!(link);
        }
        let name = self.event_type();
        event(name, &name.to_lowercase(), own, mail(message_id, to))
    }

    fn as_event(&self) -> Event<'_> {
        let signals = Signals {
            is_bot_event: self.is_bot_event,
            user_agent: self.user_agent,
            ip_address: self.ip_address,
        };
        let interaction = if self.link.is_some() { Interaction::Click } else { Interaction::Open };
        Event { interaction, at: self.at(), signals, link: self.link.unwrap_or_default() }
    }
}

fn text(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).expect("a time")
}

fn delivery(message_id: &str, to: &[&str], at: OffsetDateTime) -> Value {
    let own = json!({"timestamp": text(at), "recipients": to, "smtpResponse": "250 ok"});
    event("Delivery", "delivery", own, mail(message_id, to))
}

async fn connect(database: &Database) -> Store {
    let schema = SchemaName::new("aws_reports").expect("a good name");
    let options = std::str::FromStr::from_str(&database.url_of("worker")).expect("a URL");
    let store = Store::connect(options, schema, Duration::from_secs(30), 4, true).await;
    store.expect("the tables are there")
}

fn rows(bodies: &[Value]) -> Vec<EventRow> {
    let now = datetime!(2026-11-21 12:00 UTC);
    let decoded = bodies.iter().flat_map(|body| {
        match decode(&body.to_string(), None, &Rules::default(), now) {
            Outcome::Events(rows) => rows,
            other => panic!("{body} becomes {other:?}"),
        }
    });
    decoded.collect()
}

async fn write(store: &Store, rows: &[EventRow]) {
    let rows: Vec<&EventRow> = rows.iter().collect();
    store.write(&rows, &[]).await.expect("it is written");
}

async fn judge_all(store: &Store) {
    while store.judge(100).await.expect("it judges").reports > 0 {}
}

#[test]
fn each_rule_of_ours_has_a_name_a_source_and_a_place_between_those_of_operators() {
    let names: BTreeSet<&str> = DEFAULTS.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), DEFAULTS.len());
    for rule in DEFAULTS {
        assert!(rule.source.len() > 20 && rule.as_of.len() == 10, "{rule:?}");
        assert!((100..1_000).contains(&rule.priority), "{rule:?}");
    }
}

#[tokio::test]
async fn the_rules_of_the_migrations_are_those_of_the_program() {
    let database = Database::migrated().await;
    let found = database.rows("SELECT * FROM aws_report_machine_rule ORDER BY name").await;
    let mut expected: Vec<Value> = DEFAULTS
        .iter()
        .map(|rule| {
            json!({
                "name": rule.name, "is_ours": true, "is_enabled": true, "priority": rule.priority,
                "opens": rule.opens, "clicks": rule.clicks, "kind": rule.kind, "value": rule.value,
                "verdict": rule.verdict.as_str(), "source": rule.source, "as_of": rule.as_of,
            })
        })
        .collect();
    expected.sort_by_key(|rule| rule["name"].to_string());
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_rule_that_means_nothing_is_refused() {
    let database = Database::migrated().await;
    for (kind, value, opens) in [
        ("network", "somewhere", true),
        ("network", "192.0.2.0/33", true),
        ("user agent contains", "", true),
        ("delay", "soon", true),
        ("burst", "1 in 10", false),
        ("burst", "3 in 10", true),
        ("color", "red", true),
    ] {
        let insert = format!(
            "INSERT INTO aws_report_machine_rule (name, opens, clicks, kind, value, verdict)
            VALUES ('x', {opens}, true, '{kind}', '{value}', 'machine')"
        );
        let outcome = sqlx::raw_sql(sqlx::AssertSqlSafe(insert)).execute(&database.pool).await;
        outcome.expect_err(&format!("{kind} {value}"));
    }
}

/// A mail, what was seen of it, and when a person opened it and clicked in it.
type Labelled = (&'static str, Vec<Seen>, [Option<i64>; 2]);

fn labelled() -> Vec<Labelled> {
    let open = |millis| Seen { millis, ..PERSON };
    let click = |millis, link| Seen { link: Some(link), millis, ..PERSON };
    let hour = PERSON.millis;
    vec![
        ("nobody opened it", vec![], [None, None]),
        (
            "a person read it and clicked",
            vec![open(hour), click(hour + 9_000, "a")],
            [Some(hour), Some(hour + 9_000)],
        ),
        (
            "SES suspects all",
            vec![
                Seen { is_bot_event: "Likely", ..open(hour) },
                Seen { is_bot_event: "Likely", ..click(hour, "a") },
            ],
            [None, None],
        ),
        (
            "Apple fetched it, a person clicked",
            vec![Seen { user_agent: "Mozilla/5.0", ..open(60_000) }, click(hour, "a")],
            [None, Some(hour)],
        ),
        (
            "Gmail showed it at once",
            vec![Seen { user_agent: GMAIL, ..open(1_000) }],
            [Some(1_000), None],
        ),
        (
            "Microsoft's filter looked at it",
            vec![
                Seen { ip_address: "40.94.29.84", ..open(hour) },
                Seen { ip_address: "40.107.218.12", ..click(hour, "a") },
            ],
            // The first address is not one of the filter's networks.
            [Some(hour), None],
        ),
        (
            "a scanner during the delivery, then a person",
            vec![
                open(-400),
                click(-300, "a"),
                click(-200, "b"),
                open(hour),
                click(hour + 4_000, "b"),
            ],
            [Some(hour), Some(hour + 4_000)],
        ),
        (
            "a scanner with a browser's name a minute later",
            vec![open(60_000), click(60_200, "a"), click(60_300, "b"), click(60_400, "c")],
            [Some(60_000), None],
        ),
        ("a sign-in link", vec![open(12_000), click(4_000, "a")], [Some(12_000), Some(4_000)]),
        (
            "a program",
            vec![Seen { user_agent: "python-requests/2.32", ..click(hour, "a") }],
            [None, None],
        ),
    ]
}

fn micros(millis: i64) -> i128 {
    (DELIVERED.unix_timestamp_nanos() / 1_000) + i128::from(millis) * 1_000
}

#[tokio::test]
async fn a_worker_classifies_a_labelled_set() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let (jane, mut bodies) = (["jane@example.com"], Vec::new());
    for (number, (_, seen, _)) in (0..).zip(labelled()) {
        let id = message_id(number);
        // The delivery is the last to arrive.
        bodies.extend(seen.iter().map(|seen| seen.body(&id, &jane).to_string()));
        bodies.push(delivery(&id, &jane, DELIVERED).to_string());
    }
    queue.send(&bodies).await;
    Worker::until_idle(&database, &queue.url, &[]).await;
    let found = database
        .rows("SELECT (extract(epoch FROM human_open_at) * 1000000)::bigint AS open, (extract(epoch FROM human_click_at) * 1000000)::bigint AS click
            FROM aws_reports ORDER BY message_id")
        .await;
    for ((what, _, expected), found) in labelled().into_iter().zip(found) {
        let [open, click] = expected.map(|millis| millis.map(micros));
        assert_eq!(found, json!({"open": open, "click": click}), "{what}");
    }
    let unjudged = "SELECT count(*) FROM aws_report_unjudged";
    assert_eq!(database.one::<i64>(unjudged).await, 0, "a worker that ends leaves nothing");
    let settings = [("DATABASE_URL", &*database.url())];
    let verified = run(&settings, &["migrate", "verify", "--data"]).await;
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    // The same once more changes nothing: what was judged is not counted again.
    let all = "SELECT r.xmin::text AS report, d.xmin::text AS detail, human_open_at, human_click_at, class
        FROM aws_reports r JOIN aws_report_detail d ON d.report_id = r.id ORDER BY d.report_id, d.id";
    let before = database.rows(all).await;
    queue.send(&bodies).await;
    Worker::until_idle(&database, &queue.url, &[]).await;
    assert_eq!(database.rows(all).await, before);
}

/// What the tables hold of the opens and clicks of a message.
async fn found(database: &Database, id: &str) -> BTreeSet<String> {
    let details = database
        .rows(&format!(
            "SELECT d.\"to\" || ' ' || d.event_type || ' ' || (extract(epoch FROM d.\"timestamp\") * 1000000)::bigint || ' '
                || coalesce(other_info #>> '{{click,link}}', '-') || ' ' || coalesce(own ->> 'isBotEvent', '') || ' '
                || coalesce(own ->> 'userAgent', '') || ' ' || class AS said
            FROM aws_report_detail AS d CROSS JOIN LATERAL (SELECT other_info -> lower(event_type)) AS of_detail (own)
            WHERE message_id = '{id}' AND event_type IN ('Open', 'Click')"
        ))
        .await;
    let firsts = database
        .rows(&format!(
            "SELECT user_email || ' first ' || coalesce((extract(epoch FROM human_open_at) * 1000000)::bigint::text, '-') || ' '
                || coalesce((extract(epoch FROM human_click_at) * 1000000)::bigint::text, '-') AS said
            FROM aws_reports WHERE message_id = '{id}'"
        ))
        .await;
    details
        .iter()
        .chain(&firsts)
        .map(|row| row["said"].as_str().expect("text").to_owned())
        .collect()
}

/// The same by the pure function, over all events at once.
fn expected(
    to: &[&str],
    delivered: Option<OffsetDateTime>,
    seen: &BTreeSet<Seen>,
) -> BTreeSet<String> {
    let events: Vec<Event<'_>> = seen.iter().map(Seen::as_event).collect();
    let rules = MachineRules::default();
    let verdicts = rules.judge(delivered, &events);
    let mut said = BTreeSet::new();
    for one in to {
        for (seen, verdict) in seen.iter().zip(&verdicts) {
            let (link, class) = (seen.link.unwrap_or("-"), verdict.class.as_str());
            let Seen { is_bot_event, user_agent, .. } = seen;
            let (event_type, at) = (seen.event_type(), micros(seen.millis));
            said.insert(format!(
                "{one} {event_type} {at} {link} {is_bot_event} {user_agent} {class}"
            ));
        }
        let first = |interaction| {
            let people = events.iter().zip(&verdicts).filter(|(event, verdict)| {
                event.interaction == interaction && verdict.class == Class::Human
            });
            let first = people.map(|(event, _)| event.at.unix_timestamp_nanos() / 1_000).min();
            first.map_or_else(|| "-".to_owned(), |at| at.to_string())
        };
        let (open, click) = (first(Interaction::Open), first(Interaction::Click));
        said.insert(format!("{one} first {open} {click}"));
    }
    said
}

fn some_event(random: &mut fastrand::Rng) -> Seen {
    let links = [None, None, Some("a"), Some("b"), Some("c")];
    // Around the delivery and the limits of the rules, in steps, so that times tie.
    let millis = random.i64(-4..60) * 250;
    Seen {
        link: links[random.usize(..links.len())],
        millis: if random.u8(..4) == 0 { millis + 3_600_000 } else { millis },
        is_bot_event: if random.u8(..6) == 0 { "Likely" } else { "Unlikely" },
        user_agent: ["Mozilla/5.0", GMAIL, CHROME, CHROME, CHROME][random.usize(..5)],
        ip_address: "198.51.100.7",
    }
}

#[tokio::test]
pub async fn whatever_the_order_and_the_splits_the_judge_ends_where_the_pure_function_does() {
    let database = Database::migrated().await;
    let (store, other) = (connect(&database).await, connect(&database).await);
    for number in 0..60 {
        let mut random = fastrand::Rng::with_seed(number);
        let people = ["a@example.com", "b@example.com"];
        let to = &people[..random.usize(1..=2)];
        let id = message_id(number);
        let seen: BTreeSet<Seen> =
            (0..random.usize(1..9)).map(|_| some_event(&mut random)).collect();
        // Not delivered, delivered, or delivered twice.
        let deliveries: Vec<OffsetDateTime> = (0..random.usize(..3))
            .map(|_| DELIVERED + time::Duration::milliseconds(random.i64(-8..8) * 500))
            .collect();
        let mut bodies: Vec<Value> = seen.iter().map(|seen| seen.body(&id, to)).collect();
        bodies.extend(deliveries.iter().map(|at| delivery(&id, to, *at)));
        for _ in 0..random.usize(..4) {
            bodies.push(bodies[random.usize(..bodies.len())].clone());
        }
        random.shuffle(&mut bodies);
        while !bodies.is_empty() {
            let part: Vec<Value> = bodies.drain(..random.usize(1..=bodies.len())).collect();
            let rows = rows(&part);
            // While another worker judges, or not.
            if random.bool() {
                let (judged, ()) =
                    tokio::join!(other.judge(random.i32(1..3)), write(&store, &rows));
                judged.expect("it judges");
            } else {
                write(&store, &rows).await;
            }
        }
        judge_all(&store).await;
        let expected = expected(to, deliveries.iter().min().copied(), &seen);
        assert_eq!(found(&database, &id).await, expected, "mail {number}: {deliveries:?} {seen:?}");
    }
}

#[tokio::test]
async fn what_was_not_judged_before_a_crash_is_judged_after_it() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let (id, jane) = (message_id(1), ["jane@example.com"]);
    let early = Seen { millis: 500, ..PERSON };
    let store = connect(&database).await;
    write(&store, &rows(&[delivery(&id, &jane, DELIVERED), early.body(&id, &jane)])).await;
    // The process that wrote them is gone.
    drop(store);
    let opened = "SELECT human_open_at IS NOT NULL FROM aws_reports";
    assert!(database.one::<bool>(opened).await, "it counts as a person's until it is judged");
    let noted = "SELECT count(*) FROM aws_report_unjudged";
    assert_eq!(database.one::<i64>(noted).await, 1);
    // A session that holds the report keeps it from being judged, and the note stays.
    let mut holder = database.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("SELECT FROM aws_reports FOR UPDATE")
        .execute(&mut *holder)
        .await
        .expect("a lock");
    assert_eq!(connect(&database).await.judge(10).await.expect("it judges").reports, 0);
    assert_eq!(database.one::<i64>(noted).await, 1);
    holder.rollback().await.expect("it ends");
    let mut worker = Worker::start(&database, &queue.url, &[]);
    eventually("it is judged", || database.one("SELECT human_open_at IS NULL FROM aws_reports"))
        .await;
    assert!(worker.terminate().await.0.success(), "{}", worker.log());
    assert_eq!(
        database
            .one::<String>("SELECT class FROM aws_report_detail WHERE event_type = 'Open'")
            .await,
        "machine"
    );
    assert_eq!(database.one::<i64>(noted).await, 0);
}

#[tokio::test]
async fn a_report_that_is_gone_is_not_waited_for() {
    let database = Database::migrated().await;
    database
        .execute("INSERT INTO aws_report_unjudged (report_id) VALUES (gen_random_uuid())")
        .await;
    assert_eq!(connect(&database).await.judge(10).await.expect("it judges").reports, 0);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_unjudged").await, 0);
}

#[tokio::test]
pub async fn changing_a_rule_changes_history() {
    let database = Database::migrated().await;
    let jane = ["jane@example.com"];
    let store = connect(&database).await;
    assert!(
        !store.classify_history(true).await.expect("it asks"),
        "there was none when the rules came"
    );
    for number in 0..5 {
        let id = message_id(number);
        let click = Seen { link: Some("a"), ..PERSON };
        write(
            &store,
            &rows(&[
                delivery(&id, &jane, DELIVERED),
                PERSON.body(&id, &jane),
                click.body(&id, &jane),
            ]),
        )
        .await;
    }
    let people = "SELECT count(*) FROM aws_reports WHERE human_open_at IS NOT NULL AND human_click_at IS NOT NULL";
    assert_eq!(database.one::<i64>(people).await, 5);

    database
        .execute(
            "INSERT INTO aws_report_machine_rule (name, opens, clicks, kind, value, verdict)
            VALUES ('gateway', true, true, 'network', '198.51.100.0/24', 'machine')",
        )
        .await;
    assert!(!store.classify_history(true).await.expect("it asks"), "it has not read the rule");
    let changed = connect(&database).await;
    assert!(
        !changed.classify_history(false).await.expect("it asks"),
        "others may still write by the former rules"
    );
    assert!(changed.classify_history(true).await.expect("it asks"));
    assert!(
        store.backfill(2).await.expect("it asks").is_none(),
        "it does not know the rules of this run"
    );
    let mut batches = 0;
    while changed.backfill(2).await.expect("a batch").is_some() {
        batches += 1;
    }
    assert_eq!(batches, 3);
    assert_eq!(database.one::<i64>(people).await, 0);
    let machines = "SELECT count(*) FROM aws_report_detail WHERE class = 'machine'";
    assert_eq!(database.one::<i64>(machines).await, 10);
    assert!(!changed.classify_history(true).await.expect("it asks"), "once is enough");

    database
        .execute("UPDATE aws_report_machine_rule SET is_enabled = false WHERE name = 'gateway'")
        .await;
    let again = connect(&database).await;
    assert!(again.classify_history(true).await.expect("it asks"));
    while again.backfill(100).await.expect("a batch").is_some() {}
    assert_eq!(database.one::<i64>(people).await, 5);
}

#[tokio::test]
async fn a_worker_classifies_what_was_written_before_there_were_rules() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let (id, jane) = (message_id(1), ["jane@example.com"]);
    let proxy = Seen { user_agent: "Mozilla/5.0", millis: 60_000, ..PERSON };
    let store = connect(&database).await;
    let bodies = [delivery(&id, &jane, DELIVERED), PERSON.body(&id, &jane), proxy.body(&id, &jane)];
    write(&store, &rows(&bodies)).await;
    // As the version before left them, and as the migration then asks for it.
    database
        .execute("UPDATE aws_report_detail SET class = NULL; UPDATE aws_reports SET human_open_at = NULL;
            INSERT INTO aws_report_backfill (name) VALUES ('classes')")
        .await;
    let mut worker = Worker::start(&database, &queue.url, &[]);
    eventually("history is classified", || {
        database
            .one("SELECT finished_at IS NOT NULL FROM aws_report_backfill WHERE name = 'classes'")
    })
    .await;
    assert!(worker.terminate().await.0.success(), "{}", worker.log());
    let classes = "SELECT string_agg(class, ' ' ORDER BY class) FROM aws_report_detail WHERE event_type = 'Open'";
    assert_eq!(database.one::<String>(classes).await, "human proxy");
    let first = "SELECT human_open_at = open_at + interval '59 minutes' FROM aws_reports";
    assert!(database.one::<bool>(first).await);
}

/// Bounces and delays of servers with something to say, at domains that tell the provider and at others.
fn answered(number: u64) -> Vec<Value> {
    let mut random = fastrand::Rng::with_seed(number);
    let addresses = ["jane@gmail.com", "jane@example.com", "jane@outlook.com", "jane@shop.example"];
    let to = addresses[random.usize(..4)];
    let (id, mut bodies) = (message_id(number), Vec::new());
    let answers = [
        "smtp; 550 5.1.1 The email account that you tried to reach does not exist. gsmtp",
        "smtp; 452 4.2.2 mailbox full",
        "smtp; 550 5.7.1 Service unavailable, Client host blocked using Spamhaus",
        "",
    ];
    for index in 0..random.usize(1..5) {
        let (millis, answer) = (random.i64(0..4) * 250, answers[random.usize(..4)]);
        let at = text(DELIVERED + time::Duration::milliseconds(millis));
        let entry = json!({"emailAddress": to, "action": "failed", "diagnosticCode": answer});
        let bare = json!({"emailAddress": to});
        let entry = if random.bool() { entry } else { bare };
        let (bounce_type, sub_type) = [
            ("Permanent", "NoEmail"),
            ("Transient", "General"),
            ("Transient", "MailboxFull"),
            ("Undetermined", "Undetermined"),
        ][random.usize(..4)];
        bodies.push(match random.u8(..4) {
            0 => {
                let own = json!({"timestamp": at, "recipients": [to], "smtpResponse": "250 2.0.0 OK 1763 x1-2si.1 - gsmtp"});
                event("Delivery", "delivery", own, mail(&id, &[to]))
            }
            1 => {
                let own = json!({"timestamp": at, "delayType": "MailboxFull", "delayedRecipients": [entry]});
                event("DeliveryDelay", "deliveryDelay", own, mail(&id, &[to]))
            }
            _ => {
                let own = json!({"timestamp": at, "feedbackId": format!("f-{number}-{index}"), "bounceType": bounce_type,
                    "bounceSubType": sub_type, "bouncedRecipients": [entry]});
                event("Bounce", "bounce", own, mail(&id, &[to]))
            }
        });
    }
    bodies
}

#[tokio::test]
async fn history_gets_the_classes_and_providers_of_new_events() {
    let database = Database::migrated().await;
    let store = connect(&database).await;
    for number in 0..150 {
        let (to, seen) = (["jane@example.com"], some_event(&mut fastrand::Rng::with_seed(number)));
        let mut bodies = answered(number);
        bodies.push(seen.body(&message_id(1_000 + number), &to));
        write(&store, &rows(&bodies)).await;
    }
    judge_all(&store).await;
    let all = "SELECT r.id, bounce_type, bounce_class, provider, human_open_at, human_click_at,
            (SELECT array_agg(d.class ORDER BY d.id) FROM aws_report_detail d WHERE d.report_id = r.id) AS classes
        FROM aws_reports r ORDER BY r.id";
    let expected = database.rows(all).await;
    let kinds = "SELECT count(DISTINCT bounce_class) > 2 AND count(DISTINCT provider) = 2 AND count(*) > count(provider) FROM aws_reports";
    assert!(database.one::<bool>(kinds).await, "there is something to find: {expected:?}");
    database
        .execute("UPDATE aws_report_detail SET class = NULL;
            UPDATE aws_reports SET bounce_class = NULL, provider = NULL, human_open_at = NULL, human_click_at = NULL;
            INSERT INTO aws_report_backfill (name) VALUES ('classes')")
        .await;
    while store.backfill(40).await.expect("a batch").is_some() {}
    let found = database.rows(all).await;
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(database.one::<i64>("SELECT rows_done FROM aws_report_backfill").await, 300);
}
