//! The floors of writing: the worker's own statement in a bare loop, and COPY.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use ses_reports::decode::{Outcome, Rules, decode};
use ses_reports::row::EventRow;
use ses_reports::store::Store;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, raw_sql};
use tokio::task::JoinSet;

use super::Bench;
use super::consume::PARTS;
use super::cost::{Cost, Moment};
use super::database::{Database, Watch};
use super::process;
use super::queue::Bodies;

/// The events that the stub's messages hold, decoded.
pub fn rows(bench: &Bench, events: u64) -> Result<Arc<Vec<EventRow>>> {
    let (mut bodies, events) = (Bodies::new(bench.now), usize::try_from(events)?);
    let mut rows = Vec::with_capacity(events);
    while rows.len() < events {
        for body in bodies.next() {
            match decode(&body, None, &Rules::default(), bench.now) {
                Outcome::Events(mut more) => rows.append(&mut more),
                other => bail!("a body is no event: {other:?}"),
            }
        }
    }
    rows.truncate(events);
    Ok(Arc::new(rows))
}

/// The first so many rows are written by [`Store::write`] as fast as it goes, on so many
/// connections, a batch at a time: no queue, nothing to decode, to gather or to delete.
pub async fn bare(
    bench: &Bench,
    database: &Database,
    rows: &Arc<Vec<EventRow>>,
    count: usize,
    connections: u32,
    batch: usize,
) -> Result<Cost> {
    let store = Arc::new(database.store(&bench.server.schema, connections).await?);
    let mut watch = database.watch().await?;
    let warm_up = count / usize::try_from(PARTS)?;
    write(&store, rows, 0..warm_up, connections, batch).await?;
    let start = moment(bench, &mut watch, warm_up).await?;
    write(&store, rows, warm_up..count, connections, batch).await?;
    let end = moment(bench, &mut watch, count).await?;
    Ok(Cost::between(&start, &end))
}

async fn write(
    store: &Arc<Store>,
    rows: &Arc<Vec<EventRow>>,
    which: std::ops::Range<usize>,
    connections: u32,
    batch: usize,
) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(which.start));
    let mut writers = JoinSet::new();
    for _ in 0..connections {
        let (store, rows, next) = (Arc::clone(store), Arc::clone(rows), Arc::clone(&next));
        let end = which.end;
        writers.spawn(async move {
            loop {
                let from = next.fetch_add(batch, Ordering::Relaxed);
                if from >= end {
                    return anyhow::Ok(());
                }
                let part: Vec<&EventRow> = rows[from..end.min(from + batch)].iter().collect();
                store.write(&part, &[]).await?;
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    Ok(())
}

/// COPY of what another database holds into this one, on one connection, each table in one
/// transaction: what PostgreSQL takes at most of these rows in tables with these indexes. Reports are
/// written once, as they are after their last event.
pub async fn copy(bench: &Bench, from: &Database, into: &Database) -> Result<Cost> {
    let mut source = from.options.connect().await?;
    let mut tables = Vec::new();
    for table in ["aws_report_detail", "aws_reports"] {
        let file = bench.server.folder().join(table);
        let name = file.to_str().context("a path in UTF-8")?;
        let sql = format!("COPY (TABLE aws_reports.{table}) TO '{name}' (FORMAT binary)");
        raw_sql(AssertSqlSafe(sql)).execute(&mut source).await?;
        tables.push((table, std::fs::read(&file)?));
        std::fs::remove_file(&file)?;
    }
    source.close().await?;
    let mut connection = into.options.connect().await?;
    let mut watch = into.watch().await?;
    let start = moment(bench, &mut watch, 0).await?;
    let mut details = 0;
    for (table, bytes) in &tables {
        let copied = copy_in(&mut connection, table, bytes).await?;
        details = details.max(copied);
    }
    let end = moment(bench, &mut watch, usize::try_from(details)?).await?;
    connection.close().await?;
    Ok(Cost::between(&start, &end))
}

async fn copy_in(connection: &mut PgConnection, table: &str, bytes: &[u8]) -> Result<u64> {
    let sql = format!("COPY aws_reports.{table} FROM STDIN (FORMAT binary)");
    let mut copy = connection.copy_in_raw(&sql).await?;
    copy.read_from(bytes).await?;
    Ok(copy.finish().await?)
}

async fn moment(bench: &Bench, watch: &mut Watch, events: usize) -> Result<Moment> {
    Ok(Moment {
        at: Instant::now(),
        events: u64::try_from(events)?,
        clients: process::own_cpu()?,
        postgres: Some(bench.server.cpu()?),
        stub: None,
        written: Some(watch.written().await?),
    })
}
