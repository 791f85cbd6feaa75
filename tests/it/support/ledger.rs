//! Events, and what must be in the tables once they have arrived: computed here from what was drawn,
//! with none of the code under test.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::database::Database;
use super::event;
use super::generate::{envelope, poison};

/// The mails of a seed. Their ids carry it, so that one database serves many seeds.
pub struct Ledger {
    marker: String,
    /// The bodies to put, duplicates among them, in the order in which they are put.
    pub bodies: Vec<String>,
    /// Of those, how many say nothing new.
    pub duplicates: usize,
    /// A line per row that must be there: no more and no less.
    rows: Vec<String>,
}

/// What differs between the tables and the ledger.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Rows that are not there.
    pub lost: Vec<String>,
    /// Rows that should not be there, or not twice.
    pub doubled: Vec<String>,
}

#[derive(Default)]
struct Report {
    first: BTreeMap<&'static str, String>,
    opens: u32,
    clicks: u32,
}

/// One event before it has an envelope.
struct Fact {
    name: &'static str,
    key: &'static str,
    at: String,
    own: Value,
    /// What tells it from another one of its type and time.
    told_by: String,
    concerns: Vec<String>,
}

impl Ledger {
    /// Draws so many mails with their events, a part of which comes several times.
    pub fn draw(seed: u64, random: &mut fastrand::Rng, mails: usize, duplicates: f64) -> Self {
        let marker = format!("{:08x}", seed + 0x5eed_0000);
        let mut ledger = Self { marker, bodies: Vec::new(), duplicates: 0, rows: Vec::new() };
        for number in 0..mails {
            ledger.mail(number, random, duplicates);
        }
        // What is no event is kept as often as it was sent: each is a message of its own.
        for number in 0..mails.div_ceil(20) {
            let body = format!("{} in {}", poison(random, number), ledger.marker);
            ledger.rows.push(format!("letter {body}"));
            ledger.bodies.push(body);
        }
        random.shuffle(&mut ledger.bodies);
        ledger.rows.sort();
        ledger
    }

    fn mail(&mut self, number: usize, random: &mut fastrand::Rng, duplicates: f64) {
        let millis = 1_795_000_000_000_u64 + u64::try_from(number).expect("few");
        let id =
            format!("0102{millis:012x}-{}-{number:04x}-2222-3333-444444444444-000000", self.marker);
        let recipients: Vec<String> =
            (0..random.usize(1..=4)).map(|at| format!("p{at}@m{number}.example")).collect();
        let as_sent: Vec<String> = recipients
            .iter()
            .map(
                |address| {
                    if random.bool() { address.to_uppercase() } else { format!("P <{address}>") }
                },
            )
            .collect();
        let destination: Vec<&str> = as_sent.iter().map(String::as_str).collect();
        let mail = event::mail(&id, &destination);
        let sent = mail["timestamp"].as_str().expect("a time").to_owned();

        let mut reports: BTreeMap<&str, Report> = BTreeMap::new();
        let facts = facts(random, &sent, &recipients);
        for fact in &facts {
            for to in &fact.concerns {
                self.rows
                    .push(format!("detail {id} {to} {} {} {}", fact.name, fact.at, fact.told_by));
                let report = reports.entry(to).or_default();
                for (name, at) in [("Send", &sent), (fact.name, &fact.at)] {
                    let first = report.first.entry(name).or_insert_with(|| at.clone());
                    *first = (*first).clone().min(at.clone());
                }
                report.opens += u32::from(fact.name == "Open");
                report.clicks += u32::from(fact.name == "Click");
            }
            let body = event::event(fact.name, fact.key, fact.own.clone(), mail.clone());
            let copies = if random.f64() < duplicates { random.usize(1..=3) } else { 0 };
            self.duplicates += copies;
            for copy in 0..=copies {
                self.bodies.push(envelope(random, &body, copy));
            }
        }
        for (to, report) in reports {
            let at = |name| report.first.get(name).map_or("-", String::as_str);
            self.rows.push(format!(
                "report {id} {to} {} {} {} {} {} {} {} {}",
                at("Send"),
                at("Delivery"),
                at("Bounce"),
                at("Complaint"),
                at("Open"),
                at("Click"),
                report.opens,
                report.clicks
            ));
        }
    }

