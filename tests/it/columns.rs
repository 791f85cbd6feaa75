//! The table of columns (`src/row/columns.rs`) against the real tables: a column that is added there is
//! tested here.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;
use std::time::Duration;

use serde_json::{Map, Value, json};
use ses_reports::postgres::SchemaName;
use ses_reports::row::columns::{
    COUNTERS, DETAIL, FIRSTS_OF_CLASS, FirstOfClass, Fold, Get, REPORT,
};
use ses_reports::row::{
    Bounce, Complaint, DetailRow, EventRow, Milestone, ReportRow, ReportType, Tags,
};
use ses_reports::store::Store;
use sqlx::postgres::PgConnectOptions;
use time::macros::datetime;
use time::{Duration as Span, OffsetDateTime};
use uuid::Uuid;

use crate::support::database::Database;

const NOON: OffsetDateTime = datetime!(2026-11-20 12:00:00 UTC);

/// Gives a report's field some value.
fn set(row: &mut ReportRow, fold: &Fold, random: &mut fastrand::Rng) {
    let text = format!("text {}", random.u16(..));
    match fold {
        Fold::LeastText(field) => *field(row) = Some(text),
        Fold::Earliest(field) | Fold::Latest(field) => {
            *field(row) = Some(NOON + Span::seconds(random.i64(0..100_000)));
        }
        Fold::Greatest(field) => {
            *field(row) = Some(ReportType { id: random.i64(1..100), name: text });
        }
        Fold::Bounce(field) => {
            let types = ["Permanent", "Undetermined", "Transient", "New", "Newer"];
            let bounce_type = random.choice(types).expect("there are some").to_owned();
            let class = random.bool().then(|| format!("class {}", random.u8(..)));
            let (sub_type, counts) = (random.bool().then_some(text), random.bool());
            *field(row) = Some(Bounce { bounce_type, sub_type, class, counts });
        }
        Fold::Complaint(field) => {
            let sub_type = random.choice([None, Some("OnAccountSuppressionList"), Some("New")]);
            let feedback_type = random.choice([None, Some("abuse"), Some("not-spam")]);
            let owned = |word: Option<Option<&str>>| word.flatten().map(str::to_owned);
            *field(row) = Some(Complaint {
                sub_type: owned(sub_type),
                feedback_type: owned(feedback_type),
                counts: random.bool(),
            });
        }
        Fold::AllTrue(field) => *field(row) = Some(random.bool()),
        Fold::Tags(field) => {
            let name = random.choice(["campaign", "variant"]).expect("two").to_owned();
            *field(row) = Some(Tags([(name, text)].into()));
        }
        Fold::Key | Fold::OfBounce(_) | Fold::OfComplaint(_) => {}
    }
}

fn event(number: u128, random: &mut fastrand::Rng) -> EventRow {
    let report = Uuid::from_u128(number % 7);
    let recipient = format!("{report}@example.com");
    let mut row = EventRow {
        detail: DetailRow {
            id: Uuid::from_u128(1_000 + number),
            notification_message_id: random.bool().then(|| format!("notification {number}")),
            event_type: random.choice(["Open", "Click", "Send"]).expect("three").to_owned(),
            timestamp: NOON + Span::seconds(random.i64(0..100_000)),
            class: random
                .bool()
                .then(|| random.choice(["human", "proxy"]).expect("two").to_owned()),
            other_info: json!({ "number": number.to_string() }).to_string(),
        },
        report: ReportRow::new(report, recipient.clone(), format!("message {report}")),
        message_id: format!("message {report}"),
        recipient,
        named: None,
        ambiguous: false,
    };
    for column in REPORT {
        if random.u8(..4) > 0 {
            set(&mut row.report, &column.fold, random);
        }
    }
    // No event has one without the other.
    let complaint_at = &mut row.report.first[Milestone::Complaint.index()];
    if row.report.complaint.is_none() {
        *complaint_at = None;
    }
    if complaint_at.is_none() {
        row.report.complaint = None;
    }
    row
}

/// A value as [`selected`] has it in JSON.
fn value<R>(get: &Get<R>, row: &R) -> Value {
    match get {
        Get::Uuid(of) => json!(of(row)),
        Get::Number(of) => json!(of(row)),
        Get::Text(of, _) => json!(of(row)),
        Get::Json(of) => serde_json::from_str(of(row)).expect("JSON"),
        Get::Time(of) => json!(of(row).map(OffsetDateTime::unix_timestamp)),
        Get::Flag(of) => json!(of(row)),
        Get::Tags(of) => json!(of(row).map(|tags| &tags.0)),
    }
}

/// A column as it is asked for; times as seconds, which no time zone changes.
fn selected<R>(name: &str, get: &Get<R>) -> String {
    match get {
        Get::Time(_) => format!("extract(epoch FROM {name})::bigint AS {name}"),
        _ => name.to_owned(),
    }
}

