//! What each event means to the people who read it: the state of its report, whether AWS counts it as a bounce,
//! whether it is a complaint, and whether the address is suppressed. Through the worker, in every order of
//! the events, each of them twice, and for reports that an older version has written.

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::process::{Worker, eventually, run};
use crate::support::queue::Queue;

/// Messages that one case may have.
const MOST_MESSAGES: u64 = 2;

/// A mail of a case: to one recipient, from a domain of its own, so that it has figures of its own.
struct Mail {
    number: u64,
    to: String,
    domain: String,
}

impl Mail {
    fn new(case: usize, order: usize, number: u64) -> Self {
        let name = format!("case{case:02}-{order}");
        Self { number, to: format!("{name}@example.com"), domain: format!("{name}.example") }
    }

    fn event(&self, name: &str, key: &str, own: Value) -> Value {
        self.event_of(0, name, key, own)
    }

    /// An event of one of several messages.
    fn event_of(&self, message: u64, name: &str, key: &str, own: Value) -> Value {
        let id = message_id(self.number * MOST_MESSAGES + message);
        let mut mail = event::mail(&id, &[&self.to]);
        mail["source"] = json!(format!("shop@{}", self.domain));
        event::event(name, key, own, mail)
    }

    fn send(&self) -> Value {
        self.event("Send", "send", json!({}))
    }

    fn delivery(&self) -> Value {
        let own = json!({"timestamp": "2026-11-20T10:00:01.500Z", "recipients": [self.to], "smtpResponse": "250 ok"});
        self.event("Delivery", "delivery", own)
    }

    /// A bounce that a server reports.
    fn bounce(&self, bounce_type: &str, sub_type: &str) -> Value {
        let entry = json!({"emailAddress": self.to, "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 no"});
        self.bounce_saying(bounce_type, sub_type, &entry)
    }

    fn bounce_saying(&self, bounce_type: &str, sub_type: &str, entry: &Value) -> Value {
        let own = json!({"timestamp": "2026-11-20T10:05:00.000Z", "feedbackId": format!("b-{}", self.number),
            "bounceType": bounce_type, "bounceSubType": sub_type, "bouncedRecipients": [entry]});
        self.event("Bounce", "bounce", own)
    }

    fn complaint(
        &self,
        message: u64,
        hour: u8,
        sub_type: Option<&str>,
        feedback_type: Option<&str>,
    ) -> Value {
        let own = json!({"timestamp": format!("2026-11-20T{hour}:00:00.000Z"),
            "feedbackId": format!("c-{}-{message}-{hour}", self.number), "complaintSubType": sub_type,
            "complaintFeedbackType": feedback_type, "complainedRecipients": [{"emailAddress": self.to}]});
        self.event_of(message, "Complaint", "complaint", own)
    }

    fn interaction(&self, name: &str, key: &str, is_bot_event: &str) -> Value {
        let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Thunderbird/145.0";
        let own = json!({"timestamp": "2026-11-20T12:00:00.000Z", "ipAddress": "192.0.2.7", "userAgent": agent,
            "link": "https://shop.example/", "isBotEvent": is_bot_event});
        self.event(name, key, own)
    }
}

/// What a case means.
#[derive(Clone, Copy)]
struct Meaning {
    state: &'static str,
    /// Whether SES tried to deliver it.
    is_attempted: bool,
    /// Whether AWS counts it in its bounce rate.
    is_bounce: bool,
    is_complaint: bool,
    suppressed_for: Option<&'static str>,
}

/// Mail that was tried and has no consequences.
const NOTHING: Meaning = Meaning {
    state: "delivered",
    is_attempted: true,
    is_bounce: false,
    is_complaint: false,
    suppressed_for: None,
};
const HARD: Meaning = Meaning {
    state: "hard bounced",
    is_bounce: true,
    suppressed_for: Some("hard bounce"),
    ..NOTHING
};
const NOT_TRIED: Meaning = Meaning {
    state: "suppressed",
    is_attempted: false,
    suppressed_for: Some("suppression list"),
    ..NOTHING
};
const COMPLAINED: Meaning = Meaning {
    state: "complained",
    is_complaint: true,
    suppressed_for: Some("complaint"),
    ..NOTHING
};

type Case = (Meaning, fn(&Mail) -> Vec<Value>);

