//! What `migrate` prints for people.

use std::fmt::Write as _;

use crate::baseline::{Baseline, Converted};
use crate::schema::{Applied, Drift, MigrationState, Plan, Repair, Status};
use crate::store::Check;

pub(super) fn data_text(check: &Check) -> String {
    let mut text = String::new();
    for mismatch in &check.first {
        let _ = match &mismatch.columns {
            Some(columns) => writeln!(
                text,
                "report {} does not match its details: {}",
                mismatch.report_id,
                columns.join(", ")
            ),
            None => writeln!(text, "details without a report: {}", mismatch.report_id),
        };
    }
    for day in &check.days {
        let _ = writeln!(
            text,
            "the figures of {day} are not what its reports say; repair: SELECT aws_report_daily_refresh('{day}')"
        );
    }
    let _ = write!(
        text,
        "{} reports checked, {} do not match their details; the figures of {} days do not match",
        check.reports,
        check.mismatched,
        check.days.len()
    );
    text
}

pub(super) fn baseline_text(done: &Baseline) -> String {
    let line = |table: &str, rows: &Converted| {
        format!(
            "{table}: {} rows read, {} new, {} duplicates, {} dead letters",
            rows.read, rows.new, rows.duplicates, rows.dead_letters
        )
    };
    format!(
        "{}\n{}\nthe old tables are in schema {}: drop it when you no longer need it",
        line("aws_reports", &done.reports),
        line("aws_report_detail", &done.details),
        done.legacy
    )
}

pub(super) fn status_text(status: &Status) -> String {
    let mut text = String::new();
    let names = status.migrations.iter().map(|line| &line.name);
    let names = names.chain(status.backfills.iter().map(|backfill| &backfill.name));
    let width = names.map(String::len).max().unwrap_or_default() + 2;
    for line in &status.migrations {
        let state = match line.state {
            MigrationState::Applied => "applied",
            MigrationState::Pending => "pending",
            MigrationState::Divergent => "DIVERGENT",
            MigrationState::Missing => "MISSING",
            MigrationState::Newer => "newer",
        };
        let _ = write!(text, "{state:<10}{:<width$}", line.name);
        if let Some(on) = &line.applied_on {
            let by = line.applied_by.as_deref().unwrap_or("unknown");
            let took = line.took_ms.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
            let on = on.split('.').next().unwrap_or(on);
            let _ = write!(text, "{on} by {by}{took}, checksum {}", line.checksum);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    for backfill in &status.backfills {
        let state = if backfill.finished { "done" } else { "running" };
        let _ =
            write!(text, "backfill  {:<width$}{state}, {} rows", backfill.name, backfill.rows_done);
        if let Some(error) = &backfill.last_error {
            let _ = write!(text, ", last error: {error}");
        }
        text.push('\n');
    }
    let counts = [
        ("pending", status.in_state(MigrationState::Pending).len()),
        ("divergent", status.in_state(MigrationState::Divergent).len()),
        ("missing", status.in_state(MigrationState::Missing).len()),
        ("newer than this program", status.in_state(MigrationState::Newer).len()),
    ];
    let open: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    let summary = if open.is_empty() { "current".to_owned() } else { open.join(", ") };
    let _ = write!(
        text,
        "schema {} is at version {} of {}: {summary}",
        status.schema, status.version, status.newest
    );
    text
}

pub(super) fn plan_text(plan: &Plan) -> String {
    let mut text = String::new();
    let at = format!("schema {} is at version {}", plan.schema, plan.version);
    if plan.migrations.is_empty() {
        return format!("-- {at}: nothing to do");
    }
    let _ = writeln!(text, "-- {at}; `up` would do this:");
    if !plan.tried {
        let _ = writeln!(
            text,
            "-- No shadow database can be created here, so locks and rewrites are not known. Grant CREATEDB, or\n-- set SHADOW_DATABASE_URL to another server."
        );
    }
    for migration in &plan.migrations {
        let way = if migration.transaction {
            "one transaction"
        } else {
            "statement by statement, outside of a transaction"
        };
        let _ = writeln!(text, "\n-- == {}: {way}", migration.name);
        for finding in &migration.lint {
            let _ = writeln!(
                text,
                "-- LINT {} (line {}): {}",
                finding.rule, finding.line, finding.says
            );
        }
        for step in &migration.statements {
            text.push('\n');
            for lock in &step.locks {
                let size = lock.bytes.map(|bytes| format!(", {}", size(bytes))).unwrap_or_default();
                let waits = match lock.blocks {
                    Some(who) => format!("{who} wait"),
                    None => "no session waits".to_owned(),
                };
                let _ =
                    writeln!(text, "-- lock: {} on {} ({waits}{size})", lock.mode, lock.relation);
            }
            for table in &step.rewrites {
                let _ = writeln!(text, "-- REWRITES {table}");
            }
            let _ = writeln!(text, "{};", step.sql.trim_end_matches(';'));
        }
        if migration.code {
            let _ = writeln!(text, "\n-- then a function in Rust (src/schema/code.rs)");
        }
    }
    text
}

/// Bytes for people.
fn size(bytes: i64) -> String {
    let units = [(1_i64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.iter().find(|(unit, _)| bytes >= *unit);
    unit.map_or_else(|| format!("{bytes} bytes"), |(unit, name)| format!("{} {name}", bytes / unit))
}

pub(super) fn undone_text(status: &Status, undone: &[Applied]) -> String {
    let mut text = String::new();
    for migration in undone {
        let _ = writeln!(text, "undone {} in {} ms", migration.name, migration.took.as_millis());
    }
    let nothing = if undone.is_empty() { ": nothing to do" } else { "" };
    let _ = write!(text, "schema {} is at version {}{nothing}", status.schema, status.version);
    text
}

pub(super) fn drift_text(drift: &Drift) -> String {
    let mut text = String::new();
    for difference in &drift.differences {
        let what = match (&difference.expected, &difference.found) {
            (Some(_), None) => "is missing",
            (None, Some(_)) => "is not created by any migration",
            _ => "differs",
        };
        let _ = writeln!(text, "{} {} {what}", difference.kind, difference.name);
        if let Some(expected) = &difference.expected {
            let _ = writeln!(text, "  expected: {expected}");
        }
        if let Some(found) = &difference.found {
            let _ = writeln!(text, "  found:    {found}");
        }
        let _ = writeln!(text, "  repair:   {}", difference.repair());
    }
    let _ = match drift.differences.len() {
        0 => write!(text, "schema {} matches version {}", drift.schema, drift.version),
        count => write!(
            text,
            "schema {} differs from version {} in {count} places",
            drift.schema, drift.version
        ),
    };
    text
}

pub(super) fn repair_text(repairs: &[Repair]) -> String {
    if repairs.is_empty() {
        return "nothing to repair: no applied migration was changed".to_owned();
    }
    repairs.iter().fold(String::new(), |mut text, repair| {
        let verdict = if repair.accepted { "accepted" } else { "refused" };
        let _ = writeln!(
            text,
            "{verdict} {}: {} (checksum {} → {})",
            repair.name, repair.compared, repair.was, repair.is
        );
        text
    })
}
