//! Finds drift: compares the live schema with what the migrations create.

use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use super::catalog::{self, Difference};
use super::shadow::Shadow;
use super::{Error, Schema, partitions, session};

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The schema.
    pub schema: String,
    /// The version that it was held against.
    pub version: u32,
    /// How it differs; nothing for a schema that is as it should be.
    pub differences: Vec<Difference>,
}

impl Schema {
    /// Compares the live catalog with that of a shadow database at the same version. Of the live
    /// database it only reads system tables.
    ///
    /// # Errors
    /// [`Error::NoShadow`] without the right to create a database, [`Error::Newer`] for one whose
    /// migrations are not known here, and a history that is not that of ses-reports.
    pub async fn verify(&self) -> Result<Drift, Error> {
        let status = self.status().await?;
        status.check_history()?;
        if status.is_newer() {
            return Err(Error::Newer {
                schema: status.schema,
                found: status.version,
                newest: status.newest,
            });
        }
        let mut connection = session::open_to_read(&self.options).await?;
        let found = catalog::read(&mut connection, &self.name).await?;
        let mut differences = self.missing_months(&mut connection).await?;
        let _ = connection.close().await;

        let shadow = Shadow::create(self).await?;
        let expected = expected(&shadow, status.version).await;
        shadow.drop().await?;
        differences.splice(0..0, found.differences(&expected?));
        Ok(Drift { schema: status.schema, version: status.version, differences })
    }

    /// Months that should have a partition and have none: those of which there are reports, and the
    /// current one where a worker has begun.
    async fn missing_months(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<Difference>, Error> {
        let months = partitions::without(connection, &self.name).await?;
        Ok(months
            .into_iter()
            .map(|month| {
                let (year, month) = (month.year(), u8::from(month.month()));
                Difference {
                    kind: "partition".to_owned(),
                    name: format!("aws_report_detail_{year:04}_{month:02}"),
                    expected: Some(format!("a partition for {year:04}-{month:02}")),
                    found: None,
                }
            })
            .collect())
    }
}

async fn expected(shadow: &Shadow, version: u32) -> Result<catalog::Catalog, Error> {
    shadow.migrate(version).await?;
    let mut connection = shadow.connect().await?;
    let catalog = catalog::read(&mut connection, &shadow.schema.name).await?;
    connection.close().await?;
    Ok(catalog)
}

impl Difference {
    /// How to reconcile, in a line.
    #[must_use]
    pub(crate) fn repair(&self) -> String {
        match (&*self.kind, &self.expected, &self.found) {
            ("partition", _, Some(_)) => {
                format!("ALTER TABLE aws_report_detail DETACH PARTITION {} FINALIZE", self.name)
            }
            ("partition", ..) => {
                "restore it from a backup, or create an empty one: ses-reports partitions create"
                    .to_owned()
            }
            ("index", Some(expected), Some(found)) if found.contains("(INVALID)") => format!(
                "REINDEX INDEX CONCURRENTLY \"{}\", or drop it and run: {expected}",
                self.name.rsplit(['.', ' ']).next().unwrap_or_default()
            ),
            ("index", Some(expected), None) => format!(
                "run (on a partitioned table without CONCURRENTLY): {}",
                expected.replacen("INDEX ", "INDEX CONCURRENTLY ", 1)
            ),
            (_, Some(expected), None) => format!("create it again: {expected}"),
            (_, None, Some(_)) => {
                format!("drop the {} if it is not needed, or move it to another schema", self.kind)
            }
            (_, Some(expected), Some(_)) => format!("change it back to: {expected}"),
            (_, None, None) => String::new(),
        }
    }
}