    /// How many rows must be there.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The rows that are there.
    pub async fn found(&self, database: &Database) -> Vec<String> {
        let time = |column: &str| {
            format!(
                r#"coalesce(to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), '-')"#
            )
        };
        let firsts = ["send_at", "delivery_at", "bounce_at", "complaint_at", "open_at", "click_at"];
        let firsts = firsts.map(time).join(", ");
        let sql = format!(
            r#"SELECT concat_ws(' ', 'detail', message_id, "to", event_type, {at}, coalesce(
                    other_info #>> '{{open,userAgent}}', other_info #>> '{{click,link}}',
                    other_info #>> '{{bounce,feedbackId}}', other_info #>> '{{complaint,feedbackId}}', '')) AS line
                FROM aws_report_detail WHERE message_id LIKE '%-{marker}-%'
            UNION ALL SELECT concat_ws(' ', 'report', message_id, user_email, {firsts}, open_count, click_count)
                FROM aws_reports WHERE message_id LIKE '%-{marker}-%'
            UNION ALL SELECT 'letter ' || body FROM aws_report_dead_letter WHERE body LIKE '%{marker}%'"#,
            at = time(r#""timestamp""#),
            marker = self.marker,
        );
        let mut found: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_all(&database.pool)
            .await
            .expect("the rows can be read");
        found.sort();
        found
    }

    /// Compares row by row.
    pub async fn compare(&self, database: &Database) -> Difference {
        let mut difference = Difference::default();
        let found = self.found(database).await;
        let (mut expected, mut found) = (self.rows.iter().peekable(), found.into_iter().peekable());
        loop {
            match (expected.peek(), found.peek()) {
                (Some(left), Some(right)) if left == &right => {
                    expected.next();
                    found.next();
                }
                (Some(left), right) if right.is_none_or(|right| *left < right) => {
                    difference.lost.extend(expected.next().cloned());
                }
                (None, None) => return difference,
                _ => difference.doubled.extend(found.next()),
            }
        }
    }
}

/// The events of one mail, each of them once.
fn facts(random: &mut fastrand::Rng, sent: &str, recipients: &[String]) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut fact =
        |name, key, second: usize, told_by: String, own: Value, concerns: Vec<String>| {
            let at = if name == "Send" {
                sent.to_owned()
            } else {
                format!("2026-11-20T11:00:{second:02}.250Z")
            };
            let mut own = own;
            if name != "Send" {
                own["timestamp"] = json!(at);
            }
            facts.push(Fact { name, key, at, own, told_by, concerns });
        };
    let everyone = || recipients.to_vec();
    if random.u32(..5) > 0 {
        fact("Send", "send", 0, String::new(), json!({}), everyone());
    }
    // One event about several recipients, or one each.
    let (bounced, delivered): (Vec<String>, Vec<String>) =
        everyone().into_iter().partition(|_| random.u32(..4) == 0);
    let addresses = |list: &[String]| -> Value {
        list.iter().map(|address| json!({"emailAddress": address})).collect()
    };
    if !bounced.is_empty() {
        // AWS's own samples share one feedbackId between a bounce and a complaint.
        let own = json!({"feedbackId": "f-1", "bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": addresses(&bounced)});
        fact("Bounce", "bounce", 1, "f-1".to_owned(), own, bounced);
    }
    if random.bool() && !delivered.is_empty() {
        let own = json!({"recipients": delivered, "smtpResponse": "250 ok"});
        fact("Delivery", "delivery", 2, String::new(), own, delivered.clone());
    } else {
        for one in &delivered {
            let own = json!({"recipients": [one]});
            fact("Delivery", "delivery", 2, String::new(), own, vec![one.clone()]);
        }
    }
    if let Some(one) = delivered.first().filter(|_| random.u32(..8) == 0) {
        let complained = vec![one.clone()];
        let own = json!({"feedbackId": "f-1", "complainedRecipients": addresses(&complained)});
        fact("Complaint", "complaint", 3, "f-1".to_owned(), own, complained);
    }
    // At one time, told apart by agent or link; and at several.
    for number in 0..random.usize(..4) {
        let agent = format!("Mail/{number}");
        let own = json!({"userAgent": agent, "ipAddress": "192.0.2.7"});
        fact("Open", "open", 10 + number / 2, agent, own, everyone());
    }
    for number in 0..random.usize(..3) {
        let link = format!("https://shop.example/{number}");
        fact("Click", "click", 20, link.clone(), json!({"link": link}), everyone());
    }
    facts
}
