//! Accepts files that were changed after they had been applied, where the change means nothing.

use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection as _};

use super::history::{self, Record};
use super::status::is_of;
use super::{Error, Migration, Schema, session, sql};

/// A changed file, and what comparing it with what was applied showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Repair {
    /// Its file name without `.sql`.
    pub(crate) name: String,
    /// The checksum in the history.
    pub(crate) was: String,
    /// The checksum of the file.
    pub(crate) is: String,
    /// What was compared, in words.
    pub(crate) compared: String,
    /// Whether it was accepted: then the history has the new checksum.
    pub(crate) accepted: bool,
}

impl Schema {
    /// Compares every divergent migration with what was applied; accepts those that differ in
    /// comments, white space and line ends only, if all of them do.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or asked. A refusal is no error: see [`Repair::accepted`].
    pub(crate) async fn repair(&self) -> Result<Vec<Repair>, Error> {
        let mut connection = session::open(&self.options, &self.name).await?;
        self.claim(&mut connection).await?;
        let records = history::read(&mut connection, &self.name).await?;
        let divergent = records.iter().filter_map(|record| {
            let version = u32::try_from(record.version).ok()?;
            let known = self.migrations.iter().find(|known| known.version == version)?;
            (!is_of(record, known)).then_some((record, known))
        });
        let mut repairs: Vec<(Repair, &Migration)> =
            divergent.map(|(record, known)| (look(record, known), known)).collect();
        let all = repairs.iter().all(|(repair, _)| repair.accepted);
        if all {
            let mut transaction = connection.begin().await?;
            let update = format!(
                "-- ses-reports: accept a changed migration
                UPDATE {} SET checksum = $2, sql = $3 WHERE version = $1",
                history::table(&self.name)
            );
            for (repair, known) in &repairs {
                sqlx::query(AssertSqlSafe(update.as_str()))
                    .bind(i64::from(known.version))
                    .bind(&repair.is)
                    .bind(&*known.up)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
        } else {
            for (repair, _) in &mut repairs {
                repair.accepted = false;
            }
        }
        let _ = connection.close().await;
        Ok(repairs.into_iter().map(|(repair, _)| repair).collect())
    }
}

fn look(record: &Record, known: &Migration) -> Repair {
    let (accepted, compared) = match &record.sql {
        _ if record.stem() != known.stem => {
            (false, format!("it was applied under another name: {}", record.stem()))
        }
        None => (false, "what was applied is not in the history: it was applied by another tool, or by a version before 0.1".to_owned()),
        Some(was) if sql::normalised_tokens(was) == sql::normalised_tokens(&known.up) => (
            true,
            "its statements are the same; only comments, white space or line ends differ".to_owned(),
        ),
        Some(was) => (false, format!("its statements differ: {}", first_difference(was, &known.up))),
    };
    Repair {
        name: known.stem.to_string(),
        was: record.checksum.clone(),
        is: known.checksum(),
        compared,
        accepted,
    }
}

/// Where two texts of SQL first differ, with a few words of each.
fn first_difference(was: &str, is: &str) -> String {
    let (was, is) = (sql::normalised_tokens(was), sql::normalised_tokens(is));
    let same = was.split(' ').zip(is.split(' ')).take_while(|(was, is)| was == is).count();
    let from = same.saturating_sub(3);
    let words = |text: &str| text.split(' ').skip(from).take(8).collect::<Vec<_>>().join(" ");
    format!("applied was `… {} …`, the file has `… {} …`", words(&was), words(&is))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(was: Option<&str>, is: &'static str) -> Repair {
        let known = Migration {
            version: 1,
            stem: "V0001__a".into(),
            up: is.into(),
            down: "SELECT 1".into(),
        };
        let record = Record {
            version: 1,
            name: "a".to_owned(),
            applied_on: String::new(),
            checksum: "1".to_owned(),
            applied_by: None,
            applied_with: None,
            took_ms: None,
            sql: was.map(str::to_owned),
        };
        look(&record, &known)
    }

    #[test]
    fn only_what_means_nothing_is_accepted() {
        assert!(compared(Some("-- a\nSELECT 1;\r\n"), "-- b\nSELECT  1;").accepted);
        assert!(!compared(None, "SELECT 1;").accepted);
        let refused = compared(Some("CREATE TABLE t (a int);"), "CREATE TABLE t (a text);");
        assert!(!refused.accepted);
        assert!(
            refused.compared.contains("a int") && refused.compared.contains("a text"),
            "{refused:?}"
        );
    }
}
