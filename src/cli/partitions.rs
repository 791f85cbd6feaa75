//! `ses-reports partitions`: the months of the detail table, by hand.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use time::macros::format_description;
use time::{Date, OffsetDateTime};
use tokio_util::sync::CancellationToken;

use super::exit::{FAILED, Failure, USAGE, failed};
use super::{answer, until_signal};
use crate::batch::month_of;
use crate::config::{Database, DatabaseArgs};
use crate::postgres::explain;
use crate::retention::{self, Retention};
use crate::schema::partitions::{self, Partition};
use crate::store::partitions::{Ensured, MONTHS_AHEAD, ensure, months_from};

/// What to do with the months.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the months and their sizes
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Create the partitions of the current month and of those after it; workers do this by themselves
    Create {
        /// How many months ahead of the current one
        #[arg(long, default_value_t = MONTHS_AHEAD, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(..=120))]
        months: u16,
        #[command(flatten)]
        common: Common,
    },
    /// Drop all months before a given one for good; late events of those months are not stored
    Drop {
        /// The first month to keep
        #[arg(long, value_name = "YYYY-MM", value_parser = month)]
        before: Date,
        /// Only say what would be dropped
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
pub(super) struct Common {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn month(text: &str) -> Result<Date, String> {
    let format = format_description!("[year]-[month]-[day]");
    Date::parse(&format!("{text}-01"), format)
        .map_err(|_error| "it is not a month; write it as 2026-11".to_owned())
}

pub(super) async fn run(command: &Command) -> Result<(), Failure> {
    let (Command::List { common } | Command::Create { common, .. } | Command::Drop { common, .. }) =
        command;
    let database = common.database.check()?;
    let (lines, json) = until_signal(async {
        match command {
            Command::List { .. } => list(&database).await,
            Command::Create { months, .. } => create(&database, *months).await,
            Command::Drop { before, dry_run, .. } => {
                drop_before(&database, *before, *dry_run).await
            }
        }
    })
    .await?;
    answer(&if common.json { json.to_string() } else { lines.join("\n") });
    Ok(())
}

/// What a command says, to people and to programs.
type Answer = (Vec<String>, Value);

async fn list(database: &Database) -> Result<Answer, Failure> {
    let partitions = all(database).await?;
    Ok((table(&partitions), partitions.iter().map(as_json).collect()))
}

async fn create(database: &Database, months: u16) -> Result<Answer, Failure> {
    let mut connection = database.options.connect().await.map_err(|error| sql(&error))?;
    let mut created = Vec::new();
    for month in months_from(now(), months) {
        let ensured = ensure(&mut connection, &database.schema, month).await;
        if ensured.map_err(|error| sql(&error))? == Ensured::Created {
            created.push(name_of(month));
        }
    }
    let line = if created.is_empty() {
        "every month has a partition: nothing to do".to_owned()
    } else {
        format!("created {}", created.join(", "))
    };
    Ok((vec![line], json!({ "created": created })))
}

async fn drop_before(database: &Database, before: Date, dry_run: bool) -> Result<Answer, Failure> {
    if before > month_of(now()) {
        return Err(Failure {
            code: USAGE,
            line: format!("--before {}: that month is in the future", name_of(before)),
        });
    }
    let (kept_from, dropped) = if dry_run {
        let mut partitions = all(database).await?;
        partitions.retain(|partition| partition.is_expired || is_dropped(partition, before));
        for partition in &mut partitions {
            partition.is_expired = true;
        }
        (before, partitions)
    } else {
        let mut retention = Retention::begin(&database.migration_options, &database.schema)
            .await
            .map_err(refused)?;
        let kept_from = retention.keep_details_from(before).await.map_err(refused)?;
        let dropped = retention.drop_expired(&CancellationToken::new()).await.map_err(refused)?;
        retention.end().await;
        (kept_from, dropped)
    };
    let mut lines = if dropped.is_empty() { Vec::new() } else { table(&dropped) };
    let bytes: i64 = dropped.iter().map(|partition| partition.bytes).sum();
    lines.push(format!(
        "{} {} partitions, {}; details of {} and later are kept",
        if dry_run { "would drop" } else { "dropped" },
        dropped.len(),
        size(bytes),
        name_of(kept_from),
    ));
    let json = json!({
        "dry_run": dry_run,
        "kept_from": name_of(kept_from),
        "dropped": dropped.iter().map(as_json).collect::<Value>(),
    });
    Ok((lines, json))
}

/// What `drop --before` takes: partitions that end before the month. Tables that a person has
/// detached stay.
fn is_dropped(partition: &Partition, before: Date) -> bool {
    (partition.is_attached || partition.is_pending) && partition.until_day <= before
}

async fn all(database: &Database) -> Result<Vec<Partition>, Failure> {
    let mut connection = database.options.connect().await.map_err(|error| sql(&error))?;
    partitions::list(&mut connection, &database.schema).await.map_err(|error| sql(&error))
}

fn sql(error: &sqlx::Error) -> Failure {
    failed(format!("PostgreSQL: {}", explain(error)))
}

fn refused(error: retention::Error) -> Failure {
    let line = match error {
        retention::Error::Rights(refusal) => format!(
            "PostgreSQL: {refusal}: only the owner of the schema may drop months; connect as the owner"
        ),
        other => format!("PostgreSQL: {other}"),
    };
    Failure { code: FAILED, line }
}

fn table(partitions: &[Partition]) -> Vec<String> {
    let row = |name: &str, month: &str, rows: &str, size: &str, state: &str| {
        format!("{name:<28}  {month:<7}  {rows:>14}  {size:>10}  {state}").trim_end().to_owned()
    };
    let mut lines = vec![row("partition", "month", "rows (about)", "size", "state")];
    lines.extend(partitions.iter().map(|partition| {
        let rows = partition.rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string());
        let month = name_of(partition.from_day);
        row(&partition.name, &month, &rows, &size(partition.bytes), &state(partition))
    }));
    lines
}

fn state(partition: &Partition) -> String {
    let attached = if partition.is_attached {
        "attached"
    } else if partition.is_pending {
        "detach interrupted"
    } else {
        "detached"
    };
    if partition.is_expired { format!("{attached}, no longer kept") } else { attached.to_owned() }
}

fn as_json(partition: &Partition) -> Value {
    json!({
        "partition": partition.name,
        "month": name_of(partition.from_day),
        "rows_estimate": partition.rows,
        "bytes": partition.bytes,
        "attached": partition.is_attached,
        "detach_pending": partition.is_pending,
        "expired": partition.is_expired,
    })
}

fn name_of(month: Date) -> String {
    format!("{}-{:02}", month.year(), u8::from(month.month()))
}

fn size(bytes: i64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let (mut number, mut unit) = (bytes / 1024, 0);
    while number >= 10 * 1024 && unit + 1 < UNITS.len() {
        number /= 1024;
        unit += 1;
    }
    format!("{number} {}", UNITS[unit])
}

#[expect(clippy::disallowed_methods, reason = "the calendar decides which months come and go")]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
