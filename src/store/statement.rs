//! The long statements, with the lists of [`crate::row::columns`] in their places.
//!
//! `write.sql` and `check.sql` are the statements as people write them; `snapshots/` holds them as
//! PostgreSQL gets them, and a test compares: a change of a column is read there.

use crate::row::Milestone;
use crate::row::columns::{COUNTERS, Counter, DETAIL, Fold, Get, REPORT, ReportColumn};

/// A line of short items is not longer than this.
const WIDTH: usize = 92;

/// Writes a batch.
pub(super) fn write() -> String {
    let report_names = wrapped(REPORT.iter().map(|column| column.name));
    let detail_names = wrapped(DETAIL.iter().map(|column| column.name));
    let detail_values = wrapped(DETAIL.iter().map(|column| match column.get {
        Get::Json(_) => format!("{}::jsonb", column.name),
        _ => column.name.to_owned(),
    }));
    let detail_parameters =
        wrapped(DETAIL.iter().zip(1..).map(|(column, number)| parameter(number, &column.get)));
    let report_parameters = wrapped(
        REPORT
            .iter()
            .zip(DETAIL.len() + 1..)
            .map(|(column, number)| parameter(number, &column.get)),
    );
    let types = COUNTERS.iter().map(|counter| format!("'{}'", counter.of.facts().event_type));
    let of_columns = REPORT.iter().filter_map(update);
    let of_counters = COUNTERS
        .iter()
        .map(|Counter { name, .. }| format!("{name} = held.{name} + excluded.{name}"));
    let is_counted = COUNTERS.iter().map(|Counter { name, .. }| format!("excluded.{name} > 0"));
    fill(
        include_str!("write.sql"),
        &[
            ("{detail_names}", detail_names),
            ("{detail_values}", detail_values),
            ("{detail_parameters}", detail_parameters),
            ("{counts}", one_each(COUNTERS.iter().map(count), ",\n")),
            ("{counted_types}", types.collect::<Vec<_>>().join(", ")),
            ("{report_names}", report_names),
            ("{report_parameters}", report_parameters),
            ("{counter_names}", wrapped(COUNTERS.iter().map(|counter| counter.name))),
            (
                "{counter_values}",
                wrapped(COUNTERS.iter().map(|Counter { name, .. }| format!("coalesce({name}, 0)"))),
            ),
            ("{updates}", one_each(of_columns.chain(of_counters), ",\n")),
            ("{changes}", one_each(is_counted.chain(REPORT.iter().filter_map(change)), "\nOR ")),
        ],
    )
}

/// Compares a range of reports with their details.
pub(super) fn check() -> String {
    let firsts = Milestone::ALL.map(Milestone::facts);
    let first_folds = firsts.iter().map(|facts| {
        format!(
            "min(\"timestamp\") FILTER (WHERE event_type = '{}') AS {}",
            facts.event_type, facts.column
        )
    });
    let first_differs = firsts.iter().map(|facts| {
        let name = facts.column;
        let [held, fold] = ["report", "fold"].map(|of| {
            if facts.has_feedback {
                format!("date_trunc('second', {of}.{name})")
            } else {
                format!("{of}.{name}")
            }
        });
        format!("CASE WHEN {held} IS DISTINCT FROM {fold} THEN '{name}' END")
    });
    let count_differs = COUNTERS.iter().map(|Counter { name, .. }| {
        format!("CASE WHEN report.{name} <> fold.{name} THEN '{name}' END")
    });
    let times = ["send_at"].into_iter().chain(firsts.iter().map(|facts| facts.column));
    fill(
        include_str!("check.sql"),
        &[
            ("{differences}", one_each(first_differs.chain(count_differs), ",\n")),
            ("{folds}", one_each(first_folds.chain(COUNTERS.iter().map(count)), ",\n")),
            ("{times}", wrapped(times.map(|name| format!("report.{name}")))),
        ],
    )
}

