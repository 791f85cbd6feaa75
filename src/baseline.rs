//! `migrate baseline`: rows of tables that were made by hand travel the way of events, from decode
//! on, into ours. Ids are content, so duplicates meet, and an interrupted run is run again.

use std::time::{Duration, Instant};

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::decode::identity::dead_letter_id;
use crate::decode::{Rules, baseline};
use crate::postgres::SchemaName;
use crate::row::{EventRow, ReportRow};
use crate::store::partitions::months_ahead;
use crate::store::{DeadLetter, Error, HandMadeTables, Store};

/// How often a long run says where it is.
const EVERY: Duration = Duration::from_secs(5);

/// The source of a dead letter, and what stands in for its SQS message id.
pub(crate) const SOURCE: &str = "baseline";

/// What became of the rows of one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Converted {
    /// Rows that were read.
    pub read: u64,
    /// Rows of ours that they became.
    pub new: u64,
    /// Rows that met one that was there: duplicates.
    pub duplicates: u64,
    /// Rows that could not be understood; each is a dead letter.
    pub dead_letters: u64,
}

/// What became of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Baseline {
    /// Where the tables that were made by hand are now.
    pub legacy: String,
    /// The rows of `aws_reports`.
    pub reports: Converted,
    /// The rows of `aws_report_detail`.
    pub details: Converted,
}

/// Converts all rows.
///
/// # Errors
/// When PostgreSQL is away or refuses. Running it again goes on, and changes nothing twice.
pub async fn convert(
    mut tables: HandMadeTables,
    store: &Store,
    ours: &SchemaName,
    hand_made: &SchemaName,
    rules: &Rules,
) -> Result<Baseline, Error> {
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
        let write = async |read: &[ReportRow], letters: &[DeadLetter<'_>]| {
            store.write_reports(read, letters).await.map(|_| 0)
        };
        converted.reports.add(chunk.len(), write_rows(read, write).await?);
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
        let read = chunk
            .iter()
            .map(|(row, report)| (row, baseline::detail(row, report.as_ref(), rules, now)));
        let write = async |read: &[EventRow], letters: &[DeadLetter<'_>]| {
            Ok(store.write(&read.iter().collect::<Vec<_>>(), letters).await?.details)
        };
        converted.details.add(chunk.len(), write_rows(read.collect(), write).await?);
        progress.add(chunk.len());
    }
    drop(rows);
    tables.finish(ours, converted.reports.read + converted.details.read).await?;
    Ok(converted)
}

/// Writes the rows of a chunk, and as dead letters those that cannot be understood or that
/// PostgreSQL refuses. Tells how many were new, and how many are dead letters.
async fn write_rows<T>(
    chunk: Vec<(&baseline::Row, Result<T, &'static str>)>,
    write: impl AsyncFn(&[T], &[DeadLetter<'_>]) -> Result<u64, Error>,
) -> Result<(u64, usize), Error> {
    let (mut read, mut sources, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    for (row, outcome) in chunk {
        match outcome {
            Ok(one) => {
                read.push(one);
                sources.push(row);
            }
            Err(reason) => unread.push((row, reason.to_owned())),
        }
    }
    let mut new = match write(&read, &[]).await {
        Err(Error::Refused(_)) => {
            let mut new = 0;
            for (one, row) in read.chunks(1).zip(sources) {
                match write(one, &[]).await {
                    Err(Error::Refused(refusal)) => unread.push((row, refusal.message)),
                    written => new += written?,
                }
            }
            new
        }
        written => written?,
    };
    let bodies: Vec<(String, &str)> = unread
        .iter()
        .map(|(row, reason)| (serde_json::to_string(row).unwrap_or_default(), reason.as_str()))
        .collect();
    let letters: Vec<DeadLetter<'_>> = bodies
        .iter()
        .map(|(body, reason)| DeadLetter {
            id: dead_letter_id(body, SOURCE),
            body,
            reason: "row of a table made by hand".to_owned(),
            detail: Some((*reason).to_owned()),
            sqs_message_id: Some(SOURCE),
            source: SOURCE,
            sent_at: None,
            receive_count: None,
        })
        .collect();
    if !letters.is_empty() {
        new += write(&[], &letters).await?;
    }
    Ok((new, letters.len()))
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
