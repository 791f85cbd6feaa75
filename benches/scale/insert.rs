//! What a write costs: the worker's own, of the rows that it makes of events.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ses_reports::row::EventRow;
use ses_reports::store::Store;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, query_scalar, raw_sql};
use time::OffsetDateTime;

use super::events::{self, Stream};
use super::figures::{Figures, Goal};
use super::numbers::{float, median, millis};
use super::questions::Samples;
use super::{Database, say};

/// Batches to each database right after a checkpoint, when the first change of a page puts all of it
/// into the WAL, and again when most pages have been changed.
const ROUNDS: [usize; 2] = [100, 300];
/// Until a stream has mail of every age, and caches and plans are as they stay.
const WARM_UP: usize = 20;
/// Batches at once that bring the full database from the one state to the other, and how often at
/// most: the pages whose keys are random number some hundred thousand.
const BETWEEN: (usize, usize) = (100, 20);
/// The share of whole pages in the WAL at which it is there.
const FEW_IMAGES: f64 = 0.1;
/// A server in use holds the indexes whose keys are random. The others grow at their end.
const WARM: &str = "CREATE EXTENSION IF NOT EXISTS pg_prewarm SCHEMA public;
    SELECT public.pg_prewarm('aws_reports_user_email'), public.pg_prewarm('aws_reports_user_id')";
/// Three events each.
const MAILS: usize = 333;

/// A write, and the WAL from and to where it went.
struct Cost {
    took: Duration,
    events: usize,
    from: i64,
    to: i64,
}

pub async fn measure(
    figures: &mut Figures,
    full: &Database<'_>,
    empty: &Database<'_>,
    samples: &Samples,
    now: OffsetDateTime,
) -> Result<()> {
    let mut watch = full.server.connect().await?;
    raw_sql("CREATE EXTENSION IF NOT EXISTS pg_walinspect").execute(&mut watch).await?;
    for database in [full, empty] {
        let mut connection = database.options.connect().await?;
        raw_sql(WARM).execute(&mut connection).await?;
        raw_sql("CHECKPOINT").execute(&mut connection).await?;
        connection.close().await?;
    }
    let stores = [full.store().await?, empty.store().await?];
    let seed = now.unix_timestamp().unsigned_abs();
    let mut stream = Stream::new(seed, now);
    for _ in 0..WARM_UP {
        let rows = stream.batch(MAILS)?;
        for store in &stores {
            write(store, &rows, &mut watch).await?;
        }
    }
    raw_sql("CHECKPOINT").execute(&mut watch).await?;
    in_turns(figures, &stores, &mut stream, &mut watch, "right after a checkpoint").await?;
    say!("writing to the full one until most pages have been changed since the checkpoint");
    for _ in 0..BETWEEN.1 {
        let mut costs = Vec::new();
        for _ in 0..BETWEEN.0 {
            costs.push(write(&stores[0], &stream.batch(MAILS)?, &mut watch).await?);
        }
        let images = images_of_an_event(&mut watch, &costs).await?;
        if images < FEW_IMAGES * wal_of_an_event(&costs) {
            break;
        }
    }
    in_turns(figures, &stores, &mut stream, &mut watch, "between checkpoints").await?;

    say!("writing opens of last month's mail");
    let mut opens = Vec::new();
    for mails in samples.old_mail.chunks(3 * MAILS) {
        let of_now: Vec<_> = mails.iter().map(|mail| events::event(mail, "Open", 86_400)).collect();
        let rows = events::rows(&of_now, now)?;
        opens.push(write(&stores[0], &rows, &mut watch).await?);
    }
    ensure!(!opens.is_empty(), "there is mail of last month");
    let what = format!("writing {} opens of last month's mail, p50", 3 * MAILS);
    figures.add(&what, "ms", took(&opens));
    wal(figures, &mut watch, &opens, None).await
}

