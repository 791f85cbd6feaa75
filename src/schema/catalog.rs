//! What a schema consists of, in a form in which two can be compared.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sqlx::PgConnection;

use super::Error;
use super::normal::normalised;
use crate::postgres::{self, SchemaName};

/// Kind and name of an object, in the order in which differences are told.
type Key = (String, String);

/// The objects of a schema with their definitions, and apart from them those of each partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Catalog {
    objects: BTreeMap<Key, String>,
    /// By the name of the partition; that name is left out of those of its objects.
    partitions: BTreeMap<String, BTreeMap<Key, String>>,
}

/// One difference between what is and what should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `table`, `column`, `index`, `constraint`, `trigger`, `function`, `view`, `comment`, `partition` …
    pub(crate) kind: String,
    /// Which one, with the partition it belongs to, if it does.
    pub(crate) name: String,
    /// What the migrations make; `None` for what they do not make.
    pub(crate) expected: Option<String>,
    /// What is there; `None` for what is missing.
    pub(crate) found: Option<String>,
}

/// Indexes that are no part of the migrations and that an operator may add (docs/schema.md): the name in the
/// catalog, and how the definition ends.
const OPTIONAL_INDEXES: [(&str, &str); 1] =
    [("aws_reports.aws_reports_tags", ".aws_reports USING gin (tags jsonb_path_ops)")];

/// Replaces the name of a partition in the definitions of its indexes and constraints.
const PARTITION: &str = "<partition>";

/// Reads the catalog. Needs no right to anything but the system's own tables.
pub(super) async fn read(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Catalog, Error> {
    let mut transaction = postgres::begin_read_only(connection).await?;
    sqlx::raw_sql(
        "-- ses-reports: clear the search path
        SET LOCAL search_path = ''",
    )
    .execute(&mut *transaction)
    .await?;
    let rows: Vec<(String, Option<String>, String, String)> =
        sqlx::query_as(include_str!("catalog.sql"))
            .persistent(false)
            .bind(schema.as_str())
            .fetch_all(&mut *transaction)
            .await?;
    transaction.rollback().await?;
    // The text of a function is kept as it was written.
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(kind, owner, name, definition)| match &*kind {
            "function" | "procedure" | "comment" => (kind, owner, name, definition),
            _ => (kind, owner, name, normalised(&definition)),
        })
        .collect();
    let is_partition = |definition: &str| definition.split(", ").any(|word| word == "partition");
    let partitions: BTreeSet<String> = rows
        .iter()
        .filter(|(kind, .., definition)| kind == "table" && is_partition(definition))
        .map(|(.., name, _)| name.clone())
        .collect();
    // One whose detach has begun is being removed; a constraint has replaced its bounds.
    let is_pending = |name: &str| {
        rows.iter().any(|(kind, _, table, definition)| {
            kind == "table" && table == name && definition.contains("detach pending")
        })
    };
    let pending: BTreeSet<&String> = partitions.iter().filter(|name| is_pending(name)).collect();
    let mut catalog = Catalog::default();
    for (kind, owner, name, definition) in rows.iter().cloned() {
        if let Some(partition) = owner.as_deref().filter(|owner| partitions.contains(*owner)) {
            if pending.contains(&partition.to_owned()) {
                let key = ("partition".to_owned(), partition.to_owned());
                catalog.objects.insert(key, "its detach was begun and is not finished".to_owned());
                continue;
            }
            let definition = match kind.as_str() {
                "table" => one_month(partition, &definition),
                _ => definition,
            };
            let fold = |text: &str| text.replace(partition, PARTITION);
            let objects = catalog.partitions.entry(partition.to_owned()).or_default();
            objects.insert((kind, fold(&name)), fold(&definition));
            continue;
        }
        let name = match (&*kind, &owner) {
            ("table" | "view" | "comment", _) | (_, None) => name,
            (_, Some(owner)) => format!("{owner}.{name}"),
        };
        catalog.objects.insert((kind, name), definition);
    }
    Ok(catalog)
}

