//! `migrate baseline`: converts rows of tables that were created by hand. From decode on they take the
//! same path as events. Ids are computed from content, so duplicates become one row, and an interrupted
//! run can be repeated.

use std::time::{Duration, Instant};

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::decode::identity::dead_letter_id;
use crate::decode::{Rules, baseline};
use crate::ingest::{Blocked, Breaker, Destination, Stop, Trouble, ingest, probe};
use crate::postgres::SchemaName;
use crate::row::{EventRow, ReportRow};
use crate::store::partitions::months_ahead;
use crate::store::{DeadLetter, Error, HandMadeTables, Refusal, Store, Written};

/// How often a long run says where it is.
const EVERY: Duration = Duration::from_secs(5);

/// The source of a dead letter, and the substitute for its SQS message id.
pub(crate) const SOURCE: &str = "baseline";

/// What became of the rows of one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Converted {
    /// Rows that were read.
    pub(crate) read: u64,
    /// The rows that they became.
    pub(crate) new: u64,
    /// Rows that met one that was there: duplicates.
    pub(crate) duplicates: u64,
    /// Rows that could not be decoded; each is a dead letter.
    pub(crate) dead_letters: u64,
}

/// What became of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Baseline {
    /// Where the tables that were created by hand are now.
    pub(crate) legacy: String,
    /// The rows of `aws_reports`.
    pub(crate) reports: Converted,
    /// The rows of `aws_report_detail`.
    pub(crate) details: Converted,
}

/// Converts all rows.
///
/// # Errors
/// When PostgreSQL cannot be reached or refuses. Another run continues, and writes nothing twice.
pub(crate) async fn convert(
    mut tables: HandMadeTables,
    store: &Store,
    ours: &SchemaName,
    hand_made: &SchemaName,
    rules: &Rules,
) -> Result<Baseline, Error> {
    let rules = &rules.with_machines(store.machine_rules());
    let types = tables.report_types().await?.into_iter().collect();
    let (reports, details) = tables.counts().await?;
    tracing::info!(reports, details, "converting");
    let mut converted = Baseline { legacy: hand_made.as_str().to_owned(), ..Baseline::default() };
    let mut progress = ConversionProgress::new(reports + details);

    let before = tables.count_ours(ours).await?;
    let mut rows = tables.reports().await?;
    loop {
        let chunk = rows.next().await?;
        if chunk.is_empty() {
            break;
        }
        let read: Vec<_> =
            chunk.iter().map(|(row, _)| (row, baseline::report(row, &types))).collect();
        let created: Vec<(Uuid, OffsetDateTime)> = read
            .iter()
            .filter_map(|(row, report)| {
                Some((report.as_ref().ok()?.id, baseline::created_at(row)?))
            })
            .collect();
        // What is new is counted at the end: a report that was written is new or changed.
        let rows = read.into_iter().map(|(row, read)| HandMade::new(row, read, Becomes::Report));
        let (_, dead_letters) = write_rows(store, rows.collect()).await?;
        converted.reports.add(chunk.len(), (0, dead_letters));
        store.keep_created_at(&created).await?;
        progress.add(chunk.len());
    }
    drop(rows);
    let new = tables.count_ours(ours).await?.saturating_sub(before);
    converted.reports.new = new;
    converted.reports.duplicates = converted.reports.duplicates.saturating_sub(new);

    #[expect(clippy::disallowed_methods, reason = "bounds the clocks of events, as in the worker")]
    let now = OffsetDateTime::now_utc();
    store.create_months(&months_ahead(now)).await?;
    let mut rows = tables.details().await?;
    loop {
        let chunk = rows.next().await?;
        if chunk.is_empty() {
            break;
        }
        let rows = chunk.iter().map(|(row, report)| {
            let read = baseline::detail(row, report.as_ref(), rules, now);
            HandMade::new(row, read, Becomes::Detail)
        });
        let written = write_rows(store, rows.collect()).await?;
        converted.details.add(chunk.len(), written);
        progress.add(chunk.len());
    }
    drop(rows);
    tables.finish(ours, converted.reports.read + converted.details.read).await?;
    Ok(converted)
}

/// A row of a table that was created by hand, and the rows that it becomes.
struct HandMade<'r> {
    row: &'r baseline::Row,
    becomes: Becomes,
}

enum Becomes {
    Report(Box<ReportRow>),
    Detail(Box<EventRow>),
    /// For this reason.
    DeadLetter(String),
}

impl<'r> HandMade<'r> {
    fn new<T>(
        row: &'r baseline::Row,
        read: Result<T, &'static str>,
        becomes: impl Fn(Box<T>) -> Becomes,
    ) -> Self {
        let becomes = match read {
            Ok(read) => becomes(Box::new(read)),
            Err(reason) => Becomes::DeadLetter(reason.to_owned()),
        };
        Self { row, becomes }
    }
}