/// Writes the same batches to both, and tells what that costs.
async fn in_turns(
    figures: &mut Figures,
    stores: &[Store; 2],
    stream: &mut Stream,
    watch: &mut PgConnection,
    when: &str,
) -> Result<()> {
    let is_steady = when == "between checkpoints";
    let rounds = ROUNDS[usize::from(is_steady)];
    say!("{when}: writing {rounds} batches of {} events to each, in turns", 3 * MAILS);
    let mut random = fastrand::Rng::with_seed(2);
    let mut costs: [Vec<Cost>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        let rows = stream.batch(MAILS)?;
        let mut order = [0, 1];
        random.shuffle(&mut order);
        for which in order {
            costs[which].push(write(&stores[which], &rows, watch).await?);
        }
    }
    let [full_costs, empty_costs] = &costs;
    let pairs = full_costs.iter().zip(empty_costs);
    let ratio = median(
        pairs.map(|(full, empty)| full.took.as_secs_f64() / empty.took.as_secs_f64()).collect(),
    );
    let what = format!("{when}: writing {} events, p50", 3 * MAILS);
    let line = figures.add(&what, "ms", took(full_costs)).beside(took(empty_costs));
    line.ratio = Some(ratio);
    if is_steady {
        line.goal(Goal::Ratio(1.15));
    }
    figures.add("events per second", "", rate(full_costs)).beside(rate(empty_costs));
    wal(figures, watch, full_costs, Some(empty_costs)).await
}

async fn write(store: &Store, rows: &[EventRow], watch: &mut PgConnection) -> Result<Cost> {
    let rows: Vec<&EventRow> = rows.iter().collect();
    let from = wal_position(watch).await?;
    let began = Instant::now();
    let written = store.write(&rows, &[]).await?;
    let took = began.elapsed();
    ensure!(written.details > 0, "the events are new");
    Ok(Cost { took, events: rows.len(), from, to: wal_position(watch).await? })
}

async fn wal_position(connection: &mut PgConnection) -> Result<i64> {
    let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
    Ok(query_scalar(sql).fetch_one(connection).await?)
}

/// The WAL of an event, and how much of it are images of pages that were changed for the first time
/// since the checkpoint.
async fn wal(
    figures: &mut Figures,
    watch: &mut PgConnection,
    full: &[Cost],
    empty: Option<&[Cost]>,
) -> Result<()> {
    let line = figures.add("WAL of an event", "bytes", wal_of_an_event(full));
    if let Some(empty) = empty {
        line.beside(wal_of_an_event(empty));
    }
    let images = images_of_an_event(watch, full).await?;
    let empty_images = match empty {
        Some(empty) => Some(images_of_an_event(watch, empty).await?),
        None => None,
    };
    figures.add("of it full-page images", "bytes", images).empty = empty_images;
    Ok(())
}

async fn images_of_an_event(watch: &mut PgConnection, costs: &[Cost]) -> Result<f64> {
    let mut sum = 0.0;
    for cost in costs {
        let bytes: f64 = query_scalar(
            "SELECT coalesce(sum(fpi_size), 0)::float8
            FROM pg_get_wal_stats('0/0'::pg_lsn + $1::bigint::numeric, '0/0'::pg_lsn + $2::bigint::numeric)",
        )
        .bind(cost.from)
        .bind(cost.to)
        .fetch_one(&mut *watch)
        .await?;
        sum += bytes;
    }
    Ok(sum / events_of(costs))
}

fn wal_of_an_event(costs: &[Cost]) -> f64 {
    let bytes: i64 = costs.iter().map(|cost| cost.to - cost.from).sum();
    float(bytes.unsigned_abs()) / events_of(costs)
}

fn took(costs: &[Cost]) -> f64 {
    median(costs.iter().map(|cost| millis(cost.took)).collect())
}

fn rate(costs: &[Cost]) -> f64 {
    events_of(costs) / costs.iter().map(|cost| cost.took.as_secs_f64()).sum::<f64>()
}

fn events_of(costs: &[Cost]) -> f64 {
    costs.iter().map(|cost| float(u64::try_from(cost.events).unwrap_or(u64::MAX))).sum()
}
