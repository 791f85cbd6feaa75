//! `make scale`: what writing and asking cost in a database of 36 months and 50 million events, and
//! what the same costs in an empty one.
//!
//! It makes a PostgreSQL cluster of its own, fills it in the database, measures, prints a table, and
//! deletes the cluster. Nothing is asserted by timing: each goal is reported as met or not.

#![expect(clippy::print_stdout, reason = "it reports to a terminal")]
#![expect(unreachable_pub, reason = "nothing here is reachable")]

#[expect(dead_code, reason = "make bench uses the rest")]
#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/events.rs"]
mod events;
mod figures;
mod fill;
mod fresh;
mod insert;
#[path = "../support/numbers.rs"]
mod numbers;
mod questions;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use ses_reports::postgres::SchemaName;
use ses_reports::schema::Schema;
use ses_reports::store::Store;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, query_scalar, raw_sql};
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};

use cluster::Cluster;
use figures::Figures;
use fill::Mails;

/// A line of progress.
macro_rules! say {
    ($($what:tt)*) => { eprintln!("scale: {}", format_args!($($what)*)) };
}
pub(crate) use say;

/// A detail with its share of its report, in the tables and their indexes, and room to work.
const BYTES_OF_A_DETAIL: u64 = 750;

/// Measure a database of 36 months of events, and an empty one beside it
#[derive(Debug, Parser)]
struct Settings {
    /// Events in the full database
    #[arg(long, env = "SCALE_DETAILS", default_value_t = 50_000_000,
        value_parser = clap::value_parser!(u64).range(100_000..))]
    details: u64,
    /// Keep the cluster in this folder: the next run measures it again without filling it
    #[arg(long, env = "SCALE_FOLDER")]
    folder: Option<PathBuf>,
    /// Mails on each day of the week whose opens keep the figures changing
    #[arg(long, env = "SCALE_MAILS_A_DAY", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(i64).range(1_000..))]
    mails_a_day: i64,
    /// Measure this only
    #[arg(long, env = "SCALE_ONLY")]
    only: Option<Part>,
    /// Write the figures to this file too, as JSON
    #[arg(long, env = "SCALE_JSON")]
    json: Option<PathBuf>,
    /// Sessions that fill the database at once
    #[arg(long, env = "SCALE_LOADERS", default_value_t = 2)]
    loaders: usize,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The age of the figures while a week's mail is opened
    Fresh,
}

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings::parse();
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let cluster = Cluster::create(settings.folder.as_deref())?;
    let figures = tokio::select! {
        figures = Box::pin(run(&settings, &cluster)) => figures,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }?;
    drop(cluster);
    println!("{figures}");
    if let Some(path) = &settings.json {
        let file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
        serde_json::to_writer_pretty(file, &figures)?;
    }
    Ok(())
}

async fn run(settings: &Settings, cluster: &Cluster) -> Result<Figures> {
    #[expect(clippy::disallowed_methods, reason = "here the clock enters")]
    let now = OffsetDateTime::now_utc();
    let mails = Mails::until(now, settings.details);
    let schema = SchemaName::new("aws_reports").map_err(anyhow::Error::msg)?;
    let week = Database::of(cluster, "scale_week", &schema);
    if settings.only == Some(Part::Fresh) {
        cluster.start(cluster::TO_MEASURE)?;
        week.create().await?;
        let mut figures = Figures::of(&week.options, 0).await?;
        fresh::measure(&mut figures, &week.options, settings.mails_a_day).await?;
        return Ok(figures);
    }
    let full = Database::of(cluster, "scale_full", &schema);
    let empty = Database::of(cluster, "scale_empty", &schema);

    cluster.start(cluster::TO_FILL)?;
    if full.mark().await?.as_deref() == Some(&*settings.details.to_string()) {
        say!("{} is filled already", cluster.folder().display());
    } else {
        cluster::demand_space(
            cluster.folder(),
            settings.details * BYTES_OF_A_DETAIL,
            "SCALE_DETAILS",
        )?;
        say!("filling {} with {} details", cluster.folder().display(), settings.details);
        full.create().await?;
        fill::fill(&full.options, mails, settings.loaders).await?;
        fill::verify(&full.options, &schema).await?;
        say!("verified: the schema is as the migrations make it");
        full.set_mark(settings.details).await?;
    }
    empty.create().await?;
    let samples = questions::Samples::draw(&full.options).await?;
    say!("stopping, writing everything to disk, and starting with fsync");
    cluster.stop()?;
    cluster.start(cluster::TO_MEASURE)?;

    let mut figures = Figures::of(&full.options, settings.details).await?;
    questions::measure(&mut figures, &full.options, &samples).await?;
    Box::pin(insert::measure(&mut figures, &full, &empty, &samples, now)).await?;
    questions::timeline_of_new_mail(&mut figures, &empty.options).await?;
    questions::refresh(&mut figures, &full.options, &empty.options, mails).await?;
    week.create().await?;
    fresh::measure(&mut figures, &week.options, settings.mails_a_day).await?;
    Ok(figures)
}

/// A database of the cluster.
struct Database<'a> {
    name: &'static str,
    options: PgConnectOptions,
    server: PgConnectOptions,
    schema: &'a SchemaName,
}

impl<'a> Database<'a> {
    fn of(cluster: &Cluster, name: &'static str, schema: &'a SchemaName) -> Self {
        let options = cluster.options(name).options([("search_path", schema.as_str())]);
        Self { name, options, server: cluster.options("postgres"), schema }
    }

    /// Makes it anew, as the migrations do.
    async fn create(&self) -> Result<()> {
        let mut server = self.server.connect().await?;
        for sql in [
            format!("DROP DATABASE IF EXISTS {}", self.name),
            format!("CREATE DATABASE {}", self.name),
        ] {
            raw_sql(AssertSqlSafe(sql)).execute(&mut server).await?;
        }
        server.close().await?;
        Schema::new(self.options.clone(), self.schema.clone()).up(None).await?;
        Ok(())
    }

    /// As a worker connects.
    async fn store(&self) -> Result<Store> {
        let (options, schema) = (self.options.clone(), self.schema.clone());
        Ok(Store::connect(options, schema, Duration::from_secs(30), 1, true).await?)
    }

    /// What [`Database::set_mark`] has set: how many details it was filled with.
    async fn mark(&self) -> Result<Option<String>> {
        let mut server = self.server.connect().await?;
        let sql =
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1";
        let mark = query_scalar(sql).bind(self.name).fetch_optional(&mut server).await?;
        server.close().await?;
        Ok(mark.flatten())
    }

    async fn set_mark(&self, details: u64) -> Result<()> {
        let mut server = self.server.connect().await?;
        let sql = format!("COMMENT ON DATABASE {} IS '{details}'", self.name);
        raw_sql(AssertSqlSafe(sql)).execute(&mut server).await?;
        Ok(server.close().await?)
    }
}
