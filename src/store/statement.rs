//! The long statements, with the lists of [`crate::row::columns`] in their places.
//!
//! `write.sql` and `check.sql` are the statements as people write them; `snapshots/` holds them as
//! PostgreSQL gets them, and a test compares: a change of a column is read there.

use crate::row::Milestone;
use crate::row::columns::{
    COUNTERS, Counter, DETAIL, FIRSTS_OF_CLASS, FirstOfClass, Fold, Get, REPORT, ReportColumn, Tie,
};

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
    let report_values = wrapped(REPORT.iter().map(|column| match column.get {
        Get::Tags(_) => format!("{}::jsonb", column.name),
        _ => column.name.to_owned(),
    }));
    let delay = |number| format!("${}::float8", DETAIL.len() + REPORT.len() + number);
    let types = COUNTERS.iter().map(|counter| format!("'{}'", counter.of.facts().event_type));
    let of_columns = REPORT.iter().filter_map(update);
    let of_counters = COUNTERS
        .iter()
        .map(|Counter { name, .. }| format!("{name} = held.{name} + excluded.{name}"));
    let of_firsts = (FIRSTS_OF_CLASS.iter())
        .map(|FirstOfClass { name, .. }| format!("{name} = LEAST(held.{name}, excluded.{name})"));
    let new_names = (COUNTERS.iter().map(|counter| counter.name))
        .chain(FIRSTS_OF_CLASS.iter().map(|first| first.name));
    let new_values = (COUNTERS.iter())
        .map(|Counter { name, .. }| format!("coalesce({name}, 0)"))
        .chain(FIRSTS_OF_CLASS.iter().map(|first| first.name.to_owned()));
    let is_counted = COUNTERS.iter().map(|Counter { name, .. }| format!("excluded.{name} > 0"));
    fill(
        include_str!("write.sql"),
        &[
            ("{detail_names}", detail_names),
            ("{detail_values}", detail_values),
            ("{detail_parameters}", detail_parameters),
            (
                "{counts}",
                one_each(
                    COUNTERS.iter().map(count).chain(FIRSTS_OF_CLASS.iter().map(first)),
                    ",\n",
                ),
            ),
            ("{counted_types}", types.collect::<Vec<_>>().join(", ")),
            ("{report_names}", report_names),
            ("{report_values}", report_values),
            ("{report_parameters}", report_parameters),
            ("{open_delay}", delay(1)),
            ("{click_delay}", delay(2)),
            ("{new_names}", wrapped(new_names)),
            ("{new_values}", wrapped(new_values)),
            ("{updates}", one_each(of_columns.chain(of_counters).chain(of_firsts), ",\n")),
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
    let of_class_differs = FIRSTS_OF_CLASS.iter().map(|FirstOfClass { name, .. }| {
        format!("CASE WHEN $5 AND report.{name} IS DISTINCT FROM fold.{name} THEN '{name}' END")
    });
    let times = ["send_at"].into_iter().chain(firsts.iter().map(|facts| facts.column));
    fill(
        include_str!("check.sql"),
        &[
            (
                "{differences}",
                one_each(first_differs.chain(count_differs).chain(of_class_differs), ",\n"),
            ),
            (
                "{folds}",
                one_each(
                    first_folds
                        .chain(COUNTERS.iter().map(count))
                        .chain(FIRSTS_OF_CLASS.iter().map(first)),
                    ",\n",
                ),
            ),
            ("{times}", wrapped(times.map(|name| format!("report.{name}")))),
        ],
    )
}

fn parameter<R>(number: usize, get: &Get<R>) -> String {
    let of = match get {
        Get::Uuid(_) => "uuid",
        Get::Number(_) => "bigint",
        Get::Text(..) | Get::Json(_) | Get::Tags(_) => "text",
        Get::Time(_) => "timestamptz",
        Get::Flag(_) => "boolean",
    };
    format!("${number}::{of}[]")
}

fn count(Counter { name, of }: &Counter) -> String {
    format!("count(*) FILTER (WHERE event_type = '{}') AS {name}", of.facts().event_type)
}

fn first(FirstOfClass { name, of, class }: &FirstOfClass) -> String {
    let event_type = of.facts().event_type;
    format!(
        "min(\"timestamp\") FILTER (WHERE event_type = '{event_type}' AND class = '{class}') AS {name}"
    )
}

/// Which bounce is the stronger: -1 the new one, 1 the held one, 0 where their types are alike.
const BOUNCE_ORDER: &str = "CASE WHEN excluded.bounce_type IS NULL THEN 1 \
    ELSE {schema}.aws_report_bounce_order(held.bounce_type, excluded.bounce_type) END";
/// The same of complaints.
const COMPLAINT_ORDER: &str = "CASE WHEN excluded.complaint_at IS NULL THEN 1 \
    WHEN held.complaint_at IS NULL THEN -1 ELSE sign(\n        \
    {schema}.aws_report_complaint_rank(held.complaint_sub_type, held.complaint_feedback_type)\n        \
    - {schema}.aws_report_complaint_rank(excluded.complaint_sub_type, excluded.complaint_feedback_type)) END";

/// What becomes of a held column, as [`crate::row::ReportRow::merge`] has it.
fn update(ReportColumn { name, fold, .. }: &ReportColumn) -> Option<String> {
    Some(match fold {
        Fold::Key => return None,
        Fold::LeastText(_) | Fold::Earliest(_) | Fold::AllTrue(_) => {
            format!("{name} = LEAST(held.{name}, excluded.{name})")
        }
        Fold::Greatest(_) | Fold::Latest(_) => {
            format!("{name} = GREATEST(held.{name}, excluded.{name})")
        }
        Fold::Tags(_) => format!("{name} = {}", joined_tags(name)),
        Fold::Bounce(_) => format!(
            "{name} = CASE {BOUNCE_ORDER}\n    \
                WHEN -1 THEN excluded.{name}\n    ELSE held.{name} END"
        ),
        Fold::OfBounce(tie) => format!("{name} = {}", of_strongest(BOUNCE_ORDER, name, *tie)),
        Fold::Complaint(_) => {
            format!("{name} = {}", of_strongest(COMPLAINT_ORDER, name, Tie::Least))
        }
        Fold::OfComplaint(tie) => format!("{name} = {}", of_strongest(COMPLAINT_ORDER, name, *tie)),
    })
}

/// Whether that changes it.
fn change(ReportColumn { name, fold, .. }: &ReportColumn) -> Option<String> {
    Some(match fold {
        // A type that changes brings what comes with it.
        Fold::Key | Fold::Bounce(_) => return None,
        Fold::LeastText(_) | Fold::Earliest(_) | Fold::AllTrue(_) => {
            format!("LEAST(held.{name}, excluded.{name}) IS DISTINCT FROM held.{name}")
        }
        Fold::Greatest(_) => format!("excluded.{name} > held.{name}"),
        Fold::Latest(_) => {
            format!("GREATEST(held.{name}, excluded.{name}) IS DISTINCT FROM held.{name}")
        }
        Fold::Tags(_) => format!("{} IS DISTINCT FROM held.{name}", joined_tags(name)),
        Fold::OfBounce(tie) => stronger_or_other(BOUNCE_ORDER, name, *tie),
        Fold::Complaint(_) => stronger_or_other(COMPLAINT_ORDER, name, Tie::Least),
        Fold::OfComplaint(tie) => stronger_or_other(COMPLAINT_ORDER, name, *tie),
    })
}

fn joined_tags(name: &str) -> String {
    format!(
        "CASE WHEN excluded.{name} IS NULL THEN held.{name}\n    \
            ELSE {{schema}}.aws_report_tags_join(held.{name}, excluded.{name}) END"
    )
}

fn of_strongest(order: &str, name: &str, tie: Tie) -> String {
    format!(
        "CASE {order}\n    WHEN -1 THEN excluded.{name}\n    WHEN 1 THEN held.{name}\n    \
            ELSE {} END",
        of_alike(name, tie)
    )
}

fn stronger_or_other(order: &str, name: &str, tie: Tie) -> String {
    format!(
        "CASE {order}\n    WHEN -1 THEN true\n    WHEN 1 THEN false\n    \
            ELSE {} IS DISTINCT FROM held.{name} END",
        of_alike(name, tie)
    )
}

/// What stays of two values that are equally strong.
fn of_alike(name: &str, tie: Tie) -> String {
    let of_both = match tie {
        Tie::Least => "LEAST",
        Tie::Any => "GREATEST",
    };
    format!("{of_both}(held.{name}, excluded.{name})")
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