const CASES: &[Case] = &[
    (HARD, |mail| vec![mail.send(), mail.bounce("Permanent", "General")]),
    (HARD, |mail| vec![mail.send(), mail.bounce("Permanent", "NoEmail")]),
    (HARD, |mail| vec![mail.send(), mail.delivery(), mail.bounce("Permanent", "NewSubType")]),
    (Meaning { is_bounce: true, ..NOT_TRIED }, |mail| {
        vec![mail.send(), mail.bounce("Permanent", "Suppressed")]
    }),
    (NOT_TRIED, |mail| vec![mail.send(), mail.bounce("Permanent", "OnAccountSuppressionList")]),
    (NOT_TRIED, |mail| vec![mail.send(), mail.bounce("Permanent", "OnTenantSuppressionList")]),
    (Meaning { suppressed_for: Some("unsubscribed"), ..NOT_TRIED }, |mail| {
        vec![mail.send(), mail.bounce("Permanent", "UnsubscribedRecipient")]
    }),
    (Meaning { suppressed_for: Some("address validation"), ..NOT_TRIED }, |mail| {
        vec![mail.send(), mail.bounce("Permanent", "EmailValidationSuppressed")]
    }),
    (NOT_TRIED, |mail| {
        vec![mail.send(), mail.complaint(0, 11, Some("OnAccountSuppressionList"), None)]
    }),
    (NOT_TRIED, |mail| {
        vec![mail.send(), mail.complaint(0, 11, Some("OnTenantSuppressionList"), Some("abuse"))]
    }),
    // The recipient says that it is no spam: nothing changes,
    (NOTHING, |mail| {
        vec![mail.send(), mail.delivery(), mail.complaint(0, 11, None, Some("not-spam"))]
    }),
    // earlier complaints of the address no longer suppress it, about the same mail
    (Meaning { suppressed_for: None, ..COMPLAINED }, |mail| {
        let (complaint, lift) = (Some("abuse"), Some("not-spam"));
        vec![
            mail.delivery(),
            mail.complaint(0, 11, None, complaint),
            mail.complaint(0, 12, None, lift),
        ]
    }),
    // or another one,
    (Meaning { suppressed_for: None, ..COMPLAINED }, |mail| {
        let (complaint, lift) = (Some("abuse"), Some("not-spam"));
        vec![
            mail.delivery(),
            mail.complaint(0, 11, None, complaint),
            mail.complaint(1, 12, None, lift),
        ]
    }),
    // and later ones do.
    (COMPLAINED, |mail| {
        let (complaint, lift) = (Some("abuse"), Some("not-spam"));
        vec![
            mail.delivery(),
            mail.complaint(1, 11, None, lift),
            mail.complaint(0, 12, None, complaint),
        ]
    }),
    (COMPLAINED, |mail| {
        vec![mail.send(), mail.delivery(), mail.complaint(0, 11, None, Some("abuse"))]
    }),
    (COMPLAINED, |mail| vec![mail.send(), mail.delivery(), mail.complaint(0, 11, None, None)]),
    (COMPLAINED, |mail| vec![mail.send(), mail.complaint(0, 11, Some("New"), Some("virus"))]),
    // A real complaint is stronger than one that SES made of a mail that it did not send.
    (COMPLAINED, |mail| {
        let list = Some("OnAccountSuppressionList");
        vec![
            mail.send(),
            mail.complaint(0, 11, list, None),
            mail.complaint(0, 12, None, Some("abuse")),
        ]
    }),
    // An answer of the recipient.
    (NOTHING, |mail| {
        let entry = json!({"emailAddress": mail.to});
        vec![mail.send(), mail.delivery(), mail.bounce_saying("Transient", "General", &entry)]
    }),
    (Meaning { state: "soft bounced", ..NOTHING }, |mail| {
        vec![mail.send(), mail.delivery(), mail.bounce("Transient", "General")]
    }),
    (NOTHING, |mail| {
        vec![mail.send(), mail.delivery(), mail.interaction("Open", "open", "Likely")]
    }),
    (NOTHING, |mail| {
        vec![mail.send(), mail.delivery(), mail.interaction("Click", "click", "Likely")]
    }),
    (Meaning { state: "opened", ..NOTHING }, |mail| {
        vec![mail.send(), mail.delivery(), mail.interaction("Open", "open", "Unlikely")]
    }),
    (Meaning { state: "clicked", ..NOTHING }, |mail| {
        vec![mail.send(), mail.delivery(), mail.interaction("Click", "click", "Unlikely")]
    }),
];

/// All orders of some things.
fn orders<T: Clone>(things: &[T]) -> Vec<Vec<T>> {
    if things.is_empty() {
        return vec![Vec::new()];
    }
    let with_first = |first: usize| {
        let mut rest = things.to_vec();
        let first = rest.remove(first);
        orders(&rest).into_iter().map(move |order| [vec![first.clone()], order].concat())
    };
    (0..things.len()).flat_map(with_first).collect()
}