fn parameter<R>(number: usize, get: &Get<R>) -> String {
    let of = match get {
        Get::Uuid(_) => "uuid",
        Get::Number(_) => "bigint",
        Get::Text(..) | Get::Json(_) => "text",
        Get::Time(_) => "timestamptz",
    };
    format!("${number}::{of}[]")
}

fn count(Counter { name, of }: &Counter) -> String {
    format!("count(*) FILTER (WHERE event_type = '{}') AS {name}", of.facts().event_type)
}

/// -1 where the new bounce is the stronger, 1 where the held one is, 0 where their types are alike.
const BOUNCE_ORDER: &str =
    "CASE {schema}.aws_report_bounce_order(held.bounce_type, excluded.bounce_type)";

/// What becomes of a held column, as [`crate::row::ReportRow::merge`] has it.
fn update(ReportColumn { name, fold, .. }: &ReportColumn) -> Option<String> {
    Some(match fold {
        Fold::Key => return None,
        Fold::LeastText(_) | Fold::Earliest(_) => {
            format!("{name} = LEAST(held.{name}, excluded.{name})")
        }
        Fold::Greatest(_) => format!("{name} = GREATEST(held.{name}, excluded.{name})"),
        Fold::Bounce(_) => format!(
            "{name} = {BOUNCE_ORDER}\n    \
                WHEN -1 THEN excluded.{name}\n    ELSE held.{name} END"
        ),
        Fold::BounceSubType => format!(
            "{name} = {BOUNCE_ORDER}\n    \
                WHEN -1 THEN excluded.{name}\n    WHEN 1 THEN held.{name}\n    \
                ELSE LEAST(held.{name}, excluded.{name}) END"
        ),
    })
}

/// Whether that changes it.
fn change(ReportColumn { name, fold, .. }: &ReportColumn) -> Option<String> {
    Some(match fold {
        // A type that changes brings its subtype.
        Fold::Key | Fold::Bounce(_) => return None,
        Fold::LeastText(_) | Fold::Earliest(_) => {
            format!("LEAST(held.{name}, excluded.{name}) IS DISTINCT FROM held.{name}")
        }
        Fold::Greatest(_) => format!("excluded.{name} > held.{name}"),
        Fold::BounceSubType => format!(
            "{BOUNCE_ORDER}\n    WHEN -1 THEN true\n    WHEN 1 THEN false\n    \
                ELSE LEAST(held.{name}, excluded.{name}) IS DISTINCT FROM held.{name} END"
        ),
    })
}

/// Puts lists into their places. Their further lines are indented like a list that begins its line, or
/// by one step more than what it ends.
fn fill(text: &str, lists: &[(&str, String)]) -> String {
    let fill_line = |line: &str| {
        let rest = line.trim_start();
        let indent = line.len() - rest.len() + if rest.starts_with('{') { 0 } else { 4 };
        let next_line = format!("\n{:indent$}", "");
        (lists.iter()).fold(line.to_owned(), |line, (place, list)| {
            line.replace(place, &list.replace('\n', &next_line))
        }) + "\n"
    };
    text.lines().map(fill_line).collect()
}

fn one_each(items: impl Iterator<Item = String>, separator: &str) -> String {
    items.collect::<Vec<_>>().join(separator)
}

/// A list of short items, as many to a line as fit.
fn wrapped(items: impl Iterator<Item = impl AsRef<str>>) -> String {
    let (mut list, mut used) = (String::new(), 0);
    for item in items {
        let item = item.as_ref();
        if used + item.len() > WIDTH {
            list.push_str(",\n");
            used = 0;
        } else if used > 0 {
            list.push_str(", ");
        }
        list.push_str(item);
        used += item.len() + 2;
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect_file;

    /// After a change that is meant: `UPDATE_EXPECT=1 cargo test snapshots`, and read the difference.
    #[test]
    fn the_statements_are_those_of_the_snapshots() {
        for (found, snapshot) in [
            (write(), expect_file!["snapshots/write.sql"]),
            (check(), expect_file!["snapshots/check.sql"]),
        ] {
            snapshot.assert_eq(&found);
        }
    }
}