/// Where the rows of a chunk are written. All of them are of one table.
struct Chunk<'r> {
    store: &'r Store,
    new: u64,
    dead_letters: usize,
}

/// Writes the rows of a chunk, and as dead letters those that cannot be decoded or that PostgreSQL
/// refuses. Returns how many were new, and how many are dead letters.
async fn write_rows(store: &Store, rows: Vec<HandMade<'_>>) -> Result<(u64, usize), Error> {
    let mut chunk = Chunk { store, new: 0, dead_letters: 0 };
    match Box::pin(ingest(&mut chunk, rows)).await {
        Ok(()) | Err(Stop::Stopped) => Ok((chunk.new, chunk.dead_letters)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

impl<'r> Destination for Chunk<'r> {
    type Item = HandMade<'r>;

    fn breaker(&self) -> Option<&Breaker> {
        // In tables that were created by hand, every row may have the same defect.
        None
    }

    async fn write(&self, part: &[HandMade<'r>]) -> Result<Written, Error> {
        let (mut reports, mut details, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        for HandMade { row, becomes } in part {
            match becomes {
                Becomes::Report(report) => reports.push((**report).clone()),
                Becomes::Detail(detail) => details.push(&**detail),
                Becomes::DeadLetter(reason) => {
                    unread.push((serde_json::to_string(row).unwrap_or_default(), reason));
                }
            }
        }
        let letters: Vec<DeadLetter<'_>> =
            unread.iter().map(|(body, reason)| dead_letter(body, reason)).collect();
        if reports.is_empty() {
            self.store.write(&details, &letters).await
        } else {
            self.store.write_reports(&reports, &letters).await
        }
    }

    async fn probe(&self) -> Result<(), Error> {
        probe(self.store).await
    }

    fn is_fatal(&self, error: &Error) -> bool {
        matches!(error, Error::Unavailable(_) | Error::Timeout(_) | Error::Pooler(_))
    }

    fn accepted(&mut self) {}

    fn committed(&mut self, part: Vec<HandMade<'r>>, written: Written) {
        self.new += written.details;
        self.dead_letters +=
            part.iter().filter(|row| matches!(row.becomes, Becomes::DeadLetter(_))).count();
    }

    fn make_dead_letter(
        &mut self,
        mut row: HandMade<'r>,
        refusal: &Refusal,
    ) -> Option<HandMade<'r>> {
        if matches!(row.becomes, Becomes::DeadLetter(_)) {
            tracing::warn!(code = refusal.code, "PostgreSQL refuses even the dead letter of a row");
            return None;
        }
        row.becomes = Becomes::DeadLetter(refusal.message.clone());
        Some(row)
    }

    fn set_aside(&mut self, row: HandMade<'r>, by: Blocked) -> Result<Option<HandMade<'r>>, Stop> {
        match by {
            Blocked::Lock | Blocked::Alike(_) => Ok(Some(row)),
            Blocked::Constraint(violation) => Err(Stop::Failed(Error::Constraint(violation))),
        }
    }

    fn taken_over(&mut self, _row: HandMade<'r>) {}

    async fn pause(&mut self, trouble: Trouble, delay: Duration) -> Result<(), Stop> {
        match trouble {
            Trouble::Passing(error) => tracing::debug!(%error, "trying again"),
            Trouble::Items(error) => tracing::warn!(%error, "trying again"),
            Trouble::Database(error) => return Err(Stop::Failed(error)),
        }
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

fn dead_letter<'a>(body: &'a str, reason: &str) -> DeadLetter<'a> {
    DeadLetter {
        id: dead_letter_id(body, SOURCE),
        body,
        reason: "row of a table made by hand".to_owned(),
        detail: Some(reason.to_owned()),
        sqs_message_id: Some(SOURCE),
        source: SOURCE,
        sent_at: None,
        receive_count: None,
    }
}

impl Converted {
    fn add(&mut self, read: usize, (new, dead_letters): (u64, usize)) {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.read += number(read);
        self.new += new;
        self.dead_letters += number(dead_letters);
        self.duplicates += number(read).saturating_sub(number(dead_letters)).saturating_sub(new);
    }
}

struct ConversionProgress {
    done: usize,
    all: i64,
    said: Instant,
}

impl ConversionProgress {
    fn new(all: i64) -> Self {
        Self { done: 0, all, said: Instant::now() }
    }

    fn add(&mut self, rows: usize) {
        self.done += rows;
        if self.said.elapsed() >= EVERY {
            tracing::info!("converted {} of {} rows", self.done, self.all);
            self.said = Instant::now();
        }
    }
}