fn object(fields: impl Iterator<Item = (&'static str, Value)>) -> Value {
    Value::Object(fields.map(|(name, value)| (name.replace('"', ""), value)).collect::<Map<_, _>>())
}

/// With the rights of the worker, which come from the table too.
#[tokio::test]
async fn every_column_holds_what_its_line_says() {
    let database = Database::migrated().await;
    let store = Store::connect(
        PgConnectOptions::from_str(&database.url_of("worker")).expect("a PostgreSQL URL"),
        SchemaName::new("aws_reports").expect("a good name"),
        Duration::from_secs(30),
        1,
        true,
    )
    .await
    .expect("PostgreSQL is there");
    let mut random = fastrand::Rng::with_seed(20_261_125);
    let events: Vec<EventRow> = (0..140).map(|number| event(number, &mut random)).collect();
    let all: Vec<&EventRow> = events.iter().collect();
    for batch in all.chunks(17).chain(all.chunks(40)) {
        store.write(batch, &[]).await.expect("written");
    }

    let mut reports: BTreeMap<Uuid, ReportRow> = BTreeMap::new();
    for row in &events {
        let new =
            || ReportRow::new(row.report.id, row.report.user_email.clone(), row.message_id.clone());
        reports.entry(row.report.id).or_insert_with(new).merge(row.report.clone());
    }
    let counted = |report: &ReportRow, of: Milestone| {
        let is_counted = |row: &&EventRow| {
            row.report.id == report.id && row.detail.event_type == of.facts().event_type
        };
        json!(events.iter().filter(is_counted).count())
    };
    let first_of = |report: &ReportRow, first: &FirstOfClass| {
        let of_class = events.iter().filter(|row| {
            row.report.id == report.id
                && row.detail.event_type == first.of.facts().event_type
                && row.detail.class.as_deref() == Some(first.class)
        });
        json!(of_class.map(|row| row.detail.timestamp.unix_timestamp()).min())
    };
    let expected: Vec<Value> = (reports.values())
        .map(|report| {
            let read = REPORT.iter().map(|column| (column.name, value(&column.get, report)));
            let counts = COUNTERS.iter().map(|counter| (counter.name, counted(report, counter.of)));
            let firsts = FIRSTS_OF_CLASS.iter().map(|first| (first.name, first_of(report, first)));
            object(read.chain(counts).chain(firsts))
        })
        .collect();
    let columns = REPORT.iter().map(|column| selected(column.name, &column.get));
    let columns: Vec<String> = columns
        .chain(COUNTERS.iter().map(|counter| counter.name.to_owned()))
        .chain(
            FIRSTS_OF_CLASS.iter().map(|first| selected(first.name, &Get::<()>::Time(|()| None))),
        )
        .collect();
    let sql = format!("SELECT {} FROM aws_reports ORDER BY aws_reports.id", columns.join(", "));
    assert_eq!(database.rows(&sql).await, expected);

    let expected: Vec<Value> = (events.iter())
        .map(|row| object(DETAIL.iter().map(|column| (column.name, value(&column.get, row)))))
        .collect();
    let columns: Vec<String> =
        DETAIL.iter().map(|column| selected(column.name, &column.get)).collect();
    let sql = format!("SELECT {} FROM aws_report_detail ORDER BY id", columns.join(", "));
    assert_eq!(database.rows(&sql).await, expected);
}

fn sql_type<R>(get: &Get<R>) -> String {
    match get {
        Get::Uuid(_) => "uuid".to_owned(),
        Get::Number(_) => "bigint".to_owned(),
        Get::Text(_, most) => format!("character varying({most})"),
        Get::Json(_) | Get::Tags(_) => "jsonb".to_owned(),
        Get::Time(_) => "timestamp with time zone".to_owned(),
        Get::Flag(_) => "boolean".to_owned(),
    }
}

#[tokio::test]
async fn every_column_of_the_two_tables_has_its_line() {
    let database = Database::migrated().await;
    let mut expected = BTreeSet::new();
    let mut expect = |table: &str, name: &str, sql_type: String| {
        expected.insert((table.to_owned(), name.to_owned(), sql_type));
    };
    for column in REPORT {
        expect("aws_reports", column.name, sql_type(&column.get));
    }
    for column in DETAIL {
        expect("aws_report_detail", column.name, sql_type(&column.get));
    }
    for counter in COUNTERS {
        expect("aws_reports", counter.name, "integer".to_owned());
    }
    for first in FIRSTS_OF_CLASS {
        expect("aws_reports", first.name, "timestamp with time zone".to_owned());
    }
    // PostgreSQL's own: a default and a trigger.
    for name in ["created_at", "updated_at"] {
        expect("aws_reports", name, "timestamp with time zone".to_owned());
    }
    let found = database
        .rows(
            "SELECT relname, quote_ident(attname) AS name, format_type(atttypid, atttypmod) AS type
            FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
            WHERE attrelid IN ('aws_reports'::regclass, 'aws_report_detail'::regclass)
                AND attnum > 0 AND NOT attisdropped",
        )
        .await;
    let found: BTreeSet<_> = (found.iter())
        .map(|row| {
            let text = |key: &str| row[key].as_str().expect("text").to_owned();
            (text("relname"), text("name"), text("type"))
        })
        .collect();
    assert_eq!(found, expected);
}