/// The bodies of all cases in every order, twice in that order, and what each of them means.
fn all() -> (Vec<String>, Vec<Value>) {
    let (mut bodies, mut expected, mut number) = (Vec::new(), Vec::new(), 0);
    for (case, (meaning, events)) in CASES.iter().enumerate() {
        let count = orders(&events(&Mail::new(case, 0, 0))).len();
        for order in 0..count {
            number += 1;
            let mail = Mail::new(case, order, number);
            let events = orders(&events(&mail)).swap_remove(order);
            bodies.extend(events.iter().chain(&events).map(Value::to_string));
            let rate = match meaning {
                Meaning { is_bounce: true, .. } => Some(100),
                Meaning { is_attempted: true, .. } => Some(0),
                Meaning { .. } => None,
            };
            expected.push(json!({
                "to": mail.to, "state": meaning.state, "is_attempted": meaning.is_attempted,
                "is_bounce": meaning.is_bounce, "complained": i32::from(meaning.is_complaint),
                "bounces": i32::from(meaning.is_bounce), "bounce_rate": rate,
                "suppressed_for": meaning.suppressed_for,
            }));
        }
    }
    (bodies, expected)
}

/// The first message of each case, what the functions say of it, and the figures of its domain.
const MEANINGS: &str = r#"
    SELECT r.user_email AS "to", s.state,
        aws_report_was_attempted(r.bounce_sub_type, r.complaint_at, r.complaint_sub_type, r.complaint_feedback_type) AS is_attempted,
        aws_report_counts_for_aws(r.bounce_type, r.bounce_sub_type) AS is_bounce,
        d.complained, d.bounced_hard + d.suppressed_globally AS bounces, d.bounce_rate::int AS bounce_rate,
        (SELECT string_agg(reason, ', ' ORDER BY reason) FROM aws_report_suppressions AS p WHERE p.user_email = r.user_email) AS suppressed_for
    FROM (SELECT DISTINCT ON (user_email) * FROM aws_reports ORDER BY user_email, message_id) AS r
    JOIN aws_report_states AS s ON s.id = r.id
    LEFT JOIN (
        SELECT source_domain, sum(complained)::int AS complained, sum(bounced_hard)::int AS bounced_hard,
            sum(suppressed_globally)::int AS suppressed_globally, max(bounce_rate) AS bounce_rate
        FROM aws_report_daily GROUP BY source_domain
    ) AS d ON d.source_domain = split_part(r.user_email, '@', 1) || '.example'
    ORDER BY r.user_email"#;

async fn assert_meanings(database: &Database, expected: &[Value]) {
    let found = database.rows(MEANINGS).await;
    let wrong: Vec<_> = expected.iter().zip(&found).filter(|(a, b)| a != b).collect();
    assert!(wrong.is_empty(), "{} are wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(8)]);
    assert_eq!(found.len(), expected.len());
}

#[tokio::test]
async fn every_event_means_what_it_should_in_any_order() {
    let (bodies, mut expected) = all();
    expected.sort_by(|a, b| a["to"].as_str().cmp(&b["to"].as_str()));
    let mut shuffled = bodies.clone();
    fastrand::Rng::with_seed(20_261_125).shuffle(&mut shuffled);
    let one_by_one = &["--batch-rows", "1", "--writers", "1", "--pollers", "1"][..];
    for (bodies, arguments) in [(&bodies, one_by_one), (&shuffled, &[])] {
        let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
        queue.send(bodies).await;
        Worker::until_idle(&database, &queue.url, arguments).await;
        assert_meanings(&database, &expected).await;
    }
}

#[tokio::test]
async fn reports_of_an_older_version_mean_the_same_after_the_backfills() {
    let (bodies, mut expected) = all();
    expected.sort_by(|a, b| a["to"].as_str().cmp(&b["to"].as_str()));
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    queue.send(&bodies).await;
    Worker::until_idle(&database, &queue.url, &[]).await;

    // The last version before reports had columns for what events mean; then all newer ones.
    let owner = database.url_of("owner");
    let settings = [("DATABASE_URL", &*owner)];
    let down = run(&settings, &["migrate", "down", "--to", "15", "--allow-data-loss"]).await;
    assert_eq!(down.code, Some(0), "{}{}", down.stdout, down.stderr);
    let up = run(&settings, &["migrate", "up"]).await;
    assert_eq!(up.code, Some(0), "{}", up.stderr);
    let unknown = "SELECT count(*) = 0 FROM aws_reports WHERE num_nonnulls(complaint_sub_type, complaint_feedback_type, not_spam_at, human_open_at, human_click_at) > 0";
    assert!(database.one::<bool>(unknown).await, "the columns are empty");

    let mut worker = Worker::start(&database, &queue.url, &[]);
    eventually("all is filled in and counted", || {
        database.one(
            "SELECT NOT EXISTS (SELECT FROM aws_report_backfill WHERE finished_at IS NULL)
                AND EXISTS (SELECT FROM aws_report_backfill WHERE name = 'meanings')
                AND NOT EXISTS (SELECT FROM aws_report_stale_day) AND NOT EXISTS (SELECT FROM aws_report_daily_note)",
        )
    })
    .await;
    assert!(worker.terminate().await.0.success(), "{}", worker.log());
    assert_meanings(&database, &expected).await;
}