/// The definition of a partition, with its bounds left out where they are those of the month that it
/// is named after.
fn one_month(partition: &str, definition: &str) -> String {
    let month = || {
        let name = partition.strip_prefix("aws_report_detail_")?;
        let (year, month) =
            (name.get(..4)?.parse::<u32>().ok()?, name.get(5..7)?.parse::<u32>().ok()?);
        let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        Some(format!(
            "FOR VALUES FROM ('{year:04}-{month:02}-01 00:00:00+00') TO ('{next_year:04}-{next:02}-01 00:00:00+00')"
        ))
    };
    month().map_or_else(|| definition.to_owned(), |bounds| definition.replace(&bounds, "its month"))
}

impl Catalog {
    /// How this catalog differs from the expected one. The expected one has one partition at least:
    /// every partition here must be like it.
    pub(super) fn differences(&self, expected: &Self) -> Vec<Difference> {
        let mut found = compare(&self.objects, &expected.objects, "");
        found.retain(|difference| !difference.is_optional_index());
        if let Some(model) = expected.partitions.values().next() {
            for (partition, objects) in &self.partitions {
                found.extend(compare(objects, model, partition));
            }
        }
        found
    }
}

impl Difference {
    /// Whether it is an index that operators may add, as the documentation creates it.
    fn is_optional_index(&self) -> bool {
        let Self { kind, name, expected: None, found: Some(found) } = self else { return false };
        kind == "index"
            && OPTIONAL_INDEXES.iter().any(|(index, end)| name == index && found.ends_with(end))
    }
}

fn compare(
    found: &BTreeMap<Key, String>,
    expected: &BTreeMap<Key, String>,
    partition: &str,
) -> Vec<Difference> {
    let keys: BTreeSet<&Key> = found.keys().chain(expected.keys()).collect();
    keys.into_iter()
        .filter(|key| found.get(*key) != expected.get(*key))
        .map(|key| {
            let plain = |text: &String| text.replace(PARTITION, partition);
            let (kind, name) = key;
            Difference {
                kind: kind.clone(),
                name: match partition {
                    "" => name.clone(),
                    _ => format!("{partition}: {}", plain(name)),
                },
                expected: expected.get(key).map(plain),
                found: found.get(key).map(plain),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(pairs: &[(&str, &str)]) -> BTreeMap<Key, String> {
        let key = |name: &str| ("index".to_owned(), name.to_owned());
        pairs.iter().map(|(name, definition)| (key(name), (*definition).to_owned())).collect()
    }

    #[test]
    fn what_is_missing_more_or_other_is_told() {
        let found = objects(&[("a", "1"), ("b", "2"), ("d", "4")]);
        let expected = objects(&[("a", "1"), ("b", "3"), ("c", "5")]);
        let told: Vec<_> = compare(&found, &expected, "")
            .into_iter()
            .map(|difference| (difference.name, difference.expected, difference.found))
            .collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                ("b".to_owned(), some("3"), some("2")),
                ("c".to_owned(), some("5"), None),
                ("d".to_owned(), None, some("4")),
            ]
        );
    }

    #[test]
    fn a_partition_holds_its_month_and_no_other() {
        let december =
            "partition, FOR VALUES FROM ('2026-12-01 00:00:00+00') TO ('2027-01-01 00:00:00+00')";
        assert_eq!(one_month("aws_report_detail_2026_12", december), "partition, its month");
        assert_eq!(one_month("aws_report_detail_2026_12_2", december), "partition, its month");
        assert_eq!(one_month("aws_report_detail_2026_11", december), december);
    }

    #[test]
    fn every_partition_is_held_against_the_model() {
        let model = Catalog {
            partitions: [("p_1".to_owned(), objects(&[("<partition>_pkey", "1")]))].into(),
            ..Catalog::default()
        };
        let live = Catalog {
            partitions: [
                ("p_2".to_owned(), objects(&[("<partition>_pkey", "1")])),
                ("p_3".to_owned(), objects(&[])),
            ]
            .into(),
            ..Catalog::default()
        };
        let differences = live.differences(&model);
        assert_eq!(differences.len(), 1);
        assert_eq!(differences[0].name, "p_3: p_3_pkey");
    }
}
