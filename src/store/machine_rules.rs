//! The rules that tell people from machines: read from their table, and whether history was classified
//! by them.

use std::sync::Arc;

use sqlx::FromRow;

use super::{Error, Store};
use crate::classify::machine::{Class, MachineRules, Rule};
use crate::classify::version;

/// The backfill that classifies history again.
pub(super) const CLASSES: &str = "classes";

/// A row of `aws_report_machine_rule`.
#[derive(FromRow)]
struct Row {
    name: String,
    opens: bool,
    clicks: bool,
    kind: String,
    value: String,
    verdict: String,
    priority: i32,
}

/// What became of the rules when they were read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Learnt {
    /// Whether they differ from those before.
    pub(crate) has_changed: bool,
    /// Rules that this program does not understand.
    pub(crate) unusable: Vec<String>,
}

impl Store {
    /// The rules as they were last read.
    pub(crate) fn machine_rules(&self) -> Arc<MachineRules> {
        self.known(|known| Arc::clone(&known.machine_rules))
    }

    /// Reads the rules, which an operator may have changed.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or refuses.
    pub(crate) async fn learn_machine_rules(&self) -> Result<Learnt, Error> {
        let rows: Vec<Row> = self
            .transaction("read the rules for machines", async |connection| {
                // Networks as PostgreSQL writes them, in whatever way they were entered.
                let read = self.statement(
                    "-- ses-reports: read the rules for machines
                    SELECT name, opens, clicks, kind, verdict, priority,
                        CASE WHEN kind = 'network' THEN network(value::inet)::text ELSE value END AS value
                    FROM {schema}.aws_report_machine_rule WHERE is_enabled",
                );
                Ok(sqlx::query_as(read).persistent(false).fetch_all(connection).await?)
            })
            .await?;
        let (mut rules, mut unusable) = (Vec::new(), Vec::new());
        for row in rows {
            let Row { name, opens, clicks, kind, value, verdict, priority } = row;
            match Class::read(&verdict) {
                Some(verdict) => {
                    rules.push(Rule { name, opens, clicks, kind, value, verdict, priority });
                }
                None => unusable.push(name),
            }
        }
        let (rules, others) = MachineRules::new(rules);
        unusable.extend(others);
        let has_changed = self.known(|known| {
            let has_changed = known.machine_rules.version() != rules.version();
            known.machine_rules = Arc::new(rules);
            has_changed
        });
        Ok(Learnt { has_changed, unusable })
    }

    /// Has the backfill `classes` begin again if history was classified by other rules; true if it does.
    /// With `is_settled` false a finished one is left alone: other workers may still write by the former
    /// rules, and what they write would be passed over.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or refuses.
    pub async fn classify_history(&self, is_settled: bool) -> Result<bool, Error> {
        let present = version::of_rules(&self.machine_rules());
        self.transaction("classify history", async |connection| {
            let read = self.statement(
                "-- ses-reports: read by which rules history was classified
                SELECT version FROM {schema}.aws_report_backfill WHERE name = $1",
            );
            let held: Option<Option<String>> = sqlx::query_scalar(read)
                .persistent(false)
                .bind(CLASSES)
                .fetch_optional(&mut *connection)
                .await?;
            let Some(held) = held else {
                // The tables were empty when the rules came: all that is in them was classified.
                let record = self.statement(
                    "-- ses-reports: record that no history is to be classified
                    INSERT INTO {schema}.aws_report_backfill (name, version, finished_at) VALUES ($1, $2, now())
                    ON CONFLICT DO NOTHING",
                );
                sqlx::query(record)
                    .persistent(false)
                    .bind(CLASSES)
                    .bind(&present)
                    .execute(connection)
                    .await?;
                return Ok(false);
            };
            // One that has not begun takes the rules of whoever begins it.
            let is_begun_by_others = held.as_deref().is_some_and(|held| version::supersedes(&present, held));
            if !is_settled || !is_begun_by_others {
                return Ok(false);
            }
            let begin = self.statement(
                "-- ses-reports: begin to classify history again
                UPDATE {schema}.aws_report_backfill
                SET version = $3, position = NULL, finished_at = NULL, rows_done = 0, started_at = now(),
                    updated_at = now(), last_error = NULL
                WHERE name = $1 AND version = $2",
            );
            let done = sqlx::query(begin)
                .persistent(false)
                .bind(CLASSES)
                .bind(&held)
                .bind(&present)
                .execute(connection)
                .await?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }
}
