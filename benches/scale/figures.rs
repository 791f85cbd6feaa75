//! What was measured, as a table and as JSON.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, query_as};

use super::numbers::{at, millis};

#[derive(Debug, Serialize)]
pub struct Figures {
    pub details: u64,
    pub postgresql: String,
    pub cores: usize,
    /// Of the full database.
    pub bytes: i64,
    pub partitions: i64,
    pub lines: Vec<Line>,
    /// What PostgreSQL did for one question of each kind.
    pub plans: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Line {
    pub what: String,
    pub unit: &'static str,
    pub full: f64,
    pub empty: Option<f64>,
    /// Full by empty; of pairs that were measured one after the other, the median.
    pub ratio: Option<f64>,
    pub goal: Option<Goal>,
    pub is_met: Option<bool>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub enum Goal {
    /// The full database costs at most so many times what the empty one does.
    Ratio(f64),
    /// At most so much in the full database.
    Most(f64),
}

impl Figures {
    pub async fn of(full: &PgConnectOptions, details: u64) -> Result<Self> {
        let mut connection = full.connect().await?;
        let (postgresql, bytes, partitions) = query_as(
            "SELECT current_setting('server_version'), pg_database_size(current_database()),
                (SELECT count(*) FROM pg_inherits WHERE inhparent = 'aws_report_detail'::regclass)",
        )
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        let cores = std::thread::available_parallelism()?.get();
        let (lines, plans) = (Vec::new(), Vec::new());
        Ok(Self { details, postgresql, cores, bytes, partitions, lines, plans })
    }

    pub fn add(&mut self, what: &str, unit: &'static str, full: f64) -> &mut Line {
        self.lines.push(Line {
            what: what.to_owned(),
            unit,
            full,
            empty: None,
            ratio: None,
            goal: None,
            is_met: None,
        });
        let last = self.lines.len() - 1;
        &mut self.lines[last]
    }

    /// The median and the 99th percentile of some durations.
    pub fn add_times(&mut self, what: &str, mut times: Vec<Duration>, most: Option<f64>) {
        times.sort_unstable();
        for (name, percent) in [("p50", 50), ("p99", 99)] {
            let line = self.add(&format!("{what}, {name}"), "ms", millis(at(&times, percent)));
            if let Some(most) = most {
                line.goal(Goal::Most(most));
            }
        }
    }
}

impl Line {
    pub fn beside(&mut self, empty: f64) -> &mut Self {
        self.empty = Some(empty);
        self.ratio = Some(self.full / empty);
        self
    }

    pub fn goal(&mut self, goal: Goal) {
        self.goal = Some(goal);
        self.is_met = Some(match goal {
            Goal::Ratio(most) => self.ratio.is_some_and(|ratio| ratio <= most),
            Goal::Most(most) => self.full <= most,
        });
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} events in {} partitions, {} GB; PostgreSQL {}, {} cores\n",
            self.details,
            self.partitions,
            self.bytes / 1_000_000_000,
            self.postgresql,
            self.cores
        )?;
        writeln!(formatter, "| | full | empty | ratio | goal |\n|---|---|---|---|---|")?;
        for line in &self.lines {
            let value = |value: f64| match line.unit {
                "ms" => format!("{value:.2} ms"),
                unit => format!("{value:.0} {unit}").trim_end().to_owned(),
            };
            let goal = line.goal.map(|goal| match goal {
                Goal::Ratio(most) => format!("ratio {most:.2}"),
                Goal::Most(most) => value(most),
            });
            let met = if line.is_met == Some(true) { "met" } else { "not met" };
            writeln!(
                formatter,
                "| {} | {} | {} | {} | {} |",
                line.what,
                value(line.full),
                line.empty.map(value).unwrap_or_default(),
                line.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                goal.map(|goal| format!("{goal}: {met}")).unwrap_or_default(),
            )?;
        }
        Ok(())
    }
}
